//! The Pareto front of a run: the trials that no other one beats in what they are worth without
//! costing more. Pure; must not know where it is shown.

use crate::child::MetricUnit;
use crate::journal::CostRow;

/// What a trial is worth, higher being better: its metric where its unit says which one is better,
/// else its reward.
fn worth(row: &CostRow, unit: MetricUnit) -> f64 {
    match unit {
        MetricUnit::Accuracy => row.metric,
        MetricUnit::Perplexity | MetricUnit::BitsPerCharacter => -row.metric,
        MetricUnit::Plain => row.reward,
    }
}

/// The trials that none beats, the cheapest first; of equals the first trial.
pub fn pareto_front(rows: &[CostRow], unit: MetricUnit) -> Vec<CostRow> {
    let mut sorted: Vec<&CostRow> = rows.iter().collect();
    sorted.sort_by(|a, b| {
        let worth = worth(b, unit).total_cmp(&worth(a, unit));
        a.cost
            .total_cmp(&b.cost)
            .then(worth)
            .then(a.trial.cmp(&b.trial))
    });
    let mut front: Vec<CostRow> = Vec::new();
    for row in sorted {
        if front
            .last()
            .is_none_or(|last| worth(row, unit) > worth(last, unit))
        {
            front.push(*row);
        }
    }
    front
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(trial: u64, cost: f64, metric: f64) -> CostRow {
        CostRow {
            trial,
            cost,
            metric,
            reward: -metric,
        }
    }

    #[test]
    fn the_front_rises_with_its_cost_and_beats_all_others() {
        let rows = [
            row(1, 5.0, 0.6),
            row(2, 3.0, 0.6),
            row(3, 3.0, 0.6),
            row(4, 1.0, 0.2),
            row(5, 9.0, 0.9),
            row(6, 7.0, 0.5),
            row(7, 1.0, 0.1),
        ];
        let trials = |unit| -> Vec<u64> {
            let front = pareto_front(&rows, unit);
            front.iter().map(|row| row.trial).collect()
        };
        assert_eq!(trials(MetricUnit::Accuracy), [4, 2, 5]);
        assert_eq!(trials(MetricUnit::Perplexity), [7]);
        assert_eq!(trials(MetricUnit::Plain), [7], "by reward");
        assert!(pareto_front(&[], MetricUnit::Plain).is_empty());
    }
}

//! Runs of several strategies at the same budget, compared: what each found, whether the difference
//! is more than chance, and the curves. Pure; must not know how the runs came about.

use super::chart::{self, Canvas};
use crate::random::{Key, Purpose};
use rand::RngExt;
use serde::Serialize;

/// Resampled means for an interval.
const RESAMPLES: usize = 4_000;
/// The control of the paper (section 4.1, figure 6): after so many children each, the best of them
/// and the means of the best few.
const CONTROL_EVERY: usize = 400;
const CONTROL_TOP: [usize; 2] = [5, 15];

/// The runs of one strategy, in the order of the repeats: the rewards of the sampled trials, by id.
/// None: the trial failed.
#[derive(Clone, Debug)]
pub struct StrategyRuns {
    pub name: String,
    pub rewards: Vec<Vec<Option<f64>>>,
}

/// All of them.
#[derive(Clone, Debug)]
pub struct Comparison {
    pub strategies: Vec<StrategyRuns>,
}

/// A 95% interval of a mean, by the percentile bootstrap.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    pub mean: f64,
    pub low: f64,
    pub high: f64,
}

/// What one strategy found.
#[derive(Clone, Debug, Serialize)]
pub struct Found {
    pub strategy: String,
    /// Best reward of each repeat.
    pub best: Vec<f64>,
    pub mean: f64,
    /// Standard deviation between the repeats.
    pub deviation: f64,
}

/// The best rewards of one strategy minus those of another, repeat by repeat.
#[derive(Clone, Debug, Serialize)]
pub struct Difference {
    pub strategy: String,
    pub minus: String,
    #[serde(flatten)]
    pub interval: Interval,
}

/// One line of the paper's control: means over the repeats.
#[derive(Clone, Debug, Serialize)]
pub struct Control {
    pub strategy: String,
    pub children: usize,
    pub best: f64,
    pub mean_of_top_5: f64,
    pub mean_of_top_15: f64,
}

impl Interval {
    /// Of these values' mean; the same values give the same interval.
    pub fn of(values: &[f64]) -> Self {
        let mut stream = Key::seed(1).stream(Purpose::Bootstrap);
        let mut means: Vec<f64> = (0..RESAMPLES)
            .map(|_| {
                let drawn = values
                    .iter()
                    .map(|_| values[stream.random_range(0..values.len())]);
                drawn.sum::<f64>() / values.len() as f64
            })
            .collect();
        means.sort_by(f64::total_cmp);
        Self {
            mean: mean(values),
            low: means[RESAMPLES / 40],
            high: means[RESAMPLES - 1 - RESAMPLES / 40],
        }
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

impl StrategyRuns {
    /// The best reward of each repeat that has one.
    fn best(&self) -> Vec<Option<f64>> {
        let best = |rewards: &Vec<Option<f64>>| rewards.iter().flatten().copied().reduce(f64::max);
        self.rewards.iter().map(best).collect()
    }

    /// The best reward so far after each trial, as a mean over the repeats; it begins where every
    /// repeat has a reward.
    fn curve(&self) -> Vec<f64> {
        let trials = self.rewards.iter().map(Vec::len).min().unwrap_or(0);
        let mut best = vec![f64::NEG_INFINITY; self.rewards.len()];
        let mut curve = Vec::with_capacity(trials);
        for trial in 0..trials {
            for (best, rewards) in best.iter_mut().zip(&self.rewards) {
                *best = rewards[trial].map_or(*best, |reward| best.max(reward));
            }
            curve.push(mean(&best));
        }
        let first = curve.iter().copied().find(|value| value.is_finite());
        for value in &mut curve {
            if !value.is_finite() {
                *value = first.unwrap_or(0.0);
            }
        }
        curve
    }

    fn control(&self) -> Vec<Control> {
        let trials = self.rewards.iter().map(Vec::len).min().unwrap_or(0);
        let mut after: Vec<usize> = (1..=trials / CONTROL_EVERY)
            .map(|part| part * CONTROL_EVERY)
            .collect();
        if after.last() != Some(&trials) {
            after.push(trials);
        }
        let top = |children: usize, count: usize| {
            let of_repeat = |rewards: &Vec<Option<f64>>| {
                let mut known: Vec<f64> = rewards[..children].iter().flatten().copied().collect();
                known.sort_by(|a, b| b.total_cmp(a));
                known.truncate(count);
                mean(&known)
            };
            mean(&self.rewards.iter().map(of_repeat).collect::<Vec<_>>())
        };
        after
            .into_iter()
            .map(|children| Control {
                strategy: self.name.clone(),
                children,
                best: top(children, 1),
                mean_of_top_5: top(children, CONTROL_TOP[0]),
                mean_of_top_15: top(children, CONTROL_TOP[1]),
            })
            .collect()
    }
}

impl Comparison {
    /// Each strategy's best rewards; of a repeat without any nothing is there.
    pub fn found(&self) -> Vec<Found> {
        let found = |runs: &StrategyRuns| {
            let best: Vec<f64> = runs.best().into_iter().flatten().collect();
            let mean = mean(&best);
            let squares = best.iter().map(|value| (value - mean).powi(2));
            let deviation =
                (squares.sum::<f64>() / best.len().saturating_sub(1).max(1) as f64).sqrt();
            Found {
                strategy: runs.name.clone(),
                mean,
                deviation,
                best,
            }
        };
        self.strategies.iter().map(found).collect()
    }

    /// Of every pair of strategies.
    pub fn differences(&self) -> Vec<Difference> {
        let mut differences = Vec::new();
        for (index, one) in self.strategies.iter().enumerate() {
            for other in &self.strategies[index + 1..] {
                let pairs = one.best().into_iter().zip(other.best());
                let values: Vec<f64> = pairs
                    .filter_map(|(one, other)| Some(one? - other?))
                    .collect();
                if !values.is_empty() {
                    differences.push(Difference {
                        strategy: one.name.clone(),
                        minus: other.name.clone(),
                        interval: Interval::of(&values),
                    });
                }
            }
        }
        differences
    }

    /// The paper's control of every strategy.
    pub fn control(&self) -> Vec<Control> {
        self.strategies
            .iter()
            .flat_map(StrategyRuns::control)
            .collect()
    }

    /// The curves as CSV: one line a trial, one column a strategy.
    pub fn curves_csv(&self) -> String {
        let names = self.strategies.iter().map(|runs| format!(",{}", runs.name));
        let mut text = format!("trial{}\n", names.collect::<String>());
        let curves: Vec<Vec<f64>> = self.strategies.iter().map(StrategyRuns::curve).collect();
        let trials = curves.iter().map(Vec::len).min().unwrap_or(0);
        for trial in 0..trials {
            let values = curves.iter().map(|curve| format!(",{}", curve[trial]));
            text += &format!("{}{}\n", trial + 1, values.collect::<String>());
        }
        text
    }

    /// The curves as an SVG file.
    pub fn curves_svg(&self, title: &str) -> String {
        let canvas = Canvas {
            height: 320,
            width: Some(880),
        };
        let curves: Vec<(&str, Vec<f64>)> = self
            .strategies
            .iter()
            .map(|runs| (runs.name.as_str(), runs.curve()))
            .collect();
        chart::file(title, &chart::lines(&curves, canvas, title), canvas)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn comparison() -> Comparison {
        let runs = |name: &str, shift: f64| StrategyRuns {
            name: name.into(),
            rewards: (0..6)
                .map(|repeat| {
                    let reward = |trial: u32| f64::from(trial % 7 + repeat) / 100.0 + shift;
                    (0..450)
                        .map(|trial| (trial % 10 > 0).then(|| reward(trial)))
                        .collect()
                })
                .collect(),
        };
        Comparison {
            strategies: vec![runs("one", 0.1), runs("other", 0.0)],
        }
    }

    #[test]
    fn a_difference_between_repeats_does_not_hide_one_between_strategies() {
        let comparison = comparison();
        let found = comparison.found();
        assert_eq!(found[0].best.len(), 6);
        assert!((found[0].mean - 0.185).abs() < 1e-9, "{found:?}");
        // Of 0 to 5 hundredths.
        assert!((found[0].deviation - 0.018_708).abs() < 1e-5, "{found:?}");
        let [difference] = &comparison.differences()[..] else {
            panic!("one pair")
        };
        assert_eq!(
            (difference.strategy.as_str(), difference.minus.as_str()),
            ("one", "other")
        );
        let Interval { mean, low, high } = difference.interval;
        assert!(
            [mean, low, high]
                .iter()
                .all(|value| (value - 0.1).abs() < 1e-9)
        );
    }

    #[test]
    fn an_interval_encloses_the_mean_and_narrows_with_values() {
        let values: Vec<f64> = (0..200).map(|i| f64::from(i % 10)).collect();
        let wide = Interval::of(&values[..10]);
        let narrow = Interval::of(&values);
        assert!(wide.low < 4.5 && 4.5 < wide.high && wide.mean == 4.5);
        assert!(narrow.high - narrow.low < 0.3 * (wide.high - wide.low));
        // 1.96 standard errors.
        assert!((narrow.high - 4.5 - 0.398).abs() < 0.06, "{narrow:?}");
    }

    #[test]
    fn the_control_is_that_of_the_paper() {
        let control = comparison().control();
        assert_eq!(
            control.iter().map(|line| line.children).collect::<Vec<_>>(),
            [400, 450, 400, 450]
        );
        let first = &control[0];
        assert!((first.best - 0.185).abs() < 1e-9);
        assert!(first.mean_of_top_15 <= first.mean_of_top_5 + 1e-12);
    }

    #[test]
    fn curves_rise_and_are_written() {
        let csv = comparison().curves_csv();
        let mut lines = csv.lines();
        assert_eq!(lines.next(), Some("trial,one,other"));
        let values: Vec<f64> = lines
            .map(|line| line.split(',').nth(1).unwrap().parse().unwrap())
            .collect();
        assert_eq!(values.len(), 450);
        assert!(values.is_sorted());
        assert!(comparison().curves_svg("title").contains(">other<"));
    }
}

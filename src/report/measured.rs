//! What a run's numbers mean, in sentences, from its settings: data and split, training, metric,
//! reward, seconds. Must not know where they are shown.

use crate::child::{ChildSettings, CostFactor, EvaluatorKind, MetricUnit};
use crate::data::{DataKind, DataSettings};
use crate::workload::WorkloadSettings;

/// Names and explanations, in the order in which they are best read. `data` is what the run noted
/// of its data, such as `data: images; 45000 for training, 5000 for validation, 10 classes`.
pub fn explanations(
    settings: &WorkloadSettings,
    data: Option<&str>,
) -> Vec<(&'static str, String)> {
    let child = &settings.child;
    let mut all = match child.evaluator {
        EvaluatorKind::Train => trained(settings, data),
        EvaluatorKind::Table => vec![("Reward", table(child))],
        EvaluatorKind::Command => vec![
            (
                "Reward",
                "What the user's program printed at the end of each trial; it is what the controller learns from.".into(),
            ),
            (
                "Metric",
                "The number that the program reported beside its reward, or the reward itself.".into(),
            ),
        ],
    };
    all.push(("Seconds", seconds(child)));
    all.push(("The best", best(child)));
    all
}

fn trained(settings: &WorkloadSettings, data: Option<&str>) -> Vec<(&'static str, String)> {
    let child = &settings.child;
    let sizes = data.map_or_else(String::new, |text| {
        let text = text.strip_prefix("data: ").unwrap_or(text);
        let mut letters = text.chars();
        let first = letters.next().map(char::to_uppercase);
        format!(
            "{}{}. ",
            first.into_iter().flatten().collect::<String>(),
            letters.as_str()
        )
    });
    let unit = settings.scoring().metric;
    vec![
        (
            "Data and split",
            sizes + &split(&settings.data, settings.seed),
        ),
        (
            "Training",
            format!(
                "Every network begins with weights of its own and is trained for {} in batches of {}.",
                counted(child.epochs, "epoch"),
                child.batch_size
            ),
        ),
        ("Metric", metric(child, unit)),
        ("Reward", reward(child, unit)),
    ]
}

fn counted(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

/// What is for validation, and what nobody has read.
fn split(data: &DataSettings, seed: u64) -> String {
    match data.kind {
        DataKind::Builtin => format!(
            "The program draws the images from the run's seed ({seed}): a demonstration, not a benchmark."
        ),
        DataKind::Text => {
            "Training and validation are two texts. No trial has seen a test text.".into()
        }
        DataKind::ImageFolder => {
            "What is for validation the folder says itself, or it is chosen by the images' contents. No trial has seen a test split.".into()
        }
        _ => format!(
            "The run's seed ({seed}) drew once which of the training set's images are for validation. No trial has seen the test images."
        ),
    }
}

fn metric(child: &ChildSettings, unit: MetricUnit) -> String {
    let epochs = match child.reward_window {
        1 => "of the last epoch".to_owned(),
        window => format!("of the last {window} epochs"),
    };
    let best = if unit == MetricUnit::Accuracy {
        "highest"
    } else {
        "lowest"
    };
    let what = match unit {
        MetricUnit::Accuracy => "the share of all validation images that are classified rightly",
        MetricUnit::BitsPerCharacter => "the bits that a character of the validation text costs",
        MetricUnit::Perplexity | MetricUnit::Plain => "the perplexity of the validation text",
    };
    format!("After every epoch {what}; a trial's metric is the {best} {epochs}.")
}

fn reward(child: &ChildSettings, unit: MetricUnit) -> String {
    let exponent = child.reward_exponent;
    let formula = match unit {
        MetricUnit::Accuracy => format!("The metric to the power {exponent}"),
        MetricUnit::BitsPerCharacter => format!(
            "{} / perplexity^{exponent}, where the perplexity is 2 to the power of the metric",
            child.reward_constant
        ),
        MetricUnit::Perplexity | MetricUnit::Plain => {
            format!("{} / metric^{exponent}", child.reward_constant)
        }
    };
    let cost = CostFactor::new(child).map_or_else(String::new, |factor| {
        format!(
            ", times (cost / {})^{}, where the cost is counted in {}",
            factor.target,
            factor.weight,
            factor.cost.unit()
        )
    });
    format!("{formula}{cost}; it is what the controller learns from.")
}

fn table(child: &ChildSettings) -> String {
    let columns = child.table.reward.join(", ");
    let drawn = if child.table.reward.len() > 1 {
        " (one of these columns is drawn for each trial)"
    } else {
        ""
    };
    format!(
        "Nothing was trained: the rewards stand in {}, in {columns}{drawn}.",
        child.table.path
    )
}

fn seconds(child: &ChildSettings) -> String {
    match child.evaluator {
        EvaluatorKind::Train => {
            "From a trial's start in its lane to its outcome: training, and validation after every epoch. Trials in other lanes ran at the same time."
        }
        EvaluatorKind::Command => {
            "From the start of the program to its end. Programs in other lanes ran at the same time."
        }
        EvaluatorKind::Table if child.table.seconds.is_empty() => "What looking it up took.",
        EvaluatorKind::Table => "As the table says.",
    }
    .into()
}

fn best(child: &ChildSettings) -> String {
    let honest = if child.evaluator == EvaluatorKind::Train {
        " The number to compare with others is the test score of its retraining."
    } else {
        ""
    };
    format!(
        "It was chosen by these scores, and the best of many looks a little better than it is.{honest}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::child::Cost;

    fn sentence(settings: &WorkloadSettings, name: &str) -> String {
        let all = explanations(settings, Some("data: images; 45000 for training"));
        let found = all.into_iter().find(|(other, _)| *other == name);
        found.map_or_else(String::new, |(_, text)| text)
    }

    #[test]
    fn images_are_scored_by_a_power_of_the_best_of_the_last_epochs() {
        let settings = WorkloadSettings {
            seed: 7,
            data: DataSettings {
                kind: DataKind::Cifar10,
                ..DataSettings::default()
            },
            ..WorkloadSettings::default()
        };
        assert_eq!(
            sentence(&settings, "Data and split"),
            "Images; 45000 for training. The run's seed (7) drew once which of the training set's images are for validation. \
             No trial has seen the test images."
        );
        assert!(sentence(&settings, "Metric").ends_with("the highest of the last 5 epochs."));
        assert!(sentence(&settings, "Reward").starts_with("The metric to the power 3;"));
        assert!(sentence(&settings, "Training").contains("for 50 epochs in batches of 64"));
    }

    #[test]
    fn a_cost_in_the_reward_is_told() {
        let mut settings = WorkloadSettings::default();
        settings.child.cost = Cost::Flops;
        settings.child.cost_target = Some(5e7);
        settings.child.cost_weight = -0.07;
        assert_eq!(
            sentence(&settings, "Reward"),
            "The metric to the power 3, times (cost / 50000000)^-0.07, where the cost is counted in FLOPs; it is what the controller learns from."
        );
    }

    #[test]
    fn texts_and_tables_are_explained_too() {
        let mut settings = WorkloadSettings {
            child: ChildSettings::language_model(),
            ..WorkloadSettings::default()
        };
        settings.data.kind = DataKind::Text;
        assert!(sentence(&settings, "Metric").contains("is the lowest of the last 5"));
        assert!(sentence(&settings, "Reward").starts_with("80 / metric^2;"));
        settings.data.unit = crate::data::Unit::Char;
        assert!(sentence(&settings, "Reward").starts_with("80 / perplexity^2, where"));
        settings.child.evaluator = EvaluatorKind::Table;
        settings.child.table.path = "t.csv".into();
        settings.child.table.reward = vec!["a".into(), "b".into()];
        let reward = sentence(&settings, "Reward");
        assert!(reward.contains("t.csv, in a, b (one of these"), "{reward}");
        assert_eq!(sentence(&settings, "Metric"), "");
    }
}

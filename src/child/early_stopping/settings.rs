//! The `[early_stopping]` section: each key's declaration stands on its field. Must not know where
//! a value was written.

use super::{Goal, LearningCurves, Pruner, PruningRule};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use smart_default::SmartDefault;

const MAX_EPOCHS: usize = 1_000_000;
const MAX_FACTOR: usize = 1_000;

/// Which children end early.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StoppingRule {
    /// None.
    Off,
    /// Those below the median of earlier ones at the same epoch.
    Median,
    /// All but the best at epochs that grow by a factor.
    Asha,
}

/// `[early_stopping]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema, SmartDefault)]
#[serde(default)]
pub struct EarlyStoppingSettings {
    /// Which children are pruned, that is end before their last epoch: none, those whose best
    /// metric is below the median of completed children at an epoch, or all but the best of those
    /// that have come so far (asynchronous successive halving).
    #[default(StoppingRule::Off)]
    pub rule: StoppingRule,
    /// Whether a program's metric is better where it is higher (max) or lower (min).
    #[schemars(extend("x-applies" = {
        "child.evaluator": ["command"],
        "early_stopping.rule": ["median", "asha"],
    }))]
    pub goal: Goal,
    /// Completed children before the first one is pruned.
    #[default = 5]
    #[schemars(
        range(min = 1, max = LearningCurves::KEPT),
        extend("x-applies" = median(), "x-unit" = "children"),
    )]
    pub startup_trials: usize,
    /// First epochs after which no child is pruned.
    #[default = 0]
    #[schemars(range(max = MAX_EPOCHS), extend("x-applies" = median(), "x-unit" = "epochs"))]
    pub warmup_epochs: usize,
    /// The epoch of the first comparison; each further one is reduction_factor times as late.
    #[default = 1]
    #[schemars(
        range(min = 1, max = MAX_EPOCHS),
        extend("x-applies" = asha(), "x-unit" = "epochs"),
    )]
    pub min_resource: usize,
    /// Of so many children that reach a comparison the best one goes on.
    #[default = 4]
    #[schemars(
        range(min = 2, max = MAX_FACTOR),
        extend("x-applies" = asha(), "x-unit" = "children"),
    )]
    pub reduction_factor: usize,
}

fn median() -> Value {
    json!({ "early_stopping.rule": ["median"] })
}

fn asha() -> Value {
    json!({ "early_stopping.rule": ["asha"] })
}

impl EarlyStoppingSettings {
    /// The pruner that they mean, for children whose metric has this goal and who are trained for
    /// so many epochs, where that is known. None: every child is trained to its end.
    pub fn pruner(&self, goal: Goal, epochs: Option<usize>) -> Option<Pruner> {
        let rule = match self.rule {
            StoppingRule::Off => return None,
            StoppingRule::Median => PruningRule::Median {
                startup_trials: self.startup_trials,
                warmup_epochs: self.warmup_epochs,
            },
            StoppingRule::Asha => PruningRule::Asha {
                min_resource: self.min_resource,
                reduction_factor: self.reduction_factor,
            },
        };
        Some(Pruner { rule, goal, epochs })
    }
}

//! The `[controller]` and `[parameter_server]` sections. Must not know the other sections.

use super::StrategyName;
use crate::policy::{Baseline, NetworkSettings};
use serde::{Deserialize, Serialize};

/// `[controller]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ControllerSettings {
    /// K: controller replicas.
    pub replicas: usize,
    /// m: children that a replica samples at a time.
    pub children: usize,
    /// LSTM units per layer.
    pub hidden: usize,
    /// LSTM layers.
    pub layers: usize,
    /// Initial parameters are uniform in ± this.
    pub init_scale: f64,
    pub learning_rate: f64,
    pub baseline_decay: f64,
    /// Weight of an entropy bonus; the paper has none.
    pub entropy_weight: f64,
    pub strategy: StrategyName,
    /// Replicas wait for each other; runs are then reproducible with any number of them.
    pub synchronous: bool,
}

/// `[parameter_server]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ParameterServerSettings {
    /// S: shards of the controller's parameters.
    pub shards: usize,
    /// Gradients per update.
    pub accumulate: usize,
}

impl Default for ControllerSettings {
    fn default() -> Self {
        Self {
            replicas: 1,
            children: 8,
            hidden: 35,
            layers: 2,
            init_scale: 0.08,
            learning_rate: 0.0006,
            baseline_decay: Baseline::DEFAULT_DECAY,
            entropy_weight: 0.0,
            strategy: StrategyName::REINFORCE,
            synchronous: false,
        }
    }
}

impl Default for ParameterServerSettings {
    fn default() -> Self {
        Self {
            shards: 1,
            accumulate: 1,
        }
    }
}

/// More actors, units or children than this help nobody, and only exhaust memory.
const MOST: usize = 100_000;
const MOST_UNITS: usize = 2_048;
const MOST_LSTM_LAYERS: usize = 8;

impl ControllerSettings {
    /// What shapes the controller network.
    pub fn network(&self) -> NetworkSettings {
        NetworkSettings {
            hidden: self.hidden,
            layers: self.layers,
            init_scale: self.init_scale,
        }
    }

    /// What cannot work in this section: (key, what would be valid).
    pub fn problems(&self) -> Vec<(String, String)> {
        let positive = |number: f64| number.is_finite() && number > 0.0;
        let rules = [
            (
                "replicas",
                (1..=MOST).contains(&self.replicas),
                format!("must be 1 to {MOST} controllers"),
            ),
            (
                "children",
                (1..=MOST).contains(&self.children),
                format!("must be 1 to {MOST} children"),
            ),
            (
                "hidden",
                (1..=MOST_UNITS).contains(&self.hidden),
                format!("must be 1 to {MOST_UNITS} units"),
            ),
            (
                "layers",
                (1..=MOST_LSTM_LAYERS).contains(&self.layers),
                format!("must be 1 to {MOST_LSTM_LAYERS} layers"),
            ),
            (
                "init_scale",
                positive(self.init_scale),
                "must be above 0, for example 0.08".into(),
            ),
            (
                "learning_rate",
                positive(self.learning_rate),
                "must be above 0, for example 0.0006".into(),
            ),
            (
                "baseline_decay",
                (0.0..1.0).contains(&self.baseline_decay),
                "must be from 0 to below 1, for example 0.95".into(),
            ),
            (
                "entropy_weight",
                self.entropy_weight.is_finite() && self.entropy_weight >= 0.0,
                "must be 0 or more".into(),
            ),
        ];
        broken(rules)
    }
}

impl ParameterServerSettings {
    /// What cannot work in this section: (key, what would be valid).
    pub fn problems(&self) -> Vec<(String, String)> {
        broken([
            (
                "shards",
                (1..=MOST).contains(&self.shards),
                format!("must be 1 to {MOST} shards"),
            ),
            (
                "accumulate",
                (1..=MOST).contains(&self.accumulate),
                format!("must be 1 to {MOST} gradients"),
            ),
        ])
    }
}

/// The rules that do not hold.
fn broken<const N: usize>(rules: [(&str, bool, String); N]) -> Vec<(String, String)> {
    rules
        .into_iter()
        .filter(|(_, holds, _)| !holds)
        .map(|(key, _, valid)| (key.to_owned(), valid))
        .collect()
}

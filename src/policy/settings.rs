//! The `[controller]` and `[parameter_server]` sections.

use serde::{Deserialize, Serialize};

/// How the next architectures are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Strategy {
    /// The paper's policy gradient.
    Reinforce,
    /// Uniform, for comparison: nothing is learned.
    Random,
}

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
    pub strategy: Strategy,
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
            baseline_decay: 0.95,
            entropy_weight: 0.0,
            strategy: Strategy::Reinforce,
            synchronous: false,
        }
    }
}

impl Default for ParameterServerSettings {
    fn default() -> Self {
        Self { shards: 1, accumulate: 1 }
    }
}

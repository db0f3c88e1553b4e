//! The `[controller]` and `[parameter_server]` sections: each key's declaration stands on its
//! field. Must not know where a value was written.

use super::StrategyName;
use crate::policy::{Baseline, NetworkSettings};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use smart_default::SmartDefault;

/// More actors or children than this only exhaust memory.
const MAX_COUNT: usize = 100_000;
const MAX_UNITS: usize = 2_048;
const MAX_LSTM_LAYERS: usize = 8;

/// `[controller]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema, SmartDefault)]
#[serde(default)]
pub struct ControllerSettings {
    /// K: controllers that sample side by side.
    #[default = 1]
    #[schemars(
        range(min = 1, max = MAX_COUNT),
        extend("x-live" = true, "x-unit" = "controllers")
    )]
    pub replicas: usize,
    /// m: children that a controller samples for one gradient.
    #[default = 8]
    #[schemars(
        range(min = 1, max = MAX_COUNT),
        extend("x-live" = true, "x-unit" = "children")
    )]
    pub children: usize,
    /// LSTM units in each layer of the controller.
    #[default = 35]
    #[schemars(
        range(min = 1, max = MAX_UNITS),
        extend("x-identity" = true, "x-unit" = "units")
    )]
    pub hidden: usize,
    /// LSTM layers of the controller.
    #[default = 2]
    #[schemars(
        range(min = 1, max = MAX_LSTM_LAYERS),
        extend("x-identity" = true, "x-unit" = "layers")
    )]
    pub layers: usize,
    /// The controller's first parameters are uniform in plus or minus this.
    #[default = 0.08]
    #[schemars(example = 0.08, extend("exclusiveMinimum" = 0, "x-identity" = true))]
    pub init_scale: f64,
    /// Of Adam, which updates the controller.
    #[default = 0.0006]
    #[schemars(example = 0.0006, extend("exclusiveMinimum" = 0, "x-live" = true))]
    pub learning_rate: f64,
    /// How slowly the moving average of rewards forgets, 0 to below 1.
    #[default(Baseline::DEFAULT_DECAY)]
    #[schemars(
        range(min = 0),
        example = 0.95,
        extend("exclusiveMaximum" = 1, "x-live" = true)
    )]
    pub baseline_decay: f64,
    /// Weight of a bonus for undecided policies; the paper has none.
    #[default = 0.0]
    #[schemars(range(min = 0), extend("x-live" = true))]
    pub entropy_weight: f64,
    /// Learn by policy gradient, or sample uniformly for comparison.
    #[default(StrategyName::REINFORCE)]
    #[schemars(extend("x-live" = true))]
    pub strategy: StrategyName,
    /// Replicas wait for each other; the run is then reproducible with any number of them.
    pub synchronous: bool,
}

/// `[parameter_server]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema, SmartDefault)]
#[serde(default)]
pub struct ParameterServerSettings {
    /// S: shards that hold the controller's parameters.
    #[default = 1]
    #[schemars(range(min = 1, max = MAX_COUNT), extend("x-unit" = "shards"))]
    pub shards: usize,
    /// Gradients that are averaged into one update.
    #[default = 1]
    #[schemars(range(min = 1, max = MAX_COUNT), extend("x-unit" = "gradients"))]
    pub accumulate: usize,
}

impl ControllerSettings {
    /// What shapes the controller network.
    pub fn network(&self) -> NetworkSettings {
        NetworkSettings {
            hidden: self.hidden,
            layers: self.layers,
            init_scale: self.init_scale,
        }
    }
}

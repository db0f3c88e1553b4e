//! The `[controller]` and `[parameter_server]` sections: each key's declaration stands on its
//! field. Must not know where a value was written.

use super::{LearningSettings, PpoSettings, Scores, StrategyChoice, StrategyName};
use crate::policy::{Baseline, NetworkSettings};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use smart_default::SmartDefault;

/// More actors or children than this only exhaust memory.
const MAX_COUNT: usize = 100_000;
const MAX_UNITS: usize = 2_048;
const MAX_LSTM_LAYERS: usize = 8;
const MAX_EPOCHS: usize = 1_000;
/// Of the best trials so far, those that teach again with each minibatch of `ppo`.
const REPLAYED: usize = 8;

/// What the settings are where they are left out.
#[derive(Clone, Copy)]
struct Unset {
    learning_rate: f64,
    entropy_weight: f64,
    clip: f64,
}

/// Zoph & Le's.
const PAPER: Unset = Unset {
    learning_rate: 0.0006,
    entropy_weight: 0.0,
    clip: PpoSettings::DEFAULT.clip,
};
/// Of `ppo`, for short searches (benches/README.md).
const ALONE: Unset = Unset {
    learning_rate: 0.01,
    entropy_weight: 0.05,
    clip: 0.5,
};
/// Of `guided`, whose controller proposes what a surrogate chooses from.
const GUIDED: Unset = Unset {
    learning_rate: 0.005,
    entropy_weight: 0.1,
    clip: PpoSettings::DEFAULT.clip,
};

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
    #[schemars(
        example = 0.0006,
        extend(
            "exclusiveMinimum" = 0,
            "x-live" = true,
            "x-unset" = "0.0006; with ppo 0.01, with guided 0.005",
            "x-applies" = learning(),
        )
    )]
    pub learning_rate: Option<f64>,
    /// The directory of another run of the same space, whose controller this one begins as: its
    /// parameters are copied into this run at its first start.
    #[schemars(extend(
        "x-identity" = "unless default",
        "x-unset" = "the seed gives them",
        "x-applies" = learning(),
    ))]
    pub from_run: Option<String>,
    /// Another run of the same space, or a CSV file with columns `decisions` and `reward` (a run's
    /// `report/trials.csv`): the surrogate of guided knows these trials from the beginning.
    #[schemars(extend(
        "x-identity" = "unless default",
        "x-unset" = "it knows none",
        "x-applies" = {"controller.strategy": ["auto", "guided"]},
    ))]
    pub surrogate_from: Option<String>,
    /// How slowly the moving average of rewards forgets, 0 to below 1.
    #[default(Baseline::DEFAULT_DECAY)]
    #[schemars(
        range(min = 0),
        example = 0.95,
        extend("exclusiveMaximum" = 1, "x-live" = true)
    )]
    pub baseline_decay: f64,
    /// Weight of a bonus for undecided policies; the paper has none.
    #[schemars(
        range(min = 0),
        example = 0.1,
        extend(
            "x-live" = true,
            "x-unset" = "0; with ppo 0.05, with guided 0.1",
            "x-applies" = learning(),
        )
    )]
    pub entropy_weight: Option<f64>,
    /// Rewards after which the entropy weight has halved, again and again.
    #[schemars(
        example = 200.0,
        extend(
            "exclusiveMinimum" = 0,
            "x-live" = true,
            "x-unset" = "the weight stays",
            "x-applies" = {"controller.strategy": ["auto", "ppo", "guided"]},
        )
    )]
    pub entropy_half_life: Option<f64>,
    /// Steps that the controller takes from each minibatch.
    #[default(PpoSettings::DEFAULT.epochs)]
    #[schemars(
        range(min = 1, max = MAX_EPOCHS),
        extend(
            "x-live" = true,
            "x-unit" = "steps",
            "x-applies" = {"controller.strategy": ["auto", "ppo", "guided"]},
        )
    )]
    pub ppo_epochs: usize,
    /// The share by which a list's probability moves at most in these steps.
    #[schemars(
        example = 0.2,
        extend(
            "exclusiveMinimum" = 0,
            "exclusiveMaximum" = 1,
            "x-live" = true,
            "x-unset" = "with ppo 0.5, with guided 0.2",
            "x-applies" = {"controller.strategy": ["auto", "ppo", "guided"]},
        )
    )]
    pub ppo_clip: Option<f64>,
    /// How the next architectures are chosen; auto is resolved when a run starts, and stays.
    #[schemars(extend("x-live" = true))]
    pub strategy: StrategyChoice,
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
    #[schemars(
        range(min = 1, max = MAX_COUNT),
        extend("x-unit" = "gradients", "x-applies" = learning())
    )]
    pub accumulate: usize,
}

/// Keys of strategies that learn.
fn learning() -> Value {
    json!({ "controller.strategy": ["auto", "reinforce", "ppo", "guided"] })
}

impl ControllerSettings {
    /// What is logged of them, with what is unset filled in for this strategy; `accumulate`
    /// gradients make an update.
    pub fn learning(&self, strategy: StrategyName, accumulate: usize) -> LearningSettings {
        let ppo = match strategy {
            StrategyName::PPO => Some((ALONE, REPLAYED)),
            StrategyName::GUIDED => Some((GUIDED, 0)),
            _ => None,
        };
        let unset = ppo.map_or(PAPER, |(unset, _)| unset);
        LearningSettings {
            strategy,
            learning_rate: self.learning_rate.unwrap_or(unset.learning_rate),
            baseline_decay: self.baseline_decay,
            entropy_weight: self.entropy_weight.unwrap_or(unset.entropy_weight),
            accumulate,
            ppo: ppo.map(|(unset, replayed)| PpoSettings {
                epochs: self.ppo_epochs,
                clip: self.ppo_clip.unwrap_or(unset.clip),
                entropy_half_life: self.entropy_half_life,
                replayed,
            }),
            advantage_bound: None,
            redraws: false,
            scores: if strategy == StrategyName::GUIDED {
                Scores::RanksAndDistances
            } else {
                Scores::Ranks
            },
        }
    }

    /// What shapes the controller network.
    pub fn network(&self) -> NetworkSettings {
        NetworkSettings {
            hidden: self.hidden,
            layers: self.layers,
            init_scale: self.init_scale,
        }
    }
}

//! The settings that are part of a run's log: what they were decides what every gradient and every
//! proposal was. Must not know where the log is kept.

use crate::policy::{UpdateRule, UpdateSettings};
use serde::{Deserialize, Serialize};

/// What proposals, gradients and updates need from the settings; a change takes a sequence number
/// of its own.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LearningSettings {
    pub learning_rate: f64,
    pub baseline_decay: f64,
    pub entropy_weight: f64,
    /// Gradients per update.
    pub accumulate: usize,
    /// False for `strategy = "random"`: every gradient is zero and the parameters stay.
    pub learns: bool,
}

impl LearningSettings {
    /// What the shards need of them.
    pub fn update(&self) -> UpdateSettings {
        UpdateSettings {
            rule: if self.learns {
                UpdateRule::Adam {
                    learning_rate: self.learning_rate,
                }
            } else {
                UpdateRule::None
            },
            accumulate: self.accumulate,
        }
    }
}

//! Adam on a range of the flat parameter vector, with gradient accumulation. A shard is one of these; so is the whole vector in a replay.

use serde::{Deserialize, Serialize};

/// What the optimiser and the gradient need from the settings; a change takes a sequence number of its own.
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

/// Parameters, Adam's moments, and the gradients that wait for the next update.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AdamState {
    pub parameters: Vec<f32>,
    pub first_moment: Vec<f32>,
    pub second_moment: Vec<f32>,
    /// Sum of the gradients since the last update.
    pub accumulator: Vec<f32>,
    /// How many gradients that sum holds.
    pub pending: u32,
    /// Updates so far: Adam's step, and the version that a pull is told.
    pub version: u64,
    /// Sequence number of the last entry applied.
    pub sequence: u64,
}

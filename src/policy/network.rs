//! The controller network: stub.
use super::{ControllerSettings, PolicyError};
use crate::random::Stream;
use crate::space::{Decision, Space};

/// Shapes of the controller network; its parameters are one flat vector that others own.
pub struct Policy {}

/// One sampled decision list.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub decisions: Vec<Decision>,
    /// Natural logarithm of its probability.
    pub log_probability: f64,
    /// Sum over the decisions of the entropy of each one's distribution, in nats.
    pub entropy: f64,
}

/// One finished trial in a gradient.
#[derive(Clone, Debug)]
pub struct Episode<'a> {
    pub decisions: &'a [Decision],
    /// Reward minus baseline; None: a failed child, left out of the mean.
    pub advantage: Option<f64>,
}

/// The gradient of the expected reward (the direction of ascent).
#[derive(Clone, Debug, PartialEq)]
pub struct Gradient {
    pub values: Vec<f32>,
    /// Euclidean norm.
    pub norm: f64,
    /// Mean entropy of the episodes, in nats.
    pub entropy: f64,
}

impl Policy {
    pub fn new(_space: &dyn Space, _settings: &ControllerSettings) -> Self {
        unimplemented!()
    }
    /// Length of the flat parameter vector.
    pub fn parameter_count(&self) -> usize {
        unimplemented!()
    }
    /// Uniform in ± init_scale, from the seed alone.
    pub fn initial_parameters(&self, _seed: u64) -> Vec<f32> {
        unimplemented!()
    }
    /// Samples one list per stream, batched. Single-threaded and deterministic.
    pub fn sample(
        &self,
        _parameters: &[f32],
        _space: &dyn Space,
        _layers: usize,
        _streams: Vec<Stream>,
    ) -> Result<Vec<Sample>, PolicyError> {
        unimplemented!()
    }
    /// The same, uniformly: the `random` strategy. Log-probability and entropy are those of the uniform choice.
    pub fn sample_uniform(&self, _space: &dyn Space, _layers: usize, _streams: Vec<Stream>) -> Vec<Sample> {
        unimplemented!()
    }
    /// Log-probability of each list, by replaying it.
    pub fn log_probabilities(
        &self,
        _parameters: &[f32],
        _space: &dyn Space,
        _layers: usize,
        _lists: &[&[Decision]],
    ) -> Result<Vec<f64>, PolicyError> {
        unimplemented!()
    }
    /// (1/n) Σ_k ∇ log P(list k) · advantage_k + entropy_weight · ∇ mean entropy, over the n episodes that have an advantage; zero where none has.
    pub fn gradient(
        &self,
        _parameters: &[f32],
        _space: &dyn Space,
        _layers: usize,
        _episodes: &[Episode],
        _entropy_weight: f64,
    ) -> Result<Gradient, PolicyError> {
        unimplemented!()
    }
}

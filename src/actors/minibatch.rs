//! A minibatch between its sampling and its gradient. Must not know who works on it.

use crate::journal::{OpenMinibatch, SampledMinibatch};
use crate::space::Decision;
use crate::strategy::PulledParameters;
use std::sync::Arc;

/// What the gradient of a minibatch is computed from, so that any generation of its replica can.
pub struct Minibatch {
    /// Counts its controller's minibatches, from 0.
    pub number: u64,
    pub layers: usize,
    pub pulled: PulledParameters,
    /// In slot order.
    pub decisions: Arc<[Vec<Decision>]>,
    /// The parameters that were pulled.
    pub parameters: Arc<[f32]>,
}

impl Minibatch {
    /// One that this process sampled, from these parameters.
    pub fn sampled(sampled: &SampledMinibatch, parameters: Arc<[f32]>) -> Self {
        let decisions = sampled
            .trials
            .iter()
            .map(|trial| trial.decisions.clone())
            .collect();
        Self {
            number: sampled.minibatch,
            layers: sampled.layers,
            pulled: sampled.pulled.clone(),
            decisions,
            parameters,
        }
    }

    /// One that an earlier process sampled, from these parameters.
    pub fn recovered(open: &OpenMinibatch, parameters: Arc<[f32]>) -> Self {
        let decisions = open
            .trials
            .iter()
            .map(|trial| trial.decisions.clone())
            .collect();
        Self {
            number: open.minibatch,
            layers: open.layers,
            pulled: open.pulled.clone(),
            decisions,
            parameters,
        }
    }
}

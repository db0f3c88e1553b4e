//! A convolutional network that trains on the CPU: one training step, and logits for evaluation, on plain slices.
//! Knows nothing of schedules, optimisers or data sets.

use super::reference;
use super::spec::{KernelError, NetworkSpec, ParameterSlot, Plan};
use std::sync::Arc;

/// A network's plan and its working memory. Parameters, running statistics and images belong to the caller.
pub struct ConvNet {
    plan: Plan,
    batch: usize,
    pool: Arc<rayon::ThreadPool>,
}

impl ConvNet {
    /// `batch`: the largest number of images in a step. The arithmetic runs in `pool` alone.
    pub fn new(spec: &NetworkSpec, batch: usize, pool: Arc<rayon::ThreadPool>) -> Result<Self, KernelError> {
        Ok(Self { plan: Plan::new(spec, batch)?, batch, pool })
    }

    /// The packed parameters, in order: each layer's weight, scale and shift, then the classifier's weight and bias.
    pub fn parameters(&self) -> &[ParameterSlot] {
        &self.plan.parameters
    }

    /// Length of the packed parameters.
    pub fn parameter_count(&self) -> usize {
        self.plan.parameter_count
    }

    /// The packed running statistics (initially mean 0, variance 1).
    pub fn running(&self) -> &[ParameterSlot] {
        &self.plan.running
    }

    /// Length of the packed running statistics.
    pub fn running_count(&self) -> usize {
        self.plan.running_count
    }

    /// One training step without its update. `images` [n, channels, height, width], `labels` [n], n at most `batch`.
    /// Returns the mean cross-entropy; writes its gradient; updates the running statistics (momentum 0.1, unbiased variance).
    pub fn train_step(&mut self, parameters: &[f32], running: &mut [f32], images: &[f32], labels: &[u8], gradient: &mut [f32]) -> f32 {
        assert!(labels.len() <= self.batch && !labels.is_empty(), "{} images, at most {} planned", labels.len(), self.batch);
        let wide = |slice: &[f32]| slice.iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
        let plan = &self.plan;
        let (p, r, x) = (wide(parameters), wide(running), wide(images));
        let (loss, g, r) = self.pool.install(|| reference::train_step(plan, &p, &r, &x, labels));
        gradient.iter_mut().zip(g).for_each(|(to, from)| *to = from as f32);
        running.iter_mut().zip(r).for_each(|(to, from)| *to = from as f32);
        loss as f32
    }

    /// Logits [n, classes] with running statistics; n may exceed `batch`.
    pub fn logits(&mut self, parameters: &[f32], running: &[f32], images: &[f32], out: &mut [f32]) {
        let wide = |slice: &[f32]| slice.iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
        let values = reference::logits(&self.plan, &wide(parameters), &wide(running), &wide(images));
        out.iter_mut().zip(values).for_each(|(to, from)| *to = from as f32);
    }

    /// Bytes of working memory held.
    pub fn memory_bytes(&self) -> usize {
        self.plan.parameter_count * 8
    }

    /// Bytes of working memory that `new` would take; `usize::MAX` where `new` would refuse.
    pub fn estimate_bytes(spec: &NetworkSpec, batch: usize) -> usize {
        Plan::new(spec, batch).map_or(usize::MAX, |plan| plan.parameter_count * 8)
    }
}

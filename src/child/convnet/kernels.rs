//! The network on the CPU's fast kernels. Must not know where images come from.

use super::{EngineError, Passes};
use crate::kernels::{ConvNet, KernelError, NetworkSpec, ParameterSlot};
use rayon::ThreadPool;
use std::sync::Arc;

/// The kernels' implementation of [`Passes`].
pub struct KernelPasses(ConvNet);

impl KernelPasses {
    /// The network, for at most `batch` images at once, computed in `pool` alone.
    ///
    /// # Errors
    /// The description contradicts itself, or no memory could hold it.
    pub fn new(
        spec: &NetworkSpec,
        batch: usize,
        pool: &Arc<ThreadPool>,
    ) -> Result<Self, EngineError> {
        Ok(Self(ConvNet::new(spec, batch, Arc::clone(pool))?))
    }
}

impl Passes for KernelPasses {
    fn parameters(&self) -> &[ParameterSlot] {
        self.0.parameters()
    }

    fn running(&self) -> &[ParameterSlot] {
        self.0.running()
    }

    fn set_label_smoothing(&mut self, share: f64) {
        self.0.set_label_smoothing(share);
    }

    fn train_step(
        &mut self,
        parameters: &[f32],
        running: &mut [f32],
        images: &[f32],
        labels: &[u8],
        gradient: &mut [f32],
    ) -> Result<f32, EngineError> {
        Ok(self
            .0
            .train_step(parameters, running, images, labels, gradient))
    }

    fn logits(
        &mut self,
        parameters: &[f32],
        running: &[f32],
        images: &[f32],
        out: &mut [f32],
    ) -> Result<(), EngineError> {
        self.0.logits(parameters, running, images, out);
        Ok(())
    }
}

impl From<KernelError> for EngineError {
    fn from(error: KernelError) -> Self {
        match error {
            KernelError::Invalid(_) => Self::Unbuildable(error.to_string()),
            KernelError::TooLarge(_) => Self::Memory(error.to_string()),
        }
    }
}

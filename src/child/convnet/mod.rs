//! A convolutional network as something that can be trained: packed parameters in, loss and
//! gradient out. Two engines compute the same numbers; must not know optimisers, epochs or data
//! sets.

#[cfg(test)]
mod device_passes;
mod initial;
mod kernels;
mod memory;
mod spec;
mod tensor_layers;
mod tensors;
#[cfg(test)]
mod tests;

pub use initial::{initial_parameters, initial_running};
pub use kernels::KernelPasses;
pub use spec::network_spec;
pub use tensors::TensorPasses;

use crate::kernels::cuda::{CudaError, NetworkError};
use crate::kernels::{NetworkSpec, ParameterSlot};
use crate::space::ConvNetwork;
use candle_core::Device;
use rayon::ThreadPool;
use std::sync::Arc;

/// Why an engine could not be built or did not finish a step.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    #[error("{0}")]
    Unbuildable(String),
    #[error("{0}")]
    Memory(String),
    /// The device's memory is used up, by this network or by others.
    #[error("{0}")]
    DeviceFull(String),
    #[error("{0}")]
    Device(String),
}

/// A network on a device. All parameters are one packed vector, laid out as `parameters` says; so
/// are the running statistics of batch normalisation. Images are `[batch, channels, height,
/// width]`, whitened; a batch may be smaller than the one that the engine was built for.
pub trait Passes {
    /// The trained tensors, in order of their offsets and without gaps.
    fn parameters(&self) -> &[ParameterSlot];

    /// Means and variances for evaluation, likewise.
    fn running(&self) -> &[ParameterSlot];

    /// The share of each training target that is spread evenly over all classes, 0 at first.
    fn set_label_smoothing(&mut self, share: f64);

    /// The mean cross-entropy of a batch, its gradient (overwritten, packed like the parameters),
    /// and the running statistics moved towards the batch's.
    ///
    /// # Errors
    /// What the device reports.
    fn train_step(
        &mut self,
        parameters: &[f32],
        running: &mut [f32],
        images: &[f32],
        labels: &[u8],
        gradient: &mut [f32],
    ) -> Result<f32, EngineError>;

    /// Logits `[batch, classes]` with the running statistics.
    ///
    /// # Errors
    /// What the device reports.
    fn logits(
        &mut self,
        parameters: &[f32],
        running: &[f32],
        images: &[f32],
        out: &mut [f32],
    ) -> Result<(), EngineError>;
}

/// The kernels' specification of a network, with what every batch normalisation adds to a variance
/// before its root.
///
/// # Errors
/// No network can be built from the architecture.
pub fn spec_with(
    network: &ConvNetwork,
    batch_norm_epsilon: f64,
) -> Result<NetworkSpec, EngineError> {
    Ok(NetworkSpec {
        batch_norm_epsilon,
        ..network_spec(network).map_err(EngineError::Unbuildable)?
    })
}

/// The engine for a network and a device: on the CPU the kernels in `pool`, elsewhere candle's
/// tensors. `batch`: the largest number of images in a step; `batch_norm_epsilon`: what every batch
/// normalisation adds to a variance before its root.
///
/// # Errors
/// No network can be built from the architecture, or it would need more than `memory_limit_bytes`
/// (None: no limit).
pub fn passes(
    network: &ConvNetwork,
    batch: usize,
    batch_norm_epsilon: f64,
    device: &Device,
    pool: &Arc<ThreadPool>,
    memory_limit_bytes: Option<u64>,
) -> Result<Box<dyn Passes>, EngineError> {
    let spec = spec_with(network, batch_norm_epsilon)?;
    let bytes = if device.is_cpu() {
        memory::kernel_bytes(&spec, batch)
    } else {
        memory::tensor_bytes(&spec, batch)
    };
    memory::check(bytes, memory_limit_bytes, batch)?;
    if device.is_cpu() {
        Ok(Box::new(KernelPasses::new(&spec, batch, pool)?))
    } else {
        Ok(Box::new(TensorPasses::new(&spec, device)))
    }
}

impl From<CudaError> for EngineError {
    fn from(error: CudaError) -> Self {
        match error {
            // With the whole card for itself it would have no room either.
            CudaError::Memory { needed, total, .. } if needed > total => {
                Self::Memory(format!("not trained: {error}"))
            }
            CudaError::Memory { .. } => Self::DeviceFull(error.to_string()),
            CudaError::Driver { .. } | CudaError::Kernels { .. } => Self::Device(error.to_string()),
        }
    }
}

impl From<NetworkError> for EngineError {
    fn from(error: NetworkError) -> Self {
        match error {
            NetworkError::Network(error) => error.into(),
            NetworkError::Device(error) => error.into(),
        }
    }
}

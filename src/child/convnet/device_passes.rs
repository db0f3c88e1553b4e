//! The network on the kernels for GPUs, pass by pass, which checks them. Must not know where images
//! come from.

use super::{EngineError, Passes};
use crate::kernels::cuda::{CudaError, Device, DeviceNetwork, Job, Precision, State};
use crate::kernels::{NetworkSpec, ParameterSlot};
use std::rc::Rc;

/// The implementation of [`Passes`] on a GPU.
pub struct DevicePasses {
    device: Rc<Device>,
    spec: NetworkSpec,
    batch: usize,
    precision: Precision,
    smoothing: f64,
    network: DeviceNetwork,
}

impl DevicePasses {
    /// The network, for at most `batch` images at once.
    ///
    /// # Errors
    /// The description contradicts itself, or the device has no room for it.
    pub fn new(
        spec: &NetworkSpec,
        batch: usize,
        precision: Precision,
        device: &Rc<Device>,
    ) -> Result<Self, EngineError> {
        let network = DeviceNetwork::new(device, None, spec, job(batch, precision, 0.0))?;
        Ok(Self {
            device: device.clone(),
            spec: spec.clone(),
            batch,
            precision,
            smoothing: 0.0,
            network,
        })
    }

    fn set(&self, parameters: &[f32], running: &[f32]) -> Result<(), CudaError> {
        self.network.set_state(&State {
            parameters: parameters.to_vec(),
            velocity: vec![0.0; parameters.len()],
            running: running.to_vec(),
            average: None,
        })
    }
}

/// Passes alone: no data set, and nothing moves.
fn job(batch: usize, precision: Precision, label_smoothing: f64) -> Job {
    Job {
        precision,
        batch,
        train: 0,
        validation: 0,
        momentum: 0.0,
        weight_decay: 0.0,
        decoupled_weight_decay: false,
        label_smoothing,
        averages: false,
    }
}

impl Passes for DevicePasses {
    fn parameters(&self) -> &[ParameterSlot] {
        self.network.parameters()
    }

    fn running(&self) -> &[ParameterSlot] {
        self.network.running()
    }

    fn set_label_smoothing(&mut self, share: f64) {
        self.smoothing = share;
    }

    fn train_step(
        &mut self,
        parameters: &[f32],
        running: &mut [f32],
        images: &[f32],
        labels: &[u8],
        gradient: &mut [f32],
    ) -> Result<f32, EngineError> {
        let job = job(self.batch, self.precision, self.smoothing);
        self.network = DeviceNetwork::new(&self.device, None, &self.spec, job)?;
        self.set(parameters, running)?;
        let (loss, numbers) = self.network.gradient(images, labels)?;
        gradient.copy_from_slice(&numbers);
        running.copy_from_slice(&self.network.state()?.running);
        Ok(loss)
    }

    fn logits(
        &mut self,
        parameters: &[f32],
        running: &[f32],
        images: &[f32],
        out: &mut [f32],
    ) -> Result<(), EngineError> {
        self.set(parameters, running)?;
        out.copy_from_slice(&self.network.logits(images)?);
        Ok(())
    }
}

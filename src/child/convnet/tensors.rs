//! The network in candle tensors, with automatic differentiation: runs on every candle device, and
//! checks the fast kernels on the CPU. Must not know where images come from.

use super::tensor_layers::{average_pool, convolve, local_contrast, max_pool, relu};
use super::{EngineError, Passes};
use crate::kernels::{LayerSpec, NetworkSpec, OperationSpec, ParameterSlot};
use candle_core::{Device, Result, Tensor, Var};

/// Weight of a batch in the running statistics, as in PyTorch.
const MOMENTUM: f32 = 0.1;

/// The candle implementation of [`Passes`].
pub struct TensorPasses {
    spec: NetworkSpec,
    device: Device,
    parameters: Vec<ParameterSlot>,
    running: Vec<ParameterSlot>,
    label_smoothing: f64,
}

/// Where batch normalisation takes its statistics from.
enum Statistics<'a> {
    /// From the batch; those of each layer that normalises are noted.
    Batch(&'a mut Vec<Seen>),
    /// From earlier batches: mean and variance of the layers that normalise and are still to come.
    Running(std::slice::Iter<'a, Tensor>),
}

/// Statistics of a layer's batch, without a gradient's graph behind them.
struct Seen {
    mean: Tensor,
    /// Biased.
    variance: Tensor,
    /// Values of a channel.
    count: usize,
}

impl TensorPasses {
    /// The network on a device.
    pub fn new(spec: &NetworkSpec, device: &Device) -> Self {
        let (parameters, running) = slots(spec);
        Self {
            spec: spec.clone(),
            device: device.clone(),
            parameters,
            running,
            label_smoothing: 0.0,
        }
    }

    /// The slots' tensors, in order.
    fn unpack(&self, slots: &[ParameterSlot], packed: &[f32]) -> Result<Vec<Tensor>> {
        slots
            .iter()
            .map(|slot| {
                Tensor::from_slice(values(slot, packed), slot.shape.as_slice(), &self.device)
            })
            .collect()
    }

    fn images(&self, images: &[f32]) -> Result<Tensor> {
        let NetworkSpec {
            channels,
            height,
            width,
            ..
        } = self.spec;
        let batch = images.len() / (channels * height * width);
        Tensor::from_slice(images, (batch, channels, height, width), &self.device)
    }

    /// Logits `[batch, classes]`. `parameters`: one tensor a slot.
    fn forward(
        &self,
        parameters: &[Tensor],
        images: Tensor,
        mut statistics: Statistics,
    ) -> Result<Tensor> {
        let mut outputs = vec![images];
        let mut parameters = parameters.iter();
        for layer in &self.spec.layers {
            let inputs = layer.inputs.iter().map(|&input| &outputs[input]);
            let input = if layer.operation == OperationSpec::Add {
                sum(inputs)?
            } else {
                concatenate(inputs)?
            };
            let epsilon = self.spec.batch_norm_epsilon;
            outputs.push(apply(
                layer,
                &input,
                epsilon,
                &mut parameters,
                &mut statistics,
            )?);
        }
        let features =
            concatenate(self.spec.output.iter().map(|&output| &outputs[output]))?.mean((2, 3))?;
        let weight = next(&mut parameters)?;
        features
            .matmul(&weight.t()?)?
            .broadcast_add(next(&mut parameters)?)
    }

    fn step(
        &self,
        parameters: &[f32],
        running: &mut [f32],
        images: &[f32],
        labels: &[u8],
        gradient: &mut [f32],
    ) -> Result<f32> {
        let variables = self.unpack(&self.parameters, parameters)?;
        let variables = variables
            .iter()
            .map(Var::from_tensor)
            .collect::<Result<Vec<_>>>()?;
        let tensors: Vec<Tensor> = variables
            .iter()
            .map(|variable| variable.as_tensor().clone())
            .collect();
        let mut statistics = Vec::new();
        let logits = self.forward(
            &tensors,
            self.images(images)?,
            Statistics::Batch(&mut statistics),
        )?;
        let labels: Vec<u32> = labels.iter().map(|&label| u32::from(label)).collect();
        let labels = Tensor::from_vec(labels, logits.dim(0)?, &self.device)?;
        let loss = self.loss(&logits, &labels)?;

        let mut gradients = loss.backward()?;
        let parts = tensors.iter().map(|tensor| match gradients.remove(tensor) {
            Some(part) => part.flatten_all(),
            None => tensor.zeros_like()?.flatten_all(),
        });
        gradient.copy_from_slice(
            &Tensor::cat(&parts.collect::<Result<Vec<_>>>()?, 0)?.to_vec1::<f32>()?,
        );
        self.move_running(running, &statistics)?;
        loss.to_scalar()
    }

    /// Mean cross-entropy of logits `[batch, classes]` against labels `[batch]`, smoothed.
    fn loss(&self, logits: &Tensor, labels: &Tensor) -> Result<Tensor> {
        let share = self.label_smoothing;
        if share == 0.0 {
            return candle_nn::loss::cross_entropy(logits, labels);
        }
        let logarithms = candle_nn::ops::log_softmax(logits, 1)?;
        let own = (candle_nn::loss::nll(&logarithms, labels)? * (1.0 - share))?;
        own - (logarithms.mean_all()? * share)?
    }

    /// Moves the running statistics towards those of a batch (the unbiased variance; of one value
    /// there is none).
    fn move_running(&self, running: &mut [f32], seen: &[Seen]) -> Result<()> {
        if seen.is_empty() {
            return Ok(());
        }
        let tensors: Vec<&Tensor> = seen
            .iter()
            .flat_map(|seen| [&seen.mean, &seen.variance])
            .collect();
        let values_seen = Tensor::cat(&tensors, 0)?.to_vec1::<f32>()?;
        for (index, slot) in self.running.iter().enumerate() {
            let count = seen[index / 2].count as f32;
            let is_variance = index % 2 == 1;
            if is_variance && count == 1.0 {
                continue;
            }
            let factor = if is_variance {
                count / (count - 1.0)
            } else {
                1.0
            };
            let range = slot.offset..slot.offset + slot.len();
            for (running, seen) in running[range.clone()].iter_mut().zip(&values_seen[range]) {
                *running += MOMENTUM * (seen * factor - *running);
            }
        }
        Ok(())
    }

    fn evaluate(
        &self,
        parameters: &[f32],
        running: &[f32],
        images: &[f32],
        out: &mut [f32],
    ) -> Result<()> {
        let parameters = self.unpack(&self.parameters, parameters)?;
        let running = self.unpack(&self.running, running)?;
        let logits = self.forward(
            &parameters,
            self.images(images)?,
            Statistics::Running(running.iter()),
        )?;
        out.copy_from_slice(&logits.flatten_all()?.to_vec1::<f32>()?);
        Ok(())
    }
}

impl Passes for TensorPasses {
    fn parameters(&self) -> &[ParameterSlot] {
        &self.parameters
    }

    fn running(&self) -> &[ParameterSlot] {
        &self.running
    }

    fn set_label_smoothing(&mut self, share: f64) {
        self.label_smoothing = share;
    }

    fn train_step(
        &mut self,
        parameters: &[f32],
        running: &mut [f32],
        images: &[f32],
        labels: &[u8],
        gradient: &mut [f32],
    ) -> std::result::Result<f32, EngineError> {
        self.step(parameters, running, images, labels, gradient)
            .map_err(EngineError::from)
    }

    fn logits(
        &mut self,
        parameters: &[f32],
        running: &[f32],
        images: &[f32],
        out: &mut [f32],
    ) -> std::result::Result<(), EngineError> {
        self.evaluate(parameters, running, images, out)
            .map_err(EngineError::from)
    }
}

impl From<candle_core::Error> for EngineError {
    fn from(error: candle_core::Error) -> Self {
        let text = error.to_string();
        let lower = text.to_lowercase();
        // the driver's words: CUDA_ERROR_OUT_OF_MEMORY, "out of memory"
        if lower.contains("out of memory") || lower.contains("out_of_memory") {
            Self::DeviceFull(text)
        } else {
            Self::Device(text)
        }
    }
}

/// The part of a packed vector that a slot names.
fn values<'a>(slot: &ParameterSlot, packed: &'a [f32]) -> &'a [f32] {
    &packed[slot.offset..][..slot.len()]
}

/// Concatenation along depth; smaller tensors are first padded with zeros at the bottom and the
/// right (paper §3.3, rule 3).
fn concatenate<'a>(tensors: impl Iterator<Item = &'a Tensor> + Clone) -> Result<Tensor> {
    Tensor::cat(&padded(tensors, &[2, 3])?, 1)
}

/// The sum; smaller tensors are first padded with zeros, also along depth.
fn sum<'a>(tensors: impl Iterator<Item = &'a Tensor> + Clone) -> Result<Tensor> {
    let tensors = padded(tensors, &[1, 2, 3])?;
    let mut tensors = tensors.into_iter();
    let first = tensors
        .next()
        .ok_or_else(|| candle_core::Error::Msg("a sum of nothing".into()))?;
    tensors.try_fold(first, |sum, next| sum + next)
}

/// Each tensor with zeros behind it along these dimensions, up to the largest of them.
fn padded<'a>(
    tensors: impl Iterator<Item = &'a Tensor> + Clone,
    dims: &[usize],
) -> Result<Vec<Tensor>> {
    let mut padded: Vec<Tensor> = tensors.cloned().collect();
    for &dim in dims {
        let sizes = padded.iter().map(|tensor| tensor.dim(dim));
        let largest = sizes.collect::<Result<Vec<_>>>()?.into_iter().max();
        for tensor in &mut padded {
            let missing = largest.unwrap_or(0) - tensor.dim(dim)?;
            *tensor = tensor.pad_with_zeros(dim, 0, missing)?;
        }
    }
    Ok(padded)
}

/// The output of one layer; takes its parameters, and where they are known its statistics, off the
/// iterators. `epsilon` is batch normalisation's.
fn apply<'a>(
    layer: &LayerSpec,
    input: &Tensor,
    epsilon: f64,
    parameters: &mut impl Iterator<Item = &'a Tensor>,
    statistics: &mut Statistics,
) -> Result<Tensor> {
    match layer.operation {
        OperationSpec::Convolution {
            filter_height,
            filter_width,
            stride_height,
            stride_width,
            ..
        }
        | OperationSpec::PlainConvolution {
            filter_height,
            filter_width,
            stride_height,
            stride_width,
            ..
        } => {
            let convolved = convolve(
                input,
                next(parameters)?,
                (filter_height, filter_width),
                (stride_height, stride_width),
            )?;
            if layer.operation.normalises() {
                relu(&normalise(&convolved, epsilon, parameters, statistics)?)
            } else {
                Ok(convolved)
            }
        }
        OperationSpec::MaxPooling { size, stride } => max_pool(input, size, stride),
        OperationSpec::AveragePooling { size, stride } => average_pool(input, size, stride),
        OperationSpec::LocalContrast { window } => local_contrast(input, window),
        OperationSpec::BatchNorm => normalise(input, epsilon, parameters, statistics),
        OperationSpec::Relu | OperationSpec::Add => relu(input),
    }
}

fn next<'a>(tensors: &mut impl Iterator<Item = &'a Tensor>) -> Result<&'a Tensor> {
    tensors
        .next()
        .ok_or_else(|| candle_core::Error::Msg("a layer lacks its parameters".into()))
}

/// `[channels]` as `[1, channels, 1, 1]`.
fn per_channel(tensor: &Tensor) -> Result<Tensor> {
    tensor.reshape((1, tensor.elem_count(), 1, 1))
}

/// To zero mean and unit variance in each channel, then scaled and shifted. Leaves the statistics
/// of a batch detached from the gradient's graph.
fn normalise<'a>(
    input: &Tensor,
    epsilon: f64,
    parameters: &mut impl Iterator<Item = &'a Tensor>,
    statistics: &mut Statistics,
) -> Result<Tensor> {
    let normalised = match statistics {
        Statistics::Batch(noted) => {
            let mean = input.mean_keepdim((0, 2, 3))?;
            let centred = input.broadcast_sub(&mean)?;
            let variance = centred.sqr()?.mean_keepdim((0, 2, 3))?;
            noted.push(Seen {
                mean: mean.flatten_all()?.detach(),
                variance: variance.flatten_all()?.detach(),
                count: input.elem_count() / mean.elem_count(),
            });
            centred.broadcast_div(&(variance + epsilon)?.sqrt()?)?
        }
        Statistics::Running(known) => {
            let mean = per_channel(next(known)?)?;
            let deviation = (per_channel(next(known)?)? + epsilon)?.sqrt()?;
            input.broadcast_sub(&mean)?.broadcast_div(&deviation)?
        }
    };
    normalised
        .broadcast_mul(&per_channel(next(parameters)?)?)?
        .broadcast_add(&per_channel(next(parameters)?)?)
}

/// The packed layout of parameters and of running statistics: that of the kernels.
fn slots(spec: &NetworkSpec) -> (Vec<ParameterSlot>, Vec<ParameterSlot>) {
    let mut parameters = Vec::new();
    let mut running = Vec::new();
    let mut depths = vec![spec.channels];
    for (index, layer) in spec.layers.iter().enumerate() {
        let inputs = layer.inputs.iter().map(|&input| depths[input]);
        let inputs = layer.operation.input_channels(inputs);
        let mut channels = inputs;
        let name = format!("layer{}", index + 1);
        if let OperationSpec::Convolution {
            filter_height,
            filter_width,
            filters,
            ..
        }
        | OperationSpec::PlainConvolution {
            filter_height,
            filter_width,
            filters,
            ..
        } = layer.operation
        {
            channels = filters;
            push(
                &mut parameters,
                format!("{name}.weight"),
                vec![filters, inputs, filter_height, filter_width],
            );
        }
        if layer.operation.normalises() {
            push(&mut parameters, format!("{name}.scale"), vec![channels]);
            push(&mut parameters, format!("{name}.shift"), vec![channels]);
            push(&mut running, format!("{name}.running_mean"), vec![channels]);
            push(
                &mut running,
                format!("{name}.running_variance"),
                vec![channels],
            );
        }
        depths.push(channels);
    }
    let features = spec.output.iter().map(|&output| depths[output]).sum();
    push(
        &mut parameters,
        "classifier.weight".into(),
        vec![spec.classes, features],
    );
    push(
        &mut parameters,
        "classifier.bias".into(),
        vec![spec.classes],
    );
    (parameters, running)
}

/// Appends a slot right behind the last one.
fn push(slots: &mut Vec<ParameterSlot>, name: String, shape: Vec<usize>) {
    let offset = slots.last().map_or(0, |last| last.offset + last.len());
    slots.push(ParameterSlot {
        name,
        shape,
        offset,
    });
}

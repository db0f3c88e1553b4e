//! How much memory a child takes, known before it takes any: on the CPU a failed allocation ends
//! the process.

use super::EngineError;
use crate::kernels::{ConvNet, NetworkSpec, OperationSpec};

/// Bytes that candle's tensors take at most in a training step; rough, and not too low. In floating
/// point: no size overflows it.
pub fn tensor_bytes(spec: &NetworkSpec, batch: usize) -> u64 {
    let mut shapes = vec![(spec.channels as f64, spec.height as f64, spec.width as f64)];
    let mut kept = 0f64;
    let mut largest_columns = 0f64;
    for layer in &spec.layers {
        let (depth, height, width) = joined(&shapes, &layer.inputs, layer.operation);
        let (output, own, columns) = layer_floats(layer.operation, (depth, height, width));
        kept += own;
        largest_columns = largest_columns.max(columns);
        shapes.push(output);
    }
    let (features, height, width) = joined(&shapes, &spec.output, OperationSpec::Relu);
    kept += features * height * width;
    // each saved tensor may have a gradient as large; parameters: values, gradients, velocity,
    // copies on the device
    let floats = (2.0 * kept + largest_columns) * batch as f64 + 6.0 * parameters(spec);
    (4.0 * floats) as u64
}

/// Bytes that a child takes on the CPU: the kernels' working memory, and parameters, gradient,
/// velocity, a checkpoint and a batch beside it.
pub fn kernel_bytes(spec: &NetworkSpec, batch: usize) -> u64 {
    let images = batch as f64 * spec.channels as f64 * spec.height as f64 * spec.width as f64;
    (ConvNet::estimate_bytes(spec, batch) as f64 + 4.0 * (5.0 * parameters(spec) + images)) as u64
}

type Shape = (f64, f64, f64);

/// A layer's output shape, how many numbers it saves for the backward pass, and how many its
/// largest temporary tensor has.
fn layer_floats(operation: OperationSpec, (depth, height, width): Shape) -> (Shape, f64, f64) {
    let strided = |channels: f64, down: usize, right: usize| {
        (
            channels,
            (height / down as f64).ceil(),
            (width / right as f64).ceil(),
        )
    };
    let input = depth * height * width;
    match operation {
        OperationSpec::Convolution {
            filter_height,
            filter_width,
            filters,
            stride_height,
            stride_width,
        }
        | OperationSpec::PlainConvolution {
            filter_height,
            filter_width,
            filters,
            stride_height,
            stride_width,
        } => {
            let tall = filter_height as f64;
            let wide = filter_width as f64;
            let filters = filters as f64;
            let output = strided(filters, stride_height, stride_width);
            // concatenated, padded at each side in turn, cut; convolved (before strides that
            // differ), then seven normalisation and ReLU steps
            let margins = (height + tall) * (width + wide) * depth;
            let kept =
                3.0 * margins + filters * height * width + 8.0 * output.0 * output.1 * output.2;
            (
                output,
                kept,
                tall * wide * height * width * depth.max(filters),
            )
        }
        OperationSpec::MaxPooling { size, stride } => {
            let output = strided(depth, stride, stride);
            let values = output.0 * output.1 * output.2;
            // for each place in the window: rows picked, columns picked, compared, chosen
            (
                output,
                input
                    + (size * size) as f64 * 4.0 * values
                    + size as f64 * depth * output.1 * width,
                0.0,
            )
        }
        OperationSpec::AveragePooling { stride, .. } => {
            let output = strided(depth, stride, stride);
            (
                output,
                input + depth * output.1 * width + output.0 * output.1 * output.2,
                0.0,
            )
        }
        // concatenated; without its mean, squared, divided; and a few single planes
        OperationSpec::LocalContrast { .. } => (
            (depth, height, width),
            5.0 * input + 12.0 * height * width,
            0.0,
        ),
        OperationSpec::BatchNorm => ((depth, height, width), 7.0 * input, 0.0),
        // concatenated, compared with 0, multiplied
        OperationSpec::Relu => ((depth, height, width), 3.0 * input, 0.0),
        // each input padded and added, then as above; two inputs in most networks
        OperationSpec::Add => ((depth, height, width), 8.0 * input, 0.0),
    }
}

/// How many parameters the network has.
fn parameters(spec: &NetworkSpec) -> f64 {
    let mut depths = vec![spec.channels as f64];
    let mut sum = 0.0;
    for layer in &spec.layers {
        let inputs = layer.inputs.iter().map(|&input| depths[input]);
        let depth: f64 = if layer.operation == OperationSpec::Add {
            inputs.fold(0.0, f64::max)
        } else {
            inputs.sum()
        };
        let weights = |height: usize, width: usize, filters: usize| {
            filters as f64 * depth * height as f64 * width as f64
        };
        let (filters, own) = match layer.operation {
            OperationSpec::Convolution {
                filter_height,
                filter_width,
                filters,
                ..
            } => (
                filters as f64,
                weights(filter_height, filter_width, filters) + 2.0 * filters as f64,
            ),
            OperationSpec::PlainConvolution {
                filter_height,
                filter_width,
                filters,
                ..
            } => (
                filters as f64,
                weights(filter_height, filter_width, filters),
            ),
            OperationSpec::BatchNorm => (depth, 2.0 * depth),
            OperationSpec::MaxPooling { .. }
            | OperationSpec::AveragePooling { .. }
            | OperationSpec::LocalContrast { .. }
            | OperationSpec::Relu
            | OperationSpec::Add => (depth, 0.0),
        };
        depths.push(filters);
        sum += own;
    }
    sum + (spec
        .output
        .iter()
        .map(|&output| depths[output])
        .sum::<f64>()
        + 1.0)
        * spec.classes as f64
}

/// Depth, height and width of what an operation takes: of a sum the largest of each, else inputs
/// concatenated along depth.
fn joined(shapes: &[Shape], inputs: &[usize], operation: OperationSpec) -> Shape {
    let adds = operation == OperationSpec::Add;
    inputs
        .iter()
        .map(|&input| shapes[input])
        .fold((0.0, 0.0, 0.0), |all, one| {
            (
                if adds {
                    f64::max(all.0, one.0)
                } else {
                    all.0 + one.0
                },
                f64::max(all.1, one.1),
                f64::max(all.2, one.2),
            )
        })
}

/// # Errors
/// The estimate is beyond the limit (None: there is none); says both in numbers.
pub fn check(needed_bytes: u64, limit_bytes: Option<u64>, batch: usize) -> Result<(), EngineError> {
    match limit_bytes {
        Some(limit) if needed_bytes > limit => {
            let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
            let needed = mebibytes(needed_bytes);
            let limit = mebibytes(limit);
            Err(EngineError::Memory(format!(
                "not trained: it needs about {needed:.1} MiB for batches of {batch} images, and {limit:.1} MiB are there for it; \
                 a smaller child.batch_size or fewer lanes would leave it room"
            )))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::{BATCH_NORM_EPSILON, LayerSpec};

    fn spec(filters: usize) -> NetworkSpec {
        let operation = OperationSpec::Convolution {
            filter_height: 3,
            filter_width: 3,
            filters,
            stride_height: 1,
            stride_width: 1,
        };
        let layer = LayerSpec {
            operation,
            inputs: vec![0],
        };
        NetworkSpec {
            channels: 3,
            height: 32,
            width: 32,
            classes: 10,
            batch_norm_epsilon: BATCH_NORM_EPSILON,
            layers: vec![layer],
            output: vec![1],
        }
    }

    #[test]
    fn grows_with_batch_and_filters_and_never_overflows() {
        // one output of 48 filters for 64 images is 12.6 MB; a step saves several
        let bytes = tensor_bytes(&spec(48), 64);
        assert!((60_000_000..600_000_000).contains(&bytes), "{bytes}");
        assert!(tensor_bytes(&spec(48), 128) > bytes + bytes / 2);
        assert!(tensor_bytes(&spec(96), 64) > bytes + bytes / 2);
        assert!(tensor_bytes(&spec(1 << 50), 1 << 40) == u64::MAX);
    }

    #[test]
    fn the_message_has_both_numbers() {
        assert_eq!(check(5 << 20, None, 64), Ok(()));
        assert_eq!(check(5 << 20, Some(5 << 20), 64), Ok(()));
        let EngineError::Memory(text) = check(5 << 20, Some(3 << 20), 64).unwrap_err() else {
            panic!()
        };
        assert!(
            text.contains("5.0 MiB") && text.contains("3.0 MiB") && text.contains("64 images"),
            "{text}"
        );
    }
}

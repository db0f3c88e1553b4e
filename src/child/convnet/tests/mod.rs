//! Engines against the definition and against each other.

mod gpu;
mod reference;
mod torch;

use super::*;
use crate::child::Sgd;
use crate::kernels::{LayerSpec, NetworkSpec, OperationSpec};
use crate::random::{Key, Purpose, Stream};
use crate::space::{ConvLayer, Convolution, ImageShape, Operation, Pool};
use proptest::prelude::*;
use rand::{Rng, RngExt};

/// A random convolution: a filter of mixed shape, strides.
fn random_convolution(stream: &mut Stream) -> OperationSpec {
    let filter = [1, 2, 3, 4, 5, 7];
    OperationSpec::Convolution {
        filter_height: filter[stream.random_range(0..6)],
        filter_width: filter[stream.random_range(0..6)],
        filters: stream.random_range(1..=6),
        stride_height: stream.random_range(1..=3),
        stride_width: stream.random_range(1..=3),
    }
}

/// A random layer of any type; half of them have filters.
fn random_operation(stream: &mut Stream) -> OperationSpec {
    let size = stream.random_range(1..=4);
    let stride = stream.random_range(1..=3);
    match stream.random_range(0..12) {
        0 => OperationSpec::MaxPooling { size, stride },
        1 => OperationSpec::AveragePooling { size, stride },
        2 => OperationSpec::LocalContrast {
            window: 2 * size + 1,
        },
        3 => OperationSpec::BatchNorm,
        4 => OperationSpec::Relu,
        5 => OperationSpec::Add,
        6 | 7 => plain(random_convolution(stream)),
        _ => random_convolution(stream),
    }
}

/// The same convolution with nothing behind it.
fn plain(operation: OperationSpec) -> OperationSpec {
    let OperationSpec::Convolution {
        filter_height,
        filter_width,
        filters,
        stride_height,
        stride_width,
    } = operation
    else {
        panic!("{operation:?} has no filters")
    };
    OperationSpec::PlainConvolution {
        filter_height,
        filter_width,
        filters,
        stride_height,
        stride_width,
    }
}

/// A random network: strides, filters of mixed shapes, skips, loose ends, sizes that no stride
/// divides.
fn random_network(stream: &mut Stream) -> NetworkSpec {
    random_network_of(stream, random_convolution)
}

/// The same with layers of all types.
fn mixed_network(stream: &mut Stream) -> NetworkSpec {
    random_network_of(stream, random_operation)
}

fn random_network_of(
    stream: &mut Stream,
    operation: fn(&mut Stream) -> OperationSpec,
) -> NetworkSpec {
    let count = stream.random_range(1..=5);
    let mut consumed = vec![false; count + 1];
    let mut layers = Vec::new();
    for index in 0..count {
        let mut inputs: Vec<usize> = (0..=index).filter(|_| stream.random_bool(0.4)).collect();
        if inputs.is_empty() {
            inputs.push(stream.random_range(0..=index));
        }
        inputs.iter().for_each(|&input| consumed[input] = true);
        layers.push(LayerSpec {
            operation: operation(stream),
            inputs,
        });
    }
    NetworkSpec {
        channels: stream.random_range(1..=3),
        height: stream.random_range(5..=11),
        width: stream.random_range(5..=11),
        classes: stream.random_range(2..=5),
        // The usual one, and such as the paper's grid has (§4.1).
        batch_norm_epsilon: [1e-5, 1e-3, 0.1][count % 3],
        layers,
        output: (1..=count).filter(|&layer| !consumed[layer]).collect(),
    }
}

/// A batch for it.
fn random_batch(spec: &NetworkSpec, count: usize, stream: &mut Stream) -> (Vec<f32>, Vec<u8>) {
    let pixels = count * spec.channels * spec.height * spec.width;
    let images = (0..pixels)
        .map(|_| stream.random_range(-2.0..2.0))
        .collect();
    (
        images,
        (0..count)
            .map(|_| stream.random_range(0..spec.classes) as u8)
            .collect(),
    )
}

/// Initial parameters, moved off the values at which scales, shifts and biases start.
fn random_parameters(engine: &dyn Passes, stream: &mut Stream) -> Vec<f32> {
    let mut parameters = initial_parameters(engine.parameters(), stream.next_u64());
    parameters
        .iter_mut()
        .for_each(|parameter| *parameter += stream.random_range(-0.2..0.2));
    parameters
}

/// Panics unless each tensor is within `tolerance` of its largest value, or of a twentieth of the
/// largest of all tensors: where a tensor's sums cancel, their terms are as large as the other
/// tensors' numbers (normalisation makes some gradients vanish, that of a lone weight, say).
fn assert_tensors_close(
    slots: &[ParameterSlot],
    found: &[f32],
    expected: &[f32],
    tolerance: f32,
    what: &str,
) {
    let largest = |values: &[f32]| values.iter().fold(0.0f32, |a, value| a.max(value.abs()));
    let terms = largest(expected) / 20.0;
    for slot in slots {
        let range = slot.offset..slot.offset + slot.len();
        let found = &found[range.clone()];
        let expected = &expected[range];
        let size = largest(expected).max(terms);
        for (index, (a, b)) in found.iter().zip(expected).enumerate() {
            assert!(
                (a - b).abs() <= tolerance * size,
                "{what}: {}[{index}] is {a}, expected {b} (size of the terms {size})",
                slot.name
            );
        }
    }
}

/// d loss / d parameter, by central differences of the reference.
fn finite_differences(
    spec: &NetworkSpec,
    parameters: &[f32],
    images: &[f32],
    labels: &[u8],
    smoothing: f64,
) -> Vec<f32> {
    let mut parameters: Vec<f64> = parameters
        .iter()
        .map(|&parameter| f64::from(parameter))
        .collect();
    let step = 1e-6;
    (0..parameters.len())
        .map(|index| {
            let centre = parameters[index];
            parameters[index] = centre + step;
            let above = reference::loss(spec, &parameters, images, labels, smoothing);
            parameters[index] = centre - step;
            let below = reference::loss(spec, &parameters, images, labels, smoothing);
            parameters[index] = centre;
            ((above - below) / (2.0 * step)) as f32
        })
        .collect()
}

fn assert_gradient_is_right(engine: &mut dyn Passes, spec: &NetworkSpec, stream: &mut Stream) {
    assert_gradient_of(engine, spec, 0.0, stream);
}

fn assert_smoothed_gradient_is_right(
    engine: &mut dyn Passes,
    spec: &NetworkSpec,
    stream: &mut Stream,
) {
    assert_gradient_of(engine, spec, 0.2, stream);
}

fn assert_gradient_of(
    engine: &mut dyn Passes,
    spec: &NetworkSpec,
    smoothing: f64,
    stream: &mut Stream,
) {
    engine.set_label_smoothing(smoothing);
    let (images, labels) = random_batch(spec, 3, stream);
    let parameters = random_parameters(engine, stream);
    let mut gradient = vec![f32::NAN; parameters.len()];
    let mut running = initial_running(engine.running());
    let loss = engine
        .train_step(&parameters, &mut running, &images, &labels, &mut gradient)
        .unwrap();
    let exact: Vec<f64> = parameters
        .iter()
        .map(|&parameter| f64::from(parameter))
        .collect();
    let expected = reference::loss(spec, &exact, &images, &labels, smoothing);
    assert!(
        (f64::from(loss) - expected).abs() < 1e-4,
        "loss {loss}, expected {expected}: {spec:?}"
    );
    let expected = finite_differences(spec, &parameters, &images, &labels, smoothing);
    assert_tensors_close(
        engine.parameters(),
        &gradient,
        &expected,
        2e-3,
        &format!("gradient of {spec:?}"),
    );
}

fn stream(seed: u64) -> Stream {
    Key::seed(seed).stream(Purpose::ChildParameters)
}

/// Positions of the output of each layer that normalises, in a batch: what its statistics are taken
/// over.
fn positions(spec: &NetworkSpec, batch: usize) -> Vec<usize> {
    let mut sizes = vec![(spec.height, spec.width)];
    let mut counts = Vec::new();
    for layer in &spec.layers {
        let largest = |side: fn(&(usize, usize)) -> usize| {
            layer
                .inputs
                .iter()
                .map(|&input| side(&sizes[input]))
                .max()
                .unwrap()
        };
        let (height, width) = (largest(|size| size.0), largest(|size| size.1));
        let (down, right) = match layer.operation {
            OperationSpec::Convolution {
                stride_height,
                stride_width,
                ..
            }
            | OperationSpec::PlainConvolution {
                stride_height,
                stride_width,
                ..
            } => (stride_height, stride_width),
            OperationSpec::MaxPooling { stride, .. }
            | OperationSpec::AveragePooling { stride, .. } => (stride, stride),
            OperationSpec::LocalContrast { .. }
            | OperationSpec::BatchNorm
            | OperationSpec::Relu
            | OperationSpec::Add => (1, 1),
        };
        let size = (height.div_ceil(down), width.div_ceil(right));
        if layer.operation.normalises() {
            counts.push(batch * size.0 * size.1);
        }
        sizes.push(size);
    }
    counts
}

/// The running statistics after one step tell the batch's own; evaluated with those, the batch has
/// its training loss again.
fn assert_statistics_are_right(engine: &mut dyn Passes, spec: &NetworkSpec, stream: &mut Stream) {
    let (images, labels) = random_batch(spec, 3, stream);
    let parameters = random_parameters(engine, stream);
    let mut running = initial_running(engine.running());
    let loss = engine
        .train_step(
            &parameters,
            &mut running,
            &images,
            &labels,
            &mut vec![0.0; parameters.len()],
        )
        .unwrap();
    let counts = positions(spec, labels.len());
    for (index, slot) in engine.running().iter().enumerate() {
        for value in &mut running[slot.offset..][..slot.len()] {
            // new = 0.9 old + 0.1 seen; PyTorch keeps the unbiased variance and normalises by the
            // biased one
            let count = counts[index / 2] as f32;
            *value = if slot.name.ends_with(".running_variance") {
                (*value - 0.9) * 10.0 * (count - 1.0) / count
            } else {
                *value * 10.0
            };
        }
    }
    let mut logits = vec![f32::NAN; labels.len() * spec.classes];
    engine
        .logits(&parameters, &running, &images, &mut logits)
        .unwrap();
    let losses = logits
        .chunks_exact(spec.classes)
        .zip(&labels)
        .map(|(logits, &label)| {
            logits
                .iter()
                .map(|&logit| f64::from(logit).exp())
                .sum::<f64>()
                .ln()
                - f64::from(logits[usize::from(label)])
        });
    let mean = losses.sum::<f64>() / labels.len() as f64;
    assert!(
        (mean - f64::from(loss)).abs() < 2e-3,
        "{mean}, in training {loss}: {spec:?}"
    );
}

/// A layer whose filters are 0 puts out exactly its shift, 0: no gradient passes.
fn assert_relu_is_flat_at_zero(engine: &mut dyn Passes, spec: &NetworkSpec, stream: &mut Stream) {
    let (images, labels) = random_batch(spec, 3, stream);
    let mut parameters = initial_parameters(engine.parameters(), 1);
    let last = spec.layers.len();
    let slots = engine.parameters().to_vec();
    let find = |name: &str| {
        slots
            .iter()
            .find(|slot| slot.name == format!("layer{last}.{name}"))
            .unwrap()
    };
    let weight = find("weight");
    let shift = find("shift");
    parameters[weight.offset..][..weight.len()].fill(0.0);
    let mut gradient = vec![f32::NAN; parameters.len()];
    let mut running = initial_running(engine.running());
    engine
        .train_step(&parameters, &mut running, &images, &labels, &mut gradient)
        .unwrap();
    assert!(
        gradient[shift.offset..][..shift.len()]
            .iter()
            .all(|&value| value == 0.0),
        "{spec:?}"
    );
}

/// Where candle's tensors are: on the first GPU where this build and this machine have one.
fn device() -> Device {
    Device::cuda_if_available(0).unwrap()
}

/// Both engines for one network.
fn engines(spec: &NetworkSpec, batch: usize) -> [Box<dyn Passes>; 2] {
    let pool = Arc::new(
        rayon::ThreadPoolBuilder::new()
            .num_threads(2)
            .build()
            .unwrap(),
    );
    [
        Box::new(TensorPasses::new(spec, &device())),
        Box::new(KernelPasses::new(spec, batch, &pool).unwrap()),
    ]
}

type Networks = (std::ops::Range<u64>, fn(&mut Stream) -> NetworkSpec);

/// Runs a check of one engine on both, on random networks.
fn check_both((seeds, network): Networks, check: fn(&mut dyn Passes, &NetworkSpec, &mut Stream)) {
    for seed in seeds {
        let mut stream = stream(seed);
        let spec = network(&mut stream);
        for mut engine in engines(&spec, 3) {
            check(engine.as_mut(), &spec, &mut stream.clone());
        }
    }
}

#[test]
fn gradients_equal_finite_differences() {
    check_both((0..8, random_network), assert_gradient_is_right);
}

#[test]
fn gradients_of_every_type_of_layer_equal_finite_differences() {
    check_both((0..24, mixed_network), assert_gradient_is_right);
}

#[test]
fn gradients_with_smoothed_labels_equal_finite_differences() {
    check_both((0..8, random_network), assert_smoothed_gradient_is_right);
}

#[test]
fn statistics_are_the_batches_own() {
    check_both((0..20, random_network), assert_statistics_are_right);
    check_both((0..20, mixed_network), assert_statistics_are_right);
}

#[test]
fn relu_is_flat_at_zero() {
    check_both((3..6, random_network), assert_relu_is_flat_at_zero);
}

#[test]
fn engines_agree_over_steps_of_training() {
    for seed in 100..160 {
        let mut stream = stream(seed);
        let spec = if seed < 130 {
            random_network(&mut stream)
        } else {
            mixed_network(&mut stream)
        };
        let [tensors, kernels] = engines(&spec, 8);
        assert_eq!(tensors.parameters(), kernels.parameters());
        assert_eq!(tensors.running(), kernels.running());
        let batches: Vec<_> = (0..5)
            .map(|step| random_batch(&spec, 8 - step % 2, &mut stream))
            .collect();
        let start = random_parameters(tensors.as_ref(), &mut stream);
        let [one, other] = [tensors, kernels].map(|mut engine| {
            let mut parameters = start.clone();
            let mut running = initial_running(engine.running());
            let mut gradient = vec![0.0; start.len()];
            let mut sgd = Sgd::new(start.len(), 0.9, 1e-3);
            for (images, labels) in &batches {
                engine
                    .train_step(&parameters, &mut running, images, labels, &mut gradient)
                    .unwrap();
                assert!(sgd.step(&mut parameters, &gradient, 0.02));
            }
            let mut logits = vec![f32::NAN; batches[0].1.len() * spec.classes];
            engine
                .logits(&parameters, &running, &batches[0].0, &mut logits)
                .unwrap();
            (
                engine.parameters().to_vec(),
                engine.running().to_vec(),
                parameters,
                running,
                logits,
            )
        });
        let what = format!("network {seed}: {spec:?}");
        assert_tensors_close(&one.0, &other.2, &one.2, 1e-3, &what);
        assert_tensors_close(&one.1, &other.3, &one.3, 1e-3, &what);
        let logits = ParameterSlot {
            name: "logits".into(),
            shape: vec![one.4.len()],
            offset: 0,
        };
        assert_tensors_close(&[logits], &other.4, &one.4, 1e-3, &what);
    }
}

/// The same layers as an Architecture describes them.
fn described(spec: &NetworkSpec) -> ConvNetwork {
    let operation = |operation: OperationSpec| match operation {
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
            let sizes = Convolution {
                filter_height,
                filter_width,
                filters,
                stride_height,
                stride_width,
            };
            if operation.normalises() {
                sizes.into()
            } else {
                Operation::PlainConvolution(sizes)
            }
        }
        OperationSpec::MaxPooling { size, stride } => Operation::MaxPool(Pool { size, stride }),
        OperationSpec::AveragePooling { size, stride } => {
            Operation::AveragePool(Pool { size, stride })
        }
        OperationSpec::LocalContrast { window } => Operation::LocalContrast { window },
        OperationSpec::BatchNorm => Operation::BatchNorm,
        OperationSpec::Relu => Operation::Relu,
        OperationSpec::Add => Operation::Add,
    };
    let layer = |layer: &LayerSpec| ConvLayer::new(operation(layer.operation), &layer.inputs);
    let image = ImageShape {
        channels: spec.channels,
        height: spec.height,
        width: spec.width,
    };
    ConvNetwork::new(image, spec.classes, spec.layers.iter().map(layer).collect())
}

proptest! {
    #![proptest_config(crate::random::cases(256))]

    #[test]
    fn an_architecture_knows_how_many_parameters_are_trained(seed: u64) {
        let network = described(&mixed_network(&mut stream(seed)));
        for engine in engines(&network_spec(&network).unwrap(), 2) {
            let last = engine.parameters().last().unwrap();
            prop_assert_eq!((last.offset + last.len()) as u64, network.parameters());
            prop_assert_eq!(engine.parameters().iter().map(ParameterSlot::len).sum::<usize>() as u64, network.parameters());
        }
    }
}

//! Whole networks against the reference.

use super::reference;
use crate::kernels::convnet::BATCH_NORM_EPSILON;
use crate::kernels::convnet::network::ConvNet;
use crate::kernels::convnet::spec::{LayerSpec, NetworkSpec, OperationSpec, Plan};
use crate::kernels::simd::Isa;
use crate::kernels::testing::{Rounding, expected, numbers, pool, wide};
use proptest::prelude::*;

fn layer(
    filter: (usize, usize),
    filters: usize,
    stride: (usize, usize),
    inputs: &[usize],
) -> LayerSpec {
    let ((filter_height, filter_width), (stride_height, stride_width)) = (filter, stride);
    let operation = OperationSpec::Convolution {
        filter_height,
        filter_width,
        filters,
        stride_height,
        stride_width,
    };
    LayerSpec {
        operation,
        inputs: inputs.to_vec(),
    }
}

fn other(operation: OperationSpec, inputs: &[usize]) -> LayerSpec {
    LayerSpec {
        operation,
        inputs: inputs.to_vec(),
    }
}

/// A convolution of these sizes with nothing behind it.
fn plain(layer: LayerSpec) -> LayerSpec {
    let OperationSpec::Convolution {
        filter_height,
        filter_width,
        filters,
        stride_height,
        stride_width,
    } = layer.operation
    else {
        panic!("{layer:?} has no filters")
    };
    LayerSpec {
        operation: OperationSpec::PlainConvolution {
            filter_height,
            filter_width,
            filters,
            stride_height,
            stride_width,
        },
        ..layer
    }
}

/// One step and an evaluation, of every instruction set that there is. False where the numbers are
/// no test: beside a kink rounding decides which gradient is right, and next to no variance
/// normalisation magnifies rounding.
fn compare(spec: &NetworkSpec, batch: usize, n: usize, seed: u64) -> bool {
    let plan = Plan::new(spec, batch).unwrap();
    let parameters = numbers(seed, plan.parameter_count);
    let running = vec![0.5; plan.running_count];
    let images = numbers(seed + 1, n * spec.channels * spec.height * spec.width);
    let labels: Vec<u8> = (0..n).map(|i| (i * 7 % spec.classes) as u8).collect();
    let step = reference::Step {
        plan: &plan,
        parameters: &wide(&parameters),
        running: &wide(&running),
        images: &wide(&images),
        labels: &labels,
    };
    if step.train(&mut Rounding::none()).least_variance < 1e-3 {
        return false;
    }
    let [loss, gradient, after, linear] = expected(|rounding| {
        let trained = step.train(rounding);
        [
            vec![trained.loss],
            trained.gradient,
            trained.running,
            trained.linear,
        ]
    });
    if !linear.is_clear_of_zero() {
        return false;
    }
    let [logits] = expected(|rounding| [step.logits(rounding)]);
    for isa in Isa::available() {
        let name = isa.name();
        let mut net = ConvNet::with_isa(spec, batch, pool(2), isa).unwrap();
        let mut ours = vec![f32::NAN; plan.parameter_count];
        let mut run = running.clone();
        let our_loss = net.train_step(&parameters, &mut run, &images, &labels, &mut ours);
        loss.assert_close(&format!("{name} loss"), &[our_loss]);
        after.assert_close(&format!("{name} running statistics"), &run);
        for slot in &plan.parameters {
            let range = slot.offset..slot.offset + slot.len();
            gradient
                .part(range.clone())
                .assert_close(&format!("{name} {}", slot.name), &ours[range]);
        }
        let mut out = vec![f32::NAN; n * spec.classes];
        net.logits(&parameters, &running, &images, &mut out);
        logits.assert_close(&format!("{name} logits"), &out);
    }
    true
}

#[test]
fn chain_of_two_layers() {
    let layers = vec![
        layer((3, 3), 6, (1, 1), &[0]),
        layer((3, 3), 5, (1, 1), &[1]),
    ];
    assert!(compare(
        &NetworkSpec {
            channels: 3,
            height: 8,
            width: 9,
            classes: 4,
            batch_norm_epsilon: BATCH_NORM_EPSILON,
            layers,
            output: vec![2]
        },
        16,
        16,
        1
    ));
}

#[test]
fn strides_skips_and_a_partial_group() {
    let layers = vec![
        layer((5, 3), 6, (2, 1), &[0]),
        layer((1, 7), 5, (1, 3), &[0, 1]),
        layer((7, 1), 9, (2, 3), &[0, 1, 2]),
        layer((3, 3), 4, (1, 1), &[1, 3]),
    ];
    let spec = NetworkSpec {
        channels: 3,
        height: 13,
        width: 11,
        classes: 4,
        batch_norm_epsilon: BATCH_NORM_EPSILON,
        layers,
        output: vec![2, 4],
    };
    // The first seed that keeps clear of all kinks.
    assert!((0..50).any(|seed| compare(&spec, 40, 37, seed)));
}

/// A residual block whose shortcut lacks channels and pixels, and a dense one: batch
/// normalisation and ReLU before the convolution, which nothing else reads (`Plan::fused`), and a
/// batch normalisation that something else does read.
#[test]
fn sums_and_layers_of_one_step_each() {
    use OperationSpec::{Add, BatchNorm, Relu};
    let residual = vec![
        layer((3, 3), 4, (1, 1), &[0]),
        layer((3, 3), 6, (2, 1), &[1]),
        plain(layer((3, 1), 7, (1, 1), &[2])),
        other(BatchNorm, &[3]),
        layer((1, 1), 3, (2, 2), &[1]),
        other(Add, &[0, 4, 5]),
        plain(layer((3, 3), 5, (1, 1), &[6])),
        other(Relu, &[7]),
        other(Add, &[6, 8]),
    ];
    let dense = vec![
        plain(layer((3, 3), 4, (1, 1), &[0])),
        other(BatchNorm, &[1]),
        other(Relu, &[2]),
        plain(layer((3, 3), 3, (1, 1), &[3])),
        other(BatchNorm, &[1, 4]),
        other(Relu, &[5]),
        plain(layer((1, 1), 5, (2, 2), &[5, 6])),
        other(Relu, &[0, 7]),
    ];
    for (layers, output) in [(residual, vec![9]), (dense, vec![7, 8])] {
        let spec = NetworkSpec {
            channels: 2,
            height: 7,
            width: 6,
            classes: 4,
            batch_norm_epsilon: BATCH_NORM_EPSILON,
            layers,
            output,
        };
        // The first seed that keeps clear of all kinks.
        assert!((0..50).any(|seed| compare(&spec, 20, 19, seed)));
    }
}

/// What is fused takes no memory of its own.
#[test]
fn a_step_behind_a_convolution_that_nothing_else_reads_costs_nothing() {
    let bytes = |layers: Vec<LayerSpec>| {
        let spec = NetworkSpec {
            channels: 3,
            height: 16,
            width: 16,
            classes: 4,
            batch_norm_epsilon: BATCH_NORM_EPSILON,
            output: vec![layers.len()],
            layers,
        };
        ConvNet::estimate_bytes(&spec, 16)
    };
    let convolution = layer((3, 3), 8, (1, 1), &[0]);
    let steps = vec![
        plain(convolution.clone()),
        other(OperationSpec::BatchNorm, &[1]),
        other(OperationSpec::Relu, &[2]),
    ];
    assert_eq!(bytes(steps), bytes(vec![convolution]));
}

/// The border of a second layer sees zeros, not relu(shift): one pixel, a shift, and a filter that
/// only sees its neighbours.
#[test]
fn outside_pixels_are_zero_after_the_shift() {
    let layers = vec![
        layer((1, 1), 2, (1, 1), &[0]),
        layer((3, 3), 2, (1, 1), &[1]),
    ];
    let spec = NetworkSpec {
        channels: 1,
        height: 2,
        width: 2,
        classes: 2,
        batch_norm_epsilon: BATCH_NORM_EPSILON,
        layers,
        output: vec![2],
    };
    let plan = Plan::new(&spec, 1).unwrap();
    let mut parameters = vec![0.0; plan.parameter_count];
    for slot in &plan.parameters {
        parameters[slot.offset..][..slot.len()].fill(if slot.name.ends_with("shift") {
            3.0
        } else {
            1.0
        });
    }
    let mut net = ConvNet::new(&spec, 1, pool(1)).unwrap();
    let mut logits = [0.0; 2];
    let running: Vec<f32> = net
        .running()
        .iter()
        .flat_map(|s| vec![if s.name.ends_with("mean") { 0.0 } else { 1.0 }; s.len()])
        .collect();
    net.logits(&parameters, &running, &[0.0; 4], &mut logits);
    // Each of 4 pixels sees 4 pixels of 2 channels at 3, so 24, plus the shift; two features and
    // the bias.
    assert!(
        (logits[0] - (2.0 * (24.0 / (1.0f32 + 1e-5).sqrt() + 3.0) + 1.0)).abs() < 1e-4,
        "{logits:?}"
    );
}

#[test]
fn loose_ends_and_layers_that_nobody_sees() {
    let layers = vec![
        layer((3, 3), 3, (1, 1), &[0]),
        layer((3, 3), 3, (2, 2), &[0, 1]),
        layer((3, 1), 4, (1, 1), &[0]),
        layer((1, 3), 2, (1, 1), &[2]),
    ];
    assert!(compare(
        &NetworkSpec {
            channels: 2,
            height: 6,
            width: 5,
            classes: 3,
            batch_norm_epsilon: BATCH_NORM_EPSILON,
            layers,
            output: vec![1, 3]
        },
        4,
        3,
        3
    ));
}

#[test]
fn no_layers_and_the_image_among_the_outputs() {
    assert!(compare(
        &NetworkSpec {
            channels: 2,
            height: 3,
            width: 5,
            classes: 3,
            batch_norm_epsilon: BATCH_NORM_EPSILON,
            layers: vec![],
            output: vec![0]
        },
        20,
        19,
        4
    ));
    let layers = vec![layer((3, 3), 3, (2, 2), &[0])];
    assert!(compare(
        &NetworkSpec {
            channels: 2,
            height: 3,
            width: 5,
            classes: 3,
            batch_norm_epsilon: BATCH_NORM_EPSILON,
            layers,
            output: vec![0, 1]
        },
        2,
        2,
        5
    ));
}

fn network() -> impl Strategy<Value = NetworkSpec> {
    let filter = (
        prop_oneof![Just(1usize), Just(3), Just(5), Just(7), 1usize..8],
        prop_oneof![Just(1usize), Just(3), Just(5), Just(7), 1usize..8],
    );
    let one = (
        filter,
        1usize..7,
        (1usize..4, 1usize..4),
        any::<u32>(),
        0usize..8,
    );
    (
        1usize..4,
        1usize..12,
        1usize..12,
        1usize..5,
        proptest::collection::vec(one, 1..6),
        any::<u32>(),
    )
        .prop_map(|(channels, height, width, classes, drawn, outputs)| {
            // Bits choose among what came before; where they choose nothing, the latest.
            let choose = |bits: u32, last: usize| {
                let chosen: Vec<usize> = (0..=last).filter(|i| bits >> i & 1 == 1).collect();
                if chosen.is_empty() {
                    vec![last]
                } else {
                    chosen
                }
            };
            let draw = |(i, d): (usize, &(_, _, _, u32, usize))| {
                let inputs = choose(d.3, i);
                match d.4 {
                    0 => other(OperationSpec::BatchNorm, &inputs),
                    1 => other(OperationSpec::Relu, &inputs),
                    2 => other(OperationSpec::Add, &inputs),
                    3 => plain(layer(d.0, d.1, d.2, &inputs)),
                    _ => layer(d.0, d.1, d.2, &inputs),
                }
            };
            let layers: Vec<_> = drawn.iter().enumerate().map(draw).collect();
            let output = choose(outputs, layers.len());
            NetworkSpec {
                channels,
                height,
                width,
                classes,
                batch_norm_epsilon: BATCH_NORM_EPSILON,
                layers,
                output,
            }
        })
}

proptest! {
    #![proptest_config(crate::random::cases(48))]

    #[test]
    fn random_networks_match_the_reference(spec in network(), n in 1usize..36, seed in 0u64..1000) {
        prop_assume!(compare(&spec, n, n, seed));
    }
}

fn example() -> (NetworkSpec, Vec<f32>, Vec<f32>, Vec<u8>) {
    let layers = vec![
        layer((3, 3), 12, (1, 1), &[0]),
        layer((5, 1), 9, (2, 2), &[0, 1]),
        layer((3, 3), 8, (1, 1), &[1, 2]),
    ];
    let spec = NetworkSpec {
        channels: 3,
        height: 15,
        width: 14,
        classes: 5,
        batch_norm_epsilon: BATCH_NORM_EPSILON,
        layers,
        output: vec![2, 3],
    };
    let count = Plan::new(&spec, 40).unwrap().parameter_count;
    (
        spec,
        numbers(5, count),
        numbers(6, 40 * 3 * 15 * 14),
        (0..40).map(|i| i % 5).collect(),
    )
}

#[test]
fn results_are_the_same_bits_for_any_number_of_threads() {
    let (spec, parameters, images, labels) = example();
    let results: Vec<_> = [1, 2, 5]
        .into_iter()
        .map(|threads| {
            let mut net = ConvNet::new(&spec, 40, pool(threads)).unwrap();
            let mut running = vec![0.5; net.running_count()];
            let mut gradient = vec![0.0; parameters.len()];
            let loss = net.train_step(&parameters, &mut running, &images, &labels, &mut gradient);
            let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            (loss.to_bits(), bits(&running), bits(&gradient))
        })
        .collect();
    assert!(results.iter().all(|r| *r == results[0]));
}

/// Set in the process that measures its own memory.
const MEASURES_ITSELF: &str = "NETWRIGHT_TEST_MEASURES_ITSELF";

/// A thousand steps of changing size, with evaluations between: the same memory, the same
/// addresses, the same answer at the end. In a process of its own, whose memory no other test uses.
#[test]
fn a_thousand_steps_leave_nothing_behind() {
    if std::env::var_os(MEASURES_ITSELF).is_some() {
        return take_a_thousand_steps();
    }
    let (_, module) = module_path!().split_once("::").unwrap();
    let name = format!("{module}::a_thousand_steps_leave_nothing_behind");
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &name, "--nocapture"])
        .env(MEASURES_ITSELF, "1")
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{printed}{output:?}");
    assert!(printed.contains("1 passed"), "{printed}");
}

fn take_a_thousand_steps() {
    let layers = vec![
        layer((3, 3), 5, (1, 1), &[0]),
        layer((3, 3), 4, (2, 1), &[0, 1]),
    ];
    let spec = NetworkSpec {
        channels: 2,
        height: 5,
        width: 5,
        classes: 3,
        batch_norm_epsilon: BATCH_NORM_EPSILON,
        layers,
        output: vec![2],
    };
    let mut net = ConvNet::new(&spec, 20, pool(2)).unwrap();
    let parameters = numbers(7, net.parameter_count());
    let images = numbers(8, 20 * 50);
    let labels = [1u8; 20];
    let mut first = vec![0.0; parameters.len()];
    let mut gradient = vec![0.0; parameters.len()];
    let mut logits = vec![0.0; 60];
    let mut running = vec![0.5; net.running_count()];
    net.train_step(&parameters, &mut running, &images, &labels, &mut first);
    let bytes = net.memory_bytes();
    let resident = resident_kilobytes();
    for step in 0..1000 {
        let n = 1 + step % 20;
        net.train_step(
            &parameters,
            &mut running,
            &images[..n * 50],
            &labels[..n],
            &mut gradient,
        );
        net.logits(&parameters, &running, &images, &mut logits);
    }
    net.train_step(&parameters, &mut running, &images, &labels, &mut gradient);
    assert_eq!(first, gradient);
    assert_eq!(net.memory_bytes(), bytes);
    assert!(
        resident_kilobytes() < resident + 4096,
        "{resident} kB before, {} kB after",
        resident_kilobytes()
    );
}

/// Of this process; 0 where the system does not say.
fn resident_kilobytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|l| l.split_whitespace().next())
        .and_then(|n| n.parse().ok())
        .unwrap_or(0)
}

/// One image of one pixel: nothing can be normalised. Activations are the shifts alone, no gradient
/// passes, and the running variance is left alone.
#[test]
fn one_image_of_one_pixel() {
    let layers = vec![
        layer((3, 3), 2, (1, 1), &[0]),
        layer((1, 1), 2, (1, 1), &[1]),
    ];
    let spec = NetworkSpec {
        channels: 1,
        height: 1,
        width: 1,
        classes: 2,
        batch_norm_epsilon: BATCH_NORM_EPSILON,
        layers,
        output: vec![2],
    };
    for isa in Isa::available() {
        let mut net = ConvNet::with_isa(&spec, 1, pool(1), isa).unwrap();
        let slots = net.parameters().to_vec();
        let mut parameters = numbers(1, net.parameter_count());
        let at = |name: &str| {
            slots
                .iter()
                .find(|slot| slot.name == name)
                .map(|slot| slot.offset..slot.offset + slot.len())
                .unwrap()
        };
        parameters[at("layer2.shift")].copy_from_slice(&[0.5, -0.5]);
        let mut running = vec![7.0; net.running_count()];
        let mut gradient = vec![f32::NAN; parameters.len()];
        let loss = net.train_step(&parameters, &mut running, &[0.3], &[1], &mut gradient);
        let weight = &parameters[at("classifier.weight")];
        let bias = &parameters[at("classifier.bias")];
        let logits = [weight[0] * 0.5 + bias[0], weight[2] * 0.5 + bias[1]];
        let expected = (f64::from(logits[0] - logits[1]).exp() + 1.0).ln();
        assert!(
            (f64::from(loss) - expected).abs() < 1e-5,
            "{}: {loss}, expected {expected}",
            isa.name()
        );
        for name in [
            "layer1.weight",
            "layer1.scale",
            "layer1.shift",
            "layer2.weight",
            "layer2.scale",
        ] {
            assert!(
                gradient[at(name)].iter().all(|&g| g == 0.0),
                "{}: {name}",
                isa.name()
            );
        }
        assert!(gradient[at("layer2.shift")][0] != 0.0 && gradient[at("layer2.shift")][1] == 0.0);
        for slot in net
            .running()
            .iter()
            .filter(|slot| slot.name.ends_with("variance"))
        {
            assert!(
                running[slot.offset..][..slot.len()]
                    .iter()
                    .all(|&v| v == 7.0),
                "{}",
                slot.name
            );
        }
    }
}

/// Networks that train at the same time, each on its own pool, as lanes do: the same bits as each
/// gives alone.
#[test]
fn results_do_not_depend_on_other_lanes() {
    let (spec, parameters, images, labels) = example();
    let train = |seed: u64| {
        let mut net = ConvNet::new(&spec, 40, pool(1)).unwrap();
        let mut parameters = parameters.clone();
        let mut running = vec![0.5; net.running_count()];
        let mut gradient = vec![0.0; parameters.len()];
        parameters
            .iter_mut()
            .zip(numbers(seed, gradient.len()))
            .for_each(|(p, d)| *p += 0.1 * d);
        for _ in 0..4 {
            net.train_step(&parameters, &mut running, &images, &labels, &mut gradient);
            parameters
                .iter_mut()
                .zip(&gradient)
                .for_each(|(p, g)| *p -= 0.05 * g);
        }
        (parameters, running)
    };
    let alone: Vec<_> = (0..3).map(train).collect();
    let together: Vec<_> = std::thread::scope(|scope| {
        let train = &train;
        let lanes: Vec<_> = (0..3)
            .map(|seed| scope.spawn(move || train(seed)))
            .collect();
        lanes.into_iter().map(|lane| lane.join().unwrap()).collect()
    });
    assert_eq!(alone, together);
}

/// Two networks whose steps alternate do not disturb each other, and more images than a batch are
/// evaluated in chunks.
#[test]
fn interleaved_networks_and_long_evaluations() {
    let (spec, parameters, images, labels) = example();
    let mut a = ConvNet::new(&spec, 40, pool(1)).unwrap();
    let mut b = ConvNet::new(&spec, 7, pool(2)).unwrap();
    let mut running = vec![0.5; a.running_count()];
    let mut all = vec![0.0; 200];
    let mut chunks = vec![0.0; 200];
    let mut gradient = vec![0.0; parameters.len()];
    a.logits(&parameters, &running, &images, &mut all);
    b.logits(&parameters, &running, &images, &mut chunks);
    // Images are summed alike wherever they stand in a chunk.
    assert_eq!(chunks, all);
    let mut again = vec![0.0; parameters.len()];
    a.train_step(&parameters, &mut running, &images, &labels, &mut gradient);
    b.train_step(
        &numbers(9, parameters.len()),
        &mut vec![0.5; running.len()],
        &images[..7 * 630],
        &labels[..7],
        &mut vec![0.0; parameters.len()],
    );
    a.train_step(&parameters, &mut running, &images, &labels, &mut again);
    assert_eq!(gradient, again);
    b.logits(&parameters, &running, &[], &mut []);
}

#[test]
fn memory_is_as_estimated() {
    let (spec, ..) = example();
    let net = ConvNet::new(&spec, 40, pool(1)).unwrap();
    let allocated = net.memory_bytes();
    let estimated = ConvNet::estimate_bytes(&spec, 40);
    assert!(
        allocated.abs_diff(estimated) < 64 * 20,
        "{allocated} allocated, {estimated} estimated"
    );
}

#[test]
fn contradictions_are_refused() {
    let good = example().0;
    let message = |spec: &NetworkSpec| {
        ConvNet::new(spec, 4, pool(1))
            .err()
            .map(|e| e.to_string())
            .unwrap_or_default()
    };
    let with = |change: &dyn Fn(&mut NetworkSpec)| {
        let mut spec = good.clone();
        change(&mut spec);
        message(&spec)
    };
    assert_eq!(
        with(&|s| s.layers[1].inputs = vec![]),
        "layer 2 has no inputs"
    );
    assert_eq!(
        with(&|s| s.layers[1].inputs = vec![1, 0]),
        "the inputs [1, 0] of layer 2 are not ascending"
    );
    assert_eq!(
        with(&|s| s.layers[1].inputs = vec![2]),
        "layer 2 reads 2, which comes after it; at most 1 is possible"
    );
    assert_eq!(
        with(&|s| s.output = vec![4]),
        "the output reads 4, which comes after it; at most 3 is possible"
    );
    assert_eq!(
        with(&|s| s.layers[0] = layer((3, 3), 0, (1, 1), &[0])),
        "layer 1: number of filters is 0; at least 1 is needed"
    );
    assert_eq!(
        with(&|s| s.classes = 257),
        "257 classes: labels are bytes, at most 256 classes fit"
    );
    assert!(with(&|s| s.height = usize::MAX / 8).contains("too large"));
    assert!(
        with(&|s| s.layers[0] = layer((3, 3), usize::MAX / 64, (1, 1), &[0])).contains("too large")
    );
    assert!(
        with(&|s| s.layers[2] = layer((3, 3), 8, (usize::MAX, 1), &[1, 2])).contains("too large")
    );
    assert!(ConvNet::new(&good, 0, pool(1)).is_err());
    assert!(ConvNet::new(&good, usize::MAX, pool(1)).is_err());
    assert_eq!(ConvNet::estimate_bytes(&good, usize::MAX), usize::MAX);
}

//! Single operations, with every instruction set, against the reference: random geometries and the
//! corners.

use super::reference;
use crate::kernels::convnet::spec::Geometry;
use crate::kernels::testing::{Expected, Rounding, dot, expected, numbers, wide};
use crate::kernels::{Isa, KernelError, cross_entropy, ops};
use proptest::prelude::*;

fn geometry(
    image: (usize, usize, usize),
    filters: usize,
    filter: (usize, usize),
    stride: (usize, usize),
) -> Geometry {
    Geometry {
        channels: image.0,
        height: image.1,
        width: image.2,
        filters,
        filter_height: filter.0,
        filter_width: filter.1,
        stride_height: stride.0,
        stride_width: stride.1,
    }
}

/// Forward, both gradients, and ⟨conv x, g⟩ = ⟨x, dX g⟩ = ⟨w, dW g⟩.
fn compare(g: &Geometry, n: usize, seed: u64) {
    let x = numbers(seed, n * g.channels * g.height * g.width);
    let w = numbers(seed + 1, g.filters * g.taps());
    let dy = numbers(seed + 2, n * g.filters * g.out_height() * g.out_width());
    let x64 = wide(&x);
    let w64 = wide(&w);
    let dy64 = wide(&dy);
    let [y64, dx64, dw64] = expected(|rounding| {
        [
            reference::convolution(g, n, &x64, &w64, rounding),
            reference::convolution_input_gradient(g, n, &dy64, &w64, rounding),
            reference::convolution_weight_gradient(g, n, &x64, &dy64, rounding),
        ]
    });
    // What each number's bound is worth in an inner product with `by`.
    let error =
        |of: &Expected, by: &[f64]| -> f64 { by.iter().map(|by| of.bound() * by.abs()).sum() };
    for isa in Isa::available() {
        let what = |tensor: &str| format!("{} {g:?} n {n}: {tensor}", isa.name());
        let y = ops::convolution(isa, g, n, &x, &w).unwrap();
        y64.assert_close(&what("y"), &y);
        let (dx, dw) = ops::convolution_gradients(isa, g, n, &x, &w, &dy).unwrap();
        dx64.assert_close(&what("dx"), &dx);
        dw64.assert_close(&what("dw"), &dw);
        let forward = dot(&y, &dy);
        for (tensor, product, bound) in [
            ("x", dot(&x, &dx), error(&dx64, &x64)),
            ("w", dot(&w, &dw), error(&dw64, &w64)),
        ] {
            let bound = error(&y64, &dy64) + bound;
            assert!(
                (forward - product).abs() <= bound,
                "{}: {forward} and {product}, bound {bound}",
                what(&format!("adjoint in {tensor}"))
            );
        }
    }
}

#[test]
fn convolutions_at_the_corners() {
    let cases = [
        (geometry((1, 1, 1), 1, (1, 1), (1, 1)), 1),
        (geometry((1, 1, 1), 3, (7, 7), (3, 2)), 1),
        (geometry((3, 1, 9), 5, (1, 7), (1, 1)), 2),
        (geometry((3, 9, 1), 5, (7, 1), (1, 1)), 2),
        (geometry((2, 7, 8), 4, (3, 5), (2, 3)), 17),
        (geometry((5, 6, 5), 6, (2, 4), (1, 1)), 3),
        (geometry((2, 5, 5), 4, (1, 1), (3, 3)), 5),
        (geometry((2, 4, 4), 3, (9, 11), (1, 2)), 4),
        (geometry((2, 3, 3), 3, (3, 3), (5, 4)), 4),
    ];
    for (seed, (g, n)) in cases.into_iter().enumerate() {
        compare(&g, n, 10 * seed as u64);
    }
}

/// Large enough that rows, channels and filters are all cut into several blocks.
#[test]
fn convolutions_in_many_blocks() {
    compare(&geometry((70, 20, 33), 37, (5, 5), (1, 1)), 2, 7);
    compare(&geometry((130, 9, 40), 9, (7, 7), (2, 1)), 1, 8);
    compare(&geometry((24, 32, 32), 24, (3, 3), (1, 1)), 3, 9);
    compare(&geometry((40, 30, 17), 70, (7, 7), (2, 2)), 2, 10);
}

proptest! {
    #![proptest_config(crate::random::cases(96))]

    #[test]
    fn convolutions_match_the_reference(
        image in (1usize..6, 1usize..14, 1usize..14),
        filters in 1usize..10,
        filter in (1usize..8, 1usize..8),
        stride in (1usize..4, 1usize..4),
        n in prop_oneof![Just(1usize), Just(16), 2usize..20],
        seed in 0u64..1000,
    ) {
        compare(&geometry(image, filters, filter, stride), n, seed);
    }

    /// Enough channels that tiles are worthwhile; a few cut into several blocks.
    #[test]
    fn convolutions_by_tiles_match_the_reference(
        channels in 8usize..40,
        size in (1usize..20, 1usize..20),
        filters in 8usize..20,
        filter in (0usize..4, 0usize..4),
        n in prop_oneof![Just(1usize), Just(17)],
        seed in 0u64..1000,
    ) {
        let filter = (2 * filter.0 + 1, 2 * filter.1 + 1);
        compare(&geometry((channels, size.0, size.1), filters, filter, (1, 1)), n, seed);
    }

    /// Pictures of which a task takes several groups, with channels for more than one vector.
    #[test]
    fn convolutions_of_small_pictures_match_the_reference(
        channels in 1usize..40,
        size in (1usize..9, 1usize..9),
        filters in 1usize..40,
        filter in (1usize..8, 1usize..8),
        stride in (1usize..4, 1usize..4),
        n in prop_oneof![Just(1usize), Just(17), Just(70)],
        seed in 0u64..1000,
    ) {
        compare(&geometry((channels, size.0, size.1), filters, filter, stride), n, seed);
    }

    #[test]
    fn normalisation_matches_the_reference(n in 1usize..40, channels in 1usize..7, area in 1usize..80, offset in -3.0f32..3.0, seed in 0u64..1000) {
        let y: Vec<f32> = numbers(seed, n * channels * area).iter().map(|v| v + offset).collect();
        let scale = numbers(seed + 1, channels);
        let shift = numbers(seed + 2, channels);
        let da = numbers(seed + 3, y.len());
        let y64 = wide(&y);
        let scale64 = wide(&scale);
        let shift64 = wide(&shift);
        let da64 = wide(&da);
        let [linear, activation, dy64, dscale64, dshift64, mean64, variance64] = expected(|rounding| {
            let normed = reference::norm_relu(n, area, &y64, &scale64, &shift64, rounding);
            let [dy, dscale, dshift] = reference::norm_relu_gradient(n, area, &normed, &scale64, &da64, rounding);
            let count = (n * area) as f64;
            let mean = normed.mean.iter().map(|m| 0.9 * 0.25 + 0.1 * m).map(|m| rounding.of(m, m)).collect();
            let unbiased = |v: &f64| if count > 1.0 { 0.9 * 2.0 + 0.1 * v * count / (count - 1.0) } else { 2.0 };
            let variance = normed.variance.iter().map(unbiased).map(|v| rounding.of(v, v)).collect();
            [normed.linear, normed.activation, dy, dscale, dshift, mean, variance]
        });
        // At a kink either gradient is right, and rounding decides.
        prop_assume!(n * area == 1 || linear.is_clear_of_zero());
        for isa in Isa::available() {
            let mut mean = vec![0.25; channels];
            let mut variance = vec![2.0; channels];
            let (a, saved) = ops::norm_relu(isa, area, &y, &scale, &shift, (&mut mean, &mut variance)).unwrap();
            activation.assert_close("activation", &a);
            let ops::NormGradients { y: dy, scale: dscale, shift: dshift } = ops::norm_relu_gradients(isa, saved, &da).unwrap();
            dy64.assert_close("dy", &dy);
            dscale64.assert_close("dscale", &dscale);
            dshift64.assert_close("dshift", &dshift);
            mean64.assert_close("running mean", &mean);
            variance64.assert_close("running variance", &variance);
        }
    }

    /// With running statistics: what evaluation does.
    #[test]
    fn normalisation_with_running_statistics_matches_the_definition(
        n in 1usize..40, channels in 1usize..7, area in 1usize..40, offset in -3.0f32..3.0, seed in 0u64..1000,
    ) {
        let y: Vec<f32> = numbers(seed, n * channels * area).iter().map(|v| v + offset).collect();
        let [scale, shift, mean] = [1, 2, 3].map(|i| numbers(seed + i, channels));
        let variance: Vec<f32> = numbers(seed + 4, channels).iter().map(|v| v.abs() + 0.01).collect();
        let normed = |i: usize, v: f32, rounding: &mut Rounding| {
            let c = i / area % channels;
            let [scale, shift, mean, variance] = [&scale, &shift, &mean, &variance].map(|values| f64::from(values[c]));
            let y = f64::from(v);
            let slope = scale / (variance + 1e-5).sqrt();
            let size = (y.abs() + mean.abs()) * slope.abs() + shift.abs();
            rounding.of((y - mean) * slope + shift, size).max(0.0)
        };
        let [activation] = expected(|rounding| [y.iter().enumerate().map(|(i, &v)| normed(i, v, rounding)).collect()]);
        for isa in Isa::available() {
            let a = ops::norm_relu_running(isa, area, &y, &scale, &shift, (&mean, &variance)).unwrap();
            activation.assert_close("activation", &a);
        }
    }

    #[test]
    fn cross_entropy_matches_the_reference(n in 1usize..20, classes in 1usize..12, size in 0.1f32..100.0, smoothing in prop::sample::select(vec![0.0, 0.1, 0.7]), seed in 0u64..1000) {
        let logits: Vec<f32> = numbers(seed, n * classes).iter().map(|l| l * size).collect();
        let labels: Vec<u8> = (0..n).map(|i| (i * 5 % classes) as u8).collect();
        let mut gradient = vec![f32::NAN; logits.len()];
        let loss = cross_entropy(&logits, &labels, smoothing, &mut gradient);
        let [loss64, gradient64] = expected(|rounding| {
            let (loss, gradient) = reference::cross_entropy(classes, &wide(&logits), &labels, smoothing, rounding);
            [vec![loss], gradient]
        });
        loss64.assert_close("loss", &[loss]);
        gradient64.assert_close("gradient", &gradient);
    }
}

/// One value alone: normalised 0, no gradient to it, running variance unchanged, and the ReLU's
/// gradient at 0 is 0.
#[test]
fn a_single_value() {
    for isa in Isa::available() {
        for (shift, expected, passed) in [
            (0.75f32, 0.75f32, 3.0f32),
            (0.0, 0.0, 0.0),
            (-1.0, 0.0, 0.0),
        ] {
            let mut mean = [0.0f32];
            let mut variance = [5.0f32];
            let (a, saved) = ops::norm_relu(
                isa,
                1,
                &[2.345],
                &[1.5],
                &[shift],
                (&mut mean, &mut variance),
            )
            .unwrap();
            assert_eq!(
                (a.as_slice(), variance),
                ([expected].as_slice(), [5.0]),
                "{}",
                isa.name()
            );
            assert!((mean[0] - 0.2345).abs() < 1e-6, "{mean:?}");
            let ops::NormGradients {
                y: dy,
                scale: dscale,
                shift: dshift,
            } = ops::norm_relu_gradients(isa, saved, &[3.0]).unwrap();
            assert_eq!(
                (dy, dscale, dshift),
                (vec![0.0], vec![0.0], vec![passed]),
                "{}",
                isa.name()
            );
        }
    }
}

/// Forward of A, forward of B, backward of A, backward of B: as if each had been alone. (Backward
/// twice cannot be written: `norm_relu_gradients` takes what was saved by value.)
#[test]
fn two_graphs_interleaved() {
    let isa = Isa::detect();
    let [a, b] = [1, 2].map(|seed| numbers(seed, 5 * 3 * 7));
    let scale = [1.0, -0.5, 2.0];
    let shift = [0.1, 0.2, -0.3];
    let da = numbers(3, 5 * 3 * 7);
    let forward = |y: &[f32]| {
        ops::norm_relu(isa, 7, y, &scale, &shift, (&mut [0.0; 3], &mut [1.0; 3])).unwrap()
    };
    let alone = [&a, &b].map(|y| {
        let (activation, saved) = forward(y);
        (
            activation,
            ops::norm_relu_gradients(isa, saved, &da).unwrap(),
        )
    });
    let (first, kept_first) = forward(&a);
    let (second, kept_second) = forward(&b);
    let together = [(first, kept_first), (second, kept_second)]
        .map(|(out, saved)| (out, ops::norm_relu_gradients(isa, saved, &da).unwrap()));
    for ((activation, gradients), (other, others)) in alone.iter().zip(&together) {
        assert_eq!(
            (activation, &gradients.y, &gradients.scale, &gradients.shift),
            (other, &others.y, &others.scale, &others.shift)
        );
    }
}

#[test]
fn wrong_sizes_are_refused() {
    let isa = Isa::detect();
    let g = geometry((2, 4, 4), 3, (3, 3), (1, 1));
    let error = ops::convolution(isa, &g, 2, &[0.0; 63], &[0.0; 54]).unwrap_err();
    assert_eq!(error.to_string(), "x has 63 numbers; 64 were expected");
    let zero = Geometry {
        stride_width: 0,
        ..g
    };
    let error = ops::convolution(isa, &zero, 2, &[0.0; 64], &[0.0; 54]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "layer 1: stride width is 0; at least 1 is needed"
    );
    let huge = Geometry {
        channels: usize::MAX / 2,
        ..g
    };
    assert!(matches!(
        ops::convolution(isa, &huge, 2, &[], &[]),
        Err(KernelError::TooLarge(_))
    ));
    let huge = Geometry {
        filter_height: usize::MAX,
        filter_width: 1,
        ..g
    };
    assert!(matches!(
        ops::convolution(isa, &huge, 2, &[], &[]),
        Err(KernelError::TooLarge(_))
    ));
    assert!(
        ops::norm_relu_running(isa, 2, &[0.0; 4], &[1.0], &[0.0], (&[0.0], &[1.0, 1.0])).is_err()
    );
    assert!(ops::norm_relu(isa, 2, &[0.0; 5], &[1.0], &[0.0], (&mut [0.0], &mut [1.0])).is_err());
}

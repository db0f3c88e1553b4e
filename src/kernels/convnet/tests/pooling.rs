//! Pooling: outputs by hand and by the definition in f64, gradients as adjoints and by finite
//! differences, kernels that are not the stride.

use crate::kernels::testing::{Rounding, Sums, dot, expected, numbers, sum_error, wide};
use crate::kernels::{Pooling, ops};
use proptest::prelude::*;

fn pooling(size: (usize, usize), kernel: (usize, usize), stride: (usize, usize)) -> Pooling {
    Pooling {
        height: size.0,
        width: size.1,
        kernel_height: kernel.0,
        kernel_width: kernel.1,
        stride_height: stride.0,
        stride_width: stride.1,
    }
}

/// The pixels that an output sees, by the definition: (k - 1) / 2 above and left of its own
/// position, what lies outside left out.
fn seen(p: &Pooling, output: usize) -> Vec<usize> {
    let row = output / p.out_width() * p.stride_height;
    let column = output % p.out_width() * p.stride_width;
    let mut pixels = Vec::new();
    for ky in 0..p.kernel_height {
        for kx in 0..p.kernel_width {
            let y = (row + ky).wrapping_sub((p.kernel_height - 1) / 2);
            let x = (column + kx).wrapping_sub((p.kernel_width - 1) / 2);
            if y < p.height && x < p.width {
                pixels.push(y * p.width + x);
            }
        }
    }
    pixels
}

/// Maxima or averages of planes, in f64.
fn pooled(p: &Pooling, x: &[f64], of: fn(&[f64]) -> f64) -> Vec<f64> {
    let outputs = p.out_height() * p.out_width();
    let planes = x.chunks(p.height * p.width);
    planes
        .flat_map(|plane| {
            (0..outputs).map(move |o| of(&seen(p, o).iter().map(|&i| plane[i]).collect::<Vec<_>>()))
        })
        .collect()
}

fn largest(values: &[f64]) -> f64 {
    values.iter().fold(f64::NEG_INFINITY, |a, &b| a.max(b))
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// d ⟨pooled, dy⟩ / d x of averages: each output's gradient in equal shares to what it sees.
fn average_gradient(p: &Pooling, dy: &[f64], rounding: &mut Rounding) -> Vec<f64> {
    gradient(p, dy, rounding, |_, pixels| {
        let share = 1.0 / pixels.len() as f64;
        pixels.iter().map(|&pixel| (pixel, share)).collect()
    })
}

/// The same of maxima: each output's gradient goes to the first of its largest pixels.
fn max_gradient(p: &Pooling, x: &[f64], dy: &[f64], rounding: &mut Rounding) -> Vec<f64> {
    gradient(p, dy, rounding, |plane, pixels| {
        let plane = &x[plane * p.height * p.width..];
        let most = largest(&pixels.iter().map(|&i| plane[i]).collect::<Vec<_>>());
        let first = pixels.iter().find(|&&i| plane[i] == most);
        first.map(|&pixel| (pixel, 1.0)).into_iter().collect()
    })
}

/// `shares` gives the pixels of a plane that an output's gradient goes to, and how much of it.
fn gradient(
    p: &Pooling,
    dy: &[f64],
    rounding: &mut Rounding,
    shares: impl Fn(usize, &[usize]) -> Vec<(usize, f64)>,
) -> Vec<f64> {
    let area = p.height * p.width;
    let outputs = p.out_height() * p.out_width();
    let planes = dy.len() / outputs;
    let mut dx = Sums::new(planes * area);
    for (i, d) in dy.iter().enumerate() {
        for (pixel, share) in shares(i / outputs, &seen(p, i % outputs)) {
            dx.add(i / outputs * area + pixel, d * share);
        }
    }
    dx.rounded(rounding)
}

/// PyTorch: `x = torch.tensor([[[1., 5, 2, 4], [3, 0, 7, 6], [9, 8, 1, 2]]])`, `F.max_pool2d(x, 3,
/// 2, 1)` and `F.avg_pool2d(x, 3, 2, 1, count_include_pad=False)`.
#[test]
fn kernel_three_stride_two() {
    let p = pooling((3, 4), (3, 3), (2, 2));
    let x = [1.0, 5.0, 2.0, 4.0, 3.0, 0.0, 7.0, 6.0, 9.0, 8.0, 1.0, 2.0];
    let mut y = [0.0; 4];
    p.max(&x, &mut y);
    assert_eq!(y, [5.0, 7.0, 9.0, 8.0]);
    p.average(&x, &mut y);
    assert_eq!(y, [2.25, 4.0, 5.0, 4.0]);
    let mut dx = [0.0; 12];
    p.max_gradient(&x, &[1.0, 2.0, 3.0, 4.0], &mut dx);
    assert_eq!(
        dx,
        [0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 2.0, 0.0, 3.0, 4.0, 0.0, 0.0]
    );
}

#[test]
fn the_first_of_equal_pixels_takes_the_gradient() {
    let mut dx = [9.0; 3];
    pooling((1, 3), (1, 3), (1, 3)).max_gradient(&[2.0, 2.0, 2.0], &[5.0], &mut dx);
    assert_eq!(dx, [5.0, 0.0, 0.0]);
}

#[test]
fn sizes_of_zero_are_refused() {
    assert!(pooling((3, 3), (0, 1), (1, 1)).check().is_err());
    assert!(pooling((3, 3), (2, 5), (4, 1)).check().is_ok());
}

proptest! {
    #![proptest_config(crate::random::cases(256))]

    /// ⟨pool x, g⟩ = ⟨x, gradient g⟩: averaging is linear, and a maximum is linear around its
    /// choice.
    #[test]
    fn gradients_are_adjoints(
        size in (1usize..12, 1usize..12), kernel in (1usize..6, 1usize..6), stride in (1usize..5, 1usize..5), planes in 1usize..5, seed in 0u64..100,
    ) {
        let p = pooling(size, kernel, stride);
        let x = numbers(seed, planes * size.0 * size.1);
        let dy = numbers(seed + 1, planes * p.out_height() * p.out_width());
        let mut y = vec![f32::NAN; dy.len()];
        let mut dx = vec![f32::NAN; x.len()];
        // Numbers are at most 1, so each output's product with its gradient sums no more than 1.
        let bound = sum_error(kernel.0 * kernel.1, 2.0 * dy.len() as f64);
        p.max(&x, &mut y);
        p.max_gradient(&x, &dy, &mut dx);
        prop_assert!((dot(&y, &dy) - dot(&x, &dx)).abs() < bound);
        p.average(&x, &mut y);
        p.average_gradient(&dy, &mut dx);
        prop_assert!((dot(&y, &dy) - dot(&x, &dx)).abs() < bound);
    }

    #[test]
    fn single_operations_match_the_definition(
        size in (1usize..9, 1usize..9), kernel in (1usize..8, 1usize..8), stride in (1usize..5, 1usize..5), planes in 1usize..4, seed in 0u64..100,
    ) {
        let p = pooling(size, kernel, stride);
        let x = numbers(seed, planes * size.0 * size.1);
        let dy = numbers(seed + 1, planes * p.out_height() * p.out_width());
        let x64 = wide(&x);
        let dy64 = wide(&dy);
        let [average, d_max, d_average] = expected(|rounding| {
            let sizes = pooled(&p, &x64.iter().map(|x| x.abs()).collect::<Vec<_>>(), mean);
            let mut averages = pooled(&p, &x64, mean);
            rounding.all(&mut averages, &sizes);
            [averages, max_gradient(&p, &x64, &dy64, rounding), average_gradient(&p, &dy64, rounding)]
        });
        prop_assert_eq!(wide(&ops::max_pool(&p, &x).unwrap()), pooled(&p, &x64, largest));
        average.assert_close("average", &ops::average_pool(&p, &x).unwrap());
        d_max.assert_close("max gradient", &ops::max_pool_gradient(&p, &x, &dy).unwrap());
        d_average.assert_close("average gradient", &ops::average_pool_gradient(&p, &dy).unwrap());
    }

    #[test]
    fn global_averages_match_the_definition(area in 1usize..2000, planes in 1usize..5, offset in -9.0f32..9.0, seed in 0u64..100) {
        let x: Vec<f32> = numbers(seed, planes * area).iter().map(|v| v + offset).collect();
        let means = ops::global_average(area, &x).unwrap();
        for (found, plane) in means.into_iter().zip(wide(&x).chunks(area)) {
            let size = plane.iter().map(|v| v.abs()).sum::<f64>() / area as f64;
            prop_assert!((f64::from(found) - mean(plane)).abs() <= sum_error(area, size));
        }
        let dy = numbers(seed + 1, planes);
        let expected: Vec<f32> = dy.iter().flat_map(|&d| vec![d / area as f32; area]).collect();
        prop_assert_eq!(ops::global_average_gradient(area, &dy).unwrap(), expected);
    }
}

#[test]
fn wrong_sizes_are_refused() {
    let p = pooling((3, 4), (2, 2), (2, 2));
    assert_eq!(
        ops::max_pool(&p, &[0.0; 13]).unwrap_err().to_string(),
        "x has 13 numbers; 12 were expected"
    );
    assert_eq!(
        ops::max_pool_gradient(&p, &[0.0; 12], &[0.0; 3])
            .unwrap_err()
            .to_string(),
        "dy has 3 numbers; 4 were expected"
    );
    assert!(ops::average_pool(&p, &[]).is_err());
    assert!(ops::average_pool_gradient(&p, &[0.0; 5]).is_err());
    assert!(ops::average_pool(&pooling((usize::MAX, 2), (1, 1), (1, 1)), &[0.0]).is_err());
    assert!(ops::global_average(0, &[]).is_err() && ops::global_average(2, &[1.0]).is_err());
}

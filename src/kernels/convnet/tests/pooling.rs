//! Pooling: outputs by hand and by the definition in f64, gradients as adjoints and by finite
//! differences, kernels that are not the stride.

use crate::kernels::testing::{assert_close, dot, numbers, wide};
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
    let (row, column) = (
        output / p.out_width() * p.stride_height,
        output % p.out_width() * p.stride_width,
    );
    let mut pixels = Vec::new();
    for ky in 0..p.kernel_height {
        for kx in 0..p.kernel_width {
            let (y, x) = (
                (row + ky).wrapping_sub((p.kernel_height - 1) / 2),
                (column + kx).wrapping_sub((p.kernel_width - 1) / 2),
            );
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

/// d ⟨pooled, dy⟩ / d x, by central differences: exact but for rounding, as both are linear until
/// another pixel is the largest.
fn differences(p: &Pooling, x: &[f64], dy: &[f64], of: fn(&[f64]) -> f64) -> Vec<f64> {
    let (mut x, step) = (x.to_vec(), 1e-7);
    let loss = |x: &[f64]| {
        pooled(p, x, of)
            .iter()
            .zip(dy)
            .map(|(y, d)| y * d)
            .sum::<f64>()
    };
    (0..x.len())
        .map(|i| {
            let centre = x[i];
            x[i] = centre + step;
            let above = loss(&x);
            x[i] = centre - step;
            let below = loss(&x);
            x[i] = centre;
            (above - below) / (2.0 * step)
        })
        .collect()
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
    /// ⟨pool x, g⟩ = ⟨x, gradient g⟩: averaging is linear, and a maximum is linear around its
    /// choice.
    #[test]
    fn gradients_are_adjoints(
        size in (1usize..12, 1usize..12), kernel in (1usize..6, 1usize..6), stride in (1usize..5, 1usize..5), planes in 1usize..5, seed in 0u64..100,
    ) {
        let p = pooling(size, kernel, stride);
        let x = numbers(seed, planes * size.0 * size.1);
        let dy = numbers(seed + 1, planes * p.out_height() * p.out_width());
        let (mut y, mut dx) = (vec![f32::NAN; dy.len()], vec![f32::NAN; x.len()]);
        p.max(&x, &mut y);
        p.max_gradient(&x, &dy, &mut dx);
        prop_assert!((dot(&y, &dy) - dot(&x, &dx)).abs() < 1e-5 * x.len() as f64);
        p.average(&x, &mut y);
        p.average_gradient(&dy, &mut dx);
        prop_assert!((dot(&y, &dy) - dot(&x, &dx)).abs() < 1e-5 * x.len() as f64);
    }
    #[test]
    fn single_operations_match_the_definition(
        size in (1usize..9, 1usize..9), kernel in (1usize..8, 1usize..8), stride in (1usize..5, 1usize..5), planes in 1usize..4, seed in 0u64..100,
    ) {
        let p = pooling(size, kernel, stride);
        let x = numbers(seed, planes * size.0 * size.1);
        let dy = numbers(seed + 1, planes * p.out_height() * p.out_width());
        assert_close("max", &ops::max_pool(&p, &x).unwrap(), &pooled(&p, &wide(&x), largest));
        assert_close("average", &ops::average_pool(&p, &x).unwrap(), &pooled(&p, &wide(&x), mean));
        assert_close("max gradient", &ops::max_pool_gradient(&p, &x, &dy).unwrap(), &differences(&p, &wide(&x), &wide(&dy), largest));
        let average = ops::average_pool_gradient(&p, &dy).unwrap();
        assert_close("average gradient", &average, &differences(&p, &wide(&x), &wide(&dy), mean));
    }

    #[test]
    fn global_averages_match_the_definition(area in 1usize..2000, planes in 1usize..5, offset in -9.0f32..9.0, seed in 0u64..100) {
        let x: Vec<f32> = numbers(seed, planes * area).iter().map(|v| v + offset).collect();
        let means: Vec<f64> = wide(&x).chunks(area).map(mean).collect();
        assert_close("global average", &ops::global_average(area, &x).unwrap(), &means);
        let dy = numbers(seed + 1, planes);
        let expected: Vec<f64> = dy.iter().flat_map(|&d| vec![f64::from(d) / area as f64; area]).collect();
        assert_close("its gradient", &ops::global_average_gradient(area, &dy).unwrap(), &expected);
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

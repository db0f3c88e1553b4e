//! Pooling: outputs by hand, gradients as adjoints, kernels that are not the stride.

use super::{dot, numbers};
use crate::kernels::Pooling;
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

/// PyTorch: `x = torch.tensor([[[1., 5, 2, 4], [3, 0, 7, 6], [9, 8, 1, 2]]])`, `F.max_pool2d(x, 3, 2, 1)` and
/// `F.avg_pool2d(x, 3, 2, 1, count_include_pad=False)`.
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
    assert_eq!(dx, [0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 2.0, 0.0, 3.0, 4.0, 0.0, 0.0]);
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
    /// ⟨pool x, g⟩ = ⟨x, gradient g⟩: averaging is linear, and a maximum is linear around its choice.
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
}

//! Max, average and global average pooling with sizes checked. Knows nothing of networks.

use super::expect;
use crate::kernels::KernelError;
use crate::kernels::convnet::pooling::Pooling;

/// Checks a pooling and that `x` is whole planes; returns how many planes there are.
fn planes(pooling: &Pooling, x: &[f32]) -> Result<usize, KernelError> {
    pooling.check()?;
    let area = area(pooling.height, pooling.width)?;
    expect("x", x.len(), (x.len() / area).max(1) * area)?;
    Ok(x.len() / area)
}

fn area(height: usize, width: usize) -> Result<usize, KernelError> {
    let area = height
        .checked_mul(width)
        .ok_or_else(|| KernelError::TooLarge(format!("a plane of {height} x {width} numbers")))?;
    if area == 0 {
        Err(KernelError::Invalid(format!(
            "a plane of {height} x {width} is empty"
        )))
    } else {
        Ok(area)
    }
}

fn out_len(pooling: &Pooling, planes: usize) -> usize {
    planes * pooling.out_height() * pooling.out_width()
}

/// Maxima [n, channels, out height, out width] of `x` [n, channels, height, width].
///
/// # Errors
/// A size of 0, or `x` is not whole planes.
pub fn max_pool(pooling: &Pooling, x: &[f32]) -> Result<Vec<f32>, KernelError> {
    let mut y = vec![0.0; out_len(pooling, planes(pooling, x)?)];
    pooling.max(x, &mut y);
    Ok(y)
}

/// Gradient of `max_pool` with respect to `x`: each output's goes to the first of its largest
/// pixels.
///
/// # Errors
/// As `max_pool`, or `dy` is not as long as its result.
pub fn max_pool_gradient(
    pooling: &Pooling,
    x: &[f32],
    dy: &[f32],
) -> Result<Vec<f32>, KernelError> {
    expect("dy", dy.len(), out_len(pooling, planes(pooling, x)?))?;
    let mut dx = vec![0.0; x.len()];
    pooling.max_gradient(x, dy, &mut dx);
    Ok(dx)
}

/// Averages [n, channels, out height, out width] of `x` [n, channels, height, width]; pixels
/// outside do not count.
///
/// # Errors
/// As `max_pool`.
pub fn average_pool(pooling: &Pooling, x: &[f32]) -> Result<Vec<f32>, KernelError> {
    let mut y = vec![0.0; out_len(pooling, planes(pooling, x)?)];
    pooling.average(x, &mut y);
    Ok(y)
}

/// Gradient of `average_pool` with respect to its `x`, from `dy` [n, channels, out height, out
/// width].
///
/// # Errors
/// A size of 0, or `dy` is not whole planes.
pub fn average_pool_gradient(pooling: &Pooling, dy: &[f32]) -> Result<Vec<f32>, KernelError> {
    pooling.check()?;
    let area = area(pooling.height, pooling.width)?;
    let out_area = pooling.out_height() * pooling.out_width();
    let planes = dy.len() / out_area;
    expect("dy", dy.len(), planes.max(1) * out_area)?;
    let mut dx = vec![0.0; planes * area];
    pooling.average_gradient(dy, &mut dx);
    Ok(dx)
}

/// Means of whole planes, [n, channels], of `x` [n, channels, height · width].
///
/// # Errors
/// `area` (height · width) is 0, or `x` is not whole planes.
pub fn global_average(area: usize, x: &[f32]) -> Result<Vec<f32>, KernelError> {
    let area = self::area(area, 1)?;
    expect("x", x.len(), (x.len() / area).max(1) * area)?;
    Ok(x.chunks_exact(area)
        .map(|plane| (plane.iter().map(|&v| f64::from(v)).sum::<f64>() / area as f64) as f32)
        .collect())
}

/// Gradient of `global_average` with respect to its `x`, from `dy` [n, channels].
///
/// # Errors
/// `area` is 0.
pub fn global_average_gradient(area: usize, dy: &[f32]) -> Result<Vec<f32>, KernelError> {
    let area = self::area(area, 1)?;
    Ok(dy
        .iter()
        .flat_map(|d| std::iter::repeat_n(d / area as f32, area))
        .collect())
}

//! The operations of a convolutional network that candle lacks or gets wrong, put together from
//! those that it has, so that they differentiate themselves on every device. Must not know networks
//! or parameters.

use crate::kernels::local_contrast_weights;
use candle_core::{Device, Result, Tensor};

/// Convolution with padding (k−1)/2 at the top and the left and output ceil(n/stride).
///
/// candle knows one stride and one padding for both directions, and its gradient is wrong or
/// refused where rows are left over. So the input is first padded or cut to exactly the rows and
/// columns that are used, the convolution runs at the strides' greatest common divisor, and the
/// outputs in between are left out.
pub fn convolve(
    input: &Tensor,
    weight: &Tensor,
    filter: (usize, usize),
    stride: (usize, usize),
) -> Result<Tensor> {
    let common = greatest_common_divisor(stride.0, stride.1);
    let input = exact(input, 2, filter.0, stride.0)?;
    let input = exact(&input, 3, filter.1, stride.1)?;
    let output = input.conv2d(weight, 0, common, 1, 1)?;
    let output = every(&output, 2, stride.0 / common)?;
    every(&output, 3, stride.1 / common)
}

/// The input with exactly the positions along `dim` that a filter of this size and stride touches.
fn exact(input: &Tensor, dim: usize, filter: usize, stride: usize) -> Result<Tensor> {
    let size = input.dim(dim)?;
    let before = (filter - 1) / 2;
    let used = (size.div_ceil(stride) - 1) * stride + filter;
    let padded = input.pad_with_zeros(dim, before, used.saturating_sub(before + size))?;
    if padded.dim(dim)? == used {
        Ok(padded)
    } else {
        padded.narrow(dim, 0, used)?.contiguous()
    }
}

/// Positions 0, step, 2·step… along `dim`.
fn every(input: &Tensor, dim: usize, step: usize) -> Result<Tensor> {
    if step == 1 {
        return Ok(input.clone());
    }
    let chosen: Vec<u32> = (0..input.dim(dim)?)
        .step_by(step)
        .map(|position| position as u32)
        .collect();
    input.index_select(&Tensor::new(chosen, input.device())?, dim)
}

fn greatest_common_divisor(a: usize, b: usize) -> usize {
    if b == 0 {
        a
    } else {
        greatest_common_divisor(b, a % b)
    }
}

/// max(0, x) with gradient 0 at 0 (candle's own has 1 there).
pub fn relu(input: &Tensor) -> Result<Tensor> {
    let positive = input.detach().gt(0f32)?.to_dtype(input.dtype())?;
    input * positive
}

/// Maxima of square windows with padding (size−1)/2 at the top and the left and output
/// ceil(n/stride); pixels outside do not count, and the first of a window's largest pixels takes
/// the gradient (candle's own shares it among all of them).
pub fn max_pool(input: &Tensor, size: usize, stride: usize) -> Result<Tensor> {
    // Beyond the border stands the pixel at the border: it is in the window already, so no maximum
    // changes.
    let shifted = |tensor: &Tensor, dim: usize, offset: usize| {
        let length = tensor.dim(dim)?;
        let places = (0..length.div_ceil(stride)).map(|output| {
            (output * stride + offset)
                .saturating_sub((size - 1) / 2)
                .min(length - 1) as u32
        });
        tensor.index_select(
            &Tensor::new(places.collect::<Vec<u32>>(), tensor.device())?,
            dim,
        )
    };
    let mut largest: Option<Tensor> = None;
    for row in 0..size {
        let rows = shifted(input, 2, row)?;
        for column in 0..size {
            let next = shifted(&rows, 3, column)?;
            largest = Some(match largest {
                None => next,
                Some(best) => next.detach().gt(&best.detach())?.where_cond(&next, &best)?,
            });
        }
    }
    largest.ok_or_else(|| candle_core::Error::Msg("a pooling window of 0".into()))
}

/// Means of the same windows; pixels outside do not count.
pub fn average_pool(input: &Tensor, size: usize, stride: usize) -> Result<Tensor> {
    let window = |output: usize, length: usize| {
        let first = (output * stride).saturating_sub((size - 1) / 2);
        let pixels = first..(output * stride + size - (size - 1) / 2).min(length);
        let share = 1.0 / pixels.len() as f32;
        pixels.map(|pixel| (pixel, share)).collect::<Vec<_>>()
    };
    let rows = |length: usize| {
        (0..length.div_ceil(stride))
            .map(|output| window(output, length))
            .collect::<Vec<_>>()
    };
    weighted(input, &rows(input.dim(2)?), &rows(input.dim(3)?))
}

/// Local contrast normalisation: `kernels::LocalContrast` says what it is.
pub fn local_contrast(input: &Tensor, window: usize) -> Result<Tensor> {
    let axis = |length: usize| {
        (0..length)
            .map(|at| local_contrast_weights(length, window, at))
            .collect::<Vec<_>>()
    };
    let rows = axis(input.dim(2)?);
    let columns = axis(input.dim(3)?);
    let mean = weighted(&input.mean_keepdim(1)?, &rows, &columns)?;
    let centred = input.broadcast_sub(&mean)?;
    let square = weighted(&centred.sqr()?.mean_keepdim(1)?, &rows, &columns)?;
    let deviation = (square + EPSILON)?.sqrt()?;
    let least = deviation
        .mean_keepdim((2, 3))?
        .broadcast_as(deviation.shape())?;
    let divisor = deviation
        .detach()
        .gt(&least.detach())?
        .where_cond(&deviation, &least)?;
    centred.broadcast_div(&divisor)
}

/// As the kernels have it.
const EPSILON: f64 = 1e-5;

/// Every output row a weighted sum of input rows, every output column one of input columns.
fn weighted(
    input: &Tensor,
    rows: &[Vec<(usize, f32)>],
    columns: &[Vec<(usize, f32)>],
) -> Result<Tensor> {
    let (batch, channels, height, width) = input.dims4()?;
    let down = matrix(rows, height, input.device())?;
    let across = matrix(columns, width, input.device())?.t()?.contiguous()?;
    // [b·c·h, w] × [w, w'], then [h', h] × [h, w'] for each plane
    let mixed = input
        .contiguous()?
        .reshape((batch * channels * height, width))?
        .matmul(&across)?;
    let mixed = mixed.reshape((batch * channels, height, columns.len()))?;
    let down = down
        .unsqueeze(0)?
        .broadcast_as((batch * channels, rows.len(), height))?
        .contiguous()?;
    down.matmul(&mixed)?
        .reshape((batch, channels, rows.len(), columns.len()))
}

/// `[outputs, inputs]`
fn matrix(rows: &[Vec<(usize, f32)>], inputs: usize, device: &Device) -> Result<Tensor> {
    let mut values = vec![0f32; rows.len() * inputs];
    for (row, taps) in rows.iter().enumerate() {
        taps.iter()
            .for_each(|&(input, weight)| values[row * inputs + input] = weight);
    }
    Tensor::from_vec(values, (rows.len(), inputs), device)
}

//! Batch normalisation with ReLU, alone. Knows nothing of the convolutions that it is fused with in
//! a network.

use super::{expect, group, ungroup};
use crate::kernels::KernelError;
use crate::kernels::convnet::norm::{self, Piece};
use crate::kernels::convnet::pack::{
    GradientMoments, Moments, Norm, PackGradient, PackInput, UpstreamGradient, Window, mask,
};
use crate::kernels::memory::Buffer;
use crate::kernels::memory::LANES;
use crate::kernels::simd::Isa;

/// What `norm_relu` keeps for its gradient.
pub struct Normalised {
    n: usize,
    area: usize,
    y: Buffer,
    norm: Norm,
}

/// Batch normalisation with batch statistics, then ReLU: `y` [n, channels, area]. Updates the
/// running mean and variance.
pub fn norm_relu(
    isa: Isa,
    area: usize,
    y: &[f32],
    scale: &[f32],
    shift: &[f32],
    running: (&mut [f32], &mut [f32]),
) -> Result<(Vec<f32>, Normalised), KernelError> {
    let channels = scale.len();
    let n = images(area, y, scale, shift, (running.0.len(), running.1.len()))?;
    let y = group(y, channels * area);
    let groups = n.div_ceil(LANES);
    let mut moments = Buffer::new(groups * channels * 2 * LANES);
    // SAFETY: y has all groups' planes, one after the other, and `moments` a piece for each.
    unsafe {
        isa.run_pointers(Moments {
            y: y.as_ptr(),
            y_channel: area * LANES,
            channels: groups * channels,
            pixels: area,
            out: moments.as_mut_ptr(),
        });
    };
    let mut norm = Norm::new(channels);
    norm::from_batch(
        &pieces(&moments, channels, n, area),
        scale,
        shift,
        &mut norm,
        running,
    );
    let activation = activate(isa, n, area, &y, &norm);
    Ok((activation, Normalised { n, area, y, norm }))
}

/// Batch normalisation with running statistics (mean, variance), then ReLU: `y` [n, channels,
/// area].
pub fn norm_relu_running(
    isa: Isa,
    area: usize,
    y: &[f32],
    scale: &[f32],
    shift: &[f32],
    running: (&[f32], &[f32]),
) -> Result<Vec<f32>, KernelError> {
    let n = images(area, y, scale, shift, (running.0.len(), running.1.len()))?;
    let mut norm = Norm::new(scale.len());
    norm::from_running(running.0, running.1, scale, shift, &mut norm);
    Ok(activate(isa, n, area, &group(y, scale.len() * area), &norm))
}

/// Checks the sizes of a normalisation; returns the number of images.
fn images(
    area: usize,
    y: &[f32],
    scale: &[f32],
    shift: &[f32],
    running: (usize, usize),
) -> Result<usize, KernelError> {
    let channels = scale.len();
    let n = y.len().checked_div(channels * area).unwrap_or(0);
    expect("y", y.len(), n.max(1) * channels.max(1) * area.max(1))?;
    expect("shift", shift.len(), channels)?;
    expect("running mean", running.0, channels)?;
    expect("running variance", running.1, channels)?;
    Ok(n)
}

/// max(0, (y - mean) · slope + shift) of grouped `y`, as [n, channels, area].
fn activate(isa: Isa, n: usize, area: usize, y: &Buffer, norm: &Norm) -> Vec<f32> {
    let channels = norm.shift.len();
    let mut activation = Buffer::new(y.as_slice().len());
    for group in 0..n.div_ceil(LANES) {
        let at = group * channels * area * LANES;
        // SAFETY: both buffers have this group's planes.
        unsafe {
            let from = y.as_ptr().add(at);
            let to = activation.as_mut_ptr().add(at);
            let window = plain_window(area);
            isa.run_pointers(PackInput {
                from,
                channels,
                window,
                norm: Some(norm),
                norm_first: 0,
                mask: &mask(n, group),
                to,
            });
        }
    }
    ungroup(&activation, n, channels * area)
}

/// A window that shows a plane as it is, in one row.
fn plain_window(area: usize) -> Window {
    Window {
        first_row: 0,
        rows: 1,
        pad: 0,
        columns: area,
        height: 1,
        width: area,
        to_channel: area * LANES,
    }
}

fn pieces(moments: &Buffer, channels: usize, n: usize, pixels: usize) -> Vec<Piece<'_>> {
    let groups = moments.as_slice().chunks(channels * 2 * LANES).enumerate();
    groups
        .map(|(group, moments)| Piece {
            moments,
            lanes: (n - group * LANES).min(LANES),
            pixels,
        })
        .collect()
}

/// Gradients of `norm_relu`.
pub struct NormGradients {
    pub y: Vec<f32>,
    pub scale: Vec<f32>,
    pub shift: Vec<f32>,
}

/// Gradients of `norm_relu` with respect to y, scale and shift.
pub fn norm_relu_gradients(
    isa: Isa,
    mut saved: Normalised,
    da: &[f32],
) -> Result<NormGradients, KernelError> {
    let n = saved.n;
    let area = saved.area;
    let channels = saved.norm.shift.len();
    expect("da", da.len(), n * channels * area)?;
    let da = group(da, channels * area);
    let groups = n.div_ceil(LANES);
    let upstream = UpstreamGradient {
        convolutions: Some(da.as_ptr()),
        head: None,
    };
    let mut moments = Buffer::new(groups * channels * 2 * LANES);
    let mut dy = Buffer::new(da.as_slice().len());
    for group in 0..groups {
        // SAFETY: y and da have this group's planes, and `moments` its piece.
        unsafe {
            let y = saved.y.as_ptr().add(group * channels * area * LANES);
            let upstream = upstream.skip(group * channels, area * LANES);
            let out = moments.as_mut_ptr().add(group * channels * 2 * LANES);
            isa.run_pointers(GradientMoments {
                y,
                upstream,
                norm: &saved.norm,
                channels,
                pixels: area,
                out,
            });
        }
    }
    let mut dscale = vec![0.0; channels];
    let mut dshift = vec![0.0; channels];
    norm::gradients(
        &pieces(&moments, channels, n, area),
        &mut saved.norm,
        &mut dscale,
        &mut dshift,
    );
    for group in 0..groups {
        let at = group * channels * area * LANES;
        let window = plain_window(area);
        let upstream = upstream.skip(group * channels, area * LANES);
        // SAFETY: all three buffers have this group's planes.
        unsafe {
            let y = saved.y.as_ptr().add(at);
            let to = dy.as_mut_ptr().add(at);
            isa.run_pointers(PackGradient {
                y,
                upstream,
                channels,
                window,
                norm: &saved.norm,
                norm_first: 0,
                mask: &mask(n, group),
                to,
            });
        }
    }
    Ok(NormGradients {
        y: ungroup(&dy, n, channels * area),
        scale: dscale,
        shift: dshift,
    })
}

//! Batch normalisation's statistics: from per-lane moments to coefficients, running statistics and
//! gradients. Done in f64. Knows nothing of how the moments were gathered.

use super::pack::Norm;
use crate::kernels::memory::LANES;

/// Added to a variance before its root, where a network does not say otherwise: as in PyTorch.
pub const EPSILON: f64 = 1e-5;
/// Weight of a batch in the running statistics.
pub const MOMENTUM: f64 = 0.1;

/// Per-lane moments of one piece of a tensor: [channels][2][LANES].
pub struct Piece<'a> {
    pub moments: &'a [f32],
    /// Lanes that hold an image.
    pub lanes: usize,
    /// Pixels of each lane.
    pub pixels: usize,
}

/// Coefficients for a batch: writes `norm`'s mean, slope and shift, and updates the running
/// statistics (of one value alone, the variance is unknown and stays).
pub fn from_batch(
    pieces: &[Piece<'_>],
    scale: &[f32],
    shift: &[f32],
    norm: &mut Norm,
    running: (&mut [f32], &mut [f32]),
) {
    let count: f64 = pieces.iter().map(|p| (p.lanes * p.pixels) as f64).sum();
    for channel in 0..scale.len() {
        let lanes = || {
            pieces.iter().flat_map(|p| {
                let moments = &p.moments[channel * 2 * LANES..][..2 * LANES];
                (0..p.lanes).map(move |l| {
                    (
                        f64::from(moments[l]),
                        f64::from(moments[LANES + l]),
                        p.pixels as f64,
                    )
                })
            })
        };
        let mean = lanes().map(|(sum, _, _)| sum).sum::<f64>() / count;
        let squares = lanes()
            .map(|(sum, squares, pixels)| squares + pixels * (sum / pixels - mean).powi(2))
            .sum::<f64>();
        set(
            norm,
            channel,
            mean,
            squares / count,
            scale[channel],
            shift[channel],
        );
        running.0[channel] = blend(running.0[channel], mean);
        if count > 1.0 {
            running.1[channel] = blend(running.1[channel], squares / (count - 1.0));
        }
    }
}

fn blend(old: f32, new: f64) -> f32 {
    (f64::from(old) + MOMENTUM * (new - f64::from(old))) as f32
}

/// Coefficients from running statistics.
pub fn from_running(mean: &[f32], variance: &[f32], scale: &[f32], shift: &[f32], norm: &mut Norm) {
    for channel in 0..scale.len() {
        set(
            norm,
            channel,
            f64::from(mean[channel]),
            f64::from(variance[channel]),
            scale[channel],
            shift[channel],
        );
    }
}

fn set(norm: &mut Norm, channel: usize, mean: f64, variance: f64, scale: f32, shift: f32) {
    norm.mean[channel] = mean as f32;
    norm.inverse[channel] = 1.0 / (variance + norm.epsilon).sqrt();
    norm.slope[channel] = (f64::from(scale) * norm.inverse[channel]) as f32;
    norm.shift[channel] = shift;
}

/// From the moments Σ g and Σ g · (y - mean): writes the gradients of scale and shift and the rest
/// of `norm`.
pub fn gradients(pieces: &[Piece<'_>], norm: &mut Norm, dscale: &mut [f32], dshift: &mut [f32]) {
    let count: f64 = pieces.iter().map(|p| (p.lanes * p.pixels) as f64).sum();
    for channel in 0..dscale.len() {
        let sum = |at: usize| {
            let moments = pieces
                .iter()
                .map(|p| &p.moments[channel * 2 * LANES + at * LANES..][..LANES]);
            moments.flatten().map(|&v| f64::from(v)).sum::<f64>()
        };
        let plain = sum(0);
        let centred = sum(1);
        let inverse = norm.inverse[channel];
        dshift[channel] = plain as f32;
        dscale[channel] = (centred * inverse) as f32;
        norm.gradient_mean[channel] = (plain / count) as f32;
        norm.gradient_slope[channel] = (centred * inverse * inverse / count) as f32;
    }
}

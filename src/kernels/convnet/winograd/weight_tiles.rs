//! The gradient of the weights by tiles: inputs and gradients at the points, one product for each
//! pair of a filter and a channel, and back from points to taps. The adjoint of `winograd` in the
//! weights. Knows packed rows alone.

use crate::kernels::convnet::convolution::direct::WeightSweep;
use crate::kernels::convnet::winograd::{Axis, Evaluation, point_step};
use crate::kernels::memory::LANES;
use crate::kernels::simd::{PointerKernel, Vector};

/// Adds one block's products to `sums`: [points][filters][`sums_row`].
///
/// Valid: `inputs` and `gradients` as `Evaluation` says, for the same tiles; `to` of both hold
/// their points.
pub struct TileProducts<'a> {
    pub inputs: Evaluation,
    pub gradients: Evaluation,
    pub tiles: usize,
    /// Where each channel's points begin, of those of one point.
    pub channel_offsets: &'a [usize],
    /// Of this block's first filter and channel.
    pub sums: *mut f32,
    pub sums_point: usize,
    pub sums_row: usize,
    /// The gradients' points are there from the block of channels before.
    pub gradients_done: bool,
}

impl PointerKernel for TileProducts<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let step = self.inputs.capacity * LANES;
        // SAFETY: the maker vouches for the tiles of inputs and gradients, for memory for their
        // points, and for a sum for each pair of a filter and a channel at each point.
        unsafe {
            self.inputs.evaluate::<V>(0, self.tiles);
            if !self.gradients_done {
                self.gradients.spread::<V>(self.tiles);
            }
            for p in 0..self.inputs.points() {
                WeightSweep {
                    source: self
                        .inputs
                        .to
                        .add(p * point_step(self.inputs.channels, self.inputs.capacity)),
                    taps: self.channel_offsets,
                    step_row: 0,
                    step_column: LANES,
                    gradient: self
                        .gradients
                        .to
                        .add(p * point_step(self.gradients.channels, self.gradients.capacity)),
                    gradient_channel: step,
                    gradient_row: 0,
                    filters: self.gradients.channels,
                    rows: 1,
                    columns: self.tiles,
                    out: self.sums.add(p * self.sums_point),
                    out_filter: self.sums_row,
                }
                .run::<V>();
            }
        }
    }
}

/// Adds sums at the points, [points][filters][`row`], to the gradient of the weights,
/// [filters][channels][taps].
///
/// Valid: `sums` holds them, with `row` a multiple of LANES and at least `channels`; `to` has room.
pub struct ToTaps<'a> {
    pub axes: (Axis, Axis),
    pub evaluations: &'a [Vec<Vec<f32>>; 2],
    pub sums: *const f32,
    pub filters: usize,
    pub channels: usize,
    pub row: usize,
    pub to: *mut f32,
}

impl PointerKernel for ToTaps<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let rows = self.axes.0.points();
        let columns = self.axes.1.points();
        let high = self.axes.0.taps();
        let wide = self.axes.1.taps();
        for f in 0..self.filters {
            for c in (0..self.channels).step_by(V::WIDTH) {
                // SAFETY: the maker vouches for rows of whole vectors of sums, and for a number of
                // `to` for each tap. An axis has at most 8 points and 7 taps.
                unsafe {
                    let mut across = [[V::splat(0.0); 7]; 8];
                    for (py, across) in across.iter_mut().enumerate().take(rows) {
                        for px in 0..columns {
                            let sum = V::load(
                                self.sums
                                    .add(((py * columns + px) * self.filters + f) * self.row + c),
                            );
                            for (kx, to) in across.iter_mut().enumerate().take(wide) {
                                *to = sum.mul_add(V::splat(self.evaluations[1][px][kx]), *to);
                            }
                        }
                    }
                    for ky in 0..high {
                        for kx in 0..wide {
                            let mut tap = V::splat(0.0);
                            for (py, across) in across.iter().enumerate().take(rows) {
                                tap =
                                    across[kx].mul_add(V::splat(self.evaluations[0][py][ky]), tap);
                            }
                            for (i, value) in tap
                                .numbers()
                                .iter()
                                .enumerate()
                                .take(V::WIDTH.min(self.channels - c))
                            {
                                *self
                                    .to
                                    .add(((f * self.channels + c + i) * high + ky) * wide + kx) +=
                                    *value;
                            }
                        }
                    }
                }
            }
        }
    }
}

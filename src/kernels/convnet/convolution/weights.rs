//! A convolution's weights, in the orders in which the sweeps read them. Knows of blocks, phases
//! and points alone.

use super::{Convolution, Phase, ranges, weight_index};
use crate::kernels::convnet::spec::Part;
use crate::kernels::convnet::winograd;
use crate::kernels::simd::TILE_FILTERS;
use std::ops::Range;

impl Convolution {
    /// Weights in the order in which the forward sweeps read them: [channel block][filters /
    /// 4][channel][ky][kx][4], or with tiles [channel block][point][filters / 4][channel][4].
    pub fn pack_weights(&self, weights: &[f32], to: &mut [f32]) {
        let g = &self.geometry;
        let area = g.filter_height * g.filter_width;
        let mut at = 0;
        for channels in ranges(g.channels, self.forward.channels) {
            if let Some(axes) = self.axes {
                let to = &mut to[channels.start * self.packed_channel()..];
                let weight = |f, c, ky, kx| weights[weight_index(g, f, channels.start + c, ky, kx)];
                winograd::transform_weights(axes, g.filters, channels.len(), weight, to);
                continue;
            }
            for first in (0..g.filters).step_by(TILE_FILTERS) {
                for i in channels.start * area..channels.end * area {
                    for f in first..first + TILE_FILTERS {
                        to[at] = if f < g.filters {
                            weights[f * g.taps() + i]
                        } else {
                            0.0
                        };
                        at += 1;
                    }
                }
            }
        }
    }

    /// Flipped weights in the order in which the backward sweeps read them: [filter
    /// block][part][row phase][column phase][channels / 4][filter][ky][kx][4], or with tiles
    /// [filter block][part][point][channels / 4][filter][4]. Not flipped, of small pictures:
    /// [part][channels / 4][filter][ky][kx][4].
    pub fn flip_weights(&self, weights: &[f32], to: &mut [f32]) {
        if self.small.is_some() {
            for (part, &at) in self.parts.iter().zip(&self.flipped) {
                self.turn_weights(weights, part, &mut to[at..]);
            }
            return;
        }
        let mut at = 0;
        for filters in ranges(self.geometry.filters, self.backward.filters) {
            for part in &self.parts {
                if let Some(axes) = self.axes {
                    let g = &self.geometry;
                    let weight = |c, f, ky, kx| {
                        let ky = g.filter_height - 1 - ky;
                        let kx = g.filter_width - 1 - kx;
                        weights[weight_index(g, filters.start + f, part.first + c, ky, kx)]
                    };
                    winograd::transform_weights(
                        axes,
                        part.channels,
                        filters.len(),
                        weight,
                        &mut to[at..],
                    );
                    at += part.channels.next_multiple_of(TILE_FILTERS)
                        * filters.len()
                        * self.values(0);
                    continue;
                }
                for rows in &self.phases[0] {
                    for columns in &self.phases[1] {
                        at = self.flip_phase(
                            weights,
                            to,
                            at,
                            filters.clone(),
                            part,
                            (rows, columns),
                        );
                    }
                }
            }
        }
    }

    /// One part's weights with filters and channels exchanged: [channels /
    /// 4][filter][ky][kx][4].
    fn turn_weights(&self, weights: &[f32], part: &Part, to: &mut [f32]) {
        let g = &self.geometry;
        let area = g.filter_height * g.filter_width;
        let blocks = to.chunks_mut(g.filters * area * TILE_FILTERS);
        let firsts = (0..part.channels).step_by(TILE_FILTERS);
        for (first, block) in firsts.zip(blocks) {
            let count = TILE_FILTERS.min(part.channels - first);
            for (f, to) in block.chunks_exact_mut(area * TILE_FILTERS).enumerate() {
                let from = &weights[f * g.taps() + (part.first + first) * area..][..count * area];
                for (tap, four) in to.chunks_exact_mut(TILE_FILTERS).enumerate() {
                    for (c, value) in four.iter_mut().enumerate() {
                        *value = if c < count { from[c * area + tap] } else { 0.0 };
                    }
                }
            }
        }
    }

    fn flip_phase(
        &self,
        weights: &[f32],
        to: &mut [f32],
        mut at: usize,
        filters: Range<usize>,
        part: &Part,
        phase: (&Phase, &Phase),
    ) -> usize {
        let g = &self.geometry;
        for first in (0..part.channels).step_by(TILE_FILTERS) {
            for f in filters.clone() {
                for ky in (0..phase.0.taps)
                    .rev()
                    .map(|j| phase.0.first_tap + j * g.stride_height)
                {
                    for kx in (0..phase.1.taps)
                        .rev()
                        .map(|j| phase.1.first_tap + j * g.stride_width)
                    {
                        for c in first..first + TILE_FILTERS {
                            to[at] = if c < part.channels {
                                weights[weight_index(g, f, part.first + c, ky, kx)]
                            } else {
                                0.0
                            };
                            at += 1;
                        }
                    }
                }
            }
        }
        at
    }
}

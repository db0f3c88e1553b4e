//! The products of `phased` at the points: filters and tiles, and (for the weights' gradient)
//! tiles' inputs and gradients. Knows rows of numbers alone.

use super::BANK;
use crate::kernels::memory::LANES;
use crate::kernels::simd::{PointerKernel, TILE_FILTERS, Vector};

/// out[f][x] (+)= Σ over c of weights[f / 16][c][f % 16] · source[c][x] at each point, for x below
/// `width`.
///
/// Valid: `source` and `out` hold `width` numbers (whole vectors of any kind) for each channel and
/// for each filter up to a multiple of 4; `weights` holds whole banks; nobody else touches `out`
/// meanwhile.
#[derive(Clone, Copy)]
pub struct BankProducts {
    pub points: usize,
    pub source: *const f32,
    pub source_point: usize,
    pub channels: usize,
    pub weights: *const f32,
    pub weights_point: usize,
    pub out: *mut f32,
    pub out_point: usize,
    pub filters: usize,
    pub width: usize,
    pub accumulate: bool,
}

impl PointerKernel for BankProducts {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let vectors = self.width / V::WIDTH;
        let tiles = vectors.div_ceil(V::TILE);
        for point in 0..self.points {
            let mut x = 0;
            for tile in 0..tiles {
                let size = (vectors - x).div_ceil(tiles - tile);
                for quad in 0..self.filters.div_ceil(TILE_FILTERS) {
                    // SAFETY: the point, the quad and columns x..x + size are among those for
                    // which the maker vouches.
                    unsafe {
                        match size {
                            1 => self.tile::<V, 1>(point, quad, x * V::WIDTH),
                            2 => self.tile::<V, 2>(point, quad, x * V::WIDTH),
                            3 => self.tile::<V, 3>(point, quad, x * V::WIDTH),
                            4 => self.tile::<V, 4>(point, quad, x * V::WIDTH),
                            5 => self.tile::<V, 5>(point, quad, x * V::WIDTH),
                            _ => self.tile::<V, 6>(point, quad, x * V::WIDTH),
                        }
                    }
                }
                x += size;
            }
        }
    }
}

impl BankProducts {
    /// Four filters by T registers.
    ///
    /// # Safety
    /// They are within the sizes for which the maker vouches.
    #[inline(always)]
    unsafe fn tile<V: Vector, const T: usize>(&self, point: usize, quad: usize, x: usize) {
        let first = quad * TILE_FILTERS;
        // SAFETY: the maker vouches for `width` numbers of each channel and filter at each point,
        // and for the bank's weights, through which `weights` walks once.
        unsafe {
            let mut weights = self.weights.add(
                point * self.weights_point + first / BANK * self.channels * BANK + first % BANK,
            );
            let mut source = self.source.add(point * self.source_point + x);
            let mut sums = [[V::splat(0.0); T]; TILE_FILTERS];
            for _ in 0..self.channels {
                V::scale_add(&mut sums, source, V::WIDTH, weights, 1);
                weights = weights.wrapping_add(BANK);
                source = source.wrapping_add(self.width);
            }
            let out = self
                .out
                .add(point * self.out_point + first * self.width + x);
            for (f, row) in sums.iter().enumerate() {
                for (t, sum) in row.iter().enumerate() {
                    let to = out.add(f * self.width + t * V::WIDTH);
                    if self.accumulate {
                        V::load(to).add(*sum)
                    } else {
                        *sum
                    }
                    .store(to);
                }
            }
        }
    }
}

/// A bank of filters' points, [points of `from_point` numbers][16][tiles][LANES], turned:
/// [points][tiles and images][`to_row`].
///
/// Valid: `from` holds them, and `to` has room.
pub struct TurnBank {
    pub points: usize,
    pub from: *const f32,
    pub from_point: usize,
    pub tiles: usize,
    pub to: *mut f32,
    pub to_row: usize,
}

impl PointerKernel for TurnBank {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let row = self.tiles * LANES;
        for point in 0..self.points {
            for tile in 0..self.tiles {
                for filter in (0..BANK).step_by(V::WIDTH) {
                    for image in (0..LANES).step_by(V::WIDTH) {
                        let position = tile * LANES + image;
                        // SAFETY: the maker vouches for a whole bank's tiles, LANES numbers each,
                        // and for as many turned rows.
                        unsafe {
                            let from = self
                                .from
                                .add(point * self.from_point + filter * row + position);
                            let to = self.to.add((point * row + position) * self.to_row + filter);
                            V::turn(from, row, to, self.to_row);
                        }
                    }
                }
            }
        }
    }
}

/// sums[c][f] (+)= Σ over k of gradients[k][f] · inputs[c][k] at each point, where k counts tiles
/// and images.
///
/// Valid: `gradients` holds rows of whole vectors of filters, `inputs` rows of `depth` numbers for
/// each channel up to a multiple of 4, `sums` rows as those of the gradients; nobody else touches
/// `sums` meanwhile.
pub struct DepthProducts {
    pub points: usize,
    pub gradients: *const f32,
    /// Numbers of a row of gradients, and of sums.
    pub row: usize,
    pub filters: usize,
    pub inputs: *const f32,
    pub inputs_point: usize,
    pub channels: usize,
    pub depth: usize,
    pub sums: *mut f32,
    pub accumulate: bool,
}

impl PointerKernel for DepthProducts {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let vectors = self.filters.div_ceil(V::WIDTH);
        let tiles = vectors.div_ceil(V::TILE);
        for point in 0..self.points {
            for channel in (0..self.channels).step_by(TILE_FILTERS) {
                let mut vector = 0;
                for tile in 0..tiles {
                    let size = (vectors - vector).div_ceil(tiles - tile);
                    let filter = vector * V::WIDTH;
                    // SAFETY: point, channel and vectors are among those for which the maker
                    // vouches.
                    unsafe {
                        match size {
                            1 => self.tile::<V, 1>(point, channel, filter),
                            2 => self.tile::<V, 2>(point, channel, filter),
                            3 => self.tile::<V, 3>(point, channel, filter),
                            4 => self.tile::<V, 4>(point, channel, filter),
                            5 => self.tile::<V, 5>(point, channel, filter),
                            _ => self.tile::<V, 6>(point, channel, filter),
                        }
                    }
                    vector += size;
                }
            }
        }
    }
}

impl DepthProducts {
    /// Four channels by T registers of filters.
    ///
    /// # Safety
    /// They are within the sizes for which the maker vouches.
    #[inline(always)]
    unsafe fn tile<V: Vector, const T: usize>(&self, point: usize, channel: usize, filter: usize) {
        // SAFETY: the maker vouches for the rows of gradients, inputs and sums; of the channels
        // past the last, inputs are read (there is room for them), and sums are not written.
        unsafe {
            let mut gradients = self.gradients.add(point * self.depth * self.row + filter);
            let mut inputs = self
                .inputs
                .add(point * self.inputs_point + channel * self.depth);
            let mut sums = [[V::splat(0.0); T]; TILE_FILTERS];
            for _ in 0..self.depth {
                V::scale_add(&mut sums, gradients, V::WIDTH, inputs, self.depth);
                gradients = gradients.wrapping_add(self.row);
                inputs = inputs.wrapping_add(1);
            }
            let to = self
                .sums
                .add((point * self.channels + channel) * self.row + filter);
            for (c, row) in sums.iter().enumerate().take(self.channels - channel) {
                for (t, sum) in row.iter().enumerate() {
                    let to = to.add(c * self.row + t * V::WIDTH);
                    if self.accumulate {
                        V::load(to).add(*sum)
                    } else {
                        *sum
                    }
                    .store(to);
                }
            }
        }
    }
}

//! The two inner products of a convolution, on packed rows whose borders are already zeros: outputs
//! from filters (forward, and backward to the input with flipped filters), and filters from outputs
//! (the weights' gradient). One image a vector lane, so any filter, stride and channel count is the
//! same loop. Knows nothing of layers, padding or normalisation.

use crate::kernels::memory::LANES;
use crate::kernels::simd::{PointerKernel, TILE_FILTERS, Vector};

/// out[f][y][x] (+)= Σ over c, ky, kx of weights[f][c][ky][kx] · source[c][y·step_row +
/// ky][x·step_column + kx]. All strides are in numbers, not bytes.
///
/// Valid: `source` and `out` reach every element that this formula names, `LANES` numbers each;
/// `weights` holds [filters / 4 rounded up][channels][taps_height][taps_width][4]; nobody else
/// touches what `out` names meanwhile.
#[derive(Clone, Copy)]
pub struct Sweep {
    pub source: *const f32,
    pub source_channel: usize,
    pub source_row: usize,
    /// From one output row to the next.
    pub step_row: usize,
    /// From one output column to the next.
    pub step_column: usize,
    pub channels: usize,
    pub taps_height: usize,
    pub taps_width: usize,
    pub weights: *const f32,
    pub out: *mut f32,
    pub out_channel: usize,
    pub out_row: usize,
    pub out_column: usize,
    pub filters: usize,
    pub rows: usize,
    pub columns: usize,
    /// Add to `out` instead of overwriting it.
    pub accumulate: bool,
}

impl PointerKernel for Sweep {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let block_weights = self.channels * self.taps_height * self.taps_width * TILE_FILTERS;
        let tiles = self.columns.div_ceil(V::TILE);
        for block in 0..self.filters.div_ceil(TILE_FILTERS) {
            for y in 0..self.rows {
                let mut x = 0;
                for tile in 0..tiles {
                    // Tiles of nearly equal size: none is left with so few columns that additions
                    // wait for each other.
                    let size = (self.columns - x).div_ceil(tiles - tile);
                    for lane in (0..LANES).step_by(V::WIDTH) {
                        // SAFETY: block, row, columns x..x + size and lane are below filters, rows,
                        // columns and LANES, for all of which the maker vouches.
                        unsafe {
                            let weights = self.weights.add(block * block_weights);
                            match size {
                                1 => self.tile::<V, 1>(weights, block, y, x, lane),
                                2 => self.tile::<V, 2>(weights, block, y, x, lane),
                                3 => self.tile::<V, 3>(weights, block, y, x, lane),
                                4 => self.tile::<V, 4>(weights, block, y, x, lane),
                                5 => self.tile::<V, 5>(weights, block, y, x, lane),
                                _ => self.tile::<V, 6>(weights, block, y, x, lane),
                            }
                        }
                    }
                    x += size;
                }
            }
        }
    }
}

impl Sweep {
    /// Four filters by T columns of one row, one register each.
    ///
    /// # Safety
    /// They are within the sizes for which the maker vouches; `weights` are the block's.
    #[inline(always)]
    unsafe fn tile<V: Vector, const T: usize>(
        &self,
        mut weights: *const f32,
        block: usize,
        y: usize,
        x: usize,
        lane: usize,
    ) {
        // SAFETY: the maker vouches for sources and outputs of these columns and for the block's
        // packed weights, through which `weights` walks once.
        unsafe {
            let mut sums = [[V::splat(0.0); T]; TILE_FILTERS];
            let source = self
                .source
                .add(y * self.step_row + x * self.step_column + lane);
            for channel in 0..self.channels {
                for ky in 0..self.taps_height {
                    let mut from = source.add(channel * self.source_channel + ky * self.source_row);
                    for _ in 0..self.taps_width {
                        V::scale_add(&mut sums, from, self.step_column, weights, 1);
                        weights = weights.add(TILE_FILTERS);
                        from = from.add(LANES);
                    }
                }
            }
            let first = block * TILE_FILTERS;
            let out = self
                .out
                .add(first * self.out_channel + y * self.out_row + x * self.out_column + lane);
            for (f, row) in sums.iter().enumerate().take(self.filters - first) {
                for (t, sum) in row.iter().enumerate() {
                    let to = out.add(f * self.out_channel + t * self.out_column);
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

/// out[f · out_filter + t] += Σ over y, x and lanes of gradient[f][y][x] · source[taps[t] +
/// y·step_row + x·step_column].
///
/// Valid: `source` and `gradient` reach every element that this formula names, `LANES` numbers
/// each; `out` has a number for each filter and tap; nobody else touches `out` meanwhile.
#[derive(Clone, Copy)]
pub struct WeightSweep<'a> {
    pub source: *const f32,
    /// Where each weight's first factor lies in `source`.
    pub taps: &'a [usize],
    pub step_row: usize,
    pub step_column: usize,
    pub gradient: *const f32,
    pub gradient_channel: usize,
    pub gradient_row: usize,
    pub filters: usize,
    pub rows: usize,
    pub columns: usize,
    pub out: *mut f32,
    pub out_filter: usize,
}

impl PointerKernel for WeightSweep<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let tiles = self.taps.len().div_ceil(V::TILE);
        for first in (0..self.filters).step_by(TILE_FILTERS) {
            let mut tap = 0;
            for tile in 0..tiles {
                let size = (self.taps.len() - tap).div_ceil(tiles - tile);
                // SAFETY: filter and taps are below `filters` and `taps.len()`, for all of which the
                // maker vouches.
                unsafe {
                    match size {
                        1 => self.tile::<V, 1>(first, tap),
                        2 => self.tile::<V, 2>(first, tap),
                        3 => self.tile::<V, 3>(first, tap),
                        4 => self.tile::<V, 4>(first, tap),
                        5 => self.tile::<V, 5>(first, tap),
                        _ => self.tile::<V, 6>(first, tap),
                    }
                }
                tap += size;
            }
        }
    }
}

impl WeightSweep<'_> {
    /// Four filters by T taps, one register each.
    ///
    /// # Safety
    /// They are within the sizes for which the maker vouches.
    #[inline(always)]
    unsafe fn tile<V: Vector, const T: usize>(&self, first: usize, tap: usize) {
        // SAFETY: the maker vouches for each filter's gradients, each tap's sources and a sum for
        // both. Filters past the last repeat it, and their sums are dropped.
        unsafe {
            let last = self.filters - 1;
            let gradients: [*const f32; TILE_FILTERS] = std::array::from_fn(|f| {
                self.gradient
                    .add((first + f).min(last) * self.gradient_channel)
            });
            let sources: [*const f32; T] =
                std::array::from_fn(|t| self.source.add(self.taps[tap + t]));
            let mut sums = [[V::splat(0.0); T]; TILE_FILTERS];
            for y in 0..self.rows {
                let mut g = y * self.gradient_row;
                let mut s = y * self.step_row;
                for _ in 0..self.columns {
                    for lane in (0..LANES).step_by(V::WIDTH) {
                        V::product_add(&mut sums, &gradients, g + lane, &sources, s + lane);
                    }
                    g += LANES;
                    s += self.step_column;
                }
            }
            let by_tap: [[V; TILE_FILTERS]; T] =
                std::array::from_fn(|t| std::array::from_fn(|f| sums[f][t]));
            for (t, four) in by_tap.into_iter().enumerate() {
                for (f, sum) in V::sums(four)
                    .into_iter()
                    .enumerate()
                    .take(self.filters - first)
                {
                    *self.out.add((first + f) * self.out_filter + tap + t) += sum;
                }
            }
        }
    }
}

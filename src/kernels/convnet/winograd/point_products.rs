//! Products of filters and tiles at one point: the matrix product inside `winograd`. Knows rows of
//! numbers alone.

use crate::kernels::simd::{PointerKernel, TILE_FILTERS, Vector};

/// out[f][x] = Σ over c of weights[f][c] · source[c][x], for x below `width`.
///
/// Valid: `source` and `out` hold `width` numbers at each step of `source_channel` and
/// `out_filter`; `weights` holds [filters / 4][channels][4]; `filters` is a multiple of 4, `width`
/// of every vector's; nobody else touches `out` meanwhile.
#[derive(Clone, Copy)]
pub struct PointProducts {
    pub source: *const f32,
    pub source_channel: usize,
    pub channels: usize,
    pub weights: *const f32,
    pub out: *mut f32,
    pub out_filter: usize,
    pub filters: usize,
    pub width: usize,
}

impl PointerKernel for PointProducts {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let vectors = self.width / V::WIDTH;
        let tiles = vectors.div_ceil(V::TILE);
        let mut x = 0;
        for tile in 0..tiles {
            // Register tiles of nearly equal size: none is left with so few columns that additions
            // wait for each other.
            let size = (vectors - x).div_ceil(tiles - tile);
            for block in 0..self.filters / TILE_FILTERS {
                // SAFETY: block and columns x..x + size are below `filters` and `width`, for which the
                // maker vouches.
                unsafe {
                    match size {
                        1 => self.tile::<V, 1>(block, x * V::WIDTH),
                        2 => self.tile::<V, 2>(block, x * V::WIDTH),
                        3 => self.tile::<V, 3>(block, x * V::WIDTH),
                        4 => self.tile::<V, 4>(block, x * V::WIDTH),
                        5 => self.tile::<V, 5>(block, x * V::WIDTH),
                        _ => self.tile::<V, 6>(block, x * V::WIDTH),
                    }
                }
            }
            x += size;
        }
    }
}

impl PointProducts {
    /// Four filters by T registers.
    ///
    /// # Safety
    /// They are within the sizes for which the maker vouches.
    #[inline(always)]
    unsafe fn tile<V: Vector, const T: usize>(&self, block: usize, x: usize) {
        // SAFETY: the maker vouches for `width` numbers of each channel and filter, and for the
        // block's weights, through which `weights` walks once.
        unsafe {
            let mut weights = self.weights.add(block * self.channels * TILE_FILTERS);
            let mut source = self.source.add(x);
            let mut sums = [[V::splat(0.0); T]; TILE_FILTERS];
            for _ in 0..self.channels {
                V::scale_add(&mut sums, source, V::WIDTH, weights, 1);
                weights = weights.add(TILE_FILTERS);
                source = source.wrapping_add(self.source_channel);
            }
            for (f, row) in sums.iter().enumerate() {
                let out = self
                    .out
                    .add((block * TILE_FILTERS + f) * self.out_filter + x);
                for (t, sum) in row.iter().enumerate() {
                    sum.store(out.add(t * V::WIDTH));
                }
            }
        }
    }
}

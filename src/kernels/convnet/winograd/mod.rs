//! Convolution of stride 1 with fewer products (Winograd, *Arithmetic Complexity of Computations*,
//! 1980; Lavin & Gray, *Fast Algorithms for Convolutional Neural Networks*, 2016): tiles are
//! evaluated at points, multiplied point by point, and interpolated. Per axis, so that 1 × 7 gains
//! too. Knows packed rows alone, as `sweep`, whose work it replaces.

mod point_products;
mod points;
pub mod weight_tiles;

use crate::kernels::convnet::convolution::direct::Sweep;
use crate::kernels::memory::LANES;
use crate::kernels::simd::{PointerKernel, TILE_FILTERS, Vector};
use point_products::PointProducts;
use points::{ROOTS, at_points, interpolate};

/// Most tiles that are transformed at once. As many as a register tile is wide are
/// (`Vector::TILE`): whole register tiles, and few enough that their points stay in the
/// second-level cache.
const TILES: usize = 6;

/// Filters whose points are computed before they are interpolated: again for the cache.
const FILTERS: usize = 16;

/// What is done along one axis. At most eight points: with ten, f32 loses too many digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axis {
    /// One tap: nothing to be gained.
    One,
    /// Three taps, four outputs, six points.
    Three,
    /// Five taps, four outputs, eight points.
    Five,
    /// Seven taps, two outputs, eight points.
    Seven,
}

impl Axis {
    pub fn for_taps(taps: usize) -> Option<Self> {
        match taps {
            1 => Some(Self::One),
            3 => Some(Self::Three),
            5 => Some(Self::Five),
            7 => Some(Self::Seven),
            _ => None,
        }
    }

    pub fn points(self) -> usize {
        match self {
            Self::One => 1,
            Self::Three => 6,
            Self::Five | Self::Seven => 8,
        }
    }

    /// Outputs of a tile.
    pub fn outputs(self) -> usize {
        match self {
            Self::One => 1,
            Self::Three | Self::Five => 4,
            Self::Seven => 2,
        }
    }

    pub fn taps(self) -> usize {
        self.points() + 1 - self.outputs()
    }

    /// Evaluates a filter at the points: what each tap counts for at each of them.
    pub fn evaluation(self) -> Vec<Vec<f32>> {
        let taps = self.taps();
        if self == Self::One {
            return vec![vec![1.0]];
        }
        let pairs = &ROOTS[..(self.points() - 2) / 2];
        let roots: Vec<f64> = std::iter::once(0.0)
            .chain(pairs.iter().flat_map(|&r| [f64::from(r), -f64::from(r)]))
            .collect();
        let mut rows: Vec<Vec<f32>> = Vec::with_capacity(self.points());
        for (i, &root) in roots.iter().enumerate() {
            let scale: f64 = roots
                .iter()
                .enumerate()
                .filter(|&(j, _)| j != i)
                .map(|(_, other)| root - other)
                .product();
            rows.push(
                (0..taps)
                    .map(|tap| (root.powi(i32::try_from(tap).unwrap_or(0)) / scale) as f32)
                    .collect(),
            );
        }
        rows.push(
            (0..taps)
                .map(|tap| if tap + 1 == taps { 1.0 } else { 0.0 })
                .collect(),
        );
        rows
    }
}

/// A filter bank at the points: `weight(filter, channel, ky, kx)` into [points][filters /
/// 4][channels][4].
pub fn transform_weights(
    axes: (Axis, Axis),
    filters: usize,
    channels: usize,
    weight: impl Fn(usize, usize, usize, usize) -> f32,
    to: &mut [f32],
) {
    let vertical = axes.0.evaluation();
    let horizontal = axes.1.evaluation();
    let block = filters.next_multiple_of(TILE_FILTERS) * channels;
    let mut rows = vec![0.0; horizontal.len() * vertical[0].len()];
    for f in 0..filters.next_multiple_of(TILE_FILTERS) {
        for c in 0..channels {
            for (ky, row) in rows.chunks_mut(horizontal.len()).enumerate() {
                for (value, taps) in row.iter_mut().zip(&horizontal) {
                    *value = if f < filters {
                        taps.iter()
                            .enumerate()
                            .map(|(kx, t)| t * weight(f, c, ky, kx))
                            .sum()
                    } else {
                        0.0
                    };
                }
            }
            let at = (f / TILE_FILTERS * channels + c) * TILE_FILTERS + f % TILE_FILTERS;
            for (py, taps) in vertical.iter().enumerate() {
                for px in 0..horizontal.len() {
                    let value: f32 = taps
                        .iter()
                        .zip(rows.chunks(horizontal.len()))
                        .map(|(t, row)| t * row[px])
                        .sum();
                    to[(py * horizontal.len() + px) * block + at] = value;
                }
            }
        }
    }
}

/// Numbers of scratch memory that a sweep over this many channels and filters needs.
pub fn scratch(axes: (Axis, Axis), channels: usize, filters: usize) -> usize {
    let filters = FILTERS.min(filters.next_multiple_of(TILE_FILTERS));
    axes.0.points() * axes.1.points() * (point_step(channels, TILES) + point_step(filters, TILES))
}

/// Numbers from one point to the next, of as many rows of tiles: not a power of two, or all points
/// of a tile would compete for the same few places of the caches.
pub fn point_step(rows: usize, tiles: usize) -> usize {
    (rows * tiles + 1) * LANES
}

/// `sweep` by tiles.
///
/// Valid: as `Sweep`, with weights from `transform_weights`, a stride of 1 (`step_row` is
/// `source_row`, `step_column` is LANES), and a source that reaches as far as whole tiles do (zeros
/// beyond the last output's taps); `scratch` numbers at `scratch`.
#[derive(Clone, Copy)]
pub struct TileSweep {
    pub sweep: Sweep,
    pub axes: (Axis, Axis),
    pub scratch: *mut f32,
}

impl PointerKernel for TileSweep {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let tiles = self.sweep.rows.div_ceil(self.axes.0.outputs())
            * self.sweep.columns.div_ceil(self.axes.1.outputs());
        for first in (0..tiles).step_by(V::TILE) {
            let count = V::TILE.min(tiles - first);
            // SAFETY: the maker vouches for sources and outputs of all tiles, and for scratch
            // memory for `TILES` tiles' points of all channels and then of `FILTERS` filters.
            unsafe {
                self.evaluation::<V>().evaluate::<V>(first, count);
                for filter in (0..self.sweep.filters).step_by(FILTERS) {
                    self.products::<V>(filter, count);
                    match self.axes.0 {
                        Axis::One => self.outputs_of::<V, 1, 1>(filter, first, count),
                        Axis::Three => self.outputs_of::<V, 6, 4>(filter, first, count),
                        Axis::Five => self.outputs_of::<V, 8, 4>(filter, first, count),
                        Axis::Seven => self.outputs_of::<V, 8, 2>(filter, first, count),
                    }
                }
            }
        }
    }
}

impl TileSweep {
    fn evaluation<V: Vector>(&self) -> Evaluation {
        Evaluation {
            source: self.sweep.source,
            source_channel: self.sweep.source_channel,
            source_row: self.sweep.source_row,
            channels: self.sweep.channels,
            across: self.sweep.columns.div_ceil(self.axes.1.outputs()),
            axes: self.axes,
            capacity: V::TILE,
            to: self.scratch,
        }
    }

    fn points(&self) -> usize {
        self.axes.0.points() * self.axes.1.points()
    }

    /// Filters of the block that begins with `filter`, up to whole register tiles.
    fn block(&self, filter: usize) -> usize {
        FILTERS.min((self.sweep.filters - filter).next_multiple_of(TILE_FILTERS))
    }

    /// Where the points of a block of filters lie.
    #[inline(always)]
    unsafe fn products_at<V: Vector>(&self) -> *mut f32 {
        // SAFETY: the scratch memory has room for the channels' points and more.
        unsafe {
            self.scratch
                .add(self.points() * point_step(self.sweep.channels, V::TILE))
        }
    }

    /// Multiplies at each point, for one block of filters: [points][filters][tiles][LANES].
    ///
    /// # Safety
    /// `evaluate` was called for as many tiles.
    #[inline(always)]
    unsafe fn products<V: Vector>(&self, filter: usize, count: usize) {
        let channels = self.sweep.channels;
        let filters = self.block(filter);
        let all_filters = self.sweep.filters.next_multiple_of(TILE_FILTERS);
        for p in 0..self.points() {
            // SAFETY: the points of all channels and of the block's filters lie in the scratch
            // memory, and the maker vouches for the weights of each point.
            unsafe {
                PointProducts {
                    source: self.scratch.add(p * point_step(channels, V::TILE)),
                    source_channel: V::TILE * LANES,
                    channels,
                    weights: self
                        .sweep
                        .weights
                        .add((p * all_filters + filter) * channels),
                    out: self
                        .products_at::<V>()
                        .add(p * point_step(filters, V::TILE)),
                    out_filter: V::TILE * LANES,
                    filters,
                    width: count * LANES,
                }
                .run::<V>();
            }
        }
    }

    /// # Safety
    /// As `outputs`.
    #[inline(always)]
    unsafe fn outputs_of<V: Vector, const Y: usize, const M: usize>(
        &self,
        filter: usize,
        first: usize,
        count: usize,
    ) {
        // SAFETY: filter and tiles are the caller's, which vouches for them.
        unsafe {
            match self.axes.1 {
                Axis::One => self.outputs::<V, Y, M, 1, 1>(filter, first, count),
                Axis::Three => self.outputs::<V, Y, M, 6, 4>(filter, first, count),
                Axis::Five => self.outputs::<V, Y, M, 8, 4>(filter, first, count),
                Axis::Seven => self.outputs::<V, Y, M, 8, 2>(filter, first, count),
            }
        }
    }

    /// Interpolates one block of filters: Y points to M rows, X points to N columns; writes those
    /// that there are.
    ///
    /// # Safety
    /// `products` was called for this block and as many tiles.
    #[inline(always)]
    unsafe fn outputs<V: Vector, const Y: usize, const M: usize, const X: usize, const N: usize>(
        &self,
        filter: usize,
        first: usize,
        count: usize,
    ) {
        let s = &self.sweep;
        let point = point_step(self.block(filter), V::TILE);
        for f in 0..FILTERS.min(s.filters - filter) {
            for t in 0..count {
                let (y, x) = self.evaluation::<V>().corner(first + t);
                let rows = (s.rows - y).min(M);
                let columns = (s.columns - x).min(N);
                for lane in (0..LANES).step_by(V::WIDTH) {
                    // SAFETY: the filter's points of tile t lie in the scratch memory; the maker
                    // vouches for the output rows and columns that there are.
                    unsafe {
                        let from = self
                            .products_at::<V>()
                            .add((f * V::TILE + t) * LANES + lane);
                        let out = s.out.add(
                            (filter + f) * s.out_channel + y * s.out_row + x * s.out_column + lane,
                        );
                        let mut across = [[V::splat(0.0); N]; Y];
                        for (i, row) in across.iter_mut().enumerate() {
                            let mut values = [V::splat(0.0); X];
                            for (j, value) in values.iter_mut().enumerate() {
                                *value = V::load(from.add((i * X + j) * point));
                            }
                            *row = interpolate(values);
                        }
                        for j in 0..columns {
                            let mut column = [V::splat(0.0); Y];
                            for (value, row) in column.iter_mut().zip(&across) {
                                *value = row[j];
                            }
                            for (i, value) in interpolate::<V, Y, M>(column)
                                .into_iter()
                                .enumerate()
                                .take(rows)
                            {
                                let to = out.add(i * s.out_row + j * s.out_column);
                                if s.accumulate {
                                    V::load(to).add(value)
                                } else {
                                    value
                                }
                                .store(to);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Tiles of packed rows at their points: [points][channels][capacity][LANES], `point_step` numbers
/// from one point to the next.
///
/// Valid: `source` reaches every element of `channels` channels' tiles, LANES numbers each; `to`
/// has room; nobody else touches `to` meanwhile.
#[derive(Clone, Copy)]
pub struct Evaluation {
    pub source: *const f32,
    pub source_channel: usize,
    pub source_row: usize,
    pub channels: usize,
    /// Tiles beside each other.
    pub across: usize,
    pub axes: (Axis, Axis),
    /// Tiles that `to` has room for.
    pub capacity: usize,
    pub to: *mut f32,
}

impl Evaluation {
    pub fn points(&self) -> usize {
        self.axes.0.points() * self.axes.1.points()
    }

    /// Row and column of a tile's first output.
    fn corner(&self, tile: usize) -> (usize, usize) {
        (
            tile / self.across * self.axes.0.outputs(),
            tile % self.across * self.axes.1.outputs(),
        )
    }

    /// Inputs at the points, of tiles `first` and so on.
    ///
    /// # Safety
    /// There are so many tiles, and no more than `capacity`.
    #[inline(always)]
    pub unsafe fn evaluate<V: Vector>(&self, first: usize, count: usize) {
        // SAFETY: the caller vouches for the tiles.
        unsafe {
            use Axis::{Five, One, Seven, Three};
            match self.axes {
                (One, One) => self.transform::<V, 1, 1, 1, 1>(first, count),
                (One, Three) => self.transform::<V, 1, 1, 6, 6>(first, count),
                (One, Five | Seven) => self.transform::<V, 1, 1, 8, 8>(first, count),
                (Three, One) => self.transform::<V, 6, 6, 1, 1>(first, count),
                (Three, Three) => self.transform::<V, 6, 6, 6, 6>(first, count),
                (Three, Five | Seven) => self.transform::<V, 6, 6, 8, 8>(first, count),
                (Five | Seven, One) => self.transform::<V, 8, 8, 1, 1>(first, count),
                (Five | Seven, Three) => self.transform::<V, 8, 8, 6, 6>(first, count),
                (Five | Seven, Five | Seven) => self.transform::<V, 8, 8, 8, 8>(first, count),
            }
        }
    }

    /// Outputs' gradients at the points.
    ///
    /// # Safety
    /// As `evaluate`.
    #[inline(always)]
    pub unsafe fn spread<V: Vector>(&self, count: usize) {
        // SAFETY: the caller vouches for the tiles.
        unsafe {
            match self.axes.0 {
                Axis::One => self.spread_rows::<V, 1, 1>(count),
                Axis::Three => self.spread_rows::<V, 4, 6>(count),
                Axis::Five => self.spread_rows::<V, 4, 8>(count),
                Axis::Seven => self.spread_rows::<V, 2, 8>(count),
            }
        }
    }

    /// # Safety
    /// As `evaluate`.
    #[inline(always)]
    unsafe fn spread_rows<V: Vector, const M: usize, const Y: usize>(&self, count: usize) {
        // SAFETY: the caller vouches for the tiles.
        unsafe {
            match self.axes.1 {
                Axis::One => self.transform::<V, M, Y, 1, 1>(0, count),
                Axis::Three => self.transform::<V, M, Y, 4, 6>(0, count),
                Axis::Five => self.transform::<V, M, Y, 4, 8>(0, count),
                Axis::Seven => self.transform::<V, M, Y, 2, 8>(0, count),
            }
        }
    }

    /// M rows to Y points, N columns to X points.
    ///
    /// # Safety
    /// As `evaluate`.
    #[inline(always)]
    unsafe fn transform<
        V: Vector,
        const M: usize,
        const Y: usize,
        const N: usize,
        const X: usize,
    >(
        &self,
        first: usize,
        count: usize,
    ) {
        let point = point_step(self.channels, self.capacity);
        for c in 0..self.channels {
            for t in 0..count {
                let (y, x) = self.corner(first + t);
                for lane in (0..LANES).step_by(V::WIDTH) {
                    // SAFETY: the maker vouches for the tile's rows and columns of channel c, and
                    // for memory for its points.
                    unsafe {
                        let from = self
                            .source
                            .add(c * self.source_channel + y * self.source_row + x * LANES + lane);
                        let to = self.to.add((c * self.capacity + t) * LANES + lane);
                        let mut rows = [[V::splat(0.0); X]; M];
                        for (i, row) in rows.iter_mut().enumerate() {
                            let mut values = [V::splat(0.0); N];
                            for (j, value) in values.iter_mut().enumerate() {
                                *value = V::load(from.add(i * self.source_row + j * LANES));
                            }
                            *row = at_points(values);
                        }
                        for j in 0..X {
                            let mut column = [V::splat(0.0); M];
                            for (value, row) in column.iter_mut().zip(&rows) {
                                *value = row[j];
                            }
                            for (i, value) in at_points::<V, M, Y>(column).into_iter().enumerate() {
                                value.store(to.add((i * X + j) * point));
                            }
                        }
                    }
                }
            }
        }
    }
}

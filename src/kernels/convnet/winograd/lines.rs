//! Tiles at their points and back, one axis after the other, for any two axes: what `winograd`
//! unrolls for a stride of 1, through a small buffer. So every axis is compiled once, not with
//! every other one. Must not know what is multiplied.

use super::points::{at_points, interpolate};
use super::{Axis, Evaluation, Interpolation};
use crate::kernels::memory::LANES;
use crate::kernels::simd::{PointerKernel, Vector};
use std::mem::MaybeUninit;

/// Most points of an axis.
const POINTS: usize = 8;

/// Vectors of up to `POINTS` rows and columns.
type Square<V> = [[MaybeUninit<V>; POINTS]; POINTS];

/// Vectors along an axis: N at `from`, `from_step` numbers apart, to X at `to`.
#[derive(Clone, Copy)]
struct Lines {
    count: usize,
    from: *const f32,
    from_step: usize,
    /// From one line to the next.
    from_next: usize,
    to: *mut f32,
    to_step: usize,
    to_next: usize,
}

impl Lines {
    /// N numbers of each line to X points.
    ///
    /// # Safety
    /// All vectors of the lines can be read, and written.
    #[inline(always)]
    unsafe fn to_points<V: Vector, const N: usize, const X: usize>(self) {
        for line in 0..self.count {
            // SAFETY: the caller vouches for the lines.
            unsafe {
                let from = self.from.add(line * self.from_next);
                let to = self.to.add(line * self.to_next);
                let mut values = [V::splat(0.0); N];
                for (j, value) in values.iter_mut().enumerate() {
                    *value = V::load(from.add(j * self.from_step));
                }
                for (j, value) in at_points::<V, N, X>(values).into_iter().enumerate() {
                    value.store(to.add(j * self.to_step));
                }
            }
        }
    }

    /// Inputs at the points.
    ///
    /// # Safety
    /// As `to_points`.
    #[inline(always)]
    unsafe fn evaluate<V: Vector>(self, axis: Axis) {
        // SAFETY: the caller's.
        unsafe {
            match axis.points() {
                1 => self.to_points::<V, 1, 1>(),
                5 => self.to_points::<V, 5, 5>(),
                6 => self.to_points::<V, 6, 6>(),
                7 => self.to_points::<V, 7, 7>(),
                _ => self.to_points::<V, 8, 8>(),
            }
        }
    }

    /// Outputs' gradients at the points.
    ///
    /// # Safety
    /// As `to_points`.
    #[inline(always)]
    unsafe fn spread<V: Vector>(self, axis: Axis) {
        // SAFETY: the caller's.
        unsafe {
            match axis {
                Axis::One => self.to_points::<V, 1, 1>(),
                Axis::Two => self.to_points::<V, 4, 5>(),
                Axis::Three => self.to_points::<V, 4, 6>(),
                Axis::Four => self.to_points::<V, 4, 7>(),
                Axis::Five => self.to_points::<V, 4, 8>(),
                Axis::Seven => self.to_points::<V, 2, 8>(),
            }
        }
    }

    /// N points of each line to X outputs, of which the first `wanted` are written or added.
    ///
    /// # Safety
    /// As `to_points`.
    #[inline(always)]
    unsafe fn interpolate_points<V: Vector, const N: usize, const X: usize>(
        self,
        wanted: usize,
        accumulate: bool,
    ) {
        for line in 0..self.count {
            // SAFETY: the caller vouches for the lines.
            unsafe {
                let from = self.from.add(line * self.from_next);
                let to = self.to.add(line * self.to_next);
                let mut values = [V::splat(0.0); N];
                for (j, value) in values.iter_mut().enumerate() {
                    *value = V::load(from.add(j * self.from_step));
                }
                let outputs = interpolate::<V, N, X>(values).into_iter().enumerate();
                for (j, value) in outputs.take(wanted) {
                    let to = to.add(j * self.to_step);
                    if accumulate {
                        V::load(to).add(value)
                    } else {
                        value
                    }
                    .store(to);
                }
            }
        }
    }

    /// Outputs from the points.
    ///
    /// # Safety
    /// As `to_points`.
    #[inline(always)]
    unsafe fn interpolate<V: Vector>(self, axis: Axis, wanted: usize, accumulate: bool) {
        // SAFETY: the caller's.
        unsafe {
            match axis {
                Axis::One => self.interpolate_points::<V, 1, 1>(wanted, accumulate),
                Axis::Two => self.interpolate_points::<V, 5, 4>(wanted, accumulate),
                Axis::Three => self.interpolate_points::<V, 6, 4>(wanted, accumulate),
                Axis::Four => self.interpolate_points::<V, 7, 4>(wanted, accumulate),
                Axis::Five => self.interpolate_points::<V, 8, 4>(wanted, accumulate),
                Axis::Seven => self.interpolate_points::<V, 8, 2>(wanted, accumulate),
            }
        }
    }
}

/// The first `tiles` tiles of each evaluation at their points: inputs, or with `spread` outputs'
/// gradients.
///
/// Valid: as `Evaluation` says.
pub struct ToPoints<'a> {
    pub tiles: usize,
    pub evaluations: &'a [Evaluation],
    pub spread: bool,
}

impl PointerKernel for ToPoints<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        for evaluation in self.evaluations {
            for channel in 0..evaluation.channels {
                for tile in 0..self.tiles {
                    for lane in (0..LANES).step_by(V::WIDTH) {
                        // SAFETY: the maker vouches for the tiles of each channel.
                        unsafe { evaluation.tile::<V>(self.spread, channel, tile, lane) }
                    }
                }
            }
        }
    }
}

impl Evaluation {
    /// One tile of one channel.
    ///
    /// # Safety
    /// There is such a tile, and room for its points.
    #[inline(always)]
    unsafe fn tile<V: Vector>(&self, spread: bool, channel: usize, tile: usize, lane: usize) {
        let (vertical, horizontal) = self.axes;
        let (y, x) = self.corner(tile);
        let mut square: Square<V> = [[const { MaybeUninit::uninit() }; POINTS]; POINTS];
        let square = square.as_mut_ptr().cast::<f32>();
        // SAFETY: the caller vouches for the tile and its points; the square has room for the
        // points of each row.
        unsafe {
            let rows = Lines {
                count: if spread {
                    vertical.outputs()
                } else {
                    vertical.points()
                },
                from: self.source.add(
                    channel * self.source_channel
                        + y * self.source_row
                        + x * self.source_column
                        + lane,
                ),
                from_step: self.source_column,
                from_next: self.source_row,
                to: square,
                to_step: V::WIDTH,
                to_next: POINTS * V::WIDTH,
            };
            let columns = Lines {
                count: horizontal.points(),
                from: square,
                from_step: POINTS * V::WIDTH,
                from_next: V::WIDTH,
                to: self.to.add((channel * self.capacity + tile) * LANES + lane),
                to_step: horizontal.points() * self.to_point,
                to_next: self.to_point,
            };
            if spread {
                rows.spread::<V>(horizontal);
                columns.spread::<V>(vertical);
            } else {
                rows.evaluate::<V>(horizontal);
                columns.evaluate::<V>(vertical);
            }
        }
    }
}

/// `Interpolation` one axis after the other.
///
/// Valid: as `Interpolation` says.
pub struct FromPoints(pub Interpolation);

impl PointerKernel for FromPoints {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let Self(of) = self;
        let (vertical, horizontal) = of.axes;
        for filter in 0..of.filters {
            for tile in 0..of.count {
                let y = (of.first + tile) / of.across * vertical.outputs();
                let x = (of.first + tile) % of.across * horizontal.outputs();
                let rows = of.rows.saturating_sub(y).min(vertical.outputs());
                let columns = of.columns.saturating_sub(x).min(horizontal.outputs());
                if rows == 0 || columns == 0 {
                    continue;
                }
                for lane in (0..LANES).step_by(V::WIDTH) {
                    let mut square: Square<V> = [[const { MaybeUninit::uninit() }; POINTS]; POINTS];
                    let square = square.as_mut_ptr().cast::<f32>();
                    // SAFETY: the maker vouches for the tile's points, and for the output rows and
                    // columns that there are; the square has room for the columns of each row.
                    unsafe {
                        let across = Lines {
                            count: vertical.points(),
                            from: of.from.add(filter * of.from_filter + tile * LANES + lane),
                            from_step: of.from_point,
                            from_next: horizontal.points() * of.from_point,
                            to: square,
                            to_step: V::WIDTH,
                            to_next: POINTS * V::WIDTH,
                        };
                        across.interpolate::<V>(horizontal, columns, false);
                        let down = Lines {
                            count: columns,
                            from: square,
                            from_step: POINTS * V::WIDTH,
                            from_next: V::WIDTH,
                            to: of.out.add(
                                filter * of.out_filter + y * of.out_row + x * of.out_column + lane,
                            ),
                            to_step: of.out_row,
                            to_next: of.out_column,
                        };
                        down.interpolate::<V>(vertical, rows, of.accumulate);
                    }
                }
            }
        }
    }
}

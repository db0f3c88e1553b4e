//! The products' inner loops: register tiles over the panels of a packed matrix. Knows nothing of
//! threads.

use super::packed::{DEPTH, Left, Packed, ROWS_OF_COLUMNS, Target};
use crate::kernels::simd::{PointerKernel, Steps, TILE_FILTERS as TILE_ROWS, Vector};
use std::mem::MaybeUninit;
use std::ops::Range;

/// Numbers from one tile to the next of a left side that was turned: not a power of 2, so that
/// tiles do not share a cache set.
const TURNED: usize = (DEPTH + TILE_ROWS) * TILE_ROWS;

/// All rows of `left` by some panels. Valid: as `Packed::product` says; a left side of columns has
/// at most `ROWS_OF_COLUMNS` rows.
pub struct Part<'a> {
    pub packed: &'a Packed,
    pub panels: Range<usize>,
    pub left: Left,
    pub target: Target,
}

impl PointerKernel for Part<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        debug_assert_eq!(
            self.left.segment,
            usize::MAX,
            "panels are taken by pieces of the caller's"
        );
        let pieces = self.packed.depth.div_ceil(DEPTH);
        for piece in 0..pieces {
            let k = piece * self.packed.depth / pieces..(piece + 1) * self.packed.depth / pieces;
            // SAFETY: k is below the depth of both sides, for which the maker vouches.
            unsafe {
                let left = Left {
                    start: self.left.start.add(k.start * self.left.k_stride),
                    ..self.left
                };
                if left.is_apart() {
                    self.turned_piece::<V>(k, left);
                } else {
                    self.piece::<V>(k, left);
                }
            }
        }
    }
}

/// The part of the products' sums that some k make. Valid: as for `Part`, whose left side begins
/// with the first of these k.
pub struct Piece<'a> {
    pub part: Part<'a>,
    pub k: Range<usize>,
}

impl PointerKernel for Piece<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        // SAFETY: the maker vouches for left and target, and left begins with the first k.
        unsafe { self.part.piece::<V>(self.k, self.part.left) }
    }
}

impl Part<'_> {
    /// From a copy in which each tile's numbers lie side by side: where those of two k are far
    /// apart, each is on another page.
    ///
    /// # Safety
    /// As `piece`.
    #[inline(always)]
    unsafe fn turned_piece<V: Vector>(&self, k: Range<usize>, left: Left) {
        debug_assert!(
            left.row_stride == 1 && left.rows <= ROWS_OF_COLUMNS,
            "columns of a block"
        );
        let mut copy =
            [const { MaybeUninit::<f32>::uninit() }; ROWS_OF_COLUMNS / TILE_ROWS * TURNED];
        let start = copy.as_mut_ptr().cast::<f32>();
        for number in 0..k.len() {
            for row in (0..left.rows).step_by(TILE_ROWS) {
                // SAFETY: the maker vouches for the rows of left; the copy has room for
                // `ROWS_OF_COLUMNS` rows and `DEPTH` k.
                unsafe {
                    let from = left.start.add(number * left.k_stride + row);
                    let to = start.add(row / TILE_ROWS * TURNED + number * TILE_ROWS);
                    if left.rows - row >= TILE_ROWS {
                        to.cast::<[f32; TILE_ROWS]>()
                            .write(from.cast::<[f32; TILE_ROWS]>().read());
                    } else {
                        from.copy_to(to, left.rows - row);
                    }
                }
            }
        }
        // SAFETY: the copy has every k of the rows that are read of it; the maker vouches for
        // target.
        unsafe {
            self.piece::<V>(
                k,
                Left {
                    tile_stride: TURNED,
                    whole_tiles: false,
                    ..Left::of_tiles(start, left.rows, DEPTH)
                },
            );
        }
    }

    /// `left` begins with the first of the k.
    ///
    /// # Safety
    /// As the type says, with this left side.
    #[inline(always)]
    unsafe fn piece<V: Vector>(&self, k: Range<usize>, left: Left) {
        let packed = self.packed;
        for columns in self.panels.clone().map(|index| packed.panel(index)) {
            // SAFETY: the panel lies within the packed matrix; the maker vouches for left's rows and
            // for target's rows and columns.
            unsafe {
                let right = packed
                    .values
                    .as_ptr()
                    .add(columns.start * packed.depth + k.start * columns.len());
                for row in (0..left.rows).step_by(TILE_ROWS) {
                    let tile = Tile {
                        depth: k.len(),
                        left: left.at_row(row, TILE_ROWS.min(left.rows - row)),
                        right,
                        columns: columns.len().min(packed.columns - columns.start),
                        target: Target {
                            add: self.target.add || k.start > 0,
                            ..self.target.at(row, columns.start)
                        },
                    };
                    tile.run::<V>(columns.len() / V::WIDTH);
                }
            }
        }
    }
}

/// Up to `TILE_ROWS` rows of a panel, of which `columns` columns are wanted.
struct Tile {
    depth: usize,
    left: Left,
    right: *const f32,
    columns: usize,
    target: Target,
}

impl Tile {
    /// # Safety
    /// `left` has `depth` k of its rows, `right` of `vectors` vectors side by side; `target` has room
    /// for the rows and `columns`.
    #[inline(always)]
    unsafe fn run<V: Vector>(mut self, vectors: usize) {
        let mut padded = [const { MaybeUninit::uninit() }; TILE_ROWS * DEPTH];
        // SAFETY: the caller vouches for left, right and target; the padded copy has a whole tile.
        unsafe {
            if self.left.rows < TILE_ROWS && !self.left.whole_tiles {
                self.left = self.left.padded(self.depth, &mut padded);
            }
            match vectors {
                1 => self.sums::<V, 1>(),
                2 => self.sums::<V, 2>(),
                3 => self.sums::<V, 3>(),
                4 => self.sums::<V, 4>(),
                5 => self.sums::<V, 5>(),
                _ => self.sums::<V, 6>(),
            }
        }
    }

    /// `TILE_ROWS` rows by T vectors, which stay in registers over all of k.
    ///
    /// # Safety
    /// As `run`, of a left side with `TILE_ROWS` rows.
    #[inline(always)]
    unsafe fn sums<V: Vector, const T: usize>(self) {
        let Self {
            depth,
            left,
            mut right,
            columns,
            target,
        } = self;
        // While the sums are made, what they will be written to or added to is on its way.
        for row in 0..left.rows {
            let to = target.start.wrapping_add(row * target.stride);
            V::fetch(to);
            V::fetch(to.wrapping_add(T * V::WIDTH - 1));
        }
        // SAFETY: the caller vouches for `depth` k of left and of T vectors of right, and for rows
        // and columns of target.
        unsafe {
            let mut sums = [[V::splat(0.0); T]; TILE_ROWS];
            let mut segment = left.start;
            let mut rest = depth;
            while rest > 0 {
                let count = rest.min(left.segment);
                if count < rest {
                    left.fetch_tile::<V>(segment.wrapping_add(left.segment_stride));
                }
                let steps = Steps {
                    count,
                    weight_step: left.row_stride,
                    next_weights: left.k_stride,
                };
                V::scale_add_all(&mut sums, right, segment, steps);
                right = right.add(count * T * V::WIDTH);
                segment = segment.wrapping_add(left.segment_stride);
                rest -= count;
            }
            for (row, sums) in sums.into_iter().enumerate().take(left.rows) {
                let to = target.start.add(row * target.stride);
                for (t, sum) in sums.into_iter().enumerate() {
                    store(
                        sum,
                        to.wrapping_add(t * V::WIDTH),
                        columns.saturating_sub(t * V::WIDTH),
                        target.add,
                    );
                }
            }
        }
    }
}

/// Writes or adds the first `count` numbers of a vector, or all.
///
/// # Safety
/// So many numbers at `to` are readable and writable.
#[inline(always)]
unsafe fn store<V: Vector>(values: V, to: *mut f32, count: usize, add: bool) {
    if count >= V::WIDTH {
        // SAFETY: the caller vouches for a whole vector.
        unsafe { if add { values.add(V::load(to)) } else { values }.store(to) };
        return;
    }
    for (column, value) in values.numbers().into_iter().take(count).enumerate() {
        // SAFETY: the caller vouches for `count` numbers.
        unsafe {
            let to = to.add(column);
            *to = if add { *to + value } else { value };
        }
    }
}

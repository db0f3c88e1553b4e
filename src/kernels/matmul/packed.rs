//! Matrix products whose right side is packed once and used by many rows or at many steps: what
//! recurrent layers and a softmax need. Knows nothing of cells or words.
//!
//! Every number of a product is a sum of sums over at most `DEPTH` k each, in order, whatever the
//! number of threads and rows.

use super::tile::{Part, Piece};
use crate::kernels::memory::Buffer;
use crate::kernels::simd::{Isa, Kernel, TILE_FILTERS as TILE_ROWS, Vector};
use rayon::prelude::*;
use std::mem::MaybeUninit;
use std::ops::Range;

/// Packed rows of a panel that are used together, at most, so that they stay in the first cache.
pub const DEPTH: usize = 256;
/// Numbers of a cache line.
const LINE: usize = 16;
/// Rows of a task of `product_by_rows`, multiples of `TILE_ROWS`: with more rows the right side is
/// read less often. A left side of columns is copied, so it has fewer.
const ROWS: usize = 140;
pub(super) const ROWS_OF_COLUMNS: usize = 48;
/// Products with fewer multiplications than this are not worth a second thread.
const WORTH_SHARING: usize = 1 << 17;

/// The right side of a product [depth, columns] in panels, each as wide as a register tile or a
/// vector less: [panels][depth][width]. What stands beyond the columns reaches no product.
pub struct Packed {
    pub(super) values: Buffer,
    pub(super) depth: usize,
    pub(super) columns: usize,
    /// Vectors of a row, those beyond the columns included.
    pub(super) vectors: usize,
    /// Numbers of a vector, and vectors of a tile.
    pub(super) vector: usize,
    pub(super) tile: usize,
}

/// The left side: tiles of `TILE_ROWS` rows that stand `tile_stride` numbers apart, in which number
/// (row, k) stands at `row · row_stride + k · k_stride`. Of segments, each of `segment` k, the k
/// are counted from the segment's beginning, and the segments stand `segment_stride` apart.
#[derive(Clone, Copy)]
pub struct Left {
    pub(super) start: *const f32,
    pub(super) rows: usize,
    pub(super) row_stride: usize,
    pub(super) tile_stride: usize,
    pub(super) k_stride: usize,
    pub(super) segment: usize,
    pub(super) segment_stride: usize,
    /// Rows up to a whole tile are readable.
    pub(super) whole_tiles: bool,
}

/// Where the product goes; its rows stand `stride` numbers apart.
#[derive(Clone, Copy)]
pub struct Target {
    pub start: *mut f32,
    pub stride: usize,
    /// Adds to what is there.
    pub add: bool,
}

// SAFETY: addresses only; `product`'s tasks write different columns or rows.
unsafe impl Send for Left {}
// SAFETY: addresses only; `product`'s tasks write different columns or rows.
unsafe impl Sync for Left {}
// SAFETY: addresses only; `product`'s tasks write different columns or rows.
unsafe impl Send for Target {}
// SAFETY: addresses only; `product`'s tasks write different columns or rows.
unsafe impl Sync for Target {}

impl Packed {
    /// Zeros.
    pub fn new(isa: Isa, depth: usize, columns: usize) -> Self {
        let (vector, tile) = widths(isa);
        let vectors = columns.div_ceil(vector);
        Self {
            values: Buffer::new(vectors * vector * depth),
            depth,
            columns,
            vectors,
            vector,
            tile,
        }
    }

    /// Zeros, in panels that are all as wide as a register tile.
    pub fn in_whole_panels(isa: Isa, depth: usize, columns: usize) -> Self {
        let (vector, tile) = widths(isa);
        Self {
            columns,
            ..Self::new(isa, depth, columns.next_multiple_of(vector * tile))
        }
    }

    /// Fewer rows than it was made for, in the same memory; the numbers are lost.
    pub fn shorten(&mut self, depth: usize) {
        assert!(
            depth * self.vectors * self.vector <= self.values.as_slice().len(),
            "more rows than there is room for"
        );
        self.depth = depth;
    }

    pub fn columns(&self) -> usize {
        self.columns
    }

    pub fn depth(&self) -> usize {
        self.depth
    }

    pub fn bytes(&self) -> usize {
        self.values.bytes()
    }

    pub fn panels(&self) -> usize {
        self.vectors.div_ceil(self.tile)
    }

    /// Columns of a panel, whole vectors. Panels are of nearly equal size: none is left with so few
    /// columns that additions wait for each other.
    pub fn panel(&self, index: usize) -> Range<usize> {
        let vectors = self.vectors;
        let panels = self.panels();
        index * vectors / panels * self.vector..(index + 1) * vectors / panels * self.vector
    }

    /// The numbers of whole panels, [panels][depth][width].
    pub fn values(&self) -> &[f32] {
        self.values.as_slice()
    }

    pub fn values_mut(&mut self) -> &mut [f32] {
        self.values.as_mut_slice()
    }

    /// The parts of row k, each with its first column.
    pub fn row(&self, k: usize) -> impl Iterator<Item = (usize, &[f32])> {
        (0..self.panels()).map(move |index| {
            let panel = self.panel(index);
            let width = panel.len().min(self.columns - panel.start);
            (
                panel.start,
                &self.values()[panel.start * self.depth + k * panel.len()..][..width],
            )
        })
    }

    /// Writes `count` columns from `first` and all rows from `from` on: number (k, column) is
    /// `source[k · k_stride + column · column_stride]`.
    pub fn fill(
        &mut self,
        from: usize,
        first: usize,
        (rows, count): (usize, usize),
        source: &[f32],
        (k_stride, column_stride): (usize, usize),
    ) {
        for index in 0..self.panels() {
            let panel = self.panel(index);
            let columns = panel.start.max(first)..panel.end.min(first + count);
            if columns.is_empty() {
                continue;
            }
            let packed = &mut self.values.as_mut_slice()[panel.start * self.depth..]
                [..panel.len() * self.depth];
            let packed = packed.chunks_exact_mut(panel.len()).skip(from).take(rows);
            let column = columns.start - panel.start;
            let source = &source[(columns.start - first) * column_stride..];
            if column_stride == 1 {
                packed.enumerate().for_each(|(k, to)| {
                    to[column..][..columns.len()]
                        .copy_from_slice(&source[k * k_stride..][..columns.len()]);
                });
            } else {
                debug_assert_eq!(k_stride, 1, "columns");
                turn(packed, column, columns.len(), source, column_stride);
            }
        }
    }

    /// left · self, for few rows: tasks are panels. A row's numbers of `left` lie side by side.
    ///
    /// # Safety
    /// `left` has as many columns as this has rows, all readable; `target` has room for the rows
    /// and columns; nothing else touches it meanwhile.
    pub unsafe fn product(&self, isa: Isa, left: Left, target: Target) {
        debug_assert_eq!(left.k_stride, 1, "rows");
        let panel = |index: usize| {
            // SAFETY: the caller vouches for left and target; each task writes columns of its own.
            unsafe {
                isa.run_pointers(Part {
                    packed: self,
                    panels: index..index + 1,
                    left,
                    target,
                });
            }
        };
        if shares(left.rows * self.depth * self.columns) {
            (0..self.panels()).into_par_iter().for_each(panel);
        } else {
            (0..self.panels()).for_each(panel);
        }
    }

    /// left · self, for many rows: tasks are blocks of rows.
    ///
    /// # Safety
    /// As for `product`.
    pub unsafe fn product_by_rows(&self, isa: Isa, left: Left, target: Target) {
        let all = left.rows;
        let max_rows = if left.is_apart() {
            ROWS_OF_COLUMNS
        } else {
            ROWS
        };
        let block = |index: usize| {
            let first = index * max_rows;
            // SAFETY: the caller vouches for left and target; each task writes rows of its own.
            unsafe {
                let rows = max_rows.min(all - first);
                isa.run_pointers(Part {
                    packed: self,
                    panels: 0..self.panels(),
                    left: left.at_row(first, rows),
                    target: target.at(first, 0),
                });
            }
        };
        let blocks = all.div_ceil(max_rows);
        if shares(all * self.depth * self.columns) {
            (0..blocks).into_par_iter().for_each(block);
        } else {
            (0..blocks).for_each(block);
        }
    }

    /// The columns of one panel of left · self, on this thread. `target` begins with the first of
    /// them.
    ///
    /// # Safety
    /// As for `product`, for these columns; `left` is made of rows or tiles.
    pub unsafe fn panel_product(&self, isa: Isa, index: usize, left: Left, target: Target) {
        let first = self.panel(index).start;
        let target = Target {
            start: target.start.wrapping_sub(first),
            ..target
        };
        // SAFETY: the caller vouches for left, and for target's columns of this panel.
        unsafe {
            isa.run_pointers(Part {
                packed: self,
                panels: index..index + 1,
                left,
                target,
            });
        }
    }

    /// What `rows` of this, `DEPTH` at most, make of left · self, on this thread. `left` begins
    /// with the first of them.
    ///
    /// # Safety
    /// As for `product`, for these rows; `left` is made of rows, tiles or panels.
    pub unsafe fn partial_product(&self, isa: Isa, rows: Range<usize>, left: Left, target: Target) {
        assert!(
            rows.len() <= DEPTH && rows.end <= self.depth,
            "so many rows at once, and no more than there are"
        );
        let part = Part {
            packed: self,
            panels: 0..self.panels(),
            left,
            target,
        };
        // SAFETY: the caller vouches for left and target, and the rows are within this (asserted).
        unsafe { isa.run_pointers(Piece { part, k: rows }) }
    }
}

impl Target {
    /// From this row and column on.
    pub fn at(self, row: usize, column: usize) -> Self {
        Self {
            start: self.start.wrapping_add(row * self.stride + column),
            ..self
        }
    }
}

impl Left {
    /// Numbers of a row side by side.
    pub fn of_rows(start: *const f32, rows: usize, row_stride: usize) -> Self {
        Self {
            start,
            rows,
            row_stride,
            tile_stride: TILE_ROWS * row_stride,
            k_stride: 1,
            segment: usize::MAX,
            segment_stride: 0,
            whole_tiles: false,
        }
    }

    /// Numbers of a column, which is a k, side by side.
    pub fn of_columns(start: *const f32, rows: usize, k_stride: usize) -> Self {
        Self {
            k_stride,
            ..Self::of_rows(start, rows, 1)
        }
    }

    /// Columns of `TILE_ROWS` rows side by side: [tiles][depth][`TILE_ROWS`]; the last tile is
    /// whole, too.
    pub fn of_tiles(start: *const f32, rows: usize, depth: usize) -> Self {
        Self {
            tile_stride: depth * TILE_ROWS,
            k_stride: TILE_ROWS,
            whole_tiles: true,
            ..Self::of_rows(start, rows, 1)
        }
    }

    /// Whole panels of `width` columns, as they are packed: [panels][rows][width].
    pub fn of_panels(start: *const f32, rows: usize, width: usize) -> Self {
        Self {
            segment: width,
            segment_stride: rows * width,
            ..Self::of_rows(start, rows, width)
        }
    }

    /// Some of its rows, from a tile's first on.
    ///
    /// # Safety
    /// There are so many.
    pub(super) unsafe fn at_row(self, first: usize, rows: usize) -> Self {
        debug_assert!(first.is_multiple_of(TILE_ROWS), "whole tiles before it");
        // SAFETY: the caller vouches for rows from `first` on.
        Self {
            start: unsafe { self.start.add(first / TILE_ROWS * self.tile_stride) },
            rows,
            ..self
        }
    }

    /// Asks for a tile's numbers of a segment, where rows lie side by side.
    #[inline(always)]
    pub(super) fn fetch_tile<V: Vector>(&self, start: *const f32) {
        (0..TILE_ROWS * self.row_stride)
            .step_by(LINE)
            .for_each(|number| V::fetch(start.wrapping_add(number)));
    }

    /// Columns whose rows, more than a tile's, stand in the way between two k.
    pub(super) fn is_apart(&self) -> bool {
        self.k_stride > TILE_ROWS
    }

    /// A copy of one tile's rows, with rows of zeros up to `TILE_ROWS`; its `rows` are still those
    /// that count.
    ///
    /// # Safety
    /// `depth` numbers of each row are readable.
    pub(super) unsafe fn padded(
        self,
        depth: usize,
        to: &mut [MaybeUninit<f32>; TILE_ROWS * DEPTH],
    ) -> Self {
        for (k, to) in to
            .as_chunks_mut::<TILE_ROWS>()
            .0
            .iter_mut()
            .take(depth)
            .enumerate()
        {
            let at = k / self.segment * self.segment_stride + k % self.segment * self.k_stride;
            for (row, to) in to.iter_mut().enumerate() {
                // SAFETY: the caller vouches for `depth` numbers of each of `rows` rows.
                to.write(if row < self.rows {
                    unsafe { *self.start.add(row * self.row_stride + at) }
                } else {
                    0.0
                });
            }
        }
        Self {
            rows: self.rows,
            ..Self::of_tiles(to.as_ptr().cast(), TILE_ROWS, depth)
        }
    }
}

/// Columns that stand `stride` numbers apart become numbers of each row, from `column` on.
fn turn<'a>(
    rows: impl Iterator<Item = &'a mut [f32]>,
    column: usize,
    count: usize,
    columns: &[f32],
    stride: usize,
) {
    const TOGETHER: usize = 4;
    for (k, row) in rows.enumerate() {
        let row = &mut row[column..][..count];
        let (fours, rest) = row.as_chunks_mut::<TOGETHER>();
        for (four, columns) in fours.iter_mut().zip(columns.chunks(TOGETHER * stride)) {
            *four = std::array::from_fn(|column| columns[column * stride + k]);
        }
        let columns = columns.chunks(stride).skip(count - rest.len());
        rest.iter_mut()
            .zip(columns)
            .for_each(|(to, column)| *to = column[k]);
    }
}

fn shares(multiplications: usize) -> bool {
    multiplications >= WORTH_SHARING && rayon::current_num_threads() > 1
}

/// Numbers of a vector, and vectors of a register tile.
pub fn widths(isa: Isa) -> (usize, usize) {
    isa.run(Widths)
}

struct Widths;

impl Kernel for Widths {
    type Output = (usize, usize);

    fn run<V: Vector>(self) -> (usize, usize) {
        (V::WIDTH, V::TILE)
    }
}

//! Matrix products whose right side is packed once and used at many steps: that, and few rows, is what recurrent layers need.
//! Knows nothing of cells.
//!
//! Every number of a product is one sum in the order of k, whatever the number of threads and rows.

use crate::kernels::memory::Buffer;
use crate::kernels::simd::{Isa, TILE_FILTERS as TILE_ROWS, Vector, Work};
use rayon::prelude::*;
use std::mem::MaybeUninit;
use std::ops::Range;

/// Packed rows of a panel that are used together, at most, so that they stay in the first cache.
const DEPTH: usize = 256;
/// Rows of a task of `product_by_rows`; a multiple of `TILE_ROWS`.
const ROWS: usize = 48;
/// Numbers from one tile to the next of a left side that was turned: not a power of 2, so that tiles do not share a cache set.
const TURNED: usize = (DEPTH + TILE_ROWS) * TILE_ROWS;
/// Products with fewer multiplications than this are not worth a second thread.
const WORTH_SHARING: usize = 1 << 17;

/// The right side of a product [depth, columns] in panels, each as wide as a register tile or a vector less: [panels][depth][width],
/// zeros beyond the columns.
pub struct Packed {
    values: Buffer,
    depth: usize,
    columns: usize,
    /// Numbers of a vector, and vectors of a tile.
    vector: usize,
    tile: usize,
}

/// The left side: number (row, k) stands at `start + row · row_stride + k · k_stride`.
#[derive(Clone, Copy)]
pub struct Left {
    pub start: *const f32,
    pub rows: usize,
    pub row_stride: usize,
    pub k_stride: usize,
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
// SAFETY: as above.
unsafe impl Sync for Left {}
// SAFETY: as above.
unsafe impl Send for Target {}
// SAFETY: as above.
unsafe impl Sync for Target {}

impl Packed {
    /// Zeros.
    pub fn new(isa: Isa, depth: usize, columns: usize) -> Self {
        let (vector, tile) = widths(isa);
        Self { values: Buffer::new(columns.next_multiple_of(vector) * depth), depth, columns, vector, tile }
    }

    /// Fewer rows than it was made for, in the same memory; what it held is lost.
    pub fn shorten(&mut self, depth: usize) {
        debug_assert!(
            depth * self.columns.next_multiple_of(self.vector) <= self.values.as_slice().len(),
            "more rows than there is room for"
        );
        if depth != self.depth {
            self.values.as_mut_slice().fill(0.0);
            self.depth = depth;
        }
    }

    pub fn bytes(&self) -> usize {
        self.values.bytes()
    }

    fn panels(&self) -> usize {
        self.columns.div_ceil(self.vector).div_ceil(self.tile)
    }

    /// Columns of a panel, whole vectors. Panels are of nearly equal size: none is left with so few columns that additions wait for
    /// each other.
    fn panel(&self, index: usize) -> Range<usize> {
        let (vectors, panels) = (self.columns.div_ceil(self.vector), self.panels());
        index * vectors / panels * self.vector..(index + 1) * vectors / panels * self.vector
    }

    /// Writes `count` columns from `first` and all rows from `from` on: number (k, column) is `source[k · k_stride + column · column_stride]`.
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
            let packed = &mut self.values.as_mut_slice()[panel.start * self.depth..][..panel.len() * self.depth];
            let packed = packed.chunks_exact_mut(panel.len()).skip(from).take(rows);
            let (place, source) = (columns.start - panel.start, &source[(columns.start - first) * column_stride..]);
            if column_stride == 1 {
                packed.zip(source.chunks(k_stride)).for_each(|(to, from)| copy(&mut to[place..][..columns.len()], from));
            } else {
                debug_assert_eq!(k_stride, 1, "columns");
                turn(packed, place, columns.len(), source, column_stride);
            }
        }
    }

    /// left · self, for few rows: tasks are panels. A row's numbers of `left` lie side by side.
    ///
    /// # Safety
    /// `left` has as many columns as this has rows, all readable; `target` has room for the rows and columns; nothing else touches
    /// it meanwhile.
    pub unsafe fn product(&self, isa: Isa, left: Left, target: Target) {
        debug_assert_eq!(left.k_stride, 1, "rows");
        let panel = |index: usize| {
            // SAFETY: the caller's contract; each task has columns of its own.
            unsafe { isa.run(Part { packed: self, panels: index..index + 1, left, target }) }
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
        let block = |index: usize| {
            let first = index * ROWS;
            // SAFETY: the caller's contract; each task has rows of its own.
            unsafe {
                let rows = ROWS.min(all - first);
                isa.run(Part { packed: self, panels: 0..self.panels(), left: left.at_row(first, rows), target: target.at(first, 0) });
            }
        };
        let blocks = all.div_ceil(ROWS);
        if shares(all * self.depth * self.columns) {
            (0..blocks).into_par_iter().for_each(block);
        } else {
            (0..blocks).for_each(block);
        }
    }
}

impl Target {
    /// # Safety
    /// There is room there.
    unsafe fn at(self, row: usize, column: usize) -> Self {
        // SAFETY: the caller's contract.
        Self { start: unsafe { self.start.add(row * self.stride + column) }, ..self }
    }
}

impl Left {
    /// Some of its rows.
    ///
    /// # Safety
    /// There are so many.
    unsafe fn at_row(self, first: usize, rows: usize) -> Self {
        // SAFETY: the caller's contract.
        Self { start: unsafe { self.start.add(first * self.row_stride) }, rows, ..self }
    }

    /// A copy with rows of zeros up to `TILE_ROWS`; its `rows` are still those that count.
    ///
    /// # Safety
    /// `depth` numbers of each row are readable.
    unsafe fn padded(self, depth: usize, to: &mut [MaybeUninit<f32>; TILE_ROWS * DEPTH]) -> Self {
        for (k, to) in to.as_chunks_mut::<TILE_ROWS>().0.iter_mut().take(depth).enumerate() {
            for (row, to) in to.iter_mut().enumerate() {
                // SAFETY: the caller's contract.
                to.write(if row < self.rows { unsafe { *self.start.add(row * self.row_stride + k * self.k_stride) } } else { 0.0 });
            }
        }
        Self { start: to.as_ptr().cast(), row_stride: 1, k_stride: TILE_ROWS, ..self }
    }
}

/// As `copy_from_slice`, which for so few numbers is mostly a call; the widths of AVX2's panels are known here.
fn copy(to: &mut [f32], from: &[f32]) {
    fn fixed<const N: usize>(to: &mut [f32], from: &[f32]) {
        if let (Some(to), Some(from)) = (to.first_chunk_mut::<N>(), from.first_chunk::<N>()) {
            *to = *from;
        }
    }
    match to.len() {
        24 => fixed::<24>(to, from),
        16 => fixed::<16>(to, from),
        8 => fixed::<8>(to, from),
        len => to.copy_from_slice(&from[..len]),
    }
}

/// Columns that stand `stride` numbers apart become numbers of each row, from `place` on.
fn turn<'a>(rows: impl Iterator<Item = &'a mut [f32]>, place: usize, count: usize, columns: &[f32], stride: usize) {
    const TOGETHER: usize = 4;
    for (k, row) in rows.enumerate() {
        let row = &mut row[place..][..count];
        let (fours, rest) = row.as_chunks_mut::<TOGETHER>();
        for (four, columns) in fours.iter_mut().zip(columns.chunks(TOGETHER * stride)) {
            *four = std::array::from_fn(|column| columns[column * stride + k]);
        }
        let columns = columns.chunks(stride).skip(count - rest.len());
        rest.iter_mut().zip(columns).for_each(|(to, column)| *to = column[k]);
    }
}

fn shares(multiplications: usize) -> bool {
    multiplications >= WORTH_SHARING && rayon::current_num_threads() > 1
}

/// Numbers of a vector, and vectors of a register tile.
pub fn widths(isa: Isa) -> (usize, usize) {
    // SAFETY: no pointers.
    unsafe { isa.run(Widths) }
}

struct Widths;

impl Work for Widths {
    type Output = (usize, usize);

    unsafe fn run<V: Vector>(self) -> (usize, usize) {
        (V::WIDTH, V::TILE)
    }
}

/// All rows of `left` by some panels. Valid: as `Packed::product` says; where k_stride is not 1 there are at most `ROWS` rows.
struct Part<'a> {
    packed: &'a Packed,
    panels: Range<usize>,
    left: Left,
    target: Target,
}

impl Work for Part<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let pieces = self.packed.depth.div_ceil(DEPTH);
        for piece in 0..pieces {
            let k = piece * self.packed.depth / pieces..(piece + 1) * self.packed.depth / pieces;
            // SAFETY: k is within the left side; see the type.
            unsafe {
                let left = Left { start: self.left.start.add(k.start * self.left.k_stride), ..self.left };
                if left.k_stride == 1 {
                    self.piece::<V>(k, left, TILE_ROWS * left.row_stride);
                } else {
                    self.turned_piece::<V>(k, left);
                }
            }
        }
    }
}

impl Part<'_> {
    /// From a copy in which each tile's numbers lie side by side, [tiles][k][`TILE_ROWS`]: where those of two k are far apart, each is
    /// on another page.
    #[inline(always)]
    unsafe fn turned_piece<V: Vector>(&self, k: Range<usize>, left: Left) {
        debug_assert!(left.row_stride == 1 && left.rows <= ROWS, "columns of a block");
        let mut copy = [const { MaybeUninit::<f32>::uninit() }; ROWS / TILE_ROWS * TURNED];
        let start = copy.as_mut_ptr().cast::<f32>();
        for number in 0..k.len() {
            for row in (0..left.rows).step_by(TILE_ROWS) {
                // SAFETY: see the type; there is room for `ROWS` rows and `DEPTH` k.
                unsafe {
                    let from = left.start.add(number * left.k_stride + row);
                    let to = start.add(row / TILE_ROWS * TURNED + number * TILE_ROWS);
                    if left.rows - row >= TILE_ROWS {
                        to.cast::<[f32; TILE_ROWS]>().write(from.cast::<[f32; TILE_ROWS]>().read());
                    } else {
                        from.copy_to(to, left.rows - row);
                    }
                }
            }
        }
        // SAFETY: see the type; the copy has what is read of it.
        unsafe { self.piece::<V>(k, Left { start, k_stride: TILE_ROWS, ..left }, TURNED) }
    }

    /// The part of the products' sums that some k make. `left` begins with the first of them; its tiles stand `tile_stride` apart.
    #[inline(always)]
    unsafe fn piece<V: Vector>(&self, k: Range<usize>, left: Left, tile_stride: usize) {
        let packed = self.packed;
        for columns in self.panels.clone().map(|index| packed.panel(index)) {
            // SAFETY: the panel lies within the packed matrix, its columns and all rows within left and target; see the type.
            unsafe {
                let right = packed.values.as_ptr().add(columns.start * packed.depth + k.start * columns.len());
                for row in (0..left.rows).step_by(TILE_ROWS) {
                    let tile = Tile {
                        depth: k.len(),
                        left: Left { start: left.start.add(row / TILE_ROWS * tile_stride), rows: TILE_ROWS.min(left.rows - row), ..left },
                        right,
                        columns: columns.len().min(packed.columns - columns.start),
                        target: Target { add: self.target.add || k.start > 0, ..self.target.at(row, columns.start) },
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
    #[inline(always)]
    unsafe fn run<V: Vector>(mut self, vectors: usize) {
        let mut padded = [const { MaybeUninit::uninit() }; TILE_ROWS * DEPTH];
        // SAFETY: the callers' contracts.
        unsafe {
            if self.left.rows < TILE_ROWS {
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

    /// `TILE_ROWS` rows by T vectors, kept in registers over all of k.
    #[inline(always)]
    unsafe fn sums<V: Vector, const T: usize>(self) {
        let Self { depth, left, mut right, columns, target } = self;
        // SAFETY: the callers' contracts.
        unsafe {
            let mut sums = [[V::splat(0.0); T]; TILE_ROWS];
            let mut start = left.start;
            for _ in 0..depth {
                V::scale_add(&mut sums, right, V::WIDTH, start, left.row_stride);
                right = right.add(T * V::WIDTH);
                start = start.wrapping_add(left.k_stride);
            }
            for (row, sums) in sums.into_iter().enumerate().take(left.rows) {
                let to = target.start.add(row * target.stride);
                for (t, sum) in sums.into_iter().enumerate() {
                    store(sum, to.wrapping_add(t * V::WIDTH), columns.saturating_sub(t * V::WIDTH), target.add);
                }
            }
        }
    }
}

/// Writes or adds the first `count` numbers of a vector, or all.
#[inline(always)]
unsafe fn store<V: Vector>(values: V, to: *mut f32, count: usize, add: bool) {
    // SAFETY: the caller vouches for as many numbers; no vector is wider than 16.
    unsafe {
        if count >= V::WIDTH {
            if add { values.add(V::load(to)) } else { values }.store(to);
            return;
        }
        let mut numbers = [0.0; 16];
        values.store(numbers.as_mut_ptr());
        for (column, value) in numbers.into_iter().take(count).enumerate() {
            let to = to.add(column);
            *to = if add { *to + value } else { value };
        }
    }
}

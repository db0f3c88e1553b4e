//! Matrix products whose right side is packed once and used at many steps: that, and few rows, is what recurrent layers need.
//! Knows nothing of cells.
//!
//! Every number of a product is one sum in the order of k, whatever the number of threads and rows.

use crate::kernels::memory::Buffer;
use crate::kernels::simd::{Isa, Vector, Work};
use rayon::prelude::*;

/// Columns of a panel: two of the widest vectors.
const PANEL: usize = 32;
/// Rows of a packed block, so that a block of a panel stays in the first cache.
const DEPTH: usize = 256;
/// Products with fewer multiplications than this are not worth a second thread.
const WORTH_SHARING: usize = 1 << 17;

/// The right side of a product [depth, columns], in panels of two vectors' width: [panels][depth][width], zeros beyond the columns.
pub struct Packed {
    values: Buffer,
    depth: usize,
    columns: usize,
    width: usize,
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
        // SAFETY: no pointers.
        let width = unsafe { isa.run(Width) };
        Self { values: Buffer::new(columns.div_ceil(width) * width * depth), depth, columns, width }
    }

    /// Fewer rows than it was made for, in the same memory; what it held is lost.
    pub fn shorten(&mut self, depth: usize) {
        let most = self.values.as_slice().len() / self.columns.div_ceil(self.width).max(1) / self.width;
        debug_assert!(depth <= most, "more rows than there is room for");
        if depth != self.depth {
            self.values.as_mut_slice().fill(0.0);
            self.depth = depth;
        }
    }

    pub fn bytes(&self) -> usize {
        self.values.bytes()
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
        let (depth, width) = (self.depth, self.width);
        let values = self.values.as_mut_slice();
        let place = |k: usize, column: usize| (column / width * depth + k) * width + column % width;
        if column_stride == 1 {
            for k in 0..rows {
                let (mut column, source) = (0, &source[k * k_stride..][..count]);
                while column < count {
                    let piece = (width - (first + column) % width).min(count - column);
                    values[place(from + k, first + column)..][..piece].copy_from_slice(&source[column..column + piece]);
                    column += piece;
                }
            }
        } else {
            for column in 0..count {
                let to = values[place(from, first + column)..].iter_mut().step_by(width);
                let source = source[column * column_stride..].iter().step_by(k_stride);
                to.zip(source).take(rows).for_each(|(to, from)| *to = *from);
            }
        }
    }

    /// left · self, for few rows: tasks are panels. `scratch` has room for all of left.
    ///
    /// # Safety
    /// `left` has as many columns as this has rows, all readable; `target` has room for the rows and columns; nothing else touches
    /// it meanwhile.
    pub unsafe fn product(&self, isa: Isa, left: Left, target: Target, scratch: &mut [f32]) {
        let rows = left.rows;
        // SAFETY: the caller's contract.
        unsafe { left.turn(self.depth, scratch, rows) };
        let turned = Turned { values: scratch, rows, stride: rows };
        let panel = |index: usize| {
            // SAFETY: the caller's contract; each task has columns of its own.
            unsafe { isa.run(Panel { packed: self, index, turned, target }) }
        };
        let panels = self.columns.div_ceil(self.width);
        if shares(rows * self.depth * self.columns) {
            (0..panels).into_par_iter().for_each(panel);
        } else {
            (0..panels).for_each(panel);
        }
    }

    /// left · self, for many rows: tasks are blocks of rows.
    ///
    /// # Safety
    /// As for `product`.
    pub unsafe fn product_by_rows(&self, isa: Isa, left: Left, target: Target) {
        let block = |index: usize| {
            let first = index * ROWS;
            let rows = ROWS.min(left.rows - first);
            // SAFETY: the caller's contract; each task has rows of its own.
            unsafe { isa.run(Rows { packed: self, first, rows, left, target }) }
        };
        let blocks = left.rows.div_ceil(ROWS);
        if shares(left.rows * self.depth * self.columns) {
            (0..blocks).into_par_iter().for_each(block);
        } else {
            (0..blocks).for_each(block);
        }
    }
}

impl Left {
    /// Copies `depth` columns so that the rows' numbers of one k lie together, `stride` numbers from those of the next.
    ///
    /// # Safety
    /// All of them are readable.
    unsafe fn turn(&self, depth: usize, to: &mut [f32], stride: usize) {
        if self.row_stride == 1 {
            for k in 0..depth {
                // SAFETY: the caller's contract.
                let from = unsafe { std::slice::from_raw_parts(self.start.add(k * self.k_stride), self.rows) };
                to[k * stride..][..self.rows].copy_from_slice(from);
            }
            return;
        }
        for row in 0..self.rows {
            let to = to[row..].iter_mut().step_by(stride).take(depth);
            for (k, to) in to.enumerate() {
                // SAFETY: the caller's contract.
                *to = unsafe { *self.start.add(row * self.row_stride + k * self.k_stride) };
            }
        }
    }
}

/// A left side of which the rows' numbers of one k lie together.
#[derive(Clone, Copy)]
struct Turned<'a> {
    values: &'a [f32],
    rows: usize,
    /// Between the numbers of one k and those of the next.
    stride: usize,
}

fn shares(multiplications: usize) -> bool {
    multiplications >= WORTH_SHARING && rayon::current_num_threads() > 1
}

/// Rows of a task of `product_by_rows`.
const ROWS: usize = 48;

struct Width;

impl Work for Width {
    type Output = usize;

    unsafe fn run<V: Vector>(self) -> usize {
        2 * V::WIDTH
    }
}

struct Panel<'a> {
    packed: &'a Packed,
    index: usize,
    turned: Turned<'a>,
    target: Target,
}

impl Work for Panel<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let Self { packed, index, turned, target } = self;
        for k in (0..packed.depth).step_by(DEPTH) {
            let depth = DEPTH.min(packed.depth - k);
            let target = Target { add: target.add || k > 0, ..target };
            let turned = Turned { values: &turned.values[k * turned.stride..], ..turned };
            // SAFETY: see the struct's maker.
            unsafe { panel::<V>(packed, index, (k, depth), turned, target) }
        }
    }
}

struct Rows<'a> {
    packed: &'a Packed,
    first: usize,
    rows: usize,
    left: Left,
    target: Target,
}

impl Work for Rows<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let Self { packed, first, rows, left, target } = self;
        let mut block = [0.0f32; ROWS * DEPTH];
        for k in (0..packed.depth).step_by(DEPTH) {
            let depth = DEPTH.min(packed.depth - k);
            // SAFETY: rows and k are within the left side; see the struct's maker.
            unsafe {
                let start = left.start.add(first * left.row_stride + k * left.k_stride);
                Left { start, rows, ..left }.turn(depth, &mut block, ROWS);
                let start = target.start.add(first * target.stride);
                let target = Target { start, add: target.add || k > 0, ..target };
                for index in 0..packed.columns.div_ceil(2 * V::WIDTH) {
                    panel::<V>(packed, index, (k, depth), Turned { values: &block, rows, stride: ROWS }, target);
                }
            }
        }
    }
}

/// All rows of a block of one panel.
#[inline(always)]
unsafe fn panel<V: Vector>(packed: &Packed, index: usize, (k, depth): (usize, usize), left: Turned, target: Target) {
    let width = 2 * V::WIDTH;
    let columns = width.min(packed.columns - index * width);
    // SAFETY: the panel lies within the packed matrix, the rows within left and target; see the callers' contracts.
    unsafe {
        let b = packed.values.as_ptr().add((index * packed.depth + k) * width);
        let target = Target { start: target.start.add(index * width), ..target };
        let tiles = left.rows.div_ceil(2 * V::TILE);
        let mut row = 0;
        for tile in 0..tiles {
            let end = (tile + 1) * left.rows / tiles;
            let target = Target { start: target.start.add(row * target.stride), ..target };
            let tile = Tile { depth, a: left.values.as_ptr().add(row), stride: left.stride, b, columns };
            tile.rows::<V>(end - row, target);
            row = end;
        }
    }
}

/// Some rows of a panel: number (row, k) of the left side stands at `a + row + k · stride`.
struct Tile {
    depth: usize,
    a: *const f32,
    stride: usize,
    b: *const f32,
    columns: usize,
}

impl Tile {
    #[inline(always)]
    unsafe fn rows<V: Vector>(self, rows: usize, target: Target) {
        // SAFETY: the callers' contracts.
        unsafe {
            match rows {
                1 => self.run::<V, 1>(target),
                2 => self.run::<V, 2>(target),
                3 => self.run::<V, 3>(target),
                4 => self.run::<V, 4>(target),
                5 => self.run::<V, 5>(target),
                6 => self.run::<V, 6>(target),
                7 => self.run::<V, 7>(target),
                8 => self.run::<V, 8>(target),
                9 => self.run::<V, 9>(target),
                10 => self.run::<V, 10>(target),
                11 => self.run::<V, 11>(target),
                _ => self.run::<V, 12>(target),
            }
        }
    }

    /// N rows by two vectors, kept in registers over all of k.
    #[inline(always)]
    unsafe fn run<V: Vector, const N: usize>(self, target: Target) {
        let Self { depth, mut a, stride, mut b, columns } = self;
        // SAFETY: the callers' contracts.
        unsafe {
            let mut sums = [[V::splat(0.0); 2]; N];
            for _ in 0..depth {
                let right = [V::load(b), V::load(b.add(V::WIDTH))];
                for (row, sums) in sums.iter_mut().enumerate() {
                    let value = V::splat(*a.add(row));
                    sums[0] = value.mul_add(right[0], sums[0]);
                    sums[1] = value.mul_add(right[1], sums[1]);
                }
                b = b.add(2 * V::WIDTH);
                a = a.add(stride);
            }
            for (row, sums) in sums.into_iter().enumerate() {
                let to = target.start.add(row * target.stride);
                if columns == 2 * V::WIDTH {
                    for (part, mut sum) in sums.into_iter().enumerate() {
                        let to = to.add(part * V::WIDTH);
                        if target.add {
                            sum = sum.add(V::load(to));
                        }
                        sum.store(to);
                    }
                } else {
                    let mut values = [0.0; PANEL];
                    sums[0].store(values.as_mut_ptr());
                    sums[1].store(values.as_mut_ptr().add(V::WIDTH));
                    for (column, value) in values.into_iter().take(columns).enumerate() {
                        *to.add(column) = if target.add { *to.add(column) + value } else { value };
                    }
                }
            }
        }
    }
}

//! Products of matrices on one thread, by the `gemm` crate that candle uses. Knows nothing of what they mean.

use gemm::{Parallelism, gemm};
use std::marker::PhantomData;

/// A matrix to be read: rows and columns at any distance.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    first: *const f32,
    rows: usize,
    columns: usize,
    row: usize,
    column: usize,
    life: PhantomData<&'a [f32]>,
}

// SAFETY: it is a view of a `&[f32]`.
unsafe impl Send for Matrix<'_> {}
// SAFETY: as above.
unsafe impl Sync for Matrix<'_> {}

impl<'a> Matrix<'a> {
    /// Rows of `columns` numbers, one after the other.
    ///
    /// # Panics
    /// If the last row is not whole.
    pub fn new(numbers: &'a [f32], columns: usize) -> Self {
        assert!(columns > 0 && numbers.len().is_multiple_of(columns), "whole rows");
        Self { first: numbers.as_ptr(), rows: numbers.len() / columns, columns, row: columns, column: 1, life: PhantomData }
    }

    /// Some columns of it.
    ///
    /// # Panics
    /// If it has not so many.
    pub fn columns(self, first: usize, count: usize) -> Self {
        assert!(first + count <= self.columns, "columns {first} to {} of {}", first + count, self.columns);
        Self { first: self.first.wrapping_add(first * self.column), columns: count, ..self }
    }

    /// Rows become columns.
    pub fn transposed(self) -> Self {
        Self { rows: self.columns, columns: self.rows, row: self.column, column: self.row, ..self }
    }

    /// Its rows, one after the other, of a matrix that is not transposed.
    pub fn rows(self) -> impl Iterator<Item = &'a [f32]> {
        assert_eq!(self.column, 1, "numbers of a row lie side by side");
        // SAFETY: `new` and `columns` stay within the slice.
        (0..self.rows).map(move |row| unsafe { std::slice::from_raw_parts(self.first.add(row * self.row), self.columns) })
    }
}

/// Some columns of a matrix of whole rows, to be written.
pub struct MatrixMut<'a> {
    first: *mut f32,
    rows: usize,
    columns: usize,
    row: usize,
    first_column: usize,
    life: PhantomData<&'a mut [f32]>,
}

// SAFETY: it is a view of numbers of a `&mut [f32]` that no other view has.
unsafe impl Send for MatrixMut<'_> {}

impl<'a> MatrixMut<'a> {
    /// Rows of `columns` numbers, one after the other.
    ///
    /// # Panics
    /// If the last row is not whole.
    pub fn new(numbers: &'a mut [f32], columns: usize) -> Self {
        assert!(columns > 0 && numbers.len().is_multiple_of(columns), "whole rows");
        let rows = numbers.len() / columns;
        Self { first: numbers.as_mut_ptr(), rows, columns, row: columns, first_column: 0, life: PhantomData }
    }

    /// Parts of `columns` columns each, the last one maybe narrower.
    pub fn split_columns(self, columns: usize) -> Vec<MatrixMut<'a>> {
        let part = |first: usize| MatrixMut {
            first: self.first.wrapping_add(first),
            columns: columns.min(self.columns - first),
            first_column: self.first_column + first,
            ..self
        };
        (0..self.columns).step_by(columns).map(part).collect()
    }

    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Where its first column stands in the whole matrix.
    pub fn first_column(&self) -> usize {
        self.first_column
    }
}

/// out = a · b, or out += a · b. The order of additions depends on the three sizes alone.
///
/// # Panics
/// If the sizes do not fit.
pub fn product(out: &mut MatrixMut, a: Matrix, b: Matrix, add: bool) {
    assert_eq!((out.rows, out.columns, a.columns), (a.rows, b.columns, b.rows), "sizes of a product");
    let distance = |numbers: usize| numbers as isize;
    // SAFETY: all three views lie within their slices, and `out` is nobody else's.
    unsafe {
        gemm(
            out.rows,
            out.columns,
            a.columns,
            out.first,
            1,
            distance(out.row),
            add,
            a.first,
            distance(a.column),
            distance(a.row),
            b.first,
            distance(b.column),
            distance(b.row),
            1.0,
            1.0,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

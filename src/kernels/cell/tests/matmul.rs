//! Packed products against sums in double precision: every kind of vector, tiles and panels that do not fit evenly, both orders of
//! the left side.

use super::super::matmul::{Left, Packed, Target};
use super::{numbers, pool};
use crate::kernels::simd::Isa;

/// [rows, depth] · [depth, columns]
struct Case {
    rows: usize,
    depth: usize,
    columns: usize,
    left: Vec<f32>,
    right: Vec<f32>,
}

impl Case {
    fn new(rows: usize, depth: usize, columns: usize) -> Self {
        Self { rows, depth, columns, left: numbers(1, rows * depth, 1.0), right: numbers(2, depth * columns, 1.0) }
    }

    fn exact(&self, row: usize, column: usize) -> f64 {
        let term = |k: usize| f64::from(self.left[row * self.depth + k]) * f64::from(self.right[k * self.columns + column]);
        (0..self.depth).map(term).sum()
    }

    /// The right side, written in two parts: as it lies in memory, or from its columns.
    fn packed(&self, isa: Isa, from_columns: bool) -> Packed {
        let mut packed = Packed::new(isa, self.depth, self.columns);
        let first = self.columns / 3;
        let turned = transposed(&self.right, self.columns);
        for (start, count) in [(0, first), (first, self.columns - first)] {
            let size = (self.depth, count);
            if from_columns {
                packed.fill(0, start, size, &turned[start * self.depth..], (1, self.depth));
            } else {
                packed.fill(0, start, size, &self.right[start..], (self.columns, 1));
            }
        }
        packed
    }

    /// `before` + the product, with a column between two rows that is nobody's.
    fn product(&self, isa: Isa, threads: usize, by_rows: bool, turned: bool) -> Vec<f32> {
        let (packed, columns_first) = (self.packed(isa, turned), transposed(&self.left, self.depth));
        let left = if turned {
            Left { start: columns_first.as_ptr(), rows: self.rows, row_stride: 1, k_stride: self.rows }
        } else {
            Left { start: self.left.as_ptr(), rows: self.rows, row_stride: self.depth, k_stride: 1 }
        };
        let mut out = vec![0.5; self.rows * (self.columns + 1)];
        let target = Target { start: out.as_mut_ptr(), stride: self.columns + 1, add: true };
        // SAFETY: left and target have rows and columns of these sizes; they live until the products are done.
        pool(threads)
            .install(|| unsafe { if by_rows { packed.product_by_rows(isa, left, target) } else { packed.product(isa, left, target) } });
        out
    }
}

fn transposed(matrix: &[f32], columns: usize) -> Vec<f32> {
    (0..columns).flat_map(|column| matrix.iter().skip(column).step_by(columns).copied()).collect()
}

#[test]
fn products_are_exact_for_any_size() {
    for isa in Isa::available() {
        for (rows, depth, columns) in [(1, 1, 1), (3, 2, 7), (5, 40, 33), (20, 200, 200), (7, 300, 25), (61, 259, 49), (102, 515, 9)] {
            let case = Case::new(rows, depth, columns);
            // A left side whose k lie apart is only taken by blocks of rows; with one row or one k there is no difference.
            for (by_rows, turned) in [(false, false), (true, false), (true, rows > 1)] {
                let out = case.product(isa, 1, by_rows, turned);
                for (row, out) in out.chunks(columns + 1).enumerate() {
                    for (column, found) in out[..columns].iter().enumerate() {
                        let exact = 0.5 + case.exact(row, column);
                        let at = format!("{rows} × {depth} × {columns}, {}: ({row}, {column})", isa.name());
                        assert!((f64::from(*found) - exact).abs() < 1e-5 * (depth as f64).sqrt(), "{at}: {found} against {exact}");
                    }
                    assert_eq!(out[columns], 0.5, "what lies between two rows");
                }
                assert_eq!(case.product(isa, 3, by_rows, turned), out, "three threads");
            }
        }
    }
}

#[test]
fn a_row_is_the_same_whatever_rows_stand_beside_it() {
    for isa in Isa::available() {
        let all = Case::new(9, 70, 50);
        let one = Case { rows: 1, left: all.left[8 * 70..].to_vec(), right: all.right.clone(), ..all };
        assert_eq!(all.product(isa, 1, true, false)[8 * 51..], one.product(isa, 1, false, false)[..]);
    }
}

//! Packed products against sums in double precision: every kind of vector, tiles and panels that do
//! not fit evenly, every order of the left side.

use crate::kernels::matmul::{Left, Packed, Target};
use crate::kernels::simd::Isa;
use crate::kernels::testing::{numbers, pool, sum_error};

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
        Self {
            rows,
            depth,
            columns,
            left: numbers(1, rows * depth),
            right: numbers(2, depth * columns),
        }
    }

    fn terms(&self, row: usize, column: usize) -> impl Iterator<Item = f64> {
        (0..self.depth).map(move |k| {
            f64::from(self.left[row * self.depth + k])
                * f64::from(self.right[k * self.columns + column])
        })
    }

    fn exact(&self, row: usize, column: usize) -> f64 {
        self.terms(row, column).sum()
    }

    /// How far rounding may move a number of the product.
    fn error(&self, row: usize, column: usize) -> f64 {
        let size: f64 = self.terms(row, column).map(f64::abs).sum();
        sum_error(self.depth, size)
    }

    /// The right side, written in two parts: as it lies in memory, or from its columns.
    fn packed(&self, isa: Isa, from_columns: bool) -> Packed {
        let mut packed = Packed::new(isa, self.depth, self.columns);
        let first = self.columns / 3;
        let turned = transposed(&self.right, self.columns);
        for (start, count) in [(0, first), (first, self.columns - first)] {
            let size = (self.depth, count);
            if from_columns {
                packed.fill(
                    0,
                    start,
                    size,
                    &turned[start * self.depth..],
                    (1, self.depth),
                );
            } else {
                packed.fill(0, start, size, &self.right[start..], (self.columns, 1));
            }
        }
        packed
    }

    /// Halves + the product, with a column between two rows that is nobody's.
    fn product(&self, isa: Isa, threads: usize, way: Way) -> Vec<f32> {
        let &Self {
            rows,
            depth,
            columns,
            ..
        } = self;
        let packed = self.packed(isa, way == Way::Columns);
        let columns_first = transposed(&self.left, depth);
        let tiles: Vec<f32> = self
            .left
            .chunks(4 * depth)
            .flat_map(|tile| tile_of(tile, depth))
            .collect();
        let mut out = vec![0.5; rows * (columns + 1)];
        let target = Target {
            start: out.as_mut_ptr(),
            stride: columns + 1,
            add: true,
        };
        let left = match way {
            Way::Rows | Way::BlocksOfRows => Left::of_rows(self.left.as_ptr(), rows, depth),
            Way::Columns => Left::of_columns(columns_first.as_ptr(), rows, rows),
            Way::TilesByPanels => Left::of_tiles(tiles.as_ptr(), rows, depth),
        };
        // SAFETY: left and target have rows and columns of these sizes; they live until the
        // products are done.
        pool(threads).install(|| unsafe {
            match way {
                Way::Rows => packed.product(isa, left, target),
                Way::BlocksOfRows | Way::Columns => packed.product_by_rows(isa, left, target),
                Way::TilesByPanels => {
                    (0..packed.panels()).for_each(|panel| {
                        packed.panel_product(
                            isa,
                            panel,
                            left,
                            target.at(0, packed.panel(panel).start),
                        );
                    });
                }
            }
        });
        out
    }
}

/// How a product can be asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    Rows,
    BlocksOfRows,
    Columns,
    TilesByPanels,
}

/// Up to four rows as a tile, with zeros for those that are missing.
fn tile_of(rows: &[f32], depth: usize) -> Vec<f32> {
    (0..depth)
        .flat_map(|k| (0..4).map(move |row| rows.get(row * depth + k).copied().unwrap_or(0.0)))
        .collect()
}

fn transposed(matrix: &[f32], columns: usize) -> Vec<f32> {
    (0..columns)
        .flat_map(|column| matrix.iter().skip(column).step_by(columns).copied())
        .collect()
}

#[test]
fn products_are_exact_for_any_size() {
    for isa in Isa::available() {
        for (rows, depth, columns) in [
            (1, 1, 1),
            (3, 2, 7),
            (5, 40, 33),
            (5, 9, 1),
            (20, 200, 200),
            (7, 300, 25),
            (61, 259, 49),
            (102, 515, 9),
            (150, 40, 9),
        ] {
            let case = Case::new(rows, depth, columns);
            for way in [
                Way::Rows,
                Way::BlocksOfRows,
                Way::Columns,
                Way::TilesByPanels,
            ] {
                let out = case.product(isa, 1, way);
                for (row, out) in out.chunks(columns + 1).enumerate() {
                    for (column, found) in out[..columns].iter().enumerate() {
                        let exact = 0.5 + case.exact(row, column);
                        let at = format!(
                            "{rows} × {depth} × {columns}, {}, {way:?}: ({row}, {column})",
                            isa.name()
                        );
                        // One more term: the half.
                        let bound = case.error(row, column) + sum_error(1, 0.5 + exact.abs());
                        assert!(
                            (f64::from(*found) - exact).abs() <= bound,
                            "{at}: {found} against {exact}"
                        );
                    }
                    assert_eq!(out[columns], 0.5, "what lies between two rows");
                }
                assert_eq!(case.product(isa, 3, way), out, "three threads");
            }
        }
    }
}

#[test]
fn what_one_product_made_is_the_left_side_of_the_next() {
    for isa in Isa::available() {
        for (rows, depth, columns, last) in [(1, 3, 5, 2), (7, 40, 300, 31), (12, 17, 96, 24)] {
            let first = Case::new(rows, depth, columns);
            let second = numbers(3, columns * last);
            // In whole panels, whose last columns are zeros.
            let mut between = Packed::in_whole_panels(isa, rows, columns);
            let width = between.panel(0).len();
            let all = between.panel(between.panels() - 1).end;
            let mut right = Packed::new(isa, depth, all);
            right.fill(0, 0, (depth, columns), &first.right, (columns, 1));
            let mut next = Packed::new(isa, all, last);
            next.fill(0, 0, (columns, last), &second, (last, 1));
            let mut out = vec![7.0; rows * last];
            for panel in 0..between.panels() {
                let start = between.values_mut()[panel * width * rows..].as_mut_ptr();
                let left = Left::of_rows(first.left.as_ptr(), rows, depth);
                // SAFETY: the panel is [rows, width], and the right side as wide.
                unsafe {
                    right.panel_product(
                        isa,
                        panel,
                        left,
                        Target {
                            start,
                            stride: width,
                            add: false,
                        },
                    );
                }
            }
            for panels in (0..between.panels()).collect::<Vec<_>>().chunks(2) {
                let words = panels[0] * width..(panels[panels.len() - 1] + 1) * width;
                let left =
                    Left::of_panels(between.values()[words.start * rows..].as_ptr(), rows, width);
                let target = Target {
                    start: out.as_mut_ptr(),
                    stride: last,
                    add: false,
                };
                // SAFETY: the right side has a row for each column of the panels; out is [rows,
                // last].
                unsafe { next.partial_product(isa, words, left, target) }
            }
            for (row, out) in out.chunks(last).enumerate() {
                for (column, &found) in out.iter().enumerate() {
                    let exact: f64 = (0..columns)
                        .map(|k| first.exact(row, k) * f64::from(second[k * last + column]))
                        .sum();
                    // The rounding of the second product, and what is left of the first one's.
                    let (size, first_error) = (0..columns)
                        .map(|k| (k, f64::from(second[k * last + column]).abs()))
                        .fold((0.0, 0.0), |(size, error), (k, factor)| {
                            let term = factor * first.exact(row, k).abs();
                            (size + term, error + factor * first.error(row, k))
                        });
                    let bound = sum_error(columns, size) + first_error;
                    assert!(
                        (f64::from(found) - exact).abs() <= bound,
                        "{rows}, {depth}, {columns}, {last}: {found} against {exact}"
                    );
                }
            }
            let parts: Vec<f32> = next
                .row(columns - 1)
                .flat_map(|(_, numbers)| numbers)
                .copied()
                .collect();
            assert_eq!(parts, second[(columns - 1) * last..], "a row in parts");
        }
    }
}

#[test]
fn a_row_is_the_same_whatever_rows_stand_beside_it() {
    for isa in Isa::available() {
        let all = Case::new(9, 70, 50);
        let one = Case {
            rows: 1,
            left: all.left[8 * 70..].to_vec(),
            right: all.right.clone(),
            ..all
        };
        assert_eq!(
            all.product(isa, 1, Way::BlocksOfRows)[8 * 51..],
            one.product(isa, 1, Way::Rows)[..]
        );
    }
}

//! Some rows of a softmax: their logits, the powers of these, and what comes back to the features.
//! Knows nothing of other rows.

use super::SKIPPED;
use crate::kernels::matmul::{DEPTH, Left, Packed, Target};
use crate::kernels::simd::functions;
use crate::kernels::simd::{Isa, Kernel, TILE_FILTERS as TILE_ROWS, Vector};
use std::ops::Range;

/// Columns of panels that are worked on together, about: with `ROWS` rows they stay in the second
/// cache.
const TOGETHER: usize = 128;
const _: () = assert!(
    super::WIDEST as usize <= TOGETHER && TOGETHER <= DEPTH,
    "a group has a panel, and is one piece of a product"
);

pub struct Block {
    isa: Isa,
    rows: usize,
    hidden: usize,
    /// `[rows, hidden + 1]`: the last is 1.
    features: Vec<f32>,
    /// The features, each row times what its powers must be scaled by: `[tiles of
    /// features][rows][TILE_ROWS]`.
    scaled: Vec<f32>,
    /// `[rows, words]`: first the logits.
    pub powers: Packed,
    /// Of each row: its largest logit, that of its target, and the sum of its powers.
    largest: Vec<f32>,
    wanted: Vec<f32>,
    sums: Vec<f64>,
}

impl Block {
    /// Room for `rows`.
    pub fn new(isa: Isa, rows: usize, hidden: usize, words: usize) -> Self {
        Self {
            isa,
            rows,
            hidden,
            features: vec![1.0; rows * (hidden + 1)],
            scaled: vec![0.0; (hidden + 1).next_multiple_of(TILE_ROWS) * rows],
            powers: Packed::in_whole_panels(isa, rows, words),
            largest: vec![0.0; rows],
            wanted: vec![0.0; rows],
            sums: vec![0.0; rows],
        }
    }

    /// Makes the logits, and looks for the largest of each row and those of the targets.
    pub fn logits(&mut self, weight: &Packed, features: &[f32], targets: &[u32]) {
        let hidden = self.hidden;
        self.rows = targets.len();
        self.powers.shorten(self.rows);
        for (to, from) in self
            .features
            .chunks_mut(hidden + 1)
            .zip(features.chunks(hidden))
        {
            to[..hidden].copy_from_slice(from);
        }
        self.largest.fill(f32::NEG_INFINITY);
        let left = Left::of_rows(self.features.as_ptr(), self.rows, hidden + 1);
        for group in self.groups() {
            for panel in group.clone() {
                let columns = self.powers.panel(panel);
                let start = self.powers.values_mut()[columns.start * self.rows..].as_mut_ptr();
                let target = Target {
                    start,
                    stride: columns.len(),
                    add: false,
                };
                // SAFETY: weight has as many panels of these columns, features are [rows, hidden +
                // 1], the panel is [rows, columns].
                unsafe { weight.panel_product(self.isa, panel, left, target) }
            }
            self.isa.run(Largest {
                panels: Self::panels(&mut self.powers, group, self.rows),
                largest: &mut self.largest,
            });
        }
        for (row, &target) in targets
            .iter()
            .enumerate()
            .filter(|(_, target)| **target != SKIPPED)
        {
            self.wanted[row] =
                self.powers.values()[position(target as usize, row, self.rows, self.width())];
        }
    }

    /// The sum of the cross-entropies; the logits are still there.
    pub fn loss(&mut self, targets: &[u32]) -> f64 {
        self.sums.fill(0.0);
        for group in self.groups() {
            self.make_powers(group, false);
        }
        self.losses(targets)
    }

    /// The sum of the cross-entropies and the gradient of `scale` · it to the features; logits
    /// become powers.
    pub fn backward(
        &mut self,
        weight: &Packed,
        targets: &[u32],
        scale: f32,
        d_features: &mut [f32],
    ) -> f64 {
        self.sums.fill(0.0);
        for group in self.groups() {
            self.make_powers(group.clone(), true);
            let words = group.start * self.width()..group.end * self.width();
            let start = self.powers.values()[words.start * self.rows..].as_ptr();
            let left = Left::of_panels(start, self.rows, self.width());
            let target = Target {
                start: d_features.as_mut_ptr(),
                stride: self.hidden,
                add: false,
            };
            // SAFETY: weight has a row for each column of the group's panels; gradients are [rows,
            // hidden].
            unsafe { weight.partial_product(self.isa, words, left, target) }
        }
        self.scale(weight, targets, scale, d_features);
        self.losses(targets)
    }

    /// The features as the left side of the parameters' gradient, [hidden + 1, rows].
    pub fn scaled_features(&self) -> Left {
        Left::of_tiles(self.scaled.as_ptr(), self.hidden + 1, self.rows)
    }

    /// What is left to do once the sums are known; powers become less at the targets.
    fn scale(&mut self, weight: &Packed, targets: &[u32], scale: f32, d_features: &mut [f32]) {
        let width = self.width();
        let features = self
            .features
            .chunks(self.hidden + 1)
            .zip(d_features.chunks_mut(self.hidden));
        for (row, ((features, d), &target)) in features.zip(targets).enumerate() {
            let factor = if target == SKIPPED {
                0.0
            } else {
                (f64::from(scale) / self.sums[row]) as f32
            };
            for (tile, features) in self
                .scaled
                .chunks_mut(self.rows * TILE_ROWS)
                .zip(features.chunks(TILE_ROWS))
            {
                tile[row * TILE_ROWS..]
                    .iter_mut()
                    .zip(features)
                    .for_each(|(to, feature)| *to = factor * feature);
            }
            if target == SKIPPED {
                d.fill(0.0);
                continue;
            }
            d.iter_mut().for_each(|d| *d *= factor);
            for (first, weights) in weight.row(target as usize) {
                d[first..]
                    .iter_mut()
                    .zip(weights)
                    .for_each(|(d, weight)| *d -= scale * weight);
            }
            let power =
                &mut self.powers.values_mut()[position(target as usize, row, self.rows, width)];
            *power = (f64::from(*power) - self.sums[row]) as f32;
        }
    }

    fn losses(&self, targets: &[u32]) -> f64 {
        let counted = targets
            .iter()
            .enumerate()
            .filter(|(_, target)| **target != SKIPPED);
        counted
            .map(|(row, _)| {
                self.sums[row].ln() - (f64::from(self.wanted[row]) - f64::from(self.largest[row]))
            })
            .sum()
    }

    fn make_powers(&mut self, group: Range<usize>, write: bool) {
        self.isa.run(Powers {
            panels: Self::panels(&mut self.powers, group, self.rows),
            largest: &self.largest,
            sums: &mut self.sums,
            write,
        });
    }

    /// Columns of a panel.
    fn width(&self) -> usize {
        self.powers.panel(0).len()
    }

    /// Panels that are worked on together.
    fn groups(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let panels = self.powers.panels();
        let together = TOGETHER / self.width();
        (0..panels)
            .step_by(together)
            .map(move |first| first..(first + together).min(panels))
    }

    fn panels(powers: &mut Packed, group: Range<usize>, rows: usize) -> Panels<'_> {
        let width = powers.panel(0).len();
        Panels {
            numbers: &mut powers.values_mut()[group.start * rows * width..group.end * rows * width],
            rows,
            width,
        }
    }
}

/// Where a word's number lies in panels [panels][rows][width].
fn position(word: usize, row: usize, rows: usize, width: usize) -> usize {
    (word / width * rows + row) * width + word % width
}

/// Some panels, [count][rows][width], as wide as whole vectors.
struct Panels<'a> {
    numbers: &'a mut [f32],
    rows: usize,
    width: usize,
}

impl Panels<'_> {
    /// Does something with the vectors of R rows side by side, each with its row's number among the
    /// R; writes the result where there is one.
    #[inline(always)]
    fn each<V: Vector, const R: usize>(
        &mut self,
        row: usize,
        mut f: impl FnMut(usize, V) -> Option<V>,
    ) {
        for panel in self.numbers.chunks_exact_mut(self.rows * self.width) {
            let rows = &mut panel[row * self.width..][..R * self.width];
            for column in (0..self.width).step_by(V::WIDTH) {
                for row in 0..R {
                    let numbers = &mut rows[row * self.width + column..][..V::WIDTH];
                    if let Some(result) = f(row, V::first_of(numbers)) {
                        result.write(numbers);
                    }
                }
            }
        }
    }
}

/// Raises the largest number of each row to that of some panels.
struct Largest<'a> {
    panels: Panels<'a>,
    largest: &'a mut [f32],
}

impl Kernel for Largest<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(mut self) {
        let rows = self.panels.rows;
        for (row, largest) in self.largest.iter_mut().enumerate().take(rows) {
            // NaN is passed over: its power tells.
            let mut lanes = V::splat(*largest);
            self.panels.each::<V, 1>(row, |_, numbers| {
                lanes = numbers.max(lanes);
                None
            });
            let lanes = lanes.numbers();
            *largest = lanes[..V::WIDTH]
                .iter()
                .copied()
                .fold(f32::NEG_INFINITY, f32::max);
        }
    }
}

/// Adds the powers of some panels to each row's sum; with `write` they take the logits' place.
struct Powers<'a> {
    panels: Panels<'a>,
    largest: &'a [f32],
    sums: &'a mut [f64],
    write: bool,
}

impl Kernel for Powers<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(mut self) {
        let fours = self.panels.rows / 4 * 4;
        (0..fours).step_by(4).for_each(|row| self.rows::<V, 4>(row));
        (fours..self.panels.rows).for_each(|row| self.rows::<V, 1>(row));
    }
}

impl Powers<'_> {
    /// Of R rows, four at most: several at a time, so that their exponentials need not wait for
    /// each other.
    #[inline(always)]
    fn rows<V: Vector, const R: usize>(&mut self, row: usize) {
        let write = self.write;
        let largest: [V; R] = std::array::from_fn(|r| V::splat(self.largest[row + r]));
        let mut powers = [V::splat(0.0); 4];
        self.panels.each::<V, R>(row, |r, logits| {
            let power = functions::exp(logits.sub(largest[r]));
            powers[r] = powers[r].add(power);
            write.then_some(power)
        });
        self.sums[row..row + R]
            .iter_mut()
            .zip(V::sums(powers))
            .for_each(|(sum, more)| *sum += f64::from(more));
    }
}

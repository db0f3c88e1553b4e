//! How much of the reward each decision explains: functional analysis of variance on a random
//! forest (Hutter, Hoos & Leyton-Brown 2014). A tree is constant on boxes, so what it predicts for
//! one value of a decision, averaged over all values of the others, is a sum over its leaves. A
//! function of the rows; must not know decision lists or spaces.

use crate::random::{Key, Purpose, Stream};
use rand::RngExt;

const TREES: u32 = 32;
/// Rows of a leaf at least.
const LEAF: usize = 3;
/// Share of the columns that a split may take, as in the authors' program.
const COLUMNS_TRIED: f64 = 5.0 / 6.0;

/// One column of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FactorColumn {
    /// Its values are below this.
    pub values: usize,
    /// A split parts low values from high ones; else any values from the others.
    pub is_ordered: bool,
}

/// Shares of the variance of the reward over the space, in which every value that occurs in a
/// column counts alike, whatever the other columns hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Importance {
    /// What each column explains alone.
    pub alone: Vec<f64>,
    /// What several columns explain together, beyond what each does alone.
    pub together: f64,
}

/// The importance of each column, from rows of values and their rewards; None: there are too few
/// rows, or rewards that do not differ.
///
/// # Panics
/// If a row has not one value for each column, or there is not one reward for each row.
pub fn importance(
    columns: &[FactorColumn],
    rows: &[Vec<u16>],
    rewards: &[f64],
) -> Option<Importance> {
    assert_eq!(rows.len(), rewards.len(), "one reward for each row");
    assert!(
        rows.iter().all(|row| row.len() == columns.len()),
        "one value for each column"
    );
    if rows.len() < 2 * LEAF {
        return None;
    }
    let occurring: Vec<Vec<bool>> = (0..columns.len())
        .map(|column| {
            let mut occurs = vec![false; columns[column].values];
            for row in rows {
                occurs[usize::from(row[column])] = true;
            }
            occurs
        })
        .collect();
    let mut sum = vec![0.0; columns.len()];
    let mut trees = 0.0;
    for number in 0..TREES {
        let key = Key {
            slot: number,
            ..Key::seed(1)
        };
        let mut tree = Tree {
            columns,
            rows,
            rewards,
            stream: key.stream(Purpose::Bootstrap),
            allowed: occurring.clone(),
            shares: vec![1.0; columns.len()],
            marginals: columns
                .iter()
                .map(|column| vec![0.0; column.values])
                .collect(),
            mean: 0.0,
            square: 0.0,
        };
        let stream = &mut tree.stream;
        let mut drawn: Vec<usize> = rows
            .iter()
            .map(|_| stream.random_range(0..rows.len()))
            .collect();
        tree.grow(&mut drawn);
        if let Some(alone) = tree.alone(&occurring) {
            sum.iter_mut().zip(alone).for_each(|(sum, one)| *sum += one);
            trees += 1.0;
        }
    }
    if trees == 0.0 {
        return None;
    }
    let alone: Vec<f64> = sum.into_iter().map(|sum| sum / trees).collect();
    let together = (1.0 - alone.iter().sum::<f64>()).max(0.0);
    Some(Importance { alone, together })
}

/// A regression tree while it grows, in one box of the space; of its leaves the sums alone are kept.
struct Tree<'a> {
    columns: &'a [FactorColumn],
    rows: &'a [Vec<u16>],
    rewards: &'a [f64],
    stream: Stream,
    /// Of each column the values inside the box.
    allowed: Vec<Vec<bool>>,
    /// Their share of the values that occur.
    shares: Vec<f64>,
    /// For each value of each column what the tree predicts in the mean over the other columns.
    marginals: Vec<Vec<f64>>,
    /// Of the prediction and its square over the whole space.
    mean: f64,
    square: f64,
}

/// Values of a column that go left, and by how much the squared error falls.
struct Split {
    column: usize,
    left: Vec<bool>,
    gain: f64,
}

impl Tree<'_> {
    /// Divides the box until no split helps. `rows` are those inside it.
    fn grow(&mut self, rows: &mut [usize]) {
        let Some(Split { column, left, .. }) = self.best_split(rows) else {
            self.leaf(rows);
            return;
        };
        rows.sort_by_key(|row| !left[usize::from(self.rows[*row][column])]);
        let middle = rows.partition_point(|row| left[usize::from(self.rows[*row][column])]);
        let (left_rows, right_rows) = rows.split_at_mut(middle);
        let allowed = self.allowed[column].clone();
        let share = self.shares[column];
        let inside = count(&allowed);
        for (is_left, rows) in [(true, left_rows), (false, right_rows)] {
            let both = allowed.iter().zip(&left);
            let side: Vec<bool> = both
                .map(|(allowed, left)| *allowed && *left == is_left)
                .collect();
            self.shares[column] = share * count(&side) / inside;
            self.allowed[column] = side;
            self.grow(rows);
        }
        self.allowed[column] = allowed;
        self.shares[column] = share;
    }

    /// Of the columns that are tried, the split that explains most; None: it is a leaf.
    fn best_split(&mut self, rows: &[usize]) -> Option<Split> {
        if rows.len() < 2 * LEAF {
            return None;
        }
        let mut best: Option<Split> = None;
        for column in 0..self.columns.len() {
            let is_tried = self.stream.random_bool(COLUMNS_TRIED);
            if !is_tried || count(&self.allowed[column]) < 2.0 {
                continue;
            }
            let split = self.split(rows, column);
            let least = best.as_ref().map_or(1e-12, |best| best.gain);
            best = split.filter(|split| split.gain > least).or(best);
        }
        best
    }

    /// The best split of one column. Values in no order are put into that of their mean rewards:
    /// the best of all divisions is among those (Breiman et al. 1984).
    fn split(&self, rows: &[usize], column: usize) -> Option<Split> {
        let FactorColumn { values, is_ordered } = self.columns[column];
        let mut sums = vec![(0.0, 0_usize); values];
        for &row in rows {
            let (sum, count) = &mut sums[usize::from(self.rows[row][column])];
            *sum += self.rewards[row];
            *count += 1;
        }
        let mut order: Vec<usize> = (0..values).filter(|value| sums[*value].1 > 0).collect();
        if !is_ordered {
            let mean = |value: usize| sums[value].0 / sums[value].1 as f64;
            order.sort_by(|a, b| mean(*a).total_cmp(&mean(*b)));
        }
        let all: f64 = order.iter().map(|value| sums[*value].0).sum();
        let (mut sum, mut number) = (0.0, 0);
        let mut best: Option<(usize, f64)> = None;
        for (place, &value) in order.iter().enumerate() {
            sum += sums[value].0;
            number += sums[value].1;
            let rest = rows.len() - number;
            if number < LEAF || rest < LEAF {
                continue;
            }
            let (left, right) = (number as f64, rest as f64);
            let other = all - sum;
            let gain = sum * sum / left + other * other / right - all * all / (left + right);
            if best.is_none_or(|(_, best)| gain > best) {
                best = Some((place, gain));
            }
        }
        let (place, gain) = best?;
        let mut left = vec![false; values];
        if is_ordered {
            // Values between the two that no row has go with the lower one.
            left[..order[place + 1]].fill(true);
        } else {
            order[..=place].iter().for_each(|value| left[*value] = true);
        }
        Some(Split { column, left, gain })
    }

    /// Adds a box that is divided no further.
    fn leaf(&mut self, rows: &[usize]) {
        let sum: f64 = rows.iter().map(|row| self.rewards[*row]).sum();
        let value = sum / rows.len() as f64;
        let volume: f64 = self.shares.iter().product();
        self.mean += volume * value;
        self.square += volume * value * value;
        for (column, share) in self.shares.iter().enumerate() {
            let others = volume / share;
            let marginals = self.marginals[column].iter_mut();
            for (marginal, allowed) in marginals.zip(&self.allowed[column]) {
                if *allowed {
                    *marginal += others * value;
                }
            }
        }
    }

    /// For each column the share of the prediction's variance that it explains alone; None: the
    /// prediction is the same everywhere.
    fn alone(&self, occurring: &[Vec<bool>]) -> Option<Vec<f64>> {
        let variance = self.square - self.mean * self.mean;
        if variance <= 1e-12 * self.square.abs() {
            return None;
        }
        let of_column = |(marginals, occurring): (&Vec<f64>, &Vec<bool>)| {
            let counted = marginals
                .iter()
                .zip(occurring)
                .filter(|(_, occurs)| **occurs);
            let squares = counted.map(|(marginal, _)| (marginal - self.mean).powi(2));
            squares.sum::<f64>() / count(occurring) / variance
        };
        Some(
            self.marginals
                .iter()
                .zip(occurring)
                .map(of_column)
                .collect(),
        )
    }
}

fn count(allowed: &[bool]) -> f64 {
    allowed.iter().filter(|allowed| **allowed).count() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every row of columns with so many values each, and the reward of each.
    fn factorial(sizes: &[usize], reward: impl Fn(&[u16]) -> f64) -> (Vec<Vec<u16>>, Vec<f64>) {
        let mut rows = vec![Vec::new()];
        for &size in sizes {
            rows = rows
                .iter()
                .flat_map(|row: &Vec<u16>| {
                    (0..size as u16).map(move |value| [row.as_slice(), &[value]].concat())
                })
                .collect();
        }
        let rewards = rows.iter().map(|row| reward(row)).collect();
        (rows, rewards)
    }

    fn columns(sizes: &[usize], is_ordered: bool) -> Vec<FactorColumn> {
        let column = |&values| FactorColumn { values, is_ordered };
        sizes.iter().map(column).collect()
    }

    fn assert_near(found: &[f64], expected: &[f64], tolerance: f64) {
        assert_eq!(found.len(), expected.len());
        for (a, b) in found.iter().zip(expected) {
            assert!((a - b).abs() < tolerance, "{found:?}, not {expected:?}");
        }
    }

    #[test]
    fn a_sum_is_divided_among_its_terms() {
        // Variances of 3a, b and nothing, a and b uniform alike: 9 to 1 to 0.
        let sizes = [6, 6, 6];
        let (rows, rewards) = factorial(&sizes, |row| 3.0 * f64::from(row[0]) + f64::from(row[1]));
        for is_ordered in [true, false] {
            let found = importance(&columns(&sizes, is_ordered), &rows, &rewards).unwrap();
            assert_near(&found.alone, &[0.9, 0.1, 0.0], 0.03);
            assert!(found.together < 0.02, "{found:?}");
            let again = importance(&columns(&sizes, is_ordered), &rows, &rewards).unwrap();
            assert_eq!(found, again);
        }
    }

    #[test]
    fn a_product_of_signs_is_explained_by_no_column_alone() {
        let sizes = [2, 2, 5, 5];
        let (rows, rewards) = factorial(&sizes, |row| f64::from(row[0] ^ row[1]));
        let found = importance(&columns(&sizes, false), &rows, &rewards).unwrap();
        assert!(found.together > 0.7, "{found:?}");
        assert!(found.alone.iter().all(|alone| *alone < 0.15), "{found:?}");
    }

    #[test]
    fn values_in_no_order_are_grouped_by_what_they_are_worth() {
        // High, low, high, low, and a column that tells nothing.
        let sizes = [4, 8, 8];
        let (rows, rewards) = factorial(&sizes, |row| f64::from(row[0] % 2));
        let found = importance(&columns(&sizes, false), &rows, &rewards).unwrap();
        assert_near(&found.alone, &[1.0, 0.0, 0.0], 0.02);
    }

    #[test]
    fn what_is_decided_in_a_branch_alone_counts_with_that_branch() {
        // The second column is 0, not decided, unless the first is 1; there it is 1 or 2.
        let (all, _) = factorial(&[2, 3, 20], |_| 0.0);
        let rows: Vec<Vec<u16>> = all
            .into_iter()
            .filter(|row| (row[0] == 1) == (row[1] > 0))
            .collect();
        let rewards: Vec<f64> = rows.iter().map(|row| f64::from(row[1] == 2)).collect();
        let found = importance(&columns(&[2, 3, 20], false), &rows, &rewards).unwrap();
        assert!(found.alone[1] > 0.9 && found.alone[2] < 0.02, "{found:?}");
    }

    #[test]
    fn few_rows_and_equal_rewards_say_nothing() {
        let sizes = [3, 3];
        let (rows, rewards) = factorial(&sizes, |_| 0.5);
        assert_eq!(importance(&columns(&sizes, true), &rows, &rewards), None);
        assert_eq!(
            importance(&columns(&sizes, true), &rows[..5], &rewards[..5]),
            None
        );
        assert_eq!(importance(&[], &vec![vec![]; 9], &[1.0; 9]), None);
    }
}

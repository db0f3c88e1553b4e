//! What the kernels' tests share: pools, random numbers, and comparisons with a reference in f64
//! whose bounds follow from the size of what is summed. Knows no kernel.

use crate::random::{Key, Purpose, Stream};
use rand::RngExt;
use std::sync::Arc;

pub fn pool(threads: usize) -> Arc<rayon::ThreadPool> {
    Arc::new(
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap(),
    )
}

/// Numbers in -1..1, the same for the same seed.
pub fn numbers(seed: u64, n: usize) -> Vec<f32> {
    let mut stream = Key::seed(seed).stream(Purpose::ChildParameters);
    (0..n).map(|_| stream.random_range(-1.0f32..1.0)).collect()
}

pub fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(v)).collect()
}

pub fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter()
        .zip(b)
        .map(|(&a, &b)| f64::from(a) * f64::from(b))
        .sum()
}

/// The unit roundoff of f32: how far one operation may be from the exact result, relative to it.
pub const ROUNDOFF: f64 = f32::EPSILON as f64 / 2.0;

/// A bound for the error of a sum of `terms` products in f32, in any order: the unit roundoff times
/// the number of operations on the way to the result, times the sum of the terms' absolute values.
pub fn sum_error(terms: usize, absolute_sum: f64) -> f64 {
    ROUNDOFF * (terms + 4) as f64 * absolute_sum
}

/// The rounding of f32, imitated in a reference in f64: each result is moved at random by as much
/// as rounding its terms would move it. Run a few times, a reference shows how far rounding moves
/// each of its numbers, whatever cancels on the way there (Monte Carlo arithmetic: Parker, *Monte
/// Carlo Arithmetic*, 1997).
pub struct Rounding(Option<Stream>);

impl Rounding {
    /// The reference itself.
    pub fn none() -> Self {
        Self(None)
    }

    fn imitated(seed: u64) -> Self {
        Self(Some(Key::seed(seed).stream(Purpose::Drawing)))
    }

    /// `value`, a result whose terms' absolute values sum to `size`.
    pub fn of(&mut self, value: f64, size: f64) -> f64 {
        match &mut self.0 {
            None => value,
            Some(stream) => value + ROUNDOFF * size.abs() * stream.random_range(-1.0..1.0),
        }
    }

    /// The same for each of `values`.
    pub fn all(&mut self, values: &mut [f64], sizes: &[f64]) {
        for (value, &size) in values.iter_mut().zip(sizes) {
            *value = self.of(*value, size);
        }
    }
}

/// Sums of a reference, and beside each the sum of its terms' absolute values.
pub struct Sums {
    values: Vec<f64>,
    sizes: Vec<f64>,
}

impl Sums {
    pub fn new(count: usize) -> Self {
        Self {
            values: vec![0.0; count],
            sizes: vec![0.0; count],
        }
    }

    pub fn add(&mut self, index: usize, term: f64) {
        self.values[index] += term;
        self.sizes[index] += term.abs();
    }

    pub fn rounded(mut self, rounding: &mut Rounding) -> Vec<f64> {
        rounding.all(&mut self.values, &self.sizes);
        self.values
    }
}

/// A tensor of a reference, and how far rounding moves its numbers.
pub struct Expected {
    pub exact: Vec<f64>,
    spread: Vec<f64>,
    /// The largest of `spread`: a transform of tiles rounds all numbers of a tile at the size of
    /// the largest, so a number is bound by that of its tensor.
    largest: f64,
}

/// How often a reference is run with imitated rounding.
const RUNS: u64 = 5;

/// Kernels do not sum as the reference does (in other orders, by tiles, with functions of a few
/// roundoffs), and `RUNS` runs estimate a spread roughly.
const MARGIN: f64 = 64.0;

/// What f32 takes for 0, in a product whose other factor is at most a thousand.
const UNDERFLOW: f64 = 1e3 * f32::MIN_POSITIVE as f64;

/// What `reference` gives, and how far rounding moves it.
pub fn expected<const N: usize>(
    reference: impl Fn(&mut Rounding) -> [Vec<f64>; N],
) -> [Expected; N] {
    let mut tensors = reference(&mut Rounding::none()).map(|exact| Expected {
        spread: vec![0.0; exact.len()],
        exact,
        largest: 0.0,
    });
    for run in 0..RUNS {
        let moved = reference(&mut Rounding::imitated(run));
        for (tensor, moved) in tensors.iter_mut().zip(moved) {
            assert_eq!(tensor.exact.len(), moved.len(), "a tensor of one length");
            for ((spread, exact), moved) in tensor.spread.iter_mut().zip(&tensor.exact).zip(moved) {
                *spread = f64::max(*spread, (moved - exact).abs());
            }
        }
    }
    for tensor in &mut tensors {
        tensor.largest = largest(&tensor.spread);
    }
    tensors
}

impl Expected {
    /// How far a kernel's numbers may be from the exact ones.
    pub fn bound(&self) -> f64 {
        MARGIN * self.largest + UNDERFLOW
    }

    /// Part of a tensor.
    pub fn part(&self, range: std::ops::Range<usize>) -> Self {
        let spread = self.spread[range.clone()].to_vec();
        Self {
            exact: self.exact[range].to_vec(),
            largest: largest(&spread),
            spread,
        }
    }

    /// Whether all numbers are further from 0 than rounding moves them, or exactly 0: beside a kink
    /// rounding decides which gradient is right.
    pub fn is_clear_of_zero(&self) -> bool {
        self.exact
            .iter()
            .zip(&self.spread)
            .all(|(&exact, &spread)| {
                exact.abs() > MARGIN / 8.0 * spread || (exact == 0.0 && spread == 0.0)
            })
    }

    /// Whether rounding leaves something to compare: where a computation multiplies its errors, or
    /// leaves the range of f32, it is no test.
    pub fn is_certain(&self) -> bool {
        let largest = self.exact.iter().fold(1.0, |a: f64, b| a.max(b.abs()));
        self.bound() <= 1e-2 * largest
    }

    /// Panics unless each of the kernel's numbers is within its bound.
    #[track_caller]
    pub fn assert_close(&self, what: &str, kernel: &[f32]) {
        assert_eq!(kernel.len(), self.exact.len(), "{what}");
        for (i, (&k, &exact)) in kernel.iter().zip(&self.exact).enumerate() {
            assert!(
                (f64::from(k) - exact).abs() <= self.bound(),
                "{what}[{i}]: kernel {k}, reference {exact}, bound {}",
                self.bound()
            );
        }
    }
}

fn largest(values: &[f64]) -> f64 {
    values.iter().copied().fold(0.0, f64::max)
}

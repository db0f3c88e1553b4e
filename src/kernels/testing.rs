//! What the kernels' tests share: pools, random numbers, comparisons. Knows no kernel.

use crate::random::{Key, Purpose};
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

/// |kernel - reference| is at most 5e-5 of the tensor's largest number.
#[track_caller]
pub fn assert_close(what: &str, kernel: &[f32], reference: &[f64]) {
    assert_close_to(what, kernel, reference, 1e-6);
}

/// As `assert_close`, where a tensor whose numbers are all below `least` counts as if its largest
/// were `least`.
#[track_caller]
pub fn assert_close_to(what: &str, kernel: &[f32], reference: &[f64], least: f64) {
    assert_eq!(kernel.len(), reference.len(), "{what}");
    let largest = reference.iter().fold(least, |a, &b| a.max(b.abs()));
    for (i, (&k, &r)) in kernel.iter().zip(reference).enumerate() {
        assert!(
            (f64::from(k) - r).abs() <= 5e-5 * largest,
            "{what}[{i}]: kernel {k}, reference {r}, largest {largest}"
        );
    }
}

pub fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter()
        .zip(b)
        .map(|(&a, &b)| f64::from(a) * f64::from(b))
        .sum()
}

//! Cells against exact references.

mod finite_differences;

use super::*;
use crate::kernels::ParameterSlot;
use std::sync::Arc;

fn pool(threads: usize) -> Arc<rayon::ThreadPool> {
    Arc::new(rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap())
}

/// Numbers in −scale..scale, the same for the same seed.
fn numbers(seed: u64, count: usize, scale: f32) -> Vec<f32> {
    use rand::RngExt as _;
    let mut stream = crate::random::Key::seed(seed).stream(crate::random::Purpose::Decisions);
    (0..count).map(|_| stream.random_range(-scale..scale)).collect()
}

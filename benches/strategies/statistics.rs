//! Means and bootstrap intervals. Must not know what is measured.

use netwright::random::{Key, Purpose};
use rand::RngExt;

const RESAMPLES: usize = 2_000;

pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The 95% interval of the mean, by the percentile bootstrap.
pub fn interval(values: &[f64]) -> (f64, f64) {
    let mut stream = Key::seed(1).stream(Purpose::Reference);
    let mut means: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            let drawn = values
                .iter()
                .map(|_| values[stream.random_range(0..values.len())]);
            drawn.sum::<f64>() / values.len() as f64
        })
        .collect();
    means.sort_by(f64::total_cmp);
    (means[RESAMPLES / 40], means[RESAMPLES - 1 - RESAMPLES / 40])
}

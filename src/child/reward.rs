//! The reward of a trained child (paper §4.1). Knows nothing but its validation accuracies.

/// The best accuracy of the last `window` epochs (the metric), and that to the power `exponent` (the reward).
/// `accuracies` holds one value in 0..=1 for each epoch; of none, both are 0.
pub fn reward(accuracies: &[f64], window: usize, exponent: f64) -> (f64, f64) {
    let last = &accuracies[accuracies.len().saturating_sub(window.max(1))..];
    let metric = last.iter().copied().fold(0.0, f64::max);
    (metric, metric.powf(exponent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_best_of_the_last_epochs_to_a_power() {
        let accuracies = [0.9, 0.2, 0.5, 0.4, 0.3, 0.1];
        assert_eq!(reward(&accuracies, 5, 3.0), (0.5, 0.125));
        assert_eq!(reward(&accuracies, 1, 3.0).0, 0.1);
        assert_eq!(reward(&accuracies, 6, 1.0), (0.9, 0.9));
        assert_eq!(reward(&accuracies, 100, 2.0).0, 0.9);
        assert_eq!(reward(&[], 5, 3.0), (0.0, 0.0));
    }
}

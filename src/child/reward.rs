//! The reward of a trained child (paper §4.1, §4.2). Knows nothing but its validation accuracies or
//! perplexities.

/// How a run's rewards are computed, which says where they lie.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RewardScale {
    /// An accuracy in 0..=1 to this power (paper §4.1), and perhaps what a network costs as a
    /// factor, which may be above 1.
    Accuracy { exponent: f64, has_cost: bool },
    /// This constant ÷ perplexity to this power (paper §4.2: 80 and 2).
    Perplexity { constant: f64, exponent: f64 },
    /// Any number, as a table or a program gives it.
    Any,
}

impl RewardScale {
    /// The lowest reward that there can be; None: there is no lowest.
    pub fn worst(self) -> Option<f64> {
        match self {
            Self::Accuracy { .. } | Self::Perplexity { .. } => Some(0.0),
            Self::Any => None,
        }
    }

    /// Whether the formula itself keeps rewards within bounds.
    pub fn is_bounded(self) -> bool {
        match self {
            Self::Accuracy { has_cost, .. } => !has_cost,
            Self::Perplexity { .. } => true,
            Self::Any => false,
        }
    }
}

/// The best accuracy of the last `window` epochs (the metric), and that to the power `exponent`
/// (the reward). `accuracies` holds one value in 0..=1 for each epoch; of none, both are 0.
pub fn reward(accuracies: &[f64], window: usize, exponent: f64) -> (f64, f64) {
    let last = &accuracies[accuracies.len().saturating_sub(window.max(1))..];
    let metric = last.iter().copied().fold(0.0, f64::max);
    (metric, metric.powf(exponent))
}

/// The best, that is the lowest, perplexity of the last `window` epochs, and its reward: `constant`
/// / perplexity^`exponent`. `perplexities` holds one value of 1 or more for each epoch; of none the
/// perplexity is infinite.
pub fn perplexity_reward(
    perplexities: &[f64],
    window: usize,
    constant: f64,
    exponent: f64,
) -> (f64, f64) {
    let last = &perplexities[perplexities.len().saturating_sub(window.max(1))..];
    let best = last.iter().copied().fold(f64::INFINITY, f64::min);
    (best, constant / best.powf(exponent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_perplexity_of_the_last_epochs_is_divided_into_the_constant() {
        let perplexities = [50.0, 100.0, 80.0, 90.0];
        assert_eq!(
            perplexity_reward(&perplexities, 3, 80.0, 2.0),
            (80.0, 0.0125)
        );
        assert_eq!(perplexity_reward(&perplexities, 9, 80.0, 1.0), (50.0, 1.6));
        assert_eq!(perplexity_reward(&[], 1, 80.0, 2.0), (f64::INFINITY, 0.0));
    }

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

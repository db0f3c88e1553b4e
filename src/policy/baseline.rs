//! The moving-average baseline of REINFORCE (paper §3.2). Must not know which trials are rewarded.

use serde::{Deserialize, Serialize};

/// Exponentially weighted mean of the rewards so far, free of start-up bias: weighted sum over sum
/// of weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    sum: f64,
    weight: f64,
}

impl Baseline {
    /// How much of the average each reward leaves, where nothing else is set.
    pub const DEFAULT_DECAY: f64 = 0.95;

    /// The baseline, or None before the first reward.
    pub fn value(&self) -> Option<f64> {
        (self.weight > 0.0).then(|| self.sum / self.weight)
    }

    /// Takes one reward in.
    pub fn push(&mut self, reward: f64, decay: f64) {
        self.sum = decay * self.sum + (1.0 - decay) * reward;
        self.weight = decay * self.weight + (1.0 - decay);
    }

    /// Advantages of a minibatch's rewards in slot order (None: a failed child, left out).
    /// `baseline` is the value read before these rewards entered; where there was none yet, each is
    /// compared with the mean of the others (0 where it stands alone).
    pub fn advantages(baseline: Option<f64>, rewards: &[Option<f64>]) -> Vec<Option<f64>> {
        let known = rewards.iter().flatten();
        let count = known.clone().count() as f64;
        let total: f64 = known.sum();
        let compare = |reward: f64| match baseline {
            Some(value) => reward - value,
            None if count > 1.0 => reward - (total - reward) / (count - 1.0),
            None => reward,
        };
        rewards.iter().map(|reward| reward.map(compare)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_the_weighted_mean_of_the_rewards_so_far() {
        let mut baseline = Baseline::default();
        assert_eq!(baseline.value(), None);
        let rewards = [0.3, 0.9, 0.1, 0.6];
        for (count, reward) in rewards.iter().enumerate() {
            baseline.push(*reward, 0.95);
            // Σ 0.95^(n−i) r_i / Σ 0.95^(n−i): no pull towards zero at the start.
            let weight = |index: usize| 0.95_f64.powi((count - index) as i32);
            let total: f64 = (0..=count).map(weight).sum();
            let expected = (0..=count)
                .map(|index| weight(index) * rewards[index])
                .sum::<f64>()
                / total;
            assert!((baseline.value().unwrap() - expected).abs() < 1e-12);
        }
    }

    #[test]
    fn forgets_at_once_with_decay_zero() {
        let mut baseline = Baseline::default();
        baseline.push(0.3, 0.0);
        baseline.push(0.7, 0.0);
        assert_eq!(baseline.value(), Some(0.7));
    }

    #[test]
    fn advantages_are_what_exceeds_the_baseline() {
        assert_eq!(
            Baseline::advantages(Some(0.5), &[Some(0.75), None, Some(0.25)]),
            [Some(0.25), None, Some(-0.25)]
        );
    }

    #[test]
    fn the_first_minibatch_is_compared_with_the_mean_of_the_others() {
        let advantages = Baseline::advantages(None, &[Some(1.0), None, Some(0.5), Some(0.0)]);
        assert_eq!(advantages, [Some(0.75), None, Some(0.0), Some(-0.75)]);
        assert_eq!(
            Baseline::advantages(None, &[None, Some(0.4)]),
            [None, Some(0.4)]
        );
        assert_eq!(Baseline::advantages(None, &[None, None]), [None, None]);
    }
}

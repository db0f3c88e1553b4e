//! The moving-average baseline of REINFORCE (paper §3.2).
use serde::{Deserialize, Serialize};

/// Exponentially weighted mean of the rewards so far, free of start-up bias: weighted sum over sum of weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    sum: f64,
    weight: f64,
}

impl Baseline {
    /// The baseline, or None before the first reward.
    pub fn value(&self) -> Option<f64> {
        (self.weight > 0.0).then(|| self.sum / self.weight)
    }

    /// Takes one reward in.
    pub fn push(&mut self, reward: f64, decay: f64) {
        self.sum = decay * self.sum + (1.0 - decay) * reward;
        self.weight = decay * self.weight + (1.0 - decay);
    }

    /// Advantages of a minibatch's rewards in slot order (None: a failed child, left out). `baseline` is the value read before these
    /// rewards entered; where there was none yet, each is compared with the mean of the others (0 where it stands alone).
    pub fn advantages(baseline: Option<f64>, rewards: &[Option<f64>]) -> Vec<Option<f64>> {
        let known = rewards.iter().flatten();
        let (count, total) = (known.clone().count() as f64, known.sum::<f64>());
        let compare = |reward: f64| match baseline {
            Some(value) => reward - value,
            None if count > 1.0 => reward - (total - reward) / (count - 1.0),
            None => reward,
        };
        rewards.iter().map(|reward| reward.map(compare)).collect()
    }
}

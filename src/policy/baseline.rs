//! The moving-average baseline of REINFORCE (paper §3.2), and the running scale that bounds
//! advantages where rewards may be any number. Must not know which trials are rewarded.

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

/// No reward and no advantage is larger for the controller: gradients of this size and their
/// squares are finite in f32, whatever a program printed.
const LARGEST: f64 = 1e15;

/// The averages that a minibatch is compared with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RewardAverages {
    baseline: Baseline,
    /// Of the advantages' magnitudes, after they were bounded.
    scale: Baseline,
}

/// A minibatch's rewards as the controller learns from them, in slot order; None: a failed child,
/// left out.
#[derive(Clone, Debug, PartialEq)]
pub struct ComparedRewards {
    pub advantages: Vec<Option<f64>>,
    /// What enters the averages: a reward whose advantage was cut stands as far from the baseline as
    /// its advantage says.
    pub rewards: Vec<Option<f64>>,
}

impl From<Baseline> for RewardAverages {
    /// Without a scale yet.
    fn from(baseline: Baseline) -> Self {
        Self {
            baseline,
            scale: Baseline::default(),
        }
    }
}

impl RewardAverages {
    /// As a snapshot holds them.
    pub fn new(baseline: Baseline, scale: Baseline) -> Self {
        Self { baseline, scale }
    }

    pub fn parts(&self) -> (Baseline, Baseline) {
        (self.baseline, self.scale)
    }

    /// The baseline, or None before the first reward.
    pub fn baseline(&self) -> Option<f64> {
        self.baseline.value()
    }

    /// Mean magnitude of the advantages so far, at least 1: the unit of the bound.
    pub fn scale(&self) -> f64 {
        self.scale.value().unwrap_or(0.0).max(1.0)
    }

    /// Takes a minibatch in, in slot order. `bounded`: its advantages are part of the scale.
    pub fn push(&mut self, compared: &ComparedRewards, decay: f64, bounded: bool) {
        for reward in compared.rewards.iter().flatten() {
            self.baseline.push(*reward, decay);
        }
        if bounded {
            for advantage in compared.advantages.iter().flatten() {
                self.scale.push(advantage.abs(), decay);
            }
        }
    }
}

impl ComparedRewards {
    /// Compares a minibatch's rewards (slot order; None: a failed child) with the baseline read
    /// before it. No advantage is larger than `limit`, in either direction: where all of them are
    /// within it, they and the rewards are what they would be without one, bit for bit. None: there
    /// is no limit.
    pub fn new(baseline: Option<f64>, limit: Option<f64>, rewards: &[Option<f64>]) -> Self {
        let compared = |rewards: Vec<Option<f64>>| Self {
            advantages: Baseline::advantages(baseline, &rewards),
            rewards,
        };
        let Some(limit) = limit.map(|limit| limit.min(LARGEST)) else {
            return compared(rewards.to_vec());
        };
        let representable = |reward: &Option<f64>| reward.map(|r| r.clamp(-LARGEST, LARGEST));
        let free = compared(rewards.iter().map(representable).collect());
        if free.is_within(limit) {
            return free;
        }
        if let Some(baseline) = baseline {
            return free.cut_around(baseline, limit);
        }
        // What is far from the others must not move what they are compared with.
        let centre = middle(free.rewards.iter().flatten().copied().collect());
        let near =
            |reward: Option<f64>| reward.map(|reward| reward.clamp(centre - limit, centre + limit));
        let mut near = compared(free.rewards.into_iter().map(near).collect());
        for advantage in near.advantages.iter_mut().flatten() {
            *advantage = advantage.clamp(-limit, limit);
        }
        near
    }

    fn is_within(&self, limit: f64) -> bool {
        self.advantages
            .iter()
            .flatten()
            .all(|advantage| advantage.abs() <= limit)
    }

    fn cut_around(mut self, baseline: f64, limit: f64) -> Self {
        let pairs = self.advantages.iter_mut().zip(&mut self.rewards);
        for (advantage, reward) in pairs {
            if let (Some(advantage), Some(reward)) = (advantage, reward)
                && advantage.abs() > limit
            {
                *advantage = limit.copysign(*advantage);
                *reward = baseline + *advantage;
            }
        }
        self
    }

    /// The slots whose rewards (as they were given) do not count in full.
    pub fn cut<'a>(&'a self, given: &'a [Option<f64>]) -> impl Iterator<Item = usize> + 'a {
        (0..given.len()).filter(|&slot| self.rewards.get(slot) != Some(&given[slot]))
    }
}

/// The middle one of some rewards; of two, that nearer to 0. One alone is compared with 0.
fn middle(mut rewards: Vec<f64>) -> f64 {
    if rewards.len() < 2 {
        return 0.0;
    }
    rewards.sort_by(f64::total_cmp);
    let upper = rewards[rewards.len() / 2];
    let lower = rewards[(rewards.len() - 1) / 2];
    if lower.abs() <= upper.abs() {
        lower
    } else {
        upper
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Averages after these minibatches, each with its advantages, by the bound that runs use.
    fn learn(minibatches: &[&[f64]]) -> (RewardAverages, Vec<ComparedRewards>) {
        let mut averages = RewardAverages::default();
        let compare = |rewards: &&[f64]| {
            let rewards: Vec<_> = rewards.iter().copied().map(Some).collect();
            let limit = Some(10.0 * averages.scale());
            let compared = ComparedRewards::new(averages.baseline(), limit, &rewards);
            averages.push(&compared, 0.95, true);
            compared
        };
        let compared = minibatches.iter().map(compare).collect();
        (averages, compared)
    }

    fn largest(compared: &[ComparedRewards]) -> f64 {
        let all = compared.iter().flat_map(|one| one.advantages.iter());
        all.flatten().fold(0.0, |most, one| one.abs().max(most))
    }

    #[test]
    fn what_is_within_the_bound_is_untouched_bit_for_bit() {
        let rewards = [Some(0.1), None, Some(7.3), Some(-2.9)];
        for baseline in [None, Some(0.7)] {
            let bounded = ComparedRewards::new(baseline, Some(10.0 + 0.3), &rewards);
            assert_eq!(bounded, ComparedRewards::new(baseline, None, &rewards));
            assert_eq!(bounded.rewards, rewards);
            assert_eq!(
                bounded.advantages,
                Baseline::advantages(baseline, &rewards),
                "as without a bound"
            );
            assert_eq!(bounded.cut(&rewards).count(), 0);
        }
        // Far from 0, but not from each other.
        let far = [Some(4e6), Some(4e6 + 1.0)];
        let bounded = ComparedRewards::new(None, Some(10.0), &far);
        assert_eq!(bounded, ComparedRewards::new(None, None, &far));
    }

    #[test]
    fn one_of_many_that_is_far_away_is_cut_and_the_others_stay() {
        let rewards = [Some(0.5), Some(-1e6), None, Some(1.0)];
        let bounded = ComparedRewards::new(Some(0.25), Some(10.0), &rewards);
        assert_eq!(
            bounded.advantages,
            [Some(0.25), Some(-10.0), None, Some(0.75)]
        );
        assert_eq!(bounded.rewards, [Some(0.5), Some(-9.75), None, Some(1.0)]);
        assert_eq!(bounded.cut(&rewards).collect::<Vec<_>>(), [1]);
    }

    /// An outlier first, in the middle and twice; one success after many zeros.
    #[test]
    fn an_outlier_moves_the_averages_no_further_than_the_bound() {
        for outlier in [-1e6, 1e300, 1e39, -1e39, f64::MAX, f64::MIN] {
            let usual: &[f64] = &[0.0, 1.0, 0.0, 1.0];
            let bad: &[f64] = &[0.0, outlier, 1.0, 0.0];
            let twice: &[f64] = &[outlier, outlier, 1.0, 0.0];
            let alone: &[f64] = &[outlier];
            for first in [bad, twice, alone] {
                for start in [
                    [first, usual, usual, usual],
                    [usual, usual, first, usual],
                    [first, usual, first, usual],
                ] {
                    let run: Vec<&[f64]> = start.into_iter().chain([usual; 60]).collect();
                    let (averages, compared) = learn(&run);
                    let name = format!("{start:?}: {averages:?}");
                    assert!(largest(&compared) <= 200.0, "{name}: {compared:?}");
                    let baseline = averages.baseline().unwrap();
                    assert!((baseline - 0.5).abs() < 0.1, "{name}");
                    assert_eq!(averages.scale(), 1.0, "{name}");
                }
            }
        }
        let zeros: &[f64] = &[0.0; 100];
        let (_, compared) = learn(&[zeros, &[0.0, 1.0]]);
        assert_eq!(
            compared[1].advantages,
            [Some(0.0), Some(1.0)],
            "a first success counts in full"
        );
    }

    #[test]
    fn rewards_that_are_large_by_nature_count_in_full_after_a_few_minibatches() {
        let low = [-5e3, -4e3, -6e3, -5.5e3, -4.5e3, -5e3, -7e3, -3e3];
        let (averages, compared) = learn(&[&low[..]; 8]);
        let last = compared.last().unwrap();
        assert_eq!(last.cut(&low.map(Some)).count(), 0, "{last:?}");
        assert!((averages.baseline().unwrap() + 5e3).abs() < 200.0);
    }

    #[test]
    fn no_number_of_rewards_without_measure_makes_an_advantage_infinite() {
        let wild: Vec<f64> = (0..8)
            .map(|slot| if slot % 2 == 0 { f64::MAX } else { -1e39 })
            .collect();
        let (averages, compared) = learn(&vec![wild.as_slice(); 400]);
        assert!(largest(&compared) <= LARGEST);
        assert!(averages.baseline().unwrap().abs() <= 2.0 * LARGEST);
        assert!(averages.scale() <= LARGEST);
    }

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

//! What the surrogate of `guided` is fitted to, of the rewards that it knows. Must not know which
//! trials they are of.

use serde::{Deserialize, Serialize};

/// How a reward counts beside the others. The unit of rewards never matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scores {
    /// By its rank alone.
    #[default]
    Ranks,
    /// Half by its rank, and half by how far it is from the middle: of the best ones, ranks tell
    /// neither which are much better nor which differ by noise alone.
    RanksAndDistances,
}

impl Scores {
    /// One score for each reward, higher for higher ones.
    pub(super) fn of(self, rewards: &[f64]) -> Vec<f64> {
        let mut sorted = rewards.to_vec();
        sorted.sort_by(f64::total_cmp);
        let ranked = rewards.iter().map(|reward| logit(&sorted, *reward));
        match self {
            Self::Ranks => ranked.collect(),
            Self::RanksAndDistances => {
                let scale = Scale::of(&sorted);
                let both = ranked.zip(rewards);
                both.map(|(rank, reward)| 0.5 * (rank + scale.distance(*reward)))
                    .collect()
            }
        }
    }
}

/// Logit of the rank, with a variance of about one.
fn logit(sorted: &[f64], reward: f64) -> f64 {
    let below = sorted.partition_point(|other| *other < reward);
    let up_to = sorted.partition_point(|other| *other <= reward);
    let quantile = (below + up_to) as f64 / (2 * sorted.len()) as f64;
    // Its standard deviation is π / √3.
    (quantile / (1.0 - quantile)).ln() * 3.0_f64.sqrt() / std::f64::consts::PI
}

/// The middle of rewards, and what is far from it.
struct Scale {
    middle: f64,
    width: f64,
}

impl Scale {
    /// By the upper half: how bad the bad ones are says little of the good ones.
    fn of(sorted: &[f64]) -> Self {
        let quantile = |share: f64| match sorted.len().checked_sub(1) {
            Some(last) => sorted[(last as f64 * share).round() as usize],
            None => 0.0,
        };
        let middle = quantile(0.5);
        let above = quantile(0.9) - middle;
        let below = (middle - quantile(0.1)) / 4.0;
        Self {
            middle,
            width: above.max(below).max(1e-12),
        }
    }

    /// Of one that is far below the middle the logarithm, of one that is far above it 4.
    fn distance(&self, reward: f64) -> f64 {
        let distance = (reward - self.middle) / self.width;
        if distance < -1.0 {
            -1.0 - (-distance).ln()
        } else {
            distance.min(4.0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_do_not_depend_on_the_scale() {
        let given = [0.1, 0.5, 0.5, 0.9];
        let found = Scores::Ranks.of(&given);
        assert_eq!(found[1], found[2]);
        assert!(found[0] < found[1] && found[1] < found[3]);
        assert!((found[0] + found[3]).abs() < 1e-12);
        assert_eq!(found, Scores::Ranks.of(&given.map(|reward| 1e12 * reward)));
        assert_eq!(Scores::Ranks.of(&[3.0]), [0.0]);
        assert!(Scores::Ranks.of(&[]).is_empty());
    }

    #[test]
    fn distances_tell_the_best_apart_and_the_worst_hardly() {
        let given = [-1e9, 0.0, 0.5, 0.51, 0.52, 0.9, 0.91];
        let found = Scores::RanksAndDistances.of(&given);
        assert!(found.is_sorted());
        let ranks = Scores::Ranks.of(&given);
        let steps = |scores: &[f64]| [scores[4] - scores[3], scores[5] - scores[4]];
        let ([near, far], [near_rank, far_rank]) = (steps(&found), steps(&ranks));
        assert!(far / near > far_rank / near_rank);
        assert!(found[0] > -20.0, "{found:?}");
        assert_eq!(
            found,
            Scores::RanksAndDistances.of(&given.map(|reward| 1024.0 * reward))
        );
    }

    #[test]
    fn equal_rewards_are_no_problem() {
        for given in [vec![], vec![0.3], vec![0.3; 9], vec![1e15, -1e15]] {
            let found = Scores::RanksAndDistances.of(&given);
            assert!(found.iter().all(|score| score.is_finite()), "{given:?}");
        }
    }
}

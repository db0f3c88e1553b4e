//! Buckets of the histograms, finest where the values of a healthy search lie. Must not know who
//! observes them.

use crate::child::RewardScale;

impl RewardScale {
    /// Upper bounds of the buckets of `reward`, ascending.
    pub(super) fn buckets(self) -> Vec<f64> {
        match self {
            Self::Accuracy { exponent, has_cost } => {
                let accuracies = (1..=20).map(|step| (f64::from(step) / 20.0).powf(exponent));
                let cheap = [1.25, 1.5, 2.0, 5.0, 10.0, 100.0].into_iter();
                accuracies.chain(cheap.filter(|_| has_cost)).collect()
            }
            Self::Perplexity { constant, exponent } => {
                // Perplexities in descending order: rewards ascend. Finest between 40 and 200,
                // where word-level models end.
                let decades = |from: f64, to: f64, steps: i32| {
                    (0..steps).map(move |step| {
                        from * (to / from).powf(f64::from(step) / f64::from(steps))
                    })
                };
                let perplexities = decades(1e5, 200.0, 10)
                    .chain(decades(200.0, 40.0, 14))
                    .chain(decades(40.0, 1.0, 12))
                    .chain([1.0]);
                perplexities
                    .map(|perplexity| constant / perplexity.powf(exponent))
                    .collect()
            }
            Self::Any => {
                let below = [-1000.0, -100.0, -10.0, -1.0, -0.1, 0.0];
                let above = [2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 1000.0, 10_000.0];
                below
                    .into_iter()
                    .chain((1..=20).map(|step| f64::from(step) / 20.0))
                    .chain(above)
                    .collect()
            }
        }
    }
}

/// Seconds of a child on its lane: 0.1 s to 7 days.
pub(super) fn durations() -> Vec<f64> {
    vec![
        0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0, 180.0, 600.0, 1800.0, 3600.0, 10_800.0, 43_200.0,
        86_400.0, 259_200.0, 604_800.0,
    ]
}

/// Seconds of a commit with fsync: 0.5 ms (a good SSD) to 10 s (a failing disk).
pub(super) fn commits() -> Vec<f64> {
    vec![
        0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
    ]
}

/// Updates between pull and push.
pub(super) fn staleness() -> Vec<f64> {
    vec![0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rewards_of_every_kind_find_a_bucket_of_their_own() {
        for scale in [
            RewardScale::Accuracy {
                exponent: 3.0,
                has_cost: false,
            },
            RewardScale::Perplexity {
                constant: 80.0,
                exponent: 2.0,
            },
            RewardScale::Any,
        ] {
            let buckets = scale.buckets();
            assert!(buckets.is_sorted_by(|a, b| a < b), "{scale:?}: {buckets:?}");
        }
        let bucket = |scale: RewardScale, reward: f64| {
            scale.buckets().iter().position(|bound| reward <= *bound)
        };
        // Accuracies that differ by 5 points have different buckets, and so have perplexities that
        // differ by a sixth.
        let cube = RewardScale::Accuracy {
            exponent: 3.0,
            has_cost: false,
        };
        assert!(
            bucket(cube, 0.88_f64.powi(3)) < bucket(cube, 0.93_f64.powi(3))
                && bucket(cube, 1.0).is_some()
        );
        let perplexity = RewardScale::Perplexity {
            constant: 80.0,
            exponent: 2.0,
        };
        let at = |value: f64| bucket(perplexity, 80.0 / (value * value));
        assert!(
            at(10_000.0) < at(120.0)
                && at(120.0) < at(100.0)
                && at(100.0) < at(82.0)
                && at(82.0) < at(65.0)
                && at(1.0).is_some()
        );
        // A negative loss as reward, and a large score.
        assert!(
            bucket(RewardScale::Any, -3.0) < bucket(RewardScale::Any, -0.5)
                && bucket(RewardScale::Any, 700.0).is_some()
        );
    }
}

//! The learning rate of each step. Knows nothing but the settings.

use super::{ChildSettings, Schedule};

/// A step of a training: which of how many in its epoch, and which epoch of how many. Both count
/// from 0.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    pub step: usize,
    pub steps: usize,
    pub epoch: usize,
    pub epochs: usize,
}

impl Moment {
    /// The share of the training that is done in the middle of this step.
    fn middle(self) -> f64 {
        let of_epoch = (self.step as f64 + 0.5) / self.steps.max(1) as f64;
        (self.epoch as f64 + of_epoch) / self.epochs.max(1) as f64
    }
}

impl ChildSettings {
    /// The learning rate of a step of a child whose first is `rate` (of a triangle: its highest).
    /// But for a triangle it is the same in all of an epoch.
    pub fn learning_rate_at(&self, rate: f64, moment: Moment) -> f64 {
        let Moment { epoch, epochs, .. } = moment;
        let done = epoch as f64 / epochs.max(1) as f64;
        let factor = match self.schedule {
            Schedule::Constant => 1.0,
            Schedule::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * done).cos()),
            Schedule::Decay => self
                .schedule_factor
                .powf((epoch + 1).saturating_sub(self.schedule_after) as f64),
            Schedule::Steps => {
                let passed = self
                    .schedule_steps
                    .iter()
                    .filter(|&&step| done >= step)
                    .count();
                (0..passed).fold(1.0, |factor, _| factor * self.schedule_factor)
            }
            Schedule::Triangular => {
                let (done, peak) = (moment.middle(), self.schedule_warm_up);
                if done < peak {
                    done / peak
                } else {
                    (1.0 - done) / (1.0 - peak)
                }
            }
        };
        rate * factor
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(schedule: Schedule, epochs: usize) -> Vec<f64> {
        let settings = ChildSettings {
            schedule,
            ..ChildSettings::default()
        };
        (0..epochs)
            .map(|epoch| {
                let at = |step| {
                    let moment = Moment {
                        step,
                        steps: 7,
                        epoch,
                        epochs,
                    };
                    settings.learning_rate_at(0.1, moment)
                };
                assert_eq!(at(0), at(6), "one rate an epoch");
                at(0)
            })
            .collect()
    }

    fn assert_close(found: &[f64], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        for (a, b) in found.iter().zip(expected) {
            assert!((a - b).abs() < 1e-12, "{found:?} against {expected:?}");
        }
    }

    #[test]
    fn constant() {
        assert_close(&rates(Schedule::Constant, 3), &[0.1, 0.1, 0.1]);
    }

    #[test]
    fn half_a_cosine_reaches_zero_at_the_end_of_the_last_epoch() {
        // torch: CosineAnnealingLR(T_max=4) gives 0.1, 0.0853553, 0.05, 0.0146447, and then 0
        let half_root = 0.5f64.sqrt();
        assert_close(
            &rates(Schedule::Cosine, 4),
            &[
                0.1,
                0.05 * (1.0 + half_root),
                0.05,
                0.05 * (1.0 - half_root),
            ],
        );
    }

    #[test]
    fn steps_are_fractions_of_all_epochs() {
        // by default at a half and three quarters, times 0.1 each
        assert_close(
            &rates(Schedule::Steps, 8),
            &[0.1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.001, 0.001],
        );
        assert_close(&rates(Schedule::Steps, 1), &[0.1]);
    }

    #[test]
    fn a_triangle_rises_and_falls_step_by_step() {
        let settings = ChildSettings {
            schedule: Schedule::Triangular,
            schedule_warm_up: 0.25,
            ..ChildSettings::default()
        };
        // Two epochs of four steps: the middles of eight.
        let rates: Vec<f64> = (0..8)
            .map(|number| {
                let moment = Moment {
                    step: number % 4,
                    steps: 4,
                    epoch: number / 4,
                    epochs: 2,
                };
                settings.learning_rate_at(0.6, moment)
            })
            .collect();
        assert_close(&rates, &[0.15, 0.45, 0.55, 0.45, 0.35, 0.25, 0.15, 0.05]);
        let without = ChildSettings {
            schedule_warm_up: 0.0,
            ..settings
        };
        let only = Moment {
            step: 0,
            steps: 1,
            epoch: 0,
            epochs: 1,
        };
        assert_close(&[without.learning_rate_at(0.6, only)], &[0.3]);
    }
}

//! The learning rate of each epoch. Knows nothing but the settings.

use super::{ChildSettings, Schedule};

impl ChildSettings {
    /// The learning rate of an epoch, counted from 0, of a child that trains for `epochs` and
    /// starts at `rate`.
    pub fn epoch_learning_rate(&self, rate: f64, epoch: usize, epochs: usize) -> f64 {
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
            .map(|epoch| settings.epoch_learning_rate(0.1, epoch, epochs))
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
}

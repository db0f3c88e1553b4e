//! The `[restart]` section, and the restart intensity that it sets (as in Erlang's OTP): at most so
//! many restarts within a window, each after a longer pause. Pure: must not know actors nor any
//! clock.

use crate::random::{Key, Purpose};
use rand::Rng;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::time::Duration;

/// What happens when an actor falls more often than it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Beyond {
    /// The run stops: state saved, exit code 1, the reason printed.
    Stop,
    /// The device goes out of use; the run goes on with the rest.
    Isolate,
}

/// `[restart.child_trainer]`, `[restart.controller]`, `[restart.parameter_shard]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ActorRestart {
    pub max_restarts: usize,
    pub window_seconds: f64,
    pub backoff_first_seconds: f64,
    pub backoff_last_seconds: f64,
    /// Unset: a device is isolated; controllers and shards stop the run, which cannot go on without
    /// them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beyond: Option<Beyond>,
    pub freeze_seconds: f64,
}

/// `[restart]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RestartSettings {
    pub child_trainer: ActorRestart,
    pub controller: ActorRestart,
    pub parameter_shard: ActorRestart,
}

impl Default for ActorRestart {
    fn default() -> Self {
        Self {
            max_restarts: 5,
            window_seconds: 3600.0,
            backoff_first_seconds: 1.0,
            backoff_last_seconds: 60.0,
            beyond: None,
            freeze_seconds: 600.0,
        }
    }
}

const MOST_RESTARTS: usize = 1_000_000;
const MOST_SECONDS: f64 = 1e9;

impl RestartSettings {
    /// What cannot work in this section: (key, what would be valid).
    pub fn problems(&self) -> Vec<(String, String)> {
        let kinds = [
            ("child_trainer", &self.child_trainer),
            ("controller", &self.controller),
            ("parameter_shard", &self.parameter_shard),
        ];
        let mut problems = Vec::new();
        for (kind, settings) in kinds {
            let mut problem =
                |key: &str, valid: &str| problems.push((format!("{kind}.{key}"), valid.to_owned()));
            let seconds = |seconds: f64| (0.0..=MOST_SECONDS).contains(&seconds);
            if settings.max_restarts > MOST_RESTARTS {
                problem("max_restarts", "must be at most 1000000 restarts");
            }
            if settings.window_seconds <= 0.0 || !seconds(settings.window_seconds) {
                problem(
                    "window_seconds",
                    "must be above 0 seconds, for example 3600",
                );
            }
            if !seconds(settings.backoff_first_seconds) {
                problem(
                    "backoff_first_seconds",
                    "must be 0 seconds or more, for example 1",
                );
            }
            if !seconds(settings.backoff_last_seconds)
                || settings.backoff_last_seconds < settings.backoff_first_seconds
            {
                problem(
                    "backoff_last_seconds",
                    "must be at least backoff_first_seconds, for example 60",
                );
            }
            if settings.freeze_seconds < 1.0 || !seconds(settings.freeze_seconds) {
                problem(
                    "freeze_seconds",
                    "must be 1 second or more, for example 600",
                );
            }
            if kind != "child_trainer" && settings.beyond == Some(Beyond::Isolate) {
                problem(
                    "beyond",
                    "must be \"stop\": a run cannot go on without its controllers and parameter shards",
                );
            }
        }
        problems
    }
}

/// The restarts of one actor, or of all that share a device.
#[derive(Debug, Default)]
pub struct Intensity {
    /// When, in seconds of the caller's clock, the oldest first.
    recent: VecDeque<f64>,
    total: u64,
}

impl Intensity {
    /// Counts a restart at `now`: how long to wait before it, or None: that was one too many. `key`
    /// names the jitter's random stream.
    pub fn restart(&mut self, now: f64, settings: &ActorRestart, key: Key) -> Option<Duration> {
        while self
            .recent
            .front()
            .is_some_and(|then| now - then > settings.window_seconds)
        {
            self.recent.pop_front();
        }
        if self.recent.len() >= settings.max_restarts {
            return None;
        }
        let doublings = self.recent.len().min(60) as i32;
        let pause = (settings.backoff_first_seconds * 2.0_f64.powi(doublings))
            .min(settings.backoff_last_seconds);
        self.recent.push_back(now);
        self.total += 1;
        let draw = f64::from(
            Key {
                minibatch: self.total,
                ..key
            }
            .stream(Purpose::Backoff)
            .next_u32(),
        ) / 2.0_f64.powi(32);
        Some(Duration::from_secs_f64(pause * (0.5 + 0.5 * draw)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> ActorRestart {
        ActorRestart {
            max_restarts: 4,
            window_seconds: 100.0,
            backoff_first_seconds: 2.0,
            backoff_last_seconds: 7.0,
            ..Default::default()
        }
    }

    #[test]
    fn pauses_double_up_to_the_last_with_jitter_from_the_seed() {
        let mut intensity = Intensity::default();
        let mut again = Intensity::default();
        for (now, longest) in [(0.0, 2.0), (1.0, 4.0), (2.0, 7.0), (3.0, 7.0)] {
            let pause = intensity.restart(now, &settings(), Key::seed(3)).unwrap();
            assert!(
                (longest / 2.0..=longest).contains(&pause.as_secs_f64()),
                "{pause:?}"
            );
            assert_eq!(again.restart(now, &settings(), Key::seed(3)), Some(pause));
        }
        assert_eq!(intensity.restart(4.0, &settings(), Key::seed(3)), None);
    }

    #[test]
    fn what_left_the_window_is_forgotten() {
        let mut intensity = Intensity::default();
        for now in 0..4 {
            intensity
                .restart(f64::from(now), &settings(), Key::seed(3))
                .unwrap();
        }
        assert!(
            intensity
                .restart(100.0, &settings(), Key::seed(3))
                .is_none()
        );
        let pause = intensity.restart(500.0, &settings(), Key::seed(3)).unwrap();
        assert!(
            pause.as_secs_f64() <= 2.0,
            "the pause starts anew: {pause:?}"
        );
    }

    #[test]
    fn impossible_settings_are_named() {
        let mut settings = RestartSettings::default();
        assert_eq!(settings.problems(), []);
        settings.controller.beyond = Some(Beyond::Isolate);
        settings.child_trainer.backoff_last_seconds = 0.5;
        settings.parameter_shard.freeze_seconds = 0.0;
        let keys: Vec<String> = settings
            .problems()
            .into_iter()
            .map(|(key, _)| key)
            .collect();
        assert_eq!(
            keys,
            [
                "child_trainer.backoff_last_seconds",
                "controller.beyond",
                "parameter_shard.freeze_seconds"
            ]
        );
    }
}

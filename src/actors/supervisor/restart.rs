//! The `[restart]` section, and the restart intensity that it sets (as in Erlang's OTP): at most so
//! many restarts within a window, each after a longer pause. Pure: must not know actors nor any
//! clock.

use crate::random::{Key, Purpose};
use rand::Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use smart_default::SmartDefault;
use std::collections::VecDeque;
use std::time::Duration;

/// What happens when an actor fails more often than it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Beyond {
    /// The run stops: state saved, exit code 1, the reason printed.
    Stop,
    /// The device goes out of use; the run goes on with the rest.
    Isolate,
}

const MAX_RESTARTS: usize = 1_000_000;
const MAX_SECONDS: f64 = 1e9;

/// `[restart.child_trainer]`, `[restart.controller]`, `[restart.parameter_shard]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema, SmartDefault)]
#[serde(default)]
pub struct ActorRestart {
    /// How often they may be rebuilt within window_seconds.
    #[default = 5]
    #[schemars(
        range(max = MAX_RESTARTS),
        extend("x-valid" = format!("must be at most {MAX_RESTARTS} restarts"))
    )]
    pub max_restarts: usize,
    /// Length of that window.
    #[default = 3600.0]
    #[schemars(
        range(max = MAX_SECONDS),
        extend("exclusiveMinimum" = 0, "x-valid" = "must be above 0 seconds, for example 3600")
    )]
    pub window_seconds: f64,
    /// Longest pause before the first rebuild; it doubles with each one in the window.
    #[default = 1.0]
    #[schemars(
        range(min = 0, max = MAX_SECONDS),
        extend("x-valid" = "must be 0 seconds or more, for example 1")
    )]
    pub backoff_first_seconds: f64,
    /// The longest pause of all.
    #[default = 60.0]
    #[schemars(range(min = 0, max = MAX_SECONDS), extend("x-valid" = LONGEST_PAUSE))]
    pub backoff_last_seconds: f64,
    /// Beyond the limit: stop the run, or go on without the device (child trainers alone).
    #[schemars(extend("x-unset" = "a device is isolated; controllers and shards stop the run"))]
    pub beyond: Option<Beyond>,
    /// What has not moved for so long has frozen.
    #[default = 600.0]
    #[schemars(
        range(min = 1, max = MAX_SECONDS),
        extend("x-valid" = "must be 1 second or more, for example 600")
    )]
    pub freeze_seconds: f64,
}

const LONGEST_PAUSE: &str = "must be at least backoff_first_seconds, for example 60";

/// `[restart]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RestartSettings {
    /// The trainers of one device. A child without a training step for freeze_seconds has frozen:
    /// its lane is given up, and it is tried again.
    pub child_trainer: ActorRestart,
    /// The controllers. A computation that takes freeze_seconds has frozen.
    pub controller: ActorRestart,
    /// The parameter shards. When the actors' thread stands still for freeze_seconds, the process
    /// ends with exit code 1.
    pub parameter_shard: ActorRestart,
}

impl RestartSettings {
    /// What cannot work together among this section's keys: (key, what would be valid). Each value
    /// alone is as its declaration says.
    pub fn problems(&self) -> Vec<(String, String)> {
        let actors = [
            ("child_trainer", &self.child_trainer),
            ("controller", &self.controller),
            ("parameter_shard", &self.parameter_shard),
        ];
        let mut problems = Vec::new();
        for (actor, settings) in actors {
            let mut report = |key: &str, valid: &str| {
                problems.push((format!("{actor}.{key}"), valid.to_owned()));
            };
            if settings.backoff_last_seconds < settings.backoff_first_seconds {
                report("backoff_last_seconds", LONGEST_PAUSE);
            }
            if actor != "child_trainer" && settings.beyond == Some(Beyond::Isolate) {
                report(
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
    /// When each restart within the window was, in seconds of the caller's clock, the oldest first.
    recent: VecDeque<f64>,
    /// Restarts ever: each has jitter of its own.
    total: u64,
}

impl Intensity {
    /// Counts a restart at `now`, in seconds. Returns how long to wait before it; None: it would be
    /// one too many. `key` names the jitter's random stream.
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
        let keys: Vec<String> = settings
            .problems()
            .into_iter()
            .map(|(key, _)| key)
            .collect();
        assert_eq!(
            keys,
            ["child_trainer.backoff_last_seconds", "controller.beyond"]
        );
    }
}

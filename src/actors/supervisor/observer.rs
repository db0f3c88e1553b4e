//! What a search shows while it runs: the events that the Supervisor reports and the sums that come
//! with them. Must not know how they are shown.

use crate::child::{Epoch, Outcome};
use std::time::Instant;

/// Something that a person who watches the search wants to see.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// A child began to train on this lane.
    ChildStarted {
        trial: u64,
        lane: &'a str,
        summary: String,
    },
    ChildEpoch {
        trial: u64,
        epoch: &'a Epoch,
    },
    /// A child's outcome is on disk.
    ChildEnded {
        trial: u64,
        /// What it is, where it was not sampled: the name of an enqueued architecture, or the trial
        /// that it evaluates again.
        name: Option<&'a str>,
        outcome: &'a Outcome,
        seconds: f64,
        /// The trial whose reward it took, untrained.
        reused_from: Option<u64>,
    },
    /// Anything else, in words.
    Note(String),
}

/// The state of the search. Enqueued architectures and trials that are tried again count among the
/// running and queued ones only.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Progress {
    pub trials: u64,
    /// Of those sampled; so for the rewards.
    pub completed: u64,
    pub pruned: u64,
    pub failed: u64,
    /// Confirmations that have ended.
    pub confirmed: u64,
    pub running: usize,
    pub queued: usize,
    pub best_reward: Option<f64>,
    pub best_metric: Option<f64>,
    pub mean_reward: Option<f64>,
    pub baseline: Option<f64>,
    /// Finished children per hour, in this process.
    pub per_hour: Option<f64>,
    pub seconds_left: Option<f64>,
}

impl Progress {
    /// Trials that have their outcome, of `trials`.
    pub fn finished(&self) -> u64 {
        self.completed + self.pruned + self.failed + self.confirmed
    }
}

/// Receives events on the actors' thread; must return quickly.
pub trait Observer: Send {
    fn event(&mut self, event: Event, progress: &Progress);
}

/// Sums over the finished trials of the whole run that were sampled.
pub(super) struct Tally {
    trials: u64,
    completed: u64,
    pruned: u64,
    failed: u64,
    confirmed: u64,
    rewards: f64,
    best_reward: Option<f64>,
    best_metric: Option<f64>,
    started: Instant,
    /// Trials that finished in this process.
    finished_here: u64,
}

impl Tally {
    /// Continues from what earlier processes finished: rewards of those sampled, how many of them
    /// were pruned or failed, and confirmations.
    pub(super) fn new(
        trials: u64,
        rewards: &[f64],
        pruned: u64,
        failed: u64,
        confirmed: u64,
        best_metric: Option<f64>,
    ) -> Self {
        Self {
            trials,
            confirmed,
            completed: rewards.len() as u64,
            pruned,
            failed,
            rewards: rewards.iter().sum(),
            best_reward: rewards.iter().copied().reduce(f64::max),
            best_metric,
            started: Instant::now(),
            finished_here: 0,
        }
    }

    /// `run.trials` has changed.
    pub(super) fn set_trials(&mut self, trials: u64) {
        self.trials = trials;
    }

    pub(super) fn add(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Completed { reward, metric, .. } => {
                self.completed += 1;
                self.rewards += reward;
                if self.best_reward.is_none_or(|best| *reward > best) {
                    self.best_reward = Some(*reward);
                    self.best_metric = Some(*metric);
                }
            }
            Outcome::Pruned { .. } => self.pruned += 1,
            Outcome::Failed { .. } => self.failed += 1,
            Outcome::Stopped => return,
        }
        self.finished_here += 1;
    }

    /// A confirmation has ended.
    pub(super) fn add_confirmation(&mut self, outcome: &Outcome) {
        if *outcome != Outcome::Stopped {
            self.confirmed += 1;
            self.finished_here += 1;
        }
    }

    /// Trials that have their outcome.
    pub(super) fn finished(&self) -> u64 {
        self.completed + self.pruned + self.failed + self.confirmed
    }

    pub(super) fn progress(
        &self,
        running: usize,
        queued: usize,
        baseline: Option<f64>,
    ) -> Progress {
        let seconds = self.started.elapsed().as_secs_f64();
        let per_second =
            (self.finished_here > 0 && seconds > 0.0).then(|| self.finished_here as f64 / seconds);
        let left = self.trials.saturating_sub(self.finished()) as f64;
        Progress {
            // It may have been lowered below what was evaluated by then.
            trials: self.trials.max(self.finished()),
            completed: self.completed,
            pruned: self.pruned,
            failed: self.failed,
            confirmed: self.confirmed,
            running,
            queued,
            best_reward: self.best_reward,
            best_metric: self.best_metric,
            mean_reward: (self.completed > 0).then(|| self.rewards / self.completed as f64),
            baseline,
            per_hour: per_second.map(|rate| rate * 3600.0),
            seconds_left: per_second.map(|rate| left / rate),
        }
    }
}

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
        /// The name of an enqueued architecture; None: it was sampled.
        name: Option<&'a str>,
        outcome: &'a Outcome,
        seconds: f64,
        /// The trial whose reward it took, untrained.
        reused_from: Option<u64>,
    },
    /// Anything else, in words.
    Note(String),
}

/// The state of the search. Enqueued architectures count among the running and queued ones only.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Progress {
    pub trials: u64,
    pub completed: u64,
    pub pruned: u64,
    pub failed: u64,
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
    /// Trials that have their outcome.
    pub fn finished(&self) -> u64 {
        self.completed + self.pruned + self.failed
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
    rewards: f64,
    best_reward: Option<f64>,
    best_metric: Option<f64>,
    started: Instant,
    /// Trials that finished in this process.
    finished_here: u64,
}

impl Tally {
    /// Continues from what earlier processes finished: their rewards, and how many were pruned or
    /// failed.
    pub(super) fn new(
        trials: u64,
        rewards: &[f64],
        pruned: u64,
        failed: u64,
        best_metric: Option<f64>,
    ) -> Self {
        Self {
            trials,
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

    /// Trials that have their outcome.
    pub(super) fn finished(&self) -> u64 {
        self.completed + self.pruned + self.failed
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
            trials: self.trials,
            completed: self.completed,
            pruned: self.pruned,
            failed: self.failed,
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

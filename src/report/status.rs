//! The status of a run as data, for `netwright status` and `/api/status`. Must not know how it is
//! shown.

use super::leaderboard::{again, summary};
use super::monitor::RunMonitor;
use crate::journal::{Confirmed, FinalEvaluation, JournalError, Life, Reader, Suspect, TrialRow};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Number of newest events in a status.
const EVENTS: usize = 5;

/// The status of a run. Its JSON is what `netwright status --json` prints.
#[derive(Debug, Serialize)]
pub struct Status {
    pub run: PathBuf,
    /// Whether a process works on the run.
    pub life: Life,
    /// Trials that the run is to have, from its config.toml.
    pub trials: Option<u64>,
    #[serde(flatten)]
    pub totals: RunTotals,
    pub best_trial: Option<u64>,
    pub best_metric: Option<f64>,
    /// Trials whose network was evaluated again to confirm it, the best mean reward first.
    pub confirmed: Vec<Confirmed>,
    /// Trials that were enqueued rather than sampled.
    pub baselines: Vec<Baseline>,
    pub seconds_left: Option<f64>,
    /// The lanes of the process that works on the run, or of the last one.
    pub lanes: Vec<Lane>,
    pub running_trials: Vec<RunningTrial>,
    /// Trials that run alone, because processes died while they ran.
    pub suspects: Vec<Suspect>,
    pub events: Vec<Event>,
    /// What a retraining came to; not there in another run, and before its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub final_evaluation: Option<FinalEvaluation>,
}

/// Sums over the trials of a run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct RunTotals {
    pub sampled: u64,
    pub queued: u64,
    pub running: u64,
    pub completed: u64,
    /// Trials that early stopping has ended.
    pub pruned: u64,
    pub failed: u64,
    pub stopped: u64,
    /// Trials that were enqueued rather than sampled. They are also counted as queued, running or
    /// stopped, but never as sampled, completed, pruned
    /// or failed.
    pub enqueued: u64,
    /// Trials that evaluate one of the best networks again, to confirm it, and those of them that
    /// have their outcome; they count as the enqueued ones do.
    pub confirmations: u64,
    pub confirmations_finished: u64,
    /// The reward of the first trial by rank, as it was when it was sampled; so `best_trial` and
    /// `best_metric`.
    pub best_reward: Option<f64>,
    pub mean_reward: Option<f64>,
    /// The baseline that the last sequenced minibatch was compared with.
    pub baseline: Option<f64>,
    /// Finished trials per hour, measured over the newest hundred trials that this process, or the
    /// last one, has finished.
    pub children_per_hour: Option<f64>,
}

/// A lane and its device.
#[derive(Debug, Serialize)]
pub struct Lane {
    pub name: String,
    pub device: String,
}

/// A trial that was enqueued to compare others with.
#[derive(Debug, Serialize)]
pub struct Baseline {
    pub name: String,
    pub trial: u64,
    pub status: String,
    pub reward: Option<f64>,
    pub metric: Option<f64>,
    pub error: Option<String>,
}

/// A trial in training.
#[derive(Debug, Serialize)]
pub struct RunningTrial {
    pub trial: u64,
    pub device: Option<String>,
    pub epoch: Option<u64>,
    pub metric: Option<f64>,
    pub architecture: String,
}

/// An event of the run: its time (ISO 8601), kind and text.
#[derive(Debug, Serialize)]
pub struct Event {
    pub at: String,
    pub kind: String,
    pub text: String,
}

impl Status {
    /// Trials that have an outcome, of those that the run is to have.
    pub fn finished(&self) -> u64 {
        let totals = &self.totals;
        totals.completed + totals.pruned + totals.failed + totals.confirmations_finished
    }

    /// Reads the status of the run in `dir`.
    ///
    /// # Errors
    /// When the run cannot be read.
    pub fn read(dir: &Path) -> Result<Self, JournalError> {
        let mut monitor = RunMonitor::new(dir);
        monitor.update()?;
        Self::of(&monitor)
    }

    /// The status at the monitor's last update. Only the trials in training are read anew.
    pub(super) fn of(monitor: &RunMonitor) -> Result<Self, JournalError> {
        let state = &monitor.state;
        let running_trials = match monitor.reader() {
            Some(reader) => reader
                .running()?
                .iter()
                .map(|row| running_trial(reader, row))
                .collect::<Result<_, _>>()?,
            None => Vec::new(),
        };
        let (suspects, final_evaluation) = match monitor.reader() {
            Some(reader) => (reader.suspects()?, reader.final_evaluation()?),
            None => (Vec::new(), None),
        };
        let series = &state.series;
        let best = state.best.as_ref();
        let left = state
            .facts
            .trials
            .map(|trials| trials.saturating_sub(state.finished()) as f64);
        let events = state.events.iter().take(EVENTS).rev().cloned();
        let baselines = state.enqueued.iter().map(|row| Baseline {
            name: row.enqueued.clone().unwrap_or_default(),
            trial: row.id,
            status: row.status.clone(),
            reward: row.reward,
            metric: row.metric,
            error: row.error.clone(),
        });
        Ok(Self {
            run: state.dir.clone(),
            life: state.life.clone().unwrap_or(Life::Interrupted),
            trials: state.facts.trials,
            totals: RunTotals {
                sampled: series.sampled(),
                queued: state.queued,
                running: state.running.len() as u64,
                completed: series.completed,
                pruned: series.pruned,
                failed: series.failed,
                stopped: state.stopped,
                enqueued: state.enqueued.len() as u64,
                confirmations: state.confirmations.before + state.confirmations.current,
                confirmations_finished: state.confirmations.finished,
                best_reward: best.and_then(|row| row.reward),
                mean_reward: series.mean(),
                baseline: state.baseline,
                children_per_hour: state.per_hour,
            },
            best_trial: best.map(|row| row.id),
            best_metric: best.and_then(|row| row.metric),
            confirmed: state.confirmed.clone(),
            baselines: baselines.collect(),
            seconds_left: left
                .zip(state.per_hour)
                .map(|(left, rate)| left / rate * 3600.0),
            lanes: state
                .lanes
                .iter()
                .cloned()
                .map(|(name, device)| Lane { name, device })
                .collect(),
            running_trials,
            suspects,
            final_evaluation,
            events: events
                .map(|(at, kind, text)| Event { at, kind, text })
                .collect(),
        })
    }
}

fn running_trial(reader: &Reader, row: &TrialRow) -> Result<RunningTrial, JournalError> {
    let last = reader.last_epoch(row.id)?;
    let label = row.enqueued.clone().or(again(row.confirms, row.retry_of));
    let label = label.map_or_else(String::new, |label| format!("{label}: "));
    Ok(RunningTrial {
        trial: row.id,
        device: row.device.clone(),
        epoch: last.as_ref().map(|epoch| epoch.epoch),
        metric: last.and_then(|epoch| epoch.metric),
        architecture: label + &summary(&row.architecture),
    })
}

//! Where a run stands, as data. Must not know how it is shown.

use super::leaderboard::summary;
use super::watch::Watch;
use crate::journal::{JournalError, Life, Reader, TrialRow};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Newest events that are told.
const EVENTS: usize = 5;

#[derive(Debug, Serialize)]
pub struct Status {
    pub run: PathBuf,
    /// Whether a process works on it.
    pub life: Life,
    /// Trials that the run is to have, from its config.toml.
    pub trials: Option<u64>,
    #[serde(flatten)]
    pub totals: RunTotals,
    pub best_trial: Option<u64>,
    pub best_metric: Option<f64>,
    /// Architectures that were enqueued rather than sampled.
    pub baselines: Vec<Baseline>,
    pub seconds_left: Option<f64>,
    /// Where children train, of this process or the last one.
    pub lanes: Vec<Lane>,
    pub running_trials: Vec<Running>,
    pub events: Vec<Event>,
}

/// Sums over the trials of a run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct RunTotals {
    pub sampled: u64,
    pub queued: u64,
    pub running: u64,
    pub completed: u64,
    pub failed: u64,
    pub stopped: u64,
    /// Architectures that were enqueued rather than sampled. They count among the queued, running
    /// and stopped ones alone.
    pub enqueued: u64,
    pub best_reward: Option<f64>,
    pub mean_reward: Option<f64>,
    /// The baseline that the last sequenced minibatch was compared with.
    pub baseline: Option<f64>,
    /// Finished trials per hour, over the time between the first and the last of the newest hundred
    /// that this process, or the last one, has finished.
    pub children_per_hour: Option<f64>,
}

#[derive(Debug, Serialize)]
pub struct Lane {
    pub name: String,
    pub device: String,
}

/// An enqueued architecture, to compare with.
#[derive(Debug, Serialize)]
pub struct Baseline {
    pub name: String,
    pub trial: u64,
    pub status: String,
    pub reward: Option<f64>,
    pub metric: Option<f64>,
    pub error: Option<String>,
}

#[derive(Debug, Serialize)]
pub struct Running {
    pub trial: u64,
    pub device: Option<String>,
    pub epoch: Option<u64>,
    pub metric: Option<f64>,
    pub architecture: String,
}

#[derive(Debug, Serialize)]
pub struct Event {
    pub at: String,
    pub kind: String,
    pub text: String,
}

impl Status {
    /// Reads it from the run in `dir`.
    ///
    /// # Errors
    /// When the run cannot be read.
    pub fn read(dir: &Path) -> Result<Self, JournalError> {
        let mut watch = Watch::new(dir);
        watch.update()?;
        Self::of(&watch)
    }

    /// Of a run that is watched; asks the journal for who is at work alone.
    pub(super) fn of(watch: &Watch) -> Result<Self, JournalError> {
        let state = &watch.state;
        let running_trials = match watch.reader() {
            Some(reader) => reader
                .running()?
                .iter()
                .map(|row| running_trial(reader, row))
                .collect::<Result<_, _>>()?,
            None => Vec::new(),
        };
        let (series, best) = (&state.series, state.best.as_ref());
        let left = state
            .facts
            .trials
            .map(|trials| trials.saturating_sub(series.completed + series.failed) as f64);
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
                failed: series.failed,
                stopped: state.stopped,
                enqueued: state.enqueued.len() as u64,
                best_reward: best.and_then(|row| row.reward),
                mean_reward: series.mean(),
                baseline: state.baseline,
                children_per_hour: state.per_hour,
            },
            best_trial: best.map(|row| row.id),
            best_metric: best.and_then(|row| row.metric),
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
            events: events
                .map(|(at, kind, text)| Event { at, kind, text })
                .collect(),
        })
    }
}

fn running_trial(reader: &Reader, row: &TrialRow) -> Result<Running, JournalError> {
    let last = reader.last_epoch(row.id)?;
    Ok(Running {
        trial: row.id,
        device: row.device.clone(),
        epoch: last.as_ref().map(|epoch| epoch.epoch),
        metric: last.and_then(|epoch| epoch.metric),
        architecture: row
            .enqueued
            .iter()
            .map(|name| format!("{name}: "))
            .collect::<String>()
            + &summary(&row.architecture),
    })
}

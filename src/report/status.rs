//! Where a run stands, as data. Must not know how it is shown.

use super::leaderboard::summary;
use crate::journal::{JournalError, Life, Reader, RunTotals, TrialRow};
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
    pub running_trials: Vec<Running>,
    pub events: Vec<Event>,
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
    pub fn read(dir: &Path, reader: &Reader) -> Result<Self, JournalError> {
        let totals = reader.totals()?;
        let best = reader.best()?;
        let trials = super::facts::RunFacts::read(dir).trials;
        let left = trials.map(|trials| trials.saturating_sub(totals.completed + totals.failed) as f64);
        let seconds_left = left.zip(totals.children_per_hour).map(|(left, rate)| left / rate * 3600.0);
        let running = reader.running()?;
        let running_trials = running.iter().map(|row| running_trial(reader, row)).collect::<Result<_, _>>()?;
        let events = reader.events(EVENTS)?;
        let baselines = reader.enqueued()?.into_iter().map(|row| Baseline {
            name: row.enqueued.unwrap_or_default(),
            trial: row.id,
            status: row.status,
            reward: row.reward,
            metric: row.metric,
            error: row.error,
        });
        Ok(Self {
            run: dir.to_owned(),
            life: reader.life()?,
            trials,
            totals,
            best_trial: best.as_ref().map(|row| row.id),
            best_metric: best.and_then(|row| row.metric),
            baselines: baselines.collect(),
            seconds_left,
            running_trials,
            events: events.into_iter().map(|(at, kind, text)| Event { at, kind, text }).collect(),
        })
    }
}

fn running_trial(reader: &Reader, row: &TrialRow) -> Result<Running, JournalError> {
    let last = reader.epochs(row.id)?.pop();
    Ok(Running {
        trial: row.id,
        device: row.device.clone(),
        epoch: last.as_ref().map(|epoch| epoch.epoch),
        metric: last.and_then(|epoch| epoch.metric),
        architecture: row.enqueued.iter().map(|name| format!("{name}: ")).collect::<String>() + &summary(&row.architecture),
    })
}

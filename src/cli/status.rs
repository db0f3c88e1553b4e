//! `netwright status`: where a run stands, also while it is live. Must not change anything.

use super::progress::duration;
use super::{Failure, print, reading};
use crate::journal::{Reader, RunTotals, TrialRow};
use crate::report::summary;
use serde::Serialize;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub struct StatusArgs {
    /// The run directory
    pub run: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Newest events that are shown.
const EVENTS: usize = 5;

#[derive(Serialize)]
struct Status {
    run: PathBuf,
    /// Trials that the run is to have, from its config.toml.
    trials: Option<u64>,
    #[serde(flatten)]
    totals: RunTotals,
    best_trial: Option<u64>,
    best_metric: Option<f64>,
    seconds_left: Option<f64>,
    running_trials: Vec<Running>,
    events: Vec<Event>,
}

#[derive(Serialize)]
struct Running {
    trial: u64,
    device: Option<String>,
    epoch: Option<u64>,
    metric: Option<f64>,
    architecture: String,
}

#[derive(Serialize)]
struct Event {
    at: String,
    kind: String,
    text: String,
}

pub fn run(args: StatusArgs) -> Result<(), Failure> {
    let reader = Reader::open(&args.run).map_err(reading)?;
    let status = status(&args.run, &reader)?;
    if args.json { super::print_json(&status) } else { print(&text(&status)) }
}

fn status(run: &Path, reader: &Reader) -> Result<Status, Failure> {
    let totals = reader.totals().map_err(reading)?;
    let best = reader.best().map_err(reading)?;
    let trials = wanted_trials(run);
    let left = trials.map(|trials| trials.saturating_sub(totals.completed + totals.failed) as f64);
    let seconds_left = left.zip(totals.children_per_hour).map(|(left, rate)| left / rate * 3600.0);
    let running = reader.running().map_err(reading)?;
    let running_trials = running.iter().map(|row| running_trial(reader, row)).collect::<Result<_, _>>()?;
    let events = reader.events(EVENTS).map_err(reading)?;
    Ok(Status {
        run: run.to_owned(),
        trials,
        totals,
        best_trial: best.as_ref().map(|row| row.id),
        best_metric: best.and_then(|row| row.metric),
        seconds_left,
        running_trials,
        events: events.into_iter().map(|(at, kind, text)| Event { at, kind, text }).collect(),
    })
}

fn running_trial(reader: &Reader, row: &TrialRow) -> Result<Running, Failure> {
    let last = reader.epochs(row.id).map_err(reading)?.pop();
    Ok(Running {
        trial: row.id,
        device: row.device.clone(),
        epoch: last.as_ref().map(|epoch| epoch.epoch),
        metric: last.and_then(|epoch| epoch.metric),
        architecture: summary(&row.architecture),
    })
}

fn wanted_trials(run: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(run.join("config.toml")).ok()?;
    let table: toml::Table = text.parse().ok()?;
    table.get("run")?.get("trials")?.as_integer()?.try_into().ok()
}

fn text(status: &Status) -> String {
    let totals = &status.totals;
    let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.4}"));
    let mut text = String::new();
    // Writing to a String cannot fail.
    let mut line = |label: &str, value: String| {
        let _ = writeln!(text, "{label:<12}{value}");
    };
    line("run", status.run.display().to_string());
    let of = status.trials.map_or_else(String::new, |trials| format!(" of {trials}"));
    line("finished", format!("{}{of} ({} failed)", totals.completed + totals.failed, totals.failed));
    line("waiting", format!("{} running, {} queued, {} stopped", totals.running, totals.queued, totals.stopped));
    let trial = status.best_trial.map_or_else(String::new, |trial| format!(" (trial {trial}, metric {})", number(status.best_metric)));
    line("best reward", format!("{}{trial}", number(totals.best_reward)));
    line("mean reward", number(totals.mean_reward));
    line("baseline", number(totals.baseline));
    if let Some(rate) = totals.children_per_hour {
        line("speed", format!("{rate:.0} children per hour"));
    }
    if let Some(seconds) = status.seconds_left.filter(|seconds| *seconds > 0.0) {
        line("time left", format!("about {}", duration(seconds)));
    }
    for running in &status.running_trials {
        let epoch = running.epoch.map_or_else(|| "no epoch yet".into(), |epoch| format!("epoch {epoch}, {}", number(running.metric)));
        let device = running.device.as_deref().unwrap_or("-");
        line("running", format!("trial {} on {device}: {epoch}: {}", running.trial, running.architecture));
    }
    for event in &status.events {
        line("event", format!("{} {}: {}", event.at, event.kind, event.text));
    }
    text
}

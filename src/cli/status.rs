//! `netwright status`: where a run stands, also while it is live. Must not change anything.

use super::progress::duration;
use super::retrained::score;
use super::{Failure, print, reading};
use crate::child::number_text;
use crate::journal::{DEATHS_IN_COMPANY, FINAL_TRAINING, Life, Suspect};
use crate::report::{Status, mean_of};
use std::fmt::Write as _;
use std::path::PathBuf;

/// So many of the best confirmed networks are listed.
const MOST_CONFIRMED: usize = 5;

#[derive(clap::Args)]
pub struct StatusArgs {
    /// The run directory
    pub run: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

pub fn run(args: StatusArgs) -> Result<(), Failure> {
    let status = Status::read(&args.run).map_err(reading)?;
    if args.json {
        super::print_json(&status)
    } else {
        print(&text(&status))
    }
}

/// Lines of a label and a value.
#[derive(Default)]
struct Lines(String);

impl Lines {
    fn add(&mut self, label: &str, value: impl std::fmt::Display) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "{label:<12}{value}");
    }
}

fn text(status: &Status) -> String {
    let mut lines = Lines::default();
    lines.add("run", status.run.display());
    match status.life {
        Life::Running => lines.add("state", "running"),
        Life::Closed => {}
        Life::Interrupted => lines.add(
            "state",
            "interrupted: its process is gone; the same command continues it",
        ),
    }
    counts(status, &mut lines);
    rewards(status, &mut lines);
    if let Some(evaluation) = &status.final_evaluation {
        let test = evaluation.test.as_ref();
        let test = test.map_or_else(|| "no test set".to_owned(), score);
        lines.add(
            "retrained",
            format!(
                "{}, final weights of trial {}: {test}",
                evaluation.network, evaluation.trial
            ),
        );
    }
    speed(status, &mut lines);
    running(status, &mut lines);
    for Suspect {
        trial,
        deaths,
        unexplained,
    } in &status.suspects
    {
        let all = deaths + unexplained;
        let how = if *deaths >= DEATHS_IN_COMPANY {
            "; it runs alone"
        } else {
            ", and nothing says why; it runs alone, after all others"
        };
        lines.add(
            "suspect",
            format!("trial {trial}: {all} processes died while it ran{how}"),
        );
    }
    for event in &status.events {
        lines.add(
            "event",
            format!("{} {}: {}", event.at, event.kind, event.text),
        );
    }
    lines.0
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| number_text(value, 4))
}

fn counts(status: &Status, lines: &mut Lines) {
    let totals = &status.totals;
    let finished = status.finished();
    let pruned = if totals.pruned > 0 {
        format!("{} pruned, ", totals.pruned)
    } else {
        String::new()
    };
    let of = status
        .trials
        .map_or_else(String::new, |trials| format!(" of {trials}"));
    lines.add(
        "finished",
        format!("{finished}{of} ({pruned}{} failed)", totals.failed),
    );
    lines.add(
        "waiting",
        format!(
            "{} running, {} queued, {} stopped",
            totals.running, totals.queued, totals.stopped
        ),
    );
}

fn rewards(status: &Status, lines: &mut Lines) {
    let totals = &status.totals;
    let trial = status.best_trial.map_or_else(String::new, |trial| {
        format!(" (trial {trial}, metric {})", number(status.best_metric))
    });
    lines.add(
        "best reward",
        format!("{}{trial}", number(totals.best_reward)),
    );
    for network in status.confirmed.iter().take(MOST_CONFIRMED) {
        lines.add(
            "confirmed",
            format!("trial {}: mean reward {}", network.trial, mean_of(network)),
        );
    }
    let baselines = status.baselines.iter();
    for baseline in baselines.filter(|baseline| baseline.name != FINAL_TRAINING) {
        let outcome = match (baseline.reward, &baseline.error) {
            (Some(reward), _) => format!(
                "reward {}, metric {}",
                number_text(reward, 4),
                number(baseline.metric)
            ),
            (None, Some(error)) => format!("{}: {error}", baseline.status),
            (None, None) => baseline.status.clone(),
        };
        lines.add(
            "enqueued",
            format!(
                "{} (trial {}), a baseline: {outcome}",
                baseline.name, baseline.trial
            ),
        );
    }
    lines.add("mean reward", number(totals.mean_reward));
    lines.add("baseline", number(totals.baseline));
}

fn speed(status: &Status, lines: &mut Lines) {
    if let Some(rate) = status.totals.children_per_hour {
        lines.add("speed", format!("{rate:.0} children per hour"));
    }
    if let Some(seconds) = status.seconds_left.filter(|seconds| *seconds > 0.0) {
        lines.add("time left", format!("about {}", duration(seconds)));
    }
}

/// The lanes, and the trials on them.
fn running(status: &Status, lines: &mut Lines) {
    if status.life == Life::Running && !status.lanes.is_empty() {
        let lanes: Vec<_> = status
            .lanes
            .iter()
            .map(|lane| format!("{} on {}", lane.name, lane.device))
            .collect();
        lines.add("lanes", lanes.join(", "));
    }
    for running in &status.running_trials {
        let epoch = running.epoch.map_or_else(
            || "no epoch yet".into(),
            |epoch| format!("epoch {epoch}, {}", number(running.metric)),
        );
        let device = running.device.as_deref().unwrap_or("-");
        lines.add(
            "running",
            format!(
                "trial {} on {device}: {epoch}: {}",
                running.trial, running.architecture
            ),
        );
    }
}

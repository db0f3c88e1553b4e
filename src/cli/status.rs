//! `netwright status`: where a run stands, also while it is live. Must not change anything.

use super::progress::duration;
use super::{Failure, print, reading};
use crate::journal::Life;
use crate::report::Status;
use std::fmt::Write as _;
use std::path::PathBuf;

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

fn text(status: &Status) -> String {
    let totals = &status.totals;
    let number =
        |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.4}"));
    let mut text = String::new();
    // Writing to a String cannot fail.
    let mut line = |label: &str, value: String| {
        let _ = writeln!(text, "{label:<12}{value}");
    };
    line("run", status.run.display().to_string());
    match status.life {
        Life::Running => line("state", "running".into()),
        Life::Closed => {}
        Life::Interrupted => line(
            "state",
            "interrupted: its process is gone; the same command continues it".into(),
        ),
    }
    let of = status
        .trials
        .map_or_else(String::new, |trials| format!(" of {trials}"));
    line(
        "finished",
        format!(
            "{}{of} ({} failed)",
            totals.completed + totals.failed,
            totals.failed
        ),
    );
    line(
        "waiting",
        format!(
            "{} running, {} queued, {} stopped",
            totals.running, totals.queued, totals.stopped
        ),
    );
    let trial = status.best_trial.map_or_else(String::new, |trial| {
        format!(" (trial {trial}, metric {})", number(status.best_metric))
    });
    line(
        "best reward",
        format!("{}{trial}", number(totals.best_reward)),
    );
    for baseline in &status.baselines {
        let outcome = match (baseline.reward, &baseline.error) {
            (Some(reward), _) => format!("reward {reward:.4}, metric {}", number(baseline.metric)),
            (None, Some(error)) => format!("{}: {error}", baseline.status),
            (None, None) => baseline.status.clone(),
        };
        line(
            "enqueued",
            format!(
                "{} (trial {}), a baseline: {outcome}",
                baseline.name, baseline.trial
            ),
        );
    }
    line("mean reward", number(totals.mean_reward));
    line("baseline", number(totals.baseline));
    if let Some(rate) = totals.children_per_hour {
        line("speed", format!("{rate:.0} children per hour"));
    }
    if let Some(seconds) = status.seconds_left.filter(|seconds| *seconds > 0.0) {
        line("time left", format!("about {}", duration(seconds)));
    }
    if status.life == Life::Running && !status.lanes.is_empty() {
        let lanes: Vec<_> = status
            .lanes
            .iter()
            .map(|lane| format!("{} on {}", lane.name, lane.device))
            .collect();
        line("lanes", lanes.join(", "));
    }
    for running in &status.running_trials {
        let epoch = running.epoch.map_or_else(
            || "no epoch yet".into(),
            |epoch| format!("epoch {epoch}, {}", number(running.metric)),
        );
        let device = running.device.as_deref().unwrap_or("-");
        line(
            "running",
            format!(
                "trial {} on {device}: {epoch}: {}",
                running.trial, running.architecture
            ),
        );
    }
    for event in &status.events {
        line(
            "event",
            format!("{} {}: {}", event.at, event.kind, event.text),
        );
    }
    text
}

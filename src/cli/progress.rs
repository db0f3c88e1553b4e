//! What a search shows while it runs: bars on a terminal, plain timestamped lines elsewhere. Must
//! not decide anything.

use crate::actors::{Event, Observer, Progress};
use crate::child::{Epoch, MetricUnit, Outcome, number_text};
pub use crate::report::duration;
use crate::workload::Scoring;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How the numbers of a run's children read.
#[derive(Clone, Copy, Debug)]
pub struct ProgressFormat {
    metric: MetricUnit,
    /// Of each child, where that is known.
    epochs: Option<usize>,
}

impl ProgressFormat {
    pub fn of(scoring: &Scoring) -> Self {
        Self {
            metric: scoring.metric,
            epochs: scoring.epochs,
        }
    }

    fn overall(self, progress: &Progress) -> String {
        let number =
            |value: Option<f64>| value.map_or_else(|| "-".into(), |value| number_text(value, 4));
        let mut parts = vec![format!(
            "{}/{} trials",
            progress.finished(),
            progress.trials
        )];
        if progress.pruned > 0 {
            parts.push(format!("{} pruned", progress.pruned));
        }
        if progress.failed > 0 {
            parts.push(format!("{} failed", progress.failed));
        }
        let best = progress.best_metric.map_or_else(String::new, |metric| {
            format!(" ({})", self.metric.phrase(metric))
        });
        parts.push(format!(
            "best reward {}{best}",
            number(progress.best_reward)
        ));
        parts.push(format!("mean {}", number(progress.mean_reward)));
        parts.push(format!("baseline {}", number(progress.baseline)));
        if let Some(rate) = progress.per_hour {
            parts.push(format!("{rate:.0} children/h"));
        }
        if let Some(seconds) = progress.seconds_left {
            parts.push(format!("{} left", duration(seconds)));
        }
        parts.join(" · ")
    }

    /// `3/50`, or `3` where the number of epochs is not known.
    fn epoch(self, number: usize) -> String {
        match self.epochs {
            Some(epochs) => format!("{number}/{epochs}"),
            None => number.to_string(),
        }
    }

    /// An epoch's metric, after a space; nothing where nothing is held out.
    fn of_epoch(self, epoch: &Epoch) -> String {
        if epoch.metric.is_nan() {
            return String::new();
        }
        format!(" {}", self.metric.phrase(epoch.metric))
    }

    fn outcome(self, outcome: &Outcome, seconds: f64, reused_from: Option<u64>) -> String {
        match outcome {
            Outcome::Completed { reward, metric, .. } if let Some(from) = reused_from => {
                format!(
                    "{} reward {}: the network of trial {from}",
                    self.metric.phrase(*metric),
                    number_text(*reward, 4)
                )
            }
            Outcome::Completed { reward, metric, .. } => {
                format!(
                    "{} reward {} in {}",
                    self.metric.phrase(*metric),
                    number_text(*reward, 4),
                    duration(seconds)
                )
            }
            Outcome::Pruned { epoch, metric, .. } => {
                let metric = metric.map_or_else(String::new, |metric| {
                    format!(" at {}", self.metric.phrase(metric))
                });
                let epoch = self.epoch(*epoch);
                format!(
                    "pruned after epoch {epoch}{metric} in {}",
                    duration(seconds)
                )
            }
            Outcome::Failed { error, .. } => format!("failed: {error}"),
            Outcome::Stopped => "stopped; it runs again when the search goes on".into(),
        }
    }
}

/// A trial, and the name of an enqueued one.
fn titled(trial: u64, name: Option<&str>) -> String {
    name.map_or_else(
        || format!("trial {trial}"),
        |name| format!("trial {trial} ({name})"),
    )
}

/// Shows nothing: everything is in the log.
pub struct Nothing;

impl Observer for Nothing {
    fn event(&mut self, _: Event, _: &Progress) {}
}

/// Lines on standard output, for logs: each with its time, and never more than a few a second.
pub struct PlainLines {
    format: ProgressFormat,
    last_line: Option<Instant>,
    last_overall: Option<Instant>,
    unshown: u64,
}

/// Shortest time between two lines about single children; between two about the whole.
const LINE_EVERY: Duration = Duration::from_millis(200);
const OVERALL_EVERY: Duration = Duration::from_secs(5);

impl PlainLines {
    pub fn new(format: ProgressFormat) -> Self {
        Self {
            format,
            last_line: None,
            last_overall: None,
            unshown: 0,
        }
    }

    fn line(text: &str) {
        let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ");
        say!("{now} {text}");
    }

    /// True at most once in `every`.
    fn due(last: &mut Option<Instant>, every: Duration) -> bool {
        let due = last.is_none_or(|last| last.elapsed() >= every);
        if due {
            *last = Some(Instant::now());
        }
        due
    }
}

impl Observer for PlainLines {
    fn event(&mut self, event: Event, progress: &Progress) {
        match event {
            Event::Note(text) => Self::line(&text),
            Event::ChildEnded {
                trial,
                name,
                outcome,
                seconds,
                reused_from,
            } => {
                if name.is_some() || Self::due(&mut self.last_line, LINE_EVERY) {
                    Self::line(&format!(
                        "{} {}",
                        titled(trial, name),
                        self.format.outcome(outcome, seconds, reused_from)
                    ));
                } else {
                    self.unshown += 1;
                }
                let last = progress.finished() == progress.trials;
                if last || Self::due(&mut self.last_overall, OVERALL_EVERY) {
                    let hidden = std::mem::take(&mut self.unshown);
                    let hidden = if hidden > 0 {
                        format!(" ({hidden} trials without a line)")
                    } else {
                        String::new()
                    };
                    Self::line(&format!("{}{hidden}", self.format.overall(progress)));
                }
            }
            Event::ChildStarted {
                trial,
                lane,
                summary,
            } => {
                if progress.per_hour.is_none_or(|rate| rate < 3600.0) {
                    Self::line(&format!("trial {trial} starts on {lane}: {summary}"));
                }
            }
            Event::ChildEpoch { trial, epoch } => {
                if progress.per_hour.is_none_or(|rate| rate < 3600.0) {
                    let loss = epoch.train_loss.map_or_else(String::new, |loss| {
                        format!(" loss {}", number_text(loss, 3))
                    });
                    let number = self.format.epoch(epoch.epoch);
                    let metric = self.format.of_epoch(epoch);
                    Self::line(&format!(
                        "trial {trial} epoch {number}{loss}{metric} ({})",
                        duration(epoch.seconds)
                    ));
                }
            }
        }
    }
}

/// One bar for the whole and a line for each child under training.
pub struct Bars {
    format: ProgressFormat,
    bars: MultiProgress,
    overall: ProgressBar,
    children: BTreeMap<u64, ProgressBar>,
}

impl Bars {
    /// `bars` is shared with the log's writer, so that a log line never lands inside a bar.
    pub fn new(format: ProgressFormat, bars: MultiProgress) -> Self {
        let overall = bars.add(ProgressBar::new(0));
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {msg}") {
            overall.set_style(style);
        }
        Self {
            format,
            bars,
            overall,
            children: BTreeMap::new(),
        }
    }

    fn child_bar(&self, trial: u64, lane: &str, summary: &str) -> ProgressBar {
        let bar = self.bars.insert_before(
            &self.overall,
            ProgressBar::new(self.format.epochs.unwrap_or(1).max(1) as u64),
        );
        if let Ok(style) = ProgressStyle::with_template("{bar:10} {prefix} {msg}") {
            bar.set_style(style);
        }
        bar.set_prefix(format!("trial {trial} on {lane}"));
        bar.set_message(summary.to_owned());
        bar
    }
}

impl Observer for Bars {
    fn event(&mut self, event: Event, progress: &Progress) {
        match event {
            Event::Note(text) => drop(self.bars.println(text)),
            Event::ChildStarted {
                trial,
                lane,
                summary,
            } => {
                // At thousands of trials an hour a line for each would only flicker.
                if progress.per_hour.is_none_or(|rate| rate < 20_000.0) {
                    let bar = self.child_bar(trial, lane, &summary);
                    self.children.insert(trial, bar);
                }
            }
            Event::ChildEpoch { trial, epoch } => {
                if let Some(bar) = self.children.get(&trial) {
                    bar.set_position(epoch.epoch as u64);
                    bar.set_message(format!(
                        "epoch {}{}",
                        self.format.epoch(epoch.epoch),
                        self.format.of_epoch(epoch)
                    ));
                }
            }
            Event::ChildEnded {
                trial,
                name,
                outcome,
                seconds,
                reused_from,
            } => {
                if let Some(bar) = self.children.remove(&trial) {
                    bar.finish_and_clear();
                    let _ = self.bars.println(format!(
                        "{}: {}",
                        titled(trial, name),
                        self.format.outcome(outcome, seconds, reused_from)
                    ));
                }
            }
        }
        self.overall.set_length(progress.trials);
        self.overall.set_position(progress.finished());
        self.overall.set_message(self.format.overall(progress));
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        self.children
            .values()
            .for_each(ProgressBar::finish_and_clear);
        self.overall.finish();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_overall_line_says_what_is_known() {
        let format = ProgressFormat {
            metric: MetricUnit::Accuracy,
            epochs: Some(3),
        };
        let progress = Progress {
            trials: 12,
            completed: 4,
            best_reward: Some(0.343),
            best_metric: Some(0.7),
            mean_reward: Some(0.2),
            ..Progress::default()
        };
        assert_eq!(
            format.overall(&progress),
            "4/12 trials · best reward 0.3430 (70.0%) · mean 0.2000 · baseline -"
        );
    }
}

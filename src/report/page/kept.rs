//! The report to keep: the page's sections, the best networks and what their numbers mean as one
//! HTML file that needs no other. A function of what is on disk: written again, it is the same.

use super::super::facts::workload_settings;
use super::super::html::escape;
use super::super::leaderboard::summary;
use super::super::learned::LearnedPicture;
use super::super::measured::explanations;
use super::super::monitor::{RunMonitor, RunState};
use super::super::number::{decimal, grouped};
use super::trial::{Place, body};
use super::{document, retrained, sections};
use crate::child::EvaluatorKind;
use crate::journal::{Confirmed, EpochRow, JournalError, Reader, TrialRow};
use crate::telemetry::DeviceReadings;
use crate::workload::WorkloadSettings;
use std::collections::BTreeSet;
use std::path::Path;

const HTML: &str = include_str!("kept.html");
const CSS: &str = include_str!("kept.css");

/// What of a run stands neither in its state nor in its trials.
struct Record {
    /// The text of config.toml.
    config: String,
    /// None: it cannot be read.
    settings: Option<WorkloadSettings>,
    /// What the run noted of its data.
    data: Option<String>,
    /// Time and text: which program and machine worked on the run.
    machines: Vec<(String, String)>,
}

impl Record {
    fn read(dir: &Path, reader: &Reader) -> Result<Self, JournalError> {
        let config = std::fs::read_to_string(dir.join("config.toml")).unwrap_or_default();
        let table = config.parse().unwrap_or_default();
        Ok(Self {
            settings: workload_settings(&table),
            data: reader.last_event("data")?,
            machines: reader.events_of("machine")?,
            config,
        })
    }

    fn is_trained(&self) -> bool {
        let trained =
            |settings: &WorkloadSettings| settings.child.evaluator == EvaluatorKind::Train;
        self.settings.as_ref().is_some_and(trained)
    }
}

/// The report of the run in `dir` as a document. `learned` is what it has learned of its decisions.
///
/// # Errors
/// When the run cannot be read.
pub(in super::super) fn report(
    dir: &Path,
    learned: &[LearnedPicture],
) -> Result<String, JournalError> {
    let reader = Reader::open(dir)?;
    let mut monitor = RunMonitor::new(dir);
    monitor.update()?;
    let state = &monitor.state;
    let record = Record::read(dir, &reader)?;
    let chart_data = state.series.chart_data();
    let mut parts = sections::all(state, &chart_data, &DeviceReadings::default());
    parts.extend(sections::learned(learned));
    let read = |row: &TrialRow| Shown::read(&reader, row);
    let best = state.best.as_ref().map(read).transpose()?;
    let others = others(state).into_iter().map(read);
    let others = others.collect::<Result<Vec<_>, JournalError>>()?;
    let shown = best
        .iter()
        .chain(&others)
        .map(|trial| trial.row.id)
        .collect();
    for (_, html) in &mut parts {
        *html = without_dead_links(html, &shown);
    }
    let retrained = retrained::read(dir, &reader)?;
    Ok(document::fill(HTML, |name| match name {
        "run" => escape(&state.facts.name),
        "style" => format!("{}{CSS}", *document::STYLE),
        "when" => when(state),
        "best" => best
            .as_ref()
            .map_or_else(String::new, |best| best_network(state, best)),
        "cost" => cost(&parts),
        "retraining" if record.is_trained() => retrained::html(&retrained),
        "retraining" => String::new(),
        "others" => other_networks(state, &others),
        "measured" => measured(&record),
        "machine" => machine(state, &record),
        "settings" => escape(&record.config),
        "version" => env!("CARGO_PKG_VERSION").into(),
        section => parts
            .iter()
            .filter(|(name, _)| *name == section)
            .map(|(_, html)| html.as_str())
            .collect(),
    }))
}

/// An ISO 8601 time as people read it, to the minute.
fn minute(time: &str) -> String {
    let text = time.get(..16).unwrap_or(time).replace('T', " ");
    escape(&format!("{text} UTC"))
}

fn when(state: &RunState) -> String {
    let begun = state
        .created
        .as_deref()
        .map(|time| format!("begun {}", minute(time)));
    let last = state
        .latest
        .front()
        .and_then(|trial| trial.finished_at.as_deref());
    let last = last.map(|time| format!("last outcome {}", minute(time)));
    begun
        .into_iter()
        .chain(last)
        .collect::<Vec<_>>()
        .join(" · ")
}

/// The HTML with links to these trials alone; the others are plain text.
fn without_dead_links(html: &str, shown: &BTreeSet<u64>) -> String {
    let mut kept = String::with_capacity(html.len());
    let mut links = html.split("<a href=\"#trial-");
    kept.push_str(links.next().unwrap_or_default());
    for link in links {
        let id = link.split('"').next().and_then(|id| id.parse().ok());
        let text = link
            .split_once('>')
            .and_then(|(_, rest)| rest.split_once("</a>"));
        let is_dead = id.is_some_and(|id| !shown.contains(&id));
        if let Some((text, rest)) = text.filter(|_| is_dead) {
            kept.push_str(text);
            kept.push_str(rest);
        } else {
            kept.push_str("<a href=\"#trial-");
            kept.push_str(link);
        }
    }
    kept
}

/// The section on what networks cost; empty where rewards have no cost.
fn cost(parts: &[(&str, String)]) -> String {
    let chart = parts
        .iter()
        .find(|(name, html)| *name == "pareto" && !html.is_empty());
    chart.map_or_else(String::new, |(_, html)| {
        format!(
            "<section class=\"card\" aria-labelledby=\"h-pareto\"><h2 id=\"h-pareto\">Cost and accuracy</h2>{html}</section>"
        )
    })
}

/// A trial that is shown with all that is known of it.
struct Shown {
    row: TrialRow,
    epochs: Vec<EpochRow>,
    confirmed: Option<Confirmed>,
}

impl Shown {
    fn read(reader: &Reader, row: &TrialRow) -> Result<Self, JournalError> {
        Ok(Self {
            row: row.clone(),
            epochs: reader.epochs(row.id)?,
            confirmed: reader.confirmed_trial(row.id)?,
        })
    }

    fn body(&self, state: &RunState) -> String {
        let Self {
            row,
            epochs,
            confirmed,
        } = self;
        body(&state.facts, row, epochs, confirmed.as_ref(), Place::File)
    }
}

fn best_network(state: &RunState, best: &Shown) -> String {
    format!(
        "<section class=\"card\" aria-labelledby=\"trial-{0}\"><h2 id=\"trial-{0}\">The best network <small>trial {1}</small></h2>{2}</section>",
        best.row.id,
        grouped(best.row.id),
        best.body(state)
    )
}

/// The trials of the leaderboard beside the best one, and the baselines that are not in it.
fn others(state: &RunState) -> Vec<&TrialRow> {
    let best = state.best.as_ref().map(|row| row.id);
    let leaders = state.leaders.iter().filter(|row| Some(row.id) != best);
    let below = state.enqueued.iter().filter(|row| {
        row.finished_at.is_some() && !state.leaders.iter().any(|leader| leader.id == row.id)
    });
    leaders.chain(below).collect()
}

/// Their networks, folded. A browser unfolds the one that a link of the leaderboard leads to.
fn other_networks(state: &RunState, shown: &[Shown]) -> String {
    if shown.is_empty() {
        return String::new();
    }
    let folded = shown.iter().map(|trial| {
        let row = &trial.row;
        let reward = if row.status == "failed" {
            "failed".into()
        } else {
            format!("reward {}", decimal(row.reward))
        };
        format!(
            "<details><summary>Trial {} · {reward} · {}</summary><div id=\"trial-{}\">{}</div></details>",
            grouped(row.id),
            escape(&summary(&row.architecture)),
            row.id,
            trial.body(state)
        )
    });
    format!("<div class=\"others\">{}</div>", folded.collect::<String>())
}

fn measured(record: &Record) -> String {
    let Some(settings) = &record.settings else {
        return String::new();
    };
    let all = explanations(settings, record.data.as_deref());
    let rows = all
        .iter()
        .map(|(name, text)| format!("<dt>{name}</dt><dd>{}</dd>", escape(text)));
    format!(
        "<section class=\"card\" aria-labelledby=\"h-measured\"><h2 id=\"h-measured\">What was measured, and how</h2><dl class=\"explained\">{}</dl></section>",
        rows.collect::<String>()
    )
}

/// Every machine that has worked on the run, and the lanes of the last process.
fn machine(state: &RunState, record: &Record) -> String {
    let mut rows: Vec<(String, String)> = record
        .machines
        .iter()
        .map(|(at, text)| (format!("from {}", minute(at)), escape(text)))
        .collect();
    if rows.is_empty() {
        rows.push((
            "Machine".into(),
            "The version that ran this search did not note it.".into(),
        ));
    }
    let lanes = state
        .lanes
        .iter()
        .map(|(lane, device)| format!("{lane} on {device}"));
    let lanes = lanes.collect::<Vec<_>>().join(", ");
    if !lanes.is_empty() {
        rows.push(("Lanes".into(), escape(&lanes)));
    }
    let rows = rows
        .iter()
        .map(|(name, text)| format!("<dt>{name}</dt><dd>{text}</dd>"));
    format!("<dl class=\"explained\">{}</dl>", rows.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_to_trials_that_are_not_in_the_file_are_plain_text() {
        let html = "on <a href=\"#trial-7\" id=\"pareto-7\">7</a>, <a href=\"#trial-70\" id=\"pareto-70\">70</a>.";
        assert_eq!(
            without_dead_links(html, &[7].into()),
            "on <a href=\"#trial-7\" id=\"pareto-7\">7</a>, 70."
        );
        assert_eq!(without_dead_links("none", &BTreeSet::new()), "none");
    }
}

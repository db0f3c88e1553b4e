//! One trial as HTML: outcome, settings, learning curve, drawing. Must not know how it reaches the
//! browser.

use super::super::cell;
use super::super::chart::{self, Canvas};
use super::super::drawing;
use super::super::facts::RunFacts;
use super::super::html::escape;
use super::super::leaderboard::{mean_of, origin};
use super::super::number::{compact, decimal, duration, grouped, metric_text};
use super::sections::metrics;
use crate::child::{MetricUnit, number_text};
use crate::journal::{Confirmed, EpochRow, TrialRow};
use crate::space::{Architecture, Network};
use std::fmt::Write as _;

/// Height of a learning curve, in pixels.
const CURVE_HEIGHT: u32 = 150;

/// The drawing of an architecture (SVG); None if this kind has no drawing.
pub(in super::super) fn picture(architecture: &Architecture) -> Option<String> {
    match &architecture.network {
        Network::Conv(network) => Some(drawing::svg(network)),
        Network::Cell(network) => Some(cell::cell_svg(network)),
        Network::Choices(_) => None,
    }
}

/// Where a trial is shown.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Place {
    /// On the page, whose server has the drawings and every other trial.
    Served,
    /// In a file that stands alone.
    File,
}

/// The content of the trial's dialog. `last` is the id of the newest trial.
pub(super) fn html(
    facts: &RunFacts,
    row: &TrialRow,
    epochs: &[EpochRow],
    confirmed: Option<&Confirmed>,
    last: u64,
) -> String {
    head(row, last) + &body(facts, row, epochs, confirmed, Place::Served)
}

/// All there is to know of a trial, but for its number and status.
pub(super) fn body(
    facts: &RunFacts,
    row: &TrialRow,
    epochs: &[EpochRow],
    confirmed: Option<&Confirmed>,
    place: Place,
) -> String {
    let mut html = outcome(facts, row, confirmed);
    html += &curves(facts, epochs);
    html += &network(row, place);
    html += &settings(row, place);
    html
}

fn head(row: &TrialRow, last: u64) -> String {
    let step = |id: u64, text: &str, exists: bool| {
        if exists {
            format!("<a href=\"#trial-{id}\" class=\"step\">{text}</a>")
        } else {
            format!("<span class=\"step off\" aria-hidden=\"true\">{text}</span>")
        }
    };
    let before = step(row.id.saturating_sub(1), "← previous", row.id > 1);
    let after = step(row.id + 1, "next →", row.id < last);
    let class = match row.status.as_str() {
        "completed" => "done",
        "failed" => "bad",
        "running" => "live",
        _ => "still",
    };
    format!(
        "<header data-status=\"{status}\"><h2 id=\"trial-title\" tabindex=\"-1\">Trial {}</h2><span class=\"badge {class}\">{status}</span><nav aria-label=\"other trials\">{before}{after}</nav></header>",
        grouped(row.id),
        status = escape(&row.status)
    )
}

fn list(class: &str, items: &[(&str, String)]) -> String {
    let items = items.iter().filter(|(_, value)| !value.is_empty());
    format!(
        "<dl class=\"{class}\">{}</dl>",
        items
            .map(|(name, value)| format!("<div><dt>{name}</dt><dd>{value}</dd></div>"))
            .collect::<String>()
    )
}

fn outcome(facts: &RunFacts, row: &TrialRow, confirmed: Option<&Confirmed>) -> String {
    // The exact number follows where `compact` has shortened it.
    let exact = |value: u64| {
        if value < 1_000 {
            String::new()
        } else {
            format!(" <small>{}</small>", grouped(value))
        }
    };
    let size =
        |value: Option<u64>| value.map_or_else(String::new, |value| compact(value) + &exact(value));
    let figures = list(
        "figures",
        &[
            ("Reward", decimal(row.reward)),
            ("Confirmed", confirmed.map_or_else(String::new, mean_of)),
            (
                if facts.unit == MetricUnit::Plain {
                    "Metric"
                } else {
                    facts.unit.name()
                },
                metric_text(facts.unit, row.metric),
            ),
            ("Parameters", size(row.parameters)),
            ("FLOPs", size(row.flops)),
            ("Time", row.seconds.map_or_else(String::new, duration)),
        ],
    );
    let error = row.error.as_ref().map_or_else(String::new, |error| {
        format!("<p class=\"error\">{}</p>", escape(error))
    });
    figures + &error
}

fn curves(facts: &RunFacts, epochs: &[EpochRow]) -> String {
    if epochs.is_empty() {
        let text = if facts.epochs.is_some() {
            "No epoch is done yet."
        } else {
            ""
        };
        return if text.is_empty() {
            String::new()
        } else {
            format!("<h3>Learning curve</h3><p class=\"empty\">{text}</p>")
        };
    }
    let unit = facts.unit;
    let all = facts.epochs.unwrap_or(1);
    let canvas = Canvas {
        height: CURVE_HEIGHT,
        width: None,
    };
    let metric = |value: f64, digits: usize| match unit {
        MetricUnit::Accuracy => {
            format!("{}%", number_text(100.0 * value, digits.saturating_sub(2)))
        }
        _ => number_text(value, digits),
    };
    let mut charts = figure(
        &format!("validation {} by epoch", unit.name()),
        &chart::curve(
            "curve",
            &metrics(epochs),
            all,
            canvas,
            &format!("validation {} by epoch", unit.name()),
            metric,
        ),
    );
    let losses: Vec<(u64, f64)> = epochs
        .iter()
        .filter_map(|row| Some((row.epoch, row.train_loss?)))
        .collect();
    if !losses.is_empty() {
        let plain = |value: f64, digits: usize| format!("{value:.digits$}");
        charts += &figure(
            "training loss by epoch",
            &chart::curve(
                "loss",
                &losses,
                all,
                canvas,
                "training loss by epoch",
                plain,
            ),
        );
    }
    format!(
        "<h3>Learning curve</h3><div class=\"pair\">{charts}</div>{}",
        table(facts, epochs)
    )
}

fn figure(caption: &str, chart: &str) -> String {
    format!("<figure><figcaption>{caption}</figcaption><div class=\"plot\">{chart}</div></figure>")
}

/// Number of last epochs in the table.
const MAX_ROWS: usize = 200;

fn table(facts: &RunFacts, epochs: &[EpochRow]) -> String {
    let mut html = format!(
        "<details><summary>Epochs as numbers</summary><table><thead><tr><th scope=\"col\" class=\"n\">epoch</th><th scope=\"col\" class=\"n\">training loss</th>\
         <th scope=\"col\" class=\"n\">{}</th><th scope=\"col\" class=\"n\">time</th></tr></thead><tbody>",
        facts.unit.name()
    );
    for row in &epochs[epochs.len().saturating_sub(MAX_ROWS)..] {
        let loss = decimal(row.train_loss);
        let metric = metric_text(facts.unit, row.metric);
        let time = row.seconds.map_or_else(|| "–".into(), duration);
        let _ = write!(
            html,
            "<tr><td class=\"n\">{}</td><td class=\"n\">{loss}</td><td class=\"n\">{metric}</td><td class=\"n\">{time}</td></tr>",
            row.epoch
        );
    }
    html + "</tbody></table></details>"
}

fn network(row: &TrialRow, place: Place) -> String {
    if let Network::Choices(choices) = &row.architecture.network {
        let rows = choices.values.iter().map(|(name, value)| {
            format!(
                "<tr><th scope=\"row\">{}</th><td>{}</td></tr>",
                escape(name),
                escape(&value.to_string())
            )
        });
        return format!(
            "<h3>Decisions</h3><table class=\"plain\"><tbody>{}</tbody></table>",
            rows.collect::<String>()
        );
    }
    let text = escape(&drawing::text(&row.architecture));
    let table = format!(
        "<details><summary>Layers as text</summary><pre tabindex=\"0\">{text}</pre></details>"
    );
    let Some(svg) = picture(&row.architecture) else {
        return format!("<h3>Architecture</h3><pre tabindex=\"0\">{text}</pre>");
    };
    let drawing = match place {
        Place::File => svg,
        Place::Served => format!(
            "<a href=\"/drawing/{id}.svg\" target=\"_blank\" rel=\"noopener\" aria-label=\"the drawing alone, in a new tab\">\
             <img src=\"/drawing/{id}.svg\" alt=\"drawing of the network of trial {id}\"></a>",
            id = row.id
        ),
    };
    format!("<h3>Architecture</h3><div class=\"drawing\" tabindex=\"0\">{drawing}</div>{table}")
}

fn settings(row: &TrialRow, place: Place) -> String {
    let time = |time: &Option<String>| {
        time.as_deref().map_or_else(String::new, |time| {
            escape(&time.replace('T', " ").replace('Z', " UTC"))
        })
    };
    let count = |count: u64| {
        if count == 0 {
            String::new()
        } else {
            count.to_string()
        }
    };
    let items = [
        ("Proposed by", escape(&origin(row))),
        ("Seed", row.seed.to_string()),
        ("Device", escape(row.device.as_deref().unwrap_or(""))),
        (
            if row.controller.is_none() {
                "Enqueued"
            } else {
                "Sampled"
            },
            time(&Some(row.sampled_at.clone())),
        ),
        ("Started", time(&row.started_at)),
        ("Ended", time(&row.finished_at)),
        ("Failed attempts", count(row.attempt)),
        ("Interruptions", count(row.interruptions)),
        (
            "Result taken from trial",
            row.reused_from.map_or_else(String::new, |id| match place {
                Place::Served => format!("<a href=\"#trial-{id}\">{id}</a>"),
                Place::File => id.to_string(),
            }),
        ),
    ];
    let decisions = serde_json::to_string(&row.decisions).unwrap_or_default();
    format!(
        "<h3>Settings</h3>{}<details><summary>Decisions of the controller, as stored</summary><pre tabindex=\"0\">{}</pre></details>",
        list("facts", &items),
        escape(&decisions)
    )
}

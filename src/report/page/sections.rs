//! The sections of the page, as HTML. Pure functions of the state of the run; must not know how
//! they reach the browser.

use super::super::chart::{self, Canvas};
use super::super::html::escape;
use super::super::leaderboard::{again, mean_of, summary};
use super::super::learned::{LEARNED, LEARNED_FROM, LearnedPicture};
use super::super::monitor::RunState;
use super::super::number::{compact, decimal, duration, grouped, metric_text};
use super::super::pareto::pareto_front;
use super::super::series::RewardChartData;
use super::devices;
use crate::child::{MetricUnit, number_text};
use crate::journal::{Confirmed, CostRow, EpochRow, FINAL_TRAINING, Life, TrialFacts, TrialRow};
use crate::telemetry::DeviceReadings;
use std::fmt::Write as _;

/// Heights of the reward chart and of a child's sparkline, in pixels.
const REWARDS_HEIGHT: u32 = 260;
const SPARKLINE_HEIGHT: u32 = 44;
const PARETO_HEIGHT: u32 = 220;
/// So many of the newest trials are points of the Pareto chart.
const PARETO_POINTS: usize = 1_000;

/// All sections with their names, in the order of the page.
pub(super) fn all(
    state: &RunState,
    chart_data: &RewardChartData,
    readings: &DeviceReadings,
) -> Vec<(&'static str, String)> {
    vec![
        ("state", badge(state)),
        ("progress", progress(state)),
        ("figures", figures(state)),
        ("rewards", rewards(state, chart_data)),
        ("pareto", pareto(state)),
        ("leaders", leaders(state)),
        ("running", running(state)),
        ("latest", latest(state)),
        ("devices", devices::html(state, readings)),
        ("events", events(state)),
    ]
}

/// What was learned of the decisions, a section each.
pub(super) fn learned(pictures: &[LearnedPicture]) -> Vec<(&'static str, String)> {
    let section = |name| {
        let found = pictures.iter().find(|picture| picture.name == name);
        (name, found.map_or_else(String::new, learned_figure))
    };
    let mut sections = LEARNED.map(section);
    if pictures.is_empty() {
        sections[0].1 = format!(
            "<p class=\"empty\">Pictures appear once {LEARNED_FROM} trials are completed.</p>"
        );
    }
    sections.into()
}

fn learned_figure(learned: &LearnedPicture) -> String {
    format!(
        "<figure><figcaption><h3>{}</h3><p class=\"muted\">{}</p></figcaption><div class=\"scroll\" tabindex=\"0\" role=\"group\" aria-label=\"{0}\">{}</div></figure>",
        escape(learned.heading),
        escape(&learned.text),
        learned.picture.svg
    )
}

fn is_done(state: &RunState) -> bool {
    state
        .facts
        .trials
        .is_some_and(|trials| state.finished() >= trials)
}

fn is_live(state: &RunState) -> bool {
    state.life == Some(Life::Running)
}

/// What the browsers show after the process that served the page has stopped in order.
pub(super) fn end_message(state: &RunState) -> &'static str {
    if is_done(state) {
        "The search has ended, and the process that served this page with it. What stands here is its last state: `netwright page` with \
         the folder named above serves it again, and report/index.html of that folder tells all of it."
    } else {
        "The search has stopped and is saved; the process that served this page has left. The same command continues it, and this page \
         goes on by itself then."
    }
}

fn badge(state: &RunState) -> String {
    let (class, text) = match state.life {
        Some(Life::Running) => ("live", "running"),
        Some(Life::Closed) if is_done(state) => ("done", "finished"),
        Some(Life::Closed) => ("still", "stopped"),
        _ => ("bad", "interrupted"),
    };
    format!("<span class=\"badge {class}\">{text}</span>")
}

fn progress(state: &RunState) -> String {
    let done = state.finished();
    let mut html = String::from("<p class=\"count\">");
    let _ = write!(html, "<strong>{}</strong>", grouped(done));
    if let Some(trials) = state.facts.trials {
        let _ = write!(html, " of {} trials", grouped(trials));
    } else {
        html.push_str(" trials");
    }
    let mut notes = Vec::new();
    if state.series.pruned > 0 {
        notes.push(format!("{} pruned", grouped(state.series.pruned)));
    }
    if state.series.failed > 0 {
        notes.push(format!("{} failed", grouped(state.series.failed)));
    }
    let evaluated = state
        .enqueued
        .iter()
        .filter(|row| row.finished_at.is_some())
        .count();
    match state.enqueued.len() {
        0 => {}
        1 => notes.push(
            if evaluated == 1 {
                "and a baseline"
            } else {
                "a baseline first"
            }
            .into(),
        ),
        all if evaluated == all => notes.push(format!("and {all} baselines")),
        all => notes.push(format!("{all} baselines first")),
    }
    match state.confirmations.finished {
        0 => {}
        1 => notes.push("1 of them confirms the best".into()),
        all => notes.push(format!("{} of them confirm the best", grouped(all))),
    }
    if is_live(state) {
        notes.push(format!("{} running", grouped(state.running.len() as u64)));
        notes.push(format!("{} queued", grouped(state.queued)));
    }
    let _ = write!(
        html,
        "<span class=\"muted\">{}</span></p>",
        notes
            .iter()
            .map(|note| format!(" · {note}"))
            .collect::<String>()
    );
    let _ = write!(html, "<p class=\"left\">{}</p>", time_left(state));
    if let Some(trials) = state.facts.trials.filter(|trials| *trials > 0) {
        let percent = 100.0 * done as f64 / trials as f64;
        let _ = write!(
            html,
            "<progress max=\"{trials}\" value=\"{}\" aria-label=\"trials finished\">{percent:.0}%</progress>",
            done.min(trials)
        );
    }
    html
}

/// The time that is left, in words.
fn time_left(state: &RunState) -> String {
    if is_done(state) {
        return "every trial has its outcome".into();
    }
    match (&state.life, state.facts.trials, state.per_hour) {
        (Some(Life::Running), Some(trials), Some(rate)) => {
            let seconds = trials.saturating_sub(state.finished()) as f64 / rate * 3600.0;
            format!(
                "about <strong>{}</strong> left",
                duration(seconds.max(1.0).round())
            )
        }
        (Some(Life::Running), ..) => "time left: known after the first trials".into(),
        (Some(Life::Closed), ..) => "saved; the same command continues it".into(),
        _ => "its process is gone; nothing is lost, the same command continues it".into(),
    }
}

/// The key figures: best and mean reward, baseline and speed.
fn figures(state: &RunState) -> String {
    let best = state.best.as_ref();
    let confirmed = best.and_then(|row| confirmed(state, row.id));
    let confirmed = confirmed.and_then(|network| network.reward);
    let mean = state.series.recent_mean();
    let rate_note = if is_live(state) {
        "newest hundred trials"
    } else {
        "when it last ran"
    };
    [
        (
            if confirmed.is_some() {
                "Best reward, confirmed"
            } else {
                "Best reward"
            },
            decimal(confirmed.or(best.and_then(|row| row.reward))),
            best_note(state),
        ),
        (
            "Mean reward",
            decimal(mean.map(|(mean, _)| mean)),
            mean_note(mean.map(|(_, count)| count)),
        ),
        (
            "Baseline",
            decimal(state.baseline),
            "moving average of rewards".into(),
        ),
        (
            "Trials per hour",
            state.per_hour.map_or_else(|| "–".into(), rate_text),
            rate_note.into(),
        ),
    ]
    .into_iter()
    .map(|(name, value, note)| {
        format!("<div><dt>{name}</dt><dd>{value}<small>{note}</small></dd></div>")
    })
    .collect()
}

/// The metric of the best trial and a link to it.
fn best_note(state: &RunState) -> String {
    state.best.as_ref().map_or_else(
        || "no trial is completed yet".into(),
        |row| {
            format!(
                "{} {} · {}",
                state.facts.unit.name(),
                metric_text(state.facts.unit, row.metric),
                link(row.id, "figure", &format!("trial {}", grouped(row.id)))
            )
        },
    )
}

/// Over how many trials the mean is taken.
fn mean_note(count: Option<usize>) -> String {
    match count {
        None => "\u{a0}".into(),
        Some(1) => "of one trial".into(),
        Some(count) => format!("of the last {} trials", grouped(count as u64)),
    }
}

fn rate_text(rate: f64) -> String {
    if rate < 100.0 {
        format!("{rate:.1}")
    } else {
        grouped(rate.round() as u64)
    }
}

/// A link that opens a trial. `section` makes the element's id differ from those of other links to
/// the same trial.
pub(super) fn link(id: u64, section: &str, text: &str) -> String {
    format!("<a href=\"#trial-{id}\" id=\"{section}-{id}\">{text}</a>")
}

fn rewards(state: &RunState, chart_data: &RewardChartData) -> String {
    let (key, points) = match chart_data.bucket {
        1 => ("points", "trials".to_owned()),
        bucket => (
            "range",
            format!("worst to best of each {} trials", grouped(bucket as u64)),
        ),
    };
    let mut legend = format!(
        "<li><i class=\"key {key}\"></i>{points}</li><li><i class=\"key mean\"></i>mean of the last {}</li><li><i class=\"key best\"></i>best so far</li>",
        grouped(chart_data.window as u64)
    );
    if state.series.failed > 0 {
        legend.push_str("<li><i class=\"key failures\"></i>failed</li>");
    }
    let empty = if chart_data.points.is_empty() {
        "<p class=\"empty\">Points appear as trials end.</p>"
    } else {
        ""
    };
    let chart = chart::rewards(
        chart_data,
        Canvas {
            height: REWARDS_HEIGHT,
            width: None,
        },
    );
    format!("<ul class=\"legend\">{legend}</ul><div class=\"plot\">{chart}{empty}</div>")
}

/// What networks cost and are worth; empty where rewards have no cost.
fn pareto(state: &RunState) -> String {
    let Some(cost) = state.facts.cost else {
        return String::new();
    };
    let unit = state.facts.unit;
    let front = pareto_front(&state.costs, unit);
    let point = |row: &CostRow| (row.cost, row.metric);
    let newest = state.costs.len().saturating_sub(PARETO_POINTS);
    let points: Vec<(f64, f64)> = state.costs[newest..].iter().map(point).collect();
    let label = format!(
        "{} of {} trials by {}; {} of them are beaten by none that costs no more",
        unit.name(),
        grouped(state.costs.len() as u64),
        cost.unit(),
        front.len()
    );
    let front_points: Vec<(f64, f64)> = front.iter().map(point).collect();
    let canvas = Canvas {
        height: PARETO_HEIGHT,
        width: None,
    };
    let text = |value: f64, digits: usize| match unit {
        MetricUnit::Accuracy => {
            format!("{}%", number_text(100.0 * value, digits.saturating_sub(2)))
        }
        _ => number_text(value, digits),
    };
    let chart = chart::pareto(&points, &front_points, canvas, &label, text);
    let links: Vec<String> = front
        .iter()
        .map(|row| link(row.trial, "pareto", &grouped(row.trial)))
        .collect();
    format!(
        "<ul class=\"legend\"><li><i class=\"key points\"></i>trials: {} by {}</li><li><i class=\"key best\"></i>the front</li></ul>\
         <div class=\"plot\">{chart}</div><p class=\"muted\">on the front, the cheapest first: {}</p>",
        unit.name(),
        cost.unit(),
        if links.is_empty() {
            "none yet".to_owned()
        } else {
            links.join(", ")
        }
    )
}

/// How a trial's network was confirmed; None: it was not.
fn confirmed(state: &RunState, trial: u64) -> Option<&Confirmed> {
    { state.confirmed.iter() }.find(|network| network.trial == trial)
}

/// A label before a trial that was not sampled; empty for other trials.
fn label(enqueued: Option<&str>, again: Option<String>) -> String {
    match (enqueued, again) {
        (Some(FINAL_TRAINING), _) => {
            format!("<span class=\"badge still\">{FINAL_TRAINING}</span> ")
        }
        (Some(name), _) => format!(
            "<span class=\"badge still\">baseline</span> {} ",
            escape(name)
        ),
        (None, Some(text)) => format!("<span class=\"badge still\">{}</span> ", escape(&text)),
        (None, None) => String::new(),
    }
}

/// The same of a row.
fn label_of(row: &TrialRow) -> String {
    label(row.enqueued.as_deref(), again(row.confirms, row.retry_of))
}

fn leaders(state: &RunState) -> String {
    // Enqueued trials are shown to compare with, also when they are not among the best.
    let below = state.enqueued.iter().filter(|row| {
        row.finished_at.is_some() && !state.leaders.iter().any(|leader| leader.id == row.id)
    });
    let rows: Vec<&TrialRow> = state.leaders.iter().chain(below).collect();
    if rows.is_empty() {
        return "<p class=\"empty\">No trial is completed yet.</p>".into();
    }
    let metric = state.facts.unit.name();
    let sized = rows.iter().any(|row| row.parameters.is_some());
    let size = |text: &str| {
        if sized {
            text.to_owned()
        } else {
            String::new()
        }
    };
    let sizes = size(
        "<th scope=\"col\" class=\"n wide\">parameters</th><th scope=\"col\" class=\"n wide\">FLOPs</th>",
    );
    let has_means = !state.confirmed.is_empty();
    let means = if has_means {
        "<th scope=\"col\" class=\"n\">confirmed</th>"
    } else {
        ""
    };
    let mut html = format!(
        "<table><thead><tr><th scope=\"col\" class=\"n\">rank</th><th scope=\"col\" class=\"n\">trial</th>{means}<th scope=\"col\" class=\"n\">reward</th>\
         <th scope=\"col\" class=\"n\">{metric}</th>{sizes}<th scope=\"col\" class=\"n wide\">time</th><th scope=\"col\" class=\"arch\">architecture</th></tr></thead><tbody>"
    );
    for (index, row) in rows.into_iter().enumerate() {
        let rank = if index < state.leaders.len() {
            (index + 1).to_string()
        } else {
            "–".into()
        };
        let reward = if row.status == "failed" {
            "failed".into()
        } else {
            decimal(row.reward)
        };
        let number = |value: Option<u64>| value.map_or_else(|| "–".into(), compact);
        let sizes = size(&format!(
            "<td class=\"n wide\">{}</td><td class=\"n wide\">{}</td>",
            number(row.parameters),
            number(row.flops)
        ));
        let mean = confirmed(state, row.id).map_or_else(|| "–".to_owned(), mean_of);
        let mean = if has_means {
            format!("<td class=\"n strong\">{mean}</td>")
        } else {
            String::new()
        };
        let _ = write!(
            html,
            "<tr data-trial=\"{id}\"><td class=\"n muted\">{rank}</td><td class=\"n\">{}</td>{mean}<td class=\"n strong\">{reward}</td><td class=\"n\">{}</td>{sizes}\
             <td class=\"n wide\">{}</td><td class=\"arch\">{}<code>{}</code></td></tr>",
            link(row.id, "leader", &grouped(row.id)),
            metric_text(state.facts.unit, row.metric),
            row.seconds.map_or_else(|| "–".into(), duration),
            label_of(row),
            escape(&summary(&row.architecture)),
            id = row.id,
        );
    }
    html + "</tbody></table>"
}

/// Epoch and metric of the epochs that have one.
pub(super) fn metrics(epochs: &[EpochRow]) -> Vec<(u64, f64)> {
    epochs
        .iter()
        .filter_map(|row| Some((row.epoch, row.metric?)))
        .collect()
}

fn running(state: &RunState) -> String {
    if state.in_training.is_empty() {
        let text = if is_live(state) {
            "Nothing trains at this moment."
        } else {
            "Nothing trains: the search is not running."
        };
        return format!("<p class=\"empty\">{text}</p>");
    }
    let mut html = String::from("<ul class=\"children\">");
    for (row, epochs) in &state.in_training {
        html += &child(state, row, epochs);
    }
    html.push_str("</ul>");
    let hidden = (state.running.len() as u64).saturating_sub(state.in_training.len() as u64);
    if hidden > 0 {
        let _ = write!(html, "<p class=\"muted\">and {} more</p>", grouped(hidden));
    }
    html
}

fn child(state: &RunState, row: &TrialRow, epochs: &[EpochRow]) -> String {
    let unit = state.facts.unit;
    let values = metrics(epochs);
    let now = match (epochs.last(), state.facts.epochs) {
        (Some(last), Some(all)) => format!("epoch {} of {all}", last.epoch),
        (Some(last), None) => format!("epoch {}", last.epoch),
        (None, Some(_)) => "first epoch".into(),
        (None, None) => "at work".into(),
    };
    let curve = state.facts.epochs.map_or_else(String::new, |all| {
        let label = format!(
            "{} of trial {} over {} epochs",
            unit.name(),
            row.id,
            values.len()
        );
        format!(
            "<div class=\"spark\">{}</div>",
            chart::sparkline(
                &values,
                all,
                Canvas {
                    height: SPARKLINE_HEIGHT,
                    width: None
                },
                &label
            )
        )
    });
    let value = values
        .last()
        .map_or_else(|| "–".into(), |(_, value)| metric_text(unit, Some(*value)));
    format!(
        "<li data-trial=\"{}\"><p>{} <span class=\"muted\">on {} · {now}</span><b>{value}</b></p>{curve}<p class=\"arch\">{}<code>{}</code></p></li>",
        row.id,
        link(row.id, "running", &format!("Trial {}", grouped(row.id))),
        escape(row.device.as_deref().unwrap_or("–")),
        label_of(row),
        escape(&summary(&row.architecture))
    )
}

fn latest(state: &RunState) -> String {
    if state.latest.is_empty() {
        return "<p class=\"empty\">No trial has ended yet.</p>".into();
    }
    let row = |facts: &TrialFacts| {
        let outcome = match facts.reward.filter(|_| facts.status == "completed") {
            Some(reward) => {
                format!(
                    "<span class=\"strong\">{}</span> <span class=\"muted\">{}</span>",
                    decimal(Some(reward)),
                    metric_text(state.facts.unit, facts.metric)
                )
            }
            None if facts.status == "pruned" => format!(
                "pruned <span class=\"muted\">{}</span>",
                metric_text(state.facts.unit, facts.metric)
            ),
            None => format!(
                "<span class=\"bad\">failed</span> <span class=\"muted\">{}</span>",
                escape(&shortened(facts.error.as_deref().unwrap_or(""), 90))
            ),
        };
        let at = facts.finished_at.as_deref().map_or("", clock);
        format!(
            "<li data-trial=\"{}\"><time>{at}</time>{}<span>{}{outcome}</span></li>",
            facts.id,
            link(facts.id, "latest", &format!("trial {}", grouped(facts.id))),
            label(
                facts.enqueued.as_deref(),
                again(facts.confirms, facts.retry_of)
            )
        )
    };
    format!(
        "<ol class=\"log\">{}</ol>",
        state.latest.iter().map(row).collect::<String>()
    )
}

/// The first `max_chars` characters of a text.
fn shortened(text: &str, max_chars: usize) -> String {
    if text.chars().count() <= max_chars {
        text.to_owned()
    } else {
        text.chars().take(max_chars - 1).chain(['…']).collect()
    }
}

/// The time of day of an ISO 8601 time, such as `19:02:11`.
fn clock(time: &str) -> &str {
    time.get(11..19).unwrap_or(time)
}

fn events(state: &RunState) -> String {
    if state.events.is_empty() {
        return "<p class=\"empty\">Nothing has happened yet.</p>".into();
    }
    let row = |(at, kind, text): &(String, String, String)| {
        let day = at.get(..10).unwrap_or("");
        format!(
            "<li><time title=\"{}\">{}</time><b>{}</b><span>{}</span></li>",
            escape(day),
            escape(clock(at)),
            escape(kind),
            escape(&shortened(text, 200))
        )
    };
    format!(
        "<ol class=\"log\">{}</ol>",
        state.events.iter().map(row).collect::<String>()
    )
}

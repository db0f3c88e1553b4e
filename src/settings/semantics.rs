//! Values that cannot work, although each is of its key's type: keys without an effect, values
//! beyond their limits, and what the rooms say of their own sections; each with where it was
//! written. Must not judge a section by itself.

use super::Settings;
use super::keys;
use super::limits;
use super::memory;
use super::problem::{Origin, Problem};
use super::sources::Source;
use crate::actors::EnqueueSettings;
use crate::child::EvaluatorKind;
use crate::data::DataKind;
use crate::machine::{DeviceUse, memory_bytes, why_no_gpu};
use crate::space::SpaceKind;
use serde_json::Value;

/// What becomes of keys without an effect.
#[derive(Clone, Copy, Debug)]
pub enum Unused<'a> {
    Refused,
    /// In the `config.toml` of a run: earlier versions wrote them.
    PassedOver,
    /// Refused if they have none with any of these strategies either.
    RefusedByAll(&'a [&'a str]),
}

/// Everything that cannot work, in the order of the keys. `whole` stands for values that nobody
/// wrote.
pub fn problems(
    settings: &Settings,
    sources: &[Source],
    whole: &Origin,
    unused: Unused,
) -> Vec<Problem> {
    let resolved = settings.flat();
    let written = |key: &str| sources.iter().rev().find_map(|source| written(source, key));
    let strategies = match unused {
        Unused::RefusedByAll(strategies) => strategies,
        _ => &[],
    };
    let is_refused = !matches!(unused, Unused::PassedOver);
    let mut found = Vec::new();
    for key in keys::all() {
        let value = resolved.get(&key.name);
        let without_effect = key.without_effect_among(&resolved, "controller.strategy", strategies);
        let reason = match (without_effect, value) {
            (Some(reason), _) => (is_refused && written(&key.name).is_some()).then_some(reason),
            (None, Some(value)) if !limits::hold(key.schema, value) => limits::valid(key.schema),
            (None, _) => None,
        };
        found.extend(reason.map(|reason| (key.name.clone(), reason)));
    }
    let together: Vec<_> = sections(settings)
        .into_iter()
        .filter(|(key, _)| !found.iter().any(|(reported, _)| reported == key))
        .collect();
    found.extend(together);
    if found.is_empty() {
        let memory = trains_here(settings).then(|| memory_bytes() as f64);
        found = memory::problems(settings, memory);
    }
    found.sort_by_key(|(key, _)| keys::position(key));
    let problem = |(key, reason): (String, String)| {
        let default = resolved.get(&key).filter(|value| !is_empty(value));
        let default = default.map(|value| format!(" = {value} (default)"));
        let (origin, value) = match written(&key) {
            Some((origin, value)) => (origin, value),
            None => (whole.clone(), default.unwrap_or_default()),
        };
        Problem {
            origin,
            text: format!("{key}{value}: {reason}"),
        }
    };
    found.into_iter().map(problem).collect()
}

/// An empty text or list stands for a key that is unset.
fn is_empty(value: &Value) -> bool {
    value.as_str().is_some_and(str::is_empty) || value.as_array().is_some_and(Vec::is_empty)
}

/// Every room's view of its own section, with whole names of keys.
fn sections(settings: &Settings) -> Vec<(String, String)> {
    let all = [
        ("run", settings.run.problems()),
        ("space", settings.space.problems()),
        ("child", settings.child.problems()),
        ("data", settings.data.problems()),
        ("devices", settings.devices.problems()),
        ("restart", settings.restart.problems()),
        ("telemetry", settings.telemetry.problems()),
    ];
    let named = |(section, found): (&str, Vec<(String, String)>)| -> Vec<(String, String)> {
        found
            .into_iter()
            .map(|(key, reason)| (format!("{section}.{key}"), reason))
            .collect()
    };
    let mut found: Vec<_> = all.into_iter().flat_map(named).collect();
    found.extend(EnqueueSettings::problems(&settings.enqueue));
    found.extend(confirmed_in_vain(settings));
    if settings.child.evaluator == EvaluatorKind::Train {
        found.extend(trained_on(settings));
    }
    found
}

/// A table with one reward column gives a network the same reward each time.
fn confirmed_in_vain(settings: &Settings) -> Option<(String, String)> {
    let child = &settings.child;
    let in_vain = settings.run.confirm > 0
        && child.evaluator == EvaluatorKind::Table
        && child.table.reward.len() == 1;
    let reason = "has no effect with one column in child.table.reward, which gives a network the same reward each time: name the columns of \
                  several runs there, or leave this key out";
    in_vain.then(|| ("run.confirm".to_owned(), reason.to_owned()))
}

/// Cells are trained on a text, and what is trained on images is no language model.
fn trained_on(settings: &Settings) -> Option<(String, String)> {
    let reason = match (settings.space.kind, settings.data.kind) {
        (SpaceKind::Cell, DataKind::Text) => None,
        (SpaceKind::Cell, _) => Some(
            "space.kind = \"cell\" is trained on a text: set data.kind = \"text\" and data.path",
        ),
        (_, DataKind::Text) => Some("a text trains recurrent cells: set space.kind = \"cell\""),
        _ => None,
    };
    Some(("data.kind".to_owned(), reason?.to_owned()))
}

/// True where a child trains in this machine's own memory, not only in a GPU's.
fn trains_here(settings: &Settings) -> bool {
    match &settings.devices.use_ {
        DeviceUse::Auto => settings.data.kind == DataKind::Text || why_no_gpu().is_some(),
        DeviceUse::Listed(names) => names.iter().any(|name| name == "cpu"),
    }
}

/// Where this source writes a key, and ` = ` what; a part of a key (`space.decision[2].name`) is
/// found at the nearest whole.
pub fn written(source: &Source, key: &str) -> Option<(Origin, String)> {
    if let Some(entry) = source.entries.iter().rev().find(|entry| entry.key == key) {
        return Some((entry.origin.clone(), format!(" = {}", entry.written)));
    }
    let mut part = key;
    while let Some(end) = part.rfind(['.', '[']) {
        if let Some(origin) = source.parts.get(part) {
            return Some((origin.clone(), String::new()));
        }
        part = &part[..end];
        if let Some(entry) = source.entries.iter().rev().find(|entry| entry.key == part) {
            return Some((entry.origin.clone(), String::new()));
        }
    }
    None
}

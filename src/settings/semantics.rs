//! Values that cannot work, although each is of its key's type: asks every room about its own
//! section and says where the value was written. Must not judge a section by itself.

use super::Settings;
use super::memory;
use super::problem::{Origin, Problem};
use super::resolved::flatten;
use super::sources::Source;
use crate::actors::EnqueueSettings;
use crate::child::{ChildSettings, EvaluatorKind};
use crate::data::DataKind;
use crate::machine::{DeviceUse, memory_bytes};
use crate::space::SpaceKind;

/// Everything that cannot work, in the order of the sections. `whole` stands for values that nobody
/// wrote.
pub fn problems(settings: &Settings, sources: &[Source], whole: &Origin) -> Vec<Problem> {
    let found = sections(settings);
    let mut resolved = serde_json::Map::new();
    flatten(
        "",
        serde_json::to_value(settings).unwrap_or_default(),
        &mut resolved,
    );
    found
        .into_iter()
        .map(|(key, reason)| {
            let written = sources
                .iter()
                .rev()
                .find_map(|source| written(source, &key));
            let default = resolved
                .get(&key)
                .map(|value| format!(" = {value} (default)"));
            let (origin, value) = match written {
                Some((origin, value)) => (origin, value),
                None => (whole.clone(), default.unwrap_or_default()),
            };
            Problem {
                origin,
                text: format!("{key}{value}: {reason}"),
            }
        })
        .collect()
}

/// Every room's view of its own section, with whole names of keys.
fn sections(settings: &Settings) -> Vec<(String, String)> {
    let all = [
        ("run", settings.run.problems()),
        ("space", settings.space.problems()),
        ("controller", settings.controller.problems()),
        ("parameter_server", settings.parameter_server.problems()),
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
    if settings.child.evaluator == EvaluatorKind::Train {
        found.extend(trained_on(settings));
    }
    if found.is_empty() {
        found = memory::problems(
            settings,
            trains_here(settings).then(|| memory_bytes() as f64),
        );
    }
    found
}

/// Cells are trained on a text, and what is trained on images is no language model.
fn trained_on(settings: &Settings) -> Vec<(String, String)> {
    let problem = |reason: &str| vec![("data.kind".to_owned(), reason.to_owned())];
    match (settings.space.kind, settings.data.kind) {
        (SpaceKind::Cell, DataKind::Text) => Vec::new(),
        (SpaceKind::Cell, _) => problem(
            "space.kind = \"cell\" is trained on a text: set data.kind = \"text\" and data.path",
        ),
        (_, DataKind::Text) => problem("a text trains recurrent cells: set space.kind = \"cell\""),
        _ => {
            let foreign = settings.child.foreign_language_keys().into_iter();
            foreign
                .map(|(key, reason)| (format!("child.{key}"), reason))
                .chain(decided_rate(settings))
                .collect()
        }
    }
}

/// A learning rate that was written although one is decided for each network.
fn decided_rate(settings: &Settings) -> Option<(String, String)> {
    let written = settings.child.learning_rate != ChildSettings::default().learning_rate;
    let idle = settings.space.kind == SpaceKind::Conv
        && !settings.space.learning_rates.is_empty()
        && written;
    let reason = "has no effect beside space.learning_rates, which has a rate decided for each network: leave one of them out";
    idle.then(|| ("child.learning_rate".to_owned(), reason.to_owned()))
}

/// True where a child trains in this machine's own memory, not only in a GPU's.
fn trains_here(settings: &Settings) -> bool {
    match &settings.devices.use_ {
        DeviceUse::Auto => !cfg!(feature = "cuda"),
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

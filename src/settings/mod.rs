//! The config file: composes the rooms' own sections, merges file, environment and `--set`, and
//! reports everything that is wrong at once. Must not know of the command line, nor run anything.

mod check;
mod keys;
mod memory;
mod merge;
mod nearest;
mod problem;
mod resolved;
mod semantics;
mod sources;

#[cfg(test)]
mod tests;

pub use keys::listing;
pub use problem::{Origin, Problem, SettingsError};

use crate::{actors, child, data, machine, space, strategy, telemetry};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// A resolved config file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    pub run: actors::RunSettings,
    pub space: space::SpaceSettings,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub enqueue: Vec<actors::EnqueueSettings>,
    pub controller: strategy::ControllerSettings,
    pub parameter_server: strategy::ParameterServerSettings,
    pub child: child::ChildSettings,
    pub data: data::DataSettings,
    pub devices: machine::DevicesSettings,
    pub restart: actors::RestartSettings,
    pub telemetry: telemetry::TelemetrySettings,
}

/// Reads the config file and what overrides it: `environment` holds all variables (those named
/// `NETWRIGHT__SECTION__KEY` count), `set` the arguments `section.key=value`, which are strongest.
///
/// # Errors
/// Everything that is wrong, in one message: unknown keys and values of a wrong type or range, each
/// with where it was written; then values that cannot work. A file that is no TOML is one problem.
pub fn load(
    file: &Path,
    set: &[String],
    environment: impl Iterator<Item = (String, String)>,
) -> Result<Settings, SettingsError> {
    let text = read(file)?;
    load_text(file, &text, set, environment)
}

/// As `load`, with the text of the file at hand; `file` is the name that messages give it.
///
/// # Errors
/// As `load`.
pub fn load_text(
    file: &Path,
    text: &str,
    set: &[String],
    environment: impl Iterator<Item = (String, String)>,
) -> Result<Settings, SettingsError> {
    let mut sources = [
        sources::file(file, text),
        sources::environment(environment),
        sources::set(set),
    ];
    sources.iter_mut().for_each(check::check);
    let problems: Vec<_> = sources
        .iter()
        .flat_map(|source| source.problems.clone())
        .collect();
    // What was refused is missing from the merge, so whether the rest makes sense cannot be told
    // yet.
    if !problems.is_empty() {
        return Err(SettingsError { problems });
    }
    let whole = || Origin::File {
        path: file.into(),
        line: None,
        column: None,
    };
    let settings = merge::merge(&sources).map_err(|error| SettingsError {
        problems: vec![Problem {
            origin: whole(),
            text: error.to_string(),
        }],
    })?;
    let problems = semantics::problems(&settings, &sources, &whole());
    if problems.is_empty() {
        Ok(settings)
    } else {
        Err(SettingsError { problems })
    }
}

/// Keys that this text of a config file sets, each as it is written there.
pub fn written(file: &Path, text: &str) -> BTreeMap<String, String> {
    sources::file(file, text)
        .entries
        .into_iter()
        .map(|entry| (entry.key, entry.written))
        .collect()
}

/// Keys that the environment or `--set` hold, whatever the file says: each with where.
pub fn overridden(
    set: &[String],
    environment: impl Iterator<Item = (String, String)>,
) -> BTreeMap<String, Origin> {
    let sources = [sources::environment(environment), sources::set(set)];
    sources
        .into_iter()
        .flat_map(|source| source.entries)
        .map(|entry| (entry.key, entry.origin))
        .collect()
}

/// Where a key's value, or a part of it (`enqueue[2].architecture`), was written; None: nowhere, it
/// is the default.
pub fn origin(
    file: &Path,
    set: &[String],
    environment: impl Iterator<Item = (String, String)>,
    key: &str,
) -> Option<Origin> {
    let text = read(file).unwrap_or_default();
    let sources = [
        sources::file(file, &text),
        sources::environment(environment),
        sources::set(set),
    ];
    sources
        .iter()
        .rev()
        .find_map(|source| semantics::written(source, key))
        .map(|(origin, _)| origin)
}

fn read(file: &Path) -> Result<String, SettingsError> {
    let fail = |line, text| {
        let origin = Origin::File {
            path: file.into(),
            line,
            column: None,
        };
        SettingsError {
            problems: vec![Problem { origin, text }],
        }
    };
    let bytes = std::fs::read(file).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => fail(
            None,
            format!(
                "no such file; `netwright init quickstart {}` writes one to start from",
                file.display()
            ),
        ),
        _ => fail(None, format!("cannot be read as a config file: {error}")),
    })?;
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..valid]
            .iter()
            .filter(|&&byte| byte == b'\n')
            .count()
            + 1;
        fail(
            Some(line),
            format!("byte {valid} of the file is not UTF-8; a config file is UTF-8 text"),
        )
    })
}

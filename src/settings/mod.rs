//! The config file: composes the rooms' own sections, merges file, environment and `--set`, and
//! reports everything that is wrong at once. Must not know of the command line, nor run anything.

mod check;
mod keys;
mod kind;
mod limits;
mod memory;
mod merge;
mod nearest;
mod problem;
mod reference;
mod resolved;
mod schema;
mod semantics;
mod sources;

#[cfg(test)]
mod tests;

pub use keys::is_live;
pub use problem::{Origin, Problem, SettingsError};
pub use reference::reference;
pub use schema::schema;

use crate::{actors, child, data, machine, space, strategy, telemetry, workload};
use schemars::JsonSchema;
use semantics::Unused;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// A resolved config file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Settings {
    /// The run: its name, its size, its randomness.
    pub run: actors::RunSettings,
    /// What is searched.
    #[schemars(extend("x-identity" = true))]
    pub space: space::SpaceSettings,
    /// Architectures that are evaluated before sampling starts, beyond run.trials: known ones, to
    /// compare with.
    #[schemars(extend("x-type" = "a list of entries, for example [{ name = \"plain\", architecture = \"plain.json\" }]"))]
    pub enqueue: Vec<actors::EnqueueSettings>,
    /// The controllers, which propose architectures.
    pub controller: strategy::ControllerSettings,
    /// The parameters of the controllers.
    #[schemars(extend("x-live" = true))]
    pub parameter_server: strategy::ParameterServerSettings,
    /// How a child is trained and rewarded.
    #[schemars(extend("x-live" = true))]
    pub child: child::ChildSettings,
    /// Which children end before their last epoch.
    #[schemars(extend(
        "x-live" = true,
        "x-applies" = {"child.evaluator": ["train", "command"]},
    ))]
    pub early_stopping: child::EarlyStoppingSettings,
    /// What children are trained on.
    #[schemars(extend("x-applies" = {"child.evaluator": ["train"]}))]
    pub data: data::DataSettings,
    /// How `netwright retrain` trains networks of the search again: every combination of one entry
    /// from each list.
    #[schemars(extend("x-applies" = {"child.evaluator": ["train"]}))]
    pub retrain: workload::RetrainSettings,
    /// What trains children.
    #[schemars(extend("x-live" = true))]
    pub devices: machine::DevicesSettings,
    /// How often actors that fall are rebuilt, and when they have frozen.
    #[schemars(extend("x-live" = true))]
    pub restart: actors::RestartSettings,
    /// The endpoint of metrics and page.
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

/// As `load`, of a config file that is used with other strategies too: keys of each of them are
/// taken, beside those of its own.
///
/// # Errors
/// As `load`; a key without an effect with all of them is refused.
pub fn load_for_strategies(
    file: &Path,
    set: &[String],
    environment: impl Iterator<Item = (String, String)>,
    strategies: &[&str],
) -> Result<Settings, SettingsError> {
    let text = read(file)?;
    let unused = Unused::RefusedByAll(strategies);
    resolve(file, &text, set, environment, unused)
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
    let unused = if is_resolved(file) {
        Unused::PassedOver
    } else {
        Unused::Refused
    };
    resolve(file, text, set, environment, unused)
}

fn resolve(
    file: &Path,
    text: &str,
    set: &[String],
    environment: impl Iterator<Item = (String, String)>,
    unused: Unused,
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
    let problems = semantics::problems(&settings, &sources, &whole(), unused);
    if problems.is_empty() {
        Ok(settings)
    } else {
        Err(SettingsError { problems })
    }
}

/// Is this the `config.toml` that a run keeps beside its database?
fn is_resolved(file: &Path) -> bool {
    file.file_name().is_some_and(|name| name == "config.toml")
        && file.with_file_name("search.db").exists()
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
    if bytes.starts_with(&[0xFF, 0xFE]) || bytes.starts_with(&[0xFE, 0xFF]) {
        return Err(fail(None, "is UTF-16 text; save it as UTF-8".into()));
    }
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

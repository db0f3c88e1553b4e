//! The config file of a running search: read again when it changes and on SIGHUP, checked as at the
//! start, and compared with the settings in force. Must not know how a change is applied.

use super::{ConfigArgs, Failure, assembly};
use crate::actors::{Notice, Reconfigured, Reload};
use crate::settings::{self, Settings};
use crate::telemetry::Endpoint;
use crate::workload::Workload;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// The config file, and the settings that the search runs with.
pub struct ConfigFile {
    arguments: ConfigArgs,
    workload: Arc<dyn Workload>,
    settings: Settings,
    /// Absolute.
    run_dir: PathBuf,
    /// Of the file, when it was last read.
    text: String,
    stamp: Option<Stamp>,
    routes: Routes,
    rules_of_before: bool,
}

/// Gives an endpoint the routes of this run.
pub type Routes = Box<dyn Fn(Endpoint) -> Endpoint + Send>;

impl ConfigFile {
    /// `settings` were read from it when the search started. `rules_of_before`: the run keeps the
    /// rules of the version that began it.
    pub fn new(
        arguments: ConfigArgs,
        workload: Arc<dyn Workload>,
        settings: Settings,
        run_dir: PathBuf,
        routes: Routes,
        rules_of_before: bool,
    ) -> Self {
        let text = std::fs::read_to_string(&arguments.config).unwrap_or_default();
        let stamp = stamp(&arguments.config);
        Self {
            arguments,
            workload,
            settings,
            run_dir,
            text,
            stamp,
            routes,
            rules_of_before,
        }
    }

    fn path(&self) -> &PathBuf {
        &self.arguments.config
    }

    /// Keys whose text in the file changed without effect, because the environment or `--set`
    /// decides them.
    fn masked(&self, old: &str, new: &str, changed: &[String]) -> Vec<Notice> {
        let stronger = settings::overridden(&self.arguments.set, super::variables());
        let old = settings::written(self.path(), old);
        let new = settings::written(self.path(), new);
        let differs = |key: &&String| old.get(*key) != new.get(*key) && !changed.contains(*key);
        let masked = stronger.iter().filter(|(key, _)| differs(key));
        masked
            .map(|(key, origin)| {
                let value = new.get(key).map_or("left out", String::as_str);
                Notice::Masked(format!(
                    "{key} is now {value} in {}, without effect: {origin} holds it",
                    self.path().display()
                ))
            })
            .collect()
    }

    fn reconfigured(
        &self,
        new: &Settings,
        changed: &Map<String, Value>,
    ) -> Result<Reconfigured, Failure> {
        let lanes = assembly::lanes(new)?;
        assembly::check_cost(new, &lanes)?;
        let any = |prefixes: &[&str]| {
            changed
                .keys()
                .any(|key| prefixes.iter().any(|prefix| key.starts_with(prefix)))
        };
        let endpoint = if any(&["telemetry."]) {
            let endpoint = Endpoint::bind(&new.telemetry)
                .map_err(|error| Failure::Input(error.to_string()))?;
            Some(endpoint.map(&self.routes))
        } else {
            None
        };
        Ok(Reconfigured {
            search: assembly::search_settings(new, self.rules_of_before),
            factory: any(&["child.", "data.", "devices."]).then(|| {
                let workload = self
                    .workload
                    .with_settings(&assembly::workload_settings(new));
                assembly::evaluator_factory(new, workload, &lanes, self.run_dir.clone())
            }),
            lanes,
            attempts: new.child.attempts,
            failed_reward: assembly::failure_rule(new),
            max_seconds: new.run.max_seconds,
            restart: new.restart.clone(),
            endpoint,
            config: new.to_toml(),
            text: changed
                .iter()
                .map(|(key, change)| format!("{key} {}", change.as_str().unwrap_or_default()))
                .collect::<Vec<_>>()
                .join(", "),
        })
    }
}

impl Reload for ConfigFile {
    fn poll(&mut self, forced: bool) -> Vec<Notice> {
        let stamp = stamp(self.path());
        if !forced && (stamp.is_none() || stamp == self.stamp) {
            return Vec::new();
        }
        self.stamp = stamp;
        let text = match std::fs::read_to_string(self.path()) {
            Ok(text) if !forced && text == self.text => return Vec::new(),
            Ok(text) => text,
            Err(error) => {
                return vec![Notice::Refused(format!(
                    "{}: {error}",
                    self.path().display()
                ))];
            }
        };
        let old = std::mem::replace(&mut self.text, text);
        let mut new = match settings::load_text(
            self.path(),
            &self.text,
            &self.arguments.set,
            super::variables(),
        ) {
            Ok(new) => new,
            Err(error) => return vec![Notice::Refused(error.to_string())],
        };
        if self.rules_of_before {
            self.arguments.keep_rules_of_before(&mut new);
        }
        // Left out, it is what was decided when the search started.
        new.data.whiten_order = new.data.whiten_order.or(self.settings.data.whiten_order);
        let changed = difference(&self.settings, &new);
        let keys: Vec<String> = changed.keys().cloned().collect();
        let mut notices = self.masked(&old, &self.text, &keys);
        if changed.is_empty() {
            return notices;
        }
        let refused: Vec<String> = changed
            .iter()
            .filter_map(|(key, change)| refusal(&self.settings, &new, key, change))
            .collect();
        notices.push(if refused.is_empty() {
            match self.reconfigured(&new, &changed) {
                Ok(reconfigured) => {
                    self.settings = new;
                    Notice::Accepted(Box::new(reconfigured))
                }
                Err(failure) => Notice::Refused(failure.to_string()),
            }
        } else {
            Notice::Refused(format!("{}: {}", self.path().display(), refused.join("; ")))
        });
        notices
    }
}

/// What shows, without reading it, that a file may have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    modified: SystemTime,
    length_bytes: u64,
}

fn stamp(file: &Path) -> Option<Stamp> {
    let metadata = std::fs::metadata(file).ok()?;
    Some(Stamp {
        modified: metadata.modified().ok()?,
        length_bytes: metadata.len(),
    })
}

/// Key → `old → new`, for every key that differs.
fn difference(old: &Settings, new: &Settings) -> Map<String, Value> {
    let old = old.flat();
    let new = new.flat();
    let keys: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let text =
        |value: Option<&Value>| value.map_or_else(|| "unset".to_owned(), ToString::to_string);
    let differs = keys
        .into_iter()
        .filter(|key| old.get(*key) != new.get(*key));
    differs
        .map(|key| {
            (
                key.clone(),
                format!("{} → {}", text(old.get(key)), text(new.get(key))).into(),
            )
        })
        .collect()
}

/// Why a running search cannot take a change over, if it cannot.
fn refusal(old: &Settings, new: &Settings, key: &str, change: &Value) -> Option<String> {
    let change = change.as_str().unwrap_or_default();
    let identity = |settings: &Settings| settings.identity().get(key).cloned();
    if identity(old) != identity(new) {
        return Some(format!(
            "{key} ({change}) may not change in a run's life; start another run for it (--run-dir, or --fresh)"
        ));
    }
    if !settings::is_live(key) {
        return Some(format!(
            "{key} ({change}) cannot change while the search runs; it takes effect when the same command starts again"
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_change_is_told_from_what_may_not() {
        let old = Settings::default();
        let mut new = Settings::default();
        (new.controller.replicas, new.run.seed, new.run.name) = (3, 9, "other".into());
        let changed = difference(&old, &new);
        let refused: Vec<String> = changed
            .iter()
            .filter_map(|(key, change)| refusal(&old, &new, key, change))
            .collect();
        assert_eq!(
            changed.keys().collect::<Vec<_>>(),
            ["controller.replicas", "run.name", "run.seed"]
        );
        assert_eq!(changed["controller.replicas"], "1 → 3");
        assert!(
            refused[0].starts_with("run.name (\"search\" → \"other\") cannot change while"),
            "{refused:?}"
        );
        assert!(
            refused[1].starts_with("run.seed (1 → 9) may not change in a run's life"),
            "{refused:?}"
        );
        assert_eq!(refused.len(), 2);
    }
}

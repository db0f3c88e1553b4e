//! Settings once they are resolved: as TOML, as what may not change in a run's life, and where the
//! run lies.

use super::Settings;
use crate::child::EvaluatorKind;
use crate::space::SpaceKind;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

impl Settings {
    /// As TOML that `load` reads back to equal settings: what `check` prints and a run keeps as
    /// `config.toml`.
    pub fn to_toml(&self) -> String {
        toml::to_string(self)
            .expect("settings are tables of texts, booleans and numbers within TOML's range")
    }

    /// Every key with its value, as a flat object.
    pub fn flat(&self) -> Map<String, Value> {
        let mut all = Map::new();
        flatten(
            "",
            serde_json::to_value(self).expect("settings have only text keys"),
            &mut all,
        );
        all
    }

    /// What may not change in a run's life, as a flat object of key → value. The contents of the
    /// data set and of the table are the caller's to add: only they know them. `space` is there as
    /// a whole, for nothing of it may change.
    pub fn identity(&self) -> Value {
        let mut all = self.flat();
        let trains = self.child.evaluator == EvaluatorKind::Train;
        all.retain(|key, _| match key.as_str() {
            "run.seed"
            | "controller.hidden"
            | "controller.layers"
            | "controller.init_scale"
            | "child.evaluator" => true,
            "child.table.reward" | "child.command.image" | "child.command.classes" => !trains,
            "data.kind" | "data.size" => trains,
            "child.reward_constant" => trains && self.space.kind == SpaceKind::Cell,
            _ => key.starts_with("space.") || (trains && key.starts_with("child.reward_")),
        });
        if trains {
            // Unset sizes are absent from the settings; setting one later is a change.
            all.insert("data.train_size".into(), json!(self.data.train_size));
            all.insert(
                "data.validation_size".into(),
                json!(self.data.validation_size),
            );
        }
        Value::Object(all)
    }

    /// The run's directory: as given on the command line, else `run.dir`, else `runs/<run.name>`;
    /// relative to the working directory.
    pub fn run_dir(&self, given: Option<&Path>) -> PathBuf {
        match (given, &self.run.dir) {
            (Some(dir), _) => dir.into(),
            (None, Some(dir)) => dir.into(),
            (None, None) => Path::new("runs").join(&self.run.name),
        }
    }
}

/// `{"a": {"b": 1}}` becomes `{"a.b": 1}`.
pub fn flatten(prefix: &str, value: Value, into: &mut Map<String, Value>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let key = if prefix.is_empty() {
                    name
                } else {
                    format!("{prefix}.{name}")
                };
                flatten(&key, value, into);
            }
        }
        leaf => {
            into.insert(prefix.to_owned(), leaf);
        }
    }
}

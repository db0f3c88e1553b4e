//! Settings once they are resolved: as TOML, as what may not change in a run's life, and where the
//! run lies.

use super::Settings;
use super::keys::{self, Identity};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

impl Settings {
    /// As TOML that `load` reads back to the same search: what `check` prints and a run keeps as
    /// `config.toml`. It has the keys that apply.
    pub fn to_toml(&self) -> String {
        toml::to_string(&self.applicable()).expect("settings are within TOML's range")
    }

    /// The keys that apply, in the order of the config file; a section without any is left out.
    pub fn applicable(&self) -> toml::Table {
        let mut table = toml::Table::try_from(self)
            .expect("settings are tables of texts, booleans and numbers within TOML's range");
        let flat = self.flat();
        for key in keys::all() {
            if key.without_effect(&flat).is_some() {
                remove(&mut table, &key.name);
            }
        }
        table.retain(|_, value| !is_empty_list_of_tables(value));
        table
    }

    /// Every key with its value, as a flat object; unset keys are not there.
    pub fn flat(&self) -> Map<String, Value> {
        let mut all = Map::new();
        let value = serde_json::to_value(self).expect("settings have only text keys");
        flatten("", value, &mut all);
        all.retain(|_, value| !value.is_null());
        all
    }

    /// What may not change in a run's life, as a flat object of key → value. The contents of the
    /// data set and of the table are the caller's to add: only they know them. `space` is there as
    /// a whole, with keys that do not apply: runs of earlier versions stored them.
    pub fn identity(&self) -> Value {
        let flat = self.flat();
        let mut identity = Map::new();
        for key in keys::all() {
            let applies = key.name.starts_with("space.") || key.without_effect(&flat).is_none();
            let value = flat.get(&key.name);
            let is_part = match key.identity {
                Identity::No => false,
                Identity::Yes => true,
                Identity::UnlessDefault => value.is_some() && value != key.schema.get("default"),
            };
            if applies && is_part {
                let value = value.cloned().unwrap_or_default();
                identity.insert(key.name.clone(), value);
            }
        }
        Value::Object(identity)
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

/// Takes a key out, and the sections that it leaves empty.
fn remove(table: &mut toml::Table, key: &str) {
    let Some((section, rest)) = key.split_once('.') else {
        table.remove(key);
        return;
    };
    if let Some(inner) = table.get_mut(section).and_then(toml::Value::as_table_mut) {
        remove(inner, rest);
        if inner.is_empty() {
            table.remove(section);
        }
    }
}

/// `[[enqueue]]` without an entry.
fn is_empty_list_of_tables(value: &toml::Value) -> bool {
    value.as_array().is_some_and(Vec::is_empty)
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

//! Merges the checked sources with the `config` crate: a later one wins. Must not check anything:
//! every entry already is of its key's type, so that none of the crate's silent conversions can
//! happen.

use super::Settings;
use super::sources::Source;
use crate::child::ChildSettings;
use crate::space::SpaceKind;
use config::{Config, ConfigError, Map, ValueKind};

/// A source in the form that `config` takes.
#[derive(Clone, Debug)]
struct Layer(Map<String, config::Value>);

impl config::Source for Layer {
    fn clone_into_box(&self) -> Box<dyn config::Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, config::Value>, ConfigError> {
        Ok(self.0.clone())
    }
}

/// The settings of all sources together, the first one weakest. What no source has is the default,
/// for a child that of its kind.
pub fn merge(sources: &[Source]) -> Result<Settings, ConfigError> {
    let settings = above(Layer(Map::new()), sources)?;
    match settings.space.kind {
        SpaceKind::Cell => above(child(&ChildSettings::language_model())?, sources),
        _ => Ok(settings),
    }
}

/// `[child]` as a source.
fn child(settings: &ChildSettings) -> Result<Layer, ConfigError> {
    let table =
        toml::Table::try_from(settings).map_err(|error| ConfigError::Foreign(Box::new(error)))?;
    let entries = table.iter().map(|(name, value)| {
        (
            format!("child.{name}"),
            config::Value::new(None, kind(value)),
        )
    });
    Ok(Layer(entries.collect()))
}

fn above(weakest: Layer, sources: &[Source]) -> Result<Settings, ConfigError> {
    let mut builder = Config::builder().add_source(weakest);
    for source in sources {
        let entries = source.entries.iter().map(|entry| {
            let origin = entry.origin.to_string();
            (
                entry.key.clone(),
                config::Value::new(Some(&origin), kind(&entry.value)),
            )
        });
        builder = builder.add_source(Layer(entries.collect()));
    }
    builder.build()?.try_deserialize()
}

fn kind(value: &toml::Value) -> ValueKind {
    match value {
        toml::Value::String(text) => ValueKind::String(text.clone()),
        toml::Value::Integer(number) => ValueKind::I64(*number),
        toml::Value::Float(number) => ValueKind::Float(*number),
        toml::Value::Boolean(value) => ValueKind::Boolean(*value),
        toml::Value::Datetime(value) => ValueKind::String(value.to_string()),
        toml::Value::Array(items) => ValueKind::Array(
            items
                .iter()
                .map(|item| config::Value::new(None, kind(item)))
                .collect(),
        ),
        toml::Value::Table(table) => ValueKind::Table(
            table
                .iter()
                .map(|(key, item)| (key.clone(), config::Value::new(None, kind(item))))
                .collect(),
        ),
    }
}

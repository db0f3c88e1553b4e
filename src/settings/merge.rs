//! Merges the checked sources with the `config` crate: a later one wins. Must not check anything:
//! every entry already is of its key's type, so that none of the crate's silent conversions can
//! happen.

use super::Settings;
use super::keys;
use super::sources::Source;
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
/// which may differ with the kind of space and the recipe.
pub fn merge(sources: &[Source]) -> Result<Settings, ConfigError> {
    let settings = above(Layer(Map::new()), sources)?;
    let defaults = defaults_of(&settings)?;
    if defaults.0.is_empty() {
        Ok(settings)
    } else {
        above(defaults, sources)
    }
}

/// The defaults that belong to this kind of space or this recipe alone, as a source.
fn defaults_of(settings: &Settings) -> Result<Layer, ConfigError> {
    let foreign = |error: toml::ser::Error| ConfigError::Foreign(Box::new(error));
    let flat = settings.flat();
    let keywords: Vec<String> = keys::DEFAULTS_BY
        .iter()
        .filter(|name| keys::find(name).is_some_and(|key| key.without_effect(&flat).is_none()))
        .filter_map(|name| Some(format!("x-default-{}", flat.get(*name)?.as_str()?)))
        .collect();
    let own = keys::all().iter().filter_map(|key| {
        let value = keywords.iter().find_map(|word| key.schema.get(word))?;
        Some((key.name.clone(), value))
    });
    own.map(|(name, value)| {
        let value = toml::Value::try_from(value).map_err(foreign)?;
        Ok((name, config::Value::new(None, kind(&value))))
    })
    .collect::<Result<_, _>>()
    .map(Layer)
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

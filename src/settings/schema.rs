//! The JSON Schema of the config file, generated from the declarations on the fields of `Settings`.
//! Beside the standard keywords a field may carry:
//!
//! - `x-applies`: key → values of that key with which this one has an effect (empty: where that
//!   list is empty); of a section: of all its keys
//! - `x-default-WORD`: its default where one of the keys of `keys::DEFAULTS_BY` is WORD
//! - `x-identity`: it is part of a run's identity; `"unless default"`: left out of it at its
//!   default
//! - `x-live`: a running search takes a change over; of a section: of all its keys
//! - `x-type`, `x-valid`, `x-unit`, `x-unset`: for messages and the reference: what its type is,
//!   what is valid, what it counts, and what happens where it is left out
//!
//! Must not know any single key.

use super::Settings;
use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use serde_json::Value;
use std::sync::LazyLock;

static PUBLISHED: LazyLock<Schema> = LazyLock::new(|| {
    let mut schema = generator()
        .into_generator()
        .into_root_schema_for::<Settings>();
    schema.insert("title".into(), "netwright".into());
    schema.insert("description".into(), "A config file of netwright.".into());
    schema
});

/// What is written has every field, so that `required` lists them in their order, which the
/// properties of a schema do not keep.
static ORDERED: LazyLock<Schema> = LazyLock::new(|| {
    let settings = generator().for_serialize();
    settings.into_generator().into_root_schema_for::<Settings>()
});

/// As draft 7: editors (Taplo) know no newer one in full.
fn generator() -> SchemaSettings {
    SchemaSettings::draft07()
        .with(|settings| settings.inline_subschemas = true)
        .with_transform(RecursiveTransform(tidy))
}

/// The JSON Schema of a config file.
pub fn schema() -> &'static Value {
    PUBLISHED.as_value()
}

/// Names and schemas of the properties of an object at this path (`["child", "table"]`), in the
/// order of its fields.
pub fn properties(path: &[&str]) -> Vec<(&'static str, &'static Value)> {
    let at = |schema: &'static Value| {
        path.iter()
            .try_fold(schema, |schema, name| schema.get("properties")?.get(name))
    };
    let published = at(PUBLISHED.as_value()).and_then(|schema| schema.get("properties"));
    let order = at(ORDERED.as_value()).and_then(|schema| schema.get("required")?.as_array());
    let names = order.into_iter().flatten().filter_map(Value::as_str);
    names
        .filter_map(|name| Some((name, published?.get(name)?)))
        .collect()
}

/// TOML has no null: what is optional is left out. Unknown keys are refused.
fn tidy(schema: &mut Schema) {
    schema.remove("format");
    let is_null = |schema: &Value| schema["type"] == "null";
    if let Some(types) = schema.get_mut("type").and_then(Value::as_array_mut) {
        types.retain(|name| name != "null");
        if let [name] = types.as_slice() {
            let name = name.clone();
            schema.insert("type".into(), name);
        }
    }
    if let Some(options) = schema.get_mut("anyOf").and_then(Value::as_array_mut) {
        options.retain(|option| !is_null(option));
        if let [Value::Object(only)] = options.as_slice() {
            let only = only.clone();
            schema.remove("anyOf");
            for (name, value) in only {
                schema.ensure_object().entry(name).or_insert(value);
            }
        }
    }
    if schema.get("default") == Some(&Value::Null) {
        schema.remove("default");
    }
    if schema.get("properties").is_some() {
        // The keys inside say theirs.
        schema.remove("default");
        schema.insert("additionalProperties".into(), false.into());
    }
    if let Some(text) = schema.get("description").and_then(Value::as_str) {
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        schema.insert("description".into(), text.into());
    }
}

//! The reference of all keys, `docs/configuration.md`, as Markdown. Must not know any single key.

use super::keys::{self, Identity, Key};
use super::limits;
use super::schema;
use serde_json::Value;

const OPENING: &str = "\
# Configuration

<!-- Written by `netwright schema --markdown`: change the declarations in the rooms' settings.rs. -->

A config file is TOML. Every key has a default and can be left out. The file yields to the environment
(`NETWRIGHT__SECTION__KEY`), and both yield to `--set section.key=value`. `netwright check CONFIG` prints what a
file means: the keys that apply, each with its value. `netwright schema` prints the JSON Schema, by which editors
complete and check a config.

*Changes* says what happens when a key is changed after a run has begun: **live**: a running search takes it over when
the file is saved; **restart**: it takes effect when the same command starts again; **never**: it is part of the
run's identity, and another value is another run. A key is refused where it does not apply.
";

const HEAD: &str = "
| Key | Type | Default | Valid | Changes | Applies with | What it does |
|---|---|---|---|---|---|---|
";

/// The reference of all keys.
pub fn reference() -> String {
    let mut text = OPENING.to_owned();
    for (name, schema) in schema::properties(&[]) {
        section(&mut text, &[name], schema);
    }
    text
}

/// A section, and those inside it.
fn section(text: &mut String, path: &[&str], schema: &Value) {
    let name = path.join(".");
    let doc = schema["description"].as_str().unwrap_or_default();
    if schema["type"] == "array" {
        *text += &format!("\n## `[[{name}]]`\n\n{doc}\n\n| Key | What it does |\n|---|---|\n");
        inside(text, "", &schema["items"]);
        return;
    }
    *text += &format!("\n## `[{name}]`\n\n{doc}\n");
    let conditions: Vec<String> = keys::section(&name)
        .first()
        .and_then(|key| keys::find(key))
        .filter(|_| schema.get("x-applies").is_some())
        .map(|key| key.conditions.iter().map(keys::Condition::short).collect())
        .unwrap_or_default();
    if let Some(condition) = conditions.first() {
        *text += &format!("\nIt applies with {condition}.\n");
    }
    let skipped = usize::from(!conditions.is_empty());
    let (sections, own): (Vec<_>, Vec<_>) = schema::properties(path)
        .into_iter()
        .partition(|(_, schema)| schema.get("properties").is_some());
    if !own.is_empty() {
        *text += HEAD;
    }
    for (key, schema) in own {
        let path = [path, &[key]].concat().join(".");
        if let Some(declared) = keys::find(&path) {
            row(text, key, declared, skipped);
            inside(text, &format!("{key}."), &schema["items"]);
        }
    }
    for (key, schema) in sections {
        section(text, &[path, &[key]].concat(), schema);
    }
}

fn row(text: &mut String, name: &str, key: &Key, skipped: usize) {
    let conditions: Vec<_> = key.conditions[skipped..]
        .iter()
        .map(keys::Condition::short)
        .collect();
    let changes = match (key.identity, key.live) {
        (Identity::Yes | Identity::UnlessDefault, _) => "never",
        (Identity::No, true) => "live",
        (Identity::No, false) => "restart",
    };
    let cells = [
        format!("`{name}`"),
        key.kind.short(),
        default(key),
        valid(key).unwrap_or_default(),
        changes.to_owned(),
        conditions.join(", "),
        doc(key.schema),
    ];
    *text += &format!(
        "| {} |\n",
        cells.map(|cell| cell.replace('|', "\\|")).join(" | ")
    );
}

/// The keys of the tables of a list.
fn inside(text: &mut String, prefix: &str, items: &Value) {
    for (name, schema) in items["properties"].as_object().into_iter().flatten() {
        let cells = if prefix.is_empty() { "" } else { " | | | | |" };
        *text += &format!("| `{prefix}{name}` |{cells} {} |\n", doc(schema));
    }
}

/// Its default, and those of single kinds of space and recipes.
fn default(key: &Key) -> String {
    let code = |value: &Value| format!("`{}`", limits::written(value));
    let unset = || match key.schema["x-unset"].as_str() {
        // `<run.name>` is no element of HTML.
        Some(unset) => format!("unset: {}", unset.replace('<', "&lt;")),
        None => "unset".into(),
    };
    let mut text = key.schema.get("default").map_or_else(unset, code);
    for (keyword, value) in key.schema.as_object().into_iter().flatten() {
        if let Some(word) = keyword.strip_prefix("x-default-") {
            let key = keys::decided_by(word).unwrap_or_default();
            text += &format!("; with `{key} = \"{word}\"` {}", code(value));
        }
    }
    text
}

/// The range of its value, or of the entries of its list.
fn valid(key: &Key) -> Option<String> {
    let entries = key.schema.get("items");
    let schema = entries.unwrap_or(key.schema);
    let is_odd = schema["not"]["multipleOf"] == 2;
    // What is 0 or more is so by its type.
    let is_free = schema["minimum"] == 0
        && schema
            .get("maximum")
            .or(schema.get("exclusiveMaximum"))
            .is_none();
    let range = limits::range(schema, None)
        .filter(|_| !is_free || key.kind == super::kind::Kind::Number)?;
    Some(match (entries, is_odd) {
        (None, _) => range,
        (Some(_), false) => format!("each {range}"),
        (Some(_), true) => format!("each {range}, odd"),
    })
}

fn doc(schema: &Value) -> String {
    schema["description"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

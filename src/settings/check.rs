//! Compares every entry with the list of keys: unknown keys, and values of the wrong type. Must not
//! know which values make sense together: the rooms' own `problems` do.

use super::keys::{self, Key};
use super::kind::Kind;
use super::nearest;
use super::problem::Problem;
use super::sources::{Entry, Source};
use toml::Value;

/// Takes the entries that no later step may see out of the source, and says why.
pub fn check(source: &mut Source) {
    let entries = std::mem::take(&mut source.entries);
    for entry in entries {
        let before = source.problems.len();
        match keys::find(&entry.key) {
            None => source.problems.push(unknown(&entry)),
            Some(key) if matches!(key.kind, Kind::Tables(_)) => tables(&entry, key, source),
            Some(key) if !key.kind.fits(&entry.value) => {
                source.problems.push(wrong(
                    &entry,
                    &format!("must be {} ({})", key.kind.valid(), key.doc()),
                ));
            }
            Some(_) => {}
        }
        if source.problems.len() == before {
            source.entries.push(entry);
        }
    }
}

fn wrong(entry: &Entry, reason: &str) -> Problem {
    Problem {
        origin: entry.origin.clone(),
        text: format!("{} = {}: {reason}", entry.key, entry.written),
    }
}

fn unknown(entry: &Entry) -> Problem {
    let section = keys::section(&entry.key);
    let text = if section.is_empty() {
        format!(
            "unknown key {}; the nearest valid key is {}",
            entry.key,
            keys::nearest(&entry.key)
        )
    } else {
        format!(
            "{} is a section; its keys are {}",
            entry.key,
            section.join(", ")
        )
    };
    Problem {
        origin: entry.origin.clone(),
        text,
    }
}

/// A list of tables, each checked by itself.
fn tables(entry: &Entry, key: &Key, source: &mut Source) {
    let Some(tables) = entry
        .value
        .as_array()
        .filter(|_| key.kind.fits(&entry.value))
    else {
        let reason = format!("must be {}", key.kind.valid());
        source.problems.push(wrong(entry, &reason));
        return;
    };
    let check = if key.name == "enqueue" {
        enqueued
    } else {
        decision
    };
    for (index, table) in tables.iter().filter_map(Value::as_table).enumerate() {
        let part = format!("{}[{}]", entry.key, index + 1);
        let origin = source.parts.get(&part).unwrap_or(&entry.origin).clone();
        let origin_of = |name: &str| {
            source
                .parts
                .get(&format!("{part}.{name}"))
                .unwrap_or(&origin)
                .clone()
        };
        let mut found = unknown_parts(&part, table, &keys::inside(key));
        found.extend(check(&part, table));
        source
            .problems
            .extend(found.into_iter().map(|(name, text)| Problem {
                origin: origin_of(&name),
                text,
            }));
    }
}

fn unknown_parts(part: &str, table: &toml::Table, keys: &[&str]) -> Vec<(String, String)> {
    let unknown = table
        .keys()
        .filter(|name| !keys.contains(&name.as_str()))
        .map(|name| {
            let meant = nearest::among(name, keys.iter().copied()).unwrap_or("name");
            (
                name.clone(),
                format!("unknown key {part}.{name}; the nearest valid key is {part}.{meant}"),
            )
        });
    unknown.collect()
}

/// One of `[[enqueue]]`: texts, and a list of decisions.
fn enqueued(part: &str, table: &toml::Table) -> Vec<(String, String)> {
    let mut problems = Vec::new();
    let mut report = |name: &str, text: String| problems.push((name.to_owned(), text));
    if let Some(value) = table.get("top").filter(|value| !Kind::Count.fits(value)) {
        report(
            "top",
            format!("{part}.top = {value}: must be {}", Kind::Count.valid()),
        );
    }
    for name in ["name", "architecture", "run"] {
        if let Some(value) = table.get(name).filter(|value| !value.is_str()) {
            report(
                name,
                format!("{part}.{name} = {value}: must be {}", Kind::Text.valid()),
            );
        }
    }
    let is_decision = |value: &Value| Kind::Count.fits(value) || is_anchor(value);
    if let Some(value) = table.get("decisions").filter(|value| {
        !value
            .as_array()
            .is_some_and(|list| list.iter().all(is_decision))
    }) {
        let valid = "must be a list of option numbers, from 0, and of lists of zeros and ones, for example [1, 0, []]";
        report("decisions", format!("{part}.decisions = {value}: {valid}"));
    }
    problems
}

/// Which of the earlier layers feed a layer.
fn is_anchor(value: &Value) -> bool {
    value.as_array().is_some_and(|bits| {
        bits.iter()
            .all(|bit| matches!(bit.as_integer(), Some(0 | 1)))
    })
}

/// One of `[[space.decision]]`: a name, a list of texts, numbers and booleans, and perhaps a
/// condition.
fn decision(part: &str, table: &toml::Table) -> Vec<(String, String)> {
    let mut problems = Vec::new();
    let mut report = |name: &str, text: String| problems.push((name.to_owned(), text));
    if !table.get("name").is_some_and(Value::is_str) {
        report(
            "name",
            format!("{part}.name must be there and be {}", Kind::Text.valid()),
        );
    }
    match table.get("options").and_then(Value::as_array) {
        None => report(
            "options",
            format!("{part}.options must be there and be a list, for example [64, 128]"),
        ),
        Some(options) => {
            for option in options.iter().filter(|option| !is_option(option)) {
                report(
                    "options",
                    format!(
                        "{part}.options holds {option}: options are texts, finite numbers, true and false"
                    ),
                );
            }
        }
    }
    if let Some(when) = table.get("when") {
        let allowed = |value: &Value| {
            is_option(value)
                || value
                    .as_array()
                    .is_some_and(|values| values.iter().all(is_option))
        };
        if !when
            .as_table()
            .is_some_and(|when| when.values().all(allowed))
        {
            let example = "{ op = \"conv\" } or { op = [\"conv\", \"pool\"], deep = true }";
            report(
                "when",
                format!(
                    "{part}.when = {when}: must name other decisions and the options of theirs that it needs, for example {example}"
                ),
            );
        }
    }
    problems
}

fn is_option(value: &Value) -> bool {
    value.is_str() || value.is_bool() || Kind::Number.fits(value)
}

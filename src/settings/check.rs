//! Compares every entry with the table of keys: unknown keys, and values of the wrong type. Must
//! not know which values make sense together: the rooms' own `problems` do.

use super::keys::{self, DECISION_KEYS, ENTRY_KEYS, Kind};
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
            Some(key) if key.kind == Kind::Decisions => parts(&entry, key.kind, source, decision),
            Some(key) if key.kind == Kind::Entries => parts(&entry, key.kind, source, enqueued),
            Some(key) if !fits(key.kind, &entry.value) => {
                source.problems.push(wrong(
                    &entry,
                    &format!("must be {} ({})", key.kind.valid(), key.doc),
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

/// Strict, where `config` would turn 1.5 into 2 and "yes" into true.
fn fits(kind: Kind, value: &Value) -> bool {
    let all = |kind: Kind| {
        value
            .as_array()
            .is_some_and(|items| items.iter().all(|item| fits(kind, item)))
    };
    match kind {
        Kind::Text => value.is_str(),
        Kind::Boolean => value.is_bool(),
        Kind::Count => value.as_integer().is_some_and(|number| number >= 0),
        Kind::Number => value.is_integer() || value.as_float().is_some_and(f64::is_finite),
        Kind::Counts => all(Kind::Count),
        Kind::Numbers => all(Kind::Number),
        Kind::Texts => all(Kind::Text),
        Kind::OneOf(words) => value.as_str().is_some_and(|word| words.contains(&word)),
        Kind::Words(words) => all(Kind::OneOf(words)),
        Kind::Skips => value.is_bool() || value.as_str() == Some("all"),
        Kind::Devices => value.as_str() == Some("auto") || all(Kind::Text),
        Kind::SkipOrNumber => value.as_str() == Some("skip") || fits(Kind::Number, value),
        Kind::Decisions | Kind::Entries => value
            .as_array()
            .is_some_and(|items| items.iter().all(Value::is_table)),
    }
}

/// What is wrong with one table of a list, and in which of its keys.
type Check = fn(&str, &toml::Table) -> Vec<(String, String)>;

/// A list of tables, each checked by itself.
fn parts(entry: &Entry, kind: Kind, source: &mut Source, check: Check) {
    let Some(tables) = entry.value.as_array().filter(|_| fits(kind, &entry.value)) else {
        source
            .problems
            .push(wrong(entry, &format!("must be {}", kind.valid())));
        return;
    };
    for (index, table) in tables.iter().filter_map(Value::as_table).enumerate() {
        let part = format!("{}[{}]", entry.key, index + 1);
        let origin = source.parts.get(&part).unwrap_or(&entry.origin).clone();
        let place = |name: &str| {
            source
                .parts
                .get(&format!("{part}.{name}"))
                .unwrap_or(&origin)
                .clone()
        };
        let found = check(&part, table);
        source
            .problems
            .extend(found.into_iter().map(|(name, text)| Problem {
                origin: place(&name),
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
    let mut problems = unknown_parts(part, table, &ENTRY_KEYS);
    let mut report = |name: &str, text: String| problems.push((name.to_owned(), text));
    for name in ["name", "architecture"] {
        if let Some(value) = table.get(name).filter(|value| !value.is_str()) {
            report(
                name,
                format!("{part}.{name} = {value}: must be {}", Kind::Text.valid()),
            );
        }
    }
    let decision = |value: &Value| fits(Kind::Count, value) || is_anchor(value);
    if let Some(value) = table.get("decisions").filter(|value| {
        !value
            .as_array()
            .is_some_and(|list| list.iter().all(decision))
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
    let mut problems = unknown_parts(part, table, &DECISION_KEYS);
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
    value.is_str() || value.is_bool() || fits(Kind::Number, value)
}

//! Every key of the config file, read from the schema: the checks, the nearest key of a misspelt
//! one, what a run may change and the reference come from this list. Must not know any single key.

use super::kind::Kind;
use super::nearest;
use super::schema;
use serde_json::{Map, Value};
use std::sync::LazyLock;

/// One key of the config file.
#[derive(Debug)]
pub struct Key {
    /// `section.key`
    pub name: String,
    pub kind: Kind,
    pub schema: &'static Value,
    /// A running search takes a change over, unless the key is part of the run's identity.
    pub live: bool,
    pub identity: Identity,
    /// It has an effect where all of them hold.
    pub conditions: Vec<Condition>,
}

/// Whether a key is part of a run's identity: what may not change in the run's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    No,
    /// `null` where it is unset.
    Yes,
    /// A run that began before the key existed goes on.
    UnlessDefault,
}

/// A key has an effect only where another one has one of these values: as its value, or among the
/// entries of its list. No values: where its list is empty, or it is unset.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    pub key: String,
    /// Words, or true and false.
    pub values: Vec<Value>,
}

/// What a section declares for all its keys.
#[derive(Clone, Default)]
struct Inherited {
    live: bool,
    identity: bool,
    conditions: Vec<Condition>,
}

/// Keys whose value decides defaults of others, which declare them as `x-default-VALUE`.
pub const DEFAULTS_BY: [&str; 2] = ["space.kind", "child.recipe"];

static KEYS: LazyLock<Vec<Key>> = LazyLock::new(|| {
    let mut keys = Vec::new();
    collect(&[], &Inherited::default(), &mut keys);
    keys
});

/// All keys, in the order of the config file.
pub fn all() -> &'static [Key] {
    &KEYS
}

fn collect(path: &[&str], inherited: &Inherited, keys: &mut Vec<Key>) {
    for (name, schema) in schema::properties(path) {
        let path = [path, &[name]].concat();
        let declared = inherited.with(schema);
        if schema.get("properties").is_some() {
            collect(&path, &declared, keys);
            continue;
        }
        let identity = match &schema["x-identity"] {
            Value::String(_) => Identity::UnlessDefault,
            _ if declared.identity => Identity::Yes,
            _ => Identity::No,
        };
        keys.push(Key {
            name: path.join("."),
            kind: Kind::of(schema),
            schema,
            live: declared.live,
            identity,
            conditions: declared.conditions,
        });
    }
}

impl Inherited {
    /// With what this section or key declares itself.
    fn with(&self, schema: &Value) -> Self {
        let own = schema["x-applies"].as_object().into_iter().flatten();
        let own = own.map(|(key, values)| Condition {
            key: key.clone(),
            values: values.as_array().cloned().unwrap_or_default(),
        });
        Self {
            live: schema["x-live"].as_bool().unwrap_or(self.live),
            identity: schema["x-identity"].as_bool().unwrap_or(self.identity),
            conditions: self.conditions.iter().cloned().chain(own).collect(),
        }
    }
}

/// `"a" or "b"`.
fn either(values: &[Value]) -> String {
    let values: Vec<String> = values.iter().map(Value::to_string).collect();
    values.join(" or ")
}

impl Condition {
    /// Does it hold with these settings (key → value)?
    fn holds(&self, settings: &Map<String, Value>) -> bool {
        let is_meant = |value: &Value| self.values.contains(value);
        match settings.get(&self.key) {
            Some(Value::Array(list)) if self.values.is_empty() => list.is_empty(),
            Some(Value::Array(list)) => list.iter().any(is_meant),
            Some(value) => is_meant(value),
            None => self.values.is_empty(),
        }
    }

    /// Why a key has no effect where this does not hold.
    fn refusal(&self, settings: &Map<String, Value>) -> String {
        let Self { key, values } = self;
        let meant = either(values);
        let is_list = find(key).is_some_and(|key| matches!(key.kind, Kind::List(_)));
        match (settings.get(key), values.as_slice()) {
            (_, []) if !is_list => {
                format!("has no effect beside {key}: leave one of them out")
            }
            (_, []) => format!(
                "has no effect beside {key}, which has it decided for each network: leave one of them out"
            ),
            (Some(Value::Array(_)), _) => format!("has an effect with {meant} in {key} alone"),
            (_, [_]) => {
                format!("has an effect with {key} = {meant} alone: set that, or leave this key out")
            }
            (current, _) => {
                let current = current.unwrap_or(&Value::Null);
                format!(
                    "has no effect with {key} = {current}: set {key} = {meant}, or leave this key out"
                )
            }
        }
    }

    /// In a few words, for the reference.
    pub fn short(&self) -> String {
        match self.values.as_slice() {
            [] if find(&self.key).is_some_and(|key| !matches!(key.kind, Kind::List(_))) => {
                format!("no `{}`", self.key)
            }
            [] => format!("`{}` is empty", self.key),
            values if find(&self.key).is_some_and(|key| matches!(key.kind, Kind::List(_))) => {
                format!("{} in `{}`", either(values), self.key)
            }
            [value] => format!("`{} = {value}`", self.key),
            values => format!("`{}`: {}", self.key, either(values)),
        }
    }
}

impl Key {
    /// One line on what it does, as a part of a sentence.
    pub fn doc(&self) -> String {
        let text = self.schema["description"].as_str().unwrap_or_default();
        let text = text.trim_end_matches('.').replace('`', "");
        let mut letters = text.chars();
        let first = letters.next();
        let second = letters.next();
        match (first, second) {
            // Not "SGD" nor "K: controllers".
            (Some(first), Some(second)) if second.is_lowercase() || second == ' ' => {
                first.to_lowercase().chain(text.chars().skip(1)).collect()
            }
            _ => text,
        }
    }

    /// Why it has no effect with these settings, nor where another key has one of these words instead;
    /// None: it has one.
    pub fn without_effect_among(
        &self,
        settings: &Map<String, Value>,
        key: &str,
        words: &[&str],
    ) -> Option<String> {
        let with = |word: &&str| {
            let mut settings = settings.clone();
            settings.insert(key.to_owned(), (*word).into());
            self.without_effect(&settings)
        };
        let own = self.without_effect(settings)?;
        words.iter().all(|word| with(word).is_some()).then_some(own)
    }

    /// Why it has no effect with these settings (key → value); None: it has one.
    pub fn without_effect(&self, settings: &Map<String, Value>) -> Option<String> {
        let unmet = self
            .conditions
            .iter()
            .find(|unmet| !unmet.holds(settings))?;
        Some(unmet.refusal(settings))
    }
}

/// The key of this name.
pub fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// The position of a key, or of a part of one (`space.decision[2].name`), in the config file.
pub fn position(name: &str) -> Option<usize> {
    KEYS.iter().position(|key| {
        name.strip_prefix(key.name.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('['))
    })
}

/// The keys of a section (`child`, `child.table`); empty: there is no such section.
pub fn section(name: &str) -> Vec<&'static str> {
    KEYS.iter()
        .map(|key| key.name.as_str())
        .filter(|key| {
            key.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with('.'))
        })
        .collect()
}

/// The keys inside one table of a list of tables (`enqueue`, `space.decision`).
pub fn inside(key: &Key) -> Vec<&'static str> {
    let properties = key.schema["items"]["properties"].as_object();
    properties
        .into_iter()
        .flat_map(|properties| properties.keys().map(String::as_str))
        .collect()
}

/// The key of `DEFAULTS_BY` that has this word among its values.
pub fn decided_by(word: &str) -> Option<&'static str> {
    let has = |name: &&str| {
        find(name).is_some_and(|key| match &key.kind {
            Kind::OneOf(words) => words.iter().any(|own| own == word),
            _ => false,
        })
    };
    DEFAULTS_BY.into_iter().find(has)
}

/// The valid key that a misspelt one most probably meant.
pub fn nearest(unknown: &str) -> &'static str {
    nearest::among(unknown, KEYS.iter().map(|key| key.name.as_str())).unwrap_or("run.name")
}

/// May a running search take a change of this key over? Of a key that is part of the run's
/// identity, that is not asked.
pub fn is_live(name: &str) -> bool {
    find(name).is_some_and(|key| key.live)
}

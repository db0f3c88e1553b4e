//! Every strategy by the word that names it in the config file and in the log. Must not know what
//! a strategy does.

use super::Strategy;
use super::random::Random;
use super::reinforce::Reinforce;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::sync::Arc;

/// One strategy.
pub(super) struct Entry {
    pub name: &'static str,
    /// One sentence for the documentation.
    pub doc: &'static str,
    /// Makes it with an empty state.
    pub create: fn() -> Arc<dyn Strategy>,
}

/// One line each. The key's valid words, its documentation and `check` come from here.
#[rustfmt::skip]
const STRATEGIES: &[Entry] = &[
    Entry { name: "reinforce", doc: "The paper's policy gradient.", create: || Arc::new(Reinforce) },
    Entry { name: "random", doc: "Uniform, for comparison: nothing is learned.", create: || Arc::new(Random) },
];

/// The name of a strategy that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StrategyName(&'static str);

impl StrategyName {
    /// The paper's.
    pub const REINFORCE: Self = Self("reinforce");
    /// Uniform.
    pub const RANDOM: Self = Self("random");

    /// Every valid name.
    pub const ALL: &'static [&'static str] = &names();

    /// The strategy of this name, if there is one.
    pub fn find(name: &str) -> Option<Self> {
        entries()
            .find(|entry| entry.name == name)
            .map(|entry| Self(entry.name))
    }

    pub fn as_str(self) -> &'static str {
        self.0
    }

    /// One sentence: what it does.
    pub fn doc(self) -> &'static str {
        self.entry().doc
    }

    /// The strategy, with an empty state.
    pub fn create(self) -> Arc<dyn Strategy> {
        (self.entry().create)()
    }

    fn entry(self) -> &'static Entry {
        let own = entries().find(|entry| entry.name == self.0);
        own.expect("a name is made only of an entry's")
    }
}

/// What is not for users is in no listing.
fn entries() -> impl Iterator<Item = &'static Entry> {
    #[cfg(test)]
    let more = super::tests::STRATEGIES;
    #[cfg(not(test))]
    let more: &[Entry] = &[];
    STRATEGIES.iter().chain(more)
}

const fn names() -> [&'static str; STRATEGIES.len()] {
    let mut names = [""; STRATEGIES.len()];
    let mut index = 0;
    while index < names.len() {
        names[index] = STRATEGIES[index].name;
        index += 1;
    }
    names
}

impl Serialize for StrategyName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0)
    }
}

impl<'de> Deserialize<'de> for StrategyName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::find(&name).ok_or_else(|| serde::de::Error::unknown_variant(&name, Self::ALL))
    }
}

/// One of the registered words, each with its sentence.
impl JsonSchema for StrategyName {
    fn schema_name() -> Cow<'static, str> {
        "Strategy".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let word = |entry: &Entry| {
            serde_json::json!({
                "type": "string",
                "const": entry.name,
                "description": entry.doc,
            })
        };
        let words: Vec<_> = STRATEGIES.iter().map(word).collect();
        json_schema!({
            "description": "How the next architectures are chosen.",
            "oneOf": words,
        })
    }
}

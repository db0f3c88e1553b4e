//! What `controller.strategy` says: a strategy, or `auto`. `auto` is resolved when a run starts and
//! is never asked again: the log holds the strategy. Must not know where the log is kept.

use super::registry::StrategyName;
use crate::space::Space;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;

const AUTO: &str = "auto";

/// A strategy that the user names, or leaves to the program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StrategyChoice {
    #[default]
    Auto,
    Named(StrategyName),
}

/// The strategy that `auto` stands for, and why, as the end of a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resolved {
    pub strategy: StrategyName,
    pub reason: &'static str,
}

impl StrategyChoice {
    /// The strategy of a run that begins now in this space.
    pub fn resolve(self, _space: &dyn Space) -> StrategyName {
        match self {
            Self::Auto => automatic().strategy,
            Self::Named(name) => name,
        }
    }

    /// The strategy of a run whose log holds one.
    pub fn resume(self, logged: StrategyName) -> StrategyName {
        match self {
            Self::Auto => logged,
            Self::Named(name) => name,
        }
    }

    /// What `auto` stands for in this space; None: a strategy is named.
    pub fn explained(self, _space: &dyn Space) -> Option<Resolved> {
        match self {
            Self::Auto => Some(automatic()),
            Self::Named(_) => None,
        }
    }

    /// Every valid word.
    pub fn words() -> Vec<&'static str> {
        let names = StrategyName::ALL.iter().copied();
        std::iter::once(AUTO).chain(names).collect()
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => AUTO,
            Self::Named(name) => name.as_str(),
        }
    }
}

/// By the measurements of `benches/strategies`.
fn automatic() -> Resolved {
    Resolved {
        strategy: StrategyName::GUIDED,
        reason: "it found better networks than the others, or as good ones, within 50 to 200 trials in every kind of space that was measured (benches/README.md)",
    }
}

impl From<StrategyName> for StrategyChoice {
    fn from(name: StrategyName) -> Self {
        Self::Named(name)
    }
}

impl Serialize for StrategyChoice {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for StrategyChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = String::deserialize(deserializer)?;
        if word == AUTO {
            return Ok(Self::Auto);
        }
        let name = StrategyName::find(&word);
        name.map(Self::Named)
            .ok_or_else(|| serde::de::Error::unknown_variant(&word, StrategyName::ALL))
    }
}

/// `auto`, and the registered words.
impl JsonSchema for StrategyChoice {
    fn schema_name() -> Cow<'static, str> {
        "StrategyChoice".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let word = |name: &str, doc: &str| serde_json::json!({ "type": "string", "const": name, "description": doc });
        let auto = word(AUTO, "The one that measurements favour for this space.");
        let named = StrategyName::ALL
            .iter()
            .filter_map(|name| StrategyName::find(name));
        let named = named.map(|name| word(name.as_str(), name.doc()));
        let words: Vec<_> = std::iter::once(auto).chain(named).collect();
        json_schema!({
            "description": "How the next architectures are chosen.",
            "oneOf": words,
        })
    }
}

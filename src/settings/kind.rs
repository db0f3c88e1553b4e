//! The types that a key's value can have, read from its schema: strict, where `config` would turn
//! 1.5 into 2 and "yes" into true. Must not know any single key.

use serde_json::Value as Json;
use toml::Value;

/// What a key's value may be.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    Text,
    Boolean,
    /// A whole number, 0 or more.
    Count,
    /// A finite number, whole or not.
    Number,
    /// One of these words.
    OneOf(Vec<String>),
    List(Box<Kind>),
    /// A list of tables, and what that is called (`x-type`).
    Tables(String),
    /// One of these words or kinds, and what that is called (`x-type`).
    Union {
        name: String,
        words: Vec<String>,
        kinds: Vec<Kind>,
    },
}

impl Kind {
    /// Of the values that this schema describes.
    pub fn of(schema: &Json) -> Self {
        let name = schema["x-type"].as_str().unwrap_or_default();
        if let Some(words) = words(schema) {
            return Self::OneOf(words);
        }
        if let Some(options) = schema["anyOf"].as_array() {
            return Self::Union {
                name: name.to_owned(),
                words: options.iter().filter_map(words).flatten().collect(),
                kinds: options
                    .iter()
                    .filter(|option| words(option).is_none())
                    .map(Self::of)
                    .collect(),
            };
        }
        match schema["type"].as_str() {
            Some("boolean") => Self::Boolean,
            Some("integer") => Self::Count,
            Some("number") => Self::Number,
            Some("array") if schema["items"]["type"] == "object" => Self::Tables(name.to_owned()),
            Some("array") => Self::List(Box::new(Self::of(&schema["items"]))),
            _ => Self::Text,
        }
    }

    /// Continues "must be".
    pub fn valid(&self) -> String {
        match self {
            Self::Text => "a text, for example \"name\"".into(),
            Self::Boolean => "true or false".into(),
            Self::Count => "a whole number, 0 or more and below 2^63, for example 3".into(),
            Self::Number => "a finite number, for example 0.1".into(),
            Self::OneOf(words) => quoted(words, " or "),
            Self::List(items) => match items.as_ref() {
                Self::Count => "a list of whole numbers, 0 or more, for example [1, 3, 5]".into(),
                Self::Number => "a list of finite numbers, for example [0.5, 0.75]".into(),
                Self::OneOf(words) => format!("a list of {}", quoted(words, ", ")),
                Self::List(_) => "a list of lists of numbers, for example [[0.2, 0.5]]".into(),
                _ => "a list of texts, for example [\"accuracy\"]".into(),
            },
            Self::Tables(name) | Self::Union { name, .. } => name.clone(),
        }
    }

    /// In a few words, for the reference.
    pub fn short(&self) -> String {
        match self {
            Self::Text => "text".into(),
            Self::Boolean => "true or false".into(),
            Self::Count => "whole number".into(),
            Self::Number => "number".into(),
            Self::OneOf(words) => quoted(words, ", "),
            Self::List(items) => match items.as_ref() {
                Self::Count => "whole numbers".into(),
                Self::Number => "numbers".into(),
                Self::OneOf(words) => format!("list of {}", quoted(words, ", ")),
                Self::List(_) => "lists of numbers".into(),
                _ => "texts".into(),
            },
            Self::Tables(_) => "list of tables".into(),
            Self::Union { words, kinds, .. } => {
                let kinds = kinds.iter().map(Self::short);
                let words = words.iter().map(|word| format!("\"{word}\""));
                words.chain(kinds).collect::<Vec<_>>().join(" or ")
            }
        }
    }

    /// Is this value of this kind?
    pub fn fits(&self, value: &Value) -> bool {
        match self {
            Self::Text => value.is_str(),
            Self::Boolean => value.is_bool(),
            Self::Count => value.as_integer().is_some_and(|number| number >= 0),
            Self::Number => value.is_integer() || value.as_float().is_some_and(f64::is_finite),
            Self::OneOf(words) => is_among(words, value),
            Self::List(items) => value
                .as_array()
                .is_some_and(|values| values.iter().all(|value| items.fits(value))),
            Self::Tables(_) => value
                .as_array()
                .is_some_and(|items| items.iter().all(Value::is_table)),
            Self::Union { words, kinds, .. } => {
                is_among(words, value) || kinds.iter().any(|kind| kind.fits(value))
            }
        }
    }

    /// Environment and `--set` take these as they are written, without TOML's quotes.
    pub fn is_plain_text(&self) -> bool {
        matches!(self, Self::Text | Self::OneOf(_))
    }

    /// Words that may stand bare for a value that is TOML otherwise.
    pub fn is_word(&self, text: &str) -> bool {
        matches!(self, Self::Union { words, .. } if words.iter().any(|word| word == text))
    }
}

fn is_among(words: &[String], value: &Value) -> bool {
    value
        .as_str()
        .is_some_and(|text| words.iter().any(|word| word == text))
}

/// The words that this schema allows, if it allows nothing else.
fn words(schema: &Json) -> Option<Vec<String>> {
    let word = |value: &Json| Some(vec![value.as_str()?.to_owned()]);
    let lists: Option<Vec<_>> = if let Some(value) = schema.get("const") {
        return word(value);
    } else if let Some(values) = schema["enum"].as_array() {
        values.iter().map(word).collect()
    } else {
        schema["oneOf"].as_array()?.iter().map(words).collect()
    };
    Some(lists?.concat())
}

/// `"a" or "b"`.
pub fn quoted(words: &[String], between: &str) -> String {
    words
        .iter()
        .map(|word| format!("\"{word}\""))
        .collect::<Vec<_>>()
        .join(between)
}

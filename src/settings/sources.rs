//! Reads the three sources (file, environment, `--set`) into flat lists of entries, each with where
//! it was written. Must not know what a value means: `check` does.

use super::keys;
use super::kind::Kind;
use super::problem::{Origin, Problem};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use toml::de::{DeTable, DeValue};
use toml::{Spanned, Value};

/// A key as one source sets it.
#[derive(Clone, Debug)]
pub struct Entry {
    pub key: String,
    pub value: Value,
    /// As the user wrote it.
    pub written: String,
    pub origin: Origin,
}

/// What one source holds.
#[derive(Clone, Debug, Default)]
pub struct Source {
    pub entries: Vec<Entry>,
    pub problems: Vec<Problem>,
    /// Where parts of an entry were written: `space.decision[2]`.
    pub parts: BTreeMap<String, Origin>,
}

/// Reads the text of a config file. A syntax error is the only problem of such a file.
pub fn file(path: &Path, text: &str) -> Source {
    let mut reader = FileReader {
        path,
        text,
        source: Source::default(),
    };
    match DeTable::parse(text) {
        Ok(document) => reader.table("", document.get_ref()),
        Err(error) => {
            let (line, column) = position(text, error.span().map_or(0, |span| span.start));
            let message = error.message().trim().replace('\n', ", ");
            let origin = Origin::File {
                path: path.into(),
                line: Some(line),
                column: Some(column),
            };
            reader.source.problems.push(Problem {
                origin,
                text: format!("not valid TOML: {message}"),
            });
        }
    }
    reader.source
}

/// Line and column, from 1, of a byte of the text.
pub fn position(text: &str, byte: usize) -> (usize, usize) {
    let before = text.get(..byte.min(text.len())).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before
        .rsplit('\n')
        .next()
        .unwrap_or_default()
        .chars()
        .count()
        + 1;
    (line, column)
}

struct FileReader<'a> {
    path: &'a Path,
    text: &'a str,
    source: Source,
}

impl FileReader<'_> {
    fn origin(&self, span: Range<usize>) -> Origin {
        Origin::File {
            path: self.path.into(),
            line: Some(position(self.text, span.start).0),
            column: None,
        }
    }

    /// Entries of a table whose own name is `prefix`; a table that is no valid key is a section.
    fn table(&mut self, prefix: &str, table: &DeTable) {
        // TOML keeps no order of its own: the user's is the order of the spans.
        let mut pairs: Vec<_> = table.iter().collect();
        pairs.sort_by_key(|(name, _)| name.span().start);
        for (name, value) in pairs {
            let key = if prefix.is_empty() {
                name.get_ref().to_string()
            } else {
                format!("{prefix}.{}", name.get_ref())
            };
            match value.get_ref() {
                DeValue::Table(inner) if keys::find(&key).is_none() && !inner.is_empty() => {
                    self.table(&key, inner);
                }
                DeValue::Table(_) if !keys::section(&key).is_empty() => {}
                _ => self.entry(key, name.span(), value),
            }
        }
    }

    fn entry(&mut self, key: String, name: Range<usize>, value: &Spanned<DeValue>) {
        let origin = self.origin(name);
        let written = shorten(&self.text[value.span()]);
        if let DeValue::Array(items) = value.get_ref() {
            for (index, item) in items.iter().enumerate() {
                let DeValue::Table(table) = item.get_ref() else {
                    continue;
                };
                let part = format!("{key}[{}]", index + 1);
                for name in table.keys() {
                    self.source.parts.insert(
                        format!("{part}.{}", name.get_ref()),
                        self.origin(name.span()),
                    );
                }
                self.source.parts.insert(part, self.origin(item.span()));
            }
        }
        match convert(value.get_ref()) {
            Ok(value) => self.source.entries.push(Entry {
                key,
                value,
                written,
                origin,
            }),
            Err(reason) => self.source.problems.push(Problem {
                origin,
                text: format!("{key} = {written}: {reason}"),
            }),
        }
    }
}

/// The variables `NETWRIGHT__SECTION__KEY`, in the order of their names.
pub fn environment(variables: impl Iterator<Item = (String, String)>) -> Source {
    let mut ours: Vec<_> = variables
        .filter_map(|(name, text)| Some((name.strip_prefix("NETWRIGHT__")?.to_owned(), name, text)))
        .collect();
    ours.sort();
    let mut source = Source::default();
    for (rest, name, text) in ours {
        let key = rest.to_ascii_lowercase().replace("__", ".");
        source.text(key, &text, Origin::Variable(name));
    }
    source
}

/// The arguments of `--set`, in order: a later one wins over an earlier one.
pub fn set(arguments: &[String]) -> Source {
    let mut source = Source::default();
    for argument in arguments {
        match argument.split_once('=') {
            Some((key, text)) => source.text(key.trim().to_owned(), text, Origin::Set),
            None => source.problems.push(Problem {
                origin: Origin::Set,
                text: format!("{argument}: must be KEY=VALUE, for example --set child.epochs=3"),
            }),
        }
    }
    source
}

impl Source {
    /// A value written as text, outside a TOML file.
    fn text(&mut self, key: String, text: &str, origin: Origin) {
        let Some(known) = keys::find(&key) else {
            // The value of an unknown key is never looked at.
            self.entries.push(Entry {
                key,
                value: Value::Boolean(false),
                written: shorten(text),
                origin,
            });
            return;
        };
        match parse(&known.kind, text) {
            Ok(value) => self.entries.push(Entry {
                key,
                value,
                written: shorten(text),
                origin,
            }),
            Err(error) => {
                let text = format!("{key} = {}: {error}", shorten(text));
                self.problems.push(Problem { origin, text });
            }
        }
    }
}

/// A text is no value of its key.
#[derive(Debug, thiserror::Error)]
enum ValueError {
    #[error("must be {0}")]
    Other(String),
    #[error("whole numbers must be below 2^63")]
    Large,
    #[error("not a number")]
    NotANumber,
}

/// Environment and `--set`: a text key takes the text as it is, any other exactly one TOML value.
fn parse(kind: &Kind, text: &str) -> Result<Value, ValueError> {
    if kind.is_plain_text() {
        return Ok(Value::String(unquoted(text).to_owned()));
    }
    let text = text.trim();
    if kind.is_word(text) {
        return Ok(Value::String(text.to_owned()));
    }
    match DeValue::parse(text) {
        Ok(value) => convert(value.get_ref()),
        Err(_) => Err(ValueError::Other(kind.valid())),
    }
}

/// The text without one pair of matching quotes around it.
fn unquoted(text: &str) -> &str {
    ['"', '\'']
        .iter()
        .find_map(|&quote| text.strip_prefix(quote)?.strip_suffix(quote))
        .unwrap_or(text)
}

/// A TOML value; refuses whole numbers that 64 bits do not hold.
fn convert(value: &DeValue) -> Result<Value, ValueError> {
    Ok(match value {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(digits) => Value::Integer(
            i64::from_str_radix(digits.as_str(), digits.radix()).map_err(|_| ValueError::Large)?,
        ),
        DeValue::Float(digits) => Value::Float(
            digits
                .as_str()
                .parse()
                .map_err(|_| ValueError::NotANumber)?,
        ),
        DeValue::Boolean(value) => Value::Boolean(*value),
        DeValue::Datetime(value) => Value::Datetime(*value),
        DeValue::Array(items) => Value::Array(
            items
                .iter()
                .map(|item| convert(item.get_ref()))
                .collect::<Result<_, _>>()?,
        ),
        DeValue::Table(table) => {
            let pairs = table
                .iter()
                .map(|(name, item)| Ok((name.get_ref().to_string(), convert(item.get_ref())?)));
            Value::Table(pairs.collect::<Result<_, ValueError>>()?)
        }
    })
}

/// One line of a length that fits a message.
fn shorten(written: &str) -> String {
    const MAX_LENGTH: usize = 60;
    let line = written.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= MAX_LENGTH {
        line
    } else {
        line.chars().take(MAX_LENGTH).chain(['…']).collect()
    }
}

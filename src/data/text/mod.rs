//! Text for language models: a training and a validation text of whitespace-separated words, as
//! numbers of a vocabulary that is taken from the training text alone. The end of a line is the
//! word `<eos>`. A test text is opened by
//! `Corpus::read` alone. Must not know what is trained on it.

mod files;
mod read;
#[cfg(test)]
mod tests;
mod vocabulary;

use super::{DataError, DataSettings};
pub use files::test_file;
use read::{Lines, read};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::path::Path;
use vocabulary::Vocabulary;

/// The end of a line.
pub const END: &str = "<eos>";
/// A word that the vocabulary does not hold.
pub const UNKNOWN: &str = "<unk>";

/// What is predicted one after the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Whatever stands between white space.
    #[default]
    Word,
    /// Characters; the words of a line with one space between them.
    Char,
}

/// A training and a validation text.
#[derive(Clone, Debug, PartialEq)]
pub struct Corpus {
    pub unit: Unit,
    /// The text of each token; a token's number is its position here.
    pub vocabulary: Vec<String>,
    /// The number of `<eos>`.
    pub end: u32,
    /// Tokens, by number, in the order of the text.
    pub train: Vec<u32>,
    pub validation: Vec<u32>,
    /// SHA-256 (hex) of unit, vocabulary and both texts: a resumed run refuses other data.
    pub content: String,
}

impl Corpus {
    /// The texts that the settings name; of each the first `train_size` (`validation_size`) tokens,
    /// where that is set. The vocabulary is that of the whole training text, so that it is the same
    /// for every size.
    ///
    /// # Errors
    /// Names file and line, or the key, and what would be right.
    pub fn load(settings: &DataSettings) -> Result<Self, DataError> {
        let (train_file, validation_file) = files::find(settings)?;
        let train_lines = read(&train_file, settings.unit)?;
        let validation_lines = read(&validation_file, settings.unit)?;
        let vocabulary = Vocabulary::of(&train_lines, settings.vocabulary);
        let train = numbers(&vocabulary, &train_lines, &train_file)?;
        let validation = numbers(&vocabulary, &validation_lines, &validation_file)?;
        let train = first(train, settings.train_size, "data.train_size", &train_file)?;
        let validation = first(
            validation,
            settings.validation_size,
            "data.validation_size",
            &validation_file,
        )?;
        Ok(Self::new(
            settings.unit,
            vocabulary.words,
            train,
            validation,
        ))
    }

    /// Another text, as numbers of this corpus's vocabulary.
    ///
    /// # Errors
    /// Names file and line of what cannot be read, or tokens that the vocabulary has no place for.
    pub fn read(&self, file: &Path, unit: Unit) -> Result<Vec<u32>, DataError> {
        let vocabulary = Vocabulary::of_words(self.vocabulary.clone());
        numbers(&vocabulary, &read(file, unit)?, file)
    }

    /// Everything is trained on, the validation text behind the training text, and nothing is held
    /// out.
    #[must_use]
    pub fn joined(&self) -> Self {
        Self {
            train: [self.train.as_slice(), &self.validation].concat(),
            validation: Vec::new(),
            ..self.clone()
        }
    }

    /// Puts a corpus together and takes its fingerprint; `vocabulary` holds `<eos>`.
    pub fn new(unit: Unit, vocabulary: Vec<String>, train: Vec<u32>, validation: Vec<u32>) -> Self {
        let end = vocabulary
            .iter()
            .position(|word| word == END)
            .unwrap_or_default() as u32;
        let mut hash = Sha256::new();
        hash.update([unit as u8]);
        for word in &vocabulary {
            hash.update((word.len() as u64).to_le_bytes());
            hash.update(word);
        }
        for text in [&train, &validation] {
            hash.update((text.len() as u64).to_le_bytes());
            text.iter()
                .for_each(|token| hash.update(token.to_le_bytes()));
        }
        let content = hash
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Self {
            unit,
            vocabulary,
            end,
            train,
            validation,
            content,
        }
    }
}

/// Every token's number; a token outside the vocabulary is `<unk>`, where that is in it.
fn numbers(vocabulary: &Vocabulary, lines: &Lines, file: &Path) -> Result<Vec<u32>, DataError> {
    let mut missing = Missing::default();
    let mut numbers = Vec::with_capacity(lines.tokens());
    lines.for_each(|line, token| match vocabulary.number(token) {
        Some(number) => numbers.push(number),
        None => missing.add(token, line),
    });
    missing.check(lines.tokens(), file).map(|()| numbers)
}

/// The tokens of a text that the vocabulary does not hold.
#[derive(Default)]
struct Missing<'a> {
    count: usize,
    different: std::collections::HashSet<&'a str>,
    first: Option<(&'a str, usize)>,
}

impl<'a> Missing<'a> {
    fn add(&mut self, token: &'a str, line: usize) {
        self.count += 1;
        self.different.insert(token);
        self.first.get_or_insert((token, line));
    }

    fn check(&self, tokens: usize, file: &Path) -> Result<(), DataError> {
        let Some((token, line)) = self.first else {
            return Ok(());
        };
        let problem = format!(
            "{} of {tokens} tokens ({} different) are not in the training text, which has no {UNKNOWN} for them; the first is {token:?} \
             in line {line}. data.vocabulary (the most frequent words, the others become {UNKNOWN}) or a training text with {UNKNOWN} \
             would give them a place",
            self.count,
            self.different.len()
        );
        Err(DataError::File {
            path: file.into(),
            problem,
        })
    }
}

fn first(
    mut tokens: Vec<u32>,
    size: Option<usize>,
    key: &'static str,
    file: &Path,
) -> Result<Vec<u32>, DataError> {
    match size {
        Some(size) if size > tokens.len() => {
            let problem = format!(
                "{size} tokens are more than the {} of {}; leave it out for all of them",
                tokens.len(),
                file.display()
            );
            Err(DataError::Setting { key, problem })
        }
        Some(size) => {
            tokens.truncate(size);
            Ok(tokens)
        }
        None => Ok(tokens),
    }
}

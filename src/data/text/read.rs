//! Reads a text file into lines of tokens. Must not know any vocabulary.

use super::{DataError, END, Unit};
use std::path::Path;

/// A text, and how it is divided into tokens.
pub struct Lines {
    text: String,
    unit: Unit,
    tokens: usize,
}

/// The whole file.
///
/// # Errors
/// It is not there, holds nothing but white space, or is no UTF-8 (with the line).
pub fn read(file: &Path, unit: Unit) -> Result<Lines, DataError> {
    let fail = |problem: String| DataError::File {
        path: file.into(),
        problem,
    };
    let unreadable = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => fail(
            "no such file; data.path, data.train_file and data.validation_file say where a text is"
                .into(),
        ),
        _ => fail(format!("cannot be read as a text: {error}")),
    };
    let metadata = std::fs::metadata(file).map_err(unreadable)?;
    if !metadata.is_file() && !metadata.is_dir() {
        // A pipe that nobody writes to would never end.
        return Err(fail("is a pipe, a socket or a device, and no file".into()));
    }
    let bytes = std::fs::read(file).map_err(unreadable)?;
    if bytes.starts_with(&[0xFF, 0xFE]) || bytes.starts_with(&[0xFE, 0xFF]) {
        return Err(fail("is UTF-16 text; save it as UTF-8".into()));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..valid]
            .iter()
            .filter(|&&byte| byte == b'\n')
            .count()
            + 1;
        fail(format!(
            "line {line}: byte {valid} of the file is not UTF-8; a text must be UTF-8"
        ))
    })?;
    if text.trim().is_empty() {
        return Err(fail("is empty; a text has at least one word".into()));
    }
    let mut lines = Lines {
        text,
        unit,
        tokens: 0,
    };
    let mut tokens = 0;
    lines.for_each(|_, _| tokens += 1);
    lines.tokens = tokens;
    Ok(lines)
}

impl Lines {
    /// How many tokens there are, ends of lines among them.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Calls `f` with each token's line (from 1) and text, in order. A byte order mark and carriage
    /// returns are no part of a token.
    pub fn for_each<'a>(&'a self, mut f: impl FnMut(usize, &'a str)) {
        for (line, text) in (1..).zip(self.text.trim_start_matches('\u{feff}').lines()) {
            for (index, word) in text.split_whitespace().enumerate() {
                match self.unit {
                    Unit::Word => f(line, word),
                    Unit::Char => {
                        if index > 0 {
                            f(line, " ");
                        }
                        word.split_inclusive(|_: char| true)
                            .for_each(|character| f(line, character));
                    }
                }
            }
            f(line, END);
        }
    }
}

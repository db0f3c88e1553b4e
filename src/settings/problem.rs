//! What is wrong with the settings, and where it was written. Must not know how it was found.

use std::path::PathBuf;

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    File {
        path: PathBuf,
        line: Option<usize>,
        column: Option<usize>,
    },
    Variable(String),
    Set,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self {
            Self::File { path, line, column } => {
                path.display().fmt(f)?;
                [line, column]
                    .into_iter()
                    .flatten()
                    .try_for_each(|number| write!(f, ":{number}"))
            }
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Set => f.write_str("--set"),
        }
    }
}

/// One thing that is wrong: its origin, and a text that names the key and what would be valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub origin: Origin,
    pub text: String,
}

/// Everything that is wrong with the settings, in one message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", render(.problems))]
pub struct SettingsError {
    pub problems: Vec<Problem>,
}

fn render(problems: &[Problem]) -> String {
    let lines: Vec<_> = problems
        .iter()
        .map(|problem| format!("{}: {}", problem.origin, problem.text))
        .collect();
    match lines.as_slice() {
        [line] => line.clone(),
        _ => format!(
            "{} problems with the settings:\n  {}",
            lines.len(),
            lines.join("\n  ")
        ),
    }
}

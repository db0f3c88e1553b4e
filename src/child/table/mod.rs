//! The `table` evaluator: rewards from a CSV file whose columns are the space's decisions. Must not
//! know what the numbers mean.

mod columns;
mod enumeration;
mod hashing;
#[cfg(test)]
mod tests;

use super::{Evaluator, Outcome, Progress, TableSettings, Task};
use crate::random::{Key, Purpose};
use crate::space::{Decision, Space};
use columns::{Columns, RowValues};
use hashing::HashingReader;
use rand::RngExt;
use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Spaces of more architectures than this are not checked row by row, so they are refused.
const LARGEST_SPACE: f64 = 1e7;

/// A table that cannot serve the space: says which line, column or missing row is to blame, and
/// what would be right.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", path.display())]
pub struct TableError {
    path: PathBuf,
    problem: String,
}

/// A loaded table: every architecture of the space has its row.
///
/// A table may have millions of rows, so it is stored compactly: texts of decisions are numbered,
/// and numbers lie in flat vectors.
pub struct Table {
    /// For each decision of `Space::describe`, in order: a number for each of its texts.
    texts: Vec<HashMap<String, u32>>,
    /// Index of a row, by the numbers of its texts.
    rows: HashMap<Box<[u32]>, usize>,
    /// Reward columns.
    repeats: usize,
    /// `[row, repeat]`
    rewards: Vec<f64>,
    /// `[row]`; empty without a column of seconds.
    seconds: Vec<f64>,
    /// Report columns.
    report: Vec<String>,
    /// `[row, report column]`
    reported: Vec<Box<str>>,
    /// SHA-256 (hex) of the file: a resumed run refuses another one.
    content: String,
}

impl Table {
    /// Reads and checks the file. The space has architectures of one depth, `layers`.
    ///
    /// # Errors
    /// The file cannot be read, or does not have one good row for each architecture.
    pub fn load(
        settings: &TableSettings,
        space: &dyn Space,
        layers: usize,
    ) -> Result<Self, TableError> {
        let path = Path::new(&settings.path);
        let fail = |problem: String| TableError {
            path: path.to_owned(),
            problem,
        };
        let size = space.log10_size(layers);
        if size > LARGEST_SPACE.log10() {
            let limit = "a table is checked row by row and can serve at most 10^7";
            return Err(fail(format!(
                "the space has 10^{size:.1} architectures; {limit}"
            )));
        }
        let file = File::open(path).map_err(|error| fail(csv_problem(&error.into())))?;
        let mut reader = csv::ReaderBuilder::new()
            .trim(csv::Trim::All)
            .from_reader(HashingReader::new(file));
        let header: Vec<String> = reader
            .headers()
            .map_err(|error| fail(csv_problem(&error)))?
            .iter()
            .map(str::to_owned)
            .collect();
        if header.is_empty() {
            return Err(fail(
                "is empty; its first line must name the columns".into(),
            ));
        }
        let names: Vec<String> = space
            .describe(layers, &enumeration::first(space, layers))
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        let columns = Columns::find(&header, &names, settings).map_err(&fail)?;
        let mut table = Self::empty(settings, names.len());
        table
            .read_rows(&mut reader, &columns, &header)
            .map_err(&fail)?;
        table.content = reader.into_inner().digest();
        table.check(space, layers).map_err(fail)?;
        Ok(table)
    }

    /// # Errors
    /// Names the line, and what is wrong there.
    fn read_rows(
        &mut self,
        reader: &mut csv::Reader<HashingReader<File>>,
        columns: &Columns,
        header: &[String],
    ) -> Result<(), String> {
        // Of each row.
        let mut lines = Vec::new();
        for record in reader.records() {
            let record = record.map_err(|error| csv_problem(&error))?;
            let line = record.position().map_or(0, csv::Position::line);
            let values = columns
                .row(&record, header)
                .map_err(|problem| format!("line {line}: {problem}"))?;
            let decisions = columns.decisions.iter().map(|&column| &record[column]);
            if let Err(earlier) = self.push(decisions, values) {
                return Err(format!(
                    "line {line}: the same architecture as line {}; each needs one row",
                    lines[earlier]
                ));
            }
            lines.push(line);
        }
        Ok(())
    }

    fn empty(settings: &TableSettings, decisions: usize) -> Self {
        Self {
            texts: vec![HashMap::new(); decisions],
            rows: HashMap::new(),
            repeats: settings.reward.len(),
            rewards: Vec::new(),
            seconds: Vec::new(),
            report: settings.report.clone(),
            reported: Vec::new(),
            content: String::new(),
        }
    }

    /// Adds a row; Err: the row that holds this architecture already.
    fn push<'a>(
        &mut self,
        decisions: impl Iterator<Item = &'a str>,
        values: RowValues,
    ) -> Result<(), usize> {
        let number = |(text, numbers): (&str, &mut HashMap<String, u32>)| {
            let next = numbers.len() as u32;
            *numbers.entry(canonical_text(text)).or_insert(next)
        };
        let key: Box<[u32]> = decisions.zip(&mut self.texts).map(number).collect();
        let row = self.rows.len();
        if let Some(&earlier) = self.rows.get(&key) {
            return Err(earlier);
        }
        self.rows.insert(key, row);
        self.rewards.extend(values.rewards);
        self.seconds.extend(values.seconds);
        self.reported
            .extend(values.report.into_iter().map(String::into_boxed_str));
        Ok(())
    }

    /// # Errors
    /// An architecture of the space has no row of its own.
    fn check(&self, space: &dyn Space, layers: usize) -> Result<(), String> {
        let mut used = vec![false; self.rows.len()];
        let mut list = enumeration::first(space, layers);
        loop {
            let described = space.describe(layers, &list);
            let row = self.find(&described);
            // A decision that this architecture does not have has an empty field.
            let field = |(name, value): &(String, String)| {
                if value.is_empty() {
                    format!("{name} empty")
                } else {
                    format!("{name}={value}")
                }
            };
            let name = || described.iter().map(field).collect::<Vec<_>>().join(", ");
            match row {
                None => {
                    return Err(format!(
                        "no row for {}; every architecture of the space needs one",
                        name()
                    ));
                }
                Some(row) if used[row] => {
                    return Err(format!(
                        "the row of {} is another architecture's too: two options of one decision read as the same value (3 and 3.0, \
                         true and True); options need different meanings",
                        name()
                    ));
                }
                Some(row) => used[row] = true,
            }
            if !enumeration::advance(space, layers, &mut list) {
                return Ok(());
            }
        }
    }

    fn find(&self, described: &[(String, String)]) -> Option<usize> {
        if described.len() != self.texts.len() {
            return None;
        }
        let number = |((_, value), numbers): (&(String, String), &HashMap<String, u32>)| {
            numbers.get(&canonical_text(value)).copied()
        };
        let key: Vec<u32> = described
            .iter()
            .zip(&self.texts)
            .map(number)
            .collect::<Option<_>>()?;
        self.rows.get(key.as_slice()).copied()
    }

    /// SHA-256 (hex) of the file.
    pub fn content(&self) -> &str {
        &self.content
    }

    /// The report columns of one architecture: shown to people, never to the search.
    pub fn report(
        &self,
        space: &dyn Space,
        layers: usize,
        decisions: &[Decision],
    ) -> Vec<(String, String)> {
        let Some(row) = self.find(&space.describe(layers, decisions)) else {
            return Vec::new();
        };
        let values = self.reported[row * self.report.len()..]
            .iter()
            .map(std::string::ToString::to_string);
        self.report.iter().cloned().zip(values).collect()
    }
}

fn csv_problem(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::Io(error) if error.kind() == std::io::ErrorKind::NotFound => {
            "there is no such file (child.table.path is relative to the working directory)"
                .to_owned()
        }
        csv::ErrorKind::Io(error) => format!("cannot be read: {error}"),
        _ => format!("is no CSV file: {error}"),
    }
}

/// Values are compared by meaning: `3` and `3.0` are one number, `True` and `true` one boolean.
fn canonical_text(text: &str) -> String {
    match text.parse::<f64>() {
        Ok(number) => number.to_string(),
        Err(_) if text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false") => {
            text.to_ascii_lowercase()
        }
        Err(_) => text.to_owned(),
    }
}

/// Looks children up.
pub struct TableEvaluator {
    table: Arc<Table>,
    space: Arc<dyn Space>,
}

impl TableEvaluator {
    /// `space` is the one that the table was loaded for.
    pub fn new(table: Arc<Table>, space: Arc<dyn Space>) -> Self {
        Self { table, space }
    }
}

impl Evaluator for TableEvaluator {
    /// The reward is what the table says, as it is; of several reward columns the trial's seed
    /// draws one.
    fn evaluate(&mut self, task: &Task, _progress: &mut dyn Progress) -> Outcome {
        let table = &self.table;
        let Some(row) = table.find(&self.space.describe(task.layers, &task.decisions)) else {
            let error = "the table has no row for this architecture".to_owned();
            return Outcome::Failed {
                cause: super::Cause::Unbuildable,
                error,
            };
        };
        let repeat = Key::seed(task.seed)
            .stream(Purpose::TableRepeat)
            .random_range(0..table.repeats);
        let reward = table.rewards[row * table.repeats + repeat];
        Outcome::Completed {
            reward,
            metric: reward,
            seconds: table.seconds.get(row).copied(),
        }
    }
}

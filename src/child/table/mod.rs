//! The `table` evaluator: rewards from a CSV file whose columns are the space's decisions. Must not
//! know what the numbers mean.

mod columns;
mod dialect;
mod hashing;
#[cfg(test)]
mod tests;

use super::{Evaluator, Outcome, Progress, TableSettings, Task};
use crate::random::{Key, Purpose};
use crate::space::{Decision, Space, first_list, next_list};
use columns::{Columns, RowValues};
use dialect::Dialect;
use hashing::HashingReader;
use rand::RngExt;
use std::collections::HashMap;
use std::fs::File;
use std::io::{Chain, Cursor, Read};
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
/// Bytes of a file by which its separator is seen: more than any first line has.
const HEAD: u64 = 1 << 20;

/// The file, its beginning already read.
type Source = HashingReader<Chain<Cursor<Vec<u8>>, File>>;

/// A loaded table: every architecture of the space has its row.
///
/// A table may have millions of rows, so it is stored compactly: texts of decisions are numbered,
/// and numbers lie in flat vectors.
pub struct Table {
    /// For each decision of `Space::describe`, in order: a number for each of its texts.
    texts: Vec<HashMap<String, u32>>,
    /// How the file writes numbers.
    dialect: Dialect,
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
        let names: Vec<String> = space
            .describe(layers, &first_list(space, layers))
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        let (source, dialect) = open(path, &names, settings).map_err(&fail)?;
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(dialect.separator)
            .trim(csv::Trim::All)
            .from_reader(source);
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
        let columns = Columns::find(&header, &names, settings, dialect).map_err(&fail)?;
        let mut table = Self::empty(settings, names.len(), dialect);
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
        reader: &mut csv::Reader<Source>,
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

    fn empty(settings: &TableSettings, decisions: usize, dialect: Dialect) -> Self {
        Self {
            dialect,
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
        let dialect = self.dialect;
        let number = |(text, numbers): (&str, &mut HashMap<String, u32>)| {
            let next = numbers.len() as u32;
            *numbers.entry(canonical_text(text, dialect)).or_insert(next)
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
        let mut list = first_list(space, layers);
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
            if !next_list(space, layers, &mut list) {
                return Ok(());
            }
        }
    }

    fn find(&self, described: &[(String, String)]) -> Option<usize> {
        if described.len() != self.texts.len() {
            return None;
        }
        let number = |((_, value), numbers): (&(String, String), &HashMap<String, u32>)| {
            numbers.get(&canonical_text(value, self.dialect)).copied()
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

/// Opens the file and sees how it is written.
///
/// # Errors
/// It is not there, is no file, or no text that is read.
fn open(
    path: &Path,
    decisions: &[String],
    settings: &TableSettings,
) -> Result<(Source, Dialect), String> {
    let problem = |error: std::io::Error| csv_problem(&error.into());
    // A pipe would be read once and then be empty: the search could not be continued.
    let is_file = std::fs::metadata(path).map_err(problem)?.is_file();
    if !is_file {
        return Err("is no regular file; child.table.path must name a CSV file".to_owned());
    }
    let mut file = File::open(path).map_err(problem)?;
    let mut head = Vec::new();
    file.by_ref()
        .take(HEAD)
        .read_to_end(&mut head)
        .map_err(problem)?;
    if head.starts_with(&[0xFF, 0xFE]) || head.starts_with(&[0xFE, 0xFF]) {
        return Err("is UTF-16 text; save it as UTF-8".to_owned());
    }
    let columns = [&settings.reward[..], &settings.report[..]].concat();
    let needed: Vec<&str> = decisions
        .iter()
        .chain(&columns)
        .chain([&settings.seconds])
        .map(String::as_str)
        .filter(|name| !name.is_empty())
        .collect();
    let dialect = Dialect::of(&head, &needed);
    let source = HashingReader::new(Cursor::new(head).chain(file));
    Ok((source, dialect))
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
fn canonical_text(text: &str, dialect: Dialect) -> String {
    match dialect.number(text) {
        Some(number) => number.to_string(),
        None if text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false") => {
            text.to_ascii_lowercase()
        }
        None => text.to_owned(),
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

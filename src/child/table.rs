//! The `table` evaluator: rewards from a CSV file whose columns are the space's decisions. Must not know what the numbers mean.

use super::{Evaluator, Outcome, Progress, TableSettings, Task};
use crate::random::{Key, Purpose};
use crate::space::{Decision, Next, Space};
use rand::RngExt;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

/// Spaces of more architectures than this are not checked row by row, so they are refused.
const LARGEST_SPACE: f64 = 1e7;

/// One row's numbers.
struct TableRow {
    line: u64,
    rewards: Vec<f64>,
    seconds: Option<f64>,
    report: Vec<String>,
}

/// A loaded table: every architecture of the space has its row.
pub struct Table {
    /// By the texts of the decisions, in the order of `Space::describe`.
    rows: HashMap<Vec<String>, TableRow>,
    report: Vec<String>,
}

/// Positions of the columns that are used.
struct Columns {
    decisions: Vec<usize>,
    rewards: Vec<usize>,
    seconds: Option<usize>,
    report: Vec<usize>,
}

impl Table {
    /// Reads and checks the file.
    ///
    /// # Errors
    /// One sentence that names the file and the line, column or missing row, and what would be right.
    pub fn load(settings: &TableSettings, space: &dyn Space, layers: usize) -> Result<Self, String> {
        let path = Path::new(&settings.path);
        let fail = |text: String| format!("{}: {text}", path.display());
        if space.log10_size(layers) > LARGEST_SPACE.log10() {
            let size = space.log10_size(layers);
            return Err(fail(format!(
                "the space has 10^{size:.1} architectures; a table is checked row by row and can serve at most 10^7"
            )));
        }
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_path(path).map_err(|error| fail(csv_problem(&error)))?;
        let header: Vec<String> = reader.headers().map_err(|error| fail(csv_problem(&error)))?.iter().map(str::to_owned).collect();
        let names: Vec<String> = space.describe(layers, &first_list(space, layers)).into_iter().map(|(name, _)| name).collect();
        let columns = Columns::find(&header, &names, settings).map_err(&fail)?;
        let mut rows: HashMap<Vec<String>, TableRow> = HashMap::new();
        for record in reader.records() {
            let record = record.map_err(|error| fail(csv_problem(&error)))?;
            let line = record.position().map_or(0, csv::Position::line);
            let row = columns.row(&record, &header, line).map_err(|problem| fail(format!("line {line}: {problem}")))?;
            let key: Vec<String> = columns.decisions.iter().map(|&column| canonical(&record[column])).collect();
            if let Some(earlier) = rows.insert(key, row) {
                return Err(fail(format!("line {line}: the same architecture as line {}; each needs one row", earlier.line)));
            }
        }
        let table = Self { rows, report: settings.report.clone() };
        match table.missing(space, layers) {
            Some(missing) => Err(fail(format!("no row for {missing}; every architecture of the space needs one"))),
            None => Ok(table),
        }
    }

    /// The first architecture without a row, as `name=value` pairs.
    fn missing(&self, space: &dyn Space, layers: usize) -> Option<String> {
        let mut list = first_list(space, layers);
        loop {
            let described = space.describe(layers, &list);
            let key: Vec<String> = described.iter().map(|(_, value)| canonical(value)).collect();
            if !self.rows.contains_key(&key) {
                let pairs: Vec<String> = described.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
                return Some(pairs.join(", "));
            }
            if !advance(space, layers, &mut list) {
                return None;
            }
        }
    }

    fn row(&self, space: &dyn Space, layers: usize, decisions: &[Decision]) -> Option<&TableRow> {
        let key: Vec<String> = space.describe(layers, decisions).iter().map(|(_, value)| canonical(value)).collect();
        self.rows.get(&key)
    }

    /// The report columns of one architecture: shown to people, never to the search.
    pub fn report(&self, space: &dyn Space, layers: usize, decisions: &[Decision]) -> Vec<(String, String)> {
        let row = self.row(space, layers, decisions);
        row.map_or_else(Vec::new, |row| self.report.iter().cloned().zip(row.report.iter().cloned()).collect())
    }
}

impl Columns {
    fn find(header: &[String], names: &[String], settings: &TableSettings) -> Result<Self, String> {
        let same = |a: &str, b: &str| a.replace('_', " ") == b.replace('_', " ");
        let find = |name: &String| {
            header.iter().position(|column| same(column, name)).ok_or_else(|| {
                let nearest = header.iter().max_by(|a, b| strsim::jaro(a, name).total_cmp(&strsim::jaro(b, name)));
                let nearest = nearest.map_or_else(String::new, |column| format!(" (nearest: \"{column}\")"));
                format!("line 1: no column \"{name}\"{nearest}; the columns are {}", header.join(", "))
            })
        };
        let all = |names: &[String]| names.iter().map(find).collect::<Result<Vec<usize>, String>>();
        let seconds = if settings.seconds.is_empty() { None } else { Some(find(&settings.seconds)?) };
        Ok(Self { decisions: all(names)?, rewards: all(&settings.reward)?, seconds, report: all(&settings.report)? })
    }

    fn row(&self, record: &csv::StringRecord, header: &[String], line: u64) -> Result<TableRow, String> {
        let number = |&column: &usize| {
            let text = &record[column];
            let value = text.parse::<f64>().ok().filter(|value| value.is_finite());
            value.ok_or_else(|| format!("column \"{}\" holds \"{text}\"; a finite number is needed", header[column]))
        };
        Ok(TableRow {
            line,
            rewards: self.rewards.iter().map(number).collect::<Result<_, _>>()?,
            seconds: self.seconds.as_ref().map(number).transpose()?,
            report: self.report.iter().map(|&column| record[column].to_owned()).collect(),
        })
    }
}

fn csv_problem(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::Io(error) => format!("cannot be read: {error}"),
        _ => format!("is no CSV file: {error}"),
    }
}

/// Values are compared by meaning: `3` and `3.0` are one number, `True` and `true` one boolean.
fn canonical(text: &str) -> String {
    match text.parse::<f64>() {
        Ok(number) => number.to_string(),
        Err(_) if text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false") => text.to_ascii_lowercase(),
        Err(_) => text.to_owned(),
    }
}

/// The list that takes the first option everywhere.
fn first_list(space: &dyn Space, layers: usize) -> Vec<Decision> {
    let mut list = Vec::new();
    complete(space, layers, &mut list);
    list
}

fn complete(space: &dyn Space, layers: usize, list: &mut Vec<Decision>) {
    loop {
        match space.next(layers, list) {
            Next::Choose { .. } => list.push(Decision::Choice(0)),
            Next::Anchor { earlier } => list.push(Decision::Skips(vec![0; earlier])),
            Next::Done => return,
        }
    }
}

/// The next list in order, the last decision first; false after the last list.
fn advance(space: &dyn Space, layers: usize, list: &mut Vec<Decision>) -> bool {
    while let Some(mut last) = list.pop() {
        let raised = match (&mut last, space.next(layers, list)) {
            (Decision::Choice(option), Next::Choose { kind }) => {
                *option += 1;
                *option < space.kinds()[kind].options.len()
            }
            (Decision::Skips(bits), _) => raise(bits),
            _ => false,
        };
        if raised {
            list.push(last);
            complete(space, layers, list);
            return true;
        }
    }
    false
}

/// Binary counting; false when it overflows.
fn raise(bits: &mut [u8]) -> bool {
    for bit in bits.iter_mut().rev() {
        *bit ^= 1;
        if *bit == 1 {
            return true;
        }
    }
    false
}

/// Looks children up.
pub struct TableEvaluator {
    table: Arc<Table>,
    space: Arc<dyn Space>,
}

impl TableEvaluator {
    pub fn new(table: Arc<Table>, space: Arc<dyn Space>) -> Self {
        Self { table, space }
    }
}

impl Evaluator for TableEvaluator {
    fn evaluate(&mut self, task: &Task, _progress: &mut dyn Progress) -> Outcome {
        let Some(row) = self.table.row(self.space.as_ref(), task.layers, &task.decisions) else {
            let error = "the table has no row for this architecture".to_owned();
            return Outcome::Failed { cause: super::Cause::Unbuildable, error };
        };
        let repeat = Key::seed(task.seed).stream(Purpose::TableRepeat).random_range(0..row.rewards.len());
        let reward = row.rewards[repeat];
        Outcome::Completed { reward, metric: reward, seconds: row.seconds }
    }
}

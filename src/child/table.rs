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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::{ImageShape, SpaceSettings};
    use std::io::Write;

    fn space(text: &str) -> Box<dyn Space> {
        let settings: SpaceSettings = toml::from_str(text).unwrap();
        settings.build(ImageShape { channels: 3, height: 32, width: 32 }, 10)
    }

    fn choices() -> Box<dyn Space> {
        space(
            "kind = \"choices\"\n[[decision]]\nname = \"learning rate\"\noptions = [0.1, 1]\n[[decision]]\nname = \"norm\"\noptions = [true, false]",
        )
    }

    fn load(csv: &str, space: &dyn Space, layers: usize) -> Result<Table, String> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(csv.as_bytes()).unwrap();
        let settings = TableSettings {
            path: file.path().display().to_string(),
            reward: vec!["a".into(), "b".into()],
            seconds: "s".into(),
            report: vec!["test".into()],
        };
        Table::load(&settings, space, layers)
    }

    struct Nothing;

    impl Progress for Nothing {
        fn epoch(&mut self, _: crate::child::Epoch) {}
        fn examples(&mut self, _: usize) {}
        fn stop_requested(&self) -> bool {
            false
        }
        fn elapsed(&self) -> f64 {
            0.0
        }
    }

    const TABLE: &str = "norm,learning_rate,a,b,s,test\nTrue,0.10,1,2,9,x\nfalse,0.1,3,3,9,y\ntrue,1.0,4,4,9,z\nFalse,1,5,5,9,w\n";

    #[test]
    fn values_are_compared_by_meaning_and_repeats_are_drawn_by_the_seed() {
        let (space, table): (Arc<dyn Space>, _) = (choices().into(), Arc::new(load(TABLE, choices().as_ref(), 0).unwrap()));
        let mut evaluator = TableEvaluator::new(table.clone(), space.clone());
        let decisions = vec![Decision::Choice(0), Decision::Choice(0)];
        let mut drawn = std::collections::BTreeMap::new();
        for seed in 0..400 {
            let architecture = space.build(0, &decisions).unwrap();
            let task = Task { trial: 1, attempt: 0, seed, layers: 0, decisions: decisions.clone(), architecture };
            let outcome = evaluator.evaluate(&task, &mut Nothing);
            assert_eq!(outcome, evaluator.evaluate(&task, &mut Nothing));
            let Outcome::Completed { reward, seconds: Some(9.0), .. } = outcome else { panic!("{outcome:?}") };
            *drawn.entry(reward as i64).or_insert(0) += 1;
        }
        assert!(drawn.len() == 2 && drawn[&1] > 150 && drawn[&2] > 150, "{drawn:?}");
        assert_eq!(table.report(space.as_ref(), 0, &decisions), [("test".to_owned(), "x".to_owned())]);
    }

    #[test]
    fn what_is_wrong_with_a_table_is_named() {
        let space = choices();
        let problem = |csv: &str| load(csv, space.as_ref(), 0).err().unwrap();
        let without_last = &TABLE[..TABLE.len() - "False,1,5,5,9,w\n".len()];
        assert!(problem(without_last).contains("no row for learning rate=1, norm=false"));
        assert!(problem(&format!("{TABLE}false,1.0,5,5,9,w\n")).contains("line 6: the same architecture as line 5"));
        assert!(problem(&TABLE.replace("3,3,9", "3,nan,9")).contains("line 3: column \"b\" holds \"nan\""));
        assert!(problem(&TABLE.replace("norm,", "norn,")).contains("no column \"norm\" (nearest: \"norn\")"));
        assert!(load("", space.as_ref(), 0).is_err());
        let many = space_of_many();
        assert!(load(TABLE, many.as_ref(), 6).err().unwrap().contains("10^7"));
    }

    fn space_of_many() -> Box<dyn Space> {
        space("kind = \"conv\"")
    }

    #[test]
    fn skip_connections_have_columns_of_their_own() {
        let space = space("filter_height = [3]\nfilter_width = [3]\nfilters = [8, 16]\nlayers = 2");
        let mut csv = "layer_1_filters,layer_2_filters,layer_2_skip_1,a,b,s,test\n".to_owned();
        for (first, second, skip) in [(8, 8, 0), (8, 8, 1), (8, 16, 0), (8, 16, 1), (16, 8, 0), (16, 8, 1), (16, 16, 0)] {
            csv.push_str(&format!("{first},{second},{skip},1,1,1,t\n"));
        }
        let missing = load(&csv, space.as_ref(), 2).err().unwrap();
        assert!(missing.contains("layer 1 filters=16, layer 2 filters=16, layer 2 skip 1=1"), "{missing}");
        csv.push_str("16,16,1,1,1,1,t\n");
        assert!(load(&csv, space.as_ref(), 2).is_ok());
    }
}

//! What was measured, as rows of a CSV file: a bench that was interrupted goes on where it stopped,
//! and other programs add their rows. Must not know how a search is made.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;

const HEADER: &str = "problem,flight,strategy,seed,trials,regret,tried";

/// One search after so many trials.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub problem: String,
    /// Trials in flight.
    pub flight: usize,
    pub strategy: String,
    pub seed: u64,
    pub trials: usize,
    /// How far the network that ranks first is from the optimum.
    pub regret: f64,
    /// How far the best network that was tried is from it: what the choice by noisy rewards adds is
    /// the difference.
    pub tried: f64,
}

/// All rows, and the file that gets every new one.
pub struct Results {
    file: Option<std::fs::File>,
    pub rows: Vec<Row>,
    known: HashSet<(String, usize, String, u64, usize)>,
}

impl Row {
    fn parse(line: &str) -> Option<Self> {
        let mut cells = line.split(',');
        let row = Self {
            problem: cells.next()?.to_owned(),
            flight: cells.next()?.parse().ok()?,
            strategy: cells.next()?.to_owned(),
            seed: cells.next()?.parse().ok()?,
            trials: cells.next()?.parse().ok()?,
            regret: cells.next()?.parse().ok()?,
            tried: cells.next()?.parse().ok()?,
        };
        cells.next().is_none().then_some(row)
    }

    fn key(&self) -> (String, usize, String, u64, usize) {
        let Self {
            problem,
            flight,
            strategy,
            seed,
            trials,
            ..
        } = self.clone();
        (problem, flight, strategy, seed, trials)
    }
}

impl Results {
    /// Those of these files; new rows go to the first. A line that was cut off is left out.
    pub fn open(paths: &[PathBuf]) -> Self {
        let mut results = Self {
            file: None,
            rows: Vec::new(),
            known: HashSet::new(),
        };
        for (index, path) in paths.iter().enumerate() {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            for row in text.lines().filter_map(Row::parse) {
                results.insert(row);
            }
            if index == 0 {
                let mut file = std::fs::OpenOptions::new()
                    .append(true)
                    .create(true)
                    .open(path)
                    .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                if text.is_empty() {
                    writeln!(file, "{HEADER}").expect("the file of results");
                } else if !text.ends_with('\n') {
                    writeln!(file).expect("the file of results");
                }
                results.file = Some(file);
            }
        }
        results
    }

    pub fn has(
        &self,
        problem: &str,
        flight: usize,
        strategy: &str,
        seed: u64,
        trials: usize,
    ) -> bool {
        let key = (
            problem.to_owned(),
            flight,
            strategy.to_owned(),
            seed,
            trials,
        );
        self.known.contains(&key)
    }

    /// Rows of one search: all are written, or none.
    pub fn add(&mut self, rows: Vec<Row>) {
        let mut text = String::new();
        for row in &rows {
            let Row {
                problem,
                flight,
                strategy,
                seed,
                trials,
                regret,
                tried,
            } = row;
            let _ = writeln!(
                text,
                "{problem},{flight},{strategy},{seed},{trials},{regret:.6},{tried:.6}"
            );
        }
        if let Some(file) = &mut self.file {
            file.write_all(text.as_bytes())
                .expect("the file of results");
        }
        for row in rows {
            self.insert(row);
        }
    }

    fn insert(&mut self, row: Row) {
        if self.known.insert(row.key()) {
            self.rows.push(row);
        }
    }
}

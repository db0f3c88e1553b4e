//! Which columns of a table are used, and what a row holds in them. Must not know of architectures.

use super::TableSettings;
use super::dialect::Dialect;

/// Positions of the columns that are used.
pub struct Columns {
    pub decisions: Vec<usize>,
    rewards: Vec<usize>,
    seconds: Option<usize>,
    report: Vec<usize>,
    dialect: Dialect,
}

/// What a row holds for its architecture, beside the decisions.
pub struct RowValues {
    pub rewards: Vec<f64>,
    pub seconds: Option<f64>,
    pub report: Vec<String>,
}

impl Columns {
    /// Finds `decisions` and the settings' columns in the header; a space and an underscore are the
    /// same.
    ///
    /// # Errors
    /// Names the column that is missing, there twice, or meant for two things.
    pub fn find(
        header: &[String],
        decisions: &[String],
        settings: &TableSettings,
        dialect: Dialect,
    ) -> Result<Self, String> {
        let all = |names: &[String]| {
            names
                .iter()
                .map(|name| position(header, name, dialect))
                .collect::<Result<Vec<usize>, String>>()
        };
        let seconds = |name: &String| {
            if name.is_empty() {
                Ok(None)
            } else {
                position(header, name, dialect).map(Some)
            }
        };
        let found = Self {
            decisions: all(decisions)?,
            rewards: all(&settings.reward)?,
            seconds: seconds(&settings.seconds)?,
            report: all(&settings.report)?,
            dialect,
        };
        let mut used: Vec<usize> = found
            .decisions
            .iter()
            .chain(&found.rewards)
            .chain(&found.seconds)
            .copied()
            .collect();
        used.sort_unstable();
        match used.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(format!(
                "column \"{}\" is used twice; decisions, rewards and seconds need one each",
                header[pair[0]]
            )),
            None => Ok(found),
        }
    }

    /// Reads the numbers of one row.
    ///
    /// # Errors
    /// Names the column and what is needed there.
    pub fn row(&self, record: &csv::StringRecord, header: &[String]) -> Result<RowValues, String> {
        let number = |column: usize, needed: &str, valid: fn(f64) -> bool| {
            let text = &record[column];
            let value = self.dialect.number(text).filter(|value| valid(*value));
            value.ok_or_else(|| {
                format!(
                    "column \"{}\" holds \"{text}\"; {needed} is needed",
                    header[column]
                )
            })
        };
        let reward = |&column: &usize| number(column, "a finite number", f64::is_finite);
        let seconds = |column: usize| {
            number(column, "a number of seconds, 0 or more,", |seconds| {
                seconds.is_finite() && seconds >= 0.0
            })
        };
        Ok(RowValues {
            rewards: self.rewards.iter().map(reward).collect::<Result<_, _>>()?,
            seconds: self.seconds.map(seconds).transpose()?,
            report: self
                .report
                .iter()
                .map(|&column| record[column].to_owned())
                .collect(),
        })
    }
}

fn position(header: &[String], name: &str, dialect: Dialect) -> Result<usize, String> {
    let matching = |same: &dyn Fn(&str) -> bool| -> Vec<usize> {
        (0..header.len())
            .filter(|&column| same(&header[column]))
            .collect()
    };
    let exactly = matching(&|column| column == name);
    let found = if exactly.is_empty() {
        matching(&|column| column.replace('_', " ") == name.replace('_', " "))
    } else {
        exactly
    };
    match found.as_slice() {
        [column] => Ok(*column),
        [] => {
            let nearest = header
                .iter()
                .max_by(|a, b| strsim::jaro(a, name).total_cmp(&strsim::jaro(b, name)));
            let nearest =
                nearest.map_or_else(String::new, |column| format!(" (nearest: \"{column}\")"));
            let separated = match dialect.name() {
                "commas" => String::new(),
                other => format!(" (separated by {other})"),
            };
            Err(format!(
                "line 1: no column \"{name}\"{nearest}; the columns{separated} are {}",
                header.join(", ")
            ))
        }
        _ => Err(format!(
            "line 1: {} columns are named \"{name}\"; one is needed",
            found.len()
        )),
    }
}

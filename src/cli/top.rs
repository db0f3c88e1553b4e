//! `netwright top`: the best architectures of a run, as a table, CSV or JSON. Must not know how
//! they were found.

use super::{Failure, print, reading};
use crate::journal::{Reader, TrialRow};
use crate::report;
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct TopArgs {
    /// The run directory
    pub run: PathBuf,
    /// How many; with --pareto the whole front unless it is set
    #[arg(
        short = 'n',
        value_name = "N",
        default_value_t = 10,
        default_value_if("pareto", "true", Some("9223372036854775807"))
    )]
    pub count: usize,
    /// Those that no other one beats without costing more (child.cost, else parameters), the
    /// cheapest first
    #[arg(long)]
    pub pareto: bool,
    /// Print CSV, with the columns of the table `trials`
    #[arg(long, conflicts_with = "json")]
    pub csv: bool,
    /// Print JSON: an array of rows of the table `trials`, with `confirmed` where the network was
    /// confirmed
    #[arg(long)]
    pub json: bool,
}

pub fn run(args: TopArgs) -> Result<(), Failure> {
    let reader = Reader::open(&args.run).map_err(reading)?;
    if !args.csv && !args.json && !args.pareto {
        return print(&report::leaderboard(&reader, args.count).map_err(reading)?);
    }
    let rows = if args.pareto {
        let front = report::front_of(&reader, &args.run).map_err(reading)?;
        let front = front.into_iter().take(args.count);
        reader.trials(front).map_err(reading)?
    } else {
        reader.top(args.count).map_err(reading)?
    };
    if !args.csv && !args.json {
        return print(&report::pareto_board(&reader, &rows).map_err(reading)?);
    }
    if args.json {
        return super::print_json(&with_means(&reader, &rows)?);
    }
    print(&csv(&rows)?)
}

/// The rows; where a trial's network was confirmed, with how.
fn with_means(reader: &Reader, rows: &[TrialRow]) -> Result<Vec<serde_json::Value>, Failure> {
    let confirmed = reader.confirmed().map_err(reading)?;
    let with_mean = |row: &TrialRow| {
        let mut value = serde_json::json!(row);
        let mut networks = confirmed.iter();
        if let Some(network) = networks.find(|network| network.trial == row.id) {
            value["confirmed"] = serde_json::json!(network);
        }
        value
    };
    Ok(rows.iter().map(with_mean).collect())
}

/// One line a trial; lists and objects as JSON inside their field.
fn csv(rows: &[TrialRow]) -> Result<String, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::Failed(error.to_string());
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer
        .write_record(TrialRow::columns())
        .map_err(|error| failed(&error))?;
    for row in rows {
        let value = serde_json::to_value(row).map_err(|error| failed(&error))?;
        let text = |column: &str| match &value[column] {
            serde_json::Value::Null => String::new(),
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        writer
            .write_record(TrialRow::columns().map(text))
            .map_err(|error| failed(&error))?;
    }
    let bytes = writer.into_inner().map_err(|error| failed(&error))?;
    String::from_utf8(bytes).map_err(|error| failed(&error))
}

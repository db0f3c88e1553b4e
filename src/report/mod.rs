//! What people see of a run: leaderboard, tables, drawings, charts, the page. Reads a run through
//! the journal; must never write to it.

mod cell;
mod chart;
mod comparison;
mod configuration;
mod drawing;
mod facts;
mod files;
mod html;
mod leaderboard;
mod learned;
mod measured;
mod monitor;
mod number;
mod page;
mod pareto;
mod series;
mod status;
mod svg;

pub use cell::cell_svg;
pub use comparison::{Comparison, Interval, StrategyRuns};
pub use configuration::configuration_string;
pub use drawing::{svg, text};
pub use files::{ReportError, TrialsFile, write_report};
pub use leaderboard::{chosen, leaderboard, mean_of, origin, pareto_board, summary};
pub use number::{duration, grouped};
pub use page::{Page, routes};
pub use pareto::pareto_front;
pub use status::Status;

/// What the metric of the children of the run in `dir` measures.
pub fn metric_unit(dir: &std::path::Path) -> crate::child::MetricUnit {
    facts::RunFacts::read(dir).unit
}

/// The name of the run in `dir`.
pub fn run_name(dir: &std::path::Path) -> String {
    facts::RunFacts::read(dir).name
}

/// The trials on the Pareto front of a run, the cheapest first: those that none beats at their cost.
///
/// # Errors
/// When the run cannot be read.
pub fn front_of(
    reader: &crate::journal::Reader,
    dir: &std::path::Path,
) -> Result<Vec<u64>, crate::journal::JournalError> {
    let facts = facts::RunFacts::read(dir);
    let front = pareto_front(&reader.costs(0)?, facts.unit);
    Ok(front.into_iter().map(|row| row.trial).collect())
}

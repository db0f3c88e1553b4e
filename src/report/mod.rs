//! What people see of a run: leaderboard, tables, drawings, charts, the page. Reads a run through
//! the journal; must never write to it.

mod cell;
mod chart;
mod comparison;
mod drawing;
mod facts;
mod files;
mod html;
mod leaderboard;
mod monitor;
mod number;
mod page;
mod series;
mod status;

pub use cell::cell_svg;
pub use comparison::{Comparison, Interval, StrategyRuns};
pub use drawing::{svg, text};
pub use files::{ReportError, TrialsFile, write_charts};
pub use leaderboard::{leaderboard, mean_of, origin, summary};
pub use number::{duration, grouped};
pub use page::{Page, routes};
pub use status::Status;

/// What the metric of the children of the run in `dir` measures.
pub fn metric_unit(dir: &std::path::Path) -> crate::child::MetricUnit {
    facts::RunFacts::read(dir).unit
}

/// The name of the run in `dir`.
pub fn run_name(dir: &std::path::Path) -> String {
    facts::RunFacts::read(dir).name
}

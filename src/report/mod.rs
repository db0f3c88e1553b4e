//! What people take away from a run: leaderboard, tables, drawings, charts, the page. Reads a run
//! through the journal; never writes to it.

mod cell;
mod chart;
mod drawing;
mod facts;
mod files;
mod html;
mod leaderboard;
mod number;
mod page;
mod series;
mod status;
mod watch;

pub use cell::cell_svg;
pub use drawing::{svg, text};
pub use files::{ReportError, TrialsFile, write_charts};
pub use leaderboard::{leaderboard, origin, summary};
pub use number::{duration, grouped};
pub use page::{Page, routes};
pub use status::Status;

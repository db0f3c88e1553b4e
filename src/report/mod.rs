//! What people take away from a run: leaderboard and tables. Reads a run through the journal; never writes to it.

mod cell;
mod drawing;
mod leaderboard;

pub use cell::cell_svg;
pub use drawing::{svg, text};
pub use leaderboard::{grouped, leaderboard, summary};

//! What people take away from a run: leaderboard and tables. Reads a run through the journal; never writes to it.

mod drawing;
mod leaderboard;

pub use drawing::{svg, text};
pub use leaderboard::{grouped, leaderboard, summary};

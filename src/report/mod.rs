//! What people take away from a run: leaderboard and tables. Reads a run through the journal; never writes to it.

mod leaderboard;

pub use leaderboard::{leaderboard, summary};

//! How the next architectures are chosen and what is learned from their rewards; and the replay of a
//! run's log. Functions of a seed, a ticket and the log: no actors, no files, no clocks.

mod learning;
mod replay;
mod settings;
#[cfg(test)]
mod tests;

pub use learning::LearningSettings;
pub use replay::{
    LogEntry, MinibatchEntry, PulledParameters, Replay, ReplayError, Snapshot, entry_gradient,
    initial_snapshot,
};
pub use settings::{ControllerSettings, ParameterServerSettings, Strategy};

//! The actors and their messages: who owns state and decides what happens next. The arithmetic is
//! in rooms that have no actors.

mod controller;
mod lane;
mod messages;
mod runtime;
mod scribe;
mod settings;
mod shard;
mod start;
mod supervisor;
#[cfg(test)]
mod tests;
mod trainer;

pub use lane::EvaluatorFactory;
pub use lane::checkpoints::CheckpointFiles;
pub use scribe::Scribe;
pub use settings::{EnqueueSettings, RunSettings};
pub use start::{Prepared, SearchSettings, prepare, search};
pub use supervisor::{
    ActorRestart, Beyond, End, Event, Notice, Observer, Parts, Progress, Reconfigured, Reload,
    RestartSettings,
};

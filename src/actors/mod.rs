//! The actors and their messages: who owns state and decides what happens next. The arithmetic is
//! in rooms that have no actors.

mod controller;
mod event_program;
mod lane;
mod messages;
mod minibatch;
mod report_writer;
mod runtime;
mod settings;
mod shard;
mod start;
mod supervisor;
#[cfg(test)]
mod tests;
mod trainer;

pub use event_program::{EventProgram, RunEvent};
pub use lane::{ChildFiles, EvaluatorFactory};
pub use report_writer::ReportWriter;
pub use runtime::{Stopwatch, fault};
pub use settings::{EnqueueSettings, RunSettings};
pub use start::search;
pub use supervisor::{
    ActorRestart, Additions, Beyond, End, Event, Notice, Observer, Parts, PrepareError, Prepared,
    Progress, Reconfigured, Reload, RestartSettings, SearchSettings, prepare,
};

//! The actors and their messages: who owns state and decides what happens next. The arithmetic is
//! in rooms that have no actors.

mod busy;
mod checkpoints;
mod compute;
mod controller;
pub mod devices;
mod fault;
mod lane;
mod lane_device;
mod mailbox;
mod messages;
mod observer;
mod order;
mod restart;
mod reuse;
mod roster;
mod scribe;
mod settings;
mod shard;
mod start;
mod supervisor;
mod tickets;
mod trainer;
mod visible;
mod watch;

pub use checkpoints::CheckpointFiles;
pub use lane::EvaluatorFactory;
pub use lane_device::{candle_device, memory_bytes, thread_pool};
pub use observer::{Event, Observer, Progress};
pub use restart::{ActorRestart, Beyond, RestartSettings};
pub use scribe::Scribe;
pub use settings::{DeviceUse, DevicesSettings, EnqueueSettings, RunSettings};
pub use start::{Prepared, SearchSettings, prepare, search};
pub use supervisor::{End, Notice, Parts, Reconfigured, Reload};
pub use visible::{inherited as inherited_gpus, visible as visible_gpus};

//! Every message that actors exchange. Requests flow Controller → Supervisor → ParameterShard, Journal, ChildTrainer;
//! replies are new messages, and no actor waits for another inside a handler.

use super::controller::Controller;
use super::lane::LaneReport;
use super::mailbox::Mailbox;
use crate::child::{Epoch, Outcome, Task};
use crate::journal::{OpenMinibatch, SampledMinibatch, Sequenced};
use crate::policy::AdamState;
use actix::Message;
use std::sync::Arc;

/// Controller → Supervisor: ready for another minibatch.
#[derive(Message)]
#[rtype(result = "()")]
pub struct RequestTicket {
    pub controller: u64,
}

/// Supervisor → Controller: sample this.
#[derive(Message, Clone, Debug)]
#[rtype(result = "()")]
pub struct Ticket {
    pub minibatch: u64,
    /// m: how many children.
    pub children: usize,
    pub layers: usize,
    /// Parameters must hold every entry up to this sequence number.
    pub after: u64,
}

/// Supervisor → Controller: finish a minibatch that an earlier process sampled, from these parameters.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Resume {
    pub open: OpenMinibatch,
    pub parameters: Arc<[f32]>,
}

/// Supervisor → Controller: nothing more to sample.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Retire;

/// Controller → ParameterShard: send your slice once every entry up to `after` is applied.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Pull {
    pub after: u64,
    pub reply: Mailbox<Controller>,
}

/// ParameterShard → Controller.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Pulled {
    pub shard: usize,
    pub version: u64,
    pub values: Arc<[f32]>,
}

/// Compute thread → Controller: the minibatch that a ticket asked for.
#[derive(Message)]
#[rtype(result = "()")]
pub struct SampledHere {
    pub sampled: SampledMinibatch,
}

/// Controller → Supervisor: to be written down and evaluated.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Sampled {
    pub sampled: SampledMinibatch,
}

/// Journal → Supervisor: the minibatches are on disk, their trials numbered from `first_ids`.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Inserted {
    pub minibatches: Vec<SampledMinibatch>,
    pub first_ids: Vec<u64>,
}

/// Supervisor → ChildTrainer.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Train {
    pub task: Task,
}

/// Supervisor → ChildTrainer: end what runs, soon.
#[derive(Message)]
#[rtype(result = "()")]
pub struct StopTraining;

/// Lane → ChildTrainer.
#[derive(Message)]
#[rtype(result = "()")]
pub struct FromLane(pub LaneReport);

/// ChildTrainer → Supervisor: what its lane reported.
#[derive(Message)]
#[rtype(result = "()")]
pub struct ChildEpoch {
    pub trial: u64,
    pub epoch: Epoch,
}

/// ChildTrainer → Supervisor: the lane is free again.
#[derive(Message)]
#[rtype(result = "()")]
pub struct ChildEnded {
    pub trainer: usize,
    pub task: Task,
    pub outcome: Outcome,
    /// Wall-clock seconds on the lane.
    pub seconds: f64,
}

/// ChildTrainer → Supervisor: the lane cannot start, or is gone.
#[derive(Message)]
#[rtype(result = "()")]
pub struct LaneLost {
    pub trainer: usize,
    pub reason: String,
}

/// Journal → Supervisor: a trial's outcome is on disk, and with it these minibatches have their place in the order.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Committed {
    pub trial: u64,
    pub outcome: Outcome,
    /// Wall-clock seconds on the lane.
    pub seconds: f64,
    /// The trial whose reward this one took.
    pub reused_from: Option<u64>,
    pub sequenced: Vec<Sequenced>,
}

/// Supervisor → Controller: the minibatch has all its rewards.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Rewarded(pub Sequenced);

/// Controller → ParameterShard: a gradient with its place in the order; the shard takes its own range of it.
#[derive(Message, Clone)]
#[rtype(result = "()")]
pub struct Push {
    pub sequence: u64,
    /// Version of this shard that the gradient was computed at.
    pub pulled: u64,
    pub gradient: Arc<[f32]>,
}

/// Compute thread → Controller: the gradient of a rewarded minibatch.
#[derive(Message)]
#[rtype(result = "()")]
pub struct GradientHere {
    pub sequence: u64,
    pub gradient: crate::policy::Gradient,
}

/// Supervisor → ParameterShard: send your state as it is right after this sequence number. Sent before any push of that number.
#[derive(Message)]
#[rtype(result = "()")]
pub struct CutAt {
    pub sequence: u64,
}

/// ParameterShard → Supervisor.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Cut {
    pub shard: usize,
    pub state: AdamState,
}

/// Journal → Supervisor: a snapshot is on disk.
#[derive(Message)]
#[rtype(result = "()")]
pub struct SnapshotStored {
    pub sequence: u64,
}

/// Anyone → Supervisor: leave, saved.
#[derive(Message, Clone, Copy, Debug, PartialEq, Eq)]
#[rtype(result = "()")]
pub enum Shutdown {
    /// A signal with this number.
    Signal(u8),
    /// `run.max_seconds` is over.
    TimeIsUp,
    /// The time for an orderly end is over.
    Deadline,
}

/// Anyone → Supervisor: the run cannot go on.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct Fatal(pub String);

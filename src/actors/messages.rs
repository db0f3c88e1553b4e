//! Every message that actors exchange. Requests flow Controller → Supervisor → ParameterShard,
//! Journal, ChildTrainer; replies are new messages, and no actor waits for another inside a
//! handler.

use crate::actors::lane::LaneReport;
use crate::actors::minibatch::Minibatch;
use crate::actors::runtime::{ActorId, Recipient};
use crate::child::{Epoch, LearningCurves, Outcome, Pruner, Pruning, Task};
use crate::journal::{Evaluated, LogTail, NewReevaluation, SampledMinibatch, Sequenced};
use crate::policy::AdamState;
use crate::strategy::{HistoryView, LearningSettings, ReplayError, Strategy};
use actix::Message;
use std::sync::Arc;

/// Controller → Supervisor: ready for another minibatch. Like every message that names a generation,
/// it is ignored if it comes from an earlier one than that at work.
#[derive(Message)]
#[rtype(result = "()")]
pub struct RequestTicket {
    pub controller: u64,
    pub generation: u64,
}

/// What a Controller may propose.
#[derive(Clone, Debug)]
pub struct Ticket {
    /// Counts this replica's minibatches, from 0.
    pub minibatch: u64,
    /// m: how many children.
    pub children: usize,
    pub layers: usize,
    /// The parameters must contain every entry up to this sequence number.
    pub after: u64,
}

/// Supervisor → Controller: pull the parameters and propose the ticket's minibatch.
#[derive(Message, Clone)]
#[rtype(result = "()")]
pub struct ProposeMinibatch {
    pub ticket: Ticket,
    pub learning: LearningSettings,
    /// What the strategy may know: it depends on the ticket alone, not on how long the pull takes.
    pub history: HistoryView,
    /// What its children are pruned by; None: nothing prunes them.
    pub pruning: Option<PruningRequest>,
}

/// What thresholds are computed from when a ticket is answered: they depend on the log that its
/// history shows, as the proposals do.
#[derive(Clone)]
pub struct PruningRequest {
    pub pruner: Pruner,
    pub curves: Arc<LearningCurves>,
}

impl PruningRequest {
    pub fn pruning(&self) -> Pruning {
        self.curves.pruning(self.pruner)
    }
}

/// Supervisor → Controller: finish a minibatch that an earlier process, or an earlier generation of
/// this replica, sampled.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Resume(pub Arc<Minibatch>);

/// Supervisor → Controllers: the parameters are on these shards from now on. A pull that is under
/// way starts again.
#[derive(Message, Clone)]
#[rtype(result = "()")]
pub struct ShardSet {
    /// Counts the sets: slices of an earlier set are ignored.
    pub set: u64,
    /// Shard i owns `boundaries[i]..boundaries[i + 1]`.
    pub boundaries: Arc<[usize]>,
    pub shards: Vec<ShardRecipients>,
}

/// One ParameterShard, as a Controller needs it.
#[derive(Clone)]
pub struct ShardRecipients {
    pub pull: Recipient<Pull>,
    pub push: Recipient<Push>,
}

/// Supervisor → any actor: end, because there is nothing more to do.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Retire;

/// Controller → ParameterShard: send your slice once every entry up to `after` is applied.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Pull {
    pub after: u64,
    pub set: u64,
    pub reply: Recipient<Pulled>,
}

/// ParameterShard → Controller: the shard's range of the parameters, at this version.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Pulled {
    pub shard: usize,
    pub set: u64,
    pub version: u64,
    pub values: Arc<[f32]>,
}

/// Compute thread → Controller: the minibatch that a ticket asked for.
#[derive(Message)]
#[rtype(result = "()")]
pub struct MinibatchProposed {
    pub sampled: SampledMinibatch,
    /// All parameters as they were pulled: the gradient is computed at them.
    pub parameters: Arc<[f32]>,
}

/// Controller → Supervisor: a minibatch to be stored and evaluated.
#[derive(Message)]
#[rtype(result = "()")]
pub struct SubmitMinibatch {
    pub generation: u64,
    pub sampled: SampledMinibatch,
    pub minibatch: Arc<Minibatch>,
}

/// Journal → Supervisor: the minibatches are on disk; the ids of each one's trials begin with its
/// entry of `first_ids`.
#[derive(Message)]
#[rtype(result = "()")]
pub struct MinibatchesStored {
    pub minibatches: Vec<SampledMinibatch>,
    pub first_ids: Vec<u64>,
}

/// Journal → Supervisor: the best networks, which are to be confirmed.
#[derive(Message)]
#[rtype(result = "()")]
pub struct NetworksToConfirm(pub Vec<Evaluated>);

/// Journal → Supervisor: trials that evaluate others again are on disk; their ids begin with
/// `first`.
#[derive(Message)]
#[rtype(result = "()")]
pub struct ReevaluationsStored {
    pub trials: Vec<NewReevaluation>,
    pub first: u64,
}

/// Supervisor → ChildTrainer: train this child.
#[derive(Message)]
#[rtype(result = "()")]
pub struct TrainChild {
    pub task: Task,
    /// Start only once the start is on disk: should the child kill the process, the next process
    /// must know which one it was.
    pub record_first: bool,
}

/// Journal → ChildTrainer: that this child starts is on disk.
#[derive(Message)]
#[rtype(result = "()")]
pub struct StartRecorded(pub Task);

/// Supervisor → ChildTrainer: end what runs, soon.
#[derive(Message)]
#[rtype(result = "()")]
pub struct StopTraining;

/// Lane → ChildTrainer: what happens on the lane.
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
    pub generation: u64,
    pub task: Task,
    pub outcome: Outcome,
    /// Wall-clock seconds on the lane.
    pub seconds: f64,
}

/// Journal → Supervisor: a trial's outcome is on disk, and the minibatches that it completed have
/// their sequence numbers.
#[derive(Message)]
#[rtype(result = "()")]
pub struct OutcomeCommitted {
    pub trial: u64,
    pub outcome: Outcome,
    /// Wall-clock seconds on the lane.
    pub seconds: f64,
    /// The trial whose reward this one took.
    pub reused_from: Option<u64>,
    pub sequenced: Vec<Sequenced>,
}

/// Supervisor → Controller: the minibatch has all its rewards; its gradient is computed by these
/// settings.
#[derive(Message, Clone)]
#[rtype(result = "()")]
pub struct Rewarded {
    pub sequenced: Sequenced,
    pub learning: LearningSettings,
    /// As it was before the minibatch, or before its synchronous round.
    pub strategy: Arc<dyn Strategy>,
}

/// Journal → Supervisor → ParameterShard: these learning settings hold from this sequence number
/// on.
#[derive(Message, Clone, Copy)]
#[rtype(result = "()")]
pub struct LearningChange {
    pub sequence: u64,
    pub learning: LearningSettings,
}

/// Controller → ParameterShard: a gradient and its sequence number; the shard applies its own range
/// of it.
#[derive(Message, Clone)]
#[rtype(result = "()")]
pub struct Push {
    pub sequence: u64,
    /// The oldest version that the gradient was computed at.
    pub pulled: u64,
    pub gradient: Arc<[f32]>,
}

/// Compute thread → Controller: the gradient of a rewarded minibatch.
#[derive(Message)]
#[rtype(result = "()")]
pub struct GradientComputed {
    pub sequence: u64,
    /// The oldest version that it was computed at.
    pub pulled: u64,
    pub gradient: crate::policy::Gradient,
}

/// Supervisor → ParameterShard: send your state as it is right after this sequence number. Sent
/// before any push of that number.
#[derive(Message)]
#[rtype(result = "()")]
pub struct CutAt {
    pub sequence: u64,
}

/// ParameterShard → Supervisor: the shard's state right after the sequence number of a [`CutAt`],
/// which is `state.sequence`.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Cut {
    pub shard: usize,
    pub generation: u64,
    pub state: AdamState,
}

/// Journal → Supervisor: a snapshot is on disk.
#[derive(Message)]
#[rtype(result = "()")]
pub struct SnapshotStored {
    pub sequence: u64,
}

/// Supervisor → itself: start the next generation of an actor that has ended.
#[derive(Message, Clone, Copy)]
#[rtype(result = "()")]
pub struct RestartActor(pub ActorId);

/// Journal → Supervisor: the newest snapshot and the log after it.
#[derive(Message)]
#[rtype(result = "()")]
pub struct LogRead(pub LogTail);

/// Compute thread → Supervisor: the parameters at the log's last entry, or why the log does not
/// replay.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Replayed(pub Result<AdamState, ReplayError>);

/// Anyone → Supervisor: the config file may have changed.
#[derive(Message, Clone, Copy)]
#[rtype(result = "()")]
pub struct PollConfig {
    /// A signal asked for it: read the file even if it seems unchanged.
    pub forced: bool,
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

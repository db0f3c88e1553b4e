//! The set of ParameterShards: started, cut for snapshots, and restarted from the journal's log
//! when one ends. While a shard is missing, no entry of the log is delivered, so that no gradient
//! is computed that a shard would not receive.

use super::Supervisor;
use super::prepare::replay_log;
use crate::actors::messages::{
    Cut, CutAt, LogRead, Replayed, RestartActor, Retire, ShardRecipients, ShardSet, SnapshotStored,
};
use crate::actors::minibatch::Minibatch;
use crate::actors::runtime::{ActorId, ExitNotifier, JobOwner, Mailbox};
use crate::actors::shard::{ParameterShard, ShardContext};
use crate::journal::LogTail;
use crate::policy::{AdamState, RewardAverages};
use crate::strategy::{HeldParameters, LearningSettings, Replay, Snapshot, initial_snapshot};
use actix::{Actor, Context};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A snapshot is taken when this many entries have been delivered since the last one, and more where
/// it holds the parameters of open minibatches: what is written for an entry stays about the same.
const SNAPSHOT_EVERY: u64 = 64;

/// Vectors of the parameters' length in a snapshot alone: parameters, two moments, accumulator.
const OWN_VECTORS: u64 = 4;

/// The shards, and the cuts that they are asked for.
pub(super) struct Shards {
    /// As the controllers know them.
    pub(super) set: ShardSet,
    addresses: Vec<Mailbox<ParameterShard>>,
    generations: Vec<u64>,
    down: BTreeSet<usize>,
    /// Boundaries that the parameters move to at the last number delivered.
    new_boundaries: Option<Vec<usize>>,
    cuts: BTreeMap<u64, PendingCut>,
    /// Sequence number of the newest snapshot requested.
    pub(super) requested: u64,
    /// Sequence number of the newest snapshot on disk.
    pub(super) stored: u64,
    /// Version of the newest snapshot that is complete.
    version: u64,
    /// Parameters of open minibatches that it came with.
    held: u64,
}

struct PendingCut {
    averages: RewardAverages,
    learning: LearningSettings,
    strategy: Vec<u8>,
    shards: Vec<Option<AdamState>>,
    /// The minibatches that are open at its number.
    open: Vec<((u64, u64), Arc<Minibatch>)>,
}

impl Shards {
    /// No shards yet; `stored` is the sequence number of the snapshot on disk.
    pub(super) fn new(stored: u64) -> Self {
        let set = ShardSet {
            set: 0,
            boundaries: [].into(),
            shards: Vec::new(),
        };
        Self {
            set,
            addresses: Vec::new(),
            generations: Vec::new(),
            down: BTreeSet::new(),
            new_boundaries: None,
            cuts: BTreeMap::new(),
            requested: stored,
            stored,
            version: 0,
            held: 0,
        }
    }

    /// The run goes on from a snapshot of this version, with the parameters of so many minibatches.
    pub(super) fn resume(&mut self, version: u64, held: u64) {
        (self.version, self.held) = (version, held);
    }

    /// Must the parameters of a minibatch that is written down now be kept? They were pulled at this
    /// version (the oldest one), and the newest snapshot, or one under way, may come after it.
    pub(super) fn needs_held(&self, pulled: u64) -> bool {
        !self.cuts.is_empty() || pulled < self.version
    }

    /// Is it time for a snapshot at this number?
    pub(super) fn is_due(&self, sequence: u64) -> bool {
        let every = SNAPSHOT_EVERY * (OWN_VECTORS + self.held) / OWN_VECTORS;
        sequence >= self.requested + every
    }

    /// Must entries of the log wait? True while a shard is missing or the parameters move.
    pub(super) fn blocked(&self) -> bool {
        !self.down.is_empty() || self.new_boundaries.is_some()
    }

    pub(super) fn addresses(&self) -> &[Mailbox<ParameterShard>] {
        &self.addresses
    }

    pub(super) fn count(&self) -> usize {
        self.addresses.len()
    }

    /// Abandons this generation of a shard; false: it was abandoned before.
    pub(super) fn abandon(&mut self, shard: usize, generation: u64) -> bool {
        let current = self
            .generations
            .get_mut(shard)
            .filter(|current| **current == generation);
        let Some(current) = current else { return false };
        *current += 1;
        self.addresses[shard].do_send(Retire);
        self.down.insert(shard)
    }

    /// The addresses have changed: slices pulled from the set before do not count.
    fn renew_set(&mut self) {
        self.set.set += 1;
        self.set.shards = self
            .addresses
            .iter()
            .map(|shard| ShardRecipients {
                pull: shard.recipient(),
                push: shard.recipient(),
            })
            .collect();
    }

    /// Takes a shard's part of a cut; returns the whole once it is complete, and the parameters that
    /// minibatches open at its number were proposed from before it.
    fn cut(&mut self, cut: Cut) -> Option<(Snapshot, Vec<HeldParameters>)> {
        let sequence = cut.state.sequence;
        if self.generations.get(cut.shard) != Some(&cut.generation) {
            return None;
        }
        let pending = self.cuts.get_mut(&sequence)?;
        pending.shards[cut.shard] = Some(cut.state);
        if pending.shards.iter().any(Option::is_none) {
            return None;
        }
        let pending = self.cuts.remove(&sequence)?;
        let shards: Vec<AdamState> = pending.shards.into_iter().flatten().collect();
        let state = AdamState::concat(&shards);
        let earlier = pending
            .open
            .into_iter()
            .filter(|(_, open)| open.pulled.oldest() < state.version);
        let held: Vec<HeldParameters> = earlier
            .map(|((controller, minibatch), open)| HeldParameters {
                controller,
                minibatch,
                parameters: open.parameters.clone(),
            })
            .collect();
        self.resume(state.version, held.len() as u64);
        let snapshot = Snapshot {
            state,
            averages: pending.averages,
            learning: pending.learning,
            strategy: pending.strategy,
        };
        Some((snapshot, held))
    }
}

impl Supervisor {
    /// Starts all shards at `state`, a cut at the last sequence number delivered.
    pub(super) fn start_shards(
        &mut self,
        state: &AdamState,
        boundaries: Vec<usize>,
        context: &Context<Self>,
    ) {
        let generation = self
            .shards
            .generations
            .iter()
            .max()
            .map_or(0, |last| last + 1);
        self.shards.generations = vec![generation; boundaries.len() - 1];
        self.shards.set.boundaries = boundaries.into();
        self.shards.addresses = (0..self.shards.generations.len())
            .map(|index| self.start_shard(index, state, context))
            .collect();
        self.shards.renew_set();
    }

    fn start_shard(
        &self,
        index: usize,
        state: &AdamState,
        context: &Context<Self>,
    ) -> Mailbox<ParameterShard> {
        let range = self.shards.set.boundaries[index]..self.shards.set.boundaries[index + 1];
        let supervisor = self.mailbox(context);
        let exit = ExitNotifier::new(
            ActorId::ParameterShard(index),
            self.shards.generations[index],
            supervisor.recipient(),
        );
        let shared = ShardContext {
            cuts: supervisor.recipient(),
            metrics: self.parts.metrics.clone(),
        };
        let shard = ParameterShard::new(
            index,
            range.clone(),
            state.slice(range),
            self.learning,
            exit,
            shared,
        );
        Mailbox::new(shard.start(), &self.parts.metrics)
    }

    /// Moves the parameters, with Adam's moments, to other ranges: at the last sequence number
    /// delivered, once every shard is there. Later entries of the log wait.
    pub(super) fn reshard(&mut self, boundaries: Vec<usize>) {
        self.shards.new_boundaries = Some(boundaries);
        self.cut();
    }

    /// Asks every shard for its state at the last sequence number delivered.
    pub(super) fn cut(&mut self) {
        let shards = vec![None; self.shards.count()];
        self.shards.cuts.insert(
            self.sequence,
            PendingCut {
                averages: self.averages,
                learning: self.learning,
                strategy: self.proposals.save(),
                shards,
                open: self.replicas.open().collect(),
            },
        );
        self.shards.requested = self.sequence;
        for shard in self.shards.addresses() {
            shard.do_send(CutAt {
                sequence: self.sequence,
            });
        }
    }

    pub(super) fn receive_cut(&mut self, cut: Cut, context: &Context<Self>) {
        let Some((snapshot, held)) = self.shards.cut(cut) else {
            return;
        };
        if snapshot.state.sequence == self.sequence
            && let Some(boundaries) = self.shards.new_boundaries.take()
        {
            for shard in self.shards.addresses() {
                shard.do_send(Retire);
            }
            self.start_shards(&snapshot.state, boundaries, context);
            self.replicas.announce_shards(&self.shards.set);
            self.deliver_pending();
        }
        let supervisor = self.mailbox(context);
        let sequence = snapshot.state.sequence;
        self.journal.snapshot(
            snapshot,
            held,
            Box::new(move |()| supervisor.do_send(SnapshotStored { sequence })),
        );
    }

    /// Replays the log on the compute thread: the result is the state of the shards to be
    /// restarted.
    pub(super) fn replay(&mut self, tail: LogTail, context: &Context<Self>) {
        let (Some(compute), Some(&shard)) = (self.replicas.compute(), self.shards.down.first())
        else {
            return;
        };
        let LogTail {
            snapshot,
            held,
            mut log,
        } = tail;
        log.retain(|entry| entry.sequence() <= self.sequence);
        let start =
            snapshot.unwrap_or_else(|| initial_snapshot(&self.policy, self.seed, self.learning));
        let policy = self.policy.clone();
        let space = self.space.clone();
        let supervisor = self.mailbox(context);
        let owner = JobOwner {
            actor: ActorId::ParameterShard(shard),
            generation: self.shards.generations[shard],
        };
        compute.submit(owner, move || {
            let replayed = Replay::new(&policy, space.as_ref(), start).and_then(|replay| {
                let mut replay = replay.holding(held);
                replay_log(&mut replay, &log, &[])?;
                Ok(replay.into_parts().0.state)
            });
            supervisor.do_send(Replayed(replayed));
            Ok(())
        });
    }

    /// Restarts the missing shards at this state. Cuts at earlier sequence numbers can no longer be
    /// taken; a cut at this one can.
    pub(super) fn restart_shards(&mut self, state: &AdamState, context: &Context<Self>) {
        if state.sequence != self.sequence {
            // The log was read before the last delivery: read it again.
            for shard in &self.shards.down {
                let actor = ActorId::ParameterShard(*shard);
                self.mailbox(context).do_send(RestartActor(actor));
            }
            return;
        }
        for index in std::mem::take(&mut self.shards.down) {
            self.shards.addresses[index] = self.start_shard(index, state, context);
        }
        self.shards.renew_set();
        self.replicas.announce_shards(&self.shards.set);
        self.shards
            .cuts
            .retain(|sequence, _| *sequence == state.sequence);
        self.shards.requested = self
            .shards
            .cuts
            .keys()
            .next_back()
            .copied()
            .unwrap_or(self.shards.stored);
        if !self.shards.cuts.is_empty() {
            self.cut();
        }
    }

    /// Requests the log from the journal, to restart the missing shards.
    pub(super) fn read_log(&self, context: &Context<Self>) {
        let supervisor = self.mailbox(context);
        let reply = move |tail| supervisor.do_send(LogRead(tail));
        self.journal.log(Box::new(reply));
    }
}

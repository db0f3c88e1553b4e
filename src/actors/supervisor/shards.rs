//! The set of ParameterShards: started, cut for snapshots, rebuilt from the journal's log when one
//! falls. While one is missing, nothing that takes a sequence number is delivered, so that no
//! gradient is computed that a shard would not hear of.

use super::Supervisor;
use crate::actors::messages::{Cut, CutAt, Rebuild, Replayed, Retire, ShardSet, SnapshotStored};
use crate::actors::runtime::mailbox::Mailbox;
use crate::actors::runtime::watch::ActorId;
use crate::actors::shard::ParameterShard;
use crate::actors::start::replay_log;
use crate::policy::{AdamState, Baseline};
use crate::strategy::{LearningSettings, LogEntry, Replay, Snapshot, initial_snapshot};
use actix::{Actor, Context};
use std::collections::{BTreeMap, BTreeSet};

/// The shards, and the cuts that are being taken of them.
pub(super) struct Shards {
    pub(super) set: ShardSet,
    generations: Vec<u64>,
    down: BTreeSet<usize>,
    /// Boundaries that the parameters move to at the last number delivered.
    wanted: Option<Vec<usize>>,
    cuts: BTreeMap<u64, PendingCut>,
    /// Sequence number of the newest snapshot asked for, and of the newest on disk.
    pub(super) asked: u64,
    pub(super) stored: u64,
}

struct PendingCut {
    baseline: Baseline,
    learning: LearningSettings,
    strategy: Vec<u8>,
    shards: Vec<Option<AdamState>>,
}

impl Shards {
    /// None yet; `stored` is the snapshot on disk.
    pub(super) fn new(stored: u64) -> Self {
        let set = ShardSet {
            set: 0,
            boundaries: [].into(),
            addresses: Vec::new(),
        };
        Self {
            set,
            generations: Vec::new(),
            down: BTreeSet::new(),
            wanted: None,
            cuts: BTreeMap::new(),
            asked: stored,
            stored,
        }
    }

    /// Must what has its place in the order wait?
    pub(super) fn holds(&self) -> bool {
        !self.down.is_empty() || self.wanted.is_some()
    }

    pub(super) fn addresses(&self) -> &[Mailbox<ParameterShard>] {
        &self.set.addresses
    }

    /// This generation of a shard is given up; false: it was before.
    pub(super) fn fall(&mut self, shard: usize, generation: u64) -> bool {
        let current = self
            .generations
            .get_mut(shard)
            .filter(|current| **current == generation);
        let Some(current) = current else { return false };
        *current += 1;
        self.set.addresses[shard].do_send(Retire);
        self.down.insert(shard)
    }

    /// A shard's part of a cut; the whole, once it is complete.
    fn cut(&mut self, cut: Cut) -> Option<Snapshot> {
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
        Some(Snapshot {
            state: AdamState::concat(&shards),
            baseline: pending.baseline,
            learning: pending.learning,
            strategy: pending.strategy,
        })
    }
}

impl Supervisor {
    /// Starts all shards anew at `state`, a cut at the last number delivered.
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
        self.shards.set = ShardSet {
            set: self.shards.set.set + 1,
            boundaries: boundaries.into(),
            addresses: Vec::new(),
        };
        for index in 0..self.shards.generations.len() {
            let address = self.build_shard(index, state, context);
            self.shards.set.addresses.push(address);
        }
    }

    fn build_shard(
        &self,
        index: usize,
        state: &AdamState,
        context: &Context<Self>,
    ) -> Mailbox<ParameterShard> {
        let range = self.shards.set.boundaries[index]..self.shards.set.boundaries[index + 1];
        let id = (index, self.shards.generations[index]);
        let metrics = self.parts.metrics.clone();
        let shard = ParameterShard::new(
            id,
            range.clone(),
            state.slice(range),
            self.learning,
            self.mailbox(context),
            metrics,
        )
        .start();
        Mailbox::new(shard, &self.parts.metrics)
    }

    /// Moves the parameters, with everything that Adam keeps of them, to other ranges: at the last
    /// number delivered, once every shard is there. What takes a number meanwhile waits.
    pub(super) fn reshard(&mut self, boundaries: Vec<usize>) {
        self.shards.wanted = Some(boundaries);
        self.cut();
    }

    /// Asks every shard for its state at the last number delivered.
    pub(super) fn cut(&mut self) {
        let shards = vec![None; self.shards.addresses().len()];
        self.shards.cuts.insert(
            self.sequence,
            PendingCut {
                baseline: self.baseline,
                learning: self.learning,
                strategy: self.proposals.save(),
                shards,
            },
        );
        self.shards.asked = self.sequence;
        for shard in self.shards.addresses() {
            shard.do_send(CutAt {
                sequence: self.sequence,
            });
        }
    }

    pub(super) fn cut_arrived(&mut self, cut: Cut, context: &Context<Self>) {
        let Some(snapshot) = self.shards.cut(cut) else {
            return;
        };
        if snapshot.state.sequence == self.sequence
            && let Some(boundaries) = self.shards.wanted.take()
        {
            for shard in self.shards.addresses() {
                shard.do_send(Retire);
            }
            self.start_shards(&snapshot.state, boundaries, context);
            self.replicas.tell(&self.shards.set);
            self.deliver_held();
        }
        let (supervisor, sequence) = (self.mailbox(context), snapshot.state.sequence);
        self.journal.snapshot(
            snapshot,
            Box::new(move |()| supervisor.do_send(SnapshotStored { sequence })),
        );
    }

    /// A fallen shard is to be there again: the log says what it must hold. Replayed on the compute
    /// thread.
    pub(super) fn replay(
        &mut self,
        snapshot: Option<Snapshot>,
        mut log: Vec<LogEntry>,
        context: &Context<Self>,
    ) {
        let (Some(compute), Some(fallen)) = (self.replicas.compute(), self.shards.down.first())
        else {
            return;
        };
        log.retain(|entry| entry.sequence() <= self.sequence);
        let start =
            snapshot.unwrap_or_else(|| initial_snapshot(&self.policy, self.seed, self.learning));
        let (policy, space, supervisor) = (
            self.policy.clone(),
            self.space.clone(),
            self.mailbox(context),
        );
        let owner = (
            ActorId::ParameterShard(*fallen),
            self.shards.generations[*fallen],
        );
        compute.submit(owner, move || {
            let replayed = Replay::new(&policy, space.as_ref(), start)
                .and_then(|mut replay| {
                    replay_log(&mut replay, &log, &[])?;
                    Ok(replay.into_parts().0.state)
                })
                .map_err(|error| format!("the journal does not replay: {error}"));
            supervisor.do_send(Replayed(replayed));
        });
    }

    /// Builds the fallen shards at this state. Cuts at earlier numbers can no longer be had; a cut
    /// at this one can.
    pub(super) fn rebuild_shards(&mut self, state: &AdamState, context: &Context<Self>) {
        if state.sequence != self.sequence {
            // Read before the last delivery: once more.
            return self
                .down_shards()
                .for_each(|shard| self.mailbox(context).do_send(Rebuild(shard)));
        }
        for index in std::mem::take(&mut self.shards.down) {
            self.shards.set.addresses[index] = self.build_shard(index, state, context);
        }
        self.shards.set.set += 1;
        self.replicas.tell(&self.shards.set);
        self.shards
            .cuts
            .retain(|sequence, _| *sequence == state.sequence);
        self.shards.asked = self
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

    fn down_shards(&self) -> impl Iterator<Item = ActorId> + use<> {
        self.shards
            .down
            .clone()
            .into_iter()
            .map(ActorId::ParameterShard)
    }

    pub(super) fn read_log(&self, context: &Context<Self>) {
        let supervisor = self.mailbox(context);
        let reply = move |(snapshot, log)| {
            supervisor.do_send(crate::actors::messages::LogRead { snapshot, log });
        };
        self.journal.log(Box::new(reply));
    }
}

//! The Controller replicas: started, given tickets and rewards, retired, and restarted with the
//! work of the generation before. Must not know why a replica failed.

use super::tickets::Answer;
use super::{Prepared, Supervisor};
use crate::actors::controller::{Controller, ControllerContext};
use crate::actors::messages::{ProposeMinibatch, Resume, Retire, Rewarded, ShardSet};
use crate::actors::minibatch::Minibatch;
use crate::actors::runtime::{ActorExited, ActorId, Compute, ExitNotifier, Mailbox, Recipient};
use crate::journal::SampledMinibatch;
use actix::{Actor, Context};
use std::collections::BTreeMap;
use std::sync::Arc;

/// All replicas that have not retired.
#[derive(Default)]
pub(super) struct Replicas {
    /// What they share, once the search has begun.
    context: Option<(ControllerContext, Recipient<ActorExited>)>,
    all: BTreeMap<u64, Replica>,
}

struct Replica {
    address: Mailbox<Controller>,
    generation: u64,
    work: Work,
}

/// What a replica works on, and its next generation continues with.
enum Work {
    Nothing,
    Propose(ProposeMinibatch),
    Await(Arc<Minibatch>),
    Learn(Arc<Minibatch>, Rewarded),
}

impl Replica {
    /// Gives a new generation the work of the one before. Proposed again, a ticket gives the same
    /// minibatch; computed again, a gradient is the same, and shards apply it once.
    fn resume(&self) {
        match &self.work {
            Work::Nothing => {}
            Work::Propose(request) => self.address.do_send(request.clone()),
            Work::Await(minibatch) => self.address.do_send(Resume(minibatch.clone())),
            Work::Learn(minibatch, rewarded) => {
                self.address.do_send(Resume(minibatch.clone()));
                self.address.do_send(rewarded.clone());
            }
        }
    }
}

impl Replicas {
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn compute(&self) -> Option<&Compute> {
        self.context.as_ref().map(|(context, _)| &context.compute)
    }

    fn start(&mut self, index: u64, shards: ShardSet) {
        if self.all.contains_key(&index) {
            return;
        }
        if let Some(address) = self.start_generation(index, 0, shards) {
            let replica = Replica {
                address,
                generation: 0,
                work: Work::Nothing,
            };
            self.all.insert(index, replica);
        }
    }

    fn start_generation(
        &self,
        index: u64,
        generation: u64,
        shards: ShardSet,
    ) -> Option<Mailbox<Controller>> {
        let (context, exits) = self.context.as_ref()?;
        let exit = ExitNotifier::new(ActorId::Controller(index), generation, exits.clone());
        let controller = Controller::new(index, exit, context.clone(), shards).start();
        Some(Mailbox::new(controller, &context.metrics))
    }

    /// Abandons this generation of a replica; false: it was abandoned before.
    pub(super) fn abandon(&mut self, index: u64, generation: u64) -> bool {
        let Some(replica) = self
            .all
            .get_mut(&index)
            .filter(|replica| replica.generation == generation)
        else {
            return false;
        };
        replica.generation += 1;
        replica.address.do_send(Retire);
        true
    }

    /// Starts the next generation of a replica, with the work of the last one.
    pub(super) fn restart(&mut self, index: u64, shards: ShardSet) {
        let Some(generation) = self.all.get(&index).map(|replica| replica.generation) else {
            return;
        };
        let address = self.start_generation(index, generation, shards);
        if let (Some(address), Some(replica)) = (address, self.all.get_mut(&index)) {
            replica.address = address;
            replica.resume();
        }
    }

    pub(super) fn propose(&mut self, index: u64, request: ProposeMinibatch) {
        if let Some(replica) = self.all.get_mut(&index) {
            replica.work = Work::Propose(request.clone());
            replica.address.do_send(request);
        }
    }

    /// A replica has proposed: what it was asked for. None: another generation of it was asked.
    pub(super) fn proposed(
        &mut self,
        sampled: &SampledMinibatch,
        generation: u64,
        minibatch: Arc<Minibatch>,
    ) -> Option<ProposeMinibatch> {
        let replica = self
            .all
            .get_mut(&sampled.controller)
            .filter(|replica| replica.generation == generation)?;
        match std::mem::replace(&mut replica.work, Work::Nothing) {
            Work::Propose(request) if request.ticket.minibatch == sampled.minibatch => {
                replica.work = Work::Await(minibatch);
                Some(request)
            }
            other => {
                replica.work = other;
                None
            }
        }
    }

    /// The minibatch whose outcomes a replica waits for.
    pub(super) fn awaited(&self, index: u64) -> Option<&Arc<Minibatch>> {
        match &self.all.get(&index)?.work {
            Work::Await(minibatch) => Some(minibatch),
            _ => None,
        }
    }

    /// The minibatches that wait for outcomes, each with its controller and its number there.
    pub(super) fn open(&self) -> impl Iterator<Item = ((u64, u64), Arc<Minibatch>)> + '_ {
        self.all
            .iter()
            .filter_map(|(&index, replica)| match &replica.work {
                Work::Await(minibatch) => Some(((index, minibatch.number), minibatch.clone())),
                _ => None,
            })
    }

    /// Passes rewards on to their replica; false: no replica waits for them.
    pub(super) fn reward(&mut self, rewarded: Rewarded) -> bool {
        let Some(replica) = self.all.get_mut(&rewarded.sequenced.controller) else {
            return false;
        };
        let Work::Await(minibatch) = std::mem::replace(&mut replica.work, Work::Nothing) else {
            return false;
        };
        replica.work = Work::Learn(minibatch, rewarded.clone());
        replica.address.do_send(rewarded);
        true
    }

    /// A replica has pushed its gradient; false: this is a message of an earlier generation.
    pub(super) fn done(&mut self, index: u64, generation: u64) -> bool {
        let Some(replica) = self
            .all
            .get_mut(&index)
            .filter(|replica| replica.generation == generation)
        else {
            return false;
        };
        replica.work = Work::Nothing;
        true
    }

    /// Announces to every replica that the parameters are on these shards now.
    pub(super) fn announce_shards(&self, shards: &ShardSet) {
        for replica in self.all.values() {
            replica.address.do_send(shards.clone());
        }
    }
}

impl Supervisor {
    /// Starts the replicas, and also those beyond their number that an earlier process left with an
    /// open minibatch, which they finish.
    pub(super) fn start_controllers(&mut self, prepared: Prepared, context: &Context<Self>) {
        let supervisor = self.mailbox(context);
        let compute = match Compute::start(supervisor.recipient()) {
            Ok(compute) => compute,
            Err(error) => return self.fail(format!("no thread for the policy: {error}")),
        };
        let shared = ControllerContext {
            policy: self.policy.clone(),
            space: self.space.clone(),
            compute,
            seed: self.seed,
            tickets: supervisor.recipient(),
            sampled: supervisor.recipient(),
            metrics: self.parts.metrics.clone(),
        };
        self.replicas.context = Some((shared, supervisor.recipient()));
        let resumed = prepared.open.iter().map(|(open, _)| open.controller);
        for index in (0..prepared.replicas as u64).chain(resumed) {
            self.replicas.start(index, self.shards.set.clone());
        }
        tracing::info!(
            shards = self.shards.count(),
            controllers = self.replicas.len(),
            lanes = self.trainers.len(),
            "actors started; {} trials are finished, {} minibatches wait for outcomes",
            self.tally.finished(),
            prepared.open.len()
        );
        self.take_reevaluations(&prepared.reevaluations, context);
        let enqueued: Vec<_> = prepared
            .enqueued
            .into_iter()
            .map(|(_, trial)| trial)
            .collect();
        let mut tasks = self.recover(&enqueued, self.space.layers(0), None, context);
        for (open, parameters) in &prepared.open {
            let pruning = open.pruning.as_ref();
            tasks.extend(self.recover(&open.trials, open.layers, pruning, context));
            if let Some(replica) = self.replicas.all.get_mut(&open.controller) {
                replica.work =
                    Work::Await(Arc::new(Minibatch::recovered(open, parameters.clone())));
                replica.resume();
            }
        }
        tasks.sort_by_key(|task| task.trial);
        self.admit_all(tasks, context);
        let idle = self
            .replicas
            .all
            .iter()
            .filter(|(_, replica)| matches!(replica.work, Work::Nothing));
        for controller in idle.map(|(index, _)| *index).collect::<Vec<_>>() {
            self.ready(controller);
        }
    }

    /// Starts the replicas below this number that do not exist: their number or that of the trials
    /// may have grown.
    pub(super) fn start_missing_controllers(&mut self, replicas: usize) {
        for index in 0..replicas as u64 {
            if !self.replicas.all.contains_key(&index) {
                self.replicas.start(index, self.shards.set.clone());
                self.ready(index);
            }
        }
    }

    /// A Controller is ready for another minibatch.
    pub(super) fn ready(&mut self, controller: u64) {
        if self.ending.is_some() {
            return self.retire(controller);
        }
        if self.enqueued.must_wait(controller) {
            return;
        }
        let space = self.space.clone();
        let answers =
            self.tickets
                .ready(controller, self.replicas.len(), self.sequence, |sampled| {
                    space.layers(sampled)
                });
        let mut tickets = Vec::with_capacity(answers.len());
        for answer in answers {
            match answer {
                Answer::Propose(controller, ticket) => tickets.push((controller, ticket)),
                Answer::Retire(controller) => self.retire(controller),
            }
        }
        self.propose(tickets);
    }

    fn retire(&mut self, controller: u64) {
        let reason = if self.ending.is_some() {
            "the search is ending"
        } else {
            "nothing is left to sample"
        };
        tracing::info!(controller, "controller retires: {reason}");
        if let Some(replica) = self.replicas.all.remove(&controller) {
            replica.address.do_send(Retire);
        }
        self.end_if_done();
    }
}

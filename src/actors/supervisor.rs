//! The Supervisor starts the ParameterShards, Controllers and ChildTrainers, issues tickets, keeps the queue of children between
//! Controllers and lanes, and ends the run, saved. Must not know how children are trained, gradients computed or trials stored.

mod admission;
mod handlers;

use super::compute::Compute;
use super::controller::{Controller, Shared};
use super::devices::LaneSpec;
use super::lane::EvaluatorFactory;
use super::mailbox::Mailbox;
use super::messages::{Committed, CutAt, Fatal, Resume, Retire, Rewarded, Shutdown, StopTraining, Train};
use super::observer::{Event, Observer, Progress, Tally};
use super::reuse::Reuse;
use super::shard::ParameterShard;
use super::start::Prepared;
use super::tickets::{Answer, Tickets};
use super::trainer::ChildTrainer;
use crate::child::{Outcome, Task};
use crate::journal::{Journal, OpenMinibatch, Sequenced};
use crate::policy::{AdamState, Baseline, LearningSettings};
use crate::space::Space;
use crate::telemetry::Metrics;
use actix::{Actor, AsyncContext, Context, System};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A snapshot is taken each time this many sequence numbers have been given: recovery replays about that many gradients.
const SNAPSHOT_EVERY: u64 = 64;

/// An orderly end takes at most this long.
const GRACE: Duration = Duration::from_secs(7);

/// How a search ended.
#[derive(Clone, Debug, PartialEq)]
pub enum End {
    /// Every trial has its outcome.
    Finished,
    /// Stopped by the signal of this number, saved.
    Signal(u8),
    /// `run.max_seconds` is over; saved.
    TimeIsUp,
    /// The run cannot go on; what was finished is saved.
    Failed(String),
}

/// What a search consists of, beside its settings and what is on disk.
pub struct Parts {
    pub lanes: Vec<LaneSpec>,
    pub factory: EvaluatorFactory,
    pub metrics: Arc<Metrics>,
    pub observer: Box<dyn Observer>,
    /// Tries of a child whose failure may pass.
    pub attempts: u32,
    pub max_seconds: Option<f64>,
}

/// Owns all other actors.
pub struct Supervisor {
    parts: Parts,
    prepared: Option<Prepared>,
    space: Arc<dyn Space>,
    journal: Journal,
    learning: LearningSettings,
    tickets: Tickets,
    shards: Vec<Mailbox<ParameterShard>>,
    controllers: BTreeMap<u64, Mailbox<Controller>>,
    trainers: Vec<Trainer>,
    queue: VecDeque<Task>,
    /// None: every child is trained.
    reuse: Option<Reuse>,
    /// Outcomes handed to the journal and not yet confirmed.
    committing: usize,
    /// Last sequence number given, and the baseline after it.
    sequence: u64,
    baseline: Baseline,
    cuts: BTreeMap<u64, PendingCut>,
    /// Sequence number of the newest snapshot asked for, and of the newest on disk.
    asked: u64,
    stored: u64,
    tally: Tally,
    ending: Option<End>,
    end: Arc<Mutex<Option<End>>>,
}

struct Trainer {
    address: Mailbox<ChildTrainer>,
    lane: LaneSpec,
    /// The child that it trains.
    task: Option<Task>,
    lost: bool,
}

struct PendingCut {
    baseline: Baseline,
    shards: Vec<Option<AdamState>>,
}

impl Supervisor {
    /// `end` takes how the search ended, once it has.
    pub(super) fn new(mut prepared: Prepared, parts: Parts, end: Arc<Mutex<Option<End>>>) -> Self {
        Self {
            space: prepared.space.clone(),
            journal: prepared.journal.clone(),
            learning: prepared.snapshot.learning,
            tickets: prepared.tickets(),
            shards: Vec::new(),
            controllers: BTreeMap::new(),
            trainers: Vec::new(),
            queue: VecDeque::new(),
            reuse: prepared.reuse.take(),
            committing: 0,
            sequence: prepared.snapshot.state.sequence,
            baseline: prepared.snapshot.baseline,
            cuts: BTreeMap::new(),
            asked: prepared.stored,
            stored: prepared.stored,
            tally: Tally::new(prepared.trials, &prepared.rewards, prepared.failed, prepared.best_metric),
            ending: None,
            end,
            prepared: Some(prepared),
            parts,
        }
    }

    fn mailbox(&self, context: &Context<Self>) -> Mailbox<Self> {
        Mailbox::new(context.address(), &self.parts.metrics)
    }

    fn start_shards(&mut self, prepared: &Prepared, context: &Context<Self>) {
        for (index, range) in prepared.boundaries.windows(2).enumerate() {
            let range = range[0]..range[1];
            let state = prepared.snapshot.state.slice(range.clone());
            let metrics = self.parts.metrics.clone();
            let shard = ParameterShard::new(index, range, state, self.learning, self.mailbox(context), metrics).start();
            self.shards.push(Mailbox::new(shard, &self.parts.metrics));
        }
    }

    fn start_trainers(&mut self, context: &Context<Self>) {
        for (index, lane) in self.parts.lanes.clone().into_iter().enumerate() {
            let (factory, metrics) = (self.parts.factory.clone(), self.parts.metrics.clone());
            let trainer = ChildTrainer::new(index, lane.clone(), factory, self.journal.clone(), self.mailbox(context), metrics);
            let address = Mailbox::new(trainer.start(), &self.parts.metrics);
            self.trainers.push(Trainer { address, lane, task: None, lost: false });
        }
    }

    /// Starts the replicas, and those beyond their number that an earlier process left with an open minibatch: they finish it.
    fn start_controllers(&mut self, prepared: Prepared, context: &Context<Self>) {
        let supervisor = self.mailbox(context);
        let compute = match Compute::start(move |panic| supervisor.do_send(Fatal(format!("the policy panicked: {panic}")))) {
            Ok(compute) => compute,
            Err(error) => return self.fail(format!("no thread for the policy: {error}")),
        };
        let shared = Shared {
            policy: prepared.policy,
            space: prepared.space,
            compute,
            seed: prepared.seed,
            learning: self.learning,
            boundaries: prepared.boundaries.into(),
            shards: self.shards.clone(),
            supervisor: self.mailbox(context),
            metrics: self.parts.metrics.clone(),
        };
        let resumed = prepared.open.iter().map(|(open, _)| open.controller);
        for index in (0..prepared.replicas as u64).chain(resumed) {
            let start = || Mailbox::new(Controller::new(index, shared.clone()).start(), &shared.metrics);
            self.controllers.entry(index).or_insert_with(start);
        }
        tracing::info!(
            shards = self.shards.len(),
            controllers = self.controllers.len(),
            lanes = self.trainers.len(),
            "actors started; {} trials are finished, {} minibatches wait for outcomes",
            self.tally.finished(),
            prepared.open.len()
        );
        let mut idle: Vec<u64> = self.controllers.keys().copied().collect();
        let mut tasks = Vec::new();
        for (open, parameters) in prepared.open {
            idle.retain(|index| *index != open.controller);
            tasks.extend(unfinished(&open));
            self.controllers[&open.controller].do_send(Resume { open, parameters });
        }
        tasks.sort_by_key(|task| task.trial);
        self.take_up(tasks, context);
        for controller in idle {
            self.ready(controller);
        }
    }

    /// A Controller is ready for another minibatch.
    fn ready(&mut self, controller: u64) {
        if self.ending.is_some() {
            return self.retire(controller);
        }
        let space = self.space.clone();
        for answer in self.tickets.ready(controller, self.controllers.len(), self.sequence, |sampled| space.layers(sampled)) {
            match answer {
                Answer::Sample(controller, ticket) => {
                    if let Some(address) = self.controllers.get(&controller) {
                        address.do_send(ticket);
                    }
                }
                Answer::Retire(controller) => self.retire(controller),
            }
        }
    }

    fn retire(&mut self, controller: u64) {
        let reason = if self.ending.is_some() { "the search is ending" } else { "nothing is left to sample" };
        tracing::info!(controller, "controller retires: {reason}");
        if let Some(address) = self.controllers.remove(&controller) {
            address.do_send(Retire);
        }
        self.end_if_done();
    }

    /// Gives queued children to free lanes.
    fn dispatch(&mut self) {
        while self.ending.is_none() {
            let Some(index) = self.trainers.iter().position(|trainer| trainer.task.is_none() && !trainer.lost) else { break };
            let Some(task) = self.queue.pop_front() else { break };
            let trainer = &mut self.trainers[index];
            trainer.task = Some(task.clone());
            let (lane, summary) = (trainer.lane.name.clone(), crate::report::summary(&task.architecture));
            self.tell(Event::ChildStarted { trial: task.trial, lane: &lane, summary });
            self.trainers[index].address.do_send(Train { task });
        }
        self.parts.metrics.children_running.set(self.running() as f64);
        self.parts.metrics.children_queued.set(self.queue.len() as f64);
    }

    fn running(&self) -> usize {
        self.trainers.iter().filter(|trainer| trainer.task.is_some()).count()
    }

    fn progress(&self) -> Progress {
        self.tally.progress(self.running(), self.queue.len(), self.baseline.value())
    }

    fn tell(&mut self, event: Event) {
        let progress = self.progress();
        self.parts.observer.event(event, &progress);
    }

    /// Has the outcome written down; the reply says what it completed.
    fn commit(&mut self, trial: u64, outcome: Outcome, seconds: f64, context: &Context<Self>) {
        self.committing += 1;
        let (supervisor, told) = (self.mailbox(context), outcome.clone());
        let reply = move |sequenced| supervisor.do_send(Committed { trial, outcome: told, seconds, reused_from: None, sequenced });
        self.journal.finished(trial, outcome, seconds, Box::new(reply));
    }

    /// A minibatch took its place in the order. Shards hear of a cut before a push of that number can reach them.
    fn sequenced(&mut self, sequenced: Sequenced) {
        self.sequence = sequenced.sequence;
        for reward in sequenced.rewards.iter().flatten() {
            self.baseline.push(*reward, self.learning.baseline_decay);
        }
        if let Some(value) = self.baseline.value() {
            self.parts.metrics.baseline.set(value);
        }
        if self.sequence.is_multiple_of(SNAPSHOT_EVERY) {
            self.cut();
        }
        match self.controllers.get(&sequenced.controller) {
            Some(controller) => controller.do_send(Rewarded(sequenced)),
            None => self.fail(format!("no controller {} for its rewards", sequenced.controller)),
        }
    }

    /// Asks every shard for its state at the last number given.
    fn cut(&mut self) {
        let pending = PendingCut { baseline: self.baseline, shards: vec![None; self.shards.len()] };
        self.cuts.insert(self.sequence, pending);
        self.asked = self.sequence;
        for shard in &self.shards {
            shard.do_send(CutAt { sequence: self.sequence });
        }
    }

    fn fail(&mut self, reason: String) {
        tracing::error!("{reason}");
        self.begin_end(End::Failed(reason));
    }

    /// Issues and trains no more; the first reason counts.
    fn begin_end(&mut self, end: End) {
        if self.ending.is_none() {
            self.parts.metrics.readiness.leaving("the search is ending");
            tracing::info!("the search is ending: {end:?}");
            self.ending = Some(end);
            self.queue.clear();
            for trainer in &self.trainers {
                trainer.address.do_send(StopTraining);
            }
        }
        self.end_if_done();
    }

    /// When nothing runs and nothing is being written down: take the last snapshot, then leave.
    fn end_if_done(&mut self) {
        let finished = self.controllers.is_empty() && self.queue.is_empty();
        if self.running() > 0 || self.committing > 0 || !(finished || self.ending.is_some()) {
            return;
        }
        if matches!(self.ending, Some(End::Failed(_))) || self.stored == self.sequence {
            self.leave();
        } else if self.asked != self.sequence {
            self.cut();
        }
    }

    fn leave(&mut self) {
        let end = self.ending.clone().unwrap_or(End::Finished);
        tracing::info!("the search has ended: {end:?}");
        self.end.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get_or_insert(end);
        System::current().stop();
    }
}

/// The children of an open minibatch that have no outcome yet.
fn unfinished(open: &OpenMinibatch) -> impl Iterator<Item = Task> {
    open.trials.iter().filter(|trial| !trial.finished).map(|trial| Task {
        trial: trial.id,
        attempt: trial.attempt,
        seed: trial.seed,
        layers: open.layers,
        decisions: trial.decisions.clone(),
        architecture: trial.architecture.clone(),
    })
}

impl Actor for Supervisor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        let Some(prepared) = self.prepared.take() else { return };
        self.start_shards(&prepared, context);
        self.start_trainers(context);
        self.start_controllers(prepared, context);
        if let Some(limit) = self.parts.max_seconds {
            context.notify_later(Shutdown::TimeIsUp, Duration::from_secs_f64(limit.min(1e9)));
        }
        self.dispatch();
        self.end_if_done();
    }
}

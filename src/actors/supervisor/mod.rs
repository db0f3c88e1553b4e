//! The Supervisor starts the ParameterShards, Controllers and ChildTrainers and rebuilds those that
//! fall, issues tickets, gives children to lanes, and ends the run, saved. Must not know how
//! children are trained, gradients computed or trials stored.

mod admission;
mod enqueued;
mod failures;
mod handlers;
mod observer;
mod proposals;
mod reload;
mod replicas;
mod restart;
mod reuse;
mod scheduler;
mod shards;
mod tickets;

use crate::actors::lane::{CheckpointFiles, EvaluatorFactory};
use crate::actors::messages::{
    LearningChange, OutcomeCommitted, Retire, Rewarded, StopTraining, TrainChild,
};
use crate::actors::runtime::{ActorId, ExitNotifier, Guarded, Mailbox, counts_mailbox, guard};
use crate::actors::start::Prepared;
use crate::actors::trainer::{ChildTrainer, TrainerContext};
use crate::child::{Cause, Outcome, Task};
use crate::journal::{Journal, OpenTrial, Sequenced};
use crate::machine::LaneSpec;
use crate::policy::{Baseline, Policy};
use crate::space::Space;
use crate::strategy::LearningSettings;
use crate::telemetry::Metrics;
use actix::{Actor, AsyncContext, Context};
use enqueued::Enqueued;
use observer::Tally;
pub use observer::{Event, Observer, Progress};
use proposals::Proposals;
pub use reload::{Notice, Reconfigured, Reload};
use replicas::Replicas;
use restart::Intensity;
pub use restart::{ActorRestart, Beyond, RestartSettings};
pub use reuse::{Known, Reuse};
use scheduler::{AfterDrain, Scheduler};
use shards::Shards;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};
pub use tickets::Tickets;
use tokio::sync::oneshot;

/// A snapshot is taken when this many sequence numbers have been given since the last one: recovery
/// replays about that many gradients, however short the lives of the processes are.
const SNAPSHOT_EVERY: u64 = 64;

/// An orderly end takes at most this long.
const GRACE: Duration = Duration::from_secs(7);

/// How often the Supervisor looks after what cannot report by itself.
pub(super) const TICK: Duration = Duration::from_secs(1);

/// A trial that was under way, without an epoch, when so many processes died in a row runs alone
/// from then on; when so many more die with it alone, it has failed.
const DEATHS_IN_COMPANY: u32 = 3;
const DEATHS_ALONE: u32 = 20;

/// How a search ended.
#[derive(Clone, Debug, PartialEq)]
pub enum End {
    /// Every trial has its outcome.
    Finished,
    /// Stopped by the signal of this number, saved.
    Signal(u8),
    /// `run.max_seconds` is over; saved.
    TimeIsUp,
    /// A device fault that only another process is free of; saved.
    Restart(String),
    /// The run cannot go on; what was finished is saved.
    Failed(String),
}

/// What a search consists of, beside its settings and what is on disk.
pub struct Parts {
    pub lanes: Vec<LaneSpec>,
    pub factory: EvaluatorFactory,
    pub checkpoints: Arc<CheckpointFiles>,
    pub metrics: Arc<Metrics>,
    pub observer: Box<dyn Observer>,
    /// Tries of a child whose failure may pass.
    pub attempts: u32,
    /// None: a failed child is left out of the gradient.
    pub failed_reward: Option<f64>,
    pub max_seconds: Option<f64>,
    pub restart: RestartSettings,
    /// The config file, looked at while the search runs.
    pub reload: Option<Box<dyn Reload>>,
    /// The HTTP endpoint, once it is served.
    pub serving: Option<crate::telemetry::Serving>,
    /// The page on it: who looks at it is told of the end.
    pub page: Option<Arc<crate::report::Page>>,
}

/// Owns all other actors.
pub struct Supervisor {
    parts: Parts,
    prepared: Option<Prepared>,
    space: Arc<dyn Space>,
    policy: Arc<Policy>,
    seed: u64,
    journal: Journal,
    tickets: Tickets,
    shards: Shards,
    replicas: Replicas,
    trainers: Vec<Trainer>,
    /// The lanes in use, as the run's event log has them.
    logged_lanes: String,
    scheduler: Scheduler,
    /// Trials that were under way in an earlier process: one of them may be what ended it.
    recovered: BTreeSet<u64>,
    /// None: every child is trained.
    reuse: Option<Reuse>,
    enqueued: Enqueued,
    /// Outcomes handed to the journal and not yet confirmed.
    committing: usize,
    /// Last sequence number delivered, the settings that hold after it, and the baseline.
    sequence: u64,
    learning: LearningSettings,
    proposals: Proposals,
    /// The newest settings that the journal was asked to put in the order.
    requested_learning: LearningSettings,
    baseline: Baseline,
    /// What has its place in the order and waits until every shard can hear of it.
    pending: VecDeque<Ordered>,
    intensities: BTreeMap<(&'static str, String), Intensity>,
    tally: Tally,
    started: Instant,
    /// Moves with every tick: whoever watches the actors' thread reads it.
    heartbeat: Arc<AtomicU64>,
    ending: Option<End>,
    /// Receives how the search ended; None: it has.
    ended: Option<oneshot::Sender<End>>,
}

struct Trainer {
    address: Mailbox<ChildTrainer>,
    lane: LaneSpec,
}

/// What takes a sequence number.
enum Ordered {
    Minibatch(Sequenced),
    Change(LearningChange),
}

impl Ordered {
    /// The synchronous round that it belongs to.
    fn round(&self) -> Option<u64> {
        match self {
            Self::Minibatch(sequenced) => sequenced.round,
            Self::Change(_) => None,
        }
    }
}

impl Supervisor {
    /// `ended` receives how the search ended, once it has.
    pub(super) fn new(
        mut prepared: Prepared,
        parts: Parts,
        ended: oneshot::Sender<End>,
        heartbeat: Arc<AtomicU64>,
    ) -> Self {
        Self {
            space: prepared.space.clone(),
            policy: prepared.policy.clone(),
            seed: prepared.seed,
            journal: prepared.journal.clone(),
            tickets: prepared.tickets(),
            shards: Shards::new(prepared.stored),
            replicas: Replicas::default(),
            trainers: Vec::new(),
            logged_lanes: String::new(),
            scheduler: Scheduler::default(),
            recovered: BTreeSet::new(),
            reuse: prepared.reuse.take(),
            enqueued: Enqueued::new(&prepared.enqueued),
            committing: 0,
            sequence: prepared.snapshot.state.sequence,
            learning: prepared.snapshot.learning,
            proposals: Proposals::new(
                prepared.history.clone(),
                prepared.open.iter().map(|(open, _)| open),
            ),
            requested_learning: prepared.snapshot.learning,
            baseline: prepared.snapshot.baseline,
            pending: VecDeque::new(),
            intensities: BTreeMap::new(),
            tally: Tally::new(
                prepared.trials,
                &prepared.rewards,
                prepared.failed,
                prepared.best_metric,
            ),
            started: Instant::now(),
            heartbeat,
            ending: None,
            ended: Some(ended),
            prepared: Some(prepared),
            parts,
        }
    }

    fn mailbox(&self, context: &Context<Self>) -> Mailbox<Self> {
        Mailbox::new(context.address(), &self.parts.metrics)
    }

    fn start_run(&mut self, context: &mut Context<Self>) {
        let Some(prepared) = self.prepared.take() else {
            return;
        };
        self.start_shards(
            &prepared.snapshot.state,
            prepared.boundaries.clone(),
            context,
        );
        for lane in self.parts.lanes.clone() {
            self.add_trainer(lane, context);
        }
        self.log_lanes();
        self.start_controllers(prepared, context);
        self.cut_if_due();
        self.schedule_end(context);
        context.run_interval(TICK, |supervisor, context| {
            guard(supervisor, context, Self::tick);
        });
        self.dispatch();
        self.end_if_done();
    }

    fn add_trainer(&mut self, lane: LaneSpec, context: &Context<Self>) {
        let index = self.scheduler.add_lane();
        let address = self.start_trainer(index, lane.clone(), context);
        self.trainers.push(Trainer { address, lane });
    }

    fn start_trainer(
        &self,
        index: usize,
        spec: LaneSpec,
        context: &Context<Self>,
    ) -> Mailbox<ChildTrainer> {
        let supervisor = self.mailbox(context);
        let exit = ExitNotifier::new(
            ActorId::ChildTrainer(index),
            self.scheduler.generation(index),
            supervisor.recipient(),
        );
        let resources = TrainerContext {
            spec,
            factory: self.parts.factory.clone(),
            checkpoints: self.parts.checkpoints.clone(),
            freeze_seconds: self.parts.restart.child_trainer.freeze_seconds,
            journal: self.journal.clone(),
            epochs: supervisor.recipient(),
            ended: supervisor.recipient(),
            metrics: self.parts.metrics.clone(),
        };
        let trainer = ChildTrainer::new(index, exit, resources).start();
        Mailbox::new(trainer, &self.parts.metrics)
    }

    /// An event that page and status read: on which lanes children train from now on.
    fn log_lanes(&mut self) {
        let lanes = self
            .scheduler
            .lanes_in_use()
            .into_iter()
            .map(|index| &self.trainers[index].lane);
        let lanes: Vec<_> = lanes
            .map(|lane| format!("{} on {}", lane.name, lane.device))
            .collect();
        let lanes = lanes.join(", ");
        if lanes != self.logged_lanes {
            self.journal.event("lanes", &lanes);
            self.logged_lanes = lanes;
        }
    }

    /// Ends the trainers whose lane is to leave and has no child any more.
    fn retire_drained(&mut self, context: &Context<Self>) {
        for (index, after) in self.scheduler.drained() {
            self.trainers[index].address.do_send(Retire);
            match after {
                AfterDrain::Remove => self.scheduler.isolate(index),
                AfterDrain::Restart => {
                    self.scheduler
                        .abandon(index, self.scheduler.generation(index));
                    self.scheduler.restarted(index);
                    let lane = self.trainers[index].lane.clone();
                    self.trainers[index].address = self.start_trainer(index, lane, context);
                }
            }
        }
    }

    /// Gives queued children to free lanes.
    fn dispatch(&mut self) {
        while self.ending.is_none()
            && let Some((index, task)) = self.scheduler.start_next()
        {
            let (lane, mut summary) = (
                self.trainers[index].lane.name.clone(),
                crate::report::summary(&task.architecture),
            );
            if let Some(name) = self.enqueued.name(task.trial) {
                summary = format!("{name}: {summary}");
            }
            self.notify(Event::ChildStarted {
                trial: task.trial,
                lane: &lane,
                summary,
            });
            let record_first = self.recovered.contains(&task.trial);
            self.trainers[index]
                .address
                .do_send(TrainChild { task, record_first });
        }
        self.parts
            .metrics
            .children_running
            .set(self.scheduler.running() as f64);
        self.parts
            .metrics
            .children_queued
            .set(self.scheduler.queued() as f64);
    }

    fn progress(&self) -> Progress {
        self.tally.progress(
            self.scheduler.running(),
            self.scheduler.queued(),
            self.baseline.value(),
        )
    }

    fn notify(&mut self, event: Event) {
        let progress = self.progress();
        self.parts.observer.event(event, &progress);
    }

    /// Has the outcome written down; the reply says what it completed.
    fn commit(&mut self, trial: u64, outcome: Outcome, seconds: f64, context: &Context<Self>) {
        self.committing += 1;
        let (supervisor, checkpoints, committed) = (
            self.mailbox(context),
            self.parts.checkpoints.clone(),
            outcome.clone(),
        );
        let reply = move |sequenced| {
            if committed != Outcome::Stopped {
                checkpoints.remove(trial);
            }
            supervisor.do_send(OutcomeCommitted {
                trial,
                outcome: committed,
                seconds,
                reused_from: None,
                sequenced,
            });
        };
        // What was not sampled teaches nothing, failed or not.
        let failed_reward = self
            .parts
            .failed_reward
            .filter(|_| self.enqueued.name(trial).is_none());
        self.journal
            .finished(trial, outcome, seconds, failed_reward, Box::new(reply));
    }

    /// Something took its place in the order. While a shard is missing it waits, and so does all
    /// that comes after it.
    fn deliver(&mut self, entries: impl IntoIterator<Item = Ordered>) {
        self.pending.extend(entries);
        self.deliver_pending();
    }

    fn deliver_pending(&mut self) {
        while !self.shards.blocked()
            && let Some(entry) = self.pending.pop_front()
        {
            let round = entry.round();
            match entry {
                Ordered::Minibatch(sequenced) => self.sequenced(sequenced),
                Ordered::Change(change) => self.change_learning(change),
            }
            // The rest of a round is rewarded by the state before it: no snapshot in between.
            let within = round.is_some() && self.pending.front().and_then(Ordered::round) == round;
            if !within {
                self.cut_if_due();
            }
        }
    }

    fn cut_if_due(&mut self) {
        if self.sequence >= self.shards.requested + SNAPSHOT_EVERY {
            self.cut();
        }
    }

    /// A minibatch has all its rewards: its controller computes the gradient.
    fn sequenced(&mut self, sequenced: Sequenced) {
        self.sequence = sequenced.sequence;
        for reward in sequenced.rewards.iter().flatten() {
            self.baseline.push(*reward, self.learning.baseline_decay);
        }
        if let Some(value) = self.baseline.value() {
            self.parts.metrics.baseline.set(value);
        }
        let controller = sequenced.controller;
        let Some(minibatch) = self.replicas.awaited(controller).cloned() else {
            return self.fail(format!("no controller {controller} for its rewards"));
        };
        let strategy = self.proposals.log(&sequenced, &minibatch);
        if !self.replicas.reward(Rewarded {
            sequenced,
            learning: self.learning,
            strategy,
        }) {
            self.fail(format!("no controller {controller} for its rewards"));
        }
    }

    /// Other learning settings hold from here on.
    fn change_learning(&mut self, LearningChange { sequence, learning }: LearningChange) {
        self.proposals.change(sequence, &self.learning, &learning);
        (self.sequence, self.learning) = (sequence, learning);
        for shard in self.shards.addresses() {
            shard.do_send(LearningChange { sequence, learning });
        }
    }

    fn fail(&mut self, reason: String) {
        tracing::error!("{reason}");
        self.start_ending(End::Failed(reason));
    }

    /// Issues and trains no more; the first reason counts.
    fn start_ending(&mut self, end: End) {
        if self.ending.is_none() {
            self.parts.metrics.readiness.leaving("the search is ending");
            tracing::info!("the search is ending: {end:?}");
            self.ending = Some(end);
            self.scheduler.clear_queue();
            for trainer in &self.trainers {
                trainer.address.do_send(StopTraining);
            }
        }
        self.end_if_done();
    }

    /// When nothing runs and nothing is being written down: take the last snapshot, then leave.
    fn end_if_done(&mut self) {
        let finished = self.replicas.is_empty() && self.scheduler.queued() == 0;
        if self.scheduler.running() > 0
            || self.committing > 0
            || !(finished || self.ending.is_some())
        {
            return;
        }
        let no_snapshot = matches!(self.ending, Some(End::Failed(_)))
            || (self.ending.is_some() && self.shards.blocked());
        if no_snapshot || self.shards.stored == self.sequence {
            self.finish();
        } else if self.shards.requested != self.sequence && !self.shards.blocked() {
            self.cut();
        }
    }

    fn finish(&mut self) {
        let end = self.ending.clone().unwrap_or(End::Finished);
        self.finish_with(end);
    }

    /// Nothing is begun any more, although the actors live on until those who look have heard of
    /// the end.
    fn finish_with(&mut self, end: End) {
        self.ending.get_or_insert_with(|| end.clone());
        if let Some(ended) = self.ended.take() {
            tracing::info!("the search has ended: {end:?}");
            let _ = ended.send(end);
        }
    }
}

impl Supervisor {
    /// Children that an earlier process left: they wait again, but for one that killed process
    /// after process. Gives those to be evaluated.
    fn recover(
        &mut self,
        trials: &[OpenTrial],
        layers: usize,
        context: &Context<Self>,
    ) -> Vec<Task> {
        for trial in trials
            .iter()
            .filter(|trial| !trial.finished && trial.deaths >= DEATHS_IN_COMPANY)
        {
            self.scheduler.suspect(trial.id);
            tracing::warn!(
                "trial {}: {} processes died while it ran; it runs alone",
                trial.id,
                trial.deaths
            );
        }
        for trial in trials
            .iter()
            .filter(|trial| !trial.finished && is_poison(trial))
        {
            let error = format!(
                "{} processes died while it ran, {DEATHS_ALONE} of them with no other trial beside it",
                trial.deaths
            );
            self.commit(
                trial.id,
                Outcome::Failed {
                    cause: Cause::Error,
                    error,
                },
                0.0,
                context,
            );
        }
        let tasks: Vec<Task> = unfinished(trials, layers).collect();
        self.recovered.extend(tasks.iter().map(|task| task.trial));
        tasks
    }
}

fn is_poison(trial: &OpenTrial) -> bool {
    trial.deaths >= DEATHS_IN_COMPANY + DEATHS_ALONE
}

/// Those that are to be evaluated.
fn unfinished(trials: &[OpenTrial], layers: usize) -> impl Iterator<Item = Task> {
    trials
        .iter()
        .filter(|trial| !trial.finished && !is_poison(trial))
        .map(move |trial| Task {
            trial: trial.id,
            attempt: trial.attempt,
            seed: trial.seed,
            layers,
            decisions: trial.decisions.clone(),
            architecture: trial.architecture.clone(),
        })
}

counts_mailbox!(Supervisor, Supervisor);

impl Actor for Supervisor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        guard(self, context, Self::start_run);
    }
}

impl Guarded for Supervisor {
    /// Nobody supervises the Supervisor: the process ends, saved, and the same command goes on.
    fn panicked(&mut self, panic: String) {
        self.finish_with(End::Failed(format!("the supervisor panicked: {panic}")));
    }
}

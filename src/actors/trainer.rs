//! A ChildTrainer owns one lane: it gives the lane one child at a time, passes on what the lane
//! reports, and fails when the lane's heartbeat stands still. It never blocks. Must not know how a
//! child is trained, nor what its reward is for.

use crate::actors::lane::{ChildFiles, EvaluatorFactory, Lane, LaneReport};
use crate::actors::messages::{
    ChildEnded, ChildEpoch, FromLane, Retire, StartRecorded, StopTraining, TrainChild,
};
use crate::actors::runtime::{
    BusyRatio, ExitNotifier, ExitReason, Guarded, Mailbox, Receive, Recipient, Stopwatch,
    counts_mailbox, fault, guard, receives,
};
use crate::child::Task;
use crate::journal::Journal;
use crate::machine::LaneSpec;
use crate::telemetry::Metrics;
use actix::{Actor, ActorContext, AsyncContext, Context};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How often the heartbeat is checked.
const TICK: Duration = Duration::from_millis(500);

/// What a trainer needs for its work.
#[derive(Clone)]
pub struct TrainerContext {
    pub spec: LaneSpec,
    pub factory: EvaluatorFactory,
    pub files: ChildFiles,
    /// A child that makes no step for this long has frozen.
    pub freeze_seconds: f64,
    pub journal: Journal,
    pub epochs: Recipient<ChildEpoch>,
    pub ended: Recipient<ChildEnded>,
    pub metrics: Arc<Metrics>,
}

/// One lane's actor.
pub struct ChildTrainer {
    index: usize,
    resources: TrainerContext,
    lane: Option<Lane>,
    /// A child is on the lane.
    busy: bool,
    /// The heartbeat at the last tick.
    heartbeats: u64,
    /// Runs while the heartbeat stands still.
    silence: Stopwatch,
    ratio: BusyRatio,
    /// Examples already counted in the metrics.
    counted: u64,
    exit: ExitNotifier,
}

impl ChildTrainer {
    /// The trainer of lane `index`.
    pub fn new(index: usize, exit: ExitNotifier, resources: TrainerContext) -> Self {
        Self {
            index,
            resources,
            lane: None,
            busy: false,
            heartbeats: 0,
            silence: Stopwatch::start(),
            ratio: BusyRatio::new(Instant::now()),
            counted: 0,
            exit,
        }
    }

    fn fail(&mut self, reason: ExitReason, context: &mut Context<Self>) {
        let LaneSpec { name, device, .. } = &self.resources.spec;
        self.resources.metrics.lane(name, device).set(0.0);
        self.exit.failed(reason);
        context.stop();
    }

    fn tick(&mut self, context: &mut Context<Self>) {
        self.count_examples();
        if let Some(lane) = &self.lane {
            let LaneSpec { name, device, .. } = &self.resources.spec;
            self.resources
                .metrics
                .lane(name, device)
                .set(self.ratio.at(Instant::now(), lane.signals.busy.total()));
        }
        let heartbeats = self
            .lane
            .as_ref()
            .map_or(0, |lane| lane.signals.heartbeats.load(Ordering::Relaxed));
        let still = self.busy && heartbeats == std::mem::replace(&mut self.heartbeats, heartbeats);
        if !still {
            self.silence = Stopwatch::start();
        }
        if self.silence.seconds() >= self.resources.freeze_seconds {
            self.fail(ExitReason::Froze(self.resources.freeze_seconds), context);
        }
    }

    fn count_examples(&mut self) {
        if let Some(lane) = &self.lane {
            let examples = lane.signals.examples.load(Ordering::Relaxed);
            self.resources
                .metrics
                .examples_total
                .inc_by(examples - self.counted);
            self.counted = examples;
        }
    }
}

impl Actor for ChildTrainer {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        let address = Mailbox::new(context.address(), &self.resources.metrics);
        let TrainerContext {
            spec,
            factory,
            files,
            ..
        } = self.resources.clone();
        match Lane::start(spec, factory, files, move |report| {
            address.do_send(FromLane(report));
        }) {
            Ok(lane) => self.lane = Some(lane),
            Err(error) => self.fail(ExitReason::Failed(format!("no thread: {error}")), context),
        }
        context.run_interval(TICK, |trainer, context| guard(trainer, context, Self::tick));
    }
}

impl Guarded for ChildTrainer {
    fn panicked(&mut self, panic: String) {
        self.exit.failed(ExitReason::Panicked(panic));
    }
}

counts_mailbox!(ChildTrainer, ChildTrainer);
receives!(ChildTrainer: TrainChild, StartRecorded, StopTraining, FromLane, Retire);

impl Receive<TrainChild> for ChildTrainer {
    fn receive(
        &mut self,
        TrainChild { task, record_first }: TrainChild,
        context: &mut Self::Context,
    ) {
        fault::point("trainer", task.trial);
        let trial = task.trial;
        let address = Mailbox::new(context.address(), &self.resources.metrics);
        if record_first {
            let reply = move |()| address.do_send(StartRecorded(task));
            self.resources.journal.started(
                trial,
                &self.resources.spec.device,
                Some(Box::new(reply)),
            );
        } else {
            self.resources
                .journal
                .started(trial, &self.resources.spec.device, None);
            self.begin(task, context);
        }
    }
}

impl Receive<StartRecorded> for ChildTrainer {
    fn receive(&mut self, StartRecorded(task): StartRecorded, context: &mut Self::Context) {
        self.begin(task, context);
    }
}

impl ChildTrainer {
    fn begin(&mut self, task: Task, context: &mut Context<Self>) {
        self.busy = true;
        self.silence = Stopwatch::start();
        if !self.lane.as_ref().is_some_and(|lane| lane.train(task)) {
            self.fail(ExitReason::Failed("its thread is gone".into()), context);
        }
    }
}

impl Receive<StopTraining> for ChildTrainer {
    fn receive(&mut self, _: StopTraining, _: &mut Self::Context) {
        if let Some(lane) = &self.lane {
            lane.signals.stop.store(true, Ordering::Relaxed);
        }
    }
}

impl Receive<FromLane> for ChildTrainer {
    fn receive(&mut self, FromLane(report): FromLane, context: &mut Self::Context) {
        match report {
            LaneReport::Ready => {
                let LaneSpec { name, device, .. } = &self.resources.spec;
                tracing::info!("lane {name} on {device} is ready");
                self.resources.metrics.readiness.actors_started();
                self.silence = Stopwatch::start();
            }
            LaneReport::Unusable(reason) => self.fail(ExitReason::Failed(reason), context),
            LaneReport::Epoch { trial, epoch } => {
                self.resources.journal.epoch(trial, epoch.clone());
                self.resources.epochs.do_send(ChildEpoch { trial, epoch });
            }
            LaneReport::Resumed { trial, mut epochs } => {
                // The journal deleted these epochs when the child started; they are in the
                // checkpoint.
                epochs
                    .iter()
                    .for_each(|epoch| self.resources.journal.epoch(trial, epoch.clone()));
                if let Some(epoch) = epochs.pop() {
                    self.resources.epochs.do_send(ChildEpoch { trial, epoch });
                }
            }
            LaneReport::Cost { trial, cost } => self.resources.journal.cost(trial, cost),
            LaneReport::Ended {
                task,
                outcome,
                seconds,
            } => {
                self.busy = false;
                self.count_examples();
                let trainer = self.index;
                let generation = self.exit.generation;
                self.resources.ended.do_send(ChildEnded {
                    trainer,
                    generation,
                    task: *task,
                    outcome,
                    seconds,
                });
            }
        }
    }
}

impl Receive<Retire> for ChildTrainer {
    fn receive(&mut self, _: Retire, context: &mut Self::Context) {
        self.exit.retires();
        context.stop();
    }
}

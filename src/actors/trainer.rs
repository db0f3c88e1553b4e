//! A ChildTrainer owns one lane: it hands children to it, one at a time, passes on what it reports,
//! and gives it up when its heartbeat stands still. Asynchronous, never blocks. Must not know how a
//! child is trained, nor what its reward is for.

use crate::actors::lane::checkpoints::CheckpointFiles;
use crate::actors::lane::{EvaluatorFactory, Lane, LaneReport};
use crate::actors::messages::{
    Begin, ChildEnded, ChildEpoch, FromLane, Retire, StopTraining, Train,
};
use crate::actors::runtime::busy::BusyRatio;
use crate::actors::runtime::fault;
use crate::actors::runtime::mailbox::Mailbox;
use crate::actors::runtime::watch::{ActorId, Fall, Guarded, Presence, Receive, guard, receives};
use crate::actors::supervisor::Supervisor;
use crate::child::Task;
use crate::journal::Journal;
use crate::machine::LaneSpec;
use crate::telemetry::Metrics;
use actix::{Actor, ActorContext, AsyncContext, Context};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How often the heartbeat is looked at.
const TICK: Duration = Duration::from_millis(500);

/// What a trainer works with.
#[derive(Clone)]
pub struct Workshop {
    pub spec: LaneSpec,
    pub factory: EvaluatorFactory,
    pub checkpoints: Arc<CheckpointFiles>,
    /// A child without a step for so long has frozen.
    pub freeze_seconds: f64,
    pub journal: Journal,
    pub supervisor: Mailbox<Supervisor>,
    pub metrics: Arc<Metrics>,
}

/// One lane's actor.
pub struct ChildTrainer {
    index: usize,
    workshop: Workshop,
    lane: Option<Lane>,
    /// A child is on the lane.
    busy: bool,
    /// The heartbeat when it was last looked at, and for how many ticks it has stood still: ticks,
    /// so that a process that was itself stopped for a while is not mistaken for a frozen child.
    beats: u64,
    silent: u32,
    ratio: BusyRatio,
    /// Examples already counted in the metrics.
    counted: u64,
    presence: Presence,
}

impl ChildTrainer {
    /// `generation` counts the rebuilds of this trainer.
    pub fn new((index, generation): (usize, u64), workshop: Workshop) -> Self {
        let presence = Presence::new(
            ActorId::ChildTrainer(index),
            generation,
            workshop.supervisor.clone(),
        );
        Self {
            index,
            workshop,
            lane: None,
            busy: false,
            beats: 0,
            silent: 0,
            ratio: BusyRatio::new(Instant::now()),
            counted: 0,
            presence,
        }
    }

    fn fell(&mut self, fall: Fall, context: &mut Context<Self>) {
        let LaneSpec { name, device, .. } = &self.workshop.spec;
        self.workshop.metrics.lane(name, device).set(0.0);
        self.presence.fell(fall);
        context.stop();
    }

    fn tick(&mut self, context: &mut Context<Self>) {
        self.count_examples();
        if let Some(lane) = &self.lane {
            let LaneSpec { name, device, .. } = &self.workshop.spec;
            self.workshop
                .metrics
                .lane(name, device)
                .set(self.ratio.at(Instant::now(), lane.signals.busy.total()));
        }
        let beats = self
            .lane
            .as_ref()
            .map_or(0, |lane| lane.signals.beats.load(Ordering::Relaxed));
        let still = self.busy && beats == std::mem::replace(&mut self.beats, beats);
        self.silent = if still { self.silent + 1 } else { 0 };
        if f64::from(self.silent) * TICK.as_secs_f64() >= self.workshop.freeze_seconds {
            self.fell(Fall::Froze(self.workshop.freeze_seconds), context);
        }
    }

    fn count_examples(&mut self) {
        if let Some(lane) = &self.lane {
            let examples = lane.signals.examples.load(Ordering::Relaxed);
            self.workshop
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
        let address = Mailbox::new(context.address(), &self.workshop.metrics);
        let Workshop {
            spec,
            factory,
            checkpoints,
            ..
        } = self.workshop.clone();
        match Lane::start(spec, factory, checkpoints, move |report| {
            address.do_send(FromLane(report));
        }) {
            Ok(lane) => self.lane = Some(lane),
            Err(error) => self.fell(Fall::Failed(format!("no thread: {error}")), context),
        }
        context.run_interval(TICK, |trainer, context| guard(trainer, context, Self::tick));
    }
}

impl Guarded for ChildTrainer {
    fn panicked(&mut self, panic: String) {
        self.presence.fell(Fall::Panicked(panic));
    }
}

receives!(ChildTrainer: Train, Begin, StopTraining, FromLane, Retire);

impl Receive<Train> for ChildTrainer {
    fn receive(&mut self, Train { task, careful }: Train, context: &mut Self::Context) {
        assert!(
            !fault::wanted("trainer.panic", task.trial),
            "a fault on purpose at trial {}",
            task.trial
        );
        let (trial, address) = (
            task.trial,
            Mailbox::new(context.address(), &self.workshop.metrics),
        );
        if careful {
            let reply = move |()| address.do_send(Begin(task));
            self.workshop
                .journal
                .started(trial, &self.workshop.spec.device, Some(Box::new(reply)));
        } else {
            self.workshop
                .journal
                .started(trial, &self.workshop.spec.device, None);
            self.begin(task, context);
        }
    }
}

impl Receive<Begin> for ChildTrainer {
    fn receive(&mut self, Begin(task): Begin, context: &mut Self::Context) {
        self.begin(task, context);
    }
}

impl ChildTrainer {
    fn begin(&mut self, task: Task, context: &mut Context<Self>) {
        self.busy = true;
        if !self.lane.as_ref().is_some_and(|lane| lane.train(task)) {
            self.fell(Fall::Failed("its thread is gone".into()), context);
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
                let LaneSpec { name, device, .. } = &self.workshop.spec;
                tracing::info!("lane {name} on {device} is ready");
                self.workshop.metrics.readiness.actors_started();
                self.silent = 0;
            }
            LaneReport::Unusable(reason) => self.fell(Fall::Failed(reason), context),
            LaneReport::Epoch { trial, epoch } => {
                self.workshop.journal.epoch(trial, epoch.clone());
                self.workshop
                    .supervisor
                    .do_send(ChildEpoch { trial, epoch });
            }
            LaneReport::Resumed { trial, mut epochs } => {
                // They went with the start; the checkpoint has them.
                epochs
                    .iter()
                    .for_each(|epoch| self.workshop.journal.epoch(trial, epoch.clone()));
                if let Some(epoch) = epochs.pop() {
                    self.workshop
                        .supervisor
                        .do_send(ChildEpoch { trial, epoch });
                }
            }
            LaneReport::Ended {
                task,
                outcome,
                seconds,
            } => {
                self.busy = false;
                self.count_examples();
                let (trainer, generation) = (self.index, self.presence.generation);
                self.workshop.supervisor.do_send(ChildEnded {
                    trainer,
                    generation,
                    task,
                    outcome,
                    seconds,
                });
            }
        }
    }
}

impl Receive<Retire> for ChildTrainer {
    fn receive(&mut self, _: Retire, context: &mut Self::Context) {
        self.presence.leaves();
        context.stop();
    }
}

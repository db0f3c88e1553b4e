//! A ChildTrainer owns one lane: it hands children to it, one at a time, and passes on what it reports. Asynchronous, never
//! blocks. Must not know how a child is trained, nor what its reward is for.

use super::busy::BusyRatio;
use super::devices::LaneSpec;
use super::lane::{EvaluatorFactory, Lane, LaneReport};
use super::mailbox::Mailbox;
use super::messages::{ChildEnded, ChildEpoch, FromLane, LaneLost, StopTraining, Train};
use super::supervisor::Supervisor;
use crate::journal::Journal;
use crate::telemetry::Metrics;
use actix::{Actor, ActorContext, AsyncContext, Context, Handler};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How often examples and busy time are read from the lane.
const MEASURE_EVERY: Duration = Duration::from_millis(500);

/// One lane's actor.
pub struct ChildTrainer {
    index: usize,
    spec: LaneSpec,
    factory: EvaluatorFactory,
    lane: Option<Lane>,
    /// Examples already counted in the metrics.
    counted: u64,
    busy: BusyRatio,
    journal: Journal,
    supervisor: Mailbox<Supervisor>,
    metrics: Arc<Metrics>,
}

impl ChildTrainer {
    pub fn new(
        index: usize,
        spec: LaneSpec,
        factory: EvaluatorFactory,
        journal: Journal,
        supervisor: Mailbox<Supervisor>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { index, spec, factory, lane: None, counted: 0, busy: BusyRatio::new(Instant::now()), journal, supervisor, metrics }
    }

    fn lost(&mut self, reason: String, context: &mut Context<Self>) {
        self.metrics.lane(&self.spec.name, &self.spec.device).set(0.0);
        let reason = format!("lane {} on {}: {reason}", self.spec.name, self.spec.device);
        self.supervisor.do_send(LaneLost { trainer: self.index, reason });
        context.stop();
    }

    fn measure(&mut self, ratio: &prometheus::Gauge) {
        self.count_examples();
        if let Some(lane) = &self.lane {
            ratio.set(self.busy.at(Instant::now(), lane.signals.busy.total()));
        }
    }

    fn count_examples(&mut self) {
        if let Some(lane) = &self.lane {
            let examples = lane.signals.examples.load(Ordering::Relaxed);
            self.metrics.examples_total.inc_by(examples - self.counted);
            self.counted = examples;
        }
    }
}

impl Actor for ChildTrainer {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        let address = Mailbox::new(context.address(), &self.metrics);
        match Lane::start(self.spec.clone(), self.factory.clone(), move |report| address.do_send(FromLane(report))) {
            Ok(lane) => self.lane = Some(lane),
            Err(error) => self.lost(format!("no thread: {error}"), context),
        }
        let ratio = self.metrics.lane(&self.spec.name, &self.spec.device);
        context.run_interval(MEASURE_EVERY, move |trainer, _| trainer.measure(&ratio));
    }
}

impl Handler<Train> for ChildTrainer {
    type Result = ();

    fn handle(&mut self, Train { task }: Train, context: &mut Self::Context) {
        self.journal.started(task.trial, &self.spec.device);
        if !self.lane.as_ref().is_some_and(|lane| lane.train(task)) {
            self.lost("its thread is gone".into(), context);
        }
    }
}

impl Handler<StopTraining> for ChildTrainer {
    type Result = ();

    fn handle(&mut self, _: StopTraining, _: &mut Self::Context) {
        if let Some(lane) = &self.lane {
            lane.signals.stop.store(true, Ordering::Relaxed);
        }
    }
}

impl Handler<FromLane> for ChildTrainer {
    type Result = ();

    fn handle(&mut self, FromLane(report): FromLane, context: &mut Self::Context) {
        match report {
            LaneReport::Ready => {
                tracing::info!("lane {} on {} is ready", self.spec.name, self.spec.device);
                self.metrics.readiness.actors_started();
            }
            LaneReport::Unusable(reason) => self.lost(reason, context),
            LaneReport::Epoch { trial, epoch } => {
                self.journal.epoch(trial, epoch.clone());
                self.supervisor.do_send(ChildEpoch { trial, epoch });
            }
            LaneReport::Ended { task, outcome, seconds } => {
                self.count_examples();
                self.supervisor.do_send(ChildEnded { trainer: self.index, task, outcome, seconds });
            }
        }
    }
}

//! A ParameterShard owns one contiguous range of the controller's parameters and applies gradients in the order of their
//! sequence numbers (paper §3.2, figure 3). Must not know where gradients come from or how Adam works.

use super::controller::Controller;
use super::mailbox::Mailbox;
use super::messages::{Cut, CutAt, Pull, Pulled, Push};
use super::supervisor::Supervisor;
use crate::policy::{AdamState, LearningSettings};
use crate::telemetry::Metrics;
use actix::{Actor, Context, Handler};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// One shard of the parameter server.
pub struct ParameterShard {
    index: usize,
    range: Range<usize>,
    state: AdamState,
    learning: LearningSettings,
    /// The slice as pulls get it; made anew only when it changes.
    published: Arc<[f32]>,
    /// Pushes that arrived before their turn.
    early: BTreeMap<u64, Push>,
    /// Pulls that wait for an entry.
    waiting: Vec<Pull>,
    cuts: Vec<u64>,
    supervisor: Mailbox<Supervisor>,
    metrics: Arc<Metrics>,
}

impl ParameterShard {
    /// `state` is this shard's slice of a cut.
    pub fn new(
        index: usize,
        range: Range<usize>,
        state: AdamState,
        learning: LearningSettings,
        supervisor: Mailbox<Supervisor>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let published = state.parameters.as_slice().into();
        Self {
            index,
            range,
            state,
            learning,
            published,
            early: BTreeMap::new(),
            waiting: Vec::new(),
            cuts: Vec::new(),
            supervisor,
            metrics,
        }
    }

    fn apply(&mut self, push: &Push) {
        let version = self.state.version;
        if self.index == 0 {
            self.metrics.gradient_staleness_updates.observe((version - push.pulled) as f64);
        }
        self.state.push(push.sequence, &push.gradient[self.range.clone()], &self.learning);
        if self.state.version != version {
            self.published = self.state.parameters.as_slice().into();
            self.metrics.shard_updates_total.inc();
        }
        self.send_cuts();
    }

    fn send_cuts(&mut self) {
        let sequence = self.state.sequence;
        if self.cuts.contains(&sequence) {
            self.cuts.retain(|&cut| cut != sequence);
            self.supervisor.do_send(Cut { shard: self.index, state: self.state.clone() });
        }
    }

    fn answer(&self, reply: &Mailbox<Controller>) {
        reply.do_send(Pulled { shard: self.index, version: self.state.version, values: self.published.clone() });
    }
}

impl Actor for ParameterShard {
    type Context = Context<Self>;
}

impl Handler<Pull> for ParameterShard {
    type Result = ();

    fn handle(&mut self, pull: Pull, _: &mut Self::Context) {
        if pull.after <= self.state.sequence {
            self.answer(&pull.reply);
        } else {
            self.waiting.push(pull);
        }
    }
}

impl Handler<Push> for ParameterShard {
    type Result = ();

    fn handle(&mut self, push: Push, _: &mut Self::Context) {
        if push.sequence <= self.state.sequence {
            tracing::warn!(shard = self.index, sequence = push.sequence, "a gradient came twice; ignored");
            return;
        }
        self.early.insert(push.sequence, push);
        while let Some(push) = self.early.remove(&(self.state.sequence + 1)) {
            self.apply(&push);
        }
        let (ready, waiting) = std::mem::take(&mut self.waiting).into_iter().partition(|pull| pull.after <= self.state.sequence);
        self.waiting = waiting;
        for pull in ready as Vec<Pull> {
            self.answer(&pull.reply);
        }
    }
}

impl Handler<CutAt> for ParameterShard {
    type Result = ();

    fn handle(&mut self, cut: CutAt, _: &mut Self::Context) {
        self.cuts.push(cut.sequence);
        self.send_cuts();
    }
}

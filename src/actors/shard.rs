//! A ParameterShard owns one contiguous range of the controller's parameters and applies gradients
//! in the order of their sequence numbers (paper §3.2, figure 3). Must not know where gradients
//! come from or how Adam works.

use crate::actors::messages::{Cut, CutAt, LearningChange, Pull, Pulled, Push, Retire};
use crate::actors::runtime::{
    ExitNotifier, ExitReason, Guarded, InOrder, Receive, Recipient, counts_mailbox, fault, receives,
};
use crate::policy::{AdamState, UpdateSettings};
use crate::strategy::LearningSettings;
use crate::telemetry::Metrics;
use actix::{Actor, ActorContext, Context};
use std::ops::Range;
use std::sync::Arc;

/// One shard of the parameter server.
pub struct ParameterShard {
    index: usize,
    range: Range<usize>,
    state: AdamState,
    update: UpdateSettings,
    /// The slice that pulls receive; replaced only when it changes.
    published: Arc<[f32]>,
    entries: InOrder<Entry>,
    /// Pulls that wait for a later entry.
    waiting: Vec<Pull>,
    /// Sequence numbers at which a cut was requested.
    cuts: Vec<u64>,
    exit: ExitNotifier,
    context: ShardContext,
}

/// What all shards share.
#[derive(Clone)]
pub struct ShardContext {
    pub cuts: Recipient<Cut>,
    pub metrics: Arc<Metrics>,
}

/// What a sequence number can stand for.
enum Entry {
    Gradient(Push),
    Settings(LearningSettings),
}

impl ParameterShard {
    /// `state` is this shard's slice of a cut, `range` its range of the parameter vector.
    pub fn new(
        index: usize,
        range: Range<usize>,
        state: AdamState,
        learning: LearningSettings,
        exit: ExitNotifier,
        context: ShardContext,
    ) -> Self {
        Self {
            index,
            range,
            update: learning.update(),
            published: state.parameters.as_slice().into(),
            entries: InOrder::after(state.sequence),
            state,
            waiting: Vec::new(),
            cuts: Vec::new(),
            exit,
            context,
        }
    }

    fn take(&mut self, sequence: u64, entry: Entry) {
        if !self.entries.insert(sequence, entry) {
            // After a restart from the log, controllers repeat entries that the log contained.
            tracing::debug!(shard = self.index, sequence, "an entry came twice; ignored");
            return;
        }
        while let Some((sequence, entry)) = self.entries.next() {
            self.apply(sequence, entry);
        }
        let (ready, waiting) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|pull| pull.after <= self.state.sequence);
        self.waiting = waiting;
        for pull in ready as Vec<Pull> {
            self.answer(&pull);
        }
    }

    fn apply(&mut self, sequence: u64, entry: Entry) {
        fault::point("shard", sequence);
        match entry {
            Entry::Gradient(push) => self.apply_gradient(&push),
            Entry::Settings(learning) => {
                self.state.skip(sequence);
                self.update = learning.update();
            }
        }
        self.send_cuts();
    }

    fn apply_gradient(&mut self, push: &Push) {
        let version = self.state.version;
        if self.index == 0 {
            self.context
                .metrics
                .learning
                .gradient_staleness_updates
                .observe(version.saturating_sub(push.pulled) as f64);
        }
        self.state.push(
            push.sequence,
            &push.gradient[self.range.clone()],
            &self.update,
        );
        if self.state.version != version {
            self.published = self.state.parameters.as_slice().into();
            self.context.metrics.learning.shard_updates_total.inc();
        }
    }

    fn send_cuts(&mut self) {
        let sequence = self.state.sequence;
        if self.cuts.contains(&sequence) {
            self.cuts.retain(|&cut| cut != sequence);
            self.context.cuts.do_send(Cut {
                shard: self.index,
                generation: self.exit.generation,
                state: self.state.clone(),
            });
        }
    }

    fn answer(&self, pull: &Pull) {
        let version = self.state.version;
        let values = self.published.clone();
        pull.reply.do_send(Pulled {
            shard: self.index,
            set: pull.set,
            version,
            values,
        });
    }
}

impl Actor for ParameterShard {
    type Context = Context<Self>;
}

impl Guarded for ParameterShard {
    fn panicked(&mut self, panic: String) {
        self.exit.failed(ExitReason::Panicked(panic));
    }
}

counts_mailbox!(ParameterShard, ParameterShard);
receives!(ParameterShard: Pull, Push, LearningChange, CutAt, Retire);

impl Receive<Pull> for ParameterShard {
    fn receive(&mut self, pull: Pull, _: &mut Self::Context) {
        if pull.after <= self.state.sequence {
            self.answer(&pull);
        } else {
            self.waiting.push(pull);
        }
    }
}

impl Receive<Push> for ParameterShard {
    fn receive(&mut self, push: Push, _: &mut Self::Context) {
        self.take(push.sequence, Entry::Gradient(push));
    }
}

impl Receive<LearningChange> for ParameterShard {
    fn receive(&mut self, change: LearningChange, _: &mut Self::Context) {
        self.take(change.sequence, Entry::Settings(change.learning));
    }
}

impl Receive<CutAt> for ParameterShard {
    fn receive(&mut self, cut: CutAt, _: &mut Self::Context) {
        self.cuts.push(cut.sequence);
        self.send_cuts();
    }
}

impl Receive<Retire> for ParameterShard {
    fn receive(&mut self, _: Retire, context: &mut Self::Context) {
        self.exit.retires();
        context.stop();
    }
}

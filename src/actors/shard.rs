//! A ParameterShard owns one contiguous range of the controller's parameters and applies gradients
//! in the order of their sequence numbers (paper §3.2, figure 3). Must not know where gradients
//! come from or how Adam works.

use crate::actors::messages::{ApplyLearning, Cut, CutAt, Pull, Pulled, Push, Retire};
use crate::actors::runtime::fault;
use crate::actors::runtime::mailbox::Mailbox;
use crate::actors::runtime::order::InOrder;
use crate::actors::runtime::watch::{ActorId, Fall, Guarded, Presence, Receive, receives};
use crate::actors::supervisor::Supervisor;
use crate::policy::AdamState;
use crate::policy::UpdateSettings;
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
    /// The slice as pulls get it; made anew only when it changes.
    published: Arc<[f32]>,
    entries: InOrder<Entry>,
    /// Pulls that wait for an entry.
    waiting: Vec<Pull>,
    cuts: Vec<u64>,
    presence: Presence,
    supervisor: Mailbox<Supervisor>,
    metrics: Arc<Metrics>,
}

/// What a sequence number can stand for.
enum Entry {
    Gradient(Push),
    Settings(LearningSettings),
}

impl ParameterShard {
    /// `state` is this shard's slice of a cut; `generation` counts rebuilds.
    pub fn new(
        (index, generation): (usize, u64),
        range: Range<usize>,
        state: AdamState,
        learning: LearningSettings,
        supervisor: Mailbox<Supervisor>,
        metrics: Arc<Metrics>,
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
            presence: Presence::new(
                ActorId::ParameterShard(index),
                generation,
                supervisor.clone(),
            ),
            supervisor,
            metrics,
        }
    }

    fn take(&mut self, sequence: u64, entry: Entry) {
        if !self.entries.insert(sequence, entry) {
            // After a rebuild, controllers repeat what the log has given already.
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
        assert!(
            !fault::wanted("shard.panic", sequence),
            "a fault on purpose at sequence number {sequence}"
        );
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
            self.metrics
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
            self.metrics.shard_updates_total.inc();
        }
    }

    fn send_cuts(&mut self) {
        let sequence = self.state.sequence;
        if self.cuts.contains(&sequence) {
            self.cuts.retain(|&cut| cut != sequence);
            self.supervisor.do_send(Cut {
                shard: self.index,
                generation: self.presence.generation,
                state: self.state.clone(),
            });
        }
    }

    fn answer(&self, pull: &Pull) {
        let (version, values) = (self.state.version, self.published.clone());
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
        self.presence.fell(Fall::Panicked(panic));
    }
}

receives!(ParameterShard: Pull, Push, ApplyLearning, CutAt, Retire);

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

impl Receive<ApplyLearning> for ParameterShard {
    fn receive(&mut self, change: ApplyLearning, _: &mut Self::Context) {
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
        self.presence.leaves();
        context.stop();
    }
}

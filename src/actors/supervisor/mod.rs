//! The Supervisor starts the ParameterShards, Controllers and ChildTrainers, restarts those that
//! fail, issues tickets, gives children to lanes, and ends the run, saved. Must not know how
//! children are trained, gradients computed or trials stored.

mod admission;
mod ending;
mod enqueued;
mod failures;
mod handlers;
mod observer;
mod prepare;
mod proposals;
mod reevaluations;
mod reload;
mod replicas;
mod restart;
mod reuse;
mod scheduler;
mod shards;
mod tickets;
mod trainers;

use crate::actors::lane::{ChildFiles, EvaluatorFactory};
use crate::actors::messages::{LearningChange, OutcomeCommitted, Rewarded};
use crate::actors::runtime::{Guarded, Mailbox, Stopwatch, counts_mailbox, guard};
use crate::child::{FailureRule, Outcome, number_text};
use crate::journal::{CutReward, Journal, Sequenced};
use crate::machine::LaneSpec;
use crate::policy::{Policy, RewardAverages};
use crate::space::Space;
use crate::strategy::{Again, LearningSettings};
use crate::telemetry::Metrics;
use actix::{Actor, AsyncContext, Context};
use enqueued::Enqueued;
use observer::Tally;
pub use observer::{Event, Observer, Progress};
pub use prepare::{Additions, PrepareError, Prepared, SearchSettings, prepare};
use proposals::Proposals;
use reevaluations::Reevaluations;
pub use reload::{Notice, Reconfigured, Reload};
use replicas::Replicas;
use restart::Intensity;
pub use restart::{ActorRestart, Beyond, RestartSettings};
use reuse::Reuse;
use scheduler::Scheduler;
use shards::Shards;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tickets::Tickets;
use tokio::sync::oneshot;
use trainers::Trainer;

/// So many rewards that do not count in full are reported by one process.
const REPORTED_CUTS: usize = 20;

/// An orderly end takes at most this long.
const GRACE: Duration = Duration::from_secs(7);

/// How often the Supervisor checks what cannot report by itself.
pub(super) const TICK: Duration = Duration::from_secs(1);

/// How a search ended.
#[derive(Clone, Debug, PartialEq)]
pub enum End {
    /// Every trial has its outcome.
    Finished,
    /// Stopped by the signal of this number, saved.
    Signal(u8),
    /// `run.max_seconds` is over; saved.
    TimeIsUp,
    /// A device cannot be used by this process any more, only by another one; saved.
    Restart(String),
    /// The run cannot go on; what was finished is saved.
    Failed(String),
}

/// What a search consists of, apart from its settings and what is on disk.
pub struct Parts {
    pub lanes: Vec<LaneSpec>,
    pub factory: EvaluatorFactory,
    pub files: ChildFiles,
    pub metrics: Arc<Metrics>,
    pub observer: Box<dyn Observer>,
    /// How often a child is tried whose failure may be transient.
    pub attempts: u32,
    /// What a failed child is worth.
    pub failed_reward: FailureRule,
    pub max_seconds: Option<f64>,
    pub restart: RestartSettings,
    /// The config file, polled while the search runs.
    pub reload: Option<Box<dyn Reload>>,
    /// The HTTP endpoint, once it is served.
    pub serving: Option<crate::telemetry::Serving>,
    /// The page on it: its readers are notified of the end.
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
    /// Trials that were under way in an earlier process: one of them may have killed it.
    recovered: BTreeSet<u64>,
    /// None: every child is trained.
    reuse: Option<Reuse>,
    enqueued: Enqueued,
    reevaluations: Reevaluations,
    /// Once it has started.
    own_mailbox: Option<Mailbox<Self>>,
    /// Outcomes handed to the journal and not yet confirmed.
    committing: usize,
    /// The last sequence number delivered.
    sequence: u64,
    /// The learning settings after it.
    learning: LearningSettings,
    proposals: Proposals,
    /// The newest learning settings for which a sequence number was requested.
    requested_learning: LearningSettings,
    averages: RewardAverages,
    /// How many rewards of this process did not count in full.
    cut_rewards: usize,
    /// Entries with a sequence number that wait until every shard can receive them.
    pending: VecDeque<Ordered>,
    intensities: BTreeMap<(&'static str, String), Intensity>,
    tally: Tally,
    started: Stopwatch,
    /// Counts ticks, for the watchdog of the actors' thread.
    heartbeat: Arc<AtomicU64>,
    ending: Option<End>,
    /// Since when.
    ending_since: Stopwatch,
    /// Receives how the search ended; None: it has.
    ended: Option<oneshot::Sender<End>>,
}

/// An entry of the log: what takes a sequence number.
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
        let mut shards = Shards::new(prepared.stored);
        shards.resume(prepared.snapshot.state.version, prepared.held);
        Self {
            space: prepared.space.clone(),
            policy: prepared.policy.clone(),
            seed: prepared.seed,
            journal: prepared.journal.clone(),
            tickets: prepared.tickets(),
            shards,
            replicas: Replicas::default(),
            trainers: Vec::new(),
            logged_lanes: String::new(),
            scheduler: Scheduler::default(),
            recovered: BTreeSet::new(),
            reuse: prepared.reuse.take(),
            enqueued: Enqueued::new(&prepared.enqueued),
            reevaluations: Reevaluations::new(&prepared.reevaluations, prepared.budget),
            own_mailbox: None,
            committing: 0,
            sequence: prepared.snapshot.state.sequence,
            learning: prepared.snapshot.learning,
            proposals: Proposals::new(
                prepared.history.clone(),
                std::mem::take(&mut prepared.curves),
                prepared.pruner,
                prepared.open.iter().map(|(open, _)| open),
            ),
            requested_learning: prepared.snapshot.learning,
            averages: prepared.snapshot.averages,
            cut_rewards: 0,
            pending: VecDeque::new(),
            intensities: BTreeMap::new(),
            tally: Tally::new(
                prepared.budget.trials,
                &prepared.rewards,
                prepared.pruned,
                prepared.failed,
                prepared.confirmed,
                prepared.best_metric,
            ),
            started: Stopwatch::start(),
            heartbeat,
            ending: None,
            ending_since: Stopwatch::start(),
            ended: Some(ended),
            prepared: Some(prepared),
            parts,
        }
    }

    fn mailbox(&self, context: &Context<Self>) -> Mailbox<Self> {
        Mailbox::new(context.address(), &self.parts.metrics)
    }

    fn start_run(&mut self, context: &mut Context<Self>) {
        self.own_mailbox = Some(self.mailbox(context));
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

    fn progress(&self) -> Progress {
        self.tally.progress(
            self.scheduler.running(),
            self.scheduler.queued(),
            self.averages.baseline(),
        )
    }

    fn notify(&mut self, event: Event) {
        let progress = self.progress();
        self.parts.observer.event(event, &progress);
    }

    /// Was this trial proposed by a controller?
    fn is_sampled(&self, trial: u64) -> bool {
        self.enqueued.name(trial).is_none() && self.reevaluations.get(trial).is_none()
    }

    /// What a trial is that was not sampled; None: it was.
    fn label(&self, trial: u64) -> Option<String> {
        let again = self.reevaluations.get(trial).map(Again::describe);
        again.or_else(|| self.enqueued.name(trial).map(str::to_owned))
    }

    /// Commits the outcome; the journal's reply holds the minibatches that it completed.
    fn commit(&mut self, trial: u64, outcome: Outcome, seconds: f64, context: &Context<Self>) {
        self.committing += 1;
        let supervisor = self.mailbox(context);
        let files = self.parts.files.clone();
        let committed = outcome.clone();
        let reply = move |sequenced| {
            if committed != Outcome::Stopped {
                files.checkpoints.remove(trial);
            }
            files.weights.committed(trial, &committed);
            supervisor.do_send(OutcomeCommitted {
                trial,
                outcome: committed,
                seconds,
                reused_from: None,
                sequenced,
            });
        };
        // What was not sampled is in no gradient, whether it failed or not.
        let failures = if self.is_sampled(trial) {
            self.parts.failed_reward
        } else {
            FailureRule::SKIP
        };
        self.journal
            .finished(trial, outcome, seconds, failures, Box::new(reply));
    }

    /// Delivers entries of the log. While a shard is missing they wait, and so do all later ones.
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
        if self.shards.is_due(self.sequence) {
            self.cut();
        }
    }

    /// A minibatch has all its rewards: its controller computes the gradient.
    fn sequenced(&mut self, sequenced: Sequenced) {
        self.sequence = sequenced.sequence;
        let (baseline, scale) = (sequenced.baseline, sequenced.scale);
        let compared = self.learning.compare(baseline, scale, &sequenced.rewards);
        self.learning.average(&mut self.averages, &compared);
        self.report_cut(&sequenced);
        if let Some(value) = self.averages.baseline() {
            self.parts.metrics.baseline.set(value);
        }
        let controller = sequenced.controller;
        let Some(minibatch) = self.replicas.awaited(controller).cloned() else {
            return self.fail(format!("no controller {controller} for its rewards"));
        };
        let strategy = self
            .proposals
            .log(self.space.as_ref(), &sequenced, &minibatch);
        if !self.replicas.reward(Rewarded {
            sequenced,
            learning: self.learning,
            strategy,
        }) {
            self.fail(format!("no controller {controller} for its rewards"));
        }
    }

    /// Names the trials whose rewards are too far from the others to count in full.
    fn report_cut(&mut self, sequenced: &Sequenced) {
        for cut in &sequenced.cut {
            self.cut_rewards += 1;
            if self.cut_rewards > REPORTED_CUTS {
                return;
            }
            let CutReward {
                trial,
                reward,
                counts_as,
            } = cut;
            let mut text = format!(
                "trial {trial}: its reward {} is far from the others; the controller learns from it as {}",
                number_text(*reward, 4),
                number_text(*counts_as, 4)
            );
            if self.cut_rewards == REPORTED_CUTS {
                text += "; further ones are not reported until the next start";
            }
            tracing::warn!("{text}");
            self.journal.event("outlier", &text);
        }
    }

    /// The learning settings change at this sequence number.
    fn change_learning(&mut self, LearningChange { sequence, learning }: LearningChange) {
        self.proposals.change(sequence, &self.learning, &learning);
        self.sequence = sequence;
        self.learning = learning;
        for shard in self.shards.addresses() {
            shard.do_send(LearningChange { sequence, learning });
        }
    }

    fn fail(&mut self, reason: String) {
        tracing::error!("{reason}");
        self.start_ending(End::Failed(reason));
    }
}

counts_mailbox!(Supervisor, Supervisor);

impl Actor for Supervisor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        guard(self, context, Self::start_run);
    }
}

impl Guarded for Supervisor {
    /// Nothing supervises the Supervisor: the process ends, saved, and the same command continues.
    fn panicked(&mut self, panic: String) {
        self.finish_with(End::Failed(format!("the supervisor panicked: {panic}")));
    }
}

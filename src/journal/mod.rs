//! The run on disk: `search.db`. The only room that knows SQL. A reply is given only after the
//! commit that it speaks of.

mod backup;
mod config_file;
mod copies;
mod curves;
mod deaths;
mod directory;
mod failures;
mod file_system;
mod health;
mod history;
mod ledger;
mod lock;
mod open;
mod outcome;
mod reader;
mod recovery;
mod reevaluations;
mod retraining;
mod rolling_backup;
mod schema;
mod snapshots;
mod survey;
#[cfg(test)]
mod tests;
mod writer;

pub use backup::{Holdings, Restoration, restore};
pub use copies::Copied;
pub use deaths::{DEATHS_IN_COMPANY, fatal_signal_file};
pub use directory::{check_directory, set_aside};
pub use failures::Failures;
pub use history::TrialHistory;
pub use open::{DATA_CONTENT, WHITEN_ORDER};
pub use reader::{CostRow, EpochRow, Reader, TrialRow};
pub use reevaluations::{Confirmations, Confirmed, Evaluated, NewReevaluation, Reevaluation};
pub use retraining::{FINAL_TRAINING, FinalEvaluation, FinalWeights, RETRAINING, Stage};
pub use survey::{DecidedTrial, FinalState, Life, Suspect, TrialFacts, TrialOrder};

use crate::child::{Cause, Curve, Epoch, FailureRule, LearningCurves, Outcome, Pruning};
use crate::space::{Architecture, Decision, Fingerprint};
use crate::strategy::{
    HeldParameters, HistoryPosition, LearningSettings, LogEntry, PulledParameters, Snapshot,
};
use health::Health;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;
use writer::Request;

/// What goes wrong with a run directory.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("{}: another netwright runs here: {holder}", path.display())]
    Locked { path: PathBuf, holder: String },
    #[error("{}: the file system{kind} has no file locks ({source}), by which only one process at a time writes to a run. Have the run on a local disk (--run-dir, run.dir), or the locks turned on: NFS needs its lock service and no mount option `nolock`, Lustre the mount option `flock`", path.display())]
    NoLocks {
        path: PathBuf,
        /// ` (nfs4, mounted at …)`, or nothing.
        kind: String,
        source: std::io::Error,
    },
    /// What the user named cannot be the directory of a run.
    #[error("{}: {problem}", path.display())]
    Unfit { path: PathBuf, problem: String },
    #[error("{}: this run was started with other settings:\n{difference}\nuse the run's own settings (its config.toml), another --run-dir, or --fresh (moves this run aside)", path.display())]
    Changed { path: PathBuf, difference: String },
    #[error("{}: {problem}", path.display())]
    Damaged { path: PathBuf, problem: String },
    #[error("{}: {source}", path.display())]
    Io {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{}: there is no run here; a run is the directory that a search was given (--run-dir, run.dir, else runs/<run.name>)", path.display())]
    NoRun { path: PathBuf },
}

/// A minibatch as its controller sampled it.
#[derive(Clone, Debug)]
pub struct SampledMinibatch {
    pub controller: u64,
    /// Counts this controller's minibatches, from 0.
    pub minibatch: u64,
    pub layers: usize,
    pub pulled: PulledParameters,
    /// What the strategy had seen.
    pub history: HistoryPosition,
    /// How many of its networks were pending without the strategy having seen them.
    pub repeated: u64,
    /// How many lists were drawn again, because they are larger than the space's limits.
    pub redrawn: u64,
    /// What its children are pruned by; None: nothing prunes them.
    pub pruning: Option<Pruning>,
    pub trials: Vec<SampledTrial>,
    /// The parameters that were pulled, where a recovery from the newest snapshot will need them.
    pub held: Option<Arc<[f32]>>,
}

/// A trial as it was sampled.
#[derive(Clone, Debug)]
pub struct SampledTrial {
    pub decisions: Vec<Decision>,
    pub architecture: Architecture,
    pub seed: u64,
    /// Exact size of the network, where it is one.
    pub parameters: Option<u64>,
    pub flops: Option<u64>,
}

/// An architecture that is not sampled: it is evaluated before sampling starts, and no controller
/// learns from it.
#[derive(Clone, Debug)]
pub struct Enqueued {
    pub name: String,
    pub trial: SampledTrial,
}

/// A minibatch whose outcomes are all known and committed, with its sequence number.
#[derive(Clone, Debug, PartialEq)]
pub struct Sequenced {
    pub controller: u64,
    pub minibatch: u64,
    pub sequence: u64,
    /// Names the synchronous round that it belongs to.
    pub round: Option<u64>,
    /// Read before this minibatch's rewards entered it (synchronous: before the round's).
    pub baseline: Option<f64>,
    /// Read with it; None: advantages have no bound.
    pub scale: Option<f64>,
    /// In slot order; None: failed.
    pub rewards: Vec<Option<f64>>,
    /// Rewards that do not count in full.
    pub cut: Vec<CutReward>,
    /// Of its children that were trained, and are completed or pruned, in slot order; empty where
    /// nothing was to prune them.
    pub curves: Vec<Curve>,
}

/// A reward that is too far from the others to count in full.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CutReward {
    pub trial: u64,
    pub reward: f64,
    /// What it counts as.
    pub counts_as: f64,
}

/// Where a replay starts, and what it replays.
#[derive(Debug, Default)]
pub struct LogTail {
    /// The newest snapshot that holds; None: the seed.
    pub snapshot: Option<Snapshot>,
    /// Parameters that were pulled before it.
    pub held: Vec<HeldParameters>,
    /// The entries after it, in order.
    pub log: Vec<LogEntry>,
}

/// A trial that waits for its outcome, or whose minibatch does.
#[derive(Clone, Debug)]
pub struct OpenTrial {
    pub id: u64,
    pub seed: u64,
    pub decisions: Vec<Decision>,
    pub architecture: Architecture,
    pub attempt: u32,
    pub interruptions: u32,
    /// Processes that died in a row while it ran without progress, of a cause that a child can have
    /// brought about.
    pub deaths: u32,
    /// Those whose death nothing explains.
    pub unexplained: u32,
    /// Has its outcome; must not run again.
    pub finished: bool,
}

/// A minibatch that still waits for outcomes.
#[derive(Clone, Debug)]
pub struct OpenMinibatch {
    pub controller: u64,
    pub minibatch: u64,
    pub layers: usize,
    pub pulled: PulledParameters,
    pub pruning: Option<Pruning>,
    pub trials: Vec<OpenTrial>,
}

/// The first completed trial of a network.
#[derive(Clone, Debug, PartialEq)]
pub struct CompletedNetwork {
    pub trial: u64,
    pub network: Fingerprint,
    pub reward: f64,
    pub metric: f64,
}

/// Everything that a resumed run needs; of an empty one, zeros.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// The newest snapshot from which every later entry and every open minibatch can be replayed;
    /// None: start at the seed.
    pub snapshot: Option<Snapshot>,
    /// Parameters that minibatches were proposed from before it.
    pub held: Vec<HeldParameters>,
    /// Entries after it, in order.
    pub log: Vec<LogEntry>,
    pub open: Vec<OpenMinibatch>,
    /// Architectures that were enqueued rather than sampled, by id: their names, and the trials.
    pub enqueued: Vec<(String, OpenTrial)>,
    /// Trials without an outcome that evaluate an earlier one's network again, by id.
    pub reevaluations: Vec<Reevaluation>,
    pub confirmations: Confirmations,
    /// Trials sampled so far.
    pub sampled: u64,
    /// The highest id; 0: no trial yet.
    pub last_trial: u64,
    /// For each controller that ever sampled, its next minibatch.
    pub next_minibatch: Vec<(u64, u64)>,
    /// Last sequence number given.
    pub sequence: u64,
    /// The learning settings in force at the end of the log; None: none recorded yet.
    pub learning: Option<LearningSettings>,
    /// Finished trials so far of those sampled, by outcome, and their rewards in any order.
    pub completed: u64,
    pub pruned: u64,
    pub failed: u64,
    pub rewards: Vec<f64>,
    /// Of all trials, enqueued ones among them: how many are completed, how many were pruned, the
    /// failed ones by cause, and the seconds of every finished one on its lane. Counters and
    /// histograms go on from here.
    pub children_completed: u64,
    pub children_pruned: u64,
    pub causes: Vec<(Cause, u64)>,
    pub seconds: Vec<f64>,
    /// The latest learning curves of the log, where children were to be pruned.
    pub curves: LearningCurves,
    /// Minibatches that have their sequence number.
    pub sequenced: u64,
    /// Unix time of the newest snapshot.
    pub snapshot_at: Option<f64>,
    /// Metric of the sampled trial with the highest reward.
    pub best_metric: Option<f64>,
    /// Trials that took the reward of one of them.
    pub reused: u64,
    /// Networks that were proposed while an equal one was pending, unseen by the strategy.
    pub repeated: u64,
    /// Lists that were drawn again, because they were too large.
    pub redrawn: u64,
    /// Facts of the run's identity that it lacked, because an earlier version began it, and that
    /// are recorded now.
    pub recorded: Vec<String>,
    /// Where a `config.toml` is now that lay in the run and was not the run's own.
    pub kept_config: Option<PathBuf>,
}

impl Recovered {
    /// Trials that have their outcome, of those that the run is to have: sampled ones and
    /// confirmations.
    pub fn finished(&self) -> u64 {
        self.completed + self.pruned + self.failed + self.confirmations.finished
    }
}

/// The writer's handle: cheap to clone; requests are carried out in the order they are made, on the
/// journal's own thread. When the disk is full or SQLite reports an error, the writer keeps its
/// batch, says so, retries, and withholds the replies.
#[derive(Clone)]
pub struct Journal {
    requests: mpsc::Sender<Request>,
    health: Arc<Health>,
}

type Reply<T> = Box<dyn FnOnce(T) + Send>;

/// Whether a trial of this status has its outcome, which will not change.
fn is_final(status: &str) -> bool {
    matches!(status, "completed" | "pruned" | "failed")
}

impl Journal {
    /// Opens or creates the run, holding its lock. `identity` is what may not change in a run's
    /// life (flat object of setting → value); so are those of `enqueued` that the run has already.
    /// [`DATA_CONTENT`] is recorded where an earlier version did not.
    /// `config` is the resolved config file, written to `config.toml`.
    ///
    /// # Errors
    /// When the folder holds other files, the run is in use, was started with another identity, has
    /// lost its database, or cannot be read or written; nothing is harmed then.
    pub fn open(
        dir: &Path,
        identity: &serde_json::Value,
        enqueued: &[Enqueued],
        config: &str,
    ) -> Result<(Self, Recovered), JournalError> {
        let mut opened = open::open(dir, identity, enqueued, config)?;
        let mut recovered = recovery::recover(&opened.connection, dir)?;
        recovered.recorded = std::mem::take(&mut opened.recorded);
        recovered.kept_config = opened.kept_config.take();
        let health = Arc::new(Health::default());
        let requests = writer::start(opened, health.clone(), rolling_backup::BACK_UP_EVERY)
            .map_err(|source| JournalError::Io {
                path: dir.to_owned(),
                source,
            })?;
        Ok((Self { requests, health }, recovered))
    }

    /// Inserts minibatches in one transaction, in this order, as queued trials with the next ids;
    /// replies with each one's first id. With `round`, they are sequenced together, in this order,
    /// when the last outcome of all of them is known.
    pub fn insert(&self, minibatches: Vec<SampledMinibatch>, round: bool, reply: Reply<Vec<u64>>) {
        self.send(Request::Insert {
            minibatches,
            round,
            reply,
        });
    }

    /// Stores what the run takes from elsewhere, as far as it does not have it yet.
    pub fn copy(&self, copies: Vec<Copied>, reply: Reply<()>) {
        self.send(Request::Copy { copies, reply });
    }

    /// Inserts trials that no controller sampled, in one transaction, with the next ids; replies
    /// with the first.
    pub fn enqueue(&self, trials: Vec<Enqueued>, reply: Reply<u64>) {
        self.send(Request::Enqueue { trials, reply });
    }

    /// Replies with the best networks, of which there may be fewer, the best first: by the mean reward
    /// of their confirmations where they have one, else by their reward.
    pub fn best_networks(&self, limit: usize, reply: Reply<Vec<Evaluated>>) {
        self.send(Request::BestNetworks { limit, reply });
    }

    /// Replies with these trials, as far as they are there.
    pub fn evaluated(&self, trials: Vec<u64>, reply: Reply<Vec<Evaluated>>) {
        self.send(Request::Evaluated { trials, reply });
    }

    /// Inserts trials that evaluate others again, in one transaction, with the next ids; replies with
    /// the first.
    pub fn reevaluate(&self, trials: Vec<NewReevaluation>, reply: Reply<u64>) {
        self.send(Request::Reevaluate { trials, reply });
    }

    /// The trial runs (again): earlier epochs of it are deleted. `reply` is called after the
    /// commit.
    pub fn started(&self, trial: u64, device: &str, reply: Option<Reply<()>>) {
        self.send(Request::Started {
            trial,
            device: device.to_owned(),
            reply,
        });
    }

    pub fn epoch(&self, trial: u64, epoch: Epoch) {
        self.send(Request::Epoch { trial, epoch });
    }

    /// What the trial's network costs, in the unit of `child.cost`.
    pub fn cost(&self, trial: u64, cost: f64) {
        self.send(Request::Cost { trial, cost });
    }

    /// The outcome, once for all, after `seconds` on its lane; the transaction that holds a
    /// minibatch's last outcome gives it its sequence number. `Outcome::Stopped` sets the trial
    /// aside to be run again and sequences nothing. `failures` says what a failed child is worth; the
    /// lowest reward it has when its minibatch takes its sequence number. Replies after the commit.
    pub fn finished(
        &self,
        trial: u64,
        outcome: Outcome,
        seconds: f64,
        failures: FailureRule,
        reply: Reply<Vec<Sequenced>>,
    ) {
        self.send(Request::Finished {
            trial,
            outcome,
            seconds,
            failures,
            reply,
        });
    }

    /// The trial takes reward and metric of trial `from`, which is completed: as `finished`.
    pub fn reused(&self, trial: u64, from: u64, reply: Reply<Vec<Sequenced>>) {
        self.send(Request::Reused { trial, from, reply });
    }

    /// The attempt failed and the trial is queued again.
    pub fn failed_attempt(&self, trial: u64, error: &str) {
        self.send(Request::FailedAttempt {
            trial,
            error: error.to_owned(),
        });
    }

    /// Learning settings that hold from the sequence number that this entry takes; replies with it.
    pub fn change(&self, learning: LearningSettings, reply: Reply<u64>) {
        self.send(Request::Change { learning, reply });
    }

    /// Stores a snapshot, with the parameters that minibatches open at its number were proposed from
    /// before it, and drops what no recovery can need.
    pub fn snapshot(&self, snapshot: Snapshot, held: Vec<HeldParameters>, reply: Reply<()>) {
        self.send(Request::Snapshot {
            snapshot: Box::new(snapshot),
            held,
            reply,
        });
    }

    /// Replies with the newest snapshot that holds, and the log after it: what `recovered` gave at
    /// the start, as it is now.
    pub fn log(&self, reply: Reply<LogTail>) {
        self.send(Request::Log { reply });
    }

    /// Replies with every network that was trained to its end. Reads the whole run.
    pub fn networks(&self, reply: Reply<Vec<CompletedNetwork>>) {
        self.send(Request::Networks { reply });
    }

    /// The resolved config file as it is now, for `config.toml`.
    pub fn config(&self, config: String) {
        self.send(Request::Config { config });
    }

    /// `observe` receives how many seconds each commit took, on the writer's thread; only the first
    /// observer counts.
    pub fn observe_commits(&self, observe: impl Fn(f64) + Send + Sync + 'static) {
        self.health.observe(Box::new(observe));
    }

    /// Why nothing can be written at the moment, in one sentence.
    pub fn problem(&self) -> Option<String> {
        self.health.problem()
    }

    /// One line of the run's event log.
    pub fn event(&self, kind: &str, text: &str) {
        self.send(Request::Event {
            kind: kind.to_owned(),
            text: text.to_owned(),
        });
    }

    /// The hash of a retraining's final weights, whose file is on disk. Replies after the commit.
    pub fn final_weights(&self, weights: &FinalWeights, reply: Reply<()>) {
        self.record(retraining::FINAL_WEIGHTS, weights, reply);
    }

    /// What a retraining came to. Replies after the commit.
    pub fn final_evaluation(&self, evaluation: &FinalEvaluation, reply: Reply<()>) {
        self.record(retraining::FINAL_EVALUATION, evaluation, reply);
    }

    fn record(&self, key: &'static str, value: &impl serde::Serialize, reply: Reply<()>) {
        let value = serde_json::to_string(value).expect("a record is plain data");
        self.send(Request::Record { key, value, reply });
    }

    /// Carries out every earlier request, then closes the database and releases the lock. Waits for
    /// it, some seconds at most.
    pub fn close(&self) {
        let (done, answer) = mpsc::channel();
        self.send(Request::Close { done });
        let _ = answer.recv();
    }

    /// Fails only after `close`: what comes later is from lanes that were abandoned, and must not
    /// be written.
    fn send(&self, request: Request) {
        let _ = self.requests.send(request);
    }
}

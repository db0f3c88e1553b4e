//! From a run on disk (or none) to what the Supervisor starts with: the parameters at the end of
//! the log, the minibatches that wait for outcomes, what the strategy knows of both. Must not know
//! SQL, and starts no actor.

use super::reevaluations::again;
use super::reuse::{Known, Reuse};
use super::tickets::Tickets;
use crate::child::{LearningCurves, Pruner};
use crate::journal::{
    CompletedNetwork, Confirmations, Copied, Enqueued, Evaluated, Journal, NewReevaluation,
    OpenMinibatch, OpenTrial, Recovered, Reevaluation, SampledTrial,
};
use crate::policy::{Policy, shard_boundaries};
use crate::space::Space;
use crate::strategy::{
    Again, ControllerSettings, History, KnownTrial, LearningSettings, LogEntry,
    ParameterServerSettings, PendingMinibatch, Replay, ReplayError, Snapshot, StrategyName,
    TrialBudget, initial_snapshot, surrogate_state,
};
use std::sync::{Arc, mpsc};

/// What a search needs from the settings.
#[derive(Clone, Debug)]
pub struct SearchSettings {
    pub seed: u64,
    pub trials: u64,
    /// How many of them confirm the best.
    pub confirm: u64,
    pub reuse: bool,
    /// See [`LearningSettings`].
    pub advantage_bound: Option<f64>,
    /// Networks larger than the space's limits are drawn again.
    pub redraws: bool,
    /// What ends children early; None: nothing.
    pub pruner: Option<Pruner>,
    pub controller: ControllerSettings,
    pub parameter_server: ParameterServerSettings,
}

impl SearchSettings {
    /// Those that hold after a log whose last ones are these; None: at the start of a run.
    fn learning_after(
        &self,
        logged: Option<&LearningSettings>,
        space: &dyn Space,
    ) -> LearningSettings {
        let choice = self.controller.strategy;
        self.learning(match logged {
            Some(logged) => choice.resume(logged.strategy),
            None => choice.resolve(space),
        })
    }

    pub(super) fn learning(&self, strategy: StrategyName) -> LearningSettings {
        LearningSettings {
            advantage_bound: self.advantage_bound,
            redraws: self.redraws,
            ..self
                .controller
                .learning(strategy, self.parameter_server.accumulate)
        }
    }
}

/// A run whose controller parameters are those at the end of its journal's log.
pub struct Prepared {
    pub journal: Journal,
    pub space: Arc<dyn Space>,
    pub policy: Arc<Policy>,
    pub seed: u64,
    pub replicas: usize,
    pub children: usize,
    pub synchronous: bool,
    pub boundaries: Vec<usize>,
    pub snapshot: Snapshot,
    /// What the strategy knows of the log and of the open minibatches.
    pub history: History,
    /// Of the latest children in the log, where they were to be pruned.
    pub curves: LearningCurves,
    pub pruner: Option<Pruner>,
    /// Minibatches that wait for outcomes, each with the parameters that it was sampled from.
    pub open: Vec<(OpenMinibatch, Arc<[f32]>)>,
    pub sampled: u64,
    /// How many trials are to be sampled.
    pub to_sample: u64,
    pub budget: TrialBudget,
    pub next_minibatch: Vec<(u64, u64)>,
    /// Architectures that are evaluated before sampling starts, finished ones among them.
    pub enqueued: Vec<(String, OpenTrial)>,
    /// Trials without an outcome that evaluate an earlier one's network again.
    pub reevaluations: Vec<Reevaluation>,
    /// Confirmations that have their outcome.
    pub confirmed: u64,
    pub rewards: Vec<f64>,
    pub pruned: u64,
    pub failed: u64,
    pub best_metric: Option<f64>,
    /// Sequence number of the snapshot that is on disk.
    pub stored: u64,
    /// How many minibatches have their parameters kept beside it.
    pub held: u64,
    /// The known rewards; None: they are not reused.
    pub(super) reuse: Option<Reuse>,
}

impl Prepared {
    pub(super) fn tickets(&self) -> Tickets {
        Tickets::new(
            self.to_sample,
            self.children,
            self.replicas,
            self.synchronous,
            self.sampled,
            &self.next_minibatch,
        )
    }
}

/// A run cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    #[error("the journal does not replay: {0}")]
    Replay(#[from] ReplayError),
    #[error("the journal's writer is gone")]
    WriterGone,
}

/// Trials that a run gets beside those that it samples.
#[derive(Clone, Debug, Default)]
pub struct Additions {
    /// All entries of the config file: those that the run does not have yet are added.
    pub enqueued: Vec<Enqueued>,
    /// Trials whose network is to be evaluated again, because the user asked for it.
    pub retries: Vec<u64>,
    /// What the run takes from elsewhere: it is stored first.
    pub copies: Vec<Copied>,
    /// Parameters that the controller begins with; None: those that the seed gives.
    pub parameters: Option<Arc<[f32]>>,
    /// Trials of elsewhere that the surrogate of `guided` knows from the beginning.
    pub known: Vec<KnownTrial>,
}

/// Brings the shared parameters to the end of the journal's log, and records the learning settings
/// if they changed. `additions` become the run's next trials.
///
/// # Errors
/// The log does not replay, because the journal and the space do not belong together or a file is
/// damaged; or nothing can be written to the journal.
pub fn prepare(
    settings: &SearchSettings,
    space: Arc<dyn Space>,
    journal: Journal,
    mut recovered: Recovered,
    additions: Additions,
) -> Result<Prepared, PrepareError> {
    if !additions.copies.is_empty() {
        wait_for_reply(|reply| {
            journal.copy(additions.copies, Box::new(move |()| reply(())));
        })?;
    }
    let policy = Policy::new(space.as_ref(), &settings.controller.network())
        .starting_from(additions.parameters);
    let learning = settings.learning_after(recovered.learning.as_ref(), space.as_ref());
    let stored = recovered
        .snapshot
        .as_ref()
        .map_or(0, |snapshot| snapshot.state.sequence);
    let start = recovered
        .snapshot
        .unwrap_or_else(|| initial_snapshot(&policy, settings.seed, learning));
    let start = with_known(start, additions.known);
    let held = recovered.held.len() as u64;
    let mut replay = Replay::new(&policy, space.as_ref(), start)?.holding(recovered.held);
    replay_log(&mut replay, &recovered.log, &recovered.open)?;
    let open = with_parameters(&replay, recovered.open)?;
    if recovered.learning != Some(learning) {
        let sequence = wait_for_reply(|reply| journal.change(learning, reply))?;
        replay.apply(&LogEntry::Change { sequence, learning })?;
    }
    let (snapshot, mut history) = replay.into_parts();
    for (minibatch, _) in &open {
        show_pending(&mut history, minibatch);
    }
    history.reach(recovered.last_trial);
    let known_entries = recovered.enqueued.len();
    let new_entries = additions.enqueued.into_iter().skip(known_entries);
    let new_entries = enqueue(&journal, new_entries.collect())?;
    recovered.enqueued.extend(new_entries);
    let retried = retry(&journal, settings.seed, additions.retries)?;
    recovered.reevaluations.extend(retried);
    let (budget, to_sample) = budget(settings, recovered.confirmations, recovered.sampled);
    let reuse = settings.reuse.then(|| known(&journal)).transpose()?;
    Ok(Prepared {
        boundaries: shard_boundaries(policy.parameter_count(), settings.parameter_server.shards),
        journal,
        space,
        policy: Arc::new(policy),
        seed: settings.seed,
        replicas: settings.controller.replicas,
        children: settings.controller.children,
        synchronous: settings.controller.synchronous,
        snapshot,
        history,
        curves: recovered.curves,
        pruner: settings.pruner,
        open,
        sampled: recovered.sampled,
        to_sample,
        budget,
        next_minibatch: recovered.next_minibatch,
        enqueued: recovered.enqueued,
        reevaluations: recovered.reevaluations,
        confirmed: recovered.confirmations.finished,
        rewards: recovered.rewards,
        pruned: recovered.pruned,
        failed: recovered.failed,
        best_metric: recovered.best_metric,
        stored,
        held,
        reuse,
    })
}

/// The trials that confirm, and how many are to be sampled in all.
fn budget(
    settings: &SearchSettings,
    confirmations: Confirmations,
    sampled: u64,
) -> (TrialBudget, u64) {
    let mut budget = TrialBudget {
        trials: settings.trials,
        confirm: settings.confirm,
        before: confirmations.before,
        current: confirmations.current,
    };
    let to_sample = budget.to_sample(sampled);
    if to_sample > sampled {
        budget.sampling_goes_on();
    }
    (budget, to_sample)
}

/// Before the first entry of the log, `guided` knows trials of elsewhere.
fn with_known(mut start: Snapshot, known: Vec<KnownTrial>) -> Snapshot {
    let begins = start.state.sequence == 0 && start.strategy.is_empty();
    if begins && !known.is_empty() && start.learning.strategy == StrategyName::GUIDED {
        start.strategy = surrogate_state(known);
    }
    start
}

/// A minibatch that waits for outcomes, with the parameters that it was sampled from.
type SampledFrom = (OpenMinibatch, Arc<[f32]>);

fn with_parameters(
    replay: &Replay,
    open: Vec<OpenMinibatch>,
) -> Result<Vec<SampledFrom>, ReplayError> {
    let with_own = |open: OpenMinibatch| {
        let parameters = replay.parameters_of(0, open.controller, open.minibatch, &open.pulled)?;
        Ok((open, parameters))
    };
    open.into_iter().map(with_own).collect()
}

/// Proposals see a minibatch that waits for outcomes.
fn show_pending(history: &mut History, open: &OpenMinibatch) {
    let Some(first) = open.trials.first() else {
        return;
    };
    let trials = open.trials.iter();
    let decisions = trials.map(|trial| trial.decisions.clone()).collect();
    let pending = PendingMinibatch::new(open.controller, open.minibatch, open.layers, decisions);
    history.insert(first.id, Arc::new(pending));
}

/// Blocks until the journal replies: no actor runs yet.
fn wait_for_reply<T: Send + 'static>(
    request: impl FnOnce(Box<dyn FnOnce(T) + Send>),
) -> Result<T, PrepareError> {
    let (reply, answer) = mpsc::channel();
    request(Box::new(move |value| {
        let _ = reply.send(value);
    }));
    answer.recv().map_err(|_| PrepareError::WriterGone)
}

/// Has new entries written down as trials.
fn enqueue(
    journal: &Journal,
    new: Vec<Enqueued>,
) -> Result<Vec<(String, OpenTrial)>, PrepareError> {
    if new.is_empty() {
        return Ok(Vec::new());
    }
    let first = wait_for_reply(|reply| journal.enqueue(new.clone(), reply))?;
    let trials = (first..)
        .zip(new)
        .map(|(id, Enqueued { name, trial })| (name, open(id, trial)));
    Ok(trials.collect())
}

/// A trial that was just written down.
fn open(id: u64, trial: SampledTrial) -> OpenTrial {
    OpenTrial {
        id,
        seed: trial.seed,
        decisions: trial.decisions,
        architecture: trial.architecture,
        attempt: 0,
        interruptions: 0,
        deaths: 0,
        unexplained: 0,
        finished: false,
    }
}

/// Has these trials' networks written down as trials again.
fn retry(
    journal: &Journal,
    seed: u64,
    trials: Vec<u64>,
) -> Result<Vec<Reevaluation>, PrepareError> {
    if trials.is_empty() {
        return Ok(Vec::new());
    }
    let found = wait_for_reply(|reply| journal.evaluated(trials, reply))?;
    let anew = |one: &Evaluated| {
        let retrying = Again::retrying(one.trial, one.confirms);
        again(one, retrying, seed, one.retries)
    };
    let new: Vec<NewReevaluation> = found.iter().map(anew).collect();
    let first = wait_for_reply(|reply| journal.reevaluate(new.clone(), reply))?;
    let numbers: Vec<String> = found.iter().map(|one| one.trial.to_string()).collect();
    journal.event(
        "retry",
        &format!("trials that are tried again: {}", numbers.join(", ")),
    );
    let reevaluation = |(id, new): (u64, NewReevaluation)| Reevaluation {
        again: new.again,
        layers: new.layers,
        trial: open(id, new.trial),
    };
    Ok((first..).zip(new).map(reevaluation).collect())
}

/// The rewards that may be reused.
fn known(journal: &Journal) -> Result<Reuse, PrepareError> {
    let networks = wait_for_reply(|reply| journal.networks(reply))?;
    let known = |completed: CompletedNetwork| {
        let known = Known {
            trial: completed.trial,
            reward: completed.reward,
            metric: completed.metric,
        };
        (completed.network, known)
    };
    Ok(Reuse::new(networks.into_iter().map(known)))
}

/// Applies the log, holding each earlier version only as long as something later was pulled at it.
pub(super) fn replay_log(
    replay: &mut Replay,
    log: &[LogEntry],
    open: &[OpenMinibatch],
) -> Result<(), ReplayError> {
    let open = open
        .iter()
        .map(|open| replay.oldest_wanted(open.controller, open.minibatch, &open.pulled))
        .min()
        .unwrap_or(u64::MAX);
    for (entry, wanted) in log.iter().zip(replay.versions_to_keep(log)) {
        replay.forget_before(wanted.min(open));
        replay.apply(entry)?;
    }
    Ok(())
}

//! From a run on disk (or none) to running actors, and back: recovers the parameters, starts the
//! Supervisor, waits for the end. Must not know SQL or how a child is trained.

use crate::actors::messages::{PollConfig, Shutdown};
use crate::actors::supervisor::{End, Known, Parts, Reuse, Supervisor, TICK, Tickets};
use crate::journal::{
    CompletedNetwork, Enqueued, Journal, OpenMinibatch, OpenTrial, Recovered, SampledTrial,
};
use crate::policy::{Policy, shard_boundaries};
use crate::space::Space;
use crate::strategy::{
    ControllerSettings, History, LearningSettings, LogEntry, ParameterServerSettings,
    PendingMinibatch, Replay, ReplayError, Snapshot, initial_snapshot,
};
use crate::telemetry::Endpoint;
use actix::{Actor, Addr, System};
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

/// What a search needs from the settings.
#[derive(Clone, Debug)]
pub struct SearchSettings {
    pub seed: u64,
    pub trials: u64,
    pub reuse: bool,
    pub controller: ControllerSettings,
    pub parameter_server: ParameterServerSettings,
}

impl SearchSettings {
    pub(super) fn learning(&self) -> LearningSettings {
        LearningSettings {
            strategy: self.controller.strategy,
            learning_rate: self.controller.learning_rate,
            baseline_decay: self.controller.baseline_decay,
            entropy_weight: self.controller.entropy_weight,
            accumulate: self.parameter_server.accumulate,
        }
    }
}

/// A run whose controller parameters are those at the end of its journal's log.
pub struct Prepared {
    pub journal: Journal,
    pub space: Arc<dyn Space>,
    pub policy: Arc<Policy>,
    pub seed: u64,
    pub trials: u64,
    pub replicas: usize,
    pub children: usize,
    pub synchronous: bool,
    pub boundaries: Vec<usize>,
    pub snapshot: Snapshot,
    /// What the strategy knows of the log and of the open minibatches.
    pub history: History,
    /// Minibatches that wait for outcomes, each with the parameters that it was sampled from.
    pub open: Vec<(OpenMinibatch, Arc<[f32]>)>,
    pub sampled: u64,
    pub next_minibatch: Vec<(u64, u64)>,
    /// Architectures that are evaluated before sampling starts, finished ones among them.
    pub enqueued: Vec<(String, OpenTrial)>,
    pub rewards: Vec<f64>,
    pub failed: u64,
    pub best_metric: Option<f64>,
    /// Sequence number of the snapshot that is on disk.
    pub stored: u64,
    /// The known rewards; None: they are not reused.
    pub(super) reuse: Option<Reuse>,
}

impl Prepared {
    pub(super) fn tickets(&self) -> Tickets {
        Tickets::new(
            self.trials,
            self.children,
            self.replicas,
            self.synchronous,
            self.sampled,
            &self.next_minibatch,
        )
    }
}

/// Brings the shared parameters to the end of the journal's log, and records the learning settings
/// if they changed. Of `enqueued`, all entries of the config file, those that the run does not have
/// yet become its next trials.
///
/// # Errors
/// When the log does not replay: the journal and the space do not belong together, or a file is
/// damaged.
pub fn prepare(
    settings: &SearchSettings,
    space: Arc<dyn Space>,
    journal: Journal,
    mut recovered: Recovered,
    enqueued: Vec<Enqueued>,
) -> Result<Prepared, String> {
    let policy = Policy::new(space.as_ref(), &settings.controller.network());
    let learning = settings.learning();
    let stored = recovered
        .snapshot
        .as_ref()
        .map_or(0, |snapshot| snapshot.state.sequence);
    let start = recovered
        .snapshot
        .unwrap_or_else(|| initial_snapshot(&policy, settings.seed, learning));
    let unreplayable = |error: ReplayError| format!("the journal does not replay: {error}");
    let mut replay = Replay::new(&policy, space.as_ref(), start).map_err(unreplayable)?;
    replay_log(&mut replay, &recovered.log, &recovered.open).map_err(unreplayable)?;
    let mut open = Vec::with_capacity(recovered.open.len());
    for minibatch in recovered.open {
        let parameters = replay.pulled(0, &minibatch.pulled).map_err(unreplayable)?;
        open.push((minibatch, parameters));
    }
    if recovered.learning != Some(learning) {
        let sequence = wait_for_reply(|reply| journal.change(learning, reply))?;
        replay
            .apply(&LogEntry::Change { sequence, learning })
            .map_err(|error| error.to_string())?;
    }
    let (snapshot, mut history) = replay.into_parts();
    for (minibatch, _) in &open {
        show_pending(&mut history, minibatch);
    }
    history.reach(recovered.last_trial);
    recovered.enqueued.extend(enqueue(
        &journal,
        enqueued
            .into_iter()
            .skip(recovered.enqueued.len())
            .collect(),
    )?);
    Ok(Prepared {
        boundaries: shard_boundaries(policy.parameter_count(), settings.parameter_server.shards),
        journal,
        space,
        policy: Arc::new(policy),
        seed: settings.seed,
        trials: settings.trials,
        replicas: settings.controller.replicas,
        children: settings.controller.children,
        synchronous: settings.controller.synchronous,
        snapshot,
        history,
        open,
        sampled: recovered.sampled,
        next_minibatch: recovered.next_minibatch,
        enqueued: recovered.enqueued,
        rewards: recovered.rewards,
        failed: recovered.failed,
        best_metric: recovered.best_metric,
        stored,
        reuse: settings.reuse.then(|| known(recovered.networks)),
    })
}

/// Proposals see a minibatch that waits for outcomes.
fn show_pending(history: &mut History, open: &OpenMinibatch) {
    let Some(first) = open.trials.first() else {
        return;
    };
    let pending = PendingMinibatch {
        controller: open.controller,
        minibatch: open.minibatch,
        layers: open.layers,
        decisions: open
            .trials
            .iter()
            .map(|trial| trial.decisions.clone())
            .collect(),
    };
    history.insert(first.id, Arc::new(pending));
}

/// Blocks until the journal replies: no actor runs yet.
fn wait_for_reply<T: Send + 'static>(
    request: impl FnOnce(Box<dyn FnOnce(T) + Send>),
) -> Result<T, String> {
    let (reply, answer) = mpsc::channel();
    request(Box::new(move |value| {
        let _ = reply.send(value);
    }));
    answer
        .recv()
        .map_err(|_| "the journal's writer is gone".to_owned())
}

/// Has new entries written down as trials.
fn enqueue(journal: &Journal, new: Vec<Enqueued>) -> Result<Vec<(String, OpenTrial)>, String> {
    if new.is_empty() {
        return Ok(Vec::new());
    }
    let first = wait_for_reply(|reply| journal.enqueue(new.clone(), reply))?;
    let trials = (first..).zip(new).map(|(id, Enqueued { name, trial })| {
        let SampledTrial {
            decisions,
            architecture,
            seed,
            ..
        } = trial;
        (
            name,
            OpenTrial {
                id,
                seed,
                decisions,
                architecture,
                attempt: 0,
                interruptions: 0,
                deaths: 0,
                finished: false,
            },
        )
    });
    Ok(trials.collect())
}

fn known(networks: Vec<CompletedNetwork>) -> Reuse {
    Reuse::new(networks.into_iter().map(
        |CompletedNetwork {
             trial,
             architecture,
             reward,
             metric,
         }| {
            (
                architecture,
                Known {
                    trial,
                    reward,
                    metric,
                },
            )
        },
    ))
}

/// Applies the log, holding each earlier version only as long as something later was pulled at it.
pub(super) fn replay_log(
    replay: &mut Replay,
    log: &[LogEntry],
    open: &[OpenMinibatch],
) -> Result<(), ReplayError> {
    let open = open
        .iter()
        .map(|minibatch| minibatch.pulled.oldest())
        .min()
        .unwrap_or(u64::MAX);
    for (entry, wanted) in log.iter().zip(Replay::wanted_versions(log)) {
        replay.forget_before(wanted.min(open));
        replay.apply(entry)?;
    }
    Ok(())
}

/// Runs a prepared search to its end. Blocks; SIGINT and SIGTERM end it, saved, within ten seconds;
/// a second signal ends it at once.
///
/// # Errors
/// When the process cannot listen to signals.
pub fn search(
    prepared: Prepared,
    mut parts: Parts,
    endpoint: Option<Endpoint>,
) -> std::io::Result<End> {
    let journal = prepared.journal.clone();
    let probe = journal.clone();
    parts
        .metrics
        .readiness
        .watch_journal(move || probe.problem());
    let heartbeat = Arc::new(AtomicU64::new(0));
    start_watchdog(
        heartbeat.clone(),
        parts.restart.parameter_shard.freeze_seconds,
    )?;
    let system = System::new();
    parts.serving = system.block_on(async move { endpoint.map(Endpoint::serve).transpose() })?;
    let page = parts.page.clone();
    let (ended, end) = oneshot::channel();
    system.block_on(async move {
        let supervisor = Supervisor::new(prepared, parts, ended, heartbeat).start();
        poll_config_on_hangup(&supervisor)?;
        end_on_signals(&supervisor)
    })?;
    let end = system
        .block_on(end)
        .unwrap_or_else(|_| End::Failed("the actors ended without a word".into()));
    journal.close();
    // The server still runs, so that the page can report how the run ended.
    if let Some(page) = page {
        system.block_on(async move { page.notify_end().await });
    }
    System::current().stop();
    system.run()?;
    Ok(end)
}

/// The actors' handlers share one thread. When that stands still for so long nothing in this
/// process can mend it: the process ends, and what was finished is on disk. Counts its own ticks,
/// so that a process that was itself stopped is not mistaken for a frozen one.
fn start_watchdog(heartbeat: Arc<AtomicU64>, freeze_seconds: f64) -> std::io::Result<()> {
    std::thread::Builder::new().name("watch".into()).spawn(move || {
        let mut last = heartbeat.load(Ordering::Relaxed);
        let mut silent = 0.0;
        while silent < freeze_seconds {
            std::thread::sleep(TICK);
            let now = heartbeat.load(Ordering::Relaxed);
            silent = if now == last { silent + TICK.as_secs_f64() } else { 0.0 };
            last = now;
        }
        // A full or closed standard error must not keep the process alive.
        let _ = writeln!(
            std::io::stderr(),
            "error: the actors' thread has stood still for {freeze_seconds} seconds (restart.parameter_shard.freeze_seconds); what was \
             finished is saved, the same command continues it"
        );
        std::process::exit(1);
    })?;
    Ok(())
}

/// SIGHUP has the config file read.
fn poll_config_on_hangup(supervisor: &Addr<Supervisor>) -> std::io::Result<()> {
    let mut signals = signal(SignalKind::hangup())?;
    let supervisor = supervisor.clone();
    actix::spawn(async move {
        while signals.recv().await.is_some() {
            supervisor.do_send(PollConfig { forced: true });
        }
    });
    Ok(())
}

fn end_on_signals(supervisor: &Addr<Supervisor>) -> std::io::Result<()> {
    for (kind, number) in [(SignalKind::interrupt(), 2), (SignalKind::terminate(), 15)] {
        let mut signals = signal(kind)?;
        let supervisor = supervisor.clone();
        actix::spawn(async move {
            signals.recv().await;
            supervisor.do_send(Shutdown::Signal(number));
            signals.recv().await;
            // What was finished is on disk; a second signal means that the user does not want to
            // wait.
            std::process::exit(128 + i32::from(number));
        });
    }
    Ok(())
}

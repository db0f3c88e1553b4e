//! The writer thread: takes all requests that wait, carries them out in one transaction, commits,
//! and only then replies (group commit). On a write error it keeps its batch, says so, and retries
//! until the cause is gone. Must not know why anything is written.

use super::health::Health;
use super::ledger::{Ledger, Numbered, Open, SlotReward};
use super::open::Opened;
use super::outcome::TrialResult;
use super::reevaluations;
use super::rolling_backup::RollingBackup;
use super::{
    CompletedNetwork, Copied, Enqueued, Evaluated, LogTail, NewReevaluation, Reply,
    SampledMinibatch, SampledTrial, Sequenced,
};
use crate::child::{Epoch, FailureRule, FailureWorth, Outcome};
use crate::strategy::{HeldParameters, LearningSettings, Snapshot};
use rusqlite::{Connection, params};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// How long requests that nobody waits for may wait for company.
const LAZY: Duration = Duration::from_millis(50);

/// Most requests of one transaction.
const BATCH: usize = 4096;

/// Pause after a failed write: doubled each time, up to the second one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How long `close` waits for a disk that refuses writes, and for a backup under way.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);

/// What the writer is asked for.
pub(super) enum Request {
    Insert {
        minibatches: Vec<SampledMinibatch>,
        round: bool,
        reply: Reply<Vec<u64>>,
    },
    Copy {
        copies: Vec<Copied>,
        reply: Reply<()>,
    },
    Enqueue {
        trials: Vec<Enqueued>,
        reply: Reply<u64>,
    },
    BestNetworks {
        limit: usize,
        reply: Reply<Vec<Evaluated>>,
    },
    Evaluated {
        trials: Vec<u64>,
        reply: Reply<Vec<Evaluated>>,
    },
    Reevaluate {
        trials: Vec<NewReevaluation>,
        reply: Reply<u64>,
    },
    Started {
        trial: u64,
        device: String,
        reply: Option<Reply<()>>,
    },
    Epoch {
        trial: u64,
        epoch: Epoch,
    },
    Cost {
        trial: u64,
        cost: f64,
    },
    Finished {
        trial: u64,
        outcome: Outcome,
        seconds: f64,
        failures: FailureRule,
        reply: Reply<Vec<Sequenced>>,
    },
    Reused {
        trial: u64,
        from: u64,
        reply: Reply<Vec<Sequenced>>,
    },
    FailedAttempt {
        trial: u64,
        error: String,
    },
    Change {
        learning: LearningSettings,
        reply: Reply<u64>,
    },
    Snapshot {
        snapshot: Box<Snapshot>,
        held: Vec<HeldParameters>,
        reply: Reply<()>,
    },
    Log {
        reply: Reply<LogTail>,
    },
    Networks {
        reply: Reply<Vec<CompletedNetwork>>,
    },
    Config {
        config: String,
    },
    Event {
        kind: String,
        text: String,
    },
    /// An entry of `meta`.
    Record {
        key: &'static str,
        value: String,
        reply: Reply<()>,
    },
    Close {
        done: mpsc::Sender<()>,
    },
}

impl Request {
    fn is_lazy(&self) -> bool {
        matches!(
            self,
            Self::Started { reply: None, .. }
                | Self::Epoch { .. }
                | Self::Cost { .. }
                | Self::Config { .. }
                | Self::Event { .. }
        )
    }
}

/// What a request's reply carries, once committed.
enum Answer {
    Ids(Vec<u64>),
    Sequenced(Vec<Sequenced>),
    Number(u64),
    Log(Box<LogTail>),
    Networks(Vec<CompletedNetwork>),
    Evaluated(Vec<Evaluated>),
    Done,
}

/// The time as the tables hold it.
pub(super) fn now() -> String {
    jiff::Timestamp::now()
        .strftime("%Y-%m-%dT%H:%M:%S.%3fZ")
        .to_string()
}

/// Starts the thread; the rolling backup is taken anew each time `back_up_every` is over.
pub(super) fn start(
    opened: Opened,
    health: Arc<Health>,
    back_up_every: Duration,
) -> std::io::Result<mpsc::Sender<Request>> {
    let (requests, queue) = mpsc::channel();
    let backup = RollingBackup::new(opened.dir.clone(), back_up_every, opened.backup_is_due);
    std::thread::Builder::new()
        .name("journal".into())
        .spawn(move || {
            Writer {
                opened,
                health,
                ledger: None,
                waiting: Vec::new(),
                backup,
            }
            .run(&queue);
        })?;
    Ok(requests)
}

struct Writer {
    opened: Opened,
    health: Arc<Health>,
    /// None: to be read from the database first.
    ledger: Option<Ledger>,
    /// What came while the disk refused.
    waiting: Vec<Request>,
    backup: RollingBackup,
}

impl Writer {
    fn run(mut self, queue: &Receiver<Request>) {
        loop {
            let waiting = std::mem::take(&mut self.waiting);
            let Some(batch) = (if waiting.is_empty() {
                next_batch(queue)
            } else {
                Some(waiting)
            }) else {
                break;
            };
            let Some(answers) = self.persist(&batch, queue) else {
                break;
            };
            let mut closing = Vec::new();
            for (request, answer) in batch.into_iter().zip(answers) {
                match (request, answer) {
                    (Request::Insert { reply, .. }, Answer::Ids(ids)) => reply(ids),
                    (
                        Request::Finished { reply, .. } | Request::Reused { reply, .. },
                        Answer::Sequenced(sequenced),
                    ) => reply(sequenced),
                    (
                        Request::Change { reply, .. }
                        | Request::Enqueue { reply, .. }
                        | Request::Reevaluate { reply, .. },
                        Answer::Number(number),
                    ) => reply(number),
                    (
                        Request::Snapshot { reply, .. }
                        | Request::Record { reply, .. }
                        | Request::Copy { reply, .. }
                        | Request::Started {
                            reply: Some(reply), ..
                        },
                        _,
                    ) => reply(()),
                    (Request::Log { reply }, Answer::Log(tail)) => reply(*tail),
                    (Request::Networks { reply }, Answer::Networks(networks)) => reply(networks),
                    (
                        Request::BestNetworks { reply, .. } | Request::Evaluated { reply, .. },
                        Answer::Evaluated(trials),
                    ) => reply(trials),
                    (Request::Config { config }, _) => self.opened.replace_config(&config),
                    (Request::Close { done }, _) => closing.push(done),
                    _ => {}
                }
            }
            if !closing.is_empty() {
                self.backup.finish(CLOSE_PATIENCE);
                // Whoever copies search.db alone has the whole run, even if a reader still has it
                // open.
                let _ =
                    self.opened
                        .connection
                        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
                drop(self.opened.connection);
                drop(self.opened.lock);
                closing.into_iter().for_each(|done| {
                    let _ = done.send(());
                });
                return;
            }
            self.backup.take_when_due();
        }
    }

    /// Writes the batch, however long the disk refuses; None: given up, because the process wants
    /// to leave.
    fn persist(&mut self, batch: &[Request], queue: &Receiver<Request>) -> Option<Vec<Answer>> {
        let started = Instant::now();
        let mut pause = FIRST_PAUSE;
        let mut reported = None::<Instant>;
        loop {
            let begun = self.health.begin();
            let error = match self.write(batch) {
                Ok(answers) => {
                    self.health.committed(begun);
                    if reported.is_some() {
                        tracing::warn!(
                            "{}: writing works again; nothing was lost",
                            self.opened.dir.display()
                        );
                    }
                    return Some(answers);
                }
                Err(error) => error,
            };
            self.health.refused(format!(
                "{}: {error}",
                self.opened.dir.join("search.db").display()
            ));
            self.ledger = None;
            if reported.is_none_or(|at| at.elapsed() > Duration::from_mins(1)) {
                let path = self.opened.dir.join("search.db");
                tracing::error!(
                    "{}: {error}; the run waits and tries again, nothing is lost",
                    path.display()
                );
                reported = Some(Instant::now());
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
            self.waiting.extend(queue.try_iter());
            let leaving = batch
                .iter()
                .chain(&self.waiting)
                .any(|request| matches!(request, Request::Close { .. }));
            if leaving && started.elapsed() > CLOSE_PATIENCE {
                return None;
            }
        }
    }

    fn write(&mut self, batch: &[Request]) -> rusqlite::Result<Vec<Answer>> {
        let connection = &self.opened.connection;
        let ledger = match &mut self.ledger {
            Some(ledger) => ledger,
            empty => empty.insert(Ledger::load(connection)?),
        };
        connection.execute_batch("BEGIN IMMEDIATE")?;
        let now = now();
        let answers: rusqlite::Result<Vec<Answer>> = batch
            .iter()
            .map(|request| carry_out(connection, ledger, request, &now))
            .collect();
        let committed =
            answers.and_then(|answers| connection.execute_batch("COMMIT").map(|()| answers));
        if committed.is_err() {
            // Fails where SQLite has rolled back by itself.
            let _ = connection.execute_batch("ROLLBACK");
        }
        committed
    }
}

/// All requests that wait, at least one; lazy ones wait a little for others. None: all handles are
/// gone.
fn next_batch(queue: &Receiver<Request>) -> Option<Vec<Request>> {
    let mut batch = vec![queue.recv().ok()?];
    let deadline = Instant::now() + LAZY;
    loop {
        batch.extend(queue.try_iter().take(BATCH - batch.len()));
        if batch.len() >= BATCH || !batch.iter().all(Request::is_lazy) {
            return Some(batch);
        }
        match queue.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(request) => batch.push(request),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return Some(batch),
        }
    }
}

fn execute(
    connection: &Connection,
    sql: &str,
    values: impl rusqlite::Params,
) -> rusqlite::Result<usize> {
    connection.prepare_cached(sql)?.execute(values)
}

/// Carries out one request inside the transaction of its batch.
fn carry_out(
    connection: &Connection,
    ledger: &mut Ledger,
    request: &Request,
    now: &str,
) -> rusqlite::Result<Answer> {
    match request {
        Request::Insert {
            minibatches, round, ..
        } => return insert(connection, ledger, minibatches, *round, now).map(Answer::Ids),
        Request::Enqueue { trials, .. } => {
            return enqueue(connection, ledger, trials, now).map(Answer::Number);
        }
        Request::Copy { copies, .. } => super::copies::store(connection, copies)?,
        Request::Reevaluate { trials, .. } => {
            let next = &mut ledger.next_trial;
            return reevaluations::insert(connection, next, trials, now).map(Answer::Number);
        }
        Request::BestNetworks { limit, .. } => {
            return reevaluations::best_networks(connection, *limit).map(Answer::Evaluated);
        }
        Request::Evaluated { trials, .. } => {
            return reevaluations::trials(connection, trials).map(Answer::Evaluated);
        }
        Request::Started { trial, device, .. } => start_trial(connection, *trial, device, now)?,
        Request::Epoch { trial, epoch } => insert_epoch(connection, *trial, epoch)?,
        Request::Cost { trial, cost } => {
            let sql = "UPDATE trials SET cost = ?2 WHERE id = ?1 AND status = 'running'";
            execute(connection, sql, params![trial, finite(Some(*cost))])?;
        }
        Request::Finished {
            trial,
            outcome,
            seconds,
            failures,
            ..
        } => {
            let ended = Ended {
                trial: *trial,
                outcome,
                seconds: *seconds,
                failures: *failures,
            };
            return finish(connection, ledger, &ended, now).map(Answer::Sequenced);
        }
        Request::Reused { trial, from, .. } => {
            return reuse(connection, ledger, *trial, *from, now).map(Answer::Sequenced);
        }
        Request::FailedAttempt { trial, error } => {
            let sql = "UPDATE trials SET status = 'queued', attempt = attempt + 1, error = ?2 WHERE id = ?1";
            execute(connection, sql, params![trial, error])?;
        }
        Request::Change { learning, .. } => {
            let sequence = ledger.change(*learning);
            let sql = "INSERT INTO changes VALUES (?1, ?2)";
            execute(connection, sql, params![sequence, json(learning)?])?;
            return Ok(Answer::Number(sequence));
        }
        Request::Snapshot { snapshot, held, .. } => {
            super::snapshots::store(connection, snapshot, held)?;
        }
        Request::Log { .. } => {
            return super::recovery::log_tail(connection).map(|tail| Answer::Log(Box::new(tail)));
        }
        Request::Networks { .. } => {
            return super::recovery::networks(connection).map(Answer::Networks);
        }
        Request::Event { kind, text } => {
            let sql = "INSERT INTO events (at, kind, text) VALUES (?1, ?2, ?3)";
            execute(connection, sql, params![now, kind, text])?;
        }
        Request::Record { key, value, .. } => {
            let sql = "INSERT OR REPLACE INTO meta VALUES (?1, ?2)";
            execute(connection, sql, params![key, value])?;
        }
        Request::Config { .. } => {}
        Request::Close { .. } => {
            let sql = "INSERT OR REPLACE INTO meta VALUES ('closed', 'yes')";
            execute(connection, sql, [])?;
        }
    }
    Ok(Answer::Done)
}

/// Inserts trials that no controller sampled; returns the id of the first.
fn enqueue(
    connection: &Connection,
    ledger: &mut Ledger,
    trials: &[Enqueued],
    now: &str,
) -> rusqlite::Result<u64> {
    let first = ledger.next_trial;
    for enqueued in trials {
        let origin = Origin::Enqueued(&enqueued.name);
        insert_trial(connection, ledger.next_trial, &origin, &enqueued.trial, now)?;
        ledger.next_trial += 1;
    }
    Ok(first)
}

/// The trial runs from now on, and has no epochs.
fn start_trial(
    connection: &Connection,
    trial: u64,
    device: &str,
    now: &str,
) -> rusqlite::Result<()> {
    execute(connection, "DELETE FROM epochs WHERE trial = ?1", [trial])?;
    let sql = "UPDATE trials SET status = 'running', started_at = ?2, device = ?3, error = NULL, cost = NULL WHERE id = ?1
               AND status NOT IN ('completed', 'pruned', 'failed')";
    execute(connection, sql, params![trial, now, device]).map(drop)
}

fn insert_epoch(connection: &Connection, trial: u64, epoch: &Epoch) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO epochs VALUES (?1, ?2, ?3, ?4, ?5)";
    let values = params![
        trial,
        epoch.epoch,
        finite(epoch.train_loss),
        finite(Some(epoch.metric)),
        epoch.seconds
    ];
    execute(connection, sql, values).map(drop)
}

/// SQLite would store NaN as NULL without a word: what is not finite is left out knowingly.
pub(super) fn finite(value: Option<f64>) -> Option<f64> {
    value.filter(|value| value.is_finite())
}

/// As JSON columns hold it.
pub(super) fn json(value: &impl serde::Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(value)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}

/// Where a trial comes from.
enum Origin<'a> {
    /// A slot of a controller's minibatch.
    Sampled(&'a SampledMinibatch, usize),
    /// The config file, by this name.
    Enqueued(&'a str),
}

fn insert_trial(
    connection: &Connection,
    id: u64,
    origin: &Origin,
    trial: &SampledTrial,
    now: &str,
) -> rusqlite::Result<()> {
    let sql = "INSERT INTO trials (id, controller, minibatch, slot, decisions, architecture, status, parameters, flops, seed, sampled_at,
                                   enqueued)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'queued', ?7, ?8, ?9, ?10, ?11)";
    let (controller, minibatch, slot, name) = match origin {
        Origin::Sampled(batch, slot) => (
            Some(batch.controller),
            Some(batch.minibatch),
            Some(*slot),
            None,
        ),
        Origin::Enqueued(name) => (None, None, None, Some(*name)),
    };
    let decisions = json(&trial.decisions)?;
    let architecture = json(&trial.architecture)?;
    let SampledTrial {
        parameters,
        flops,
        seed,
        ..
    } = trial;
    let values = params![
        id,
        controller,
        minibatch,
        slot,
        decisions,
        architecture,
        parameters,
        flops,
        seed,
        now,
        name
    ];
    execute(connection, sql, values).map(drop)
}

fn insert(
    connection: &Connection,
    ledger: &mut Ledger,
    minibatches: &[SampledMinibatch],
    round: bool,
    now: &str,
) -> rusqlite::Result<Vec<u64>> {
    let round = round.then_some(ledger.next_number);
    let mut first_ids = Vec::with_capacity(minibatches.len());
    for batch in minibatches {
        let number = ledger.next_number;
        let first_id = ledger.next_trial;
        let m = batch.trials.len();
        let boundaries = json(&batch.pulled.boundaries)?;
        let versions = json(&batch.pulled.versions)?;
        let sql = "INSERT INTO minibatches (number, controller, minibatch, first_id, m, layers, boundaries, versions, oldest, round,
                                            history_sequence, history_trial, repeated, pruning, redrawn)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)";
        let pruning = batch.pruning.as_ref().map(json).transpose()?;
        let oldest = batch.pulled.versions.iter().min().copied().unwrap_or(0);
        let values = params![
            number,
            batch.controller,
            batch.minibatch,
            first_id,
            m,
            batch.layers,
            boundaries,
            versions,
            oldest,
            round,
            batch.history.sequence,
            batch.history.trial,
            batch.repeated,
            pruning,
            batch.redrawn
        ];
        execute(connection, sql, values)?;
        for (slot, trial) in batch.trials.iter().enumerate() {
            insert_trial(
                connection,
                first_id + slot as u64,
                &Origin::Sampled(batch, slot),
                trial,
                now,
            )?;
        }
        hold_pulled(connection, batch)?;
        let open = Open {
            controller: batch.controller,
            minibatch: batch.minibatch,
            first_id,
            rewards: vec![None; m],
            round,
            has_pruning: pruning.is_some(),
        };
        ledger.insert(number, open);
        first_ids.push(first_id);
    }
    Ok(first_ids)
}

/// The parameters that a minibatch comes with, because a snapshot is taken meanwhile.
fn hold_pulled(connection: &Connection, batch: &SampledMinibatch) -> rusqlite::Result<()> {
    let Some(parameters) = &batch.held else {
        return Ok(());
    };
    let held = HeldParameters {
        controller: batch.controller,
        minibatch: batch.minibatch,
        parameters: parameters.clone(),
    };
    super::snapshots::hold(connection, &held)
}

/// A trial that has its outcome.
struct Ended<'a> {
    trial: u64,
    outcome: &'a Outcome,
    seconds: f64,
    failures: FailureRule,
}

fn finish(
    connection: &Connection,
    ledger: &mut Ledger,
    ended: &Ended,
    now: &str,
) -> rusqlite::Result<Vec<Sequenced>> {
    let trial = ended.trial;
    let result = TrialResult::of(ended.outcome);
    let worth = match result.error {
        None => result.reward.into(),
        Some((cause, _)) => match ended.failures.worth(cause) {
            FailureWorth::Reward(reward) => SlotReward::Known(reward),
            FailureWorth::Lowest if ledger.awaits(trial) => SlotReward::Lowest,
            FailureWorth::Lowest | FailureWorth::Nothing => SlotReward::Nothing,
        },
    };
    let reward = match worth {
        SlotReward::Known(reward) => Some(reward),
        SlotReward::Nothing | SlotReward::Lowest => None,
    };
    let TrialResult { status, error, .. } = result;
    let sql = "UPDATE trials SET status = ?2, reward = ?3, metric = ?4, error = ?5, seconds = ?6, finished_at = ?7
               WHERE id = ?1 AND status NOT IN ('completed', 'pruned', 'failed')";
    let values = params![
        trial,
        status,
        reward,
        result.metric,
        error.map(|(_, error)| error),
        finite(Some(result.seconds.unwrap_or(ended.seconds))),
        (status != "stopped").then_some(now)
    ];
    let changed = execute(connection, sql, values)?;
    if changed == 0 || status == "stopped" {
        return Ok(Vec::new());
    }
    if let Some((cause, _)) = error {
        super::recovery::count_failure(connection, cause)?;
    }
    if worth == SlotReward::Lowest {
        let sql = "INSERT OR IGNORE INTO unrewarded VALUES (?1)";
        execute(connection, sql, [trial])?;
    }
    sequence(connection, ledger, trial, worth)
}

/// Gives the trial reward and metric of another.
fn reuse(
    connection: &Connection,
    ledger: &mut Ledger,
    trial: u64,
    from: u64,
    now: &str,
) -> rusqlite::Result<Vec<Sequenced>> {
    let sql = "UPDATE trials SET status = 'completed', reward = known.reward, metric = known.metric, cost = known.cost, reused_from = known.id, seconds = 0,
               error = NULL, finished_at = ?3 FROM (SELECT id, reward, metric, cost FROM trials WHERE id = ?2) AS known
               WHERE trials.id = ?1 AND status NOT IN ('completed', 'pruned', 'failed')";
    if execute(connection, sql, params![trial, from, now])? == 0 {
        return Ok(Vec::new());
    }
    let reward: Option<f64> =
        connection.query_row("SELECT reward FROM trials WHERE id = ?1", [trial], |row| {
            row.get(0)
        })?;
    sequence(connection, ledger, trial, reward.into())
}

/// Gives a sequence number to each minibatch that this outcome completes, and a reward to the failed
/// trials among them that are worth the lowest one.
fn sequence(
    connection: &Connection,
    ledger: &mut Ledger,
    trial: u64,
    reward: SlotReward,
) -> rusqlite::Result<Vec<Sequenced>> {
    let mut sequenced = Vec::new();
    for numbered in ledger.finish(trial, reward) {
        let Numbered {
            number,
            sequenced: mut minibatch,
            lowest,
            rewarded,
            pruned,
        } = numbered;
        for (trial, reward) in rewarded {
            let sql = "UPDATE trials SET reward = ?2 WHERE id = ?1";
            execute(connection, sql, params![trial, reward])?;
            execute(
                connection,
                "DELETE FROM unrewarded WHERE trial = ?1",
                [trial],
            )?;
        }
        let sql = "UPDATE minibatches SET sequence = ?2, baseline = ?3, scale = ?4, lowest = ?5 WHERE number = ?1";
        let values = params![
            number,
            minibatch.sequence,
            minibatch.baseline,
            minibatch.scale,
            lowest
        ];
        execute(connection, sql, values)?;
        if let Some((first, last)) = pruned {
            let trials = super::curves::trained(connection, first, last)?;
            minibatch.curves = trials.into_iter().map(|trial| trial.curve).collect();
        }
        sequenced.push(minibatch);
    }
    Ok(sequenced)
}

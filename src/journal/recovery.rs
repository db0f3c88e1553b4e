//! What a resumed run needs from the database: the snapshot to start from, the log after it, and
//! the minibatches that wait. Must not know what the parameters mean.

use super::backup::damaged;
use super::{
    CompletedNetwork, JournalError, LogTail, OpenMinibatch, OpenTrial, Recovered, deaths,
    reevaluations, snapshots,
};
use crate::child::Cause;
use crate::space::Fingerprint;
use crate::strategy::{
    HistoryPosition, LearningSettings, LogEntry, MinibatchEntry, ProposedMinibatch,
    PulledParameters, Snapshot,
};
use rusqlite::{Connection, OptionalExtension, Row};
use serde::de::DeserializeOwned;
use std::collections::HashSet;
use std::path::Path;

/// Marks what was running as queued again, and reads everything that the run goes on with. Nothing
/// here looks at every trial, but for the index of those that are finished.
pub(super) fn recover(connection: &Connection, dir: &Path) -> Result<Recovered, JournalError> {
    let read = || -> rusqlite::Result<Recovered> {
        deaths::take_over(connection, dir)?;
        let LogTail {
            snapshot,
            held,
            log,
        } = log_tail(connection)?;
        let number = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, u64>(0));
        let sequence = "SELECT max(coalesce((SELECT max(sequence) FROM minibatches), 0), coalesce((SELECT max(sequence) FROM changes), 0))";
        let finished = finished(connection)?;
        Ok(Recovered {
            snapshot,
            held,
            log,
            open: open_minibatches(connection)?,
            enqueued: enqueued(connection)?,
            reevaluations: reevaluations::unfinished(connection)?,
            confirmations: reevaluations::count(connection)?,
            // Ids have no gaps.
            sampled: number("SELECT (SELECT coalesce(max(id), 0) FROM trials) - (SELECT count(*) FROM trials WHERE controller IS NULL)")?,
            last_trial: number("SELECT coalesce(max(id), 0) FROM trials")?,
            next_minibatch: pairs(connection, "SELECT controller, max(minibatch) + 1 FROM minibatches GROUP BY controller")?,
            sequence: number(sequence)?,
            learning: changes(connection, 0)?.pop().map(|(_, learning)| learning),
            completed: finished.rewards.len() as u64,
            pruned: finished.pruned,
            failed: finished.failed,
            children_completed: finished.children_completed,
            children_pruned: finished.children_pruned,
            curves: super::curves::latest(connection)?,
            rewards: finished.rewards,
            causes: causes(connection)?,
            seconds: finished.seconds,
            sequenced: number("SELECT count(*) FROM minibatches WHERE sequence IS NOT NULL")?,
            snapshot_at: connection
                .query_row("SELECT CAST(value AS REAL) FROM meta WHERE key = 'snapshot_at'", [], |row| row.get(0))
                .optional()?,
            best_metric: connection
                // By the index of rewards; few rows have to be asked.
                .query_row(
                    "SELECT metric FROM trials WHERE reward > -9e999 AND +status = 'completed' AND +controller IS NOT NULL
                     ORDER BY reward DESC, id LIMIT 1",
                    [],
                    |row| row.get(0),
                )
                .optional()?,
            reused: finished.reused,
            repeated: number("SELECT coalesce(sum(repeated), 0) FROM minibatches")?,
            redrawn: number("SELECT coalesce(sum(redrawn), 0) FROM minibatches")?,
            // Known to whoever opened the run.
            recorded: Vec::new(),
            kept_config: None,
        })
    };
    read().map_err(damaged(dir))
}

/// Sums and lists over the trials that have their outcome.
#[derive(Default)]
struct Finished {
    pruned: u64,
    failed: u64,
    children_completed: u64,
    children_pruned: u64,
    reused: u64,
    rewards: Vec<f64>,
    seconds: Vec<f64>,
}

/// From the index of finished trials alone: rows may be wide, and there may be a million.
fn finished(connection: &Connection) -> rusqlite::Result<Finished> {
    let sql = "SELECT status = 'completed', status = 'failed', status = 'pruned', controller IS NOT NULL, reused_from IS NULL, reward, seconds FROM trials
               INDEXED BY trials_finished WHERE finished_at IS NOT NULL";
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    let mut finished = Finished::default();
    while let Some(row) = rows.next()? {
        let [completed, failed, pruned]: [bool; 3] = [row.get(0)?, row.get(1)?, row.get(2)?];
        let [sampled, own]: [bool; 2] = [row.get(3)?, row.get(4)?];
        finished.children_completed += u64::from(completed);
        finished.children_pruned += u64::from(pruned);
        finished.pruned += u64::from(pruned && sampled);
        finished.failed += u64::from(failed && sampled);
        finished.reused += u64::from(!own);
        if completed && sampled {
            finished.rewards.push(row.get(5)?);
        }
        if own && (completed || failed || pruned) {
            finished.seconds.extend(row.get::<_, Option<f64>>(6)?);
        }
    }
    Ok(finished)
}

/// Where a replay starts, and what it replays.
pub(super) fn log_tail(connection: &Connection) -> rusqlite::Result<LogTail> {
    let mut snapshot = snapshots::newest_usable(connection)?;
    let after = |snapshot: &Option<Snapshot>| {
        snapshot
            .as_ref()
            .map_or(0, |snapshot| snapshot.state.sequence)
    };
    let mut held = Vec::new();
    if snapshot.is_some() {
        held = snapshots::held_after(connection, after(&snapshot))?;
        if held.iter().any(Option::is_none) {
            tracing::warn!(
                "parameters that a snapshot needs are damaged; the log is replayed whole"
            );
            (snapshot, held) = (None, Vec::new());
        }
    }
    let mut log = Vec::new();
    for_each_entry(connection, after(&snapshot), |entry| log.push(entry))?;
    Ok(LogTail {
        snapshot,
        held: held.into_iter().flatten().collect(),
        log,
    })
}

/// The first completed trial of each network.
pub(super) fn networks(connection: &Connection) -> rusqlite::Result<Vec<CompletedNetwork>> {
    let sql = "SELECT id, architecture, reward, metric FROM trials WHERE status = 'completed' AND reused_from IS NULL
               AND confirms IS NULL AND retry_of IS NULL ORDER BY id";
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    let mut seen = HashSet::new();
    let mut networks = Vec::new();
    while let Some(row) = rows.next()? {
        let network = Fingerprint::of_json(row.get_ref(1)?.as_bytes()?);
        if seen.insert(network) {
            networks.push(CompletedNetwork {
                trial: row.get(0)?,
                network,
                reward: row.get(2)?,
                metric: row.get(3)?,
            });
        }
    }
    Ok(networks)
}

/// Why trials failed is counted in `meta`, beside their errors in words.
const CAUSE: &str = "failed:";

/// One more trial failed for this cause.
pub(super) fn count_failure(connection: &Connection, cause: Cause) -> rusqlite::Result<()> {
    let sql = "INSERT INTO meta VALUES (?1, '1') ON CONFLICT (key) DO UPDATE SET value = value + 1";
    connection
        .prepare_cached(sql)?
        .execute([format!("{CAUSE}{cause:?}")])
        .map(drop)
}

/// Failed trials by cause; those of an older program, which did not count them, as `Cause::Error`.
fn causes(connection: &Connection) -> rusqlite::Result<Vec<(Cause, u64)>> {
    let failed: u64 = connection.query_row(
        "SELECT count(*) FROM trials WHERE status = 'failed'",
        [],
        |row| row.get(0),
    )?;
    let mut statement = connection
        .prepare("SELECT key, CAST(value AS INTEGER) FROM meta WHERE key GLOB ?1 || '*'")?;
    let rows = statement.query_map([CAUSE], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, u64>(1)?))
    })?;
    let mut causes = Vec::new();
    for row in rows {
        let (key, count) = row?;
        let name = key.strip_prefix(CAUSE).unwrap_or_default();
        // The name as serde writes it is the name as Debug writes it; an unknown one is from a
        // newer program.
        let cause = serde_json::from_value(name.into()).unwrap_or(Cause::Error);
        causes.push((cause, count));
    }
    let uncounted = failed.saturating_sub(causes.iter().map(|(_, count)| count).sum());
    causes.extend((uncounted > 0).then_some((Cause::Error, uncounted)));
    Ok(causes)
}

/// Rewards of the completed trials that were sampled, by id.
pub(super) fn rewards(connection: &Connection) -> rusqlite::Result<Vec<f64>> {
    let sql = "SELECT reward FROM trials WHERE status = 'completed' AND controller IS NOT NULL ORDER BY id";
    connection
        .prepare(sql)?
        .query_map([], |row| row.get(0))?
        .collect()
}

pub(super) fn pairs(connection: &Connection, sql: &str) -> rusqlite::Result<Vec<(u64, u64)>> {
    connection
        .prepare(sql)?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect()
}

/// The changes of learning settings after a sequence number, in order.
pub(super) fn changes(
    connection: &Connection,
    after: u64,
) -> rusqlite::Result<Vec<(u64, LearningSettings)>> {
    let mut statement = connection
        .prepare("SELECT sequence, learning FROM changes WHERE sequence > ?1 ORDER BY sequence")?;
    statement
        .query_map([after], |row| Ok((row.get(0)?, parse(row, 1)?)))?
        .collect()
}

/// A JSON column.
pub(super) fn parse<T: DeserializeOwned>(row: &Row, column: usize) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, error.into())
    })
}

/// Columns of a `ProposedMinibatch`, as `proposed` reads them.
const PROPOSED: &str = "controller, minibatch, first_id, layers, boundaries, versions,
    history_sequence, history_trial, round";

/// The minibatch whose columns begin at `first`, without its decisions.
fn proposed(row: &Row, first: usize) -> rusqlite::Result<ProposedMinibatch> {
    let sequence: Option<u64> = row.get(first + 6)?;
    let trial: Option<u64> = row.get(first + 7)?;
    Ok(ProposedMinibatch {
        controller: row.get(first)?,
        minibatch: row.get(first + 1)?,
        first_id: row.get(first + 2)?,
        layers: row.get(first + 3)?,
        pulled: PulledParameters {
            boundaries: parse(row, first + 4)?,
            versions: parse(row, first + 5)?,
        },
        history: sequence
            .zip(trial)
            .map(|(sequence, trial)| HistoryPosition { sequence, trial }),
        round: row.get(first + 8)?,
        decisions: Vec::new(),
    })
}

/// Calls `take` with every entry of the log after a sequence number, in order.
pub(super) fn for_each_entry(
    connection: &Connection,
    after: u64,
    mut take: impl FnMut(LogEntry),
) -> rusqlite::Result<()> {
    let mut changes = changes(connection, after)?.into_iter().peekable();
    let sql = format!(
        "SELECT sequence, baseline, decisions, reward, scale, {PROPOSED} FROM minibatches
         JOIN trials USING (controller, minibatch) WHERE sequence > ?1 ORDER BY sequence, slot"
    );
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query([after])?;
    let mut current: Option<MinibatchEntry> = None;
    while let Some(row) = rows.next()? {
        let sequence = row.get(0)?;
        if current
            .as_ref()
            .is_none_or(|entry| entry.sequence != sequence)
        {
            if let Some(entry) = current.take() {
                take(LogEntry::Minibatch(entry));
            }
            while let Some((sequence, learning)) = changes.next_if(|(number, _)| *number < sequence)
            {
                take(LogEntry::Change { sequence, learning });
            }
            current = Some(MinibatchEntry {
                sequence,
                proposed: proposed(row, 5)?,
                baseline: row.get(1)?,
                scale: row.get(4)?,
                rewards: Vec::new(),
            });
        }
        if let Some(entry) = &mut current {
            entry.proposed.decisions.push(parse(row, 2)?);
            entry.rewards.push(row.get(3)?);
        }
    }
    if let Some(entry) = current {
        take(LogEntry::Minibatch(entry));
    }
    for (sequence, learning) in changes {
        take(LogEntry::Change { sequence, learning });
    }
    Ok(())
}

/// Minibatches that wait for outcomes, by their first trial.
pub(super) fn open_proposals(connection: &Connection) -> rusqlite::Result<Vec<ProposedMinibatch>> {
    let sql = format!(
        "SELECT decisions, {PROPOSED} FROM minibatches JOIN trials USING (controller, minibatch)
         WHERE sequence IS NULL ORDER BY first_id, slot"
    );
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query([])?;
    let mut open: Vec<ProposedMinibatch> = Vec::new();
    while let Some(row) = rows.next()? {
        let next = proposed(row, 1)?;
        let decisions = parse(row, 0)?;
        match open.last_mut() {
            Some(last) if last.first_id == next.first_id => last.decisions.push(decisions),
            _ => open.push(ProposedMinibatch {
                decisions: vec![decisions],
                ..next
            }),
        }
    }
    Ok(open)
}

/// Columns of an `OpenTrial`, as `open_trial` reads them.
pub(super) const OPEN_TRIAL: &str =
    "id, seed, decisions, architecture, attempt, interruptions, status,
    coalesce((SELECT count FROM deaths WHERE deaths.trial = trials.id), 0),
    coalesce((SELECT unexplained FROM interrupted WHERE interrupted.trial = trials.id), 0)";

/// The trial whose columns begin at `first`.
pub(super) fn open_trial(row: &Row, first: usize) -> rusqlite::Result<OpenTrial> {
    Ok(OpenTrial {
        id: row.get(first)?,
        seed: row.get(first + 1)?,
        decisions: parse(row, first + 2)?,
        architecture: parse(row, first + 3)?,
        attempt: row.get(first + 4)?,
        interruptions: row.get(first + 5)?,
        finished: super::is_final(&row.get::<_, String>(first + 6)?),
        deaths: row.get(first + 7)?,
        unexplained: row.get(first + 8)?,
    })
}

/// Architectures that were enqueued, by id, with their names.
fn enqueued(connection: &Connection) -> rusqlite::Result<Vec<(String, OpenTrial)>> {
    // `+`: else all trials are searched in the order of their ids.
    let sql = format!(
        "SELECT enqueued, {OPEN_TRIAL} FROM trials WHERE enqueued IS NOT NULL ORDER BY +id"
    );
    connection
        .prepare(&sql)?
        .query_map([], |row| Ok((row.get(0)?, open_trial(row, 1)?)))?
        .collect()
}

fn open_minibatches(connection: &Connection) -> rusqlite::Result<Vec<OpenMinibatch>> {
    let sql = format!(
        "SELECT controller, minibatch, layers, boundaries, versions, pruning, {OPEN_TRIAL}
         FROM minibatches JOIN trials USING (controller, minibatch) WHERE sequence IS NULL ORDER BY number, slot"
    );
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query([])?;
    let mut open: Vec<OpenMinibatch> = Vec::new();
    while let Some(row) = rows.next()? {
        let controller = row.get(0)?;
        let minibatch = row.get(1)?;
        if open
            .last()
            .is_none_or(|last| (last.controller, last.minibatch) != (controller, minibatch))
        {
            let pulled = PulledParameters {
                boundaries: parse(row, 3)?,
                versions: parse(row, 4)?,
            };
            let pruning: Option<String> = row.get(5)?;
            open.push(OpenMinibatch {
                controller,
                minibatch,
                layers: row.get(2)?,
                pulled,
                pruning: pruning.map(|_| parse(row, 5)).transpose()?,
                trials: Vec::new(),
            });
        }
        if let Some(last) = open.last_mut() {
            last.trials.push(open_trial(row, 6)?);
        }
    }
    Ok(open)
}

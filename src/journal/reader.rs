//! Reading a run from outside, also while it is live: read-only, never takes the lock. Must not
//! know how rows are shown.

use super::backup::{damaged, lost, open_unwritten};
use super::directory::{Contents, contents};
use super::reevaluations::{Confirmations, Confirmed};
use super::{JournalError, curves, recovery, schema, snapshots};
use crate::child::LoggedMinibatch;
use crate::space::{Architecture, Decision};
use crate::strategy::{HeldParameters, LogEntry, ProposedMinibatch, Snapshot};
use rusqlite::{Connection, ErrorCode, OpenFlags, Params, Row, StatementStatus};
use serde::Serialize;
use std::cell::Cell;
use std::path::{Path, PathBuf};

/// A run, opened for reading.
pub struct Reader {
    dir: PathBuf,
    connection: Connection,
    steps: Cell<u64>,
}

/// One row of `trials`, with the table's own names.
#[derive(Clone, Debug, Serialize)]
pub struct TrialRow {
    pub id: u64,
    /// None of a trial that was not sampled; so for the next two.
    pub controller: Option<u64>,
    pub minibatch: Option<u64>,
    pub slot: Option<u64>,
    pub decisions: Vec<Decision>,
    pub architecture: Architecture,
    pub status: String,
    pub reward: Option<f64>,
    pub metric: Option<f64>,
    pub parameters: Option<u64>,
    pub flops: Option<u64>,
    pub seed: u64,
    pub device: Option<String>,
    pub attempt: u64,
    pub interruptions: u64,
    pub sampled_at: String,
    pub started_at: Option<String>,
    pub finished_at: Option<String>,
    pub seconds: Option<f64>,
    pub error: Option<String>,
    pub reused_from: Option<u64>,
    /// The name of an architecture that was enqueued rather than sampled.
    pub enqueued: Option<String>,
    /// The trial whose network this one evaluates again, to confirm it.
    pub confirms: Option<u64>,
    /// The trial whose network this one evaluates again because the user asked for it.
    pub retry_of: Option<u64>,
    /// What its network costs, in the unit of `child.cost`: a part of its reward.
    pub cost: Option<f64>,
}

pub(super) const COLUMNS: &str = "id, controller, minibatch, slot, decisions, architecture, status, reward, metric, parameters, flops, seed, device, \
                       attempt, interruptions, sampled_at, started_at, finished_at, seconds, error, reused_from, enqueued, \
                       confirms, retry_of, cost";

impl TrialRow {
    /// The table's columns, in its order.
    pub fn columns() -> impl Iterator<Item = &'static str> {
        COLUMNS.split(", ")
    }

    fn from_row(row: &Row) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            controller: row.get(1)?,
            minibatch: row.get(2)?,
            slot: row.get(3)?,
            decisions: recovery::parse(row, 4)?,
            architecture: recovery::parse(row, 5)?,
            status: row.get(6)?,
            reward: row.get(7)?,
            metric: row.get(8)?,
            parameters: row.get(9)?,
            flops: row.get(10)?,
            seed: row.get(11)?,
            device: row.get(12)?,
            attempt: row.get(13)?,
            interruptions: row.get(14)?,
            sampled_at: row.get(15)?,
            started_at: row.get(16)?,
            finished_at: row.get(17)?,
            seconds: row.get(18)?,
            error: row.get(19)?,
            reused_from: row.get(20)?,
            enqueued: row.get(21)?,
            confirms: row.get(22)?,
            retry_of: row.get(23)?,
            cost: row.get(24)?,
        })
    }
}

/// What a completed trial costs and is worth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CostRow {
    pub trial: u64,
    pub cost: f64,
    pub metric: f64,
    pub reward: f64,
}

/// One row of `epochs`.
#[derive(Clone, Debug, Serialize)]
pub struct EpochRow {
    pub epoch: u64,
    pub train_loss: Option<f64>,
    pub metric: Option<f64>,
    pub seconds: Option<f64>,
}

const EPOCHS: &str = "SELECT epoch, train_loss, metric, seconds FROM epochs WHERE trial = ?1";

impl EpochRow {
    fn from_row(row: &Row) -> rusqlite::Result<Self> {
        Ok(Self {
            epoch: row.get(0)?,
            train_loss: row.get(1)?,
            metric: row.get(2)?,
            seconds: row.get(3)?,
        })
    }
}

/// Opens a run's database for reading.
fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    match Connection::open_with_flags(path, flags).and_then(prepared) {
        // Where nothing can be written SQLite has no place for what readers share. Nobody writes
        // there, and with the log empty the file is the whole run.
        Err(error)
            if error.sqlite_error_code() == Some(ErrorCode::CannotOpen)
                && std::fs::metadata(path.with_file_name("search.db-wal"))
                    .map_or(true, |log| log.len() == 0) =>
        {
            open_unwritten(path).and_then(prepared).map_err(|_| error)
        }
        other => other,
    }
}

/// A connection to a database that has the tables of a run, of whichever version.
fn prepared(connection: Connection) -> rusqlite::Result<Connection> {
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    connection.set_prepared_statement_cache_capacity(32);
    connection.query_row("SELECT count(*) FROM trials WHERE id = 1", [], |_| Ok(()))?;
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    match version {
        ..2 => connection.execute_batch(schema::TRIALS_OF_1)?,
        2..5 => connection.execute_batch(schema::TRIALS_OF_2)?,
        _ => {}
    }
    match version {
        ..3 => connection.execute_batch(schema::VIEWS_OF_2)?,
        3 => connection.execute_batch(schema::VIEWS_OF_3)?,
        4 => connection.execute_batch(schema::VIEWS_OF_4)?,
        _ => {}
    }
    if version < 4 {
        connection.execute_batch(schema::MISSING_BEFORE_4)?;
    }
    Ok(connection)
}

impl Reader {
    /// Opens a run directory.
    ///
    /// # Errors
    /// When there is no run, or its database is gone or cannot be read.
    pub fn open(dir: &Path) -> Result<Self, JournalError> {
        match contents(dir)? {
            Contents::Run => {}
            // Opened all the same, SQLite would delete the log that it lacks the database of.
            Contents::Remains => return Err(lost(dir)),
            Contents::Nothing | Contents::Others(_) => {
                return Err(JournalError::NoRun {
                    path: dir.to_owned(),
                });
            }
        }
        Ok(Self {
            dir: dir.to_owned(),
            connection: connect(&dir.join("search.db")).map_err(damaged(dir))?,
            steps: Cell::new(0),
        })
    }

    /// Steps that SQLite took so far to answer this reader, with the set-up of each query: what a
    /// query costs, whatever the machine. What reads a whole run (log, rewards, snapshots, records)
    /// is not in it.
    pub fn steps(&self) -> u64 {
        self.steps.get()
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn read<T>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, JournalError> {
        read(&self.connection).map_err(damaged(&self.dir))
    }

    /// Calls `take` with each row of a query.
    pub(super) fn each(
        &self,
        sql: &str,
        values: impl Params,
        mut take: impl FnMut(&Row) -> rusqlite::Result<()>,
    ) -> Result<(), JournalError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(sql)?;
            let mut rows = statement.query(values)?;
            let taken = loop {
                match rows.next() {
                    Ok(Some(row)) => take(row)?,
                    Ok(None) => break Ok(()),
                    Err(error) => break Err(error),
                }
            };
            drop(rows);
            let steps = statement.reset_status(StatementStatus::VmStep);
            self.steps
                .set(self.steps.get() + u64::try_from(steps).unwrap_or(0));
            taken
        })
    }

    /// Every row of a query.
    pub(super) fn all<T>(
        &self,
        sql: &str,
        values: impl Params,
        mut map: impl FnMut(&Row) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, JournalError> {
        let mut all = Vec::new();
        self.each(sql, values, |row| {
            all.push(map(row)?);
            Ok(())
        })?;
        Ok(all)
    }

    /// The last row of a query, which has one or none.
    pub(super) fn one<T>(
        &self,
        sql: &str,
        values: impl Params,
        map: impl FnMut(&Row) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, JournalError> {
        Ok(self.all(sql, values, map)?.pop())
    }

    pub(super) fn rows(
        &self,
        rest: &str,
        values: impl Params,
    ) -> Result<Vec<TrialRow>, JournalError> {
        self.all(
            &format!("SELECT {COLUMNS} FROM trials {rest}"),
            values,
            TrialRow::from_row,
        )
    }

    /// Completed trials as they rank, enqueued ones among them: first those whose network was
    /// confirmed, by the mean reward of their confirmations, then the others, by reward. A network
    /// whose reward other samples took stands there once, and a confirmation does not.
    ///
    /// # Errors
    /// When the database cannot be read; so for all that follow.
    pub fn top(&self, limit: usize) -> Result<Vec<TrialRow>, JournalError> {
        self.ranked("(reused_from IS NULL OR +enqueued IS NOT NULL)", limit)?
            .into_iter()
            .filter_map(|id| self.trial(id).transpose())
            .collect()
    }

    /// What the completed trials that were trained themselves cost and are worth, by id, of those
    /// after a trial; confirmations are left out. Without a cost in their reward, their parameters.
    /// Reads every row.
    pub fn costs(&self, after: u64) -> Result<Vec<CostRow>, JournalError> {
        let sql = "SELECT id, coalesce(cost, parameters), metric, reward FROM trials
                   WHERE id > ?1 AND status = 'completed' AND reused_from IS NULL AND confirms IS NULL
                   AND coalesce(cost, parameters) IS NOT NULL ORDER BY id";
        let row = |row: &Row| {
            Ok(CostRow {
                trial: row.get(0)?,
                cost: row.get(1)?,
                metric: row.get(2)?,
                reward: row.get(3)?,
            })
        };
        self.all(sql, [after], row)
    }

    /// These trials, as far as they are there, in this order.
    pub fn trials(
        &self,
        ids: impl IntoIterator<Item = u64>,
    ) -> Result<Vec<TrialRow>, JournalError> {
        let mut rows = Vec::new();
        for id in ids {
            rows.extend(self.trial(id)?);
        }
        Ok(rows)
    }

    /// Reward and id of the completed trials that were trained themselves, the best reward first,
    /// the first of equals before later ones; without confirmations.
    pub fn best_trained(&self, limit: usize) -> Result<Vec<(f64, u64)>, JournalError> {
        // As in `ranked`.
        let sql = "SELECT reward, id FROM trials WHERE reward > -9e999 AND +status = 'completed' AND reused_from IS NULL
                   AND +confirms IS NULL ORDER BY reward DESC, id LIMIT ?1";
        self.all(sql, [limit], |row| Ok((row.get(0)?, row.get(1)?)))
    }

    /// The first of them by rank.
    pub fn ranked_trained(&self, limit: usize) -> Result<Vec<u64>, JournalError> {
        self.ranked("reused_from IS NULL", limit)
    }

    /// The completed trial that ranks first, of those that were not enqueued.
    pub fn best(&self) -> Result<Option<TrialRow>, JournalError> {
        match self.ranked("+enqueued IS NULL", 1)?.first() {
            Some(id) => self.trial(*id),
            None => Ok(None),
        }
    }

    /// The first completed trials by rank, of those that `filter` (SQL) lets pass; confirmations are
    /// none of them.
    fn ranked(&self, filter: &str, limit: usize) -> Result<Vec<u64>, JournalError> {
        let passes = format!("SELECT id FROM trials WHERE id = ?1 AND {filter}");
        let mut ids = Vec::new();
        for confirmed in self.confirmed()? {
            if confirmed.reward.is_some() {
                ids.extend(self.one(&passes, [confirmed.trial], |row| row.get::<_, u64>(0))?);
            }
        }
        // By the index of rewards; the rows alone say which are not to be counted, and few have to
        // be asked. A range of rewards, not IS NOT NULL, which may have SQLite sort them all.
        let best = format!(
            "SELECT id FROM trials WHERE reward > -9e999 AND +status = 'completed' AND {filter} AND +confirms IS NULL
             ORDER BY reward DESC, id LIMIT ?1"
        );
        // SQLite counts to 2^63.
        let wanted = i64::try_from(limit.saturating_add(ids.len())).unwrap_or(i64::MAX);
        let others: Vec<u64> = self.all(&best, [wanted], |row| row.get(0))?;
        let others: Vec<u64> = others.into_iter().filter(|id| !ids.contains(id)).collect();
        ids.extend(others);
        ids.truncate(limit);
        Ok(ids)
    }

    /// The trials whose network was evaluated again to confirm it, the best mean reward first, those
    /// without one last.
    pub fn confirmed(&self) -> Result<Vec<Confirmed>, JournalError> {
        self.read(super::reevaluations::confirmed)
    }

    /// How a trial's network was confirmed; None: it was not.
    pub fn confirmed_trial(&self, trial: u64) -> Result<Option<Confirmed>, JournalError> {
        let confirmed = self.confirmed()?.into_iter();
        Ok({ confirmed }.find(|network| network.trial == trial))
    }

    /// How many confirmations there are.
    pub fn confirmations(&self) -> Result<Confirmations, JournalError> {
        self.read(super::reevaluations::count)
    }

    /// Ids of the trials that no controller sampled.
    pub fn not_sampled(&self) -> Result<Vec<u64>, JournalError> {
        let sql = "SELECT id FROM trials WHERE controller IS NULL ORDER BY +id";
        self.all(sql, [], |row| row.get(0))
    }

    /// Trials that evaluate the network of an earlier one again, by id.
    pub fn reevaluations(&self) -> Result<Vec<TrialRow>, JournalError> {
        let mut rows = self.rows("WHERE confirms IS NOT NULL ORDER BY +id", [])?;
        rows.extend(self.rows(
            "WHERE retry_of IS NOT NULL AND confirms IS NULL ORDER BY +id",
            [],
        )?);
        rows.sort_by_key(|row| row.id);
        Ok(rows)
    }

    /// Failed trials whose network was not tried again since, by id.
    pub fn not_retried(&self) -> Result<Vec<u64>, JournalError> {
        let sql = "SELECT id FROM trials WHERE status = 'failed'
                   AND id NOT IN (SELECT retry_of FROM trials WHERE retry_of IS NOT NULL) ORDER BY id";
        self.all(sql, [], |row| row.get(0))
    }

    /// The completed trial with the lowest reward, of those sampled.
    pub fn worst(&self) -> Result<Option<TrialRow>, JournalError> {
        Ok(self
            .rows(
                "WHERE status = 'completed' AND controller IS NOT NULL ORDER BY reward, id LIMIT 1",
                [],
            )?
            .pop())
    }

    /// Architectures that were enqueued rather than sampled, by id.
    pub fn enqueued(&self) -> Result<Vec<TrialRow>, JournalError> {
        // `+`: else all trials are searched in the order of their ids.
        self.rows("WHERE enqueued IS NOT NULL ORDER BY +id", [])
    }

    /// One trial, or None if there is none of this id.
    pub fn trial(&self, id: u64) -> Result<Option<TrialRow>, JournalError> {
        let Ok(id) = i64::try_from(id) else {
            return Ok(None);
        };
        Ok(self.rows("WHERE id = ?1", [id])?.pop())
    }

    /// The first trial that a controller sampled.
    pub fn first_sampled(&self) -> Result<Option<TrialRow>, JournalError> {
        let first = "WHERE controller IS NOT NULL ORDER BY id LIMIT 1";
        Ok(self.rows(first, [])?.pop())
    }

    /// Trials under training, by id.
    pub fn running(&self) -> Result<Vec<TrialRow>, JournalError> {
        self.rows("WHERE status = 'running' ORDER BY id", [])
    }

    /// A trial's learning curve.
    pub fn epochs(&self, trial: u64) -> Result<Vec<EpochRow>, JournalError> {
        self.all(
            &format!("{EPOCHS} ORDER BY epoch"),
            [trial],
            EpochRow::from_row,
        )
    }

    /// Its newest point.
    pub fn last_epoch(&self, trial: u64) -> Result<Option<EpochRow>, JournalError> {
        self.one(
            &format!("{EPOCHS} ORDER BY epoch DESC LIMIT 1"),
            [trial],
            EpochRow::from_row,
        )
    }

    /// The newest events, the oldest of them first: time, kind, text.
    pub fn events(&self, limit: usize) -> Result<Vec<(String, String, String)>, JournalError> {
        let sql = "SELECT at, kind, text FROM (SELECT * FROM events ORDER BY id DESC LIMIT ?1) ORDER BY id";
        self.all(sql, [limit], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
    }

    /// How many events of this kind there are within the last `seconds`.
    pub fn recent_events(&self, kind: &str, seconds: f64) -> Result<usize, JournalError> {
        let sql = "SELECT count(*) FROM events WHERE kind = ?1 AND (julianday('now') - julianday(at)) * 86400 <= ?2";
        Ok(self
            .one(sql, (kind, seconds), |row| row.get(0))?
            .unwrap_or(0))
    }

    /// The baseline that the last sequenced minibatch was compared with.
    pub fn baseline(&self) -> Result<Option<f64>, JournalError> {
        let sql = "SELECT baseline FROM minibatches WHERE sequence IS NOT NULL ORDER BY sequence DESC LIMIT 1";
        Ok(self.one(sql, [], |row| row.get(0))?.flatten())
    }

    /// Finished trials per hour, over the time between the first and the last of the newest hundred
    /// that this process, or the last one, has finished; sought among the newest thousand ids, so
    /// that a long run costs no more than a short one.
    pub fn children_per_hour(&self) -> Result<Option<f64>, JournalError> {
        let sql = "SELECT (count(*) - 1) / ((julianday(max(finished_at)) - julianday(min(finished_at))) * 24) FROM
                   (SELECT finished_at FROM trials WHERE id > (SELECT max(id) FROM trials) - 1000 AND finished_at IS NOT NULL
                    AND finished_at >= coalesce((SELECT at FROM events WHERE kind = 'start' ORDER BY id DESC LIMIT 1), '')
                    ORDER BY finished_at DESC LIMIT 100)";
        Ok(self
            .one(sql, [], |row| row.get::<_, Option<f64>>(0))?
            .flatten()
            .filter(|rate| *rate > 0.0))
    }

    /// Rewards of the completed trials that were sampled, by id.
    pub fn rewards(&self) -> Result<Vec<f64>, JournalError> {
        self.read(recovery::rewards)
    }

    /// Calls `take` with every entry of the log, in the order of the sequence numbers.
    pub fn for_each_entry(&self, take: impl FnMut(LogEntry)) -> Result<(), JournalError> {
        self.read(|connection| recovery::for_each_entry(connection, 0, take))
    }

    /// Minibatches that wait for outcomes, by their first trial.
    pub fn open_minibatches(&self) -> Result<Vec<ProposedMinibatch>, JournalError> {
        self.read(recovery::open_proposals)
    }

    /// Every minibatch whose children were to be pruned, with the curves of those that are completed
    /// or pruned.
    pub fn pruned_minibatches(&self) -> Result<Vec<LoggedMinibatch>, JournalError> {
        self.read(curves::minibatches)
    }

    /// Sequence numbers of the snapshots that are stored, ascending.
    pub fn snapshot_numbers(&self) -> Result<Vec<u64>, JournalError> {
        self.read(snapshots::numbers)
    }

    /// The parameters kept for minibatches that were pulled before a snapshot, as far as they are
    /// whole; how many are not.
    pub fn held(&self) -> Result<(Vec<HeldParameters>, usize), JournalError> {
        let all = self.read(|connection| snapshots::held_after(connection, 0))?;
        let damaged = all.iter().filter(|held| held.is_none()).count();
        Ok((all.into_iter().flatten().collect(), damaged))
    }

    /// Whether the run was begun by a version without the rules of today for rewards that are out of
    /// measure and for failed children.
    pub fn has_rules_of_before(&self) -> Result<bool, JournalError> {
        let sql = "SELECT count(*) = 0 FROM meta WHERE key = ?1";
        Ok(self
            .one(sql, [schema::BEGUN_BY], |row| row.get(0))?
            .unwrap_or(false))
    }

    /// A stored snapshot; None: it is damaged.
    pub fn snapshot(&self, sequence: u64) -> Result<Option<Snapshot>, JournalError> {
        self.read(|connection| snapshots::load(connection, sequence))
    }
}

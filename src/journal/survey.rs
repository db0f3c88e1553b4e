//! Reading a run that may have a hundred thousand trials, again and again: pages of trials, what
//! has ended since, who is at work. Every query is answered by an index or by a range of ids. Must
//! not know how anything is shown.

use super::reader::{COLUMNS, Reader, TrialRow};
use super::{DEATHS_IN_COMPANY, JournalError, lock, recovery};
use crate::space::Decision;
use rusqlite::types::ValueRef;
use rusqlite::{Row, params};
use serde::Serialize;
use std::fmt::Write as _;
use std::ops::RangeInclusive;

/// Completed trials, found by the indexes alone; a pruned or failed one may have a reward too.
const COMPLETED: &str =
    "reward IS NOT NULL AND id NOT IN (SELECT id FROM trials WHERE status IN ('pruned', 'failed'))";

/// A trial without its network.
#[derive(Clone, Debug, PartialEq)]
pub struct TrialFacts {
    pub id: u64,
    pub status: String,
    pub reward: Option<f64>,
    pub metric: Option<f64>,
    pub seconds: Option<f64>,
    pub device: Option<String>,
    pub finished_at: Option<String>,
    pub error: Option<String>,
    pub reused_from: Option<u64>,
    /// As in `TrialRow`; so for the next two.
    pub enqueued: Option<String>,
    pub confirms: Option<u64>,
    pub retry_of: Option<u64>,
}

const FACTS: &str = "SELECT id, status, reward, metric, seconds, device, finished_at, error, reused_from, enqueued, confirms, retry_of FROM trials";

impl TrialFacts {
    fn from_row(row: &Row) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            status: row.get(1)?,
            reward: row.get(2)?,
            metric: row.get(3)?,
            seconds: row.get(4)?,
            device: row.get(5)?,
            finished_at: row.get(6)?,
            error: row.get(7)?,
            reused_from: row.get(8)?,
            enqueued: row.get(9)?,
            confirms: row.get(10)?,
            retry_of: row.get(11)?,
        })
    }

    /// Its outcome, which will not change; None: it has none yet.
    pub fn final_state(&self) -> Option<FinalState> {
        Some(match self.status.as_str() {
            "completed" => FinalState::Completed(self.reward?),
            "pruned" => FinalState::Pruned,
            "failed" => FinalState::Failed,
            _ => return None,
        })
    }

    /// A controller sampled it.
    pub fn is_sampled(&self) -> bool {
        self.enqueued.is_none() && self.confirms.is_none() && self.retry_of.is_none()
    }

    /// Has its outcome, which will not change.
    pub fn is_final(&self) -> bool {
        super::is_final(&self.status)
    }
}

/// The outcome of a trial, without what is known of it besides.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FinalState {
    /// With this reward.
    Completed(f64),
    Pruned,
    Failed,
}

/// What was decided in a sampled trial.
#[derive(Clone, Debug, PartialEq)]
pub struct DecidedTrial {
    pub id: u64,
    /// Depth that its network was proposed at; see `Space::layers`.
    pub layers: usize,
    pub decisions: Vec<Decision>,
}

/// A trial that no controller proposed has no minibatch.
const DECIDED: &str = "SELECT trials.id, minibatches.layers, trials.decisions FROM trials
     JOIN minibatches ON minibatches.controller = trials.controller AND minibatches.minibatch = trials.minibatch";

impl DecidedTrial {
    fn from_row(row: &Row) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            layers: row.get(1)?,
            decisions: recovery::parse(row, 2)?,
        })
    }
}

/// In which order trials are listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TrialOrder {
    #[default]
    Oldest,
    Newest,
    Best,
    Worst,
}

/// Whether somebody works on the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Life {
    /// A process holds it.
    Running,
    /// Its process left it in order.
    Closed,
    /// Its process is gone and did not close it.
    Interrupted,
}

/// A trial during which process after process died. It runs alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Suspect {
    pub trial: u64,
    /// Processes that died of a cause that the trial can have brought about.
    pub deaths: u32,
    /// Processes whose death nothing explains.
    pub unexplained: u32,
}

impl Reader {
    /// Changes whenever another connection has committed something.
    ///
    /// # Errors
    /// When the database cannot be read; so for all that follow.
    pub fn data_version(&self) -> Result<u64, JournalError> {
        self.read(|connection| {
            connection.pragma_query_value(None, "data_version", |row| row.get(0))
        })
    }

    /// Whether somebody works on the run: whether its lock is held, whoever the file names.
    pub fn life(&self) -> Result<Life, JournalError> {
        Ok(match self.meta("closed")?.as_deref() {
            Some("yes") => Life::Closed,
            _ if lock::is_held(self.dir())? => Life::Running,
            _ => Life::Interrupted,
        })
    }

    /// Trials without an outcome that run alone, by id.
    pub fn suspects(&self) -> Result<Vec<Suspect>, JournalError> {
        // Runs of earlier programs lack one table or both.
        let tables = "SELECT count(*) FROM sqlite_schema WHERE name IN ('deaths', 'interrupted')";
        if self.one(tables, [], |row| row.get(0))? != Some(2) {
            return Ok(Vec::new());
        }
        let sql = "SELECT trial, sum(deaths), sum(unexplained) FROM (
                       SELECT trial, count AS deaths, 0 AS unexplained FROM deaths
                       UNION ALL SELECT trial, 0, unexplained FROM interrupted
                   ) JOIN trials ON id = trial
                   WHERE status NOT IN ('completed', 'pruned', 'failed') GROUP BY trial
                   HAVING sum(deaths) + sum(unexplained) >= ?1 ORDER BY trial";
        self.all(sql, [DEATHS_IN_COMPANY], |row| {
            Ok(Suspect {
                trial: row.get(0)?,
                deaths: row.get(1)?,
                unexplained: row.get(2)?,
            })
        })
    }

    /// When the run was made.
    pub fn created(&self) -> Result<Option<String>, JournalError> {
        self.meta("created")
    }

    /// What may not change in the run's life, as it was recorded: a flat object of key → value.
    pub fn identity(&self) -> Result<serde_json::Value, JournalError> {
        let text = self.meta("identity")?.unwrap_or_default();
        Ok(serde_json::from_str(&text).unwrap_or_default())
    }

    pub(super) fn meta(&self, key: &str) -> Result<Option<String>, JournalError> {
        self.one("SELECT value FROM meta WHERE key = ?1", [key], |row| {
            row.get(0)
        })
    }

    /// The text of the newest event of this kind.
    pub fn last_event(&self, kind: &str) -> Result<Option<String>, JournalError> {
        self.one(
            "SELECT text FROM events WHERE kind = ?1 ORDER BY id DESC LIMIT 1",
            [kind],
            |row| row.get(0),
        )
    }

    /// Time and text of every event of this kind, the oldest first.
    pub fn events_of(&self, kind: &str) -> Result<Vec<(String, String)>, JournalError> {
        let sql = "SELECT at, text FROM events WHERE kind = ?1 ORDER BY id";
        self.all(sql, [kind], |row| Ok((row.get(0)?, row.get(1)?)))
    }

    /// Calls `take` with every trial that has its outcome, in any order. A pruned or failed one that
    /// has a reward comes twice, first as what it is. Reads indexes alone.
    pub fn outcomes(&self, mut take: impl FnMut(u64, FinalState)) -> Result<(), JournalError> {
        for (status, state) in [
            ("pruned", FinalState::Pruned),
            ("failed", FinalState::Failed),
        ] {
            let sql = "SELECT id FROM trials WHERE status = ?1";
            self.each(sql, [status], |row| {
                take(row.get(0)?, state);
                Ok(())
            })?;
        }
        let sql = "SELECT id, reward FROM trials WHERE reward IS NOT NULL";
        self.each(sql, [], |row| {
            take(row.get(0)?, FinalState::Completed(row.get(1)?));
            Ok(())
        })
    }

    /// The first `limit` trials whose id is above `id`, by id.
    pub fn facts_after(&self, id: u64, limit: usize) -> Result<Vec<TrialFacts>, JournalError> {
        self.all(
            &format!("{FACTS} WHERE id > ?1 ORDER BY id LIMIT ?2"),
            params![id, limit],
            TrialFacts::from_row,
        )
    }

    /// These trials, as far as they are there.
    pub fn facts(
        &self,
        ids: impl IntoIterator<Item = u64>,
    ) -> Result<Vec<TrialFacts>, JournalError> {
        let sql = format!("{FACTS} WHERE id = ?1");
        let mut facts = Vec::new();
        for id in ids {
            facts.extend(self.one(&sql, [id], TrialFacts::from_row)?);
        }
        Ok(facts)
    }

    /// The sampled trials among these, by id: what was decided in them.
    pub fn decided(&self, ids: RangeInclusive<u64>) -> Result<Vec<DecidedTrial>, JournalError> {
        self.all(
            &format!("{DECIDED} WHERE trials.id BETWEEN ?1 AND ?2 ORDER BY trials.id"),
            params![ids.start(), ids.end()],
            DecidedTrial::from_row,
        )
    }

    /// The highest id; 0: no trial yet.
    pub fn last_trial(&self) -> Result<u64, JournalError> {
        Ok(self
            .one("SELECT coalesce(max(id), 0) FROM trials", [], |row| {
                row.get(0)
            })?
            .unwrap_or(0))
    }

    /// The first `limit` trials under training, by id.
    pub fn running_at_most(&self, limit: usize) -> Result<Vec<TrialRow>, JournalError> {
        self.rows("WHERE status = 'running' ORDER BY id LIMIT ?1", [limit])
    }

    /// How many trials have this status.
    pub fn count(&self, status: &str) -> Result<u64, JournalError> {
        let sql = "SELECT count(*) FROM trials WHERE status = ?1";
        Ok(self.one(sql, [status], |row| row.get(0))?.unwrap_or(0))
    }

    /// How many trials there are, of this status or of any, and `limit` of them from `offset` on,
    /// each as JSON: the table's columns, network and decisions as they are stored.
    pub fn page(
        &self,
        status: Option<&str>,
        order: TrialOrder,
        offset: u64,
        limit: usize,
    ) -> Result<(u64, Vec<String>), JournalError> {
        let last = self.last_trial()?;
        let total = match status {
            Some(status) => self.count(status)?,
            None => last,
        };
        let sql = format!("SELECT {COLUMNS} FROM trials WHERE id = ?1");
        let mut rows = Vec::new();
        for id in self.ids(last, status, order, offset, limit)? {
            rows.extend(self.one(&sql, [id], json)?);
        }
        Ok((total, rows))
    }

    /// The ids first, counted or from an index: rows are wide.
    fn ids(
        &self,
        last: u64,
        status: Option<&str>,
        order: TrialOrder,
        offset: u64,
        limit: usize,
    ) -> Result<Vec<u64>, JournalError> {
        let by_reward = matches!(order, TrialOrder::Best | TrialOrder::Worst);
        if status.is_none() && !by_reward {
            // Ids have no gaps.
            let first = offset.min(last);
            let end = offset.saturating_add(limit as u64).min(last);
            return Ok(match order {
                TrialOrder::Newest => (last - end + 1..=last - first).rev().collect(),
                _ => (first + 1..=end).collect(),
            });
        }
        let (filter, value) = match status {
            Some("completed") if by_reward => (format!("{COMPLETED} AND ?1 IS NULL"), None),
            Some(status) => ("status = ?1".to_owned(), Some(status)),
            None => ("?1 IS NULL".to_owned(), None),
        };
        let order = match order {
            TrialOrder::Oldest => "id",
            TrialOrder::Newest => "id DESC",
            // Others than completed trials have none worth an order.
            TrialOrder::Best | TrialOrder::Worst if value.is_some() => "id",
            TrialOrder::Best => "reward DESC, id",
            TrialOrder::Worst => "reward NULLS LAST, id",
        };
        let sql =
            format!("SELECT id FROM trials WHERE {filter} ORDER BY {order} LIMIT ?2 OFFSET ?3");
        self.all(&sql, params![value, limit, offset], |row| row.get(0))
    }

    /// Hands over every column of these trials that have their outcome, as text in the form of JSON
    /// and CSV (an absent value is empty), and the id, by id; ends with the first error of `take`. A
    /// failed trial whose reward is still to come is left out.
    pub fn records(
        &self,
        ids: std::ops::RangeInclusive<u64>,
        mut take: impl FnMut(&[String], u64) -> std::io::Result<()>,
    ) -> Result<std::io::Result<()>, JournalError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM trials WHERE id BETWEEN ?1 AND ?2 AND +status IN ('completed', 'pruned', 'failed')
             AND id NOT IN (SELECT trial FROM unrewarded) ORDER BY id"
        );
        self.read(|connection| {
            let mut statement = connection.prepare_cached(&sql)?;
            let mut record = vec![String::new(); statement.column_count()];
            let mut rows = statement.query([*ids.start(), *ids.end()])?;
            while let Some(row) = rows.next()? {
                for (column, field) in record.iter_mut().enumerate() {
                    text(row.get_ref(column)?, field);
                }
                if let Err(error) = take(&record, row.get(0)?) {
                    return Ok(Err(error));
                }
            }
            Ok(Ok(()))
        })
    }
}

/// Columns that are JSON already.
const AS_STORED: [&str; 2] = ["decisions", "architecture"];

/// A row as JSON. What is stored as JSON is not read and written again: of a thousand deep networks
/// that takes a tenth of a second.
fn json(row: &Row) -> rusqlite::Result<String> {
    let mut json = String::with_capacity(4096);
    let mut field = String::new();
    for (column, name) in TrialRow::columns().enumerate() {
        let value = row.get_ref(column)?;
        let _ = write!(json, "{}\"{name}\":", if column == 0 { '{' } else { ',' });
        text(value, &mut field);
        match value {
            ValueRef::Null | ValueRef::Blob(_) => json.push_str("null"),
            ValueRef::Text(_) if !AS_STORED.contains(&name) => {
                json.push_str(&serde_json::Value::from(field.as_str()).to_string());
            }
            _ => json.push_str(&field),
        }
    }
    json.push('}');
    Ok(json)
}

fn text(value: ValueRef, into: &mut String) {
    into.clear();
    match value {
        ValueRef::Null | ValueRef::Blob(_) => {}
        ValueRef::Integer(number) => into.push_str(&number.to_string()),
        // As JSON writes it: 1.0, not 1.
        ValueRef::Real(number) => into.push_str(&serde_json::Value::from(number).to_string()),
        ValueRef::Text(bytes) => into.push_str(&String::from_utf8_lossy(bytes)),
    }
}

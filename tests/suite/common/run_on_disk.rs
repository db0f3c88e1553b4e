//! A run's directory, read as any user's script would read it, and as `verify` does.

use super::process::{netwright, text};
use rusqlite::{Connection, OpenFlags};
use std::path::Path;

/// The run's database, read-only. None: there is none yet.
pub fn database(run: &Path) -> Option<Connection> {
    Connection::open_with_flags(run.join("search.db"), OpenFlags::SQLITE_OPEN_READ_ONLY).ok()
}

/// The number that this query gives; 0 as long as there is no database, or not this table.
pub fn count(run: &Path, sql: &str) -> u64 {
    let number = |connection: Connection| connection.query_row(sql, [], |row| row.get(0)).ok();
    database(run).and_then(number).unwrap_or(0)
}

/// How many trials have their outcome.
pub fn finished(run: &Path) -> u64 {
    count(
        run,
        "SELECT count(*) FROM trials WHERE status IN ('completed', 'pruned', 'failed')",
    )
}

/// How many trials there are, with and without an outcome.
pub fn sampled(run: &Path) -> u64 {
    count(run, "SELECT count(*) FROM trials")
}

/// The columns that must not depend on how often a run was interrupted: id, decisions, seed,
/// status, reward, metric.
pub type Facts = (u64, String, i64, String, Option<f64>, Option<f64>);

/// These columns of every trial.
pub fn trials(run: &Path) -> Vec<Facts> {
    rows(
        run,
        "SELECT id, decisions, seed, status, reward, metric FROM trials ORDER BY id",
    )
}

/// What a query finds in a run's database, as tuples.
pub fn rows<T>(run: &Path, sql: &str) -> Vec<T>
where
    T: for<'a> TryFrom<&'a rusqlite::Row<'a>, Error = rusqlite::Error>,
{
    let connection = database(run).unwrap();
    let mut statement = connection.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| T::try_from(row));
    rows.unwrap().map(Result::unwrap).collect()
}

/// The texts of a run's events, oldest first, each as `KIND: TEXT`; empty as long as there is no
/// database.
pub fn events(run: &Path) -> Vec<String> {
    let Some(connection) = database(run) else {
        return Vec::new();
    };
    let Ok(mut statement) =
        connection.prepare("SELECT kind || ': ' || text FROM events ORDER BY id")
    else {
        return Vec::new();
    };
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.map_while(Result::ok).collect()
}

/// The texts of the events of one kind.
pub fn events_of(run: &Path, kind: &str) -> Vec<String> {
    let prefix = format!("{kind}: ");
    events(run)
        .iter()
        .filter_map(|event| event.strip_prefix(&prefix).map(str::to_owned))
        .collect()
}

/// The newest snapshot of the controller, as stored.
pub fn last_snapshot(run: &Path) -> Vec<u8> {
    database(run)
        .unwrap()
        .query_row(
            "SELECT data FROM snapshots ORDER BY sequence DESC LIMIT 1",
            [],
            |row| row.get(0),
        )
        .unwrap()
}

/// Both runs ended in the same numbers: every trial, and the controller's parameters bit for bit.
#[track_caller]
pub fn assert_same_numbers(one: &Path, other: &Path) {
    assert_eq!(trials(one), trials(other));
    assert!(
        last_snapshot(one) == last_snapshot(other),
        "the controller's parameters differ"
    );
}

/// `netwright verify` derives the same parameters from the seed and the log.
#[track_caller]
pub fn assert_verifies(run: &Path) {
    let output = netwright().arg("verify").arg(run).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
}

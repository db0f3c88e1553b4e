//! What the death of a process says about the trials that it was running: one of them may have
//! brought it about. Counts the deaths of each trial that made no progress, those that have a cause
//! apart from those that nothing explains. Must not know what is done about such a trial.

use super::writer::now;
use crate::child::{CHECKPOINT_FILE, checkpoint_position};
use crate::machine::{cgroup, fatal_signal};
use rusqlite::{Connection, OptionalExtension, Result, Transaction, TransactionBehavior, params};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// A trial runs alone once this many processes in a row have died while it was under way and made no
/// progress.
pub const DEATHS_IN_COMPANY: u32 = 3;

/// Where the counter of the kernel's kills stood when this process began.
const OOM_KILLS: &str = "oom_kills";

/// The state of a training stands within the first bytes of its checkpoint.
const CHECKPOINT_HEAD: u64 = 1 << 20;

/// A program's checkpoint directory is looked at as far as this many files.
const MAX_FILES: usize = 10_000;

/// The file in which a process leaves the fatal signal that ends it.
pub fn fatal_signal_file(dir: &Path) -> PathBuf {
    dir.join("log").join("fatal-signal")
}

/// Takes the trials over that an earlier process left: counts its death for those that it was
/// running, and has all of them wait again. One transaction.
pub(super) fn take_over(connection: &Connection, dir: &Path) -> Result<()> {
    let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
    for table in ["deaths", "interrupted"] {
        let sql = format!(
            "DELETE FROM {table} WHERE trial NOT IN (SELECT id FROM trials WHERE status IN ('running', 'queued', 'stopped'))"
        );
        transaction.execute(&sql, [])?;
    }
    let kills = cgroup::oom_kills(&cgroup::root());
    let running = running(&transaction)?;
    if !running.is_empty() {
        let cause = cause(&transaction, dir, kills.as_ref())?;
        for (trial, epochs) in &running {
            count(&transaction, dir, *trial, *epochs, cause.is_some())?;
        }
        if let Some(cause) = cause {
            let trials: Vec<String> = running.iter().map(|(id, _)| id.to_string()).collect();
            let text = format!(
                "the process before this one {cause}; under way were the trials {}",
                trials.join(", ")
            );
            let sql = "INSERT INTO events (at, kind, text) VALUES (?1, 'death', ?2)";
            transaction.execute(sql, params![now(), text])?;
        }
    }
    if let Some(kills) = kills {
        let value = format!("{} {}", kills.count, kills.counter);
        let sql = "INSERT OR REPLACE INTO meta VALUES (?1, ?2)";
        transaction.execute(sql, [OOM_KILLS, &value])?;
    }
    transaction.execute_batch(
        "UPDATE trials SET status = 'queued', interruptions = interruptions + 1 WHERE status = 'running';
         UPDATE trials SET status = 'queued' WHERE status = 'stopped';",
    )?;
    transaction.commit()?;
    // Its death is counted.
    let _ = std::fs::remove_file(fatal_signal_file(dir));
    Ok(())
}

/// Trials that were under way, each with its last epoch; 0: none has ended.
fn running(connection: &Connection) -> Result<Vec<(u64, u64)>> {
    let sql = "SELECT id, coalesce((SELECT max(epoch) FROM epochs WHERE trial = id), 0) FROM trials WHERE status = 'running' ORDER BY id";
    connection
        .prepare(sql)?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect()
}

/// How the process before this one ended, if a child can have brought that about; None: nothing
/// explains it. It was killed from outside, or the machine was lost.
fn cause(
    connection: &Connection,
    dir: &Path,
    kills: Option<&cgroup::OomKills>,
) -> Result<Option<String>> {
    if let Some(signal) = fatal_signal::left_in(&fatal_signal_file(dir)) {
        return Ok(Some(format!("was ended by {signal}")));
    }
    let before: Option<String> = connection
        .query_row(
            "SELECT value FROM meta WHERE key = ?1",
            [OOM_KILLS],
            |row| row.get(0),
        )
        .optional()?;
    let before = before.as_deref().and_then(|text| text.split_once(' '));
    Ok(match (before, kills) {
        (Some((count, counter)), Some(kills)) if counter == kills.counter => {
            let more = count.parse().is_ok_and(|count: u64| kills.count > count);
            more.then(|| "ended when the kernel killed for want of memory".to_owned())
        }
        _ => None,
    })
}

/// What is known of a trial whose process died.
#[derive(Debug, Default, PartialEq)]
struct Interrupted {
    unexplained: u32,
    /// How far it had come: epochs that had ended, and steps of the next one that its checkpoint
    /// holds.
    reached: (u64, u64),
    /// What a program had stored in its checkpoint directory.
    files: String,
}

/// Counts a death for this trial, unless it has made progress since the last one.
fn count(
    connection: &Connection,
    dir: &Path,
    trial: u64,
    epochs: u64,
    is_explained: bool,
) -> Result<()> {
    let sql = "SELECT unexplained, epoch, step, files FROM interrupted WHERE trial = ?1";
    let before = connection
        .query_row(sql, [trial], |row| {
            Ok(Interrupted {
                unexplained: row.get(0)?,
                reached: (row.get(1)?, row.get(2)?),
                files: row.get(3)?,
            })
        })
        .optional()?
        .unwrap_or_default();
    let folder = dir.join("checkpoints").join(format!("trial-{trial}"));
    let checkpoint = checkpoint(&folder);
    let reached = checkpoint.max((epochs, 0));
    let files = program_files(&folder);
    let made_progress = if is_explained {
        // What dies in the same place again and again has made none.
        reached != (0, 0) && reached != before.reached
    } else {
        epochs > checkpoint.0 || reached != before.reached || files != before.files
    };
    if made_progress {
        connection.execute("DELETE FROM deaths WHERE trial = ?1", [trial])?;
    } else if is_explained {
        let sql =
            "INSERT INTO deaths VALUES (?1, 1) ON CONFLICT (trial) DO UPDATE SET count = count + 1";
        connection.execute(sql, [trial])?;
    }
    let unexplained = if made_progress {
        0
    } else {
        before.unexplained + u32::from(!is_explained)
    };
    let sql = "INSERT OR REPLACE INTO interrupted VALUES (?1, ?2, ?3, ?4, ?5)";
    let row = params![trial, unexplained, reached.0, reached.1, files];
    connection.execute(sql, row).map(drop)
}

/// How far the checkpoint of a child is; without one, at the beginning.
fn checkpoint(folder: &Path) -> (u64, u64) {
    let read = || {
        let file = std::fs::File::open(folder.join(CHECKPOINT_FILE)).ok()?;
        let mut head = Vec::new();
        file.take(CHECKPOINT_HEAD).read_to_end(&mut head).ok()?;
        checkpoint_position(&head)
    };
    read().unwrap_or_default()
}

/// Number, size and newest change of the files that a program has stored; empty: none.
fn program_files(folder: &Path) -> String {
    let ours = |name: &std::ffi::OsStr| {
        name.to_str()
            .is_some_and(|name| name == "architecture.json" || name.starts_with(CHECKPOINT_FILE))
    };
    let (mut files, mut bytes, mut newest) = (0, 0, 0);
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        let entries = std::fs::read_dir(&next).into_iter().flatten().flatten();
        for entry in entries {
            // Of a link, the link's own.
            let Ok(facts) = entry.metadata() else {
                continue;
            };
            if facts.is_dir() {
                folders.push(entry.path());
            } else if files < MAX_FILES && !(next == folder && ours(&entry.file_name())) {
                files += 1;
                bytes += facts.len();
                let changed = facts.modified().ok();
                let changed = changed.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
                newest = newest.max(changed.map_or(0, |age| age.as_nanos()));
            }
        }
        if files >= MAX_FILES || folders.len() > MAX_FILES {
            break;
        }
    }
    if files > 0 {
        format!("{files} {bytes} {newest}")
    } else {
        String::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::cgroup::OomKills;

    #[test]
    fn a_kill_for_want_of_memory_explains_a_death_where_the_counter_is_the_same_one() {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch(crate::journal::schema::TABLES)
            .unwrap();
        let dir = tempfile::tempdir().unwrap();
        let kills = |counter: &str, count| {
            let counter = counter.to_owned();
            let kills = OomKills { counter, count };
            cause(&connection, dir.path(), Some(&kills)).unwrap()
        };
        assert_eq!(kills("boot /job 7", 3), None, "nothing is known of before");
        connection
            .execute("INSERT INTO meta VALUES (?1, '2 boot /job 7')", [OOM_KILLS])
            .unwrap();
        assert!(kills("boot /job 7", 3).is_some());
        assert_eq!(kills("boot /job 7", 2), None);
        assert_eq!(kills("boot /job 8", 3), None, "another container");
        assert_eq!(cause(&connection, dir.path(), None).unwrap(), None);
    }
}

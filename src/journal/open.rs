//! Opening a run for writing: its directory, its lock, its database, and whether it is the run that
//! the settings mean. Whatever is wrong is found before anything is changed.

use super::backup::{back_up, damaged, database, lost, refuse_older, replace};
use super::directory::{Contents, contents, others, taken, unwritable};
use super::lock::{RunLock, acquire};
use super::{Enqueued, JournalError, config_file, schema};
use rusqlite::{Connection, OpenFlags, OptionalExtension};
use std::path::{Path, PathBuf};

/// The fact of a run's identity that says which data its rewards come from.
pub const DATA_CONTENT: &str = "data content";

/// The fact of a run's identity that says when its training images are whitened.
pub const WHITEN_ORDER: &str = "data.whiten_order";

/// Facts of an identity that earlier versions did not record for every run, each with what held in
/// a run without it; None: nobody knows, and what is given now is recorded.
const RECORDED_LATER: &[(&str, Option<&str>)] =
    &[(DATA_CONTENT, None), (WHITEN_ORDER, Some("last"))];

/// A run that this process may write to.
pub(super) struct Opened {
    pub dir: PathBuf,
    pub connection: Connection,
    pub lock: RunLock,
    /// Facts of the identity that were not recorded before.
    pub recorded: Vec<String>,
    /// The database was too large to be copied before the run goes on: the copy is still to come.
    pub backup_is_due: bool,
    /// Where a `config.toml` is now that was not the run's own.
    pub kept_config: Option<PathBuf>,
}

impl Opened {
    /// Writes `config.toml` anew.
    pub(super) fn replace_config(&self, config: &str) {
        match config_file::write(&self.connection, &self.dir, config) {
            Ok(None) => {}
            Ok(Some(kept)) => tracing::warn!(
                "the run's config.toml was changed by hand; that file is now {}",
                kept.display()
            ),
            Err(error) => {
                tracing::error!("{error}; the file still holds the settings before the change");
            }
        }
    }
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> JournalError {
    let path = path.to_owned();
    move |source| JournalError::Io { path, source }
}

pub(super) fn open(
    dir: &Path,
    identity: &serde_json::Value,
    enqueued: &[Enqueued],
    config: &str,
) -> Result<Opened, JournalError> {
    let found = contents(dir)?;
    if let Contents::Remains = found {
        return Err(lost(dir));
    }
    if let Contents::Others(others) = found {
        return Err(taken(dir, &others));
    }
    for folder in [dir.to_owned(), dir.join("log"), dir.join("report")] {
        std::fs::create_dir_all(&folder).map_err(unwritable(&folder))?;
    }
    let lock = acquire(dir)?;
    // Another process may have made the run since.
    let mut new = contents(dir)? != Contents::Run;
    if new {
        create(dir, identity)?;
    }
    let connection = Connection::open_with_flags(
        database(dir),
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )
    .map_err(damaged(dir))?;
    connection
        .busy_timeout(std::time::Duration::from_secs(5))
        .map_err(damaged(dir))?;
    if is_empty(&connection).map_err(damaged(dir))? {
        fill_in_place(&connection, dir, identity)?;
        new = true;
    }
    let mut recorded = Vec::new();
    let mut backup_is_due = false;
    if new {
        configure(&connection).map_err(damaged(dir))?;
    } else {
        let checked = check(&connection, dir, identity, enqueued)?;
        // A copy takes its time; before an upgrade there is no way around it.
        backup_is_due =
            checked.version == schema::VERSION && is_large(&connection).map_err(damaged(dir))?;
        if backup_is_due {
            refuse_older(dir, &connection)?;
        } else {
            back_up(&connection, dir)?;
        }
        configure(&connection).map_err(damaged(dir))?;
        if checked.version < schema::VERSION {
            upgrade(&connection, checked.version).map_err(damaged(dir))?;
        }
        recorded = checked.unrecorded;
        if !recorded.is_empty() {
            set_identity(&connection, identity).map_err(damaged(dir))?;
        }
    }
    connection
        .execute_batch(schema::ADDED)
        .map_err(damaged(dir))?;
    connection
        .execute("INSERT OR REPLACE INTO meta VALUES ('closed', 'no')", [])
        .map_err(damaged(dir))?;
    let kept_config = config_file::write(&connection, dir, config)?;
    Ok(Opened {
        dir: dir.to_owned(),
        connection,
        lock,
        recorded,
        backup_is_due,
        kept_config,
    })
}

/// A database of so many bytes is not read whole before the run goes on, which would take seconds: its
/// pages are checked on the rolling backup, which is made meanwhile and replaces the last one only if
/// they are whole.
const LARGE: u64 = 64 << 20;

fn is_large(connection: &Connection) -> rusqlite::Result<bool> {
    let number = |name| connection.pragma_query_value(None, name, |row| row.get::<_, u64>(0));
    Ok(number("page_count")? * number("page_size")? > LARGE)
}

/// WAL, and a commit that is on the disk when it returns.
fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.set_prepared_statement_cache_capacity(64);
    let synchronous: i64 = connection.pragma_query_value(None, "synchronous", |row| row.get(0))?;
    if synchronous == 2 {
        return Ok(());
    }
    let problem =
        "SQLite refuses synchronous=FULL: commits would not survive a power loss".to_owned();
    Err(rusqlite::Error::SqliteFailure(
        rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_ERROR),
        Some(problem),
    ))
}

/// A process of an earlier version may have died between making the file and the tables.
fn is_empty(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("SELECT count(*) = 0 FROM sqlite_schema", [], |row| {
        row.get(0)
    })
}

/// Makes the tables of a database that has none, unless it is what is left of a run that had.
fn fill_in_place(
    connection: &Connection,
    dir: &Path,
    identity: &serde_json::Value,
) -> Result<(), JournalError> {
    let others = others(dir).map_err(io(dir))?;
    if others.iter().any(|name| name != "search.db") {
        return Err(lost(dir));
    }
    fill(connection, identity).map_err(damaged(dir))
}

/// Makes the database of a new run. It has its name only once it has its tables: one that is empty
/// is never a run's beginning.
fn create(dir: &Path, identity: &serde_json::Value) -> Result<(), JournalError> {
    let path = database(dir);
    let partial = dir.join("search.db.partial");
    // What a process left that died here.
    for suffix in ["", "-journal"] {
        let _ = std::fs::remove_file(dir.join(format!("search.db.partial{suffix}")));
    }
    let make = || -> rusqlite::Result<()> {
        let connection = Connection::open(&partial)?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        fill(&connection, identity)
    };
    make().map_err(damaged(dir))?;
    replace(&partial, &path)
        .and_then(|()| std::fs::File::open(dir)?.sync_all())
        .map_err(io(&path))
}

fn fill(connection: &Connection, identity: &serde_json::Value) -> rusqlite::Result<()> {
    let transaction = connection.unchecked_transaction()?;
    transaction.execute_batch(schema::TRIALS)?;
    transaction.execute_batch(schema::TABLES)?;
    transaction.execute_batch(schema::ADDED_BY_4)?;
    transaction.execute_batch(schema::ADDED_BY_5)?;
    set_identity(&transaction, identity)?;
    transaction.execute(
        "INSERT INTO meta VALUES (?1, ?2)",
        (schema::BEGUN_BY, schema::VERSION.to_string()),
    )?;
    transaction.execute(
        "INSERT INTO meta VALUES ('created', ?1)",
        [super::writer::now()],
    )?;
    transaction.pragma_update(None, "user_version", schema::VERSION)?;
    transaction.commit()
}

fn set_identity(connection: &Connection, identity: &serde_json::Value) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO meta VALUES ('identity', ?1)";
    connection.execute(sql, [identity.to_string()]).map(drop)
}

/// Brings the tables up to date, in one transaction.
fn upgrade(connection: &Connection, version: i64) -> rusqlite::Result<()> {
    let transaction = connection.unchecked_transaction()?;
    let columns = match version {
        1 => schema::COLUMNS_OF_1.to_owned(),
        _ => format!("{}, enqueued", schema::COLUMNS_OF_1),
    };
    transaction.execute_batch(schema::BEFORE_TRIALS)?;
    transaction.execute_batch(schema::TRIALS)?;
    transaction.execute_batch(&format!(
        "INSERT INTO trials ({columns}) SELECT {columns} FROM old; DROP TABLE old;"
    ))?;
    if version < 3 {
        transaction.execute_batch(schema::UPGRADE_2)?;
    }
    if version < 4 {
        transaction.execute_batch(schema::UPGRADE_3)?;
        transaction.execute_batch(schema::ADDED_BY_4)?;
    }
    transaction.execute_batch(schema::UPGRADE_4)?;
    transaction.execute_batch(schema::ADDED_BY_5)?;
    transaction.pragma_update(None, "user_version", schema::VERSION)?;
    transaction.commit()
}

/// A database that is whole and of the same search.
struct Checked {
    version: i64,
    /// Facts of the identity that it does not record yet.
    unrecorded: Vec<String>,
}

/// Is this database whole, of a format that we know, and of the same search?
fn check(
    connection: &Connection,
    dir: &Path,
    identity: &serde_json::Value,
    enqueued: &[Enqueued],
) -> Result<Checked, JournalError> {
    let version: i64 = connection
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(damaged(dir))?;
    if !(schema::OLDEST..=schema::VERSION).contains(&version) {
        let problem = format!(
            "its format is {version}, this program knows {}: use the version that made it",
            schema::VERSION
        );
        return Err(JournalError::Damaged {
            path: dir.join("search.db"),
            problem,
        });
    }
    let meta = |key: &str| {
        let found = connection.query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| {
            row.get::<_, String>(0)
        });
        found.optional().map_err(damaged(dir))
    };
    let verdict: String = if is_large(connection).map_err(damaged(dir))? {
        "ok".into()
    } else {
        connection
            .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
            .map_err(damaged(dir))?
    };
    if verdict != "ok" {
        let failure = rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT),
            Some(verdict),
        );
        return Err(damaged(dir)(failure));
    }
    let mut stored: serde_json::Value = meta("identity")?
        .and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or_default();
    let unrecorded = take_unrecorded(&mut stored, identity);
    let mut lines = difference(&stored, identity);
    // Version 1 had none.
    if version > 1 {
        lines.extend(changed_entries(connection, enqueued).map_err(damaged(dir))?);
    }
    if lines.is_empty() {
        Ok(Checked {
            version,
            unrecorded,
        })
    } else {
        Err(JournalError::Changed {
            path: dir.to_owned(),
            difference: lines.join("\n"),
        })
    }
}

/// Takes over what an earlier version did not record, and names it; what is known to have been
/// otherwise in that run stays a difference.
fn take_unrecorded(stored: &mut serde_json::Value, given: &serde_json::Value) -> Vec<String> {
    let (Some(stored), Some(given)) = (stored.as_object_mut(), given.as_object()) else {
        return Vec::new();
    };
    let mut taken = Vec::new();
    for &(fact, before) in RECORDED_LATER {
        let (None, Some(value)) = (stored.get(fact), given.get(fact)) else {
            continue;
        };
        let held = before.map_or_else(|| value.clone(), Into::into);
        if held == *value {
            taken.push(fact.to_owned());
        }
        stored.insert(fact.to_owned(), held);
    }
    taken
}

/// One line for each enqueued architecture of the run that is not what it was; what is new comes
/// after them.
fn changed_entries(connection: &Connection, given: &[Enqueued]) -> rusqlite::Result<Vec<String>> {
    // `+`: else all trials are searched in the order of their ids.
    let sql = "SELECT enqueued, architecture FROM trials WHERE enqueued IS NOT NULL ORDER BY +id";
    let stored: Vec<(String, String)> = connection
        .prepare(sql)?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let mut lines = Vec::new();
    for (index, (name, architecture)) in stored.into_iter().enumerate() {
        let now = match given.get(index) {
            None => "not there".to_owned(),
            Some(entry) if entry.name != name => format!("\"{}\"", entry.name),
            Some(entry) if super::writer::json(&entry.trial.architecture)? != architecture => {
                "another network of this name".to_owned()
            }
            Some(_) => continue,
        };
        lines.push(format!(
            "  enqueue[{}]: \"{name}\" in the run, {now} now; entries stay as they are, new ones come behind them",
            index + 1
        ));
    }
    Ok(lines)
}

/// One line for each key of the two flat objects that differs.
fn difference(stored: &serde_json::Value, given: &serde_json::Value) -> Vec<String> {
    let empty = serde_json::Map::new();
    let stored = stored.as_object().unwrap_or(&empty);
    let given = given.as_object().unwrap_or(&empty);
    let text = |value: Option<&serde_json::Value>| {
        value.map_or_else(|| "not set".to_owned(), ToString::to_string)
    };
    let keys: std::collections::BTreeSet<&String> = stored.keys().chain(given.keys()).collect();
    let changed = keys
        .into_iter()
        .filter(|key| stored.get(*key) != given.get(*key));
    changed
        .map(|key| {
            format!(
                "  {key}: {} in the run, {} now",
                text(stored.get(key)),
                text(given.get(key))
            )
        })
        .collect()
}

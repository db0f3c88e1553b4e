//! The rolling copy of a run's database: how it is taken, what it holds beside the database, and
//! how it becomes the database again. A copy that holds more is never replaced, and what it is
//! restored over is kept. Must not know what the tables mean.

use super::directory::{Contents, contents};
use super::lock::acquire;
use super::{JournalError, schema};
use rusqlite::{Connection, ErrorCode, OpenFlags};
use serde::Serialize;
use std::fmt::Write as _;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

pub(super) fn database(dir: &Path) -> PathBuf {
    dir.join("search.db")
}

fn backup(dir: &Path) -> PathBuf {
    dir.join("search.backup.db")
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> JournalError {
    let path = path.to_owned();
    move |source| JournalError::Io { path, source }
}

fn problem(path: PathBuf) -> impl Fn(String) -> JournalError {
    move |problem| JournalError::Damaged {
        path: path.clone(),
        problem,
    }
}

/// How much of a run a database holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Holdings {
    pub trials: u64,
    pub completed: u64,
}

impl Holdings {
    fn of(connection: &Connection) -> rusqlite::Result<Self> {
        let sql = "SELECT (SELECT coalesce(max(id), 0) FROM trials), (SELECT count(*) FROM trials WHERE status = 'completed')";
        connection.query_row(sql, [], |row| {
            Ok(Self {
                trials: row.get(0)?,
                completed: row.get(1)?,
            })
        })
    }

    /// Would something be lost if `other` took its place?
    fn exceeds(self, other: Self) -> bool {
        self.trials > other.trials || self.completed > other.completed
    }
}

impl std::fmt::Display for Holdings {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "{} trials, {} completed", self.trials, self.completed)
    }
}

/// Says of an error what it means for the run, and of damage what there is to go back to.
pub(super) fn damaged(dir: &Path) -> impl Fn(rusqlite::Error) -> JournalError {
    let dir = dir.to_owned();
    move |error| {
        let text = if is_damage(&error) {
            format!("{error}{}", way_back(&dir))
        } else {
            format!("{error}{}", cause(&dir, &error))
        };
        problem(database(&dir))(text)
    }
}

/// The error of a database that has no run, or `dir` where one has lost its database.
pub(super) fn lost(dir: &Path) -> JournalError {
    let path = database(dir);
    let state = if path.exists() {
        "is empty"
    } else {
        "is missing"
    };
    problem(path)(format!("{state}{}", way_back(dir)))
}

/// Is the file itself at fault, and not the disk, a lock or a limit?
fn is_damage(error: &rusqlite::Error) -> bool {
    match error.sqlite_error_code() {
        // Unknown is SQLite's general error: a table that is not there.
        Some(code) => matches!(
            code,
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::Unknown
        ),
        // What is stored cannot be read as what it is.
        None => !matches!(error, rusqlite::Error::ToSqlConversionFailure(_)),
    }
}

/// What the system says where SQLite only says that it cannot open a file: SQLite has up to three
/// of them open.
fn cause(dir: &Path, error: &rusqlite::Error) -> String {
    if error.sqlite_error_code() != Some(ErrorCode::CannotOpen) {
        return String::new();
    }
    let open = |_| File::open(database(dir));
    match (0..3).map(open).collect::<std::io::Result<Vec<_>>>() {
        Err(error) => format!(" ({error})"),
        Ok(_) => String::new(),
    }
}

/// What to do about a database that is damaged or gone; the end of a sentence about it.
fn way_back(dir: &Path) -> String {
    let path = backup(dir);
    match examine(dir) {
        Backup::Whole { holds, at } => format!(
            "; the last good copy is {} ({holds}, of {at}): `netwright restore {}` makes it the database again",
            path.display(),
            dir.display()
        ),
        Backup::Damaged(error) => format!(
            "; its copy {} is damaged too ({error}){}",
            path.display(),
            what_is_left(dir)
        ),
        Backup::Unreadable(error) => {
            format!("; its copy {} cannot be read ({error})", path.display())
        }
        Backup::Absent => format!(
            "; there is no {} to restore it from{}",
            path.display(),
            what_is_left(dir)
        ),
    }
}

/// Without a copy there is only the report.
fn what_is_left(dir: &Path) -> String {
    let report = dir.join("report/trials.csv");
    let listed = if report.exists() {
        format!("; {} lists the trials that it knew", report.display())
    } else {
        String::new()
    };
    format!("{listed}; `netwright search … --fresh` moves all of it aside and starts anew")
}

/// The copy beside a database.
enum Backup {
    Absent,
    /// `at` is the time of the copy.
    Whole {
        holds: Holdings,
        at: String,
    },
    Damaged(String),
    /// Whether it is whole cannot be told.
    Unreadable(rusqlite::Error),
}

/// Reads the whole copy.
fn examine(dir: &Path) -> Backup {
    let path = backup(dir);
    let Ok(metadata) = std::fs::metadata(&path) else {
        return Backup::Absent;
    };
    let at = metadata
        .modified()
        .ok()
        .and_then(|time| jiff::Timestamp::try_from(time).ok())
        .map_or_else(
            || "an unknown time".into(),
            |time| time.strftime("%Y-%m-%d %H:%M UTC").to_string(),
        );
    match whole(open_unwritten(&path)) {
        Ok(Ok(holds)) => Backup::Whole { holds, at },
        Ok(Err(damage)) => Backup::Damaged(damage),
        Err(error) => Backup::Unreadable(error),
    }
}

/// What a database holds that is whole and of a format that this program knows; or its damage, in
/// words.
///
/// # Errors
/// When it could not be looked at: the fault need not be the file's.
fn whole(opened: rusqlite::Result<Connection>) -> rusqlite::Result<Result<Holdings, String>> {
    let read = || -> rusqlite::Result<(i64, String, Holdings)> {
        let connection = opened?;
        let version = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        let verdict = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        Ok((version, verdict, Holdings::of(&connection)?))
    };
    Ok(match read() {
        Ok((_, verdict, _)) if verdict != "ok" => Err(verdict),
        Ok((version, ..)) if !(schema::OLDEST..=schema::VERSION).contains(&version) => {
            Err(format!(
                "its format is {version}, this program knows {}",
                schema::VERSION
            ))
        }
        Ok((.., holds)) => Ok(holds),
        Err(error) if is_damage(&error) => Err(error.to_string()),
        Err(error) => return Err(error),
    })
}

/// Opens a database that nobody writes to: takes no lock and leaves no file beside it, also where
/// nothing can be written.
pub(super) fn open_unwritten(path: &Path) -> rusqlite::Result<Connection> {
    let absolute =
        std::path::absolute(path).map_err(|_| rusqlite::Error::InvalidPath(path.to_owned()))?;
    let mut uri = "file://".to_owned();
    for byte in absolute.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.".contains(byte) {
            uri.push(char::from(*byte));
        } else {
            let _ = write!(uri, "%{byte:02X}");
        }
    }
    Connection::open_with_flags(
        uri + "?immutable=1",
        OpenFlags::SQLITE_OPEN_READ_ONLY
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_URI,
    )
}

/// Does the copy hold more than this database? Then neither may take the other's place unasked.
pub(super) fn refuse_older(dir: &Path, source: &Connection) -> Result<(), JournalError> {
    let path = backup(dir);
    if std::fs::metadata(&path).map_or(0, |metadata| metadata.len()) == 0 {
        return Ok(());
    }
    let copy = match open_unwritten(&path).and_then(|connection| Holdings::of(&connection)) {
        Ok(copy) => copy,
        // A damaged copy is worth less than any whole database.
        Err(error) if is_damage(&error) => return Ok(()),
        Err(error) => return Err(problem(path)(error.to_string())),
    };
    let own = Holdings::of(source).map_err(damaged(dir))?;
    if !copy.exceeds(own) {
        return Ok(());
    }
    let text = format!(
        "it is older than its copy: it holds {own}, and {} {copy}. `netwright restore {}` makes the copy the database again and keeps this one; to go on from this one, move the copy away",
        path.display(),
        dir.display()
    );
    Err(problem(database(dir))(text))
}

/// One rolling copy of a database that was found whole.
///
/// # Errors
/// When the last copy holds more, or none can be written.
pub(super) fn back_up(connection: &Connection, dir: &Path) -> Result<(), JournalError> {
    refuse_older(dir, connection)?;
    let path = backup(dir);
    let partial = dir.join("search.backup.db.partial");
    let _ = std::fs::remove_file(&partial);
    connection
        .backup("main", &partial, None::<fn(rusqlite::backup::Progress)>)
        .map_err(damaged(dir))?;
    replace(&partial, &path).map_err(io(&path))
}

/// The rolling copy of a run that is being written, through a connection of its own, so that the
/// writer goes on. The last copy is replaced only by one that was found whole and holds as much.
pub(super) fn back_up_live(dir: &Path) -> Result<(), JournalError> {
    let path = backup(dir);
    let partial = dir.join("search.backup.db.partial");
    let source = Connection::open_with_flags(database(dir), OpenFlags::SQLITE_OPEN_READ_ONLY)
        .map_err(damaged(dir))?;
    refuse_older(dir, &source)?;
    let copy = || -> rusqlite::Result<String> {
        let _ = std::fs::remove_file(&partial);
        source.backup("main", &partial, None::<fn(rusqlite::backup::Progress)>)?;
        Connection::open(&partial)?.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
    };
    match copy().map_err(damaged(dir))?.as_str() {
        "ok" => replace(&partial, &path).map_err(io(&path)),
        verdict => Err(problem(database(dir))(verdict.to_owned())),
    }
}

/// Renames a file to the one that it replaces, once it is on the disk.
pub(super) fn replace(partial: &Path, path: &Path) -> std::io::Result<()> {
    File::open(partial)?.sync_all()?;
    std::fs::rename(partial, path)
}

/// What `restore` did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Restoration {
    /// False: the database is whole and holds as much as its copy.
    pub restored: bool,
    /// What the database holds now.
    #[serde(flatten)]
    pub holds: Holdings,
    /// When the copy was taken that is the database now.
    pub copied_at: Option<String>,
    /// Where the database is that was replaced.
    pub kept: Option<PathBuf>,
}

/// Makes the copy the database of a run again, if the database is damaged, gone or older than it.
/// What was there is kept beside it, with its log: without it SQLite would apply that to the copy.
///
/// # Errors
/// When a process works on the run, there is no whole copy, or the files cannot be written; nothing
/// is changed then.
pub fn restore(dir: &Path) -> Result<Restoration, JournalError> {
    let path = database(dir);
    if matches!(contents(dir)?, Contents::Nothing | Contents::Others(_)) {
        return Err(JournalError::NoRun {
            path: dir.to_owned(),
        });
    }
    let _lock = acquire(dir)?;
    let current = if std::fs::metadata(&path).is_ok_and(|metadata| metadata.len() > 0) {
        let opened = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY);
        whole(opened).map_err(damaged(dir))?
    } else {
        Err("it is missing or empty".to_owned())
    };
    match (examine(dir), current) {
        (Backup::Whole { holds: copy, at }, current)
            if current.as_ref().map_or(true, |own| copy.exceeds(*own)) =>
        {
            let kept = put_back(dir).map_err(io(&path))?;
            Ok(Restoration {
                restored: true,
                holds: copy,
                copied_at: Some(at),
                kept,
            })
        }
        (_, Ok(holds)) => Ok(Restoration {
            restored: false,
            holds,
            copied_at: None,
            kept: None,
        }),
        (Backup::Unreadable(error), Err(_)) => Err(problem(backup(dir))(error.to_string())),
        (Backup::Damaged(copy), Err(own)) => Err(problem(backup(dir))(format!(
            "is damaged ({copy}), as {} is ({own}): nothing can be restored, and nothing was changed{}",
            path.display(),
            what_is_left(dir)
        ))),
        (_, Err(own)) => Err(problem(backup(dir))(format!(
            "is not there, so nothing can be restored ({}: {own}){}",
            path.display(),
            what_is_left(dir)
        ))),
    }
}

/// Copies the backup, moves what lies in its way aside, and gives the copy its name. Returns where
/// the replaced database is.
fn put_back(dir: &Path) -> std::io::Result<Option<PathBuf>> {
    let partial = dir.join("search.db.partial");
    let _ = std::fs::remove_file(&partial);
    std::fs::copy(backup(dir), &partial)?;
    File::open(&partial)?.sync_all()?;
    let with = |path: &Path, suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let suffixes = ["-wal", "-shm", "-journal", ""];
    let is_free = |path: &PathBuf| {
        suffixes
            .iter()
            .all(|suffix| with(path, suffix).symlink_metadata().is_err())
    };
    let kept = (1..=u32::MAX)
        .map(|number| dir.join(format!("search.replaced-{number}.db")))
        .find(is_free)
        .ok_or(std::io::ErrorKind::AlreadyExists)?;
    let mut moved = false;
    for suffix in suffixes {
        let old = with(&database(dir), suffix);
        if old.symlink_metadata().is_ok() {
            std::fs::rename(&old, with(&kept, suffix))?;
            moved = true;
        }
    }
    std::fs::rename(&partial, database(dir))?;
    File::open(dir)?.sync_all()?;
    Ok(moved.then_some(kept))
}

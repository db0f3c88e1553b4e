//! The folder of a run: whether a run lies in it or may begin there, and how a run is moved aside.
//! A run begins where nothing else lies, so no file of the user's is ever in its way. Must not know
//! what is in the database.

use super::JournalError;
use super::lock::acquire;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

/// Folders of a run. Empty ones may be there before it begins: a link to a larger disk, say.
const FOLDERS: [&str; 4] = ["log", "report", "checkpoints", "weights"];

/// What systems put into a folder by themselves, and what keeps an empty one under version control.
const IGNORED: [&str; 4] = ["lost+found", ".DS_Store", ".gitkeep", ".gitignore"];

/// How many names of files a message lists.
const LISTED: usize = 3;

/// What there is in a folder.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Contents {
    /// Nothing, or what a start has left that came to no database.
    Nothing,
    /// A database.
    Run,
    /// A run whose database is missing or empty.
    Remains,
    /// Files that no run has written: their names.
    Others(Vec<String>),
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> JournalError {
    let path = path.to_owned();
    move |source| JournalError::Io { path, source }
}

fn unfit(path: &Path, problem: String) -> JournalError {
    JournalError::Unfit {
        path: path.to_owned(),
        problem,
    }
}

/// The error of a path in a run that cannot be made or opened for writing.
pub(super) fn unwritable(path: &Path) -> impl FnOnce(std::io::Error) -> JournalError {
    let path = path.to_owned();
    move |error| {
        let source = match error.kind() {
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem | ErrorKind::NotFound => {
                let text = format!(
                    "cannot be written: {error}; a search needs a directory that it may write (--run-dir, run.dir)"
                );
                std::io::Error::new(error.kind(), text)
            }
            _ => error,
        };
        JournalError::Io { path, source }
    }
}

/// Looks into the folder of a run, which need not be there.
///
/// # Errors
/// When it is no folder, or cannot be read.
pub(super) fn contents(dir: &Path) -> Result<Contents, JournalError> {
    if std::fs::metadata(dir).is_ok_and(|found| !found.is_dir()) {
        return Err(unfit(dir, "is a file, and a run is a directory".into()));
    }
    let others = match others(dir) {
        Ok(others) => others,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return match std::fs::read_link(dir) {
                Ok(target) => Err(unfit(
                    dir,
                    format!("is a link to {}, which is not there", target.display()),
                )),
                Err(_) => Ok(Contents::Nothing),
            };
        }
        Err(error) if error.kind() == ErrorKind::NotADirectory => {
            return Err(unfit(dir, "its path leads through a file".into()));
        }
        Err(error) => return Err(io(dir)(error)),
    };
    let has = |name: &str| length(&dir.join(name)) > 0;
    let was_a_run = has("search.backup.db") || dir.join("run.lock").exists();
    Ok(
        if has("search.db") && (was_a_run || is_database_of_a_run(dir)) {
            Contents::Run
        } else if has("search.backup.db") || has("search.db-wal") {
            Contents::Remains
        } else if others.is_empty() {
            Contents::Nothing
        } else if was_a_run && others.iter().all(|name| is_own(name)) {
            Contents::Remains
        } else {
            Contents::Others(others)
        },
    )
}

/// Another program's database has no version, or another header. What a process of an earlier version
/// left that was killed while it made the tables has them in the log.
fn is_database_of_a_run(dir: &Path) -> bool {
    let mut header = [0; 64];
    let read = std::fs::File::open(dir.join("search.db"))
        .and_then(|mut file| file.read_exact(&mut header));
    // https://www.sqlite.org/fileformat2.html: `user_version` has four bytes at 60.
    let has_version = header[60..].iter().any(|byte| *byte != 0);
    read.is_ok()
        && header.starts_with(b"SQLite format 3\0")
        && (has_version || length(&dir.join("search.db-wal")) > 0)
}

/// 0: it is not there.
fn length(file: &Path) -> u64 {
    std::fs::metadata(file).map_or(0, |metadata| metadata.len())
}

/// The files that are in a new run's way, sorted.
pub(super) fn others(dir: &Path) -> std::io::Result<Vec<String>> {
    let mut others = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let left_by_a_start = match name.as_str() {
            "run.lock" | "search.db-shm" => true,
            "search.db" | "search.db-wal" => length(&entry.path()) == 0,
            name if name.starts_with("search.db.partial") || IGNORED.contains(&name) => true,
            name => FOLDERS.contains(&name) && is_empty_folder(&entry.path()),
        };
        if !left_by_a_start {
            others.push(name);
        }
    }
    others.sort_unstable();
    Ok(others)
}

fn is_empty_folder(path: &Path) -> bool {
    let counts = |entry: &std::io::Result<std::fs::DirEntry>| match entry {
        Ok(entry) => !IGNORED.contains(&&*entry.file_name().to_string_lossy()),
        Err(_) => true,
    };
    std::fs::read_dir(path).is_ok_and(|mut entries| !entries.any(|entry| counts(&entry)))
}

/// Is this a name that runs give?
fn is_own(name: &str) -> bool {
    let begins = [
        "search.db",
        "search.backup.db",
        "search.replaced-",
        "retrain-",
    ];
    matches!(name, "run.lock" | "config.partial")
        || FOLDERS.contains(&name)
        || begins.iter().any(|begin| name.starts_with(begin))
        || (name.starts_with("config.") && name.ends_with("toml"))
}

/// The refusal of a folder in which other files lie.
pub(super) fn taken(dir: &Path, others: &[String]) -> JournalError {
    let inside = dir.join("run");
    let such_as = if inside.exists() {
        String::new()
    } else {
        format!(", such as --run-dir {}", inside.display())
    };
    let problem = format!(
        "a run needs a directory of its own, and this one holds other files ({}): take an empty one, or one that is not there yet{such_as}",
        list(others)
    );
    unfit(dir, problem)
}

/// `a, b, c and 4 more`
fn list(names: &[String]) -> String {
    let shown = names[..names.len().min(LISTED)].join(", ");
    match names.len().saturating_sub(LISTED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// May a search run here? Changes nothing. With `fresh`, a run that is here will be moved aside.
///
/// # Errors
/// When the folder cannot be read, holds files that no run has written, or a run whose database is
/// gone.
pub fn check_directory(dir: &Path, fresh: bool) -> Result<(), JournalError> {
    match contents(dir)? {
        Contents::Others(others) => Err(taken(dir, &others)),
        Contents::Remains if !fresh => Err(super::backup::lost(dir)),
        _ => Ok(()),
    }
}

/// Moves an existing run to the first free `<dir>.1`, `<dir>.2`, …; never deletes. None: there was
/// no run. The folder is renamed with all that lies in it, or, where it has to stay, because the
/// working directory or the config file is in it or something is mounted there, the run's own files
/// are moved out of it.
///
/// # Errors
/// When the run is in use, cannot be moved, or lies among files that would have to move with it.
pub fn set_aside(dir: &Path, config: &Path) -> Result<Option<PathBuf>, JournalError> {
    match contents(dir)? {
        Contents::Nothing => return Ok(None),
        Contents::Others(others) => return Err(taken(dir, &others)),
        Contents::Run | Contents::Remains => {}
    }
    let _lock = acquire(dir)?;
    let place = place(dir).map_err(io(dir))?;
    let aside = free_sibling(&place)
        .ok_or_else(|| unfit(dir, "cannot be moved aside: take another --run-dir".into()))?;
    let in_use = is_in_use(&place, config).map_err(io(dir))?;
    if !in_use && rename(&place, &aside)? {
        return Ok(Some(aside));
    }
    let stay: Vec<String> = others(&place)
        .map_err(io(&place))?
        .into_iter()
        .filter(|name| !is_own(name))
        .collect();
    if !stay.is_empty() {
        let problem = format!(
            "--fresh cannot make room here: files that no run has written lie among the run's own ({}); take another --run-dir",
            list(&stay)
        );
        return Err(unfit(dir, problem));
    }
    move_entries(&place, &aside)?;
    Ok(Some(aside))
}

/// The folder itself, by a path that ends in its name: `run/` is `run`; `.`, `..` and a link are
/// what they lead to.
fn place(dir: &Path) -> std::io::Result<PathBuf> {
    let tidy: PathBuf = dir.components().collect();
    let plain = tidy.file_name().is_some() && !tidy.is_symlink();
    if plain { Ok(tidy) } else { tidy.canonicalize() }
}

/// None: the folder has no name, as `/`.
fn free_sibling(place: &Path) -> Option<PathBuf> {
    let name = place.file_name()?;
    let numbered = |number: u32| {
        let mut name = name.to_owned();
        name.push(format!(".{number}"));
        place.with_file_name(name)
    };
    // Asked without following links: one that leads nowhere is not free either.
    (1..=u32::MAX)
        .map(numbered)
        .find(|path| path.symlink_metadata().is_err())
}

/// Does this process stand in the folder, or is the user's config file in it? The run's own
/// `config.toml` is not: the next run writes it again.
fn is_in_use(place: &Path, config: &Path) -> std::io::Result<bool> {
    let place = place.canonicalize()?;
    let holds = |path: std::io::Result<PathBuf>| path.is_ok_and(|path| path.starts_with(&place));
    let config = config.canonicalize();
    let own = config
        .as_ref()
        .is_ok_and(|path| *path == place.join("config.toml"));
    Ok(holds(std::env::current_dir()) || (!own && holds(config)))
}

/// Renames the folder and makes an empty one in its place, to which links still lead. False:
/// something is mounted there, so it has to stay.
fn rename(place: &Path, aside: &Path) -> Result<bool, JournalError> {
    let permissions = std::fs::metadata(place).map_err(io(place))?.permissions();
    match std::fs::rename(place, aside) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::ResourceBusy => return Ok(false),
        Err(error) => return Err(io(place)(error)),
    }
    std::fs::create_dir(place).map_err(io(place))?;
    std::fs::set_permissions(place, permissions).map_err(io(place))?;
    Ok(true)
}

/// Moves all that lies in a folder into a new one; all of it, or nothing.
fn move_entries(place: &Path, aside: &Path) -> Result<(), JournalError> {
    let names = std::fs::read_dir(place)
        .and_then(Iterator::collect::<std::io::Result<Vec<_>>>)
        .map_err(io(place))?
        .into_iter()
        .map(|entry| entry.file_name())
        .filter(|name| !IGNORED.contains(&&*name.to_string_lossy()));
    std::fs::create_dir(aside).map_err(io(aside))?;
    let mut moved = Vec::new();
    for name in names {
        if let Err(error) = std::fs::rename(place.join(&name), aside.join(&name)) {
            for name in moved {
                let _ = std::fs::rename(aside.join(&name), place.join(&name));
            }
            let _ = std::fs::remove_dir(aside);
            return Err(io(&place.join(name))(error));
        }
        moved.push(name);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_known_by_what_lies_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("run");
        let write = |name: &str, text: &str| std::fs::write(dir.join(name), text).unwrap();
        assert_eq!(contents(&dir).unwrap(), Contents::Nothing);
        std::fs::create_dir(&dir).unwrap();
        write("run.lock", "host 1");
        write("search.db", "");
        write("search.db.partial", "half");
        std::fs::create_dir(dir.join("log")).unwrap();
        assert_eq!(
            contents(&dir).unwrap(),
            Contents::Nothing,
            "a start that came to nothing"
        );
        write("log/search.log", "a line");
        assert_eq!(contents(&dir).unwrap(), Contents::Remains);
        write("notes.md", "mine");
        assert_eq!(
            contents(&dir).unwrap(),
            Contents::Others(vec!["log".into(), "notes.md".into()])
        );
        write("search.backup.db", "a copy");
        assert_eq!(contents(&dir).unwrap(), Contents::Remains);
        write("search.db", "damaged or not");
        assert_eq!(contents(&dir).unwrap(), Contents::Run);
        for name in ["run.lock", "search.backup.db"] {
            std::fs::remove_file(dir.join(name)).unwrap();
        }
        let Contents::Others(others) = contents(&dir).unwrap() else {
            panic!("a file of this name makes no run");
        };
        assert_eq!(others, ["log", "notes.md", "search.db"]);
    }

    #[test]
    fn names_are_listed_as_far_as_a_message_can() {
        let names: Vec<String> = ["a", "b", "c", "d", "e"].map(String::from).to_vec();
        assert_eq!(list(&names[..2]), "a, b");
        assert_eq!(list(&names), "a, b, c and 2 more");
    }

    #[test]
    fn a_folder_that_is_left_in_place_is_emptied_of_the_run_alone() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("run");
        std::fs::create_dir_all(place.join("report")).unwrap();
        std::fs::write(place.join("run.lock"), "").unwrap();
        std::fs::write(place.join("search.db"), "a database").unwrap();
        std::fs::write(place.join("my.toml"), "").unwrap();
        let refusal = set_aside(&place, &place.join("my.toml"))
            .unwrap_err()
            .to_string();
        assert!(refusal.contains("(my.toml)"), "{refusal}");
        assert!(!folder.path().join("run.1").exists());
        std::fs::remove_file(place.join("my.toml")).unwrap();
        move_entries(&place, &folder.path().join("run.1")).unwrap();
        assert!(folder.path().join("run.1/search.db").exists());
        assert_eq!(std::fs::read_dir(&place).unwrap().count(), 0);
    }
}

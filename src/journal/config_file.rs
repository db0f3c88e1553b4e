//! A run's `config.toml`: the settings as they were used. It is the run's own file as long as it is
//! what the run wrote; what somebody else has put in its place is kept under another name. Must not
//! know what is in it.

use super::JournalError;
use super::backup::{damaged, replace};
use rusqlite::{Connection, OptionalExtension};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> JournalError {
    let path = path.to_owned();
    move |source| JournalError::Io { path, source }
}

fn fingerprint(text: &[u8]) -> String {
    Sha256::digest(text)
        .iter()
        .fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
}

/// Writes the file, so that a crash leaves the old one or the new one. Returns where a file is now
/// that this run had not written.
///
/// # Errors
/// When it cannot be read, moved or written.
pub(super) fn write(
    connection: &Connection,
    dir: &Path,
    text: &str,
) -> Result<Option<PathBuf>, JournalError> {
    let path = dir.join("config.toml");
    let found = match std::fs::read(&path) {
        Ok(found) => Some(found),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(io(&path)(error)),
    };
    let same = found.as_deref() == Some(text.as_bytes());
    let kept = match found {
        Some(found) if !same && !is_own(connection, &found).map_err(damaged(dir))? => {
            Some(keep(dir, &path).map_err(io(&path))?)
        }
        _ => None,
    };
    if !same {
        let partial = dir.join("config.partial");
        std::fs::write(&partial, text)
            .and_then(|()| replace(&partial, &path))
            .map_err(io(&path))?;
    }
    connection
        .execute(
            "INSERT OR REPLACE INTO meta VALUES ('config', ?1)",
            [fingerprint(text.as_bytes())],
        )
        .map_err(damaged(dir))?;
    Ok(kept)
}

/// Did this run write it? An earlier version did not note what it had written; that has no remarks.
fn is_own(connection: &Connection, found: &[u8]) -> rusqlite::Result<bool> {
    let noted: Option<String> = connection
        .query_row("SELECT value FROM meta WHERE key = 'config'", [], |row| {
            row.get(0)
        })
        .optional()?;
    let has_remarks = || {
        String::from_utf8_lossy(found)
            .lines()
            .any(|line| line.trim_start().starts_with('#'))
    };
    Ok(noted.map_or_else(|| !has_remarks(), |noted| noted == fingerprint(found)))
}

/// Renames it to the first free `config.1.toml`, `config.2.toml`, …
fn keep(dir: &Path, path: &Path) -> std::io::Result<PathBuf> {
    let kept = (1..=u32::MAX)
        .map(|number| dir.join(format!("config.{number}.toml")))
        .find(|kept| kept.symlink_metadata().is_err())
        .ok_or(ErrorKind::AlreadyExists)?;
    std::fs::rename(path, &kept)?;
    Ok(kept)
}

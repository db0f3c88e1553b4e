//! What a run took from elsewhere at its first start: another run's best networks, another
//! controller's parameters. Copied, so that the run depends on nobody. Must not know what the bytes
//! mean.

use super::backup::damaged;
use super::{JournalError, Reader};
use rusqlite::{Connection, Result, params};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;

/// Bytes that belong to a key of the config file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// Such as `enqueue[2]` or `controller.from_run`.
    pub key: String,
    /// Where they were taken from, in words.
    pub origin: String,
    pub data: Vec<u8>,
}

impl Copied {
    /// SHA-256 of the data, in hexadecimal digits.
    pub fn hash(&self) -> String {
        let mut text = String::with_capacity(64);
        for byte in Sha256::digest(&self.data) {
            let _ = write!(text, "{byte:02x}");
        }
        text
    }
}

/// Stores what the run does not have yet.
pub(super) fn store(connection: &Connection, copies: &[Copied]) -> Result<()> {
    let sql = "INSERT OR IGNORE INTO copies VALUES (?1, ?2, ?3, ?4)";
    let mut statement = connection.prepare(sql)?;
    for copy in copies {
        statement.execute(params![copy.key, copy.origin, copy.hash(), copy.data])?;
    }
    Ok(())
}

impl Reader {
    /// All that was copied into the run, by key. A run of an earlier version has nothing.
    ///
    /// # Errors
    /// When the database cannot be read, or a copy is not what it was.
    pub fn copies(&self) -> std::result::Result<Vec<Copied>, JournalError> {
        let table = "SELECT count(*) FROM sqlite_schema WHERE name = 'copies'";
        if self.one(table, [], |row| row.get(0))? != Some(1) {
            return Ok(Vec::new());
        }
        let sql = "SELECT key, origin, data, hash FROM copies ORDER BY key";
        let rows = self.all(sql, [], |row| {
            let copied = Copied {
                key: row.get(0)?,
                origin: row.get(1)?,
                data: row.get(2)?,
            };
            Ok((copied, row.get::<_, String>(3)?))
        })?;
        let mut copies = Vec::with_capacity(rows.len());
        for (copied, hash) in rows {
            if copied.hash() != hash {
                let problem = format!(
                    "what was copied for {} ({}) is not what it was",
                    copied.key, copied.origin
                );
                let source = rusqlite::Error::SqliteFailure(
                    rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT),
                    Some(problem),
                );
                return Err(damaged(self.dir())(source));
            }
            copies.push(copied);
        }
        Ok(copies)
    }
}

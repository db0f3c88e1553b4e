//! The stored snapshots: their formats, which of them a recovery can start from, and which are
//! dropped. Must not know what the parameters mean.

use super::recovery::pairs;
use crate::policy::{AdamState, Baseline};
use crate::strategy::{LearningSettings, Snapshot, StrategyName};
use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// What this program writes. Bytes of postcard carry no names: whoever changes one of the types in
/// a format, `AdamState` and `Baseline` among them, adds a format and keeps reading this one.
const FORMAT: i64 = 2;

/// As written before there were strategies with a state: the learning settings were fields too.
#[derive(Deserialize)]
struct Format1 {
    state: AdamState,
    baseline: Baseline,
    learning_rate: f64,
    baseline_decay: f64,
    entropy_weight: f64,
    accumulate: usize,
    learns: bool,
}

#[derive(Serialize, Deserialize)]
struct Format2 {
    state: AdamState,
    baseline: Baseline,
    /// JSON, as in the log: a new field there is no new format here.
    learning: String,
    strategy: Vec<u8>,
}

fn encode(snapshot: &Snapshot) -> rusqlite::Result<Vec<u8>> {
    let format = Format2 {
        state: snapshot.state.clone(),
        baseline: snapshot.baseline,
        learning: super::writer::json(&snapshot.learning)?,
        strategy: snapshot.strategy.clone(),
    };
    postcard::to_stdvec(&format)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}

/// None: the bytes are not of this format, or the format is unknown.
fn decode(format: i64, data: &[u8]) -> Option<Snapshot> {
    match format {
        1 => {
            let old: Format1 = postcard::from_bytes(data).ok()?;
            let strategy = if old.learns {
                StrategyName::REINFORCE
            } else {
                StrategyName::RANDOM
            };
            Some(Snapshot {
                state: old.state,
                baseline: old.baseline,
                learning: LearningSettings {
                    strategy,
                    learning_rate: old.learning_rate,
                    baseline_decay: old.baseline_decay,
                    entropy_weight: old.entropy_weight,
                    accumulate: old.accumulate,
                    ppo: None,
                },
                strategy: Vec::new(),
            })
        }
        FORMAT => {
            let now: Format2 = postcard::from_bytes(data).ok()?;
            Some(Snapshot {
                state: now.state,
                baseline: now.baseline,
                learning: serde_json::from_str(&now.learning).ok()?,
                strategy: now.strategy,
            })
        }
        _ => None,
    }
}

/// The oldest version that any minibatch was pulled at which is open or comes after this number in
/// the log: recovery needs it.
fn oldest_needed(connection: &Connection, sequence: u64) -> rusqlite::Result<u64> {
    let sql = "SELECT min(oldest) FROM minibatches WHERE sequence IS NULL OR sequence > ?1";
    Ok(connection
        .prepare_cached(sql)?
        .query_row([sequence], |row| row.get::<_, Option<u64>>(0))?
        .unwrap_or(u64::MAX))
}

/// Sequence number and version of every stored snapshot, the newest first.
fn newest_first(connection: &Connection) -> rusqlite::Result<Vec<(u64, u64)>> {
    pairs(
        connection,
        "SELECT sequence, version FROM snapshots ORDER BY sequence DESC",
    )
}

/// The newest snapshot that holds every version that is still needed. A damaged one is passed over
/// for an older one.
pub(super) fn newest_usable(connection: &Connection) -> rusqlite::Result<Option<Snapshot>> {
    for (sequence, version) in newest_first(connection)? {
        if version <= oldest_needed(connection, sequence)? {
            if let Some(snapshot) = load(connection, sequence)? {
                return Ok(Some(snapshot));
            }
            tracing::warn!(sequence, "a snapshot is damaged; an older one is used");
        }
    }
    Ok(None)
}

/// One stored snapshot; None: its checksum does not fit, or its format is unknown.
pub(super) fn load(connection: &Connection, sequence: u64) -> rusqlite::Result<Option<Snapshot>> {
    let sql = "SELECT data, checksum, format FROM snapshots WHERE sequence = ?1";
    let (data, checksum, format): (Vec<u8>, String, i64) =
        connection.query_row(sql, [sequence], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?;
    Ok(if hex(&data) == checksum {
        decode(format, &data)
    } else {
        None
    })
}

/// Sequence numbers of the stored snapshots, ascending.
pub(super) fn numbers(connection: &Connection) -> rusqlite::Result<Vec<u64>> {
    connection
        .prepare("SELECT sequence FROM snapshots ORDER BY sequence")?
        .query_map([], |row| row.get(0))?
        .collect()
}

/// Whether a minibatch that comes after this number in the log was pulled before this version:
/// recovery can never start from such a snapshot.
fn is_outdated(connection: &Connection, sequence: u64, version: u64) -> rusqlite::Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM minibatches WHERE sequence > ?1 AND oldest < ?2)";
    connection
        .prepare_cached(sql)?
        .query_row([sequence, version], |row| row.get(0))
}

/// Writes a snapshot and drops those that recovery will not start from: all before the newest one
/// that it could start from, and those that a minibatch in flight at that number has made useless
/// since. With many controllers there always is one.
pub(super) fn store(connection: &Connection, snapshot: &Snapshot) -> rusqlite::Result<()> {
    let data = encode(snapshot)?;
    let sequence = snapshot.state.sequence;
    let version = snapshot.state.version;
    let sql = "INSERT OR REPLACE INTO snapshots (sequence, version, data, checksum, format)
               VALUES (?1, ?2, ?3, ?4, ?5)";
    connection.execute(sql, params![sequence, version, data, hex(&data), FORMAT])?;
    let now = jiff::Timestamp::now().as_millisecond() as f64 / 1e3;
    connection.execute(
        "INSERT OR REPLACE INTO meta VALUES ('snapshot_at', ?1)",
        [now.to_string()],
    )?;
    for (sequence, version) in newest_first(connection)? {
        if is_outdated(connection, sequence, version)? {
            connection.execute("DELETE FROM snapshots WHERE sequence = ?1", [sequence])?;
        } else if version <= oldest_needed(connection, sequence)? {
            connection.execute("DELETE FROM snapshots WHERE sequence < ?1", [sequence])?;
            break;
        }
    }
    Ok(())
}

fn hex(data: &[u8]) -> String {
    Sha256::digest(data)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(strategy: StrategyName, state: &[u8]) -> Snapshot {
        let mut baseline = Baseline::default();
        baseline.push(0.5, 0.9);
        Snapshot {
            state: AdamState {
                version: 3,
                sequence: 7,
                pending: 1,
                ..AdamState::new(vec![0.25, -1.0])
            },
            baseline,
            learning: LearningSettings {
                strategy,
                learning_rate: 0.1,
                baseline_decay: 0.9,
                entropy_weight: 0.0,
                accumulate: 2,
                ppo: None,
            },
            strategy: state.to_vec(),
        }
    }

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex
            .bytes()
            .filter_map(|digit| (digit as char).to_digit(16).map(|digit| digit as u8))
            .collect();
        digits
            .chunks(2)
            .map(|pair| pair[0] << 4 | pair[1])
            .collect()
    }

    /// Every number of the snapshot above as format 1 and 2 write them alike: state, baseline.
    const STATE_AND_BASELINE: &str =
        "02 0000803e 000080bf 02 00000000 00000000 02 00000000 00000000 02 00000000 00000000 01 03 07
         9899999999 99a93f 989999999999b93f";

    #[test]
    fn a_snapshot_of_before_is_read() {
        // learning_rate, baseline_decay, entropy_weight, accumulate, learns
        let learning = "9a9999999999b93f cdccccccccccec3f 0000000000000000 02";
        for (learns, name) in [
            ("01", StrategyName::REINFORCE),
            ("00", StrategyName::RANDOM),
        ] {
            let data = bytes(&format!("{STATE_AND_BASELINE} {learning} {learns}"));
            assert_eq!(decode(1, &data), Some(snapshot(name, &[])));
        }
    }

    /// These bytes must not change with the program: who changes a type in them adds a format.
    #[test]
    fn the_format_of_today_stays() {
        let snapshot = snapshot(StrategyName::RANDOM, &[1, 2, 3]);
        let json = serde_json::to_string(&snapshot.learning).unwrap();
        let mut expected = bytes(STATE_AND_BASELINE);
        assert!(json.len() < 128, "its length takes one byte: {json}");
        expected.push(json.len() as u8);
        expected.extend(json.as_bytes());
        expected.extend([3, 1, 2, 3]);
        let written = encode(&snapshot).unwrap();
        assert_eq!(written, expected);
        assert_eq!(decode(FORMAT, &written), Some(snapshot));
        assert_eq!(decode(FORMAT + 1, &written), None);
        assert_eq!(decode(FORMAT, &written[1..]), None);
    }
}

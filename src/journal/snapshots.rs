//! The stored snapshots, and the parameters held for minibatches that were pulled before them: their
//! formats, which snapshots a recovery can start from, and which are dropped. Must not know what the
//! parameters mean.

use super::recovery::pairs;
use crate::policy::{AdamState, Baseline, RewardAverages};
use crate::strategy::{HeldParameters, LearningSettings, Snapshot, StrategyName};
use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// What this program writes. Bytes of postcard carry no names: whoever changes one of the types in
/// a format, `AdamState` and `Baseline` among them, adds a format and keeps reading this one.
const FORMAT: i64 = 3;

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

/// As written before advantages had a scale.
#[derive(Deserialize)]
struct Format2 {
    state: AdamState,
    baseline: Baseline,
    learning: String,
    strategy: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct Format3 {
    state: AdamState,
    baseline: Baseline,
    scale: Baseline,
    /// JSON, as in the log: a new field there is no new format here.
    learning: String,
    strategy: Vec<u8>,
}

fn encode(snapshot: &Snapshot) -> rusqlite::Result<Vec<u8>> {
    let (baseline, scale) = snapshot.averages.parts();
    let format = Format3 {
        state: snapshot.state.clone(),
        baseline,
        scale,
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
                averages: old.baseline.into(),
                learning: LearningSettings {
                    strategy,
                    learning_rate: old.learning_rate,
                    baseline_decay: old.baseline_decay,
                    entropy_weight: old.entropy_weight,
                    accumulate: old.accumulate,
                    ppo: None,
                    advantage_bound: None,
                    redraws: false,
                    scores: crate::strategy::Scores::Ranks,
                },
                strategy: Vec::new(),
            })
        }
        2 => {
            let old: Format2 = postcard::from_bytes(data).ok()?;
            Some(Snapshot {
                state: old.state,
                averages: old.baseline.into(),
                learning: serde_json::from_str(&old.learning).ok()?,
                strategy: old.strategy,
            })
        }
        FORMAT => {
            let now: Format3 = postcard::from_bytes(data).ok()?;
            Some(Snapshot {
                state: now.state,
                averages: RewardAverages::new(now.baseline, now.scale),
                learning: serde_json::from_str(&now.learning).ok()?,
                strategy: now.strategy,
            })
        }
        _ => None,
    }
}

/// The oldest version that recovery from a snapshot at this number would have to have: that of the
/// minibatches which are open or come later in the log, but for those whose parameters are held.
fn oldest_needed(connection: &Connection, sequence: u64) -> rusqlite::Result<u64> {
    let of = |rows: &str, values: &[u64]| -> rusqlite::Result<u64> {
        let sql = format!(
            "SELECT min(oldest) FROM minibatches AS own WHERE {rows} AND NOT EXISTS
             (SELECT 1 FROM held WHERE held.controller = own.controller AND held.minibatch = own.minibatch)"
        );
        let oldest = connection
            .prepare_cached(&sql)?
            .query_row(rusqlite::params_from_iter(values), |row| {
                row.get::<_, Option<u64>>(0)
            })?;
        Ok(oldest.unwrap_or(u64::MAX))
    };
    // Two questions, so that the index of sequence numbers answers both.
    Ok(of("sequence IS NULL", &[])?.min(of("sequence > ?1", &[sequence])?))
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

/// The newest snapshot that can be read, whatever may be replayed from it: what it says of the
/// rewards up to its number holds.
pub(super) fn newest(connection: &Connection) -> rusqlite::Result<Option<Snapshot>> {
    for (sequence, _) in newest_first(connection)? {
        if let Some(snapshot) = load(connection, sequence)? {
            return Ok(Some(snapshot));
        }
    }
    Ok(None)
}

/// Whether a minibatch that comes after this number in the log was pulled before this version, and
/// its parameters are not held: recovery can never start from such a snapshot.
fn is_outdated(connection: &Connection, sequence: u64, version: u64) -> rusqlite::Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM minibatches AS own WHERE sequence > ?1 AND oldest < ?2 AND NOT EXISTS
               (SELECT 1 FROM held WHERE held.controller = own.controller AND held.minibatch = own.minibatch))";
    connection
        .prepare_cached(sql)?
        .query_row([sequence, version], |row| row.get(0))
}

/// Writes a snapshot with the parameters of minibatches that are open at its number, and drops what
/// recovery will not start from: the snapshots before the newest one that it could start from, those
/// that can no longer be of use, and parameters held for minibatches that the oldest one left knows.
pub(super) fn store(
    connection: &Connection,
    snapshot: &Snapshot,
    held: &[HeldParameters],
) -> rusqlite::Result<()> {
    let data = encode(snapshot)?;
    let sequence = snapshot.state.sequence;
    let version = snapshot.state.version;
    for held in held {
        hold(connection, held)?;
    }
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
    let sql = "DELETE FROM held WHERE (SELECT sequence FROM minibatches AS own
               WHERE own.controller = held.controller AND own.minibatch = held.minibatch) <= (SELECT min(sequence) FROM snapshots)";
    connection.execute(sql, [])?;
    Ok(())
}

/// Stores the parameters that a minibatch was proposed from, unless they are there. One that is not
/// written down has none: it will be proposed again, from other parameters.
pub(super) fn hold(connection: &Connection, held: &HeldParameters) -> rusqlite::Result<()> {
    let wanted = "SELECT 1 FROM minibatches AS own WHERE controller = ?1 AND minibatch = ?2 AND NOT EXISTS
                  (SELECT 1 FROM held WHERE held.controller = own.controller AND held.minibatch = own.minibatch)";
    let wanted = connection
        .prepare_cached(wanted)?
        .exists([held.controller, held.minibatch])?;
    if !wanted {
        return Ok(());
    }
    let bytes: Vec<u8> = held
        .parameters
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    let sql =
        "INSERT INTO held (controller, minibatch, parameters, checksum) VALUES (?1, ?2, ?3, ?4)";
    connection.prepare_cached(sql)?.execute(params![
        held.controller,
        held.minibatch,
        bytes,
        hex(&bytes)
    ])?;
    Ok(())
}

/// What is held for minibatches that are open or come after this number; None: it is damaged.
pub(super) fn held_after(
    connection: &Connection,
    sequence: u64,
) -> rusqlite::Result<Vec<Option<HeldParameters>>> {
    let sql = "SELECT controller, minibatch, parameters, checksum FROM held
               JOIN minibatches AS own USING (controller, minibatch)
               WHERE own.sequence IS NULL OR own.sequence > ?1 ORDER BY own.number";
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([sequence])?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        let bytes: Vec<u8> = row.get(2)?;
        let whole = hex(&bytes) == row.get::<_, String>(3)?;
        let value = |bytes: &[u8; 4]| f32::from_le_bytes(*bytes);
        let held = HeldParameters {
            controller: row.get(0)?,
            minibatch: row.get(1)?,
            parameters: bytes.as_chunks().0.iter().map(value).collect(),
        };
        all.push(whole.then_some(held));
    }
    Ok(all)
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
        let mut scale = Baseline::default();
        scale.push(0.25, 0.9);
        Snapshot {
            state: AdamState {
                version: 3,
                sequence: 7,
                pending: 1,
                ..AdamState::new(vec![0.25, -1.0])
            },
            averages: RewardAverages::new(baseline, scale),
            learning: LearningSettings {
                strategy,
                learning_rate: 0.1,
                baseline_decay: 0.9,
                entropy_weight: 0.0,
                accumulate: 2,
                ppo: None,
                advantage_bound: None,
                redraws: false,
                scores: crate::strategy::Scores::Ranks,
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

    /// As a snapshot of before has it.
    fn without_scale(snapshot: Snapshot) -> Snapshot {
        let averages = snapshot.averages.parts().0.into();
        Snapshot {
            averages,
            ..snapshot
        }
    }

    /// Every number of the snapshot above as all formats write them alike: state, baseline.
    const STATE_AND_BASELINE: &str =
        "02 0000803e 000080bf 02 00000000 00000000 02 00000000 00000000 02 00000000 00000000 01 03 07
         9899999999 99a93f 989999999999b93f";

    /// 0.1 × 0.25 and 0.1.
    const SCALE: &str = "9899999999 99993f 989999999999b93f";

    #[test]
    fn a_snapshot_of_before_is_read() {
        // learning_rate, baseline_decay, entropy_weight, accumulate, learns
        let learning = "9a9999999999b93f cdccccccccccec3f 0000000000000000 02";
        for (learns, name) in [
            ("01", StrategyName::REINFORCE),
            ("00", StrategyName::RANDOM),
        ] {
            let data = bytes(&format!("{STATE_AND_BASELINE} {learning} {learns}"));
            assert_eq!(decode(1, &data), Some(without_scale(snapshot(name, &[]))));
        }
        let snapshot = without_scale(snapshot(StrategyName::REINFORCE, &[7]));
        let json = serde_json::to_string(&snapshot.learning).unwrap();
        let mut data = bytes(STATE_AND_BASELINE);
        data.push(json.len() as u8);
        data.extend(json.as_bytes());
        data.extend([1, 7]);
        assert_eq!(decode(2, &data), Some(snapshot));
    }

    /// These bytes must not change with the program: who changes a type in them adds a format.
    #[test]
    fn the_format_of_today_stays() {
        let snapshot = snapshot(StrategyName::RANDOM, &[1, 2, 3]);
        let json = serde_json::to_string(&snapshot.learning).unwrap();
        let mut expected = bytes(STATE_AND_BASELINE);
        expected.extend(bytes(SCALE));
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

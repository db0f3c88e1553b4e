//! Learning curves of children that were to be pruned, in the order of the log. Must not know what
//! is made of them.

use super::recovery::parse;
use crate::child::{Curve, LearningCurves, LoggedMinibatch, LoggedTrial};
use rusqlite::{Connection, params};

/// Of the trials `first` to `last` that were trained, and are completed or pruned; by id. An epoch
/// whose metric was not finite has NaN.
pub(super) fn trained(
    connection: &Connection,
    first: u64,
    last: u64,
) -> rusqlite::Result<Vec<LoggedTrial>> {
    let sql = "SELECT id, status = 'completed', epoch, epochs.metric FROM trials JOIN epochs ON trial = id
               WHERE id BETWEEN ?1 AND ?2 AND status IN ('completed', 'pruned') AND reused_from IS NULL ORDER BY id, epoch";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![first, last])?;
    let mut trials: Vec<LoggedTrial> = Vec::new();
    while let Some(row) = rows.next()? {
        let trial = row.get(0)?;
        let epoch = (
            row.get(2)?,
            row.get::<_, Option<f64>>(3)?.unwrap_or(f64::NAN),
        );
        match trials.last_mut().filter(|last| last.trial == trial) {
            Some(last) => last.curve.epochs.push(epoch),
            None => trials.push(LoggedTrial {
                trial,
                curve: Curve {
                    completed: row.get(1)?,
                    epochs: vec![epoch],
                },
            }),
        }
    }
    Ok(trials)
}

/// The latest curves of the log.
pub(super) fn latest(connection: &Connection) -> rusqlite::Result<LearningCurves> {
    // From the index of minibatches whose children were to be pruned.
    let sql = "SELECT first_id, m FROM minibatches WHERE pruning IS NOT NULL AND sequence IS NOT NULL ORDER BY sequence DESC";
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    let mut minibatches = Vec::new();
    let mut found = 0;
    while found < LearningCurves::KEPT
        && let Some(row) = rows.next()?
    {
        let (first, m): (u64, u64) = (row.get(0)?, row.get(1)?);
        let trials = trained(connection, first, (first + m).saturating_sub(1))?;
        found += trials.len();
        minibatches.push(trials);
    }
    let mut curves = LearningCurves::default();
    for trial in minibatches.into_iter().rev().flatten() {
        curves.push(trial.curve);
    }
    Ok(curves)
}

/// Every minibatch whose children were to be pruned.
pub(super) fn minibatches(connection: &Connection) -> rusqlite::Result<Vec<LoggedMinibatch>> {
    let sql = "SELECT sequence, history_sequence, first_id, m, pruning FROM minibatches WHERE pruning IS NOT NULL ORDER BY number";
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    let mut minibatches = Vec::new();
    while let Some(row) = rows.next()? {
        let (first, m): (u64, u64) = (row.get(2)?, row.get(3)?);
        minibatches.push(LoggedMinibatch {
            sequence: row.get(0)?,
            history: row.get::<_, Option<u64>>(1)?.unwrap_or(0),
            first_trial: first,
            pruning: parse(row, 4)?,
            trials: trained(connection, first, (first + m).saturating_sub(1))?,
        });
    }
    Ok(minibatches)
}

//! Whole trials, for those who copy a run to elsewhere: rows, depth and learning curves, a range of
//! ids at a time. Must not know what they are copied to.

use super::JournalError;
use super::reader::{EpochRow, Reader, TrialRow};
use std::collections::HashMap;
use std::ops::RangeInclusive;

/// A trial and all that is recorded of it.
#[derive(Clone, Debug)]
pub struct TrialHistory {
    pub row: TrialRow,
    /// The depth that it, or the trial whose network it evaluates again, was sampled for; None:
    /// nobody sampled it.
    pub layers: Option<usize>,
    /// By epoch.
    pub epochs: Vec<EpochRow>,
}

impl Reader {
    /// The trials of these ids, by id.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn history(&self, ids: RangeInclusive<u64>) -> Result<Vec<TrialHistory>, JournalError> {
        let range = [*ids.start(), *ids.end()];
        let rows = self.rows("WHERE id BETWEEN ?1 AND ?2 ORDER BY id", range)?;
        let mut depths: HashMap<(u64, u64), usize> = HashMap::new();
        // The minibatches of a range lie side by side, but for the first one, which may begin before.
        let sql = "SELECT controller, minibatch, layers FROM minibatches WHERE first_id + m > ?1 AND first_id <= ?2";
        self.each(sql, range, |row| {
            depths.insert((row.get(0)?, row.get(1)?), row.get(2)?);
            Ok(())
        })?;
        let mut epochs: HashMap<u64, Vec<EpochRow>> = HashMap::new();
        let sql = "SELECT epoch, train_loss, metric, seconds, trial FROM epochs WHERE trial BETWEEN ?1 AND ?2 ORDER BY trial, epoch";
        self.each(sql, range, |row| {
            let of = epochs.entry(row.get(4)?).or_default();
            of.push(EpochRow::from_row(row)?);
            Ok(())
        })?;
        let mut history = Vec::with_capacity(rows.len());
        for row in rows {
            let sampled = row.controller.zip(row.minibatch);
            let layers = match sampled.and_then(|key| depths.get(&key)) {
                Some(layers) => Some(*layers),
                None => self.depth_of(row.confirms.or(row.retry_of))?,
            };
            history.push(TrialHistory {
                layers,
                epochs: epochs.remove(&row.id).unwrap_or_default(),
                row,
            });
        }
        Ok(history)
    }

    /// The depth that a trial, or the first of which it is a repetition, was sampled for.
    fn depth_of(&self, mut trial: Option<u64>) -> Result<Option<usize>, JournalError> {
        // Repetitions have higher ids than what they repeat.
        while let Some(id) = trial {
            let sql =
                "SELECT layers FROM minibatches WHERE ?1 BETWEEN first_id AND first_id + m - 1";
            let layers = self.one(sql, [id], |row| row.get(0))?;
            if layers.is_some() {
                return Ok(layers);
            }
            let sql = "SELECT coalesce(confirms, retry_of) FROM trials WHERE id = ?1";
            trial = self.one(sql, [id], |row| row.get(0))?.flatten();
        }
        Ok(None)
    }
}

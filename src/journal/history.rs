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
    /// The depth that it was sampled for; None: nobody sampled it.
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
        let history = rows.into_iter().map(|row| TrialHistory {
            layers: row
                .controller
                .zip(row.minibatch)
                .and_then(|key| depths.get(&key).copied()),
            epochs: epochs.remove(&row.id).unwrap_or_default(),
            row,
        });
        Ok(history.collect())
    }
}

//! The files of a run's `report/`: trials.csv, which grows as trials end, and the charts, which
//! outlive the process. Derived from the journal and never read back, so that a file that is lost
//! or half written is simply made again.

use super::chart::{self, Canvas};
use super::facts::RunFacts;
use super::page;
use super::series::Series;
use crate::child::MetricUnit;
use crate::journal::{EpochRow, JournalError, Reader, TrialRow};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

/// Architectures that are drawn.
const BEST: usize = 5;

/// Trials copied in one query.
const BATCH: u64 = 2_000;

/// What goes wrong with a report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("{}: {source}", path.display())]
    Io {
        path: PathBuf,
        source: std::io::Error,
    },
}

fn io(path: &Path) -> impl Fn(std::io::Error) -> ReportError {
    move |source| ReportError::Io {
        path: path.to_owned(),
        source,
    }
}

/// `report/trials.csv`: every trial that has its outcome, in the order of ending as far as it was
/// watched, with the columns of the table `trials`.
pub struct TrialsFile {
    path: PathBuf,
    reader: Reader,
    writer: csv::Writer<BufWriter<File>>,
    /// Trials up to `last` are written, but for these.
    open: BTreeSet<u64>,
    last: u64,
    seen: u64,
}

impl TrialsFile {
    /// Makes the file anew from the journal of the run in `dir`; an earlier one stays until this
    /// one is whole.
    ///
    /// # Errors
    /// When the run cannot be read or the file cannot be written.
    pub fn create(dir: &Path) -> Result<Self, ReportError> {
        let (folder, reader) = (dir.join("report"), Reader::open(dir)?);
        std::fs::create_dir_all(&folder).map_err(io(&folder))?;
        let (path, partial) = (folder.join("trials.csv"), folder.join("trials.csv.partial"));
        let file = File::create(&partial).map_err(io(&partial))?;
        let mut writer = csv::Writer::from_writer(BufWriter::new(file));
        writer
            .write_record(TrialRow::columns())
            .map_err(|error| io(&path)(error.into()))?;
        let mut trials = Self {
            path,
            reader,
            writer,
            open: BTreeSet::new(),
            last: 0,
            seen: u64::MAX,
        };
        trials.append()?;
        std::fs::rename(&partial, &trials.path).map_err(io(&trials.path))?;
        Ok(trials)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds the trials that have ended since the last time; whole lines, handed to the system
    /// before it returns.
    ///
    /// # Errors
    /// When the run cannot be read or the file cannot be written: the file is then to be made anew.
    pub fn append(&mut self) -> Result<(), ReportError> {
        let version = self.reader.data_version()?;
        if version == self.seen {
            return Ok(());
        }
        for range in ranges(&self.open) {
            self.copy(range)?;
        }
        let newest = self.reader.last_trial()?;
        while self.last < newest {
            let range = self.last + 1..=newest.min(self.last + BATCH);
            self.last = *range.end();
            self.open.extend(range.clone());
            self.copy(range)?;
        }
        self.writer.flush().map_err(io(&self.path))?;
        self.seen = version;
        Ok(())
    }

    fn copy(&mut self, range: std::ops::RangeInclusive<u64>) -> Result<(), ReportError> {
        let Self {
            reader,
            writer,
            open,
            path,
            ..
        } = self;
        let written = reader.records(range, |record, id| {
            if open.remove(&id) {
                writer.write_record(record).map_err(std::io::Error::from)
            } else {
                Ok(())
            }
        })?;
        written.map_err(io(path))
    }
}

/// Neighbouring ids together.
fn ranges(ids: &BTreeSet<u64>) -> Vec<std::ops::RangeInclusive<u64>> {
    let mut ranges: Vec<std::ops::RangeInclusive<u64>> = Vec::new();
    for &id in ids {
        match ranges.last_mut() {
            Some(last) if *last.end() + 1 == id => *last = *last.start()..=id,
            _ => ranges.push(id..=id),
        }
    }
    ranges
}

/// Writes the page's charts into `report/`: reward.svg, and of the best trials drawing and learning
/// curve. Returns what was written.
///
/// # Errors
/// When the run cannot be read or a file cannot be written.
pub fn write_charts(dir: &Path) -> Result<Vec<PathBuf>, ReportError> {
    let (reader, facts, folder) = (Reader::open(dir)?, RunFacts::read(dir), dir.join("report"));
    std::fs::create_dir_all(&folder).map_err(io(&folder))?;
    let mut series = Series::default();
    series.know(reader.last_trial()?);
    reader
        .enqueued()?
        .iter()
        .for_each(|row| series.set_apart(row.id));
    reader.outcomes(|id, reward| series.end(id, reward))?;
    let canvas = Canvas {
        height: 300,
        width: Some(880),
    };
    let shape = series.shape();
    let title = format!("{}: reward over trials", facts.name);
    let mut files = vec![(
        "reward.svg".to_owned(),
        chart::file(&title, &chart::rewards(&shape, canvas), canvas),
    )];
    // Of those found: what was enqueued is known.
    let found = reader
        .top(BEST + reader.enqueued()?.len())?
        .into_iter()
        .filter(|row| row.enqueued.is_none())
        .take(BEST);
    for (rank, row) in (1..).zip(found) {
        files.extend(page::picture(&row.architecture).map(|svg| (format!("best-{rank}.svg"), svg)));
        files.extend(
            curve(&facts, &row, &reader.epochs(row.id)?)
                .map(|svg| (format!("best-{rank}-curve.svg"), svg)),
        );
    }
    // Of an earlier report, which may have had more.
    for rank in 1..=BEST {
        for name in [format!("best-{rank}.svg"), format!("best-{rank}-curve.svg")] {
            let _ = std::fs::remove_file(folder.join(name));
        }
    }
    let mut written = Vec::with_capacity(files.len());
    for (name, svg) in files {
        let path = folder.join(name);
        std::fs::write(&path, svg).map_err(io(&path))?;
        written.push(path);
    }
    Ok(written)
}

fn curve(facts: &RunFacts, row: &TrialRow, epochs: &[EpochRow]) -> Option<String> {
    let values: Vec<(u64, f64)> = epochs
        .iter()
        .filter_map(|row| Some((row.epoch, row.metric?)))
        .collect();
    let canvas = Canvas {
        height: 240,
        width: Some(560),
    };
    let text = |value: f64, digits: usize| match facts.unit {
        MetricUnit::Accuracy => format!("{:.1$}%", 100.0 * value, digits.saturating_sub(2)),
        _ => format!("{value:.digits$}"),
    };
    let title = format!(
        "trial {}: validation {} by epoch",
        row.id,
        facts.unit.name()
    );
    let chart = || {
        chart::curve(
            "curve",
            &values,
            facts.epochs.unwrap_or(1),
            canvas,
            &title,
            text,
        )
    };
    (!values.is_empty()).then(|| chart::file(&title, &chart(), canvas))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_read_together() {
        assert_eq!(ranges(&[1, 2, 3, 7, 9, 10].into()), [1..=3, 7..=7, 9..=10]);
    }
}

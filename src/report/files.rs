//! The files of a run's `report/`: trials.csv, which grows as trials end, the charts, and all of it
//! as one HTML file. They are derived from the journal and never read back, so a file that is lost or half written is simply
//! written again. Must not know who asks for them.

use super::chart::{self, Canvas};
use super::facts::RunFacts;
use super::learned::Learned;
use super::page;
use super::series::Series;
use crate::child::{MetricUnit, number_text};
use crate::journal::{EpochRow, JournalError, Reader, TrialRow};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

/// Number of best trials that are drawn.
const DRAWN_TRIALS: usize = 5;

/// Number of trials copied by one query.
const BATCH: u64 = 2_000;

/// Why a report cannot be written.
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

/// `report/trials.csv`: every trial that has an outcome, with the columns of the table `trials`.
/// Trials that end while the file is open are appended as they end.
pub struct TrialsFile {
    path: PathBuf,
    reader: Reader,
    writer: csv::Writer<BufWriter<File>>,
    /// Trials up to `last_id` that are not written, because they have no outcome yet.
    unfinished: BTreeSet<u64>,
    last_id: u64,
    /// The journal's version at the last append.
    data_version: u64,
}

impl TrialsFile {
    /// Writes the file from the journal of the run in `dir`. It replaces an earlier one only when
    /// it is complete.
    ///
    /// # Errors
    /// When the run cannot be read or the file cannot be written.
    pub fn create(dir: &Path) -> Result<Self, ReportError> {
        let folder = dir.join("report");
        let reader = Reader::open(dir)?;
        std::fs::create_dir_all(&folder).map_err(io(&folder))?;
        let path = folder.join("trials.csv");
        let partial = folder.join("trials.csv.partial");
        let file = File::create(&partial).map_err(io(&partial))?;
        let mut writer = csv::Writer::from_writer(BufWriter::new(file));
        writer
            .write_record(TrialRow::columns())
            .map_err(|error| io(&path)(error.into()))?;
        let mut trials = Self {
            path,
            reader,
            writer,
            unfinished: BTreeSet::new(),
            last_id: 0,
            data_version: u64::MAX,
        };
        trials.append()?;
        std::fs::rename(&partial, &trials.path).map_err(io(&trials.path))?;
        Ok(trials)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends the trials that have ended since the last call. Complete lines have been handed to
    /// the operating system when it returns.
    ///
    /// # Errors
    /// When the run cannot be read or the file cannot be written. The file must then be created
    /// again.
    pub fn append(&mut self) -> Result<(), ReportError> {
        let version = self.reader.data_version()?;
        if version == self.data_version {
            return Ok(());
        }
        for range in ranges(&self.unfinished) {
            self.copy(range)?;
        }
        let newest = self.reader.last_trial()?;
        while self.last_id < newest {
            let range = self.last_id + 1..=newest.min(self.last_id + BATCH);
            self.last_id = *range.end();
            self.unfinished.extend(range.clone());
            self.copy(range)?;
        }
        self.writer.flush().map_err(io(&self.path))?;
        self.data_version = version;
        Ok(())
    }

    /// Writes those trials of `range` that have an outcome and are not written yet.
    fn copy(&mut self, range: std::ops::RangeInclusive<u64>) -> Result<(), ReportError> {
        let Self {
            reader,
            writer,
            unfinished,
            path,
            ..
        } = self;
        let written = reader.records(range, |record, id| {
            if unfinished.remove(&id) {
                writer.write_record(record).map_err(std::io::Error::from)
            } else {
                Ok(())
            }
        })?;
        written.map_err(io(path))
    }
}

/// The ids as ranges of neighbours.
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

/// Writes into `report/` what is made of the whole run: index.html, reward.svg, what was learned of
/// the decisions, and the drawing and learning curve of each of the best sampled trials. Returns the
/// paths of the written files.
///
/// # Errors
/// When the run cannot be read or a file cannot be written.
pub fn write_report(dir: &Path) -> Result<Vec<PathBuf>, ReportError> {
    let reader = Reader::open(dir)?;
    let facts = RunFacts::read(dir);
    let folder = dir.join("report");
    std::fs::create_dir_all(&folder).map_err(io(&folder))?;
    let series = sampled(&reader)?;
    let learned = Learned::read(dir, &reader, &series)?;
    let mut files = vec![
        ("index.html".to_owned(), page::report(dir, &learned)?),
        ("reward.svg".to_owned(), reward_chart(&series, &facts)),
    ];
    for learned in learned {
        let title = format!("{}: {}", facts.name, learned.heading.to_lowercase());
        let svg = chart::file(&title, &learned.picture.svg, learned.picture.canvas);
        files.push((format!("{}.svg", learned.name), svg));
    }
    // Enqueued trials were known before the search, so they are not among the drawn ones.
    let sampled = reader
        .top(DRAWN_TRIALS + reader.enqueued()?.len())?
        .into_iter()
        .filter(|row| row.enqueued.is_none())
        .take(DRAWN_TRIALS);
    for (rank, row) in (1..).zip(sampled) {
        files.extend(page::picture(&row.architecture).map(|svg| (format!("best-{rank}.svg"), svg)));
        files.extend(
            curve(&facts, &row, &reader.epochs(row.id)?)
                .map(|svg| (format!("best-{rank}-curve.svg"), svg)),
        );
    }
    // An earlier report may have had more drawings than this one.
    for rank in 1..=DRAWN_TRIALS {
        for name in [format!("best-{rank}.svg"), format!("best-{rank}-curve.svg")] {
            let _ = std::fs::remove_file(folder.join(name));
        }
    }
    let mut written = Vec::with_capacity(files.len());
    for (name, text) in files {
        let path = folder.join(&name);
        // A reader sees the file of before or this one, and so does the next process.
        let partial = folder.join(name + ".partial");
        std::fs::write(&partial, text).map_err(io(&partial))?;
        std::fs::rename(&partial, &path).map_err(io(&path))?;
        written.push(path);
    }
    Ok(written)
}

/// The outcomes of the sampled trials.
fn sampled(reader: &Reader) -> Result<Series, JournalError> {
    let mut series = Series::default();
    series.extend_to(reader.last_trial()?);
    for id in reader.not_sampled()? {
        series.exclude(id);
    }
    reader.outcomes(|id, reward| series.record(id, reward))?;
    Ok(series)
}

/// The chart of rewards over trials, as an SVG file.
fn reward_chart(series: &Series, facts: &RunFacts) -> String {
    let canvas = Canvas {
        height: 300,
        width: Some(880),
    };
    let title = format!("{}: reward over trials", facts.name);
    let chart = chart::rewards(&series.chart_data(), canvas);
    chart::file(&title, &chart, canvas)
}

/// The learning curve of a trial, as an SVG file; None if it has no epoch with a metric.
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
        MetricUnit::Accuracy => {
            format!("{}%", number_text(100.0 * value, digits.saturating_sub(2)))
        }
        _ => number_text(value, digits),
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

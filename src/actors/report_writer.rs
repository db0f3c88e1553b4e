//! A thread that keeps `report/trials.csv` up to date while the search runs, and writes the rest
//! of the report when it ends. A report that cannot be written is logged and never stops the search. Must not
//! know what is in the files.

use crate::journal::Reader;
use crate::report::{ReportError, TrialsFile, write_report};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often trials that have ended are added.
const INTERVAL: Duration = Duration::from_secs(1);

/// So many trials take a second or more to copy.
const LONG_RUN: u64 = 50_000;

/// Pause after a failure, for a full disk stays full for a while; and before the first copy of a long
/// run.
const RETRY_INTERVAL: Duration = Duration::from_secs(30);

/// The thread's handle.
pub struct ReportWriter {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl ReportWriter {
    /// Starts the thread for the run in `dir`, whose journal is open.
    ///
    /// # Errors
    /// When the system refuses another thread.
    pub fn start(dir: &Path) -> std::io::Result<Self> {
        let (stop, stopped) = mpsc::channel();
        let dir = dir.to_owned();
        let thread = std::thread::Builder::new()
            .name("report".into())
            .spawn(move || {
                let mut report = OpenReport {
                    dir,
                    file: None,
                    failure_reported: false,
                };
                let mut pause = report.first_pause();
                while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(pause) {
                    pause = if report.write() {
                        INTERVAL
                    } else {
                        RETRY_INTERVAL
                    };
                }
                report.write();
                if let Err(error) = write_report(&report.dir) {
                    tracing::warn!("the report is not written: {error}");
                }
            })?;
        Ok(Self { stop, thread })
    }

    /// Writes the last trials and the rest of the report; to be called when the journal is complete.
    pub fn finish(self) {
        let _ = self.stop.send(());
        if self.thread.join().is_err() {
            tracing::error!(
                "the report is not whole: its thread panicked; `netwright report` writes it again"
            );
        }
    }
}

struct OpenReport {
    dir: PathBuf,
    file: Option<TrialsFile>,
    /// True: the log says that the report cannot be written, and it cannot yet.
    failure_reported: bool,
}

impl OpenReport {
    /// A long run is at work again before all its trials are copied.
    fn first_pause(&self) -> Duration {
        let trials = Reader::open(&self.dir).and_then(|reader| reader.last_trial());
        if trials.is_ok_and(|trials| trials > LONG_RUN) {
            RETRY_INTERVAL
        } else {
            INTERVAL
        }
    }

    /// Returns true if the file is up to date.
    fn write(&mut self) -> bool {
        let written = self.update();
        match &written {
            Ok(()) => self.failure_reported = false,
            Err(error) => {
                // The file may be incomplete: the next call creates it again.
                self.file = None;
                if !std::mem::replace(&mut self.failure_reported, true) {
                    tracing::warn!("the report waits: {error}");
                }
            }
        }
        written.is_ok()
    }

    fn update(&mut self) -> Result<(), ReportError> {
        match &mut self.file {
            Some(file) => file.append(),
            empty => {
                *empty = Some(TrialsFile::create(&self.dir)?);
                Ok(())
            }
        }
    }
}

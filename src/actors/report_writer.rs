//! A thread of its own keeps `report/trials.csv` up to date while the search runs, and writes the
//! charts at its end. A report that cannot be written is said and never stops the search. Must not
//! know what the files hold.

use crate::report::{ReportError, TrialsFile, write_charts};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often trials that have ended are added.
const EVERY: Duration = Duration::from_secs(1);

/// Pause after a failure: a full disk is not soon empty.
const PAUSE: Duration = Duration::from_secs(30);

/// The thread's handle.
pub struct ReportWriter {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl ReportWriter {
    /// Of the run in `dir`, whose journal is open.
    ///
    /// # Errors
    /// When there is no thread for it.
    pub fn start(dir: &Path) -> std::io::Result<Self> {
        let (stop, stopped) = mpsc::channel();
        let dir = dir.to_owned();
        let thread = std::thread::Builder::new()
            .name("report".into())
            .spawn(move || {
                let mut desk = OpenReport {
                    dir,
                    file: None,
                    told: false,
                };
                let mut pause = EVERY;
                while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(pause) {
                    pause = if desk.write() { EVERY } else { PAUSE };
                }
                desk.write();
                if let Err(error) = write_charts(&desk.dir) {
                    tracing::warn!("the charts are not written: {error}");
                }
            })?;
        Ok(Self { stop, thread })
    }

    /// Writes what is missing and the charts; to be called when the journal is complete.
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
    /// That it does not work, until it does again.
    told: bool,
}

impl OpenReport {
    /// True if the file is up to date.
    fn write(&mut self) -> bool {
        let written = self.try_to();
        match &written {
            Ok(()) => self.told = false,
            Err(error) => {
                // What was half written is made anew.
                self.file = None;
                if !std::mem::replace(&mut self.told, true) {
                    tracing::warn!("the report waits: {error}");
                }
            }
        }
        written.is_ok()
    }

    fn try_to(&mut self) -> Result<(), ReportError> {
        match &mut self.file {
            Some(file) => file.append(),
            empty => {
                *empty = Some(TrialsFile::create(&self.dir)?);
                Ok(())
            }
        }
    }
}

//! Where log lines go and how they look: all of them to the run's `log/`, warnings and errors also
//! to the terminal, never inside a progress bar; as JSON, all of them to both. Must not know what
//! is logged.

use indicatif::MultiProgress;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// `--log-format`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// Lines for people in log/search.log; warnings and progress on the terminal
    #[default]
    Human,
    /// One JSON object a line, in log/search.log and on standard error; no progress
    Json,
}

/// The run's log file. Lines wait in memory until it is known where the run lives.
#[derive(Clone)]
pub struct LogFile(Arc<Mutex<Target>>);

enum Target {
    Waiting(Vec<u8>),
    File(File),
}

/// Starts logging; what comes before `LogFile::open` is kept for it.
pub fn start(format: LogFormat, bars: MultiProgress) -> LogFile {
    let file = LogFile(Arc::new(Mutex::new(Target::Waiting(Vec::new()))));
    let to_file = file.clone();
    let to_terminal = AroundBars(bars);
    // A line that cannot be written is left out, for the layers would panic over a full standard
    // error. A second start in one process (tests) keeps the first subscriber.
    let _ = match format {
        LogFormat::Human => {
            let to_file = fmt::layer()
                .with_ansi(false)
                .with_target(false)
                .log_internal_errors(false)
                .with_writer(move || to_file.clone());
            let to_terminal = fmt::layer()
                .with_ansi(false)
                .without_time()
                .with_target(false)
                .log_internal_errors(false)
                .with_writer(to_terminal);
            tracing_subscriber::registry()
                .with(to_file.with_filter(ours()))
                .with(to_terminal.with_filter(LevelFilter::WARN))
                .try_init()
        }
        LogFormat::Json => {
            let to_file = fmt::layer()
                .json()
                .flatten_event(true)
                .with_target(false)
                .log_internal_errors(false)
                .with_writer(move || to_file.clone());
            let to_terminal = fmt::layer()
                .json()
                .flatten_event(true)
                .with_target(false)
                .log_internal_errors(false)
                .with_writer(to_terminal);
            tracing_subscriber::registry()
                .with(to_file)
                .with(to_terminal)
                .with(ours())
                .try_init()
        }
    };
    file
}

/// Everything of ours; of the HTTP server only what went wrong.
fn ours() -> Targets {
    Targets::new()
        .with_default(LevelFilter::INFO)
        .with_target("actix_server", LevelFilter::WARN)
}

impl LogFile {
    /// From now on lines go to `log/search.log` of the run, after those that waited.
    ///
    /// # Errors
    /// When the file cannot be opened or written.
    pub fn open(&self, run_dir: &Path) -> std::io::Result<()> {
        let folder = run_dir.join("log");
        std::fs::create_dir_all(&folder)?;
        let mut file = File::options()
            .create(true)
            .append(true)
            .open(folder.join("search.log"))?;
        let mut target = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Target::Waiting(lines) = &*target {
            file.write_all(lines)?;
        }
        *target = Target::File(file);
        Ok(())
    }
}

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Target::Waiting(lines) => lines.write(bytes),
            Target::File(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Standard error, with the bars out of the way while a line is written.
struct AroundBars(MultiProgress);

impl Write for AroundBars {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.suspend(|| std::io::stderr().write(bytes))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().flush()
    }
}

impl<'a> MakeWriter<'a> for AroundBars {
    type Writer = Self;

    fn make_writer(&'a self) -> Self::Writer {
        Self(self.0.clone())
    }
}

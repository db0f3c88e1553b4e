//! Where log lines go: all of them to the run's `log/`, warnings and errors also to the terminal, never inside a progress bar.

use indicatif::MultiProgress;
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// Starts logging for a search in `run_dir`.
///
/// # Errors
/// When the log file cannot be opened.
pub fn start(run_dir: &Path, bars: MultiProgress) -> std::io::Result<()> {
    let folder = run_dir.join("log");
    std::fs::create_dir_all(&folder)?;
    let file = std::fs::OpenOptions::new().create(true).append(true).open(folder.join("search.log"))?;
    let to_file = tracing_subscriber::fmt::layer().with_ansi(false).with_target(false).with_writer(Mutex::new(file));
    let to_terminal = tracing_subscriber::fmt::layer().without_time().with_target(false).with_writer(AroundBars(bars));
    // A second start in one process (tests) keeps the first subscriber.
    let _ = tracing_subscriber::registry()
        .with(to_file.with_filter(LevelFilter::INFO))
        .with(to_terminal.with_filter(LevelFilter::WARN))
        .try_init();
    Ok(())
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

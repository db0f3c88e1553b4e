//! The files of one trial's program: its checkpoint directory, which outlives the process, and the
//! log of what it prints on stderr. Must not know how the program is run.

use super::super::Task;
use super::descendants;
use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// The variable that names the checkpoint directory.
pub const CHECKPOINT_DIR: &str = "NETWRIGHT_CHECKPOINT_DIR";

/// Linux accepts no environment variable above 128 KiB; instead of a longer architecture the
/// program is given the path of a file that holds it.
const MAX_INLINE_BYTES: usize = 100_000;

/// Characters of a program's last line on stderr that a message quotes.
const MAX_QUOTED_STDERR: usize = 200;

/// One trial's files.
pub struct TrialFiles {
    checkpoints: PathBuf,
    architecture: String,
    log: PathBuf,
    log_name: String,
}

impl TrialFiles {
    /// Makes the checkpoint directory, or takes the one that an earlier attempt or process has
    /// left, and ends programs that still write to it.
    ///
    /// # Errors
    /// A file or directory cannot be written.
    pub fn prepare(run_dir: &Path, task: &Task) -> Result<Self, String> {
        let checkpoints = run_dir
            .join("checkpoints")
            .join(format!("trial-{}", task.trial));
        let log_name = format!("log/trial-{}.log", task.trial);
        let files = Self {
            architecture: serde_json::to_string(&task.architecture).unwrap_or_default(),
            log: run_dir.join(&log_name),
            log_name,
            checkpoints,
        };
        if files.checkpoints.is_dir() {
            descendants::kill_left(&files.checkpoints);
        }
        files.make().map_err(|error| {
            format!(
                "{}: cannot be written: {error}",
                files.checkpoints.display()
            )
        })?;
        files
            .begin_log(task.attempt)
            .map_err(|error| format!("{}: cannot be written: {error}", files.log.display()))?;
        Ok(files)
    }

    fn make(&self) -> std::io::Result<()> {
        std::fs::create_dir_all(&self.checkpoints)?;
        std::fs::write(self.file(), &self.architecture)
    }

    /// A later attempt writes below an earlier one.
    fn begin_log(&self, attempt: u32) -> std::io::Result<()> {
        if let Some(folder) = self.log.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let mut log = self.log()?;
        if log.metadata()?.len() > 0 {
            writeln!(log, "--- started again, attempt {} ---", attempt + 1)
        } else {
            Ok(())
        }
    }

    fn file(&self) -> PathBuf {
        self.checkpoints.join("architecture.json")
    }

    pub fn checkpoints(&self) -> &Path {
        &self.checkpoints
    }

    /// The architecture, to be read as stdin: a file, so that a program which never reads it blocks
    /// nobody.
    pub fn architecture(&self) -> std::io::Result<File> {
        File::open(self.file())
    }

    /// The architecture itself, or the path of a file that holds it.
    pub fn inline_or_path(&self) -> OsString {
        if self.architecture.len() <= MAX_INLINE_BYTES {
            self.architecture.clone().into()
        } else {
            self.file().into()
        }
    }

    /// Where stderr goes.
    pub fn log(&self) -> std::io::Result<File> {
        File::options().create(true).append(true).open(&self.log)
    }

    /// The last line on stderr, to follow a failure: a traceback's last line says what went wrong.
    pub fn last_stderr_line(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(8192)..]);
        match text.lines().map(str::trim).rfind(|line| !line.is_empty()) {
            Some(line) if !line.starts_with("--- started again") => format!(
                "; {} ends: {}",
                self.log_name,
                shortened(line, MAX_QUOTED_STDERR)
            ),
            _ => String::new(),
        }
    }

    /// Removes an empty log, and a checkpoint directory that the program did not use.
    pub fn tidy(&self) {
        if self.log.metadata().is_ok_and(|facts| facts.len() == 0) {
            let _ = std::fs::remove_file(&self.log);
        }
        let unused = std::fs::read_dir(&self.checkpoints).is_ok_and(|entries| entries.count() <= 1);
        if unused {
            let _ = std::fs::remove_file(self.file());
            // Fails where something else is in it, which stays.
            let _ = std::fs::remove_dir(&self.checkpoints);
        }
    }
}

/// The text, or its first `max` characters and an ellipsis, without control characters: to be
/// quoted in one line.
pub fn shortened(text: &str, max: usize) -> String {
    let clean: String = text
        .chars()
        .map(|char| if char.is_control() { ' ' } else { char })
        .take(max + 1)
        .collect();
    if clean.chars().count() <= max {
        clean
    } else {
        clean.chars().take(max).chain(['…']).collect()
    }
}

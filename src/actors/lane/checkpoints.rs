//! Checkpoints of children on disk, one file a trial, replaced atomically:
//! `RUN/checkpoints/trial-N/child.checkpoint`, in the directory where a user's program may store
//! files of its own. An error of the disk fails no child. Must not know what is in a checkpoint.

use crate::actors::lane::LaneSignals;
use crate::child::{CHECKPOINT_FILE as NAME, Checkpoints};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// All checkpoints of a run.
pub struct CheckpointFiles {
    folder: PathBuf,
    /// Trials that have one: thousands of quick trials need not ask the disk.
    stored: Mutex<BTreeSet<u64>>,
    /// Numbers the partial files: an abandoned lane never writes to another lane's file.
    writes_begun: AtomicU64,
    /// True: the log says that checkpoints cannot be written, and they cannot yet.
    failure_reported: AtomicBool,
}

impl CheckpointFiles {
    /// The checkpoints of the run in `dir`. Removes those of trials that are not `unfinished`, and
    /// partial files.
    pub fn open(dir: &Path, unfinished: &BTreeSet<u64>) -> Self {
        let folder = dir.join("checkpoints");
        let files = Self {
            folder,
            stored: Mutex::default(),
            writes_begun: AtomicU64::new(0),
            failure_reported: AtomicBool::new(false),
        };
        let entries = std::fs::read_dir(&files.folder)
            .into_iter()
            .flatten()
            .flatten();
        let trial = |entry: std::fs::DirEntry| {
            entry
                .file_name()
                .to_str()?
                .strip_prefix("trial-")?
                .parse::<u64>()
                .ok()
        };
        for trial in entries.filter_map(trial) {
            let runs_again = unfinished.contains(&trial);
            let exists = files.path(trial).exists();
            if runs_again || exists {
                files.clear_partial(trial);
            }
            if exists {
                files.stored().insert(trial);
                if !runs_again {
                    files.remove(trial);
                }
            }
        }
        files
    }

    /// Removes a trial's checkpoint, and its directory if nothing else is in it.
    pub fn remove(&self, trial: u64) {
        if self.stored().remove(&trial) {
            if let Err(error) = std::fs::remove_file(self.path(trial)) {
                tracing::warn!("{}: cannot be removed: {error}", self.path(trial).display());
            }
            let _ = std::fs::remove_dir(self.directory(trial));
        }
    }

    /// One trial's checkpoint, for the lane with these signals.
    pub fn of<'a>(&'a self, trial: u64, signals: &'a LaneSignals) -> ChildCheckpoint<'a> {
        ChildCheckpoint {
            files: self,
            trial,
            signals,
        }
    }

    fn directory(&self, trial: u64) -> PathBuf {
        self.folder.join(format!("trial-{trial}"))
    }

    fn path(&self, trial: u64) -> PathBuf {
        self.directory(trial).join(NAME)
    }

    fn stored(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.stored.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes what a process left that died while it wrote.
    fn clear_partial(&self, trial: u64) {
        let entries = std::fs::read_dir(self.directory(trial))
            .into_iter()
            .flatten()
            .flatten();
        let partial = |entry: &std::fs::DirEntry| {
            entry
                .file_name()
                .to_str()
                .and_then(|name| name.strip_prefix(NAME))
                .is_some_and(|rest| rest.starts_with(".partial-"))
        };
        entries
            .filter(partial)
            .for_each(|entry| drop(std::fs::remove_file(entry.path())));
    }

    fn store(&self, trial: u64, checkpoint: &[u8]) -> std::io::Result<()> {
        std::fs::create_dir_all(self.directory(trial))?;
        let partial = self.directory(trial).join(format!(
            "{NAME}.partial-{}",
            self.writes_begun.fetch_add(1, Ordering::Relaxed)
        ));
        let write = || {
            let mut file = File::create(&partial)?;
            file.write_all(checkpoint)?;
            file.sync_all()?;
            std::fs::rename(&partial, self.path(trial))
        };
        let written = write();
        if written.is_err() {
            // On a full disk the journal needs the space of a partial checkpoint.
            let _ = std::fs::remove_file(&partial);
        } else {
            self.stored().insert(trial);
        }
        written
    }
}

/// One trial's checkpoint.
pub struct ChildCheckpoint<'a> {
    files: &'a CheckpointFiles,
    trial: u64,
    signals: &'a LaneSignals,
}

impl Checkpoints for ChildCheckpoint<'_> {
    fn load(&mut self) -> Option<Vec<u8>> {
        let path = self.files.path(self.trial);
        match std::fs::read(&path) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(
                    "{}: cannot be read: {error}; training begins with the first epoch",
                    path.display()
                );
                None
            }
        }
    }

    fn store(&mut self, checkpoint: &[u8]) {
        // Another lane may be training this trial by now.
        if self.signals.abandoned.load(Ordering::Relaxed) {
            return;
        }
        match self.files.store(self.trial, checkpoint) {
            Ok(()) => {
                tracing::debug!(trial = self.trial, bytes = checkpoint.len(), "checkpoint");
                if self.files.failure_reported.swap(false, Ordering::Relaxed) {
                    tracing::warn!(
                        "{}: checkpoints can be written again",
                        self.files.folder.display()
                    );
                }
            }
            Err(error) => {
                if !self.files.failure_reported.swap(true, Ordering::Relaxed) {
                    let path = self.files.path(self.trial);
                    tracing::warn!(
                        "{}: cannot be written: {error}; children go on, from an earlier checkpoint if interrupted",
                        path.display()
                    );
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(dir: &Path, unfinished: &[u64]) -> CheckpointFiles {
        CheckpointFiles::open(dir, &unfinished.iter().copied().collect())
    }

    fn load(files: &CheckpointFiles, trial: u64) -> Option<Vec<u8>> {
        files.of(trial, &LaneSignals::default()).load()
    }

    #[test]
    fn the_last_one_stored_is_there_for_the_next_process_until_its_trial_has_ended() {
        let dir = tempfile::tempdir().unwrap();
        let files = open(dir.path(), &[]);
        let signals = LaneSignals::default();
        for trial in [3, 4] {
            let mut checkpoint = files.of(trial, &signals);
            assert_eq!(checkpoint.load(), None);
            checkpoint.store(b"first");
            checkpoint.store(b"second");
            assert_eq!(checkpoint.load().unwrap(), b"second");
        }
        let own = dir.path().join("checkpoints/trial-4");
        std::fs::write(own.join("child.checkpoint.partial-7"), "half").unwrap();
        std::fs::create_dir(dir.path().join("checkpoints/trial-5")).unwrap();
        std::fs::write(
            dir.path().join("checkpoints/trial-5/model.pt"),
            "a program's own",
        )
        .unwrap();
        let files = open(dir.path(), &[4, 6]);
        assert_eq!(
            (load(&files, 3), load(&files, 4)),
            (None, Some(b"second".to_vec()))
        );
        assert!(!dir.path().join("checkpoints/trial-3").exists());
        assert_eq!(
            std::fs::read_dir(&own).unwrap().count(),
            1,
            "nothing is left half written"
        );
        files.remove(4);
        files.remove(5);
        assert!(!own.exists() && dir.path().join("checkpoints/trial-5/model.pt").exists());
    }

    #[test]
    fn an_abandoned_lane_stores_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let files = open(dir.path(), &[]);
        let signals = LaneSignals::default();
        signals.abandoned.store(true, Ordering::Relaxed);
        files.of(1, &signals).store(b"late");
        assert_eq!(load(&files, 1), None);
    }

    #[test]
    fn what_cannot_be_written_leaves_the_last_one_and_fails_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let files = open(dir.path(), &[]);
        files.of(1, &LaneSignals::default()).store(b"first");
        // A directory has the name of the next partial file.
        std::fs::create_dir(
            dir.path()
                .join("checkpoints/trial-1/child.checkpoint.partial-1"),
        )
        .unwrap();
        files.of(1, &LaneSignals::default()).store(b"second");
        assert_eq!(load(&files, 1).unwrap(), b"first");
        files.of(1, &LaneSignals::default()).store(b"third");
        assert_eq!(load(&files, 1).unwrap(), b"third");
    }
}

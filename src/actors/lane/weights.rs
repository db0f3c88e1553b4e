//! Weights of the best children on disk, one file a trial: `RUN/weights/trial-N.safetensors`, written
//! before the trial's outcome is reported, removed once an outcome that displaces it is on disk. An
//! error of the disk fails no child. Must not know what is in a file.

use crate::actors::lane::LaneSignals;
use crate::actors::runtime::fault;
use crate::child::{Outcome, Weights};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The weights that a run keeps.
pub struct WeightFiles {
    folder: PathBuf,
    state: Mutex<State>,
    /// Numbers the partial files: an abandoned lane never writes to another lane's file.
    writes_begun: AtomicU64,
    /// True: the log says that weights cannot be written, and they cannot yet.
    failure_reported: AtomicBool,
}

struct State {
    best: Best,
    /// Trials that have a file: thousands of quick trials need not ask the disk.
    stored: BTreeSet<u64>,
    /// Trials whose weights are not kept, whatever their reward.
    left_out: BTreeSet<u64>,
}

/// The trained trials with the highest rewards whose outcomes are on disk: the first of equals is
/// the better one.
struct Best {
    /// How many.
    limit: usize,
    /// Reward and trial, the best first.
    trials: Vec<(f64, u64)>,
}

impl Best {
    /// Where a trial stands, or would stand, among them.
    fn place(&self, trial: u64, reward: f64) -> usize {
        self.trials
            .partition_point(|&(other, id)| other > reward || (other == reward && id <= trial))
    }

    /// Trials with better rewards leave this one no place.
    fn leaves_out(&self, trial: u64, reward: f64) -> bool {
        self.place(trial, reward) >= self.limit
    }

    /// Gives a trial its place; the trials that have none any more.
    fn insert(&mut self, trial: u64, reward: f64) -> Vec<u64> {
        let place = self.place(trial, reward);
        self.trials.insert(place, (reward, trial));
        let end = self.limit.min(self.trials.len());
        self.trials.drain(end..).map(|(_, trial)| trial).collect()
    }
}

fn name(trial: u64) -> String {
    format!("trial-{trial}.safetensors")
}

/// The trial of a file of weights, or of a part of one, and whether it is whole; None: the file is
/// not ours.
fn trial_of(name: &str) -> Option<(u64, bool)> {
    let (trial, rest) = name.strip_prefix("trial-")?.split_once('.')?;
    let trial = trial.parse().ok()?;
    match rest.strip_prefix("safetensors")? {
        "" => Some((trial, true)),
        rest => rest.starts_with(".partial-").then_some((trial, false)),
    }
}

impl WeightFiles {
    /// The weights of the run in `dir`, of as many children as `limit` says. `best`: reward and id
    /// of the best trained trials; an infinite reward keeps a trial whatever comes. Removes files of trials that are neither among them nor
    /// `unfinished`, and partial files.
    pub fn open(
        dir: &Path,
        limit: usize,
        best: impl IntoIterator<Item = (f64, u64)>,
        unfinished: &BTreeSet<u64>,
    ) -> Self {
        let mut ranked = Best {
            limit,
            trials: Vec::new(),
        };
        for (reward, trial) in best {
            ranked.insert(trial, reward);
        }
        let files = Self {
            folder: dir.join("weights"),
            state: Mutex::new(State {
                best: ranked,
                stored: BTreeSet::new(),
                left_out: BTreeSet::new(),
            }),
            writes_begun: AtomicU64::new(0),
            failure_reported: AtomicBool::new(false),
        };
        files.reconcile(unfinished);
        files
    }

    fn reconcile(&self, unfinished: &BTreeSet<u64>) {
        let entries = std::fs::read_dir(&self.folder)
            .into_iter()
            .flatten()
            .flatten();
        let mut state = self.state();
        for entry in entries {
            let Some((trial, is_whole)) = entry.file_name().to_str().and_then(trial_of) else {
                continue;
            };
            let is_kept = state.best.trials.iter().any(|&(_, best)| best == trial)
                || unfinished.contains(&trial);
            if is_whole && is_kept {
                state.stored.insert(trial);
            } else {
                remove_file(&entry.path());
            }
        }
    }

    /// This trial's weights are not kept, and displace none.
    pub fn leave_out(&self, trial: u64) {
        self.state().left_out.insert(trial);
    }

    /// A trial's outcome is on disk: its weights have their place, or are removed, and so are those
    /// that it displaces.
    pub fn committed(&self, trial: u64, outcome: &Outcome) {
        let mut state = self.state();
        let displaced = match outcome {
            _ if state.left_out.contains(&trial) => Vec::new(),
            Outcome::Completed { reward, .. } if reward.is_finite() => {
                state.best.insert(trial, *reward)
            }
            // It runs again.
            Outcome::Stopped => Vec::new(),
            _ => vec![trial],
        };
        for trial in displaced {
            if state.stored.remove(&trial) {
                remove_file(&self.path(trial));
            }
        }
    }

    /// One trial's weights, for the lane with these signals.
    pub fn of<'a>(&'a self, trial: u64, signals: &'a LaneSignals) -> ChildWeights<'a> {
        ChildWeights {
            files: self,
            trial,
            signals,
        }
    }

    fn path(&self, trial: u64) -> PathBuf {
        self.folder.join(name(trial))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the file beside its place, has it on the disk, and renames it.
    fn store(&self, trial: u64, content: &[u8]) -> std::io::Result<()> {
        std::fs::create_dir_all(&self.folder)?;
        let number = self.writes_begun.fetch_add(1, Ordering::Relaxed);
        let partial = self
            .folder
            .join(format!("{}.partial-{number}", name(trial)));
        let write = || {
            let mut file = File::create(&partial)?;
            file.write_all(content)?;
            file.sync_all()?;
            std::fs::rename(&partial, self.path(trial))?;
            // The new name is on the disk too.
            File::open(&self.folder)?.sync_all()
        };
        let written = write();
        if written.is_err() {
            // On a full disk the journal needs the space of a partial file.
            let _ = std::fs::remove_file(&partial);
        } else {
            self.state().stored.insert(trial);
        }
        written
    }
}

fn remove_file(path: &Path) {
    if let Err(error) = std::fs::remove_file(path) {
        tracing::warn!("{}: cannot be removed: {error}", path.display());
    }
}

/// One trial's weights.
pub struct ChildWeights<'a> {
    files: &'a WeightFiles,
    trial: u64,
    signals: &'a LaneSignals,
}

impl Weights for ChildWeights<'_> {
    /// Outcomes that are on disk stay: who has no place now will have none later.
    fn are_wanted(&self, reward: f64) -> bool {
        let state = self.files.state();
        reward.is_finite()
            && !state.left_out.contains(&self.trial)
            && !state.best.leaves_out(self.trial, reward)
    }

    fn keep(&mut self, file: &[u8]) {
        // Another lane may be training this trial by now.
        if self.signals.abandoned.load(Ordering::Relaxed) {
            return;
        }
        match self.files.store(self.trial, file) {
            Ok(()) => {
                tracing::debug!(trial = self.trial, bytes = file.len(), "weights");
                if self.files.failure_reported.swap(false, Ordering::Relaxed) {
                    let folder = self.files.folder.display();
                    tracing::warn!("{folder}: weights can be written again");
                }
            }
            Err(error) => {
                if !self.files.failure_reported.swap(true, Ordering::Relaxed) {
                    let path = self.files.path(self.trial);
                    tracing::warn!(
                        "{}: cannot be written: {error}; rewards count all the same, but these weights are not kept",
                        path.display()
                    );
                }
            }
        }
        fault::point("weights", self.trial);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(dir: &Path, limit: usize, best: &[(f64, u64)], unfinished: &[u64]) -> WeightFiles {
        let unfinished = unfinished.iter().copied().collect();
        WeightFiles::open(dir, limit, best.iter().copied(), &unfinished)
    }

    fn kept(dir: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(dir.join("weights")).into_iter().flatten();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn completed(reward: f64) -> Outcome {
        Outcome::Completed {
            reward,
            metric: reward,
            seconds: None,
        }
    }

    /// A child is trained and its outcome committed, as a lane and the journal do.
    fn train(files: &WeightFiles, trial: u64, reward: f64) -> bool {
        let signals = LaneSignals::default();
        let mut weights = files.of(trial, &signals);
        let wanted = weights.are_wanted(reward);
        if wanted {
            weights.keep(format!("{trial}").as_bytes());
        }
        files.committed(trial, &completed(reward));
        wanted
    }

    #[test]
    fn the_best_so_far_are_kept_and_the_first_of_equals_before_a_later_one() {
        let dir = tempfile::tempdir().unwrap();
        let files = open(dir.path(), 2, &[], &[]);
        let rewards = [(1, 0.1), (2, 0.3), (3, 0.2), (4, 0.05), (5, 0.2), (6, 0.9)];
        let wanted = rewards.map(|(trial, reward)| train(&files, trial, reward));
        assert_eq!(wanted, [true, true, true, false, false, true]);
        let expected = ["trial-2.safetensors", "trial-6.safetensors"];
        assert_eq!(kept(dir.path()), expected);
        // The same trial, when it is trained again after an interruption.
        let files = open(dir.path(), 2, &[(0.9, 6), (0.3, 2)], &[]);
        assert!(!train(&files, 7, 0.3) && train(&files, 1, 0.3));
        let expected = ["trial-1.safetensors", "trial-6.safetensors"];
        assert_eq!(kept(dir.path()), expected);
    }

    #[test]
    fn one_that_is_left_out_keeps_none_and_displaces_none_and_a_confirmed_one_stays() {
        let dir = tempfile::tempdir().unwrap();
        let files = open(dir.path(), 1, &[], &[]);
        train(&files, 1, 0.5);
        files.leave_out(2);
        assert!(!train(&files, 2, 0.9));
        assert_eq!(kept(dir.path()), ["trial-1.safetensors"]);
        let files = open(dir.path(), 2, &[(f64::INFINITY, 1)], &[]);
        assert!(train(&files, 3, 0.7) && train(&files, 4, 0.8));
        let expected = ["trial-1.safetensors", "trial-4.safetensors"];
        assert_eq!(kept(dir.path()), expected);
    }

    #[test]
    fn a_displaced_file_stays_until_the_better_outcome_is_on_disk() {
        let dir = tempfile::tempdir().unwrap();
        let files = open(dir.path(), 1, &[], &[]);
        train(&files, 1, 0.5);
        let signals = LaneSignals::default();
        files.of(2, &signals).keep(b"better");
        assert_eq!(kept(dir.path()).len(), 2);
        files.committed(2, &Outcome::Stopped);
        assert_eq!(kept(dir.path()).len(), 2, "it runs again");
        files.committed(2, &completed(0.6));
        assert_eq!(kept(dir.path()), ["trial-2.safetensors"]);
        files.of(3, &signals).keep(b"of a child that then failed");
        let failed = Outcome::Failed {
            cause: crate::child::Cause::Error,
            error: String::new(),
        };
        files.committed(3, &failed);
        assert_eq!(kept(dir.path()), ["trial-2.safetensors"]);
    }

    #[test]
    fn a_start_removes_what_has_no_place_and_spares_unfinished_trials_and_other_files() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("weights");
        std::fs::create_dir(&folder).unwrap();
        for name in [
            "trial-1.safetensors",
            "trial-2.safetensors",
            "trial-3.safetensors",
            "trial-3.safetensors.partial-4",
            "trial-9.txt",
            "mine.safetensors",
        ] {
            std::fs::write(folder.join(name), name).unwrap();
        }
        let files = open(dir.path(), 1, &[(0.7, 2), (0.5, 1)], &[3]);
        let expected = [
            "mine.safetensors",
            "trial-2.safetensors",
            "trial-3.safetensors",
            "trial-9.txt",
        ];
        assert_eq!(kept(dir.path()), expected);
        files.committed(3, &completed(0.1));
        assert!(!folder.join("trial-3.safetensors").exists());
    }

    #[test]
    fn none_are_kept_where_none_are_wanted_and_an_abandoned_lane_keeps_none() {
        let dir = tempfile::tempdir().unwrap();
        let files = open(dir.path(), 0, &[(0.5, 1)], &[]);
        assert!(!train(&files, 2, 0.9));
        let files = open(dir.path(), 1, &[], &[]);
        let signals = LaneSignals::default();
        assert!(!files.of(1, &signals).are_wanted(f64::NAN));
        signals.abandoned.store(true, Ordering::Relaxed);
        files.of(1, &signals).keep(b"late");
        assert!(kept(dir.path()).is_empty());
    }

    #[test]
    fn what_cannot_be_written_fails_nobody() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("weights"), "a file").unwrap();
        let files = open(dir.path(), 1, &[], &[]);
        assert!(train(&files, 1, 0.5));
        std::fs::remove_file(dir.path().join("weights")).unwrap();
        assert!(train(&files, 2, 0.6));
        assert_eq!(kept(dir.path()), ["trial-2.safetensors"]);
    }
}

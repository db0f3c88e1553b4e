//! The weights that a retraining ended with, and which trial of a search they are of. Changes
//! nothing.

use super::Failure;
use crate::child::{MetricUnit, TestResult, TrainedNetwork};
use crate::journal::{FinalEvaluation, Reader};
use crate::workload::final_weights_file;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// A retraining that has come to its end.
pub struct Retrained {
    /// Its run directory.
    pub dir: PathBuf,
    pub evaluation: FinalEvaluation,
}

impl Retrained {
    /// The retraining that ended with this trial of `run`, which is a search or the retraining
    /// itself. Where there are several, that of the trial alone comes first.
    pub fn of(run: &Path, trial: u64) -> Option<Self> {
        let own = evaluation(run).filter(|own| [own.trial, own.chosen_trial].contains(&trial));
        if let Some(evaluation) = own {
            return Some(Self {
                dir: run.to_owned(),
                evaluation,
            });
        }
        let alone = format!("retrain-{trial}");
        let mut folders: Vec<PathBuf> = std::fs::read_dir(run)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| name(path).starts_with("retrain-"))
            .collect();
        folders.sort_by_key(|path| (name(path) != alone, name(path)));
        folders.into_iter().find_map(|dir| {
            let evaluation = evaluation(&dir)?;
            (evaluation.search_trial == Some(trial)).then_some(Self { dir, evaluation })
        })
    }

    /// The file of the weights.
    pub fn weights_file(&self) -> PathBuf {
        final_weights_file(&self.dir)
    }

    /// The network with these weights, and what they scored on the test set.
    ///
    /// # Errors
    /// The file cannot be read, or is not the one whose hash was recorded.
    pub fn trained(&self) -> Result<TrainedNetwork, Failure> {
        let bytes = read_weights(&self.dir, &self.evaluation.weights_sha256)?;
        let mut trained = trained(&self.dir, &bytes)?;
        trained.record.test.clone_from(&self.evaluation.test);
        Ok(trained)
    }

    /// Which weights they are, in one line.
    pub fn description(&self) -> String {
        let FinalEvaluation {
            epochs,
            training_examples,
            test,
            ..
        } = &self.evaluation;
        let score = test.as_ref().map(|test| format!("; {}", score(test)));
        format!(
            "those of the retraining {}, after epoch {epochs} on {training_examples} examples, training and validation data together{}",
            self.dir.display(),
            score.unwrap_or_default()
        )
    }
}

fn name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

fn evaluation(run: &Path) -> Option<FinalEvaluation> {
    Reader::open(run).ok()?.final_evaluation().ok()?
}

/// SHA-256 of a file's bytes, in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
}

/// The file of the final weights of the retraining in `dir`, whose hash was recorded.
///
/// # Errors
/// It cannot be read, or is another one.
pub fn read_weights(dir: &Path, recorded: &str) -> Result<Vec<u8>, Failure> {
    let path = final_weights_file(dir);
    let bytes = std::fs::read(&path)
        .map_err(|error| Failure::Failed(format!("{}: {error}", path.display())))?;
    let found = sha256(&bytes);
    if found == recorded {
        Ok(bytes)
    } else {
        Err(Failure::Failed(format!(
            "{}: is not the file that the retraining has written: its SHA-256 is {found}, and {recorded} is recorded",
            path.display()
        )))
    }
}

/// The network in such a file.
///
/// # Errors
/// It holds none.
pub fn trained(dir: &Path, bytes: &[u8]) -> Result<TrainedNetwork, Failure> {
    TrainedNetwork::from_file(bytes).map_err(|problem| {
        let path = final_weights_file(dir);
        Failure::Failed(format!("{}: {problem}", path.display()))
    })
}

/// A score on test data, in a few words.
pub fn score(test: &TestResult) -> String {
    match test {
        TestResult::Images(result) => format!("test error {:.2}%", 100.0 * result.error),
        TestResult::Text(result) => match result.bits_per_character {
            Some(bits) => format!("test {}", MetricUnit::BitsPerCharacter.phrase(bits)),
            None => format!("test {}", MetricUnit::Perplexity.phrase(result.perplexity)),
        },
    }
}

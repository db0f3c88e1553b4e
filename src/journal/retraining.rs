//! What a retraining records beside its trials: its networks and recipes, the hash of the winner's
//! final weights, and what these scored on the test set; and how far it has come. Must not know how
//! any of it is computed.

use super::{JournalError, Reader, TrialRow};
use crate::child::{MetricUnit, TestResult};
use crate::workload::Recipes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The fact of a run's identity that makes it a retraining: its [`Recipes`].
pub const RETRAINING: &str = "retraining";

/// The name of the trial that trains the winner on training and validation data: it is enqueued, not
/// sampled.
pub const FINAL_TRAINING: &str = "final training";

/// The key of `meta` that holds the [`FinalWeights`].
pub(super) const FINAL_WEIGHTS: &str = "final_weights";

/// The key of `meta` that holds the [`FinalEvaluation`].
pub(super) const FINAL_EVALUATION: &str = "final_evaluation";

/// The weights that a retraining ends with. They are recorded before the test set is read, and only
/// they are evaluated on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FinalWeights {
    /// The trial of the final training.
    pub trial: u64,
    /// Of the file, in hexadecimal.
    pub sha256: String,
}

/// What a retraining comes to: the network and recipe that validation chose, and the score of the
/// final weights on the test set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FinalEvaluation {
    /// The network that was chosen: `trial 12`, or the name of an architecture's file.
    pub network: String,
    /// The search's trial that it is; None: it comes from a file.
    pub search_trial: Option<u64>,
    /// The trial of this retraining that was chosen by validation.
    pub chosen_trial: u64,
    /// Name and value of what was chosen among several, in order: the network, the recipe.
    pub chosen: Vec<(String, String)>,
    /// On the validation data, trained without them: what it was chosen by.
    pub validation: f64,
    /// Of `validation`.
    pub unit: MetricUnit,
    /// The trial of the final training, on training and validation data.
    pub trial: u64,
    pub epochs: usize,
    /// Images or tokens of the final training.
    pub training_examples: usize,
    /// SHA-256 of the file of weights, in hexadecimal.
    pub weights_sha256: String,
    /// None: there is no test set.
    pub test: Option<TestResult>,
    /// Which test set it was, or why there is none.
    pub test_set: String,
}

/// How far a retraining has come.
#[derive(Clone, Debug)]
pub enum Stage {
    /// Networks and recipes are still being tried.
    Choice,
    /// All of them have an outcome, and all have failed.
    NothingToChoose,
    /// Validation chose this trial; the final training is not done.
    Chosen(Box<TrialRow>),
    /// The final training has failed.
    FinalFailed(Box<TrialRow>),
    /// It has ended; what is missing is the score of its weights. The chosen trial, and that of the
    /// final training.
    Trained(Box<TrialRow>, Box<TrialRow>),
    Evaluated(Box<FinalEvaluation>),
}

impl Reader {
    /// What this run trains again; None: it is no retraining.
    ///
    /// # Errors
    /// When the database cannot be read; so for all that follow.
    pub fn retraining(&self) -> Result<Option<Recipes>, JournalError> {
        let mut identity = self.identity()?;
        let recipes = identity.get_mut(RETRAINING).map(serde_json::Value::take);
        Ok(recipes.and_then(|recipes| serde_json::from_value(recipes).ok()))
    }

    /// The final weights of this retraining; None: it is none, or has not come so far.
    pub fn final_weights(&self) -> Result<Option<FinalWeights>, JournalError> {
        self.recorded(FINAL_WEIGHTS)
    }

    /// What this retraining came to; None: it is none, or has not come so far.
    pub fn final_evaluation(&self) -> Result<Option<FinalEvaluation>, JournalError> {
        self.recorded(FINAL_EVALUATION)
    }

    /// How far this retraining of `trials` networks and recipes has come.
    pub fn stage(&self, trials: u64) -> Result<Stage, JournalError> {
        if let Some(evaluation) = self.final_evaluation()? {
            return Ok(Stage::Evaluated(Box::new(evaluation)));
        }
        // The final training is the only trial that is not one of the choice.
        let last = self.enqueued()?.pop();
        let others = u64::from(last.is_some());
        let finished = self.count("completed")? + self.count("failed")?;
        let is_final = |row: &TrialRow| matches!(row.status.as_str(), "completed" | "failed");
        let chosen_from = finished - u64::from(last.as_ref().is_some_and(is_final));
        if chosen_from < trials || self.last_trial()? < trials + others {
            return Ok(Stage::Choice);
        }
        let Some(chosen) = self.best()?.map(Box::new) else {
            return Ok(Stage::NothingToChoose);
        };
        Ok(match last.map(Box::new) {
            Some(last) if last.status == "completed" => Stage::Trained(chosen, last),
            Some(last) if last.status == "failed" => Stage::FinalFailed(last),
            _ => Stage::Chosen(chosen),
        })
    }

    /// An entry of `meta` that is JSON. One that this program cannot read is another version's, and
    /// as good as none.
    fn recorded<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, JournalError> {
        let text = self.meta(key)?;
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
    }
}

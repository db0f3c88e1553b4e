//! What a retraining records beside its trials: the hash of the winner's final weights, and what
//! these scored on the test set. Must not know how either is computed.

use super::{JournalError, Reader};
use crate::child::{MetricUnit, TestResult};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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
    /// Its recipe: name → value, only of what was chosen among several.
    pub recipe: BTreeMap<String, String>,
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

impl Reader {
    /// The final weights of this retraining; None: it is none, or has not come so far.
    ///
    /// # Errors
    /// When the database cannot be read; so for the next one.
    pub fn final_weights(&self) -> Result<Option<FinalWeights>, JournalError> {
        self.recorded(FINAL_WEIGHTS)
    }

    /// What this retraining came to; None: it is none, or has not come so far.
    pub fn final_evaluation(&self) -> Result<Option<FinalEvaluation>, JournalError> {
        self.recorded(FINAL_EVALUATION)
    }

    /// An entry of `meta` that is JSON. One that this program cannot read is another version's, and
    /// as good as none.
    fn recorded<T: serde::de::DeserializeOwned>(
        &self,
        key: &str,
    ) -> Result<Option<T>, JournalError> {
        let text = self.meta(key)?;
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
    }
}

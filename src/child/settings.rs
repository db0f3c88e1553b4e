//! The `[child]` section.
use serde::{Deserialize, Serialize};

/// Where rewards come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EvaluatorKind {
    /// Train the child on the data.
    Train,
    /// Look it up in a CSV file.
    Table,
}

/// Learning rate over a child's epochs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    Constant,
    /// Half a cosine down to 0 at the end of the last epoch.
    Cosine,
    /// Times `schedule_factor` at each of `schedule_steps` (fractions of all epochs).
    Steps,
}

/// `[child]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ChildSettings {
    pub evaluator: EvaluatorKind,
    pub epochs: usize,
    pub batch_size: usize,
    pub learning_rate: f64,
    /// Nesterov momentum.
    pub momentum: f64,
    pub weight_decay: f64,
    pub schedule: Schedule,
    pub schedule_steps: Vec<f64>,
    pub schedule_factor: f64,
    /// reward = (best validation accuracy of the last `reward_window` epochs) to the power `reward_exponent`.
    pub reward_exponent: f64,
    pub reward_window: usize,
    /// A child that trains for longer ends as failed; unset: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_seconds: Option<f64>,
    /// How often a child is tried when the cause of its failure may pass.
    pub attempts: u32,
    #[serde(skip_serializing_if = "TableSettings::is_empty")]
    pub table: TableSettings,
}

/// `[child.table]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TableSettings {
    /// The CSV file.
    pub path: String,
    /// Reward columns: with several, one is drawn for each trial.
    pub reward: Vec<String>,
    /// Column of training seconds.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub seconds: String,
    /// Columns shown for the best trial and never used by the search.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub report: Vec<String>,
}

impl TableSettings {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Default for ChildSettings {
    /// The paper's recipe (§4.1).
    fn default() -> Self {
        Self {
            evaluator: EvaluatorKind::Train,
            epochs: 50,
            batch_size: 64,
            learning_rate: 0.1,
            momentum: 0.9,
            weight_decay: 1e-4,
            schedule: Schedule::Constant,
            schedule_steps: vec![0.5, 0.75],
            schedule_factor: 0.1,
            reward_exponent: 3.0,
            reward_window: 5,
            max_seconds: None,
            attempts: 3,
            table: TableSettings::default(),
        }
    }
}

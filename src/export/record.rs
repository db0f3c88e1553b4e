//! A run as programs that compare trials take it: plain data, whoever has read it from where.

use crate::child::MetricUnit;
use crate::space::NamedDecision;
use jiff::Timestamp;
use serde_json::{Map, Value};

/// What holds for all trials.
#[derive(Clone, Debug)]
pub struct RunRecord {
    pub name: String,
    pub created: Option<Timestamp>,
    /// What each epoch's metric measures.
    pub metric: MetricUnit,
    /// The settings, as TOML.
    pub settings: String,
}

/// How far a trial is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrialState {
    /// It has not begun, or begins again.
    Waiting,
    Running,
    Completed,
    /// It was ended early because others were better.
    Pruned,
    Failed,
}

impl TrialState {
    /// By the word in the table `trials`.
    pub fn of(status: &str) -> Self {
        match status {
            "running" => Self::Running,
            "completed" => Self::Completed,
            "pruned" => Self::Pruned,
            "failed" => Self::Failed,
            _ => Self::Waiting,
        }
    }
}

/// One trial.
#[derive(Clone, Debug)]
pub struct TrialRecord {
    /// From 1, without gaps.
    pub id: u64,
    pub state: TrialState,
    /// Empty of a network that no decision describes.
    pub decisions: Vec<NamedDecision>,
    pub epochs: Vec<EpochRecord>,
    pub reward: Option<f64>,
    pub started: Option<Timestamp>,
    pub finished: Option<Timestamp>,
    /// What else is known of it, by the names of the table `trials`.
    pub facts: Map<String, Value>,
}

/// One epoch of a trial.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EpochRecord {
    /// From 1.
    pub epoch: u64,
    pub train_loss: Option<f64>,
    pub metric: Option<f64>,
    pub seconds: Option<f64>,
}

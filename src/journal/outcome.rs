//! An outcome as the columns of `trials` that it fills. Must not know what else a trial's row holds.

use super::writer::finite;
use crate::child::{Cause, Outcome};

/// An outcome as the columns of its trial.
#[derive(Default)]
pub(super) struct TrialResult<'a> {
    pub status: &'static str,
    pub reward: Option<f64>,
    pub metric: Option<f64>,
    /// By the evaluator's own count.
    pub seconds: Option<f64>,
    pub error: Option<(Cause, &'a str)>,
}

impl<'a> TrialResult<'a> {
    pub(super) fn of(outcome: &'a Outcome) -> Self {
        let failed = |error| Self {
            status: "failed",
            error: Some(error),
            ..Self::default()
        };
        match outcome {
            Outcome::Completed {
                reward,
                metric,
                seconds,
            } if reward.is_finite() && metric.is_finite() => Self {
                status: "completed",
                reward: Some(*reward),
                metric: Some(*metric),
                seconds: *seconds,
                error: None,
            },
            Outcome::Completed { .. } => failed((
                Cause::Diverged,
                "the evaluator gave a reward that is not finite",
            )),
            Outcome::Pruned {
                reward,
                metric,
                seconds,
                ..
            } => Self {
                status: "pruned",
                reward: finite(*reward),
                metric: finite(*metric),
                seconds: *seconds,
                error: None,
            },
            Outcome::Failed { cause, error } => failed((*cause, error.as_str())),
            Outcome::Stopped => Self {
                status: "stopped",
                ..Self::default()
            },
        }
    }
}

//! How a training ends before its last epoch. Must not know what is trained.

use super::{Cause, ChildSettings, Outcome, Progress};

/// A training that ends before its last epoch.
pub enum End {
    Stopped,
    Failed(Cause, String),
}

impl From<End> for Outcome {
    fn from(end: End) -> Self {
        match end {
            End::Stopped => Self::Stopped,
            End::Failed(cause, error) => Self::Failed { cause, error },
        }
    }
}

/// Ends the training when it is asked to stop or its time is over. `epoch` counts from 0.
pub fn may_go_on(settings: &ChildSettings, epoch: usize, progress: &dyn Progress) -> Result<(), End> {
    if progress.stop_requested() {
        return Err(End::Stopped);
    }
    match settings.max_seconds {
        Some(limit) if progress.elapsed() > limit => {
            let epochs = settings.epochs;
            let error = format!("not trained within {limit} seconds (child.max_seconds): stopped in epoch {} of {epochs}", epoch + 1);
            Err(End::Failed(Cause::Timeout, error))
        }
        _ => Ok(()),
    }
}

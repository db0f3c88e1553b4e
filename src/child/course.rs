//! A child's way through its epochs: where it stands, when it keeps a checkpoint, and when it ends
//! before its last epoch. Must not know what is trained, nor any clock or file but its caller's.

use super::checkpoint::{Fingerprint, Standing, decode, encode, fingerprint};
use super::{Cause, ChildSettings, Epoch, Outcome, Progress, Task};

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

/// The training of one child. Between two steps its tensors and its standing are all that the rest
/// of the training depends on.
pub struct Course<'a> {
    settings: &'a ChildSettings,
    progress: &'a mut dyn Progress,
    fingerprint: Fingerprint,
    standing: Standing,
    /// Somebody keeps checkpoints.
    keeps: bool,
    resumed: bool,
    /// Something was done since the last checkpoint.
    moved: bool,
    /// By the caller's clock: when the last checkpoint was taken.
    kept_at: f64,
    /// What is to be added to the caller's clock for the seconds of training in all.
    before: f64,
    /// In seconds of training: when the epoch began.
    epoch_began: f64,
}

impl<'a> Course<'a> {
    /// At the beginning; or where the child was interrupted, if a checkpoint of this very training
    /// is kept: then `tensors` are as they were. One that does not fit is passed over.
    pub fn begin(
        settings: &'a ChildSettings,
        task: &Task,
        facts: &str,
        tensors: &mut [&mut [f32]],
        progress: &'a mut dyn Progress,
    ) -> Self {
        let fingerprint = fingerprint(settings, task, facts);
        let (keeps, kept) = match progress.checkpoints() {
            None => (false, None),
            Some(checkpoints) => (true, checkpoints.load()),
        };
        let taken = kept.and_then(|bytes| match decode(&bytes, &fingerprint, tensors) {
            Ok(standing) => Some(standing),
            Err(reason) => {
                tracing::warn!(
                    trial = task.trial,
                    "the checkpoint {reason}; training begins with the first epoch"
                );
                None
            }
        });
        let resumed = taken.is_some();
        let standing = taken.unwrap_or_default();
        let now = if keeps { progress.elapsed() } else { 0.0 };
        let before = if resumed { standing.seconds - now } else { 0.0 };
        if resumed {
            let (epoch, step) = (standing.epochs.len() + 1, standing.step);
            tracing::info!(
                trial = task.trial,
                epoch,
                step,
                "goes on from its checkpoint"
            );
            progress.resumed(&standing.epochs);
        }
        let epoch_began = standing.seconds - standing.epoch_seconds;
        Self {
            settings,
            progress,
            fingerprint,
            standing,
            keeps,
            resumed,
            moved: false,
            kept_at: now,
            before,
            epoch_began,
        }
    }

    /// The epoch that is to be trained, from 0; None: all have ended.
    pub fn next_epoch(&mut self) -> Option<usize> {
        let epoch = self.epoch();
        if epoch >= self.settings.epochs {
            return None;
        }
        if self.standing.step == 0 {
            self.epoch_began = self.seconds();
        }
        Some(epoch)
    }

    /// Epochs that have ended.
    pub fn epoch(&self) -> usize {
        self.standing.epochs.len()
    }

    /// Steps of this epoch that are done.
    pub fn steps(&self) -> usize {
        self.standing.step
    }

    /// The sum of their losses.
    pub fn loss(&self) -> f64 {
        self.standing.loss
    }

    /// What the reward is computed from, of each epoch that has ended.
    pub fn scores(&self) -> &[f64] {
        &self.standing.scores
    }

    /// Seconds of the whole training, where the caller's clock knows a part of it alone.
    pub fn seconds_if_resumed(&self) -> Option<f64> {
        self.resumed.then(|| self.seconds())
    }

    fn seconds(&self) -> f64 {
        self.before + self.progress.elapsed()
    }

    /// Between two steps: keeps a checkpoint if it is time for one, or the last moment.
    ///
    /// # Errors
    /// The training is asked to stop, or its time is over.
    pub fn rest(&mut self, tensors: &[&mut [f32]]) -> Result<(), End> {
        let stop = self.progress.stop_requested();
        if self.keeps
            && self.moved
            && (stop || (self.settings.checkpoint_seconds > 0.0 && self.is_due()))
        {
            self.keep(tensors);
        }
        if stop {
            return Err(End::Stopped);
        }
        match self.settings.max_seconds {
            Some(limit) if self.seconds() > limit => {
                let (epoch, epochs) = (self.epoch() + 1, self.settings.epochs);
                let error = format!(
                    "not trained within {limit} seconds (child.max_seconds): stopped in epoch {epoch} of {epochs}"
                );
                Err(End::Failed(Cause::Timeout, error))
            }
            _ => Ok(()),
        }
    }

    /// A step on this many training examples is done.
    pub fn stepped(&mut self, loss: f64, examples: usize) {
        self.standing.step += 1;
        self.standing.loss += loss;
        self.moved = true;
        self.progress.examples(examples);
    }

    /// A heartbeat: no training examples.
    pub fn beat(&mut self) {
        self.progress.examples(0);
    }

    /// The epoch is trained and validated.
    pub fn epoch_ended(
        &mut self,
        train_loss: f64,
        metric: f64,
        score: f64,
        tensors: &[&mut [f32]],
    ) {
        let seconds = self.seconds() - self.epoch_began;
        let epoch = Epoch {
            epoch: self.epoch() + 1,
            train_loss: Some(train_loss),
            metric,
            seconds,
        };
        self.standing.epochs.push(epoch.clone());
        self.standing.scores.push(score);
        (self.standing.step, self.standing.loss) = (0, 0.0);
        self.moved = true;
        self.progress.epoch(epoch);
        if self.keeps && self.epoch() < self.settings.epochs && self.is_due() {
            self.keep(tensors);
        }
    }

    fn is_due(&self) -> bool {
        self.progress.elapsed() - self.kept_at >= self.settings.checkpoint_seconds
    }

    fn keep(&mut self, tensors: &[&mut [f32]]) {
        self.standing.seconds = self.seconds();
        self.standing.epoch_seconds = if self.standing.step == 0 {
            0.0
        } else {
            self.standing.seconds - self.epoch_began
        };
        let bytes = encode(&self.fingerprint, &self.standing, tensors);
        if let Some(checkpoints) = self.progress.checkpoints() {
            checkpoints.store(&bytes);
        }
        // A slow disk is no frozen child, and is not to be kept busy.
        self.beat();
        (self.kept_at, self.moved) = (self.progress.elapsed(), false);
    }
}

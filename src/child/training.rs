//! The training of one child, epoch by epoch: how far it is, when it stores a checkpoint, and when
//! it ends early. Must not know what is trained, nor any clock or file but its caller's.

use super::checkpoint::{Fingerprint, TrainingState, decode, encode, fingerprint};
use super::engine::{Engine, Evaluation, Place, Steps};
use super::{Cause, ChildSettings, Epoch, Outcome, Progress, Pruning, Task};

/// A training that ends before its last epoch.
pub enum EarlyEnd {
    Stopped,
    Failed(Cause, String),
}

impl std::fmt::Display for EarlyEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self {
            Self::Stopped => f.write_str("it was asked to stop"),
            Self::Failed(_, error) => f.write_str(error),
        }
    }
}

impl From<EarlyEnd> for Outcome {
    fn from(end: EarlyEnd) -> Self {
        match end {
            EarlyEnd::Stopped => Self::Stopped,
            EarlyEnd::Failed(cause, error) => Self::Failed { cause, error },
        }
    }
}

/// The training of one child. Between two steps, its engine's tensors and its state are all that the
/// rest of the training depends on.
pub struct Training<'a> {
    settings: &'a ChildSettings,
    progress: &'a mut dyn Progress,
    pruning: Option<Pruning>,
    /// The epoch after which the child is pruned.
    pruned_after: Option<usize>,
    fingerprint: Fingerprint,
    state: TrainingState,
    /// Checkpoints are stored somewhere.
    stores_checkpoints: bool,
    resumed: bool,
    /// A step was done, or an epoch has ended, since the last checkpoint.
    changed_since_checkpoint: bool,
    /// By the caller's clock, in seconds.
    last_checkpoint_at: f64,
    /// Seconds to add to the caller's clock for the time of the whole training: that of earlier
    /// processes.
    clock_offset: f64,
    /// In seconds of the whole training.
    epoch_started_at: f64,
}

impl<'a> Training<'a> {
    /// At the first epoch; or where the child was interrupted, if there is a checkpoint of this
    /// very training under the same numerics: then the engine takes it up. A checkpoint that does
    /// not fit is ignored.
    ///
    /// # Errors
    /// What the engine's device reports.
    pub fn begin(
        settings: &'a ChildSettings,
        task: &Task,
        facts: &str,
        engine: &mut dyn Engine,
        progress: &'a mut dyn Progress,
    ) -> Result<Self, EarlyEnd> {
        let fingerprint = fingerprint(settings, task, facts);
        let (stores_checkpoints, stored) = match progress.checkpoints() {
            None => (false, None),
            Some(checkpoints) => (true, checkpoints.load()),
        };
        let numerics = engine.numerics();
        let lengths = engine.tensor_lengths();
        let read = stored.map(|bytes| decode(&bytes, &fingerprint, &numerics, &lengths));
        let loaded = match read {
            None => None,
            Some(Ok((state, tensors))) => {
                let place = Place {
                    epoch: state.epochs.len(),
                    step: state.step,
                };
                engine.resume(place, &tensors)?;
                Some(state)
            }
            Some(Err(reason)) => {
                tracing::warn!(
                    trial = task.trial,
                    "the checkpoint {reason}; training begins with the first epoch"
                );
                None
            }
        };
        let resumed = loaded.is_some();
        let state = loaded.unwrap_or_default();
        let now = if stores_checkpoints {
            progress.elapsed()
        } else {
            0.0
        };
        let clock_offset = if resumed { state.seconds - now } else { 0.0 };
        if resumed {
            tracing::info!(
                trial = task.trial,
                epoch = state.epochs.len() + 1,
                step = state.step,
                "goes on from its checkpoint"
            );
            progress.resumed(&state.epochs);
        }
        let epoch_started_at = state.seconds - state.epoch_seconds;
        Ok(Self {
            settings,
            progress,
            pruned_after: pruned_after(task.pruning.as_ref(), &state.epochs),
            pruning: task.pruning.clone(),
            fingerprint,
            state,
            stores_checkpoints,
            resumed,
            changed_since_checkpoint: false,
            last_checkpoint_at: now,
            clock_offset,
            epoch_started_at,
        })
    }

    /// Whether there is an epoch to be trained: not if all have ended, or the child is pruned.
    pub fn next_epoch(&mut self) -> bool {
        if self.epoch() >= self.settings.epochs || self.pruned_after.is_some() {
            return false;
        }
        if self.state.step == 0 {
            self.epoch_started_at = self.seconds();
        }
        true
    }

    /// The number of epochs that have ended.
    fn epoch(&self) -> usize {
        self.state.epochs.len()
    }

    /// For each epoch that has ended, the number that the reward is computed from.
    pub fn scores(&self) -> &[f64] {
        &self.state.scores
    }

    /// Seconds of the whole training, where the caller's clock knows only a part of it.
    fn seconds_if_resumed(&self) -> Option<f64> {
        self.resumed.then(|| self.seconds())
    }

    fn seconds(&self) -> f64 {
        self.clock_offset + self.progress.elapsed()
    }

    /// To be called between two steps: stores a checkpoint if one is due, or if the training stops
    /// here.
    ///
    /// # Errors
    /// The training was asked to stop, its time is over, or the device does not give its numbers.
    pub fn between_steps(&mut self, engine: &mut dyn Engine) -> Result<(), EarlyEnd> {
        let stop = self.progress.stop_requested();
        if self.stores_checkpoints
            && self.changed_since_checkpoint
            && (stop || (self.settings.checkpoint_seconds > 0.0 && self.checkpoint_is_due()))
        {
            self.store_checkpoint(engine)?;
        }
        if stop {
            return Err(EarlyEnd::Stopped);
        }
        match self.settings.max_seconds {
            Some(limit) if self.seconds() > limit => {
                let error = format!(
                    "not trained within {limit} seconds (child.max_seconds): stopped in epoch {} of {}",
                    self.epoch() + 1,
                    self.settings.epochs
                );
                Err(EarlyEnd::Failed(Cause::Timeout, error))
            }
            _ => Ok(()),
        }
    }

    /// These steps are done.
    pub fn steps_done(&mut self, steps: Steps) {
        self.state.step += steps.count;
        self.state.loss += steps.loss;
        self.changed_since_checkpoint = true;
        self.progress.examples(steps.examples);
    }

    /// The network costs this; see [`Progress::cost`].
    pub fn cost(&mut self, cost: f64) {
        self.progress.cost(cost);
    }

    /// Seconds by the caller's clock, from any moment on.
    pub fn clock(&self) -> f64 {
        self.progress.elapsed()
    }

    /// Shows that the child is at work, without training examples.
    pub fn heartbeat(&mut self) {
        self.progress.examples(0);
    }

    /// The epoch is trained and evaluated.
    ///
    /// # Errors
    /// The device does not give the numbers of a checkpoint.
    pub fn epoch_ended(
        &mut self,
        engine: &mut dyn Engine,
        evaluation: Evaluation,
    ) -> Result<(), EarlyEnd> {
        let epoch = Epoch {
            epoch: self.epoch() + 1,
            train_loss: Some(self.state.loss / engine.epoch_losses().max(1) as f64),
            metric: evaluation.metric,
            seconds: self.seconds() - self.epoch_started_at,
        };
        self.state.epochs.push(epoch.clone());
        self.state.scores.push(evaluation.score);
        self.state.step = 0;
        self.state.loss = 0.0;
        self.changed_since_checkpoint = true;
        self.progress.epoch(epoch);
        self.pruned_after = pruned_after(self.pruning.as_ref(), &self.state.epochs);
        let more = self.epoch() < self.settings.epochs && self.pruned_after.is_none();
        if self.stores_checkpoints && more && self.checkpoint_is_due() {
            self.store_checkpoint(engine)?;
        }
        Ok(())
    }

    /// The child is trained: its weights are kept, if the caller wants those of a child with this
    /// reward. `file` makes the file that holds them, after the epoch that it is given.
    fn keep_weights(&mut self, reward: f64, file: impl FnOnce(&Epoch) -> Result<Vec<u8>, String>) {
        let (Some(last), Some(weights)) = (self.state.epochs.last(), self.progress.weights())
        else {
            return;
        };
        if !weights.are_wanted(reward) {
            return;
        }
        match file(last) {
            Ok(file) => weights.keep(&file),
            Err(problem) => tracing::warn!("weights cannot be kept: {problem}"),
        }
        // A child that waits for a slow disk is not frozen.
        self.heartbeat();
    }

    /// The outcome after the last epoch, whose weights are kept if the child was trained to its end.
    pub fn outcome(
        mut self,
        metric: f64,
        reward: f64,
        file: impl FnOnce(&Epoch) -> Result<Vec<u8>, String>,
    ) -> Outcome {
        if let Some(epoch) = self.pruned_after {
            return Outcome::Pruned {
                epoch,
                reward: Some(reward),
                metric: Some(metric),
                seconds: self.seconds_if_resumed(),
            };
        }
        self.keep_weights(reward, file);
        Outcome::Completed {
            reward,
            metric,
            seconds: self.seconds_if_resumed(),
        }
    }

    fn checkpoint_is_due(&self) -> bool {
        self.progress.elapsed() - self.last_checkpoint_at >= self.settings.checkpoint_seconds
    }

    fn store_checkpoint(&mut self, engine: &mut dyn Engine) -> Result<(), EarlyEnd> {
        self.state.seconds = self.seconds();
        self.state.epoch_seconds = if self.state.step == 0 {
            0.0
        } else {
            self.state.seconds - self.epoch_started_at
        };
        let numerics = engine.numerics();
        let bytes = encode(
            &self.fingerprint,
            &numerics,
            &self.state,
            &engine.tensors()?,
        );
        if let Some(checkpoints) = self.progress.checkpoints() {
            checkpoints.store(&bytes);
        }
        // A child that waits for a slow disk is not frozen. The next checkpoint is counted from
        // here, so that such a disk is not busy all the time.
        self.heartbeat();
        self.last_checkpoint_at = self.progress.elapsed();
        self.changed_since_checkpoint = false;
        Ok(())
    }
}

/// The epoch after which a child with these epochs is pruned.
fn pruned_after(pruning: Option<&Pruning>, epochs: &[Epoch]) -> Option<usize> {
    let epochs = epochs.iter();
    pruning?.pruned_after(epochs.map(|epoch| (epoch.epoch, epoch.metric)))
}

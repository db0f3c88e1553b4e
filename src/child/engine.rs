//! A child in training, wherever it is: it owns parameters, optimiser, running statistics and its
//! place in the data, and is asked for steps, for an evaluation, for a checkpoint. Must not know
//! rewards, nor where checkpoints are stored.

use super::training::{EarlyEnd, Training};
use crate::kernels::{Isa, ParameterSlot};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;

/// Whose arithmetic a child's numbers come from: under the same numerics the same training gives
/// the same bits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numerics {
    /// What computes: `cpu`, `cuda`, or `candle` on a GPU.
    pub engine: String,
    /// What numbers are computed in, `f32`.
    pub precision: String,
    /// Vector instructions of a CPU (`avx512`), compute capability of a GPU (`9.0`).
    pub instructions: String,
    /// CPU threads that share a sum.
    pub threads: usize,
}

impl Numerics {
    /// Of the kernels on this machine's CPU.
    pub fn cpu(threads: usize) -> Self {
        Self {
            engine: "cpu".into(),
            precision: "f32".into(),
            instructions: Isa::detect().name().into(),
            threads,
        }
    }

    /// Of candle's tensors on a GPU.
    pub fn candle() -> Self {
        Self {
            engine: "candle".into(),
            precision: "f32".into(),
            instructions: String::new(),
            threads: 1,
        }
    }
}

/// As a line of the log says it: `cpu, f32, avx512, 2 threads`.
impl fmt::Display for Numerics {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}, {}", self.engine, self.precision)?;
        if !self.instructions.is_empty() {
            write!(f, ", {}", self.instructions)?;
        }
        match self.threads {
            1 => f.write_str(", 1 thread"),
            threads => write!(f, ", {threads} threads"),
        }
    }
}

/// A place in the training data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Counted from 0.
    pub epoch: usize,
    /// Steps of the epoch that are done.
    pub step: usize,
}

impl Place {
    /// The beginning of the next epoch.
    pub fn next_epoch(self) -> Self {
        Self {
            epoch: self.epoch + 1,
            step: 0,
        }
    }
}

/// What some steps gave.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Steps {
    pub count: usize,
    /// The sum of the losses of all their training examples.
    pub loss: f64,
    /// Training examples that were used.
    pub examples: usize,
}

/// What an evaluation gave.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evaluation {
    /// As the user reads it.
    pub metric: f64,
    /// The number that the reward is computed from.
    pub score: f64,
}

impl Evaluation {
    /// The accuracy of `correct` predictions of `count`; of none it is not a number.
    pub fn of_predictions(correct: usize, count: usize) -> Self {
        let accuracy = match count {
            0 => f64::NAN,
            _ => correct as f64 / count as f64,
        };
        Self {
            metric: accuracy,
            score: accuracy,
        }
    }
}

/// The lengths of an image network's tensors in a checkpoint: parameters, their velocity, running
/// statistics, and the averages of parameters and running statistics if `averages`.
pub fn trained_lengths(parameters: usize, running: usize, averages: bool) -> Vec<usize> {
    let trained = [parameters, parameters, running];
    let average = [parameters, running].into_iter().filter(|_| averages);
    trained.into_iter().chain(average).collect()
}

/// A trained tensor after the other: where they lie, and the packed numbers.
pub type Weights<'a> = (&'a [ParameterSlot], Cow<'a, [f32]>);

/// A child on its device.
pub trait Engine {
    fn numerics(&self) -> Numerics;

    fn place(&self) -> Place;

    /// Steps of one epoch.
    fn epoch_steps(&self) -> usize;

    /// What the sum of an epoch's losses is divided by for their mean.
    fn epoch_losses(&self) -> usize;

    /// Trains the next step, or a few of them, but none beyond the epoch's end.
    ///
    /// # Errors
    /// The training diverged, or what the device reports.
    fn train(&mut self) -> Result<Steps, EarlyEnd>;

    /// Evaluates the next piece of the validation data; None: there are more. With the last one the
    /// place is the beginning of the next epoch. A checkpoint knows nothing of the pieces before:
    /// whoever takes it up evaluates all of them.
    ///
    /// # Errors
    /// As for a step.
    fn evaluate(&mut self) -> Result<Option<Evaluation>, EarlyEnd>;

    /// The length of each tensor of a checkpoint.
    fn tensor_lengths(&self) -> Vec<usize>;

    /// Beside the place, all numbers that the rest of the training depends on.
    ///
    /// # Errors
    /// What the device reports.
    fn tensors(&mut self) -> Result<Vec<Cow<'_, [f32]>>, EarlyEnd>;

    /// Goes to a place with the tensors that a checkpoint had there, of `tensor_lengths`.
    ///
    /// # Errors
    /// What the device reports.
    fn resume(&mut self, place: Place, tensors: &[Vec<f32>]) -> Result<(), EarlyEnd>;

    /// The network as it is evaluated.
    ///
    /// # Errors
    /// What the device reports.
    fn weights(&mut self) -> Result<Vec<Weights<'_>>, EarlyEnd>;
}

/// Trains a child from where it is to its last epoch.
///
/// # Errors
/// It ended before.
pub fn train(engine: &mut dyn Engine, training: &mut Training) -> Result<(), EarlyEnd> {
    while training.next_epoch() {
        while engine.place().step < engine.epoch_steps() {
            training.between_steps(engine)?;
            let steps = engine.train()?;
            training.steps_done(steps);
        }
        let evaluation = loop {
            training.between_steps(engine)?;
            let piece = engine.evaluate()?;
            training.heartbeat();
            if let Some(evaluation) = piece {
                break evaluation;
            }
        };
        training.epoch_ended(engine, evaluation)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numerics_are_said_in_one_line() {
        let cpu = Numerics::cpu(2).to_string();
        assert!(
            cpu.starts_with("cpu, f32, ") && cpu.ends_with(", 2 threads"),
            "{cpu}"
        );
        assert_eq!(Numerics::candle().to_string(), "candle, f32, 1 thread");
    }
}

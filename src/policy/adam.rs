//! Updates of a range of the flat parameter vector, Adam's above all, with accumulation. A shard is one of
//! these; so is the whole vector in a replay.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// How the gradients that have gathered move the parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UpdateSettings {
    pub rule: UpdateRule,
    /// Gradients per update.
    pub accumulate: usize,
}

/// What an update does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum UpdateRule {
    /// One step of Adam up the mean gradient.
    Adam { learning_rate: f64 },
    /// The mean of what was pushed is a displacement, and is added.
    Add,
    /// Nothing: updates are counted and the parameters stay.
    None,
}

/// Parameters, Adam's moments, and the gradients that wait for the next update.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AdamState {
    pub parameters: Vec<f32>,
    pub first_moment: Vec<f32>,
    pub second_moment: Vec<f32>,
    /// Sum of the gradients since the last update.
    pub accumulator: Vec<f32>,
    /// How many gradients that sum holds.
    pub pending: u32,
    /// Updates so far: Adam's step, and the version that a pull returns.
    pub version: u64,
    /// Sequence number of the last entry applied.
    pub sequence: u64,
}

const FIRST_DECAY: f64 = 0.9;
const SECOND_DECAY: f64 = 0.999;
const EPSILON: f64 = 1e-8;

impl AdamState {
    /// Fresh moments around these parameters, before any entry.
    pub fn new(parameters: Vec<f32>) -> Self {
        let zeros = vec![0.0; parameters.len()];
        Self {
            first_moment: zeros.clone(),
            second_moment: zeros.clone(),
            accumulator: zeros,
            parameters,
            ..Self::default()
        }
    }

    /// Takes the gradient of the next entry; at `accumulate` gradients, one Adam step of ascent
    /// along their mean. Element by element: a slice evolves bit for bit as the same range of the
    /// whole.
    pub fn push(&mut self, sequence: u64, gradient: &[f32], settings: &UpdateSettings) {
        debug_assert_eq!(sequence, self.sequence + 1);
        self.sequence = sequence;
        for (sum, value) in self.accumulator.iter_mut().zip(gradient) {
            *sum += value;
        }
        self.pending += 1;
        if self.pending as usize >= settings.accumulate {
            self.step(settings.rule);
        }
    }

    /// Takes the number of an entry that carries no gradient.
    pub fn skip(&mut self, sequence: u64) {
        debug_assert_eq!(sequence, self.sequence + 1);
        self.sequence = sequence;
    }

    fn step(&mut self, rule: UpdateRule) {
        self.version += 1;
        let count = f64::from(std::mem::take(&mut self.pending));
        let learning_rate = match rule {
            UpdateRule::Adam { learning_rate } => learning_rate,
            UpdateRule::Add => return self.add(count),
            UpdateRule::None => return self.accumulator.fill(0.0),
        };
        let power = self.version.min(i32::MAX as u64) as i32;
        let first_correction = 1.0 - FIRST_DECAY.powi(power);
        let second_correction = 1.0 - SECOND_DECAY.powi(power);
        let moments = self.first_moment.iter_mut().zip(&mut self.second_moment);
        for ((parameter, sum), (first, second)) in self
            .parameters
            .iter_mut()
            .zip(&mut self.accumulator)
            .zip(moments)
        {
            let gradient = f64::from(std::mem::take(sum)) / count;
            let m = FIRST_DECAY * f64::from(*first) + (1.0 - FIRST_DECAY) * gradient;
            let v = SECOND_DECAY * f64::from(*second) + (1.0 - SECOND_DECAY) * gradient * gradient;
            (*first, *second) = (m as f32, v as f32);
            let step = (m / first_correction) / ((v / second_correction).sqrt() + EPSILON);
            *parameter = (f64::from(*parameter) + learning_rate * step) as f32;
        }
    }

    fn add(&mut self, count: f64) {
        for (parameter, sum) in self.parameters.iter_mut().zip(&mut self.accumulator) {
            let mean = f64::from(std::mem::take(sum)) / count;
            *parameter = (f64::from(*parameter) + mean) as f32;
        }
    }

    /// The state of one shard.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> Self {
        let of = |values: &[f32]| values[range.clone()].to_vec();
        Self {
            parameters: of(&self.parameters),
            first_moment: of(&self.first_moment),
            second_moment: of(&self.second_moment),
            accumulator: of(&self.accumulator),
            ..Self {
                pending: self.pending,
                version: self.version,
                sequence: self.sequence,
                ..Self::default()
            }
        }
    }

    /// The whole from the shards of one cut, in their order.
    pub fn concat(shards: &[Self]) -> Self {
        let mut whole = Self::default();
        for shard in shards {
            whole.parameters.extend(&shard.parameters);
            whole.first_moment.extend(&shard.first_moment);
            whole.second_moment.extend(&shard.second_moment);
            whole.accumulator.extend(&shard.accumulator);
            (whole.pending, whole.version, whole.sequence) =
                (shard.pending, shard.version, shard.sequence);
        }
        whole
    }
}

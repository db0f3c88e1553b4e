//! The controller network as others see it: sampling, log-probabilities and the REINFORCE gradient
//! of a flat parameter vector (paper §3.1, §3.2). Must not know who owns the parameters.
//!
//! Written on plain slices, not on tensors: a step multiplies 35 × 140 matrices, where the cost of
//! calling a tensor library exceeds the arithmetic; and the same code runs in f64, which lets tests
//! compare the gradient with finite differences to many digits.

use super::PolicyError;
use super::backward::{Weights, backward};
use super::forward::{Decider, Row, forward};
use super::layout::Layout;
use super::linear::Real;
use crate::random::{Key, Purpose, Stream};
use crate::space::{Decision, Next, Space};
use rand::RngExt;
use std::sync::Arc;

/// What shapes the controller network and its first parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NetworkSettings {
    /// LSTM units per layer.
    pub hidden: usize,
    /// LSTM layers.
    pub layers: usize,
    /// Initial parameters are uniform in ± this.
    pub init_scale: f64,
}

/// Shapes of the controller network; its parameters are one flat vector that others own.
pub struct Policy {
    pub(super) layout: Layout,
    init_scale: f64,
    /// Instead of those that the seed gives.
    start: Option<Arc<[f32]>>,
}

/// One sampled decision list.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub decisions: Vec<Decision>,
    /// Natural logarithm of its probability.
    pub log_probability: f64,
    /// Sum over the decisions of the entropy of each one's distribution, in nats.
    pub entropy: f64,
}

/// One finished trial in a gradient.
#[derive(Clone, Debug)]
pub struct Episode<'a> {
    pub decisions: &'a [Decision],
    /// Reward minus baseline; None: a failed child, left out of the mean.
    pub advantage: Option<f64>,
}

/// The gradient of the expected reward (the direction of ascent).
#[derive(Clone, Debug, PartialEq)]
pub struct Gradient {
    pub values: Vec<f32>,
    /// Euclidean norm.
    pub norm: f64,
    /// Mean entropy of the episodes, in nats.
    pub entropy: f64,
}

impl Gradient {
    /// Changes nothing.
    pub fn zero(parameters: usize) -> Self {
        Self {
            values: vec![0.0; parameters],
            norm: 0.0,
            entropy: 0.0,
        }
    }
}

impl Policy {
    pub fn new(space: &dyn Space, settings: &NetworkSettings) -> Self {
        Self {
            layout: Layout::new(space, settings.hidden, settings.layers),
            init_scale: settings.init_scale,
            start: None,
        }
    }

    /// Begins with these parameters, of which there must be as many as it has.
    #[must_use]
    pub fn starting_from(mut self, parameters: Option<Arc<[f32]>>) -> Self {
        self.start = parameters.filter(|values| values.len() == self.layout.total);
        self
    }

    /// Length of the flat parameter vector.
    pub fn parameter_count(&self) -> usize {
        self.layout.total
    }

    /// Uniform in ± init_scale, from the seed alone, unless it starts from given ones.
    pub fn initial_parameters(&self, seed: u64) -> Vec<f32> {
        if let Some(start) = &self.start {
            return start.to_vec();
        }
        let mut stream = Key::seed(seed).stream(Purpose::ControllerParameters);
        (0..self.layout.total)
            .map(|_| ((2.0 * stream.random::<f64>() - 1.0) * self.init_scale) as f32)
            .collect()
    }

    /// Samples one list per stream, batched. A slot's list depends on its own stream and the
    /// parameters alone.
    ///
    /// # Errors
    /// When a probability is not finite.
    pub fn sample(
        &self,
        parameters: &[f32],
        space: &dyn Space,
        layers: usize,
        streams: Vec<Stream>,
    ) -> Result<Vec<Sample>, PolicyError> {
        let rows = streams.len();
        let (rows, _) = forward(
            &self.layout,
            parameters,
            space,
            layers,
            rows,
            &mut Draw(streams),
        )?;
        Ok(rows.into_iter().map(Sample::from).collect())
    }

    /// The same, uniformly: the `random` strategy. Log-probability and entropy are those of the
    /// uniform choice.
    pub fn sample_uniform(
        &self,
        space: &dyn Space,
        layers: usize,
        streams: Vec<Stream>,
    ) -> Vec<Sample> {
        streams
            .into_iter()
            .map(|stream| uniform(space, layers, stream))
            .collect()
    }

    /// Log-probability of each list, by replaying it.
    ///
    /// # Errors
    /// When a list does not fit the space, or a probability is not finite.
    pub fn log_probabilities(
        &self,
        parameters: &[f32],
        space: &dyn Space,
        layers: usize,
        lists: &[&[Decision]],
    ) -> Result<Vec<f64>, PolicyError> {
        let (rows, _) = forward(
            &self.layout,
            parameters,
            space,
            layers,
            lists.len(),
            &mut Given(lists),
        )?;
        Ok(rows.into_iter().map(|row| row.log_probability).collect())
    }

    /// (1/n) Σ_k ∇ log P(list k) · advantage_k + entropy_weight · ∇ mean entropy, over the n
    /// episodes that have an advantage; zero where none has (paper §3.2).
    ///
    /// # Errors
    /// When a list does not fit the space, or something is not finite.
    pub fn gradient(
        &self,
        parameters: &[f32],
        space: &dyn Space,
        layers: usize,
        episodes: &[Episode],
        entropy_weight: f64,
    ) -> Result<Gradient, PolicyError> {
        let (values, entropy) = gradient_of(
            &self.layout,
            parameters,
            space,
            layers,
            episodes,
            entropy_weight,
        )?;
        let norm = values
            .iter()
            .map(|value| f64::from(*value).powi(2))
            .sum::<f64>()
            .sqrt();
        if !norm.is_finite() {
            return Err(PolicyError::NotFinite);
        }
        Ok(Gradient {
            values,
            norm,
            entropy,
        })
    }
}

/// The gradient in any precision, and the mean entropy.
pub(super) fn gradient_of<T: Real>(
    layout: &Layout,
    parameters: &[T],
    space: &dyn Space,
    layers: usize,
    episodes: &[Episode],
    entropy_weight: f64,
) -> Result<(Vec<T>, f64), PolicyError> {
    let known: Vec<(&[Decision], f64)> = episodes
        .iter()
        .filter_map(|episode| Some((episode.decisions, episode.advantage?)))
        .collect();
    if known.is_empty() {
        return Ok((vec![T::zero(); layout.total], 0.0));
    }
    let n = known.len() as f64;
    let lists: Vec<&[Decision]> = known.iter().map(|(list, _)| *list).collect();
    let weights: Vec<Weights<T>> = known
        .iter()
        .map(|(_, advantage)| Weights {
            log_probability: T::of(advantage / n),
            entropy: T::of(entropy_weight / n),
        })
        .collect();
    let (rows, steps) = forward(
        layout,
        parameters,
        space,
        layers,
        lists.len(),
        &mut Given(&lists),
    )?;
    let entropy = rows.iter().map(|row| row.entropy).sum::<f64>() / n;
    Ok((backward(layout, parameters, &steps, &weights), entropy))
}

impl From<Row> for Sample {
    fn from(row: Row) -> Self {
        Self {
            decisions: row.decisions,
            log_probability: row.log_probability,
            entropy: row.entropy,
        }
    }
}

/// Draws from the policy: each row from its own stream.
struct Draw(Vec<Stream>);

impl<T: Real> Decider<T> for Draw {
    fn choose(&mut self, row: usize, _position: usize, probabilities: &[T]) -> Option<usize> {
        let mut left = self.0[row].random::<f64>();
        for (option, probability) in probabilities.iter().enumerate() {
            left -= probability.f64();
            if left < 0.0 {
                return Some(option);
            }
        }
        // Rounding may leave a sliver above the sum: it belongs to the last option.
        probabilities.len().checked_sub(1)
    }

    fn skips(&mut self, row: usize, _position: usize, probabilities: &[T]) -> Option<Vec<u8>> {
        Some(
            probabilities
                .iter()
                .map(|probability| u8::from(self.0[row].random::<f64>() < probability.f64()))
                .collect(),
        )
    }

    fn has_more(&self, _row: usize, _position: usize) -> bool {
        false
    }
}

/// Takes what was decided before.
pub(super) struct Given<'a>(pub &'a [&'a [Decision]]);

impl<T> Decider<T> for Given<'_> {
    fn choose(&mut self, row: usize, position: usize, _: &[T]) -> Option<usize> {
        match self.0[row].get(position)? {
            Decision::Choice(option) => Some(*option),
            Decision::Skips(_) => None,
        }
    }

    fn skips(&mut self, row: usize, position: usize, _: &[T]) -> Option<Vec<u8>> {
        match self.0[row].get(position)? {
            Decision::Skips(bits) => Some(bits.clone()),
            Decision::Choice(_) => None,
        }
    }

    fn has_more(&self, row: usize, position: usize) -> bool {
        self.0[row].len() > position
    }
}

fn uniform(space: &dyn Space, layers: usize, mut stream: Stream) -> Sample {
    let mut decisions = Vec::new();
    let mut entropy = 0.0;
    loop {
        match space.next(layers, &decisions) {
            Next::Done => {
                return Sample {
                    decisions,
                    log_probability: -entropy,
                    entropy,
                };
            }
            Next::Choose { kind } => {
                let options = space.kinds()[kind].options.len();
                entropy += (options as f64).ln();
                decisions.push(Decision::Choice(stream.random_range(0..options)));
            }
            Next::Anchor { earlier } => {
                entropy += earlier as f64 * 2_f64.ln();
                decisions.push(Decision::Skips(
                    (0..earlier)
                        .map(|_| u8::from(stream.random::<bool>()))
                        .collect(),
                ));
            }
        }
    }
}

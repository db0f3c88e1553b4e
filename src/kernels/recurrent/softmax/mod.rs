//! The end of a language model: logits over a vocabulary, softmax cross-entropy and its gradients,
//! a block of rows at a time, so that the probabilities of a whole batch are never kept. Knows
//! nothing of words, sequences or what made the features.
//!
//! With powers p = e^(logit − the row's largest) and their sum s, the gradient of a row's logits is
//! p / s, less 1 at its target. The product with the weights takes p alone, which need not wait for
//! s, and is put right afterwards; the one with the features takes p, less s at the target, and
//! features times 1 / s.

mod block;

use crate::kernels::KernelError;
use crate::kernels::matmul::{Packed, Target, widths};
use crate::kernels::simd::Isa;
use block::Block;
use rayon::prelude::*;

/// Rows of a task, a multiple of a register tile's: with them a panel of powers fits the first
/// cache where panels have 24 columns (AVX2), and a group of panels the second.
const ROWS: usize = 176;
/// Blocks of so many rows whose powers are kept at once, and threads that are of use to all but the
/// parameters' gradient. More would read that gradient less often, and take more memory.
const BLOCKS: usize = 2;

/// Softmax over `words` classes of features `[rows, hidden]`. Its parameters are weights `[hidden,
/// words]` and after them biases `[words]`, which are the weights of one more feature that is
/// always 1.
pub struct Softmax {
    hidden: usize,
    words: usize,
    isa: Isa,
    weight: PackedWeight,
    blocks: Vec<Block>,
}

/// The weights as right sides.
struct PackedWeight {
    /// `[hidden + 1, words]`; words up to a whole panel have no power.
    forward: Packed,
    /// `[words, hidden]`
    backward: Packed,
}

/// A gradient that `Softmax::train` overwrites.
pub struct SoftmaxGradient<'a> {
    /// `[hidden + 1, words]`
    pub parameters: &'a mut [f32],
    /// `[rows, hidden]`
    pub features: &'a mut [f32],
}

impl Softmax {
    /// # Errors
    /// There is nothing to predict, or no memory could hold the logits.
    pub fn new(hidden: usize, words: usize) -> Result<Self, KernelError> {
        Self::with_isa(hidden, words, Isa::detect())
    }

    /// As `new`, with the instructions of `isa`.
    ///
    /// # Errors
    /// As `new`.
    pub fn with_isa(hidden: usize, words: usize, isa: Isa) -> Result<Self, KernelError> {
        if hidden == 0 || words == 0 {
            return Err(KernelError::Invalid(format!(
                "a softmax of {hidden} features and {words} words"
            )));
        }
        if Self::working_bytes(hidden, words) > isize::MAX as u64 {
            return Err(KernelError::TooLarge(format!(
                "logits of {words} words from {hidden} features"
            )));
        }
        Ok(Self {
            hidden,
            words,
            isa,
            weight: PackedWeight::new(isa, hidden, words),
            blocks: (0..BLOCKS)
                .map(|_| Block::new(isa, ROWS, hidden, words))
                .collect(),
        })
    }

    /// Bytes of working memory, whatever the number of rows.
    pub fn working_bytes(hidden: usize, words: usize) -> u64 {
        let hidden = (hidden as u64).saturating_add(1);
        let words = (words as u64).saturating_add(WIDEST);
        let rows = (BLOCKS * ROWS) as u64;
        let parameters = hidden.saturating_mul(words);
        let blocks = words
            .saturating_add(hidden.saturating_mul(2))
            .saturating_mul(rows);
        parameters
            .saturating_mul(2)
            .saturating_add(blocks)
            .saturating_mul(4)
    }

    /// The sum over all rows of the cross-entropy, in nats, against `targets` `[rows]`. Its
    /// gradients are those of `scale` · the sum. Runs in the caller's rayon pool; the numbers do
    /// not depend on its threads.
    ///
    /// # Panics
    /// If a slice has not the length that its shape says, or a target is no word.
    pub fn train(
        &mut self,
        parameters: &[f32],
        features: &[f32],
        targets: &[u32],
        scale: f32,
        gradient: SoftmaxGradient,
    ) -> f64 {
        self.check(parameters, features, targets);
        assert_eq!(
            gradient.features.len(),
            features.len(),
            "a gradient of the features"
        );
        assert_eq!(
            gradient.parameters.len(),
            parameters.len(),
            "a gradient of the parameters"
        );
        let hidden = self.hidden;
        let words = self.words;
        let PackedWeight { forward, backward } = &mut self.weight;
        rayon::join(
            || pack_forward(forward, parameters, words),
            || pack_backward(backward, &parameters[..hidden * words]),
        );
        let packed = &self.weight;
        let mut loss = 0.0;
        let rounds = features
            .chunks(BLOCKS * ROWS * hidden)
            .zip(targets.chunks(BLOCKS * ROWS));
        let rounds = rounds.zip(gradient.features.chunks_mut(BLOCKS * ROWS * hidden));
        for (round, ((features, targets), d_features)) in rounds.enumerate() {
            let parts = features
                .par_chunks(ROWS * hidden)
                .zip(targets.par_chunks(ROWS))
                .zip(d_features.par_chunks_mut(ROWS * hidden));
            let losses: Vec<f64> = self
                .blocks
                .par_iter_mut()
                .zip(parts)
                .map(|(block, ((features, targets), d_features))| {
                    block.logits(&packed.forward, features, targets);
                    block.backward(&packed.backward, targets, scale, d_features)
                })
                .collect();
            loss += losses.iter().sum::<f64>();
            self.parameters_gradient(losses.len(), gradient.parameters, round > 0);
        }
        if targets.is_empty() {
            gradient.parameters.fill(0.0);
        }
        loss
    }

    /// The sum of the cross-entropies, in nats, of the rows whose `targets` are words; a target of
    /// `SKIPPED` is not counted.
    ///
    /// # Panics
    /// As `train`.
    pub fn loss(&mut self, parameters: &[f32], features: &[f32], targets: &[u32]) -> f64 {
        self.check(parameters, features, targets);
        pack_forward(&mut self.weight.forward, parameters, self.words);
        let hidden = self.hidden;
        let packed = &self.weight.forward;
        let mut loss = 0.0;
        for (features, targets) in features
            .chunks(BLOCKS * ROWS * hidden)
            .zip(targets.chunks(BLOCKS * ROWS))
        {
            let parts = features
                .par_chunks(ROWS * hidden)
                .zip(targets.par_chunks(ROWS));
            let losses: Vec<f64> = self
                .blocks
                .par_iter_mut()
                .zip(parts)
                .map(|(block, (features, targets))| {
                    block.logits(packed, features, targets);
                    block.loss(targets)
                })
                .collect();
            loss += losses.iter().sum::<f64>();
        }
        loss
    }

    fn check(&self, parameters: &[f32], features: &[f32], targets: &[u32]) {
        assert_eq!(
            parameters.len(),
            (self.hidden + 1) * self.words,
            "parameters [hidden + 1, words]"
        );
        assert_eq!(
            features.len(),
            targets.len() * self.hidden,
            "features [rows, hidden]"
        );
        assert!(
            targets
                .iter()
                .all(|&target| target == SKIPPED || (target as usize) < self.words),
            "a target is a word"
        );
    }

    /// What the rows of the first blocks make of the gradient, or add to it.
    fn parameters_gradient(&self, blocks: usize, gradient: &mut [f32], add: bool) {
        let target = Target {
            start: gradient.as_mut_ptr(),
            stride: self.words,
            add,
        };
        (0..self.weight.forward.panels())
            .into_par_iter()
            .for_each(|panel| {
                for (number, block) in self.blocks[..blocks].iter().enumerate() {
                    let target = Target {
                        add: add || number > 0,
                        ..target.at(0, block.powers.panel(panel).start)
                    };
                    // SAFETY: the powers have `words` columns, as the gradient; tasks write columns
                    // of their own.
                    unsafe {
                        block.powers.panel_product(
                            self.isa,
                            panel,
                            block.scaled_features(),
                            target,
                        );
                    }
                }
            });
    }
}

impl PackedWeight {
    fn new(isa: Isa, hidden: usize, words: usize) -> Self {
        let (vector, tile) = widths(isa);
        let padded = words.next_multiple_of(vector * tile);
        let mut forward = Packed::new(isa, hidden + 1, padded);
        forward.fill(
            hidden,
            words,
            (1, padded - words),
            &[f32::MIN; WIDEST as usize][..padded - words],
            (padded, 1),
        );
        Self {
            forward,
            backward: Packed::new(isa, padded, hidden),
        }
    }
}

/// Columns of a panel at most.
const WIDEST: u64 = 96;

fn pack_forward(to: &mut Packed, parameters: &[f32], words: usize) {
    to.fill(0, 0, (to.depth(), words), parameters, (words, 1));
}

fn pack_backward(to: &mut Packed, weight: &[f32]) {
    let hidden = to.columns();
    let words = weight.len() / to.columns();
    to.fill(0, 0, (words, hidden), weight, (1, words));
}

/// A target that is not counted.
pub const SKIPPED: u32 = u32::MAX;

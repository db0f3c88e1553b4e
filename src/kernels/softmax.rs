//! The end of a language model: logits over a vocabulary, softmax cross-entropy and its gradients, a block of rows at a time, so that
//! the probabilities of a whole batch are never kept. Knows nothing of words, sequences or what made the features.

use super::KernelError;
use super::exponential::ExpSum;
use super::matmul::{Matrix, MatrixMut, product};
use super::memory::Buffer;
use super::simd::Isa;
use rayon::prelude::*;

/// Rows whose logits are kept at once. More reuse the weights better; these fit a cache of some megabytes for 10,000 words.
const ROWS: usize = 350;
/// Tasks own this many columns of the logits, or rows of the features' gradient. Fixed: the sums are the same for any number of threads.
const COLUMNS: usize = 5_008;
const TASK_ROWS: usize = 175;

/// Softmax over `words` classes of features `[rows, hidden]`. Weights are `[hidden, words]`, biases `[words]`: packed in this order.
pub struct Softmax {
    hidden: usize,
    words: usize,
    isa: Isa,
    /// `[ROWS, words]`
    logits: Buffer,
}

/// A gradient that `Softmax::train` overwrites.
pub struct SoftmaxGradient<'a> {
    /// `[hidden, words]`
    pub weight: &'a mut [f32],
    /// `[words]`
    pub bias: &'a mut [f32],
    /// `[rows, hidden]`
    pub features: &'a mut [f32],
}

impl Softmax {
    /// # Errors
    /// There is nothing to predict, or no memory could hold the logits.
    pub fn new(hidden: usize, words: usize) -> Result<Self, KernelError> {
        if hidden == 0 || words == 0 {
            return Err(KernelError::Invalid(format!("a softmax of {hidden} features and {words} words")));
        }
        if Self::working_bytes(words) > isize::MAX as u64 {
            return Err(KernelError::TooLarge(format!("logits of {words} words")));
        }
        Ok(Self { hidden, words, isa: Isa::detect(), logits: Buffer::new(ROWS * words) })
    }

    /// Bytes of working memory, whatever the number of rows.
    pub fn working_bytes(words: usize) -> u64 {
        (ROWS as u64).saturating_mul(words as u64).saturating_mul(4)
    }

    /// The sum over all rows of the cross-entropy, in nats, against `targets` `[rows]`. Its gradients are those of
    /// `scale` · the sum. Runs in the caller's rayon pool; the numbers do not depend on its threads.
    ///
    /// # Panics
    /// If a slice has not the length that its shape says, or a target is no word.
    pub fn train(&mut self, weight: &[f32], bias: &[f32], features: &[f32], targets: &[u32], scale: f32, gradient: SoftmaxGradient) -> f64 {
        self.check(weight, bias, features, targets);
        assert_eq!(gradient.features.len(), features.len(), "a gradient of the features");
        assert_eq!((gradient.weight.len(), gradient.bias.len()), (weight.len(), bias.len()), "a gradient of the parameters");
        let mut loss = 0.0;
        let blocks = features.chunks(ROWS * self.hidden).zip(targets.chunks(ROWS)).zip(gradient.features.chunks_mut(ROWS * self.hidden));
        gradient.bias.fill(0.0);
        for (block, ((features, targets), dfeatures)) in blocks.enumerate() {
            self.products(weight, features);
            loss += self.losses(bias, targets, Some(scale));
            self.features_gradient(weight, dfeatures);
            self.parameters_gradient(features, gradient.weight, gradient.bias, block > 0);
        }
        if targets.is_empty() {
            gradient.weight.fill(0.0);
        }
        loss
    }

    /// The sum of the cross-entropies, in nats, of the rows whose `targets` are words; a target of `SKIPPED` is not counted.
    ///
    /// # Panics
    /// As `train`.
    pub fn loss(&mut self, weight: &[f32], bias: &[f32], features: &[f32], targets: &[u32]) -> f64 {
        self.check(weight, bias, features, targets);
        let mut loss = 0.0;
        for (features, targets) in features.chunks(ROWS * self.hidden).zip(targets.chunks(ROWS)) {
            self.products(weight, features);
            loss += self.losses(bias, targets, None);
        }
        loss
    }

    fn check(&self, weight: &[f32], bias: &[f32], features: &[f32], targets: &[u32]) {
        assert_eq!(weight.len(), self.hidden * self.words, "weights [hidden, words]");
        assert_eq!(bias.len(), self.words, "biases [words]");
        assert_eq!(features.len(), targets.len() * self.hidden, "features [rows, hidden]");
        assert!(targets.iter().all(|&target| target == SKIPPED || (target as usize) < self.words), "a target is a word");
    }

    /// Fills the first rows of `self.logits`, without the biases.
    fn products(&mut self, weight: &[f32], features: &[f32]) {
        let (rows, hidden, words) = (features.len() / self.hidden, self.hidden, self.words);
        let logits = MatrixMut::new(&mut self.logits.as_mut_slice()[..rows * words], words);
        logits.split_columns(COLUMNS).into_par_iter().with_max_len(1).for_each(|mut part| {
            let weight = Matrix::new(weight, words).columns(part.first_column(), part.columns());
            product(&mut part, Matrix::new(features, hidden), weight, false);
        });
    }

    /// The sum of the rows' losses; with a scale the logits become their own gradient.
    fn losses(&mut self, bias: &[f32], targets: &[u32], scale: Option<f32>) -> f64 {
        let (words, isa) = (self.words, self.isa);
        let rows = self.logits.as_mut_slice()[..targets.len() * words].par_chunks_mut(words).zip(targets);
        let losses: Vec<f64> = rows
            .map(|(row, &target)| {
                row.iter_mut().zip(bias).for_each(|(logit, bias)| *logit += bias);
                loss_of(isa, row, target, scale)
            })
            .collect();
        losses.into_iter().sum()
    }

    fn features_gradient(&self, weight: &[f32], dfeatures: &mut [f32]) {
        let (hidden, words) = (self.hidden, self.words);
        let dlogits = &self.logits.as_slice()[..dfeatures.len() / hidden * words];
        let tasks = dfeatures.par_chunks_mut(TASK_ROWS * hidden).zip(dlogits.par_chunks(TASK_ROWS * words)).with_max_len(1);
        tasks.for_each(|(dfeatures, dlogits)| {
            product(&mut MatrixMut::new(dfeatures, hidden), Matrix::new(dlogits, words), Matrix::new(weight, words).transposed(), false);
        });
    }

    fn parameters_gradient(&self, features: &[f32], dweight: &mut [f32], dbias: &mut [f32], add: bool) {
        let (hidden, words) = (self.hidden, self.words);
        let dlogits = Matrix::new(&self.logits.as_slice()[..features.len() / hidden * words], words);
        let parts = MatrixMut::new(dweight, words).split_columns(COLUMNS);
        parts.into_par_iter().zip(dbias.par_chunks_mut(COLUMNS)).with_max_len(1).for_each(|(mut dweight, dbias)| {
            let part = dlogits.columns(dweight.first_column(), dbias.len());
            product(&mut dweight, Matrix::new(features, hidden).transposed(), part, add);
            for row in part.rows() {
                dbias.iter_mut().zip(row).for_each(|(sum, &d)| *sum += d);
            }
        });
    }
}

/// A target that is not counted.
pub const SKIPPED: u32 = u32::MAX;

/// The cross-entropy of one row of logits; with a scale the row becomes the gradient of `scale` · it.
fn loss_of(isa: Isa, row: &mut [f32], target: u32, scale: Option<f32>) -> f64 {
    if target == SKIPPED {
        if scale.is_some() {
            row.fill(0.0);
        }
        return 0.0;
    }
    let wanted = row[target as usize];
    // SAFETY: the row is writable and nobody else's.
    let (largest, sum) = unsafe { isa.run(ExpSum { row: row.as_mut_ptr(), len: row.len(), write: scale.is_some() }) };
    if let Some(scale) = scale {
        let factor = (f64::from(scale) / sum) as f32;
        row.iter_mut().for_each(|value| *value *= factor);
        row[target as usize] -= scale;
    }
    sum.ln() - (f64::from(wanted) - f64::from(largest))
}

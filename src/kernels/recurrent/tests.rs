//! Embedding and softmax against naive sums in double precision and finite differences.

use super::{Embedding, Layout, SKIPPED, Softmax, SoftmaxGradient};
use crate::kernels::Isa;
use crate::kernels::testing::{Rounding, Sums, expected, pool};
use proptest::prelude::*;

fn numbers(count: usize, seed: usize) -> Vec<f32> {
    (0..count)
        .map(|i| ((i * 7919 + seed * 104_729 + i * i % 613) % 2003) as f32 / 1001.0 - 1.0)
        .collect()
}

/// A softmax layer and a batch for it.
struct Case {
    hidden: usize,
    words: usize,
    weight: Vec<f32>,
    bias: Vec<f32>,
    features: Vec<f32>,
    targets: Vec<u32>,
}

impl Case {
    fn new(rows: usize, hidden: usize, words: usize) -> Self {
        let targets = (0..rows).map(|row| (row * 31 % words) as u32).collect();
        let features = numbers(rows * hidden, 3);
        Self {
            hidden,
            words,
            weight: numbers(hidden * words, 1),
            bias: numbers(words, 2),
            features,
            targets,
        }
    }

    fn parameters(&self) -> Vec<f32> {
        [self.weight.as_slice(), &self.bias].concat()
    }

    /// Logits of a row.
    fn logits(&self, row: usize, rounding: &mut Rounding) -> Vec<f64> {
        let mut logits = Sums::new(self.words);
        for word in 0..self.words {
            logits.add(word, f64::from(self.bias[word]));
            for unit in 0..self.hidden {
                let feature = f64::from(self.features[row * self.hidden + unit]);
                logits.add(
                    word,
                    feature * f64::from(self.weight[unit * self.words + word]),
                );
            }
        }
        logits.rounded(rounding)
    }

    /// Loss, and `scale` times the gradients of weight, bias and features.
    fn reference(&self, scale: f64, rounding: &mut Rounding) -> [Vec<f64>; 4] {
        let mut loss = Sums::new(1);
        let mut weight = Sums::new(self.weight.len());
        let mut bias = Sums::new(self.words);
        let mut features = Sums::new(self.features.len());
        for (row, &target) in self
            .targets
            .iter()
            .enumerate()
            .filter(|(_, target)| **target != SKIPPED)
        {
            let logits = self.logits(row, rounding);
            let largest = logits.iter().fold(f64::NEG_INFINITY, |a, &b| a.max(b));
            let powers: Vec<f64> = logits
                .iter()
                .map(|logit| (logit - largest).exp())
                .map(|power| rounding.of(power, EXP_ROUNDOFFS * power))
                .collect();
            let sum: f64 = powers.iter().sum();
            loss.add(0, sum.ln());
            loss.add(0, largest - logits[target as usize]);
            for (word, power) in powers.iter().enumerate() {
                let hit = f64::from(u8::from(word == target as usize));
                let probability = power / sum;
                let size = power / sum + hit;
                let d = scale * rounding.of(probability - hit, size);
                bias.add(word, d);
                for unit in 0..self.hidden {
                    let at = row * self.hidden + unit;
                    let index = unit * self.words + word;
                    weight.add(index, d * f64::from(self.features[at]));
                    features.add(at, d * f64::from(self.weight[index]));
                }
            }
        }
        [loss, weight, bias, features].map(|sums| sums.rounded(rounding))
    }

    fn loss(&self) -> f64 {
        self.reference(1.0, &mut Rounding::none())[0][0]
    }

    fn train(&self, threads: usize, scale: f32) -> (f64, [Vec<f32>; 3]) {
        self.train_with(
            &mut Softmax::new(self.hidden, self.words).unwrap(),
            threads,
            scale,
        )
    }

    fn train_with(
        &self,
        softmax: &mut Softmax,
        threads: usize,
        scale: f32,
    ) -> (f64, [Vec<f32>; 3]) {
        let mut weight = vec![7.0; self.weight.len() + self.words];
        let mut features = vec![7.0; self.features.len()];
        let gradient = SoftmaxGradient {
            parameters: &mut weight,
            features: &mut features,
        };
        let loss = pool(threads).install(|| {
            softmax.train(
                &self.parameters(),
                &self.features,
                &self.targets,
                scale,
                gradient,
            )
        });
        let bias = weight.split_off(self.weight.len());
        (loss, [weight, bias, features])
    }

    fn check(&self) {
        Isa::available().into_iter().for_each(|isa| {
            self.check_with(&mut Softmax::with_isa(self.hidden, self.words, isa).unwrap());
        });
    }

    fn check_with(&self, softmax: &mut Softmax) {
        const SCALE: f32 = 0.05;
        let (loss, found) = self.train_with(softmax, 2, SCALE);
        let [exact, gradients @ ..] =
            expected(|rounding| self.reference(f64::from(SCALE), rounding));
        exact.assert_close("loss", &[loss as f32]);
        for ((name, found), exact) in ["weight", "bias", "features"]
            .into_iter()
            .zip(&found)
            .zip(gradients)
        {
            exact.assert_close(name, found);
        }
        let evaluated = softmax.loss(&self.parameters(), &self.features, &self.targets);
        assert_eq!(
            evaluated.to_bits(),
            loss.to_bits(),
            "evaluation and training have the same loss"
        );
    }
}

/// Largest error of the vector function, in unit roundoffs of its value.
const EXP_ROUNDOFFS: f64 = 5.0;

#[test]
fn loss_and_gradients_are_those_of_naive_sums() {
    // several blocks of rows and rounds of blocks, several groups of panels, and edges of each
    for (rows, hidden, words) in [
        (1, 1, 1),
        (1, 3, 2),
        (5, 7, 1),
        (5, 7, 33),
        (177, 4, 2_600),
        (353, 3, 96),
        (730, 3, 50),
    ] {
        Case::new(rows, hidden, words).check();
    }
    let mut skipping = Case::new(40, 5, 20);
    skipping
        .targets
        .iter_mut()
        .step_by(3)
        .for_each(|target| *target = SKIPPED);
    skipping.check();
}

#[test]
fn fewer_rows_after_many_are_exact() {
    for isa in Isa::available() {
        let mut softmax = Softmax::with_isa(6, 300, isa).unwrap();
        [400, 3, 180, 1]
            .into_iter()
            .for_each(|rows| Case::new(rows, 6, 300).check_with(&mut softmax));
    }
}

proptest! {
    #![proptest_config(crate::random::cases(24))]

    #[test]
    fn any_size_is_exact(rows in 1_usize..80, hidden in 1_usize..40, words in 1_usize..90) {
        Case::new(rows, hidden, words).check();
    }
}

#[test]
fn gradients_are_slopes() {
    let case = Case::new(9, 6, 11);
    let [_, weight, bias, features] = case.reference(1.0, &mut Rounding::none());
    let slope = |change: &dyn Fn(&mut Case, f32)| {
        let moved = |by: f32| {
            let mut moved = Case::new(9, 6, 11);
            change(&mut moved, by);
            moved.loss()
        };
        (moved(1.0 / 128.0) - moved(-1.0 / 128.0)) * 64.0
    };
    for index in 0..6 {
        let checks = [
            (
                weight[index * 11 + 3],
                slope(&|case, by| case.weight[index * 11 + 3] += by),
            ),
            (bias[index], slope(&|case, by| case.bias[index] += by)),
            (
                features[index * 7],
                slope(&|case, by| case.features[index * 7] += by),
            ),
        ];
        for (found, slope) in checks {
            assert!(
                (found - slope).abs() < 1e-3,
                "{found} against a slope of {slope}"
            );
        }
    }
}

#[test]
fn threads_change_no_bit() {
    let case = Case::new(400, 24, 6_000);
    let (loss, gradients) = case.train(1, 0.05);
    for threads in [2, 3] {
        let (other, others) = case.train(threads, 0.05);
        assert_eq!(loss.to_bits(), other.to_bits());
        assert!(gradients == others, "{threads} threads");
    }
}

#[test]
fn what_is_not_finite_shows() {
    for bad in [f32::NAN, f32::INFINITY] {
        let mut case = Case::new(3, 2, 20);
        case.features[2] = bad;
        assert!(!case.train(1, 1.0).0.is_finite());
    }
    // but not where nobody asks
    let mut case = Case::new(3, 2, 20);
    (case.features[2], case.targets[1]) = (f32::NAN, SKIPPED);
    let (loss, [_, _, features]) = case.train(1, 1.0);
    assert!(
        loss.is_finite() && features.iter().all(|d| d.is_finite()),
        "{loss}, {features:?}"
    );
}

#[test]
fn words_are_looked_up_and_their_gradients_added() {
    let words = 7;
    let hidden = 3;
    let tokens = [4, 0, 4, 6];
    let factors = numbers(7, 5);
    let dout = numbers(12, 6);
    for layout in [Layout::Rows, Layout::Columns] {
        let embedding = Embedding {
            words,
            hidden,
            layout,
        };
        let table = numbers(21, 4);
        let at = |word: usize, unit: usize| {
            if layout == Layout::Rows {
                word * hidden + unit
            } else {
                unit * words + word
            }
        };
        for factors in [None, Some(factors.as_slice())] {
            let factor = |word: usize| factors.map_or(1.0, |factors| factors[word]);
            let mut out = vec![9.0; 12];
            embedding.look_up(&table, &tokens, factors, &mut out);
            let mut dtable = vec![0.5; 21];
            embedding.scatter(&mut dtable, &tokens, factors, &dout);
            let mut expected = vec![0.5; 21];
            for (row, &token) in tokens.iter().enumerate() {
                for unit in 0..hidden {
                    assert_eq!(
                        out[row * hidden + unit],
                        table[at(token as usize, unit)] * factor(token as usize)
                    );
                    expected[at(token as usize, unit)] +=
                        dout[row * hidden + unit] * factor(token as usize);
                }
            }
            assert_eq!(dtable, expected);
        }
    }
}

//! One step down a gradient whose length is limited. Must not know where the gradient came from.

use super::super::{ChildSettings, Sgd};
use rayon::prelude::*;
use std::ops::Range;

/// Stochastic gradient descent with gradient-norm clipping (Zaremba et al. 2014); with Nesterov
/// momentum and weight decay where they are set.
pub struct Descent {
    clip_norm: f64,
    /// Where momentum or weight decay move parameters that have no gradient.
    dense: Option<Sgd>,
}

/// Numbers of a task: fixed, so that sums do not depend on the threads.
const CHUNK: usize = 1 << 16;

impl Descent {
    /// For `count` parameters.
    pub fn new(settings: &ChildSettings, count: usize) -> Self {
        let dense = (settings.momentum > 0.0 || settings.weight_decay > 0.0)
            .then(|| Sgd::new(count, settings.momentum, settings.weight_decay));
        Self {
            clip_norm: settings.clip_norm,
            dense,
        }
    }

    /// The velocity between two steps: one number for each parameter, or none without momentum.
    pub fn velocity(&mut self) -> &mut [f32] {
        self.dense
            .as_mut()
            .map_or_else(Default::default, Sgd::velocity)
    }

    /// How many numbers that has.
    pub fn velocity_len(&self) -> usize {
        self.dense.as_ref().map_or(0, Sgd::count)
    }

    /// One step; the gradient may be scaled. `sparse`: rows of `width` numbers in a range outside
    /// of which every number counts, and inside of which only these rows differ from zero. False:
    /// gradient or parameters are not finite, and nothing was changed or the parameters are lost.
    /// Runs in the caller's pool.
    #[must_use = "a step may leave parameters that are not finite"]
    pub fn step(
        &mut self,
        parameters: &mut [f32],
        gradient: &mut [f32],
        sparse: Option<(Range<usize>, &[u32])>,
        width: usize,
        rate: f64,
    ) -> bool {
        let (range, rows) = sparse.unwrap_or((0..0, &[]));
        let row = |word: &u32| {
            range.start + *word as usize * width..range.start + (*word as usize + 1) * width
        };
        let of_rows: f64 = rows.iter().map(|word| squares(&gradient[row(word)])).sum();
        let norm = (of_rows + sum(&gradient[..range.start]) + sum(&gradient[range.end..])).sqrt();
        if !norm.is_finite() {
            return false;
        }
        let factor = if norm > self.clip_norm {
            self.clip_norm / norm
        } else {
            1.0
        };
        if let Some(dense) = &mut self.dense {
            gradient
                .par_chunks_mut(CHUNK)
                .for_each(|part| part.iter_mut().for_each(|d| *d *= factor as f32));
            return dense.step(parameters, gradient, rate);
        }
        let rate = (rate * factor) as f32;
        for word in rows {
            descend(&mut parameters[row(word)], &gradient[row(word)], rate);
        }
        for part in [0..range.start, range.end..gradient.len()] {
            let parameters = &mut parameters[part.clone()];
            let gradient = &gradient[part];
            parameters
                .par_chunks_mut(CHUNK)
                .zip(gradient.par_chunks(CHUNK))
                .for_each(|(p, g)| descend(p, g, rate));
        }
        true
    }
}

fn descend(parameters: &mut [f32], gradient: &[f32], rate: f32) {
    parameters
        .iter_mut()
        .zip(gradient)
        .for_each(|(parameter, d)| *parameter -= rate * d);
}

/// The sum of the squares, in a fixed order.
fn sum(values: &[f32]) -> f64 {
    let parts: Vec<f64> = values.par_chunks(CHUNK).map(squares).collect();
    parts.into_iter().sum()
}

/// Sixteen sums side by side, so that the compiler may use vector instructions; over 64 numbers
/// each in single precision.
fn squares(values: &[f32]) -> f64 {
    let (blocks, rest) = values.as_chunks::<16>();
    let mut total = rest
        .iter()
        .map(|value| f64::from(*value) * f64::from(*value))
        .sum::<f64>();
    for blocks in blocks.chunks(64) {
        let mut sums = [0.0_f32; 16];
        for block in blocks {
            sums.iter_mut()
                .zip(block)
                .for_each(|(sum, value)| *sum += value * value);
        }
        total += sums.iter().map(|&sum| f64::from(sum)).sum::<f64>();
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(momentum: f64) -> ChildSettings {
        ChildSettings {
            clip_norm: 5.0,
            momentum,
            weight_decay: 0.0,
            ..ChildSettings::default()
        }
    }

    #[test]
    fn a_long_gradient_is_shortened_and_a_short_one_is_not() {
        for (gradient, expected) in [([30.0, 40.0], [0.7, 0.6]), ([0.3, 0.4], [0.97, 0.96])] {
            let mut parameters = [1.0_f32, 1.0];
            assert!(Descent::new(&settings(0.0), 2).step(
                &mut parameters,
                &mut gradient.map(|d| d as f32),
                None,
                1,
                0.1
            ));
            assert!(
                parameters
                    .iter()
                    .zip(expected)
                    .all(|(p, e)| (p - e).abs() < 1e-6),
                "{parameters:?}"
            );
        }
    }

    #[test]
    fn rows_that_are_named_are_all_that_differs_from_zero() {
        let count = 200_000;
        let mut gradient: Vec<f32> = (0..count).map(|i| (i % 17) as f32 / 400.0).collect();
        gradient[10..110].fill(0.0);
        gradient[30..35].fill(2.0);
        let step = |sparse| {
            let mut parameters = vec![0.0; count];
            assert!(Descent::new(&settings(0.0), count).step(
                &mut parameters,
                &mut gradient.clone(),
                sparse,
                5,
                1.0
            ));
            parameters
        };
        let dense = step(None);
        let sparse = step(Some((10..110, &[4_u32][..])));
        assert!(dense.iter().zip(&sparse).all(|(a, b)| (a - b).abs() < 1e-6));
        let norm = dense
            .iter()
            .map(|p| f64::from(*p) * f64::from(*p))
            .sum::<f64>()
            .sqrt();
        assert!((norm - 5.0).abs() < 1e-4, "{norm}");
    }

    #[test]
    fn momentum_is_nesterovs_on_the_shortened_gradient() {
        let mut parameters = [1.0_f32, -1.0];
        let mut twin = [1.0_f32, -1.0];
        let mut descent = Descent::new(&settings(0.9), 2);
        let mut sgd = Sgd::new(2, 0.9, 0.0);
        for _ in 0..3 {
            assert!(descent.step(&mut parameters, &mut [6.0, 8.0], None, 1, 0.1));
            assert!(sgd.step(&mut twin, &[3.0, 4.0], 0.1));
        }
        assert!(
            parameters
                .iter()
                .zip(twin)
                .all(|(p, t)| (p - t).abs() < 1e-6),
            "{parameters:?} {twin:?}"
        );
    }

    #[test]
    fn what_is_not_finite_is_told() {
        for bad in [f32::NAN, f32::INFINITY] {
            assert!(!Descent::new(&settings(0.0), 2).step(
                &mut [0.0; 2],
                &mut [1.0, bad],
                None,
                1,
                0.1
            ));
        }
    }
}

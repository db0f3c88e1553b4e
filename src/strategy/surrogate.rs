//! A Gaussian process over encoded decision lists: what is believed of rewards, from few of them.
//! The covariance of two lists is e^−(weighted distance); the weights and the noise are fitted to
//! the log by a fixed number of steps up the marginal likelihood (Rasmussen & Williams 2006,
//! chapters 2 and 5). One thread, no clock. Must not know which lists are candidates.

use super::encoding::Encoding;
use crate::random::Stream;
use nalgebra::{Cholesky, DMatrix, DVector, Dyn};
use rand::RngExt;

/// Steps of the fit.
const STEPS: usize = 12;
/// Before the fit: the exponent of the covariance of two lists drawn uniformly.
const FIRST_EXPONENT: f64 = 2.0;
/// Before the fit: the noise, as a share of the variance.
const FIRST_NOISE: f64 = 0.1;
/// Standard deviations of the logarithms of weights and noise around those first values.
const DEVIATION: f64 = 1.0;
/// The matrices stay invertible.
const LEAST_NOISE: f64 = 1e-3;
const JITTER: f64 = 1e-8;
/// Of Rprop (Riedmiller & Braun 1993): the first step of a logarithm, its limits, and how a step
/// grows while the gradient keeps its sign, and shrinks when it changes.
const FIRST_STEP: f64 = 0.4;
const STEP_LIMITS: (f64, f64) = (0.02, 0.8);
const GROWTH: f64 = 1.2;
const SHRINKAGE: f64 = 0.5;

/// A fitted process.
pub(super) struct Surrogate<'a> {
    encoding: &'a Encoding,
    rows: Vec<Vec<u16>>,
    parameters: Parameters,
    /// Of the covariance of the rows with noise, without the variance.
    factor: Cholesky<f64, Dyn>,
    /// The inverse of that covariance times the scores.
    solved: DVector<f64>,
    mean: f64,
    variance: f64,
}

#[derive(Clone)]
struct Parameters {
    /// Of each group of columns.
    log_weights: Vec<f64>,
    log_noise: f64,
}

/// Distances between all pairs of rows.
struct Pairs {
    rows: usize,
    groups: usize,
    /// `[pair, group]`; pairs (0, 1), (0, 2), …, (1, 2), …
    distances: Vec<f64>,
}

impl<'a> Surrogate<'a> {
    /// Fits to rows and their scores, of which the `leading` first decide the weights and the
    /// noise; None: the matrices are not of numbers.
    pub(super) fn fit(
        encoding: &'a Encoding,
        rows: Vec<Vec<u16>>,
        scores: &[f64],
        leading: usize,
    ) -> Option<Self> {
        let leading = leading.min(rows.len());
        let parameters = fitted(encoding, &rows[..leading], &scores[..leading]);
        let mean = scores.iter().sum::<f64>() / scores.len() as f64;
        let centred = DVector::from_iterator(scores.len(), scores.iter().map(|score| score - mean));
        let pairs = Pairs::new(encoding, &rows);
        let factor = Cholesky::new(pairs.covariance(&parameters))?;
        let solved = factor.solve(&centred);
        // One row that follows the prior is added, so that few rows do not promise certainty.
        let variance = (centred.dot(&solved) + 1.0) / (scores.len() as f64 + 1.0);
        let surrogate = Self {
            encoding,
            rows,
            parameters,
            factor,
            solved,
            mean,
            variance,
        };
        variance.is_finite().then_some(surrogate)
    }

    /// For each stream the scores of all candidates in one function drawn from the process.
    pub(super) fn draw(&self, candidates: &[Vec<u16>], streams: &mut [Stream]) -> Vec<Vec<f64>> {
        let known = self.covariances(&self.rows, candidates);
        let means = known.tr_mul(&self.solved);
        let mut explained = known;
        self.factor
            .l_dirty()
            .solve_lower_triangular_mut(&mut explained);
        let mut left = self.covariances(candidates, candidates);
        left -= explained.tr_mul(&explained);
        for index in 0..candidates.len() {
            left[(index, index)] += 1e-6;
        }
        let deviation = self.variance.sqrt();
        let factor = Cholesky::new(left);
        let draw = |stream: &mut Stream| {
            let normal = DVector::from_fn(candidates.len(), |_, _| standard_normal(stream));
            let varied = match &factor {
                Some(factor) => lower_times(factor.l_dirty(), &normal),
                None => DVector::zeros(candidates.len()),
            };
            let scores = means.iter().zip(varied.iter());
            scores
                .map(|(mean, varied)| self.mean + mean + deviation * varied)
                .collect()
        };
        streams.iter_mut().map(draw).collect()
    }

    /// `[a, b]`, without noise and variance.
    fn covariances(&self, a: &[Vec<u16>], b: &[Vec<u16>]) -> DMatrix<f64> {
        let weights = self.parameters.weights();
        let mut distances = vec![0.0; self.encoding.groups()];
        DMatrix::from_fn(a.len(), b.len(), |row, column| {
            self.encoding.distances(&a[row], &b[column], &mut distances);
            covariance(&weights, &distances)
        })
    }
}

/// The lower triangle times a vector.
fn lower_times(lower: &DMatrix<f64>, vector: &DVector<f64>) -> DVector<f64> {
    let mut product = DVector::zeros(vector.len());
    for (column, value) in vector.iter().enumerate() {
        for row in column..vector.len() {
            product[row] += lower[(row, column)] * value;
        }
    }
    product
}

/// Box & Muller (1958).
fn standard_normal(stream: &mut Stream) -> f64 {
    let radius = (-2.0 * (1.0 - stream.random::<f64>()).ln()).sqrt();
    radius * (std::f64::consts::TAU * stream.random::<f64>()).cos()
}

fn covariance(weights: &[f64], distances: &[f64]) -> f64 {
    let exponent: f64 = weights.iter().zip(distances).map(|(w, d)| w * d).sum();
    (-exponent).exp()
}

impl Parameters {
    fn first(encoding: &Encoding) -> Self {
        let expected = encoding.expected_distances();
        let share = FIRST_EXPONENT / expected.len().max(1) as f64;
        Self {
            log_weights: expected
                .iter()
                .map(|expected| (share / expected).ln())
                .collect(),
            log_noise: FIRST_NOISE.ln(),
        }
    }

    fn weights(&self) -> Vec<f64> {
        self.log_weights.iter().map(|log| log.exp()).collect()
    }

    fn noise(&self) -> f64 {
        self.log_noise.exp().max(LEAST_NOISE)
    }

    /// The noise comes last.
    fn logarithms(&self) -> impl Iterator<Item = &f64> {
        self.log_weights.iter().chain([&self.log_noise])
    }

    /// As [`Self::logarithms`].
    fn logarithms_mut(&mut self) -> impl Iterator<Item = &mut f64> {
        self.log_weights.iter_mut().chain([&mut self.log_noise])
    }
}

impl Pairs {
    fn new(encoding: &Encoding, rows: &[Vec<u16>]) -> Self {
        let groups = encoding.groups();
        let count = rows.len() * rows.len().saturating_sub(1) / 2;
        let mut distances = vec![0.0; count * groups];
        if groups > 0 {
            let mut pairs = distances.chunks_exact_mut(groups);
            for (index, row) in rows.iter().enumerate() {
                for (other, pair) in rows[index + 1..].iter().zip(&mut pairs) {
                    encoding.distances(row, other, pair);
                }
            }
        }
        Self {
            rows: rows.len(),
            groups,
            distances,
        }
    }

    /// Index of the row, of the other row, and their distances.
    fn iter(&self) -> impl Iterator<Item = (usize, usize, &[f64])> {
        let pairs = (0..self.rows).flat_map(move |row| (row + 1..self.rows).map(move |o| (row, o)));
        pairs.enumerate().map(|(pair, (row, other))| {
            let distances = &self.distances[pair * self.groups..(pair + 1) * self.groups];
            (row, other, distances)
        })
    }

    /// With noise, without the variance.
    fn covariance(&self, parameters: &Parameters) -> DMatrix<f64> {
        let weights = parameters.weights();
        let noise = parameters.noise();
        let mut matrix = DMatrix::from_diagonal_element(self.rows, self.rows, 1.0 + noise + JITTER);
        for (row, other, distances) in self.iter() {
            let value = covariance(&weights, distances);
            matrix[(row, other)] = value;
            matrix[(other, row)] = value;
        }
        matrix
    }
}

/// Weights and noise with the highest posterior among those that a fixed number of steps passes.
fn fitted(encoding: &Encoding, rows: &[Vec<u16>], scores: &[f64]) -> Parameters {
    let first = Parameters::first(encoding);
    let pairs = Pairs::new(encoding, rows);
    let mean = scores.iter().sum::<f64>() / scores.len().max(1) as f64;
    let centred = DVector::from_iterator(scores.len(), scores.iter().map(|score| score - mean));
    let count = first.log_weights.len() + 1;
    let mut steps = vec![FIRST_STEP; count];
    let mut last = vec![0.0_f64; count];
    let mut parameters = first.clone();
    let mut best = (f64::NEG_INFINITY, first.clone());
    for _ in 0..STEPS {
        let Some((value, gradient)) = posterior(&pairs, &centred, &parameters, &first) else {
            break;
        };
        if value > best.0 {
            best = (value, parameters.clone());
        }
        let moves = steps.iter_mut().zip(&mut last).zip(&gradient);
        for (log, ((step, last), slope)) in parameters.logarithms_mut().zip(moves) {
            let factor = match *last * slope {
                product if product > 0.0 => GROWTH,
                product if product < 0.0 => SHRINKAGE,
                _ => 1.0,
            };
            *step = (*step * factor).clamp(STEP_LIMITS.0, STEP_LIMITS.1);
            *log += *step * slope.signum();
            *last = *slope;
        }
    }
    best.1
}

/// The logarithm of the posterior density up to a constant, with the variance at its best; and its
/// gradient by the logarithms of weights and noise.
fn posterior(
    pairs: &Pairs,
    scores: &DVector<f64>,
    parameters: &Parameters,
    first: &Parameters,
) -> Option<(f64, Vec<f64>)> {
    let covariance = pairs.covariance(parameters);
    let factor = Cholesky::new(covariance.clone())?;
    let inverse = factor.inverse();
    let solved = &inverse * scores;
    let rows = pairs.rows as f64;
    let variance = (scores.dot(&solved) / rows).max(1e-12);
    let log_determinant: f64 = (0..pairs.rows)
        .map(|row| 2.0 * factor.l_dirty()[(row, row)].ln())
        .sum();
    let mut value = -0.5 * (rows * variance.ln() + log_determinant);
    let weights = parameters.weights();
    let mut gradient = vec![0.0; weights.len() + 1];
    for (row, other, distances) in pairs.iter() {
        let slope = solved[row] * solved[other] / variance - inverse[(row, other)];
        let slope = slope * covariance[(row, other)];
        for ((sum, weight), distance) in gradient.iter_mut().zip(&weights).zip(distances) {
            *sum -= slope * weight * distance;
        }
    }
    let diagonal = (0..pairs.rows).map(|row| solved[row].powi(2) / variance - inverse[(row, row)]);
    gradient[weights.len()] = 0.5 * parameters.noise() * diagonal.sum::<f64>();
    for ((sum, log), first) in gradient
        .iter_mut()
        .zip(parameters.logarithms())
        .zip(first.logarithms())
    {
        let away = (log - first) / DEVIATION;
        value -= 0.5 * away * away;
        *sum -= away / DEVIATION;
    }
    value.is_finite().then_some((value, gradient))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::tests::Branching;
    use crate::random::{Key, Purpose};
    use crate::strategy::encoding::{Features, features};
    use crate::strategy::moves::uniform_list;

    fn stream(seed: u64) -> Stream {
        Key::seed(seed).stream(Purpose::Surrogate)
    }

    fn lists(count: usize) -> (Branching, Vec<Features>) {
        let space = Branching::new();
        let mut stream = stream(1);
        let features = (0..count)
            .map(|_| features(&space, 3, &uniform_list(&space, 3, &mut stream)))
            .collect();
        (space, features)
    }

    /// The type of the first layer is worth most, that of the second a little.
    fn score(row: &[u16]) -> f64 {
        f64::from(row[0]) + 0.1 * f64::from(row[1])
    }

    #[test]
    fn it_predicts_lists_that_it_has_not_seen() {
        let (space, features) = lists(90);
        let encoding = Encoding::new(&space, &features);
        let rows: Vec<Vec<u16>> = features.iter().map(|row| encoding.row(row)).collect();
        let scores: Vec<f64> = rows.iter().map(|row| score(row)).collect();
        let surrogate = Surrogate::fit(&encoding, rows[..60].to_vec(), &scores[..60], 40).unwrap();
        let mut streams: Vec<Stream> = (10..40).map(stream).collect();
        let drawn = surrogate.draw(&rows[60..], &mut streams);
        let mean = |index: usize| drawn.iter().map(|d| d[index]).sum::<f64>() / drawn.len() as f64;
        for (index, expected) in scores[60..].iter().enumerate() {
            let found = mean(index);
            assert!((found - expected).abs() < 0.35, "{found}, not {expected}");
        }
    }

    #[test]
    fn a_draw_is_a_function_of_its_stream() {
        let (space, features) = lists(30);
        let encoding = Encoding::new(&space, &features);
        let rows: Vec<Vec<u16>> = features.iter().map(|row| encoding.row(row)).collect();
        let scores: Vec<f64> = rows.iter().map(|row| score(row)).collect();
        let surrogate = Surrogate::fit(&encoding, rows[..20].to_vec(), &scores[..20], 20).unwrap();
        let draws = |seeds: &[u64]| {
            let mut streams: Vec<Stream> = seeds.iter().map(|seed| stream(*seed)).collect();
            surrogate.draw(&rows[20..], &mut streams)
        };
        assert_eq!(draws(&[1, 2])[1], draws(&[2])[0]);
        assert_ne!(draws(&[1]), draws(&[2]));
    }

    #[test]
    fn the_gradient_is_that_of_finite_differences() {
        let (space, features) = lists(15);
        let encoding = Encoding::new(&space, &features);
        let rows: Vec<Vec<u16>> = features.iter().map(|row| encoding.row(row)).collect();
        let scores = DVector::from_iterator(15, rows.iter().map(|row| score(row) - 2.0));
        let pairs = Pairs::new(&encoding, &rows);
        let first = Parameters::first(&encoding);
        let mut at = first.clone();
        at.logarithms_mut()
            .enumerate()
            .for_each(|(i, log)| *log += 0.1 * (i as f64).sin());
        let value = |at: &Parameters| posterior(&pairs, &scores, at, &first).unwrap();
        let (_, gradient) = value(&at);
        for (index, slope) in gradient.iter().enumerate() {
            let shifted = |by: f64| {
                let mut other = at.clone();
                *other.logarithms_mut().nth(index).unwrap() += by;
                value(&other).0
            };
            let expected = (shifted(1e-5) - shifted(-1e-5)) / 2e-5;
            assert!(
                (slope - expected).abs() < 1e-5 * (1.0 + expected.abs()),
                "{index}"
            );
        }
    }

    #[test]
    fn equal_scores_and_a_single_row_are_no_problem() {
        let (space, features) = lists(6);
        let encoding = Encoding::new(&space, &features);
        let rows: Vec<Vec<u16>> = features.iter().map(|row| encoding.row(row)).collect();
        for count in [1, 5] {
            let surrogate =
                Surrogate::fit(&encoding, rows[..count].to_vec(), &vec![0.3; count], 9).unwrap();
            let drawn = surrogate.draw(&rows, &mut [stream(1)]);
            assert!(drawn[0].iter().all(|score| score.is_finite()));
        }
    }
}

//! Small dense products for a batch of rows, in one fixed order of operations: a row's result does
//! not depend on the other rows. Single-threaded on purpose: the matrices are far too small for
//! threads to help. Must not know what is multiplied.

use num_traits::{Float, NumAssign};

/// f32 in a search; f64 where tests compare with finite differences.
pub(super) trait Real: Float + NumAssign + std::iter::Sum + Send + Sync {
    fn of(value: f64) -> Self;
    fn f64(self) -> f64;
    /// eˣ, clamped to what the type can hold.
    fn power_of_e(self) -> Self;
}

impl Real for f32 {
    fn of(value: f64) -> Self {
        value as Self
    }

    fn f64(self) -> f64 {
        self.into()
    }

    /// By powers of two and a polynomial (Cephes' coefficients), within 2 units in the last place.
    /// It has no branches, so that loops become vector instructions, and calls no system library,
    /// so that results do not depend on one. NaN stays NaN.
    #[inline]
    fn power_of_e(self) -> Self {
        // Adding 1.5 · 2²³ rounds to an integer, which then lies in the lowest bits.
        const ROUND: f32 = 12_582_912.0;
        let x = self.clamp(-87.0, 88.0);
        let rounded = x * std::f32::consts::LOG2_E + ROUND;
        let n = rounded - ROUND;
        let r = x - n * 0.693_359_4 + n * 2.121_944_4e-4;
        let mut polynomial = 1.987_569_1e-4;
        for coefficient in [
            1.398_199_9e-3,
            8.333_452e-3,
            4.166_579_6e-2,
            0.166_666_65,
            0.5,
        ] {
            polynomial = polynomial * r + coefficient;
        }
        let scale = f32::from_bits(rounded.to_bits().wrapping_add(127) << 23);
        (polynomial * r * r + r + 1.0) * scale
    }
}

impl Real for f64 {
    fn of(value: f64) -> Self {
        value
    }

    fn f64(self) -> f64 {
        self
    }

    fn power_of_e(self) -> Self {
        self.exp()
    }
}

/// `output[r, :] += input[r, :] · weights`; input `[rows, n]`, weights `[n, m]`, output `[rows,
/// m]`.
pub(super) fn multiply_add<T: Real>(input: &[T], weights: &[T], output: &mut [T], n: usize) {
    let m = weights.len() / n;
    for (first, block) in (0..n).step_by(4).zip(weights.chunks(4 * m)) {
        for (input, output) in input.chunks_exact(n).zip(output.chunks_exact_mut(m)) {
            axpy_rows(&input[first..n.min(first + 4)], block, output);
        }
    }
}

/// `y += Σ_j a[j] · x[j, :]`: four rows at a time where there are four, which saves loading and
/// storing `y`.
fn axpy_rows<T: Real>(a: &[T], x: &[T], y: &mut [T]) {
    let m = y.len();
    if let [a, b, c, d] = *a {
        let (x0, rest) = x.split_at(m);
        let (x1, rest) = rest.split_at(m);
        let (x2, x3) = rest.split_at(m);
        for ((((y, x0), x1), x2), x3) in y.iter_mut().zip(x0).zip(x1).zip(x2).zip(x3) {
            *y += (a * *x0 + b * *x1) + (c * *x2 + d * *x3);
        }
    } else {
        a.iter()
            .zip(x.chunks_exact(m))
            .for_each(|(a, x)| axpy(*a, x, y));
    }
}

/// `d_input[r, k] += d_output[r, :] · weights[k, :]`: the transpose of [`multiply_add`].
pub(super) fn multiply_transposed_add<T: Real>(
    d_output: &[T],
    weights: &[T],
    d_input: &mut [T],
    n: usize,
) {
    let m = weights.len() / n;
    for (d_output, d_input) in d_output.chunks_exact(m).zip(d_input.chunks_exact_mut(n)) {
        for (d_input, weights) in d_input.iter_mut().zip(weights.chunks_exact(m)) {
            *d_input += dot(d_output, weights);
        }
    }
}

/// `d_weights[k, :] += Σ_r input[r, k] · d_output[r, :]`.
pub(super) fn outer_add<T: Real>(input: &[T], d_output: &[T], d_weights: &mut [T], n: usize) {
    let m = d_weights.len() / n;
    for (input, d_output) in input.chunks(4 * n).zip(d_output.chunks(4 * m)) {
        let rows = input.len() / n;
        for (k, d_weights) in d_weights.chunks_exact_mut(m).enumerate() {
            let column = [0, 1, 2, 3].map(|row| {
                if row < rows {
                    input[row * n + k]
                } else {
                    T::zero()
                }
            });
            axpy_rows(&column[..rows], d_output, d_weights);
        }
    }
}

/// `y += a · x`.
pub(super) fn axpy<T: Real>(a: T, x: &[T], y: &mut [T]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += a * *x;
    }
}

/// The sum of products, in eight partial sums: the compiler may then use vector registers.
pub(super) fn dot<T: Real>(a: &[T], b: &[T]) -> T {
    let mut sums = [T::zero(); 8];
    let mut a_chunks = a.chunks_exact(8);
    let mut b_chunks = b.chunks_exact(8);
    for (a, b) in a_chunks.by_ref().zip(b_chunks.by_ref()) {
        for lane in 0..8 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest: T = a_chunks
        .remainder()
        .iter()
        .zip(b_chunks.remainder())
        .map(|(a, b)| *a * *b)
        .sum();
    sums.into_iter().sum::<T>() + rest
}

pub(super) fn sigmoid<T: Real>(x: T) -> T {
    T::one() / (T::one() + (-x).power_of_e())
}

/// Accurate to the last digits of 1, not of small results: all that a hidden unit needs.
pub(super) fn tanh<T: Real>(x: T) -> T {
    let two = T::one() + T::one();
    T::one() - two / (T::one() + (two * x).power_of_e())
}

/// ln(1 + eˣ) without overflow.
pub(super) fn softplus<T: Real>(x: T) -> T {
    x.max(T::zero()) + (-x.abs()).exp().ln_1p()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponential_is_as_exact_as_the_type() {
        for step in -8_600..=8_700 {
            let x = step as f32 * 0.01 + 0.000_3;
            let exact = f64::from(x).exp();
            assert!(
                (f64::from(x.power_of_e()) / exact - 1.0).abs() < 2.5e-7,
                "e^{x}"
            );
            assert!(
                (f64::from(tanh(x)) - f64::from(x).tanh()).abs() < 2.5e-7,
                "tanh {x}"
            );
            assert!(
                (f64::from(sigmoid(x)) - 1.0 / (1.0 + (-f64::from(x)).exp())).abs() < 2.5e-7,
                "sigmoid {x}"
            );
        }
        assert!(
            f32::NAN.power_of_e().is_nan()
                && f32::MAX.power_of_e().is_finite()
                && f32::MIN.power_of_e() >= 0.0
        );
        assert_eq!(
            (tanh(f32::MAX), tanh(f32::MIN), sigmoid(f32::MAX)),
            (1.0, -1.0, 1.0)
        );
    }

    #[test]
    fn products_are_those_of_matrices() {
        // 5 rows, 6 × 11: remainders of every blocking.
        let rows = 5;
        let n = 6;
        let m = 11;
        let numbers = |count: usize, factor: f64| -> Vec<f64> {
            (0..count).map(|i| (i as f64 * factor).sin()).collect()
        };
        let input = numbers(rows * n, 0.7);
        let weights = numbers(n * m, 1.3);
        let d_output = numbers(rows * m, 2.1);
        let mut output = vec![1.0; rows * m];
        let mut d_input = vec![2.0; rows * n];
        let mut d_weights = vec![3.0; n * m];
        multiply_add(&input, &weights, &mut output, n);
        multiply_transposed_add(&d_output, &weights, &mut d_input, n);
        outer_add(&input, &d_output, &mut d_weights, n);
        for row in 0..rows {
            for column in 0..m {
                let expected: f64 = 1.0
                    + (0..n)
                        .map(|k| input[row * n + k] * weights[k * m + column])
                        .sum::<f64>();
                assert!((output[row * m + column] - expected).abs() < 1e-12);
            }
            for k in 0..n {
                let expected: f64 = 2.0
                    + (0..m)
                        .map(|column| d_output[row * m + column] * weights[k * m + column])
                        .sum::<f64>();
                assert!((d_input[row * n + k] - expected).abs() < 1e-12);
            }
        }
        for index in 0..n * m {
            let expected: f64 = 3.0
                + (0..rows)
                    .map(|row| input[row * n + index / m] * d_output[row * m + index % m])
                    .sum::<f64>();
            assert!((d_weights[index] - expected).abs() < 1e-12);
        }
    }
}

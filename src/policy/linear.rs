//! Small dense products for a batch of rows, in one fixed order of operations: a row's result does not depend on the other rows.
//! Single-threaded on purpose: the matrices are far too small for threads to help. Must not know what is multiplied.

use num_traits::{Float, NumAssign};

/// f32 in a search; f64 where tests compare with finite differences.
pub(super) trait Real: Float + NumAssign + std::iter::Sum + Send + Sync {
    fn of(value: f64) -> Self;
    fn f64(self) -> f64;
}

impl Real for f32 {
    fn of(value: f64) -> Self {
        value as Self
    }

    fn f64(self) -> f64 {
        self.into()
    }
}

impl Real for f64 {
    fn of(value: f64) -> Self {
        value
    }

    fn f64(self) -> f64 {
        self
    }
}

/// `output[r, :] += input[r, :] · weights`; input `[rows, n]`, weights `[n, m]`, output `[rows, m]`.
pub(super) fn multiply_add<T: Real>(input: &[T], weights: &[T], output: &mut [T], n: usize) {
    let m = weights.len() / n;
    for (k, weights) in weights.chunks_exact(m).enumerate() {
        for (input, output) in input.chunks_exact(n).zip(output.chunks_exact_mut(m)) {
            axpy(input[k], weights, output);
        }
    }
}

/// `d_input[r, k] += d_output[r, :] · weights[k, :]`: the transpose of [`multiply_add`].
pub(super) fn multiply_transposed_add<T: Real>(d_output: &[T], weights: &[T], d_input: &mut [T], n: usize) {
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
    for (k, d_weights) in d_weights.chunks_exact_mut(m).enumerate() {
        for (input, d_output) in input.chunks_exact(n).zip(d_output.chunks_exact(m)) {
            axpy(input[k], d_output, d_weights);
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
    let (mut a_chunks, mut b_chunks) = (a.chunks_exact(8), b.chunks_exact(8));
    for (a, b) in a_chunks.by_ref().zip(b_chunks.by_ref()) {
        for lane in 0..8 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest: T = a_chunks.remainder().iter().zip(b_chunks.remainder()).map(|(a, b)| *a * *b).sum();
    sums.into_iter().sum::<T>() + rest
}

pub(super) fn sigmoid<T: Real>(x: T) -> T {
    T::one() / (T::one() + (-x).exp())
}

/// ln(1 + eˣ) without overflow.
pub(super) fn softplus<T: Real>(x: T) -> T {
    x.max(T::zero()) + (-x.abs()).exp().ln_1p()
}

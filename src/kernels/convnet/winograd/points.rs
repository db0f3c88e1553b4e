//! The arithmetic of one tile along one axis: evaluation at points and interpolation from them, in
//! vectors of any width. Must not know where tiles lie in memory.

use crate::kernels::simd::Vector;

/// The pairs ±1, ±2, ±1/2 that polynomials are evaluated at, beside 0 and infinity.
pub(super) const ROOTS: [f32; 3] = [1.0, 2.0, 0.5];

/// The point without a partner, where their number is odd (five or seven: at most two pairs, so
/// that it is none of theirs).
pub(super) const SINGLE: f32 = 0.5;

/// `base` to the power of `exponent`.
const fn power(base: f32, exponent: usize) -> f32 {
    let mut product = 1.0;
    let mut i = 0;
    while i < exponent {
        product *= base;
        i += 1;
    }
    product
}

/// N inputs at N points, or fewer outputs' gradients at N points.
#[inline(always)]
pub(super) fn at_points<V: Vector, const M: usize, const N: usize>(values: [V; M]) -> [V; N] {
    if M == N {
        evaluate(std::array::from_fn(|i| values[i]))
    } else {
        powers(values)
    }
}

/// The polynomial with these coefficients at the points: the adjoint of `interpolate`.
#[inline(always)]
fn powers<V: Vector, const M: usize, const N: usize>(values: [V; M]) -> [V; N] {
    let mut points = [V::splat(0.0); N];
    points[0] = values[0];
    points[N - 1] = values[M - 1];
    for i in 0..(N.max(2) - 2) / 2 {
        let mut even = values[0];
        let mut odd = values[1 % M].mul(V::splat(ROOTS[i]));
        for (k, value) in values.iter().enumerate().skip(2) {
            let square = V::splat(if k == 2 {
                ROOTS[i] * ROOTS[i]
            } else {
                ROOTS[i] * ROOTS[i] * ROOTS[i]
            });
            if k % 2 == 0 {
                even = value.mul_add(square, even);
            } else {
                odd = value.mul_add(square, odd);
            }
        }
        points[1 + 2 * i] = even.add(odd);
        points[2 + 2 * i] = even.sub(odd);
    }
    if N % 2 == 1 {
        let mut sum = values[0];
        for (k, value) in values.iter().enumerate().skip(1) {
            sum = value.mul_add(V::splat(power(SINGLE, k)), sum);
        }
        points[N - 2] = sum;
    }
    points
}

/// Coefficients of Π (z - r²) over the first `pairs` roots r but `skip`, lowest first.
const fn polynomial(pairs: usize, skip: usize) -> [f32; 4] {
    let mut coefficients = [1.0, 0.0, 0.0, 0.0];
    let mut i = 0;
    while i < pairs {
        if i != skip {
            let square = ROOTS[i] * ROOTS[i];
            let mut k = 3;
            while k > 0 {
                coefficients[k] = coefficients[k - 1] - square * coefficients[k];
                k -= 1;
            }
            coefficients[0] *= -square;
        }
        i += 1;
    }
    coefficients
}

/// Coefficients without each root of one pair, of two pairs, of three, and (last) with all.
const POLYNOMIALS: [[[f32; 4]; 4]; 3] = [
    [polynomial(1, 0), [0.0; 4], [0.0; 4], polynomial(1, 9)],
    [
        polynomial(2, 0),
        polynomial(2, 1),
        [0.0; 4],
        polynomial(2, 9),
    ],
    [
        polynomial(3, 0),
        polynomial(3, 1),
        polynomial(3, 2),
        polynomial(3, 9),
    ],
];

/// Σ coefficients[k] · d[first + 2k], whose leading coefficient is 1.
#[inline(always)]
fn every_other<V: Vector>(d: &[V], coefficients: &[f32; 4], degree: usize, first: usize) -> V {
    let mut sum = d[first + 2 * degree];
    for k in 0..degree {
        sum = d[first + 2 * k].mul_add(V::splat(coefficients[k]), sum);
    }
    sum
}

/// One axis of a tile at its points: 0, the pairs ±root, a single one where their number is odd,
/// infinity.
#[inline(always)]
fn evaluate<V: Vector, const N: usize>(inputs: [V; N]) -> [V; N] {
    if N == 1 {
        return inputs;
    }
    let pairs = (N - 2) / 2;
    let polynomials = &POLYNOMIALS[pairs - 1];
    let mut points = [V::splat(0.0); N];
    let mut d = inputs;
    if N % 2 == 1 {
        points[N - 2] = every_other(&inputs, &polynomials[3], pairs, 1);
        // All other points' polynomials have the single root, too: one product with z - root.
        for k in 0..N - 1 {
            d[k] = inputs[k].mul_add(V::splat(-SINGLE), inputs[k + 1]);
        }
    }
    let sum = |coefficients: &[f32; 4], degree: usize, first: usize| {
        every_other(&d, coefficients, degree, first)
    };
    points[0] = sum(&polynomials[3], pairs, 0);
    points[N - 1] = sum(&polynomials[3], pairs, 1);
    for i in 0..pairs {
        let even = sum(&polynomials[i], pairs - 1, 2);
        let odd = sum(&polynomials[i], pairs - 1, 1);
        points[1 + 2 * i] = odd.mul_add(V::splat(ROOTS[i]), even);
        points[2 + 2 * i] = odd.mul_add(V::splat(-ROOTS[i]), even);
    }
    points
}

/// From N points to M outputs.
#[inline(always)]
pub(super) fn interpolate<V: Vector, const N: usize, const M: usize>(t: [V; N]) -> [V; M] {
    let mut outputs = [V::splat(0.0); M];
    if N == 1 {
        outputs[0] = t[0];
        return outputs;
    }
    for (k, output) in outputs.iter_mut().enumerate() {
        for i in 0..(N - 2) / 2 {
            let plus = t[1 + 2 * i];
            let minus = t[2 + 2 * i];
            let pair = if k % 2 == 0 {
                plus.add(minus)
            } else {
                plus.sub(minus)
            };
            *output = if i == 0 {
                pair
            } else {
                pair.mul_add(V::splat(power(ROOTS[i], k)), *output)
            };
        }
        if N % 2 == 1 {
            *output = t[N - 2].mul_add(V::splat(power(SINGLE, k)), *output);
        }
    }
    outputs[0] = outputs[0].add(t[0]);
    outputs[M - 1] = outputs[M - 1].add(t[N - 1]);
    outputs
}

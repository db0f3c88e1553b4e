//! The arithmetic of one tile along one axis: evaluation at points and interpolation from them, in
//! vectors of any width. Must not know where tiles lie in memory.

use crate::kernels::simd::Vector;

/// The pairs ±1, ±2, ±1/2 that polynomials are evaluated at, beside 0 and infinity.
pub(super) const ROOTS: [f32; 3] = [1.0, 2.0, 0.5];

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

/// Coefficients without each root of 6 points, of 8 points, and (last) with all.
const POLYNOMIALS: [[[f32; 4]; 4]; 2] = [
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

/// One axis of a tile at its points: 0, the pairs ±root, infinity.
#[inline(always)]
fn evaluate<V: Vector, const N: usize>(d: [V; N]) -> [V; N] {
    if N == 1 {
        return d;
    }
    let pairs = (N - 2) / 2;
    let polynomials = &POLYNOMIALS[pairs - 2];
    // Σ coefficients[k] · d[first + 2k], whose leading coefficient is 1.
    let sum = |coefficients: &[f32; 4], degree: usize, first: usize| {
        let mut sum = d[first + 2 * degree];
        for k in 0..degree {
            sum = d[first + 2 * k].mul_add(V::splat(coefficients[k]), sum);
        }
        sum
    };
    let mut points = [V::splat(0.0); N];
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
            let power = match k {
                0 => 1.0,
                1 => ROOTS[i],
                2 => ROOTS[i] * ROOTS[i],
                _ => ROOTS[i] * ROOTS[i] * ROOTS[i],
            };
            *output = if i == 0 {
                pair
            } else {
                pair.mul_add(V::splat(power), *output)
            };
        }
    }
    outputs[0] = outputs[0].add(t[0]);
    outputs[M - 1] = outputs[M - 1].add(t[N - 1]);
    outputs
}

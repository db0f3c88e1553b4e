//! exp, tanh, sigmoid, sin and cos of whole vectors. NaN stays NaN.
//! Knows nothing of cells or losses.
//!
//! Largest errors, which a test compares with f64 on every kind of vector: exp 3e-7, tanh 4e-7 and
//! sigmoid 3e-7 of the value (sigmoid below −87: 2e-38 in all), sin 3e-7, cos 6e-7.

use crate::kernels::simd::Vector;

/// Σ coefficients[i] · x^i
#[inline(always)]
fn polynomial<V: Vector, const N: usize>(x: V, coefficients: [f32; N]) -> V {
    let mut sum = V::splat(coefficients[N - 1]);
    for &coefficient in coefficients[..N - 1].iter().rev() {
        sum = sum.mul_add(x, V::splat(coefficient));
    }
    sum
}

/// A rational function, odd over even, as in Eigen; beyond ±7.9 its value there, which rounds to 1.
#[inline(always)]
pub fn tanh<V: Vector>(x: V) -> V {
    // The second operand of max and min is what they give where there is NaN.
    let x = V::splat(-7.905_311).max(V::splat(7.905_311).min(x));
    let square = x.mul(x);
    let above = polynomial(
        square,
        [
            4.893_524_6e-3,
            6.372_619_3e-4,
            1.485_722_4e-5,
            5.122_297e-8,
            -8.604_672e-11,
            2.000_188e-13,
            -2.760_768_5e-16,
        ],
    );
    let below = polynomial(
        square,
        [4.893_525e-3, 2.268_434_6e-3, 1.185_347_1e-4, 1.198_258_4e-6],
    );
    x.mul(above).div(below)
}

/// e^x within ±`RANGE`, by powers of 2 and a polynomial of degree 7 (Cephes).
#[inline(always)]
fn exponential<V: Vector>(x: V) -> V {
    let n = x.mul(V::splat(std::f32::consts::LOG2_E)).round();
    let rest = n.mul_add(
        V::splat(2.121_944_4e-4),
        n.mul_add(V::splat(-0.693_359_4), x),
    );
    let p = polynomial(
        rest,
        [
            0.5,
            0.166_666_65,
            4.166_579_6e-2,
            8.333_452e-3,
            1.398_2e-3,
            1.987_569_1e-4,
        ],
    );
    p.mul_add(rest.mul(rest), rest.add(V::splat(1.0)))
        .times_power_of_2(n)
}

/// e^this and e^-this are normal numbers.
const RANGE: f32 = 87.0;

/// e^x for x up to 87; below −87 it is 0.
#[inline(always)]
pub fn exp<V: Vector>(x: V) -> V {
    // The second operand of max is what it gives where there is NaN.
    let lowest = V::splat(-RANGE);
    lowest.select_greater(x, V::splat(0.0), exponential(lowest.max(x)))
}

/// 1 / (1 + e^−x)
#[inline(always)]
pub fn sigmoid<V: Vector>(x: V) -> V {
    let x = V::splat(-RANGE).max(V::splat(RANGE).min(V::splat(0.0).sub(x)));
    let one = V::splat(1.0);
    one.div(one.add(exponential(x)))
}

/// Beyond this the reduction by 2π is no longer exact: such numbers are taken one by one.
const FAR: f32 = 8_192.0;

/// sin(x + shift · π/2), shift 0 or 1.
#[inline(always)]
fn wave<V: Vector>(x: V, shift: f32) -> V {
    use std::f32::consts::{FRAC_PI_2, PI, TAU};
    let n = x
        .mul_add(V::splat(1.0 / TAU), V::splat(shift * 0.25))
        .round();
    // 2π in three parts, so short that their products with n are exact.
    let rest = n.mul_add(V::splat(-6.281_25), x);
    let rest = n.mul_add(V::splat(-1.935_005_2e-3), rest);
    let rest = n
        .mul_add(V::splat(-3.019_916e-7), rest)
        .add(V::splat(shift * FRAC_PI_2));
    // sin(r) = sin(π − r) = sin(−π − r) brings r within a quarter turn.
    let rest = V::splat(PI).sub(rest).min(rest);
    let rest = V::splat(-PI).sub(rest).max(rest);
    let square = rest.mul(rest);
    let p = polynomial(
        square,
        [
            -1.0 / 6.0,
            1.0 / 120.0,
            -1.0 / 5_040.0,
            1.0 / 362_880.0,
            -1.0 / 39_916_800.0,
        ],
    );
    p.mul(square).mul_add(rest, rest)
}

#[inline(always)]
fn is_far<V: Vector>(x: V) -> bool {
    x.any_greater(V::splat(FAR)) || V::splat(-FAR).any_greater(x)
}

#[cold]
#[inline(never)]
fn one_by_one(numbers: &mut [f32], f: fn(f64) -> f64) {
    numbers
        .iter_mut()
        .for_each(|number| *number = f(f64::from(*number)) as f32);
}

#[inline(always)]
fn far<V: Vector>(x: V, f: fn(f64) -> f64) -> V {
    let mut numbers = x.numbers();
    one_by_one(&mut numbers[..V::WIDTH], f);
    V::first_of(&numbers)
}

/// sin x
#[inline(always)]
pub fn sin<V: Vector>(x: V) -> V {
    if is_far(x) {
        far(x, f64::sin)
    } else {
        wave(x, 0.0)
    }
}

/// cos x
#[inline(always)]
pub fn cos<V: Vector>(x: V) -> V {
    if is_far(x) {
        far(x, f64::cos)
    } else {
        wave(x, 1.0)
    }
}

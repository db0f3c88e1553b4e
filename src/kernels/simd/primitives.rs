//! What exponential functions and sines need of a vector beside sums and products. Knows nothing of
//! those functions.

use super::Portable;
#[cfg(target_arch = "x86_64")]
use super::{Avx2, Avx512, x86::on_registers};
#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

/// What the functions need beside the arithmetic of [`super::Vector`].
pub trait Primitives: Copy {
    fn div(self, other: Self) -> Self;
    /// The smaller; `other` where one of them is NaN.
    fn min(self, other: Self) -> Self;
    /// To the nearest whole number.
    fn round(self) -> Self;
    /// self · 2^n for whole n from −126 to 127.
    fn times_power_of_2(self, n: Self) -> Self;
    /// `yes` where self > other, elsewhere `no`.
    fn select_greater(self, other: Self, yes: Self, no: Self) -> Self;
    /// Whether self > other anywhere.
    fn any_greater(self, other: Self) -> bool;
}

impl Primitives for Portable {
    #[inline(always)]
    fn div(self, other: Self) -> Self {
        self.zip(other, |a, b| a / b)
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        self.zip(other, |a, b| if a < b { a } else { b })
    }

    #[inline(always)]
    fn round(self) -> Self {
        // Adding and taking away 1.5 · 2^23 rounds numbers below 2^22 without a call.
        const SHIFT: f32 = 12_582_912.0;
        Self(self.0.map(|a| (a + SHIFT) - SHIFT))
    }

    #[inline(always)]
    fn times_power_of_2(self, n: Self) -> Self {
        self.zip(n, |a, n| {
            a * f32::from_bits((((n as i32) + 127) as u32) << 23)
        })
    }

    #[inline(always)]
    fn select_greater(self, other: Self, yes: Self, no: Self) -> Self {
        Self(std::array::from_fn(|i| {
            if self.0[i] > other.0[i] {
                yes.0[i]
            } else {
                no.0[i]
            }
        }))
    }

    #[inline(always)]
    fn any_greater(self, other: Self) -> bool {
        self.0.iter().zip(other.0).any(|(a, b)| *a > b)
    }
}

#[cfg(target_arch = "x86_64")]
impl Primitives for Avx2 {
    #[inline(always)]
    fn div(self, other: Self) -> Self {
        Self(on_registers!(_mm256_div_ps(self.0, other.0)))
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        Self(on_registers!(_mm256_min_ps(self.0, other.0)))
    }

    #[inline(always)]
    fn round(self) -> Self {
        const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
        Self(on_registers!(_mm256_round_ps::<NEAREST>(self.0)))
    }

    #[inline(always)]
    fn times_power_of_2(self, n: Self) -> Self {
        Self(on_registers!({
            let exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n.0), _mm256_set1_epi32(127));
            _mm256_mul_ps(
                self.0,
                _mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponent)),
            )
        }))
    }

    #[inline(always)]
    fn select_greater(self, other: Self, yes: Self, no: Self) -> Self {
        Self(on_registers!(_mm256_blendv_ps(
            no.0,
            yes.0,
            _mm256_cmp_ps::<_CMP_GT_OQ>(self.0, other.0),
        )))
    }

    #[inline(always)]
    fn any_greater(self, other: Self) -> bool {
        on_registers!(_mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(self.0, other.0)) != 0)
    }
}

#[cfg(target_arch = "x86_64")]
impl Primitives for Avx512 {
    #[inline(always)]
    fn div(self, other: Self) -> Self {
        Self(on_registers!(_mm512_div_ps(self.0, other.0)))
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        Self(on_registers!(_mm512_min_ps(self.0, other.0)))
    }

    #[inline(always)]
    fn round(self) -> Self {
        const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
        Self(on_registers!(_mm512_roundscale_ps::<NEAREST>(self.0)))
    }

    #[inline(always)]
    fn times_power_of_2(self, n: Self) -> Self {
        Self(on_registers!({
            let exponent = _mm512_add_epi32(_mm512_cvtps_epi32(n.0), _mm512_set1_epi32(127));
            _mm512_mul_ps(
                self.0,
                _mm512_castsi512_ps(_mm512_slli_epi32::<23>(exponent)),
            )
        }))
    }

    #[inline(always)]
    fn select_greater(self, other: Self, yes: Self, no: Self) -> Self {
        Self(on_registers!(_mm512_mask_blend_ps(
            _mm512_cmp_ps_mask::<_CMP_GT_OQ>(self.0, other.0),
            no.0,
            yes.0,
        )))
    }

    #[inline(always)]
    fn any_greater(self, other: Self) -> bool {
        on_registers!(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(self.0, other.0) != 0)
    }
}

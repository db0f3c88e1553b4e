//! Exponential functions and sines of whole vectors. A number that is none stays none in all of
//! them. Knows nothing of what is computed with them.

use super::Portable;
#[cfg(target_arch = "x86_64")]
use super::{Avx2, Avx512};
#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

/// What the functions need beside the arithmetic of [`super::Vector`].
///
/// # Safety
/// As for [`super::Vector`].
pub trait Primitives: Copy {
    unsafe fn div(self, other: Self) -> Self;
    /// The smaller; `other` where one of them is no number.
    unsafe fn min(self, other: Self) -> Self;
    /// To the nearest whole number.
    unsafe fn round(self) -> Self;
    /// self · 2^n for whole n from −126 to 127.
    unsafe fn times_power_of_2(self, n: Self) -> Self;
    /// `yes` where self > other, elsewhere `no`.
    unsafe fn select_greater(self, other: Self, yes: Self, no: Self) -> Self;
    /// Whether self > other anywhere.
    unsafe fn any_greater(self, other: Self) -> bool;
}

// SAFETY of every block below: the trait's contract.
impl Primitives for Portable {
    #[inline(always)]
    unsafe fn div(self, other: Self) -> Self {
        self.zip(other, |a, b| a / b)
    }

    #[inline(always)]
    unsafe fn min(self, other: Self) -> Self {
        self.zip(other, |a, b| if a < b { a } else { b })
    }

    #[inline(always)]
    unsafe fn round(self) -> Self {
        // Adding and taking away 1.5 · 2^23 rounds numbers below 2^22 without a call.
        const SHIFT: f32 = 12_582_912.0;
        Self(self.0.map(|a| (a + SHIFT) - SHIFT))
    }

    #[inline(always)]
    unsafe fn times_power_of_2(self, n: Self) -> Self {
        self.zip(n, |a, n| {
            a * f32::from_bits((((n as i32) + 127) as u32) << 23)
        })
    }

    #[inline(always)]
    unsafe fn select_greater(self, other: Self, yes: Self, no: Self) -> Self {
        Self(std::array::from_fn(|i| {
            if self.0[i] > other.0[i] {
                yes.0[i]
            } else {
                no.0[i]
            }
        }))
    }

    #[inline(always)]
    unsafe fn any_greater(self, other: Self) -> bool {
        self.0.iter().zip(other.0).any(|(a, b)| *a > b)
    }
}

#[cfg(target_arch = "x86_64")]
impl Primitives for Avx2 {
    #[inline(always)]
    unsafe fn div(self, other: Self) -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm256_div_ps(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn min(self, other: Self) -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm256_min_ps(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn round(self) -> Self {
        // SAFETY: see above.
        unsafe {
            Self(_mm256_round_ps::<
                { _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC },
            >(self.0))
        }
    }

    #[inline(always)]
    unsafe fn times_power_of_2(self, n: Self) -> Self {
        // SAFETY: see above.
        unsafe {
            let exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n.0), _mm256_set1_epi32(127));
            Self(_mm256_mul_ps(
                self.0,
                _mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponent)),
            ))
        }
    }

    #[inline(always)]
    unsafe fn select_greater(self, other: Self, yes: Self, no: Self) -> Self {
        // SAFETY: see above.
        unsafe {
            Self(_mm256_blendv_ps(
                no.0,
                yes.0,
                _mm256_cmp_ps::<_CMP_GT_OQ>(self.0, other.0),
            ))
        }
    }

    #[inline(always)]
    unsafe fn any_greater(self, other: Self) -> bool {
        // SAFETY: see above.
        unsafe { _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(self.0, other.0)) != 0 }
    }
}

#[cfg(target_arch = "x86_64")]
impl Primitives for Avx512 {
    #[inline(always)]
    unsafe fn div(self, other: Self) -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm512_div_ps(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn min(self, other: Self) -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm512_min_ps(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn round(self) -> Self {
        // SAFETY: see above.
        unsafe {
            Self(_mm512_roundscale_ps::<
                { _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC },
            >(self.0))
        }
    }

    #[inline(always)]
    unsafe fn times_power_of_2(self, n: Self) -> Self {
        // SAFETY: see above.
        unsafe {
            let exponent = _mm512_add_epi32(_mm512_cvtps_epi32(n.0), _mm512_set1_epi32(127));
            Self(_mm512_mul_ps(
                self.0,
                _mm512_castsi512_ps(_mm512_slli_epi32::<23>(exponent)),
            ))
        }
    }

    #[inline(always)]
    unsafe fn select_greater(self, other: Self, yes: Self, no: Self) -> Self {
        // SAFETY: see above.
        unsafe {
            Self(_mm512_mask_blend_ps(
                _mm512_cmp_ps_mask::<_CMP_GT_OQ>(self.0, other.0),
                no.0,
                yes.0,
            ))
        }
    }

    #[inline(always)]
    unsafe fn any_greater(self, other: Self) -> bool {
        // SAFETY: see above.
        unsafe { _mm512_cmp_ps_mask::<_CMP_GT_OQ>(self.0, other.0) != 0 }
    }
}

//! Vectors of x86-64: AVX2 with FMA, and AVX-512. Knows nothing of what is computed with them.

use super::{TILE_FILTERS, Vector, avx2_tile};
use std::arch::x86_64::*;

/// Eight numbers in a ymm register.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Avx2(pub(super) __m256);

// SAFETY of every block below: the trait's contract (the CPU has AVX2 and FMA; pointers are valid
// for eight numbers; the unaligned forms of load and store are used).
impl Vector for Avx2 {
    const WIDTH: usize = 8;
    const TILE: usize = 3;

    #[inline(always)]
    fn fetch(from: *const f32) {
        // SAFETY: it never faults, and every x86-64 has it.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(from.cast()) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm256_loadu_ps(from)) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: see above.
        unsafe { _mm256_storeu_ps(to, self.0) }
    }

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm256_set1_ps(value)) }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm256_add_ps(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm256_sub_ps(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm256_mul_ps(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm256_fmadd_ps(self.0, factor.0, addend.0)) }
    }

    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm256_max_ps(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn where_positive(self, test: Self) -> Self {
        // SAFETY: see above.
        unsafe {
            Self(_mm256_and_ps(
                self.0,
                _mm256_cmp_ps::<_CMP_GT_OQ>(test.0, _mm256_setzero_ps()),
            ))
        }
    }

    #[inline(always)]
    unsafe fn sums(four: [Self; 4]) -> [f32; 4] {
        // SAFETY: see above.
        unsafe {
            let [a, b, c, d] = four.map(|v| v.0);
            let sums = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
            let mut out = [0.0; 4];
            _mm_storeu_ps(
                out.as_mut_ptr(),
                _mm_add_ps(
                    _mm256_castps256_ps128(sums),
                    _mm256_extractf128_ps::<1>(sums),
                ),
            );
            out
        }
    }

    #[inline(always)]
    unsafe fn scale_add<const T: usize>(
        sums: &mut [[Self; T]; TILE_FILTERS],
        source: *const f32,
        step: usize,
        weights: *const f32,
        weight_step: usize,
    ) {
        // SAFETY: see above; the caller vouches for source and weights.
        unsafe { avx2_tile::scale_add(sums, source, step, weights, weight_step) }
    }

    #[inline(always)]
    unsafe fn scale_add_all<const T: usize>(
        sums: &mut [[Self; T]; TILE_FILTERS],
        source: *const f32,
        steps: usize,
        weights: *const f32,
        (weight_step, next): (usize, usize),
    ) {
        let fours = if (T == 2 || T == 3) && (next == 1 || next == TILE_FILTERS) {
            steps / 4
        } else {
            0
        };
        // SAFETY: see above; the caller vouches for source and weights.
        unsafe {
            if let Some(sums) = avx2_tile::tile_of::<3, T>(sums) {
                match next {
                    1 => avx2_tile::scale_add_fours_of_three::<1>(
                        sums,
                        source,
                        fours,
                        weights,
                        weight_step,
                    ),
                    _ => avx2_tile::scale_add_fours_of_three::<TILE_FILTERS>(
                        sums,
                        source,
                        fours,
                        weights,
                        weight_step,
                    ),
                }
            } else if let Some(sums) = avx2_tile::tile_of::<2, T>(sums) {
                match next {
                    1 => avx2_tile::scale_add_fours_of_two::<1>(
                        sums,
                        source,
                        fours,
                        weights,
                        weight_step,
                    ),
                    _ => avx2_tile::scale_add_fours_of_two::<TILE_FILTERS>(
                        sums,
                        source,
                        fours,
                        weights,
                        weight_step,
                    ),
                }
            }
            for step in 4 * fours..steps {
                avx2_tile::scale_add(
                    sums,
                    source.add(step * T * Self::WIDTH),
                    Self::WIDTH,
                    weights.add(step * next),
                    weight_step,
                );
            }
        }
    }

    #[inline(always)]
    unsafe fn product_add<const T: usize>(
        sums: &mut [[Self; T]; TILE_FILTERS],
        gradients: &[*const f32; TILE_FILTERS],
        g: usize,
        sources: &[*const f32; T],
        s: usize,
    ) {
        // SAFETY: see above; the caller vouches for gradients and sources.
        unsafe { avx2_tile::product_add(sums, gradients, g, sources, s) }
    }
}

/// Sixteen numbers in a zmm register.
#[derive(Clone, Copy)]
pub struct Avx512(pub(super) __m512);

// SAFETY of every block below: the trait's contract (the CPU has AVX-512F; pointers are valid for
// sixteen numbers; the unaligned forms of load and store are used).
impl Vector for Avx512 {
    const WIDTH: usize = 16;
    const TILE: usize = 6;

    #[inline(always)]
    fn fetch(from: *const f32) {
        // SAFETY: it never faults, and every x86-64 has it.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(from.cast()) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm512_loadu_ps(from)) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: see above.
        unsafe { _mm512_storeu_ps(to, self.0) }
    }

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm512_set1_ps(value)) }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm512_add_ps(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm512_sub_ps(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm512_mul_ps(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm512_fmadd_ps(self.0, factor.0, addend.0)) }
    }

    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm512_max_ps(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn where_positive(self, test: Self) -> Self {
        // SAFETY: see above.
        unsafe {
            Self(_mm512_maskz_mov_ps(
                _mm512_cmp_ps_mask::<_CMP_GT_OQ>(test.0, _mm512_setzero_ps()),
                self.0,
            ))
        }
    }

    #[inline(always)]
    unsafe fn sums(four: [Self; 4]) -> [f32; 4] {
        // SAFETY: see above.
        unsafe {
            let [a, b, c, d] = four.map(|v| v.0);
            // In each quarter: a0 + a2, b0 + b2, a1 + a3, b1 + b3; then one number of each of the
            // four.
            let ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
            let cd = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
            let (ab, cd) = (_mm512_castps_pd(ab), _mm512_castps_pd(cd));
            let quarters = _mm512_add_ps(
                _mm512_castpd_ps(_mm512_unpacklo_pd(ab, cd)),
                _mm512_castpd_ps(_mm512_unpackhi_pd(ab, cd)),
            );
            let halves = _mm512_add_ps(
                quarters,
                _mm512_shuffle_f32x4::<0b01_00_11_10>(quarters, quarters),
            );
            let sums = _mm512_add_ps(
                halves,
                _mm512_shuffle_f32x4::<0b10_11_00_01>(halves, halves),
            );
            let mut out = [0.0; 4];
            _mm_storeu_ps(out.as_mut_ptr(), _mm512_castps512_ps128(sums));
            out
        }
    }
}

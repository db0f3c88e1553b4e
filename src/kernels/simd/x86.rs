//! Vectors of x86-64: AVX2 with FMA, and AVX-512. Knows nothing of what is computed with them.

use super::{Steps, TILE_FILTERS, Vector, avx2_tile, turn};
use std::arch::x86_64::*;

/// Calls intrinsics whose arguments are registers and numbers. Their one precondition is the CPU
/// feature.
macro_rules! on_registers {
    ($call:expr) => {
        // SAFETY: no pointer is followed, and the CPU has the feature: `Isa::run` alone runs code
        // with a vector type of this module, and only where it found the feature.
        unsafe { $call }
    };
}
pub(super) use on_registers;

/// Eight numbers in a ymm register.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Avx2(pub(super) __m256);

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
        // SAFETY: the caller vouches for eight readable numbers, and the CPU has the instruction
        // (see `on_registers`).
        unsafe { Self(_mm256_loadu_ps(from)) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller vouches for eight writable numbers, and the CPU has the instruction
        // (see `on_registers`).
        unsafe { _mm256_storeu_ps(to, self.0) }
    }

    #[inline(always)]
    fn splat(value: f32) -> Self {
        Self(on_registers!(_mm256_set1_ps(value)))
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(on_registers!(_mm256_add_ps(self.0, other.0)))
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self(on_registers!(_mm256_sub_ps(self.0, other.0)))
    }

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        Self(on_registers!(_mm256_mul_ps(self.0, other.0)))
    }

    #[inline(always)]
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        Self(on_registers!(_mm256_fmadd_ps(self.0, factor.0, addend.0)))
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        Self(on_registers!(_mm256_max_ps(self.0, other.0)))
    }

    #[inline(always)]
    fn where_positive(self, test: Self) -> Self {
        Self(on_registers!(_mm256_and_ps(
            self.0,
            _mm256_cmp_ps::<_CMP_GT_OQ>(test.0, _mm256_setzero_ps()),
        )))
    }

    #[inline(always)]
    unsafe fn turn(from: *const f32, from_step: usize, to: *mut f32, to_step: usize) {
        // SAFETY: the caller vouches for both blocks, and the CPU has AVX2 (see `on_registers`).
        unsafe { turn::eight(from, from_step, to, to_step) }
    }

    #[inline(always)]
    fn sums(four: [Self; 4]) -> [f32; 4] {
        let [a, b, c, d] = four.map(|v| v.0);
        four_numbers(on_registers!({
            let sums = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
            _mm_add_ps(
                _mm256_castps256_ps128(sums),
                _mm256_extractf128_ps::<1>(sums),
            )
        }))
    }

    #[inline(always)]
    unsafe fn scale_add<const T: usize>(
        sums: &mut [[Self; T]; TILE_FILTERS],
        source: *const f32,
        step: usize,
        weights: *const f32,
        weight_step: usize,
    ) {
        // SAFETY: the caller vouches for source and weights, and the CPU has AVX2 and FMA (see
        // `on_registers`).
        unsafe { avx2_tile::scale_add(sums, source, step, weights, weight_step) }
    }

    #[inline(always)]
    unsafe fn scale_add_all<const T: usize>(
        sums: &mut [[Self; T]; TILE_FILTERS],
        source: *const f32,
        weights: *const f32,
        steps: Steps,
    ) {
        let Steps {
            count,
            weight_step,
            next_weights: next,
        } = steps;
        let fours = if (T == 2 || T == 3) && (next == 1 || next == TILE_FILTERS) {
            count / 4
        } else {
            0
        };
        // SAFETY: the caller vouches for the sources and weights of all steps, and the CPU has AVX2
        // and FMA (see `on_registers`).
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
            for step in 4 * fours..count {
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
        // SAFETY: the caller vouches for gradients and sources, and the CPU has AVX2 and FMA (see
        // `on_registers`).
        unsafe { avx2_tile::product_add(sums, gradients, g, sources, s) }
    }
}

/// Sixteen numbers in a zmm register.
#[derive(Clone, Copy)]
pub struct Avx512(pub(super) __m512);

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
        // SAFETY: the caller vouches for sixteen readable numbers, and the CPU has the instruction
        // (see `on_registers`).
        unsafe { Self(_mm512_loadu_ps(from)) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller vouches for sixteen writable numbers, and the CPU has the instruction
        // (see `on_registers`).
        unsafe { _mm512_storeu_ps(to, self.0) }
    }

    #[inline(always)]
    fn splat(value: f32) -> Self {
        Self(on_registers!(_mm512_set1_ps(value)))
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(on_registers!(_mm512_add_ps(self.0, other.0)))
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self(on_registers!(_mm512_sub_ps(self.0, other.0)))
    }

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        Self(on_registers!(_mm512_mul_ps(self.0, other.0)))
    }

    #[inline(always)]
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        Self(on_registers!(_mm512_fmadd_ps(self.0, factor.0, addend.0)))
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        Self(on_registers!(_mm512_max_ps(self.0, other.0)))
    }

    #[inline(always)]
    fn where_positive(self, test: Self) -> Self {
        Self(on_registers!(_mm512_maskz_mov_ps(
            _mm512_cmp_ps_mask::<_CMP_GT_OQ>(test.0, _mm512_setzero_ps()),
            self.0,
        )))
    }

    #[inline(always)]
    unsafe fn turn(from: *const f32, from_step: usize, to: *mut f32, to_step: usize) {
        // SAFETY: the caller vouches for both blocks, and the CPU has AVX-512F (see `on_registers`).
        unsafe { turn::sixteen(from, from_step, to, to_step) }
    }

    #[inline(always)]
    fn sums(four: [Self; 4]) -> [f32; 4] {
        let [a, b, c, d] = four.map(|v| v.0);
        four_numbers(on_registers!({
            // In each quarter: a0 + a2, b0 + b2, a1 + a3, b1 + b3; then one number of each of the
            // four.
            let ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
            let cd = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
            let ab = _mm512_castps_pd(ab);
            let cd = _mm512_castps_pd(cd);
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
            _mm512_castps512_ps128(sums)
        }))
    }
}

#[inline(always)]
fn four_numbers(register: __m128) -> [f32; 4] {
    let mut numbers = [0.0; 4];
    // SAFETY: there is room for four numbers; every x86-64 has the instruction.
    unsafe { _mm_storeu_ps(numbers.as_mut_ptr(), register) };
    numbers
}

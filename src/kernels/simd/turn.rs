//! Square blocks of numbers turned in registers of x86-64: rows become columns. Knows nothing of
//! what they are.

use std::arch::x86_64::*;

/// Eight by eight.
///
/// # Safety
/// `from` points to eight rows of eight readable numbers, `from_step` apart; `to` to as many
/// writable ones, `to_step` apart; the CPU has AVX2.
#[inline]
#[target_feature(enable = "avx2")]
pub unsafe fn eight(from: *const f32, from_step: usize, to: *mut f32, to_step: usize) {
    // SAFETY: the caller vouches for eight rows of either.
    unsafe {
        let r: [__m256; 8] = std::array::from_fn(|i| _mm256_loadu_ps(from.add(i * from_step)));
        // Pairs of rows, then fours: each half holds one column of four rows.
        let pairs: [__m256; 8] = std::array::from_fn(|i| {
            let (a, b) = (r[i / 2 * 2], r[i / 2 * 2 + 1]);
            if i % 2 == 0 {
                _mm256_unpacklo_ps(a, b)
            } else {
                _mm256_unpackhi_ps(a, b)
            }
        });
        let fours: [__m256; 8] = std::array::from_fn(|i| {
            let first = i / 4 * 4 + i % 4 / 2;
            let (a, b) = (
                _mm256_castps_pd(pairs[first]),
                _mm256_castps_pd(pairs[first + 2]),
            );
            _mm256_castpd_ps(if i % 2 == 0 {
                _mm256_unpacklo_pd(a, b)
            } else {
                _mm256_unpackhi_pd(a, b)
            })
        });
        for column in 0..4 {
            let (a, b) = (fours[column], fours[4 + column]);
            _mm256_storeu_ps(
                to.add(column * to_step),
                _mm256_permute2f128_ps::<0x20>(a, b),
            );
            _mm256_storeu_ps(
                to.add((4 + column) * to_step),
                _mm256_permute2f128_ps::<0x31>(a, b),
            );
        }
    }
}

/// Sixteen by sixteen.
///
/// # Safety
/// As `eight`, for sixteen rows of sixteen numbers; the CPU has AVX-512F.
#[inline]
#[target_feature(enable = "avx512f")]
pub unsafe fn sixteen(from: *const f32, from_step: usize, to: *mut f32, to_step: usize) {
    // SAFETY: the caller vouches for sixteen rows of either.
    unsafe {
        let r: [__m512; 16] = std::array::from_fn(|i| _mm512_loadu_ps(from.add(i * from_step)));
        // Pairs of rows, then fours: each quarter holds one column of four rows.
        let pairs: [__m512; 16] = std::array::from_fn(|i| {
            let (a, b) = (r[i / 2 * 2], r[i / 2 * 2 + 1]);
            if i % 2 == 0 {
                _mm512_unpacklo_ps(a, b)
            } else {
                _mm512_unpackhi_ps(a, b)
            }
        });
        let fours: [__m512; 16] = std::array::from_fn(|i| {
            let first = i / 4 * 4 + i % 4 / 2;
            let (a, b) = (
                _mm512_castps_pd(pairs[first]),
                _mm512_castps_pd(pairs[first + 2]),
            );
            _mm512_castpd_ps(if i % 2 == 0 {
                _mm512_unpacklo_pd(a, b)
            } else {
                _mm512_unpackhi_pd(a, b)
            })
        });
        for column in 0..4 {
            let [a, b, c, d] = std::array::from_fn(|i| fours[4 * i + column]);
            let even = [
                _mm512_shuffle_f32x4::<0x88>(a, b),
                _mm512_shuffle_f32x4::<0x88>(c, d),
            ];
            let odd = [
                _mm512_shuffle_f32x4::<0xdd>(a, b),
                _mm512_shuffle_f32x4::<0xdd>(c, d),
            ];
            for (first, [a, b]) in [(column, even), (4 + column, odd)] {
                let quarters = [
                    _mm512_shuffle_f32x4::<0x88>(a, b),
                    _mm512_shuffle_f32x4::<0xdd>(a, b),
                ];
                for (half, quarter) in quarters.into_iter().enumerate() {
                    _mm512_storeu_ps(to.add((first + 8 * half) * to_step), quarter);
                }
            }
        }
    }
}

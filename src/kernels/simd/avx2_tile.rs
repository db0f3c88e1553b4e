//! The steps of an AVX2 register tile of four filters by three columns, in assembly: twelve sums,
//! three inputs and one weight are all sixteen registers, and compilers spill some of them at every
//! step, which doubles its time. Steps in fours are here for two columns, too. Other tiles are left
//! to the compiler.

use super::{Avx2, TILE_FILTERS};
use std::arch::asm;

/// `sums` as a tile of N columns, where it is one.
#[inline(always)]
pub fn tile_of<const N: usize, const T: usize>(
    sums: &mut [[Avx2; T]; TILE_FILTERS],
) -> Option<&mut [[Avx2; N]; TILE_FILTERS]> {
    // SAFETY: with T = N it is the same type.
    (T == N).then(|| unsafe { &mut *std::ptr::from_mut(sums).cast::<[[Avx2; N]; TILE_FILTERS]>() })
}

/// `Vector::scale_add`.
///
/// # Safety
/// As there; the CPU has AVX2 and FMA.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub unsafe fn scale_add<const T: usize>(
    sums: &mut [[Avx2; T]; TILE_FILTERS],
    source: *const f32,
    step: usize,
    weights: *const f32,
    weight_step: usize,
) {
    if T != 3 {
        // SAFETY: the same contract, which the caller keeps.
        return unsafe { super::scale_add(sums, source, step, weights, weight_step) };
    }
    let Some(sums) = tile_of::<3, T>(sums) else {
        return;
    };
    // SAFETY: reads three vectors `step` numbers apart and four weights, for which the caller
    // vouches; writes registers alone.
    unsafe {
        asm!(
            "vmovups {i0}, [{source}]",
            "vmovups {i1}, [{source} + {step}]",
            "vmovups {i2}, [{source} + 2 * {step}]",
            "vbroadcastss {w}, [{weights}]",
            "vfmadd231ps {s00}, {i0}, {w}",
            "vfmadd231ps {s01}, {i1}, {w}",
            "vfmadd231ps {s02}, {i2}, {w}",
            "vbroadcastss {w}, [{weights} + {next}]",
            "vfmadd231ps {s10}, {i0}, {w}",
            "vfmadd231ps {s11}, {i1}, {w}",
            "vfmadd231ps {s12}, {i2}, {w}",
            "vbroadcastss {w}, [{weights} + 2 * {next}]",
            "vfmadd231ps {s20}, {i0}, {w}",
            "vfmadd231ps {s21}, {i1}, {w}",
            "vfmadd231ps {s22}, {i2}, {w}",
            "vbroadcastss {w}, [{weights} + {last}]",
            "vfmadd231ps {s30}, {i0}, {w}",
            "vfmadd231ps {s31}, {i1}, {w}",
            "vfmadd231ps {s32}, {i2}, {w}",
            source = in(reg) source,
            step = in(reg) step * size_of::<f32>(),
            weights = in(reg) weights,
            next = in(reg) weight_step * size_of::<f32>(),
            last = in(reg) 3 * weight_step * size_of::<f32>(),
            s00 = inout(ymm_reg) sums[0][0].0,
            s01 = inout(ymm_reg) sums[0][1].0,
            s02 = inout(ymm_reg) sums[0][2].0,
            s10 = inout(ymm_reg) sums[1][0].0,
            s11 = inout(ymm_reg) sums[1][1].0,
            s12 = inout(ymm_reg) sums[1][2].0,
            s20 = inout(ymm_reg) sums[2][0].0,
            s21 = inout(ymm_reg) sums[2][1].0,
            s22 = inout(ymm_reg) sums[2][2].0,
            s30 = inout(ymm_reg) sums[3][0].0,
            s31 = inout(ymm_reg) sums[3][1].0,
            s32 = inout(ymm_reg) sums[3][2].0,
            i0 = out(ymm_reg) _,
            i1 = out(ymm_reg) _,
            i2 = out(ymm_reg) _,
            w = out(ymm_reg) _,
            options(pure, readonly, nostack),
        );
    }
}

/// Instructions of one step: vectors `$source` bytes and weights `$weight` bytes behind the first
/// ones.
macro_rules! step_of_three {
    ($source:literal, $weight:literal) => {
        concat!(
            "vmovups {i0}, [{source} + 0 + ",
            $source,
            "]\n",
            "vmovups {i1}, [{source} + 32 + ",
            $source,
            "]\n",
            "vmovups {i2}, [{source} + 64 + ",
            $source,
            "]\n",
            "vbroadcastss {w}, [{weights} + ",
            $weight,
            "]\n",
            "vfmadd231ps {s00}, {i0}, {w}\n",
            "vfmadd231ps {s01}, {i1}, {w}\n",
            "vfmadd231ps {s02}, {i2}, {w}\n",
            "vbroadcastss {w}, [{weights} + {next} + ",
            $weight,
            "]\n",
            "vfmadd231ps {s10}, {i0}, {w}\n",
            "vfmadd231ps {s11}, {i1}, {w}\n",
            "vfmadd231ps {s12}, {i2}, {w}\n",
            "vbroadcastss {w}, [{weights} + 2 * {next} + ",
            $weight,
            "]\n",
            "vfmadd231ps {s20}, {i0}, {w}\n",
            "vfmadd231ps {s21}, {i1}, {w}\n",
            "vfmadd231ps {s22}, {i2}, {w}\n",
            "vbroadcastss {w}, [{weights} + {last} + ",
            $weight,
            "]\n",
            "vfmadd231ps {s30}, {i0}, {w}\n",
            "vfmadd231ps {s31}, {i1}, {w}\n",
            "vfmadd231ps {s32}, {i2}, {w}\n",
        )
    };
}

/// The same for two vectors.
macro_rules! step_of_two {
    ($source:literal, $weight:literal) => {
        concat!(
            "vmovups {i0}, [{source} + 0 + ",
            $source,
            "]\n",
            "vmovups {i1}, [{source} + 32 + ",
            $source,
            "]\n",
            "vbroadcastss {w}, [{weights} + ",
            $weight,
            "]\n",
            "vfmadd231ps {s00}, {i0}, {w}\n",
            "vfmadd231ps {s01}, {i1}, {w}\n",
            "vbroadcastss {w}, [{weights} + {next} + ",
            $weight,
            "]\n",
            "vfmadd231ps {s10}, {i0}, {w}\n",
            "vfmadd231ps {s11}, {i1}, {w}\n",
            "vbroadcastss {w}, [{weights} + 2 * {next} + ",
            $weight,
            "]\n",
            "vfmadd231ps {s20}, {i0}, {w}\n",
            "vfmadd231ps {s21}, {i1}, {w}\n",
            "vbroadcastss {w}, [{weights} + {last} + ",
            $weight,
            "]\n",
            "vfmadd231ps {s30}, {i0}, {w}\n",
            "vfmadd231ps {s31}, {i1}, {w}\n",
        )
    };
}

/// A function that takes `scale_add`'s steps four at a time.
macro_rules! fours {
    ($name:ident, $columns:literal: $step:ident, $bytes:literal; $($input:ident)*; $($sum:ident: $f:literal $t:literal),*) => {
        /// `scale_add` of `4 * fours` steps, whose vectors stand side by side and whose weights
        /// `NEXT` numbers apart. Beside the arithmetic hardly an instruction is left, which counts
        /// where another thread shares the core.
        ///
        /// # Safety
        /// As `Vector::scale_add` for all of these; the CPU has AVX2 and FMA.
        #[inline]
        #[target_feature(enable = "avx2,fma")]
        pub unsafe fn $name<const NEXT: usize>(
            sums: &mut [[Avx2; $columns]; TILE_FILTERS],
            source: *const f32,
            fours: usize,
            weights: *const f32,
            weight_step: usize,
        ) {
            if fours == 0 {
                return;
            }
            // SAFETY: reads the vectors and weights for which the caller vouches; writes registers
            // alone.
            unsafe {
                asm!(
                    "2:",
                    $step!("0", "0"),
                    $step!("{k1}", "{w1}"),
                    $step!("{k2}", "{w2}"),
                    $step!("{k3}", "{w3}"),
                    "add {source}, {k4}",
                    "add {weights}, {w4}",
                    "dec {fours}",
                    "jnz 2b",
                    source = inout(reg) source => _,
                    weights = inout(reg) weights => _,
                    fours = inout(reg) fours => _,
                    next = in(reg) weight_step * size_of::<f32>(),
                    last = in(reg) 3 * weight_step * size_of::<f32>(),
                    k1 = const $bytes,
                    k2 = const 2 * $bytes,
                    k3 = const 3 * $bytes,
                    k4 = const 4 * $bytes,
                    w1 = const NEXT * size_of::<f32>(),
                    w2 = const 2 * NEXT * size_of::<f32>(),
                    w3 = const 3 * NEXT * size_of::<f32>(),
                    w4 = const 4 * NEXT * size_of::<f32>(),
                    $($sum = inout(ymm_reg) sums[$f][$t].0,)*
                    $($input = out(ymm_reg) _,)*
                    w = out(ymm_reg) _,
                    options(pure, readonly, nostack),
                );
            }
        }
    };
}

fours!(scale_add_fours_of_three, 3: step_of_three, 96; i0 i1 i2;
    s00: 0 0, s01: 0 1, s02: 0 2, s10: 1 0, s11: 1 1, s12: 1 2, s20: 2 0, s21: 2 1, s22: 2 2, s30: 3 0, s31: 3 1, s32: 3 2);
fours!(scale_add_fours_of_two, 2: step_of_two, 64; i0 i1;
    s00: 0 0, s01: 0 1, s10: 1 0, s11: 1 1, s20: 2 0, s21: 2 1, s30: 3 0, s31: 3 1);

/// `Vector::product_add`.
///
/// # Safety
/// As there; the CPU has AVX2 and FMA.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub unsafe fn product_add<const T: usize>(
    sums: &mut [[Avx2; T]; TILE_FILTERS],
    gradients: &[*const f32; TILE_FILTERS],
    g: usize,
    sources: &[*const f32; T],
    s: usize,
) {
    if T != 3 {
        // SAFETY: the same contract, which the caller keeps.
        return unsafe { super::product_add(sums, gradients, g, sources, s) };
    }
    let (Some(sums), &[x0, x1, x2]) = (tile_of::<3, T>(sums), sources.as_slice()) else {
        return;
    };
    // SAFETY: reads one vector of each gradient and source, for which the caller vouches; writes
    // registers alone.
    unsafe {
        asm!(
            "vmovups {i0}, [{x0} + {s}]",
            "vmovups {i1}, [{x1} + {s}]",
            "vmovups {i2}, [{x2} + {s}]",
            "vmovups {w}, [{g0} + {g}]",
            "vfmadd231ps {s00}, {i0}, {w}",
            "vfmadd231ps {s01}, {i1}, {w}",
            "vfmadd231ps {s02}, {i2}, {w}",
            "vmovups {w}, [{g1} + {g}]",
            "vfmadd231ps {s10}, {i0}, {w}",
            "vfmadd231ps {s11}, {i1}, {w}",
            "vfmadd231ps {s12}, {i2}, {w}",
            "vmovups {w}, [{g2} + {g}]",
            "vfmadd231ps {s20}, {i0}, {w}",
            "vfmadd231ps {s21}, {i1}, {w}",
            "vfmadd231ps {s22}, {i2}, {w}",
            "vmovups {w}, [{g3} + {g}]",
            "vfmadd231ps {s30}, {i0}, {w}",
            "vfmadd231ps {s31}, {i1}, {w}",
            "vfmadd231ps {s32}, {i2}, {w}",
            x0 = in(reg) x0,
            x1 = in(reg) x1,
            x2 = in(reg) x2,
            s = in(reg) s * size_of::<f32>(),
            g0 = in(reg) gradients[0],
            g1 = in(reg) gradients[1],
            g2 = in(reg) gradients[2],
            g3 = in(reg) gradients[3],
            g = in(reg) g * size_of::<f32>(),
            s00 = inout(ymm_reg) sums[0][0].0,
            s01 = inout(ymm_reg) sums[0][1].0,
            s02 = inout(ymm_reg) sums[0][2].0,
            s10 = inout(ymm_reg) sums[1][0].0,
            s11 = inout(ymm_reg) sums[1][1].0,
            s12 = inout(ymm_reg) sums[1][2].0,
            s20 = inout(ymm_reg) sums[2][0].0,
            s21 = inout(ymm_reg) sums[2][1].0,
            s22 = inout(ymm_reg) sums[2][2].0,
            s30 = inout(ymm_reg) sums[3][0].0,
            s31 = inout(ymm_reg) sums[3][1].0,
            s32 = inout(ymm_reg) sums[3][2].0,
            i0 = out(ymm_reg) _,
            i1 = out(ymm_reg) _,
            i2 = out(ymm_reg) _,
            w = out(ymm_reg) _,
            options(pure, readonly, nostack),
        );
    }
}

//! The steps of an AVX2 register tile of four filters by three columns, in assembly: twelve sums, three inputs and one weight are
//! all sixteen registers, and compilers spill some of them at every step, which doubles its time. Other tiles are left to the compiler.

use super::{Avx2, TILE_FILTERS};
use std::arch::asm;

/// `sums` as a tile of N columns, where it is one.
#[inline(always)]
pub fn tile_of<const N: usize, const T: usize>(sums: &mut [[Avx2; T]; TILE_FILTERS]) -> Option<&mut [[Avx2; N]; TILE_FILTERS]> {
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
        // SAFETY: the caller vouches.
        return unsafe { super::scale_add(sums, source, step, weights, weight_step) };
    }
    let Some(sums) = tile_of::<3, T>(sums) else { return };
    // SAFETY: reads three vectors `step` numbers apart and four weights, for which the caller vouches; writes registers alone.
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

/// As often as `steps` says, four times each: `scale_add` of three vectors side by side, after which the weights are those `NEXT` numbers
/// on. Beside the arithmetic hardly an instruction is left, which counts where another thread shares the core.
///
/// # Safety
/// As `Vector::scale_add` for all of these; the CPU has AVX2 and FMA.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub unsafe fn scale_add_fours<const NEXT: usize>(
    sums: &mut [[Avx2; 3]; TILE_FILTERS],
    source: *const f32,
    steps: usize,
    weights: *const f32,
    weight_step: usize,
) {
    if steps == 0 {
        return;
    }
    // SAFETY: reads the vectors and weights for which the caller vouches; writes registers alone.
    unsafe {
        asm!(
            "2:",
            "vmovups {i0}, [{source} + 0]",
            "vmovups {i1}, [{source} + 32]",
            "vmovups {i2}, [{source} + 64]",
            "vbroadcastss {w}, [{weights} + 0]",
            "vfmadd231ps {s00}, {i0}, {w}",
            "vfmadd231ps {s01}, {i1}, {w}",
            "vfmadd231ps {s02}, {i2}, {w}",
            "vbroadcastss {w}, [{weights} + {next} + 0]",
            "vfmadd231ps {s10}, {i0}, {w}",
            "vfmadd231ps {s11}, {i1}, {w}",
            "vfmadd231ps {s12}, {i2}, {w}",
            "vbroadcastss {w}, [{weights} + 2 * {next} + 0]",
            "vfmadd231ps {s20}, {i0}, {w}",
            "vfmadd231ps {s21}, {i1}, {w}",
            "vfmadd231ps {s22}, {i2}, {w}",
            "vbroadcastss {w}, [{weights} + {last} + 0]",
            "vfmadd231ps {s30}, {i0}, {w}",
            "vfmadd231ps {s31}, {i1}, {w}",
            "vfmadd231ps {s32}, {i2}, {w}",
            "vmovups {i0}, [{source} + 96]",
            "vmovups {i1}, [{source} + 128]",
            "vmovups {i2}, [{source} + 160]",
            "vbroadcastss {w}, [{weights} + {k1}]",
            "vfmadd231ps {s00}, {i0}, {w}",
            "vfmadd231ps {s01}, {i1}, {w}",
            "vfmadd231ps {s02}, {i2}, {w}",
            "vbroadcastss {w}, [{weights} + {next} + {k1}]",
            "vfmadd231ps {s10}, {i0}, {w}",
            "vfmadd231ps {s11}, {i1}, {w}",
            "vfmadd231ps {s12}, {i2}, {w}",
            "vbroadcastss {w}, [{weights} + 2 * {next} + {k1}]",
            "vfmadd231ps {s20}, {i0}, {w}",
            "vfmadd231ps {s21}, {i1}, {w}",
            "vfmadd231ps {s22}, {i2}, {w}",
            "vbroadcastss {w}, [{weights} + {last} + {k1}]",
            "vfmadd231ps {s30}, {i0}, {w}",
            "vfmadd231ps {s31}, {i1}, {w}",
            "vfmadd231ps {s32}, {i2}, {w}",
            "vmovups {i0}, [{source} + 192]",
            "vmovups {i1}, [{source} + 224]",
            "vmovups {i2}, [{source} + 256]",
            "vbroadcastss {w}, [{weights} + {k2}]",
            "vfmadd231ps {s00}, {i0}, {w}",
            "vfmadd231ps {s01}, {i1}, {w}",
            "vfmadd231ps {s02}, {i2}, {w}",
            "vbroadcastss {w}, [{weights} + {next} + {k2}]",
            "vfmadd231ps {s10}, {i0}, {w}",
            "vfmadd231ps {s11}, {i1}, {w}",
            "vfmadd231ps {s12}, {i2}, {w}",
            "vbroadcastss {w}, [{weights} + 2 * {next} + {k2}]",
            "vfmadd231ps {s20}, {i0}, {w}",
            "vfmadd231ps {s21}, {i1}, {w}",
            "vfmadd231ps {s22}, {i2}, {w}",
            "vbroadcastss {w}, [{weights} + {last} + {k2}]",
            "vfmadd231ps {s30}, {i0}, {w}",
            "vfmadd231ps {s31}, {i1}, {w}",
            "vfmadd231ps {s32}, {i2}, {w}",
            "vmovups {i0}, [{source} + 288]",
            "vmovups {i1}, [{source} + 320]",
            "vmovups {i2}, [{source} + 352]",
            "vbroadcastss {w}, [{weights} + {k3}]",
            "vfmadd231ps {s00}, {i0}, {w}",
            "vfmadd231ps {s01}, {i1}, {w}",
            "vfmadd231ps {s02}, {i2}, {w}",
            "vbroadcastss {w}, [{weights} + {next} + {k3}]",
            "vfmadd231ps {s10}, {i0}, {w}",
            "vfmadd231ps {s11}, {i1}, {w}",
            "vfmadd231ps {s12}, {i2}, {w}",
            "vbroadcastss {w}, [{weights} + 2 * {next} + {k3}]",
            "vfmadd231ps {s20}, {i0}, {w}",
            "vfmadd231ps {s21}, {i1}, {w}",
            "vfmadd231ps {s22}, {i2}, {w}",
            "vbroadcastss {w}, [{weights} + {last} + {k3}]",
            "vfmadd231ps {s30}, {i0}, {w}",
            "vfmadd231ps {s31}, {i1}, {w}",
            "vfmadd231ps {s32}, {i2}, {w}",
            "add {source}, 384",
            "add {weights}, {k4}",
            "dec {steps}",
            "jnz 2b",
            source = inout(reg) source => _,
            weights = inout(reg) weights => _,
            steps = inout(reg) steps => _,
            next = in(reg) weight_step * size_of::<f32>(),
            last = in(reg) 3 * weight_step * size_of::<f32>(),
            k1 = const NEXT * size_of::<f32>(),
            k2 = const 2 * NEXT * size_of::<f32>(),
            k3 = const 3 * NEXT * size_of::<f32>(),
            k4 = const 4 * NEXT * size_of::<f32>(),
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

/// `scale_add_fours` of two vectors.
///
/// # Safety
/// As there.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub unsafe fn scale_add_fours_of_two<const NEXT: usize>(
    sums: &mut [[Avx2; 2]; TILE_FILTERS],
    source: *const f32,
    steps: usize,
    weights: *const f32,
    weight_step: usize,
) {
    if steps == 0 {
        return;
    }
    // SAFETY: reads the vectors and weights for which the caller vouches; writes registers alone.
    unsafe {
        asm!(
            "2:",
            "vmovups {i0}, [{source} + 0]",
            "vmovups {i1}, [{source} + 32]",
            "vbroadcastss {w}, [{weights} + 0]",
            "vfmadd231ps {s00}, {i0}, {w}",
            "vfmadd231ps {s01}, {i1}, {w}",
            "vbroadcastss {w}, [{weights} + {next} + 0]",
            "vfmadd231ps {s10}, {i0}, {w}",
            "vfmadd231ps {s11}, {i1}, {w}",
            "vbroadcastss {w}, [{weights} + 2 * {next} + 0]",
            "vfmadd231ps {s20}, {i0}, {w}",
            "vfmadd231ps {s21}, {i1}, {w}",
            "vbroadcastss {w}, [{weights} + {last} + 0]",
            "vfmadd231ps {s30}, {i0}, {w}",
            "vfmadd231ps {s31}, {i1}, {w}",
            "vmovups {i0}, [{source} + 64]",
            "vmovups {i1}, [{source} + 96]",
            "vbroadcastss {w}, [{weights} + {k1}]",
            "vfmadd231ps {s00}, {i0}, {w}",
            "vfmadd231ps {s01}, {i1}, {w}",
            "vbroadcastss {w}, [{weights} + {next} + {k1}]",
            "vfmadd231ps {s10}, {i0}, {w}",
            "vfmadd231ps {s11}, {i1}, {w}",
            "vbroadcastss {w}, [{weights} + 2 * {next} + {k1}]",
            "vfmadd231ps {s20}, {i0}, {w}",
            "vfmadd231ps {s21}, {i1}, {w}",
            "vbroadcastss {w}, [{weights} + {last} + {k1}]",
            "vfmadd231ps {s30}, {i0}, {w}",
            "vfmadd231ps {s31}, {i1}, {w}",
            "vmovups {i0}, [{source} + 128]",
            "vmovups {i1}, [{source} + 160]",
            "vbroadcastss {w}, [{weights} + {k2}]",
            "vfmadd231ps {s00}, {i0}, {w}",
            "vfmadd231ps {s01}, {i1}, {w}",
            "vbroadcastss {w}, [{weights} + {next} + {k2}]",
            "vfmadd231ps {s10}, {i0}, {w}",
            "vfmadd231ps {s11}, {i1}, {w}",
            "vbroadcastss {w}, [{weights} + 2 * {next} + {k2}]",
            "vfmadd231ps {s20}, {i0}, {w}",
            "vfmadd231ps {s21}, {i1}, {w}",
            "vbroadcastss {w}, [{weights} + {last} + {k2}]",
            "vfmadd231ps {s30}, {i0}, {w}",
            "vfmadd231ps {s31}, {i1}, {w}",
            "vmovups {i0}, [{source} + 192]",
            "vmovups {i1}, [{source} + 224]",
            "vbroadcastss {w}, [{weights} + {k3}]",
            "vfmadd231ps {s00}, {i0}, {w}",
            "vfmadd231ps {s01}, {i1}, {w}",
            "vbroadcastss {w}, [{weights} + {next} + {k3}]",
            "vfmadd231ps {s10}, {i0}, {w}",
            "vfmadd231ps {s11}, {i1}, {w}",
            "vbroadcastss {w}, [{weights} + 2 * {next} + {k3}]",
            "vfmadd231ps {s20}, {i0}, {w}",
            "vfmadd231ps {s21}, {i1}, {w}",
            "vbroadcastss {w}, [{weights} + {last} + {k3}]",
            "vfmadd231ps {s30}, {i0}, {w}",
            "vfmadd231ps {s31}, {i1}, {w}",
            "add {source}, 256",
            "add {weights}, {k4}",
            "dec {steps}",
            "jnz 2b",
            source = inout(reg) source => _,
            weights = inout(reg) weights => _,
            steps = inout(reg) steps => _,
            next = in(reg) weight_step * size_of::<f32>(),
            last = in(reg) 3 * weight_step * size_of::<f32>(),
            k1 = const NEXT * size_of::<f32>(),
            k2 = const 2 * NEXT * size_of::<f32>(),
            k3 = const 3 * NEXT * size_of::<f32>(),
            k4 = const 4 * NEXT * size_of::<f32>(),
            s00 = inout(ymm_reg) sums[0][0].0,
            s01 = inout(ymm_reg) sums[0][1].0,
            s10 = inout(ymm_reg) sums[1][0].0,
            s11 = inout(ymm_reg) sums[1][1].0,
            s20 = inout(ymm_reg) sums[2][0].0,
            s21 = inout(ymm_reg) sums[2][1].0,
            s30 = inout(ymm_reg) sums[3][0].0,
            s31 = inout(ymm_reg) sums[3][1].0,
            i0 = out(ymm_reg) _,
            i1 = out(ymm_reg) _,
            w = out(ymm_reg) _,
            options(pure, readonly, nostack),
        );
    }
}

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
        // SAFETY: the caller vouches.
        return unsafe { super::product_add(sums, gradients, g, sources, s) };
    }
    let (Some(sums), &[x0, x1, x2]) = (tile_of::<3, T>(sums), sources.as_slice()) else { return };
    // SAFETY: reads one vector of each gradient and source, for which the caller vouches; writes registers alone.
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

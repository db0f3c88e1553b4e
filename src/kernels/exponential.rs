//! Exponentials of a row of logits, fast and within a few units in the last place. Knows nothing of what is predicted.

use super::simd::{Vector, Work};

/// e^x for x from -87.3 to 0, within 2 units in the last place; 0 for anything lower, NaN for NaN. Without branches, so that a loop over
/// it becomes vector instructions. Cody and Waite's reduction to ±ln 2 / 2, then a polynomial of degree 6.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // ln 2 in two parts: the first has so few digits that its product with a whole number is exact.
    const HIGH: f32 = 0.693_359_4;
    const LOW: f32 = -2.121_944_4e-4;
    // Adding this rounds to a whole number, and leaves that in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    let clamped = if x < LOWEST { LOWEST } else { x };
    let shifted = clamped * std::f32::consts::LOG2_E + ROUND;
    let whole = shifted - ROUND;
    let r = (clamped - whole * HIGH) - whole * LOW;
    let mut p = 1.987_569_1e-4;
    for c in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = p * r + c;
    }
    let y = p * r * r + r + 1.0;
    let power = f32::from_bits(shifted.to_bits().wrapping_shl(23).wrapping_add(0x3f80_0000));
    if x < LOWEST { 0.0 } else { y * power }
}

/// ln of the smallest normal number, a little above.
const LOWEST: f32 = -87.3;

/// The largest number of a row, and the sum of e^(number − largest); with `write` the row becomes those powers.
///
/// Valid: `row` points to `len` writable numbers, one or more.
pub struct ExpSum {
    pub row: *mut f32,
    pub len: usize,
    pub write: bool,
}

/// Sums side by side, so that the compiler may use vector instructions; the order of additions is fixed.
const LANES: usize = 16;

impl Work for ExpSum {
    type Output = (f32, f64);

    #[inline(always)]
    unsafe fn run<V: Vector>(self) -> (f32, f64) {
        // SAFETY: as the type documents.
        let row = unsafe { std::slice::from_raw_parts_mut(self.row, self.len) };
        let largest = largest(row);
        let (blocks, rest) = row.as_chunks_mut::<LANES>();
        let mut total = 0.0;
        // In single precision over 64 numbers of a lane at most.
        for blocks in blocks.chunks_mut(64) {
            let mut sums = [0.0_f32; LANES];
            for block in blocks {
                for (sum, value) in sums.iter_mut().zip(block) {
                    let power = exp(*value - largest);
                    *sum += power;
                    *value = if self.write { power } else { *value };
                }
            }
            total += sums.iter().map(|&sum| f64::from(sum)).sum::<f64>();
        }
        for value in rest {
            let power = exp(*value - largest);
            total += f64::from(power);
            *value = if self.write { power } else { *value };
        }
        (largest, total)
    }
}

#[inline(always)]
fn largest(row: &[f32]) -> f32 {
    let (blocks, rest) = row.as_chunks::<LANES>();
    let mut most = [f32::NEG_INFINITY; LANES];
    for block in blocks {
        for (most, &value) in most.iter_mut().zip(block) {
            *most = if value > *most { value } else { *most };
        }
    }
    most.iter().chain(rest).fold(f32::NEG_INFINITY, |a, &b| if b > a { b } else { a })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::simd::Isa;

    #[test]
    fn powers_are_exact_to_the_last_digits() {
        for step in 0..=873_000 {
            let x = -step as f32 / 10_000.0;
            let (found, exact) = (f64::from(exp(x)), f64::from(x).exp());
            assert!((found / exact - 1.0).abs() < 2.5e-7, "e^{x}: {found} against {exact}");
        }
        assert_eq!((exp(0.0), exp(-88.0), exp(f32::NEG_INFINITY)), (1.0, 0.0, 0.0));
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn every_number_of_a_row_counts() {
        for isa in Isa::available() {
            for len in [1, 15, 16, 17, 1_500] {
                let row: Vec<f32> = (0..len).map(|i| ((i * 7919) % 1000) as f32 / 100.0 - 3.0).collect();
                let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let exact: f64 = row.iter().map(|&x| f64::from(x - most).exp()).sum();
                for write in [false, true] {
                    let mut changed = row.clone();
                    // SAFETY: the row is ours.
                    let (largest, sum) = unsafe { isa.run(ExpSum { row: changed.as_mut_ptr(), len, write }) };
                    assert_eq!(largest, most);
                    assert!((sum / exact - 1.0).abs() < 1e-6, "{len} on {}: {sum} against {exact}", isa.name());
                    assert_eq!(changed == row, !write || len == 0, "{len}");
                }
            }
        }
    }
}

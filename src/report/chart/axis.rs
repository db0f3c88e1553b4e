//! Round numbers for the ticks of an axis. Must not know what is measured.

/// No axis goes further.
const LARGEST: f64 = 1e300;

/// About `wanted + 1` round values that enclose `low..=high`: the first is at or below `low`, the
/// last at or above `high`.
pub(super) fn enclosing(low: f64, high: f64, wanted: usize) -> Vec<f64> {
    // Distances between numbers of this size are finite.
    let (low, high) = (low.max(-LARGEST), high.min(LARGEST));
    // If all values are equal, the axis is centred on them.
    let equal = high - low <= 1e-9 * low.abs();
    let margin = if equal {
        0.07 * if low == 0.0 { 1.0 } else { low.abs() }
    } else {
        0.0
    };
    let low = low - margin;
    let high = high + margin;
    let step = step(low, high, wanted);
    let first = (low / step).floor() as i64;
    let last = (high / step).ceil() as i64;
    (first..=last.max(first + 1))
        .map(|multiple| multiple as f64 * step)
        .collect()
}

/// About `wanted` round values between `low` and `high`.
pub(super) fn within(low: f64, high: f64, wanted: usize) -> Vec<f64> {
    let step = step(low, high, wanted);
    let first = (low / step).ceil() as i64;
    let last = (high / step).floor() as i64;
    (first..=last)
        .map(|multiple| multiple as f64 * step)
        .collect()
}

/// The distance of ticks: 1, 2 or 5 times a power of ten.
fn step(low: f64, high: f64, wanted: usize) -> f64 {
    let span = (high - low).max(low.abs() * 1e-9).max(1e-12);
    let rough = span / wanted.max(1) as f64;
    let power = 10_f64.powf(rough.log10().floor());
    let factor = [1.0, 2.0, 5.0]
        .into_iter()
        .find(|factor| factor * power >= rough * 0.999)
        .unwrap_or(10.0);
    factor * power
}

/// Number of digits after the point that are needed to tell these ticks apart.
pub(super) fn digits(ticks: &[f64]) -> usize {
    let step = ticks
        .windows(2)
        .map(|pair| pair[1] - pair[0])
        .fold(f64::INFINITY, f64::min);
    if step.is_finite() && step > 0.0 {
        (-step.log10() - 1e-9).ceil().clamp(0.0, 9.0) as usize
    } else {
        1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn steps_are_round() {
        assert_eq!(enclosing(0.13, 0.97, 4), [0.0, 0.5, 1.0]);
        let same = enclosing(0.5, 0.5, 4);
        assert!(
            same.len() == 5 && same[2] == 0.5 && digits(&same) == 2,
            "{same:?}"
        );
        assert_eq!(enclosing(0.0, 0.0, 4)[2], 0.0);
        assert_eq!(within(1.0, 14.0, 6), [5.0, 10.0]);
        assert_eq!(digits(&[0.0, 0.05, 0.1]), 2);
        assert_eq!(digits(&[0.0, 20.0]), 0);
    }

    proptest! {
        #![proptest_config(crate::random::cases(256))]

        #[test]
        fn ticks_enclose_and_stay_few(low in -1e6_f64..1e6, span in 0.0_f64..1e6) {
            let ticks = enclosing(low, low + span, 4);
            prop_assert!(ticks[0] <= low + 1e-6 && ticks[ticks.len() - 1] >= low + span - 1e-6);
            prop_assert!((2..=8).contains(&ticks.len()), "{:?}", ticks);
        }
    }
}

//! Numbers formatted for people. Pure; must not know where they are shown.

use crate::child::{MetricUnit, number_text};

/// Groups thousands: 1234567 becomes `1,234,567`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Seconds as `43 s`, `5 min 10 s`, `3 h 20 min` or `4 d 2 h`.
pub fn duration(seconds: f64) -> String {
    let whole = seconds.round().clamp(0.0, 1e12) as u64;
    match whole {
        0..60 if seconds < 10.0 => format!("{seconds:.1} s"),
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        3600..86_400 => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
        _ => format!("{} d {} h", whole / 86_400, whole % 86_400 / 3600),
    }
}

/// A share of 1 in whole percent.
pub fn percent(share: f64) -> String {
    match 100.0 * share {
        percent if percent > 0.0 && percent < 0.5 => "<1%".into(),
        percent => format!("{percent:.0}%"),
    }
}

/// Four digits after the point, or a dash if the value is not known.
pub fn decimal(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| number_text(value, 4))
}

/// A count of parameters or operations in three digits: `950`, `12.3 k`, `4.56 M`, `7.80 G`.
pub fn compact(number: u64) -> String {
    let (value, unit) = match number {
        0..1_000 => return number.to_string(),
        1_000..1_000_000 => (number as f64 / 1e3, "k"),
        1_000_000..1_000_000_000 => (number as f64 / 1e6, "M"),
        _ => (number as f64 / 1e9, "G"),
    };
    let digits = if value >= 100.0 {
        0
    } else {
        usize::from(value < 10.0) + 1
    };
    format!("{value:.digits$} {unit}")
}

/// A metric in its unit, a dash for one that is not known.
pub fn metric_text(unit: MetricUnit, value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| unit.number(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_grouped() {
        assert_eq!(
            [7, 1234, 12_345_678].map(grouped),
            ["7", "1,234", "12,345,678"]
        );
    }

    #[test]
    fn durations_read_as_people_say_them() {
        let texts = [2.34, 43.2, 310.0, 12_000.0, 352_800.0].map(duration);
        assert_eq!(
            texts,
            ["2.3 s", "43 s", "5 min 10 s", "3 h 20 min", "4 d 2 h"]
        );
    }

    #[test]
    fn large_numbers_keep_three_digits() {
        assert_eq!(
            [950, 1_234, 12_340, 123_400, 4_560_000, 7_800_000_000].map(compact),
            ["950", "1.23 k", "12.3 k", "123 k", "4.56 M", "7.80 G"]
        );
    }

    #[test]
    fn metrics_read_in_their_unit() {
        assert_eq!(metric_text(MetricUnit::Accuracy, Some(0.9375)), "93.8%");
        assert_eq!(metric_text(MetricUnit::Plain, None), "–");
    }
}

//! What the metric of a child measures and how it reads. Must not know where it is shown.

use serde::{Deserialize, Serialize};

/// What the number that a reward is computed from measures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MetricUnit {
    /// A share of 1, shown in percent.
    Accuracy,
    /// Of a text's words: lower is better.
    Perplexity,
    /// Of a text's characters: lower is better.
    BitsPerCharacter,
    /// Whatever the user's table or program says.
    #[default]
    Plain,
}

/// From here on a number is written in powers of ten: 300 digits tell nobody anything.
const MANY_DIGITS: f64 = 1e9;

/// A number with so many digits after the point; one out of measure in powers of ten: `-1.0000e39`.
pub fn number_text(value: f64, digits: usize) -> String {
    if value.is_finite() && value.abs() >= MANY_DIGITS {
        format!("{value:.digits$e}")
    } else {
        format!("{value:.digits$}")
    }
}

impl MetricUnit {
    /// What is measured, to follow "validation".
    pub fn name(self) -> &'static str {
        match self {
            Self::Accuracy => "accuracy",
            Self::Perplexity => "perplexity",
            Self::BitsPerCharacter => "bits per character",
            Self::Plain => "metric",
        }
    }

    /// The number as people read it where its name stands beside it: `93.8%`, `78.4`.
    pub fn number(self, metric: f64) -> String {
        match self {
            Self::Accuracy => format!("{}%", number_text(100.0 * metric, 1)),
            Self::Perplexity => number_text(metric, 1),
            Self::BitsPerCharacter => number_text(metric, 3),
            Self::Plain => number_text(metric, 4),
        }
    }

    /// The number with what it measures, where that does not go without saying: `93.8%`,
    /// `perplexity 78.4`.
    pub fn phrase(self, metric: f64) -> String {
        let number = self.number(metric);
        match self {
            Self::Perplexity => format!("perplexity {number}"),
            Self::BitsPerCharacter => format!("{number} bits per character"),
            Self::Accuracy | Self::Plain => number,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_read_in_their_unit() {
        assert_eq!(MetricUnit::Accuracy.phrase(0.9375), "93.8%");
        assert_eq!(MetricUnit::Perplexity.number(78.44), "78.4");
        assert_eq!(MetricUnit::Perplexity.phrase(78.44), "perplexity 78.4");
        assert_eq!(
            MetricUnit::BitsPerCharacter.phrase(1.2345),
            "1.234 bits per character"
        );
        assert_eq!(MetricUnit::Plain.phrase(0.5), "0.5000");
        assert_eq!(MetricUnit::Plain.phrase(-1e6), "-1000000.0000");
    }

    #[test]
    fn a_number_out_of_measure_is_short() {
        assert_eq!(number_text(1e300, 4), "1.0000e300");
        assert_eq!(MetricUnit::Plain.number(-1e39), "-1.0000e39");
        assert_eq!(MetricUnit::Perplexity.number(f64::MAX), "1.8e308");
        assert_eq!(number_text(f64::INFINITY, 4), "inf");
    }
}

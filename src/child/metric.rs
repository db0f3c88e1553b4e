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
            Self::Accuracy => format!("{:.1}%", 100.0 * metric),
            Self::Perplexity => format!("{metric:.1}"),
            Self::BitsPerCharacter => format!("{metric:.3}"),
            Self::Plain => format!("{metric:.4}"),
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
    }
}

//! What a network costs, as a factor of its reward (Tan et al. 2019, "MnasNet: Platform-Aware Neural
//! Architecture Search for Mobile", equation 2): accuracy ^ e × (cost / target) ^ w. Must not know how
//! a cost is measured.

use super::ChildSettings;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a network costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Cost {
    /// Nothing: the accuracy alone counts.
    None,
    Parameters,
    /// Floating-point operations of one image.
    Flops,
    /// Of one image, as the trained network was measured on its lane.
    Milliseconds,
}

impl Cost {
    /// What it counts, to follow a number.
    pub fn unit(self) -> &'static str {
        match self {
            Self::None | Self::Parameters => "parameters",
            Self::Flops => "FLOPs",
            Self::Milliseconds => "ms an image",
        }
    }
}

/// The factor (cost / target) ^ weight of a reward.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CostFactor {
    pub cost: Cost,
    pub target: f64,
    pub weight: f64,
}

impl CostFactor {
    /// None: rewards have no such factor.
    pub fn new(settings: &ChildSettings) -> Option<Self> {
        Some(Self {
            cost: Some(settings.cost).filter(|cost| *cost != Cost::None)?,
            target: settings.cost_target?,
            weight: settings.cost_weight,
        })
    }

    /// Of a network of this cost; one that costs nothing is taken to cost a billionth of the target.
    pub fn of(&self, cost: f64) -> f64 {
        (cost / self.target).max(1e-9).powf(self.weight)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twice_the_target_costs_a_twentieth_at_the_papers_weight() {
        let settings = ChildSettings {
            cost: Cost::Parameters,
            cost_target: Some(1e6),
            ..ChildSettings::default()
        };
        let factor = CostFactor::new(&settings).unwrap();
        assert_eq!(factor.of(1e6), 1.0);
        // Tan et al.: an accuracy 5% higher makes up for twice the latency.
        assert!((factor.of(2e6) - 0.953).abs() < 1e-3, "{}", factor.of(2e6));
        assert!(factor.of(0.0).is_finite() && factor.of(0.0) > factor.of(1.0));
        assert_eq!(CostFactor::new(&ChildSettings::default()), None);
    }
}

//! Uniform decisions: the control that every other strategy is compared with. The parameters stay,
//! so the same run may go on with another strategy.

use super::oversized::Redrawn;
use super::{GradientRequest, LearningSettings, Proposal, ProposalRequest, Strategy};
use crate::policy::{Gradient, PolicyError, Sample, UpdateRule};
use crate::random::{Key, Purpose};
use std::sync::Arc;

/// Random search.
pub(super) struct Random;

impl Strategy for Random {
    fn update_rule(&self, _: &LearningSettings) -> UpdateRule {
        UpdateRule::None
    }

    fn propose(&self, request: &ProposalRequest) -> Result<Vec<Proposal>, PolicyError> {
        let streams = request
            .keys
            .iter()
            .map(|key| key.stream(Purpose::Decisions))
            .collect();
        let samples = request
            .policy
            .sample_uniform(request.space, request.layers, streams);
        let proposal = |(key, first): (&Key, Sample)| {
            let mut redrawn = Redrawn::default();
            let mut sample = first;
            while redrawn.refuses(request, &sample.decisions) {
                let mut stream = key.stream(Purpose::Decisions);
                stream.set_stream(redrawn.count as u64);
                let again =
                    request
                        .policy
                        .sample_uniform(request.space, request.layers, vec![stream]);
                sample = again.into_iter().next().unwrap_or(sample);
            }
            Proposal {
                redrawn: redrawn.count,
                ..sample.into()
            }
        };
        Ok(request.keys.iter().zip(samples).map(proposal).collect())
    }

    fn gradient(&self, request: &GradientRequest) -> Result<Gradient, PolicyError> {
        Ok(Gradient::zero(request.policy.parameter_count()))
    }

    fn copy(&self) -> Arc<dyn Strategy> {
        Arc::new(Self)
    }
}

impl From<Sample> for Proposal {
    fn from(sample: Sample) -> Self {
        Self {
            decisions: sample.decisions,
            entropy: Some(sample.entropy),
            repeats: false,
            redrawn: 0,
        }
    }
}

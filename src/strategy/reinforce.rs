//! The paper's strategy: the controller network is sampled, and the policy gradient of the rewards
//! above their moving average moves it (paper §3.2). It needs no state beside the parameters.

use super::ppo::{Verdict, draw_accepted};
use super::{GradientRequest, LearningSettings, Proposal, ProposalRequest, Strategy};
use crate::policy::{Episode, Gradient, PolicyError, UpdateRule};
use crate::random::Purpose;
use std::sync::Arc;

/// Policy gradient with a moving-average baseline.
pub(super) struct Reinforce;

impl Strategy for Reinforce {
    fn update_rule(&self, learning: &LearningSettings) -> UpdateRule {
        UpdateRule::Adam {
            learning_rate: learning.learning_rate,
        }
    }

    fn propose(&self, request: &ProposalRequest) -> Result<Vec<Proposal>, PolicyError> {
        if request.learning.redraws {
            return draw_accepted(request, |redrawn, list| {
                if redrawn.refuses(request, list) {
                    Verdict::TooLarge
                } else {
                    Verdict::Taken
                }
            });
        }
        let streams = request
            .keys
            .iter()
            .map(|key| key.stream(Purpose::Decisions))
            .collect();
        let samples =
            request
                .policy
                .sample(request.parameters, request.space, request.layers, streams)?;
        Ok(samples.into_iter().map(Proposal::from).collect())
    }

    fn gradient(&self, request: &GradientRequest) -> Result<Gradient, PolicyError> {
        let minibatch = &request.minibatch;
        let advantages = minibatch.compared(request.learning).advantages;
        let episodes: Vec<Episode> = minibatch
            .decisions
            .iter()
            .zip(advantages)
            .map(|(decisions, advantage)| Episode {
                decisions,
                advantage,
            })
            .collect();
        request.policy.gradient(
            request.parameters,
            request.space,
            minibatch.layers,
            &episodes,
            request.learning.entropy_weight,
        )
    }

    fn copy(&self) -> Arc<dyn Strategy> {
        Arc::new(Self)
    }
}

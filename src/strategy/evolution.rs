//! Regularised evolution (Real et al. 2019, "Regularized Evolution for Image Classifier Architecture
//! Search", algorithm 1) that proposes no network twice: the best of a few random members of the
//! youngest trials has one decision changed. The controller's parameters stay.

use super::moves::{at_depth, randomly_moved, uniform_list};
use super::networks::{ProposedNetworks, SavedNetworks};
use super::oversized::Redrawn;
use super::{
    GradientRequest, LearningSettings, Proposal, ProposalRequest, RewardedMinibatch, Strategy,
};
use crate::policy::{Gradient, PolicyError, UpdateRule};
use crate::random::{Purpose, Stream};
use crate::space::{Decision, Space};
use rand::RngExt;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::Arc;

/// P: the youngest trials with a reward.
const POPULATION: usize = 20;
/// S: how many of them a parent is the best of.
const TOURNAMENT: usize = 10;
/// Draws without a new network after which one more decision is changed.
const PATIENCE: usize = 50;

/// Regularised evolution.
#[derive(Clone, Default)]
pub(super) struct Evolution {
    /// By age, the oldest first.
    population: VecDeque<Arc<Member>>,
    networks: ProposedNetworks,
}

/// A trial with a reward.
#[derive(Serialize, Deserialize)]
struct Member {
    layers: usize,
    decisions: Vec<Decision>,
    reward: f64,
}

#[derive(Serialize, Deserialize)]
struct Saved {
    /// As JSON: a decision has no other form.
    population: String,
    networks: SavedNetworks,
}

impl Evolution {
    /// Uniform until there is a population. `draws` came to nothing before.
    fn draw(
        &self,
        space: &dyn Space,
        layers: usize,
        draws: usize,
        stream: &mut Stream,
    ) -> Vec<Decision> {
        if self.population.len() < POPULATION {
            return uniform_list(space, layers, stream);
        }
        let mut parent = &self.population[stream.random_range(0..POPULATION)];
        for _ in 1..TOURNAMENT {
            let other = &self.population[stream.random_range(0..POPULATION)];
            if other.reward > parent.reward {
                parent = other;
            }
        }
        let mut list = at_depth(space, parent.layers, &parent.decisions, layers, stream);
        for _ in 0..=draws / PATIENCE {
            if let Some(moved) = randomly_moved(space, layers, &list, stream) {
                list = moved;
            }
        }
        list
    }
}

impl Strategy for Evolution {
    fn reads_history(&self) -> bool {
        true
    }

    fn update_rule(&self, _: &LearningSettings) -> UpdateRule {
        UpdateRule::None
    }

    fn propose(&self, request: &ProposalRequest) -> Result<Vec<Proposal>, PolicyError> {
        let ProposalRequest { space, layers, .. } = *request;
        let mut known = self.networks.with_pending(space, request.pending);
        let mut proposals = Vec::with_capacity(request.keys.len());
        for key in request.keys {
            let mut stream = key.stream(Purpose::Decisions);
            let mut redrawn = Redrawn::default();
            let found = known.first_new(request, &mut redrawn, |draws| {
                Some(self.draw(space, layers, draws, &mut stream))
            });
            proposals.extend(found.map(|(decisions, repeats)| Proposal {
                decisions,
                entropy: None,
                repeats,
                redrawn: redrawn.count,
            }));
        }
        Ok(proposals)
    }

    fn gradient(&self, request: &GradientRequest) -> Result<Gradient, PolicyError> {
        Ok(Gradient::zero(request.policy.parameter_count()))
    }

    fn observe(&mut self, space: &dyn Space, minibatch: &RewardedMinibatch) {
        self.networks.observe(space, minibatch);
        for (decisions, reward) in minibatch.decisions.iter().zip(minibatch.rewards) {
            if let Some(reward) = *reward {
                self.population.push_back(Arc::new(Member {
                    layers: minibatch.layers,
                    decisions: decisions.clone(),
                    reward,
                }));
            }
        }
        while self.population.len() > POPULATION {
            self.population.pop_front();
        }
    }

    fn save(&self) -> Vec<u8> {
        let population: Vec<&Member> = self.population.iter().map(AsRef::as_ref).collect();
        super::saved(&Saved {
            population: super::as_json(&population),
            networks: self.networks.save(),
        })
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), String> {
        let saved: Saved = postcard::from_bytes(state).map_err(|error| error.to_string())?;
        let population: Vec<Member> =
            serde_json::from_str(&saved.population).map_err(|error| error.to_string())?;
        *self = Self {
            population: population.into_iter().map(Arc::new).collect(),
            networks: ProposedNetworks::restore(saved.networks),
        };
        Ok(())
    }

    fn copy(&self) -> Arc<dyn Strategy> {
        Arc::new(self.clone())
    }
}

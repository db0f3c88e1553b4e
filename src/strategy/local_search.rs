//! Local search by first improvement (White et al. 2021, "Exploring the Loss Landscape in Neural
//! Architecture Search"): the neighbours of the best network of the present climb are tried in
//! random order, and the first that is better takes its place. Where all were tried, the next climb
//! starts from a network drawn uniformly. No network is tried twice. The controller's parameters
//! stay.

use super::moves::{at_depth, differences, moved, moves, uniform_list};
use super::networks::{KnownNetworks, ProposedNetworks, SavedNetworks, network_name};
use super::oversized::Redrawn;
use super::{
    GradientRequest, LearningSettings, Proposal, ProposalRequest, RewardedMinibatch, Strategy,
};
use crate::policy::{Gradient, PolicyError, UpdateRule};
use crate::random::{Key, Purpose, Stream};
use crate::space::{Decision, Space, is_too_large};
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Local search with restarts.
#[derive(Clone, Default)]
pub(super) struct LocalSearch {
    /// The best network of the present climb.
    best: Option<Arc<Best>>,
    networks: ProposedNetworks,
}

#[derive(Serialize, Deserialize)]
struct Best {
    layers: usize,
    decisions: Vec<Decision>,
    reward: f64,
}

#[derive(Serialize, Deserialize)]
struct Saved {
    /// As JSON: a decision has no other form.
    best: String,
    networks: SavedNetworks,
}

impl Best {
    /// Its neighbours at this depth, in random order.
    fn neighbours<'a>(
        &self,
        space: &'a dyn Space,
        layers: usize,
        stream: &'a mut Stream,
    ) -> impl Iterator<Item = Vec<Decision>> + 'a {
        let list = at_depth(space, self.layers, &self.decisions, layers, stream);
        let mut moves = moves(space, layers, &list);
        moves.shuffle(stream);
        moves
            .into_iter()
            .map(move |chosen| moved(space, layers, &list, chosen, stream))
    }

    fn has_neighbour(&self, space: &dyn Space, layers: usize, list: &[Decision]) -> bool {
        self.layers == layers && differences(space, layers, &self.decisions, list) < 2
    }

    fn was_explored(&self, space: &dyn Space, known: &KnownNetworks, stream: &mut Stream) -> bool {
        self.neighbours(space, self.layers, stream).all(|list| {
            known.contains(network_name(space, self.layers, &list))
                || is_too_large(space, self.layers, &list)
        })
    }
}

impl LocalSearch {
    /// A neighbour that is new, else a start that is.
    fn propose_one(
        &self,
        request: &ProposalRequest,
        known: &mut KnownNetworks,
        stream: &mut Stream,
    ) -> Option<Proposal> {
        let ProposalRequest { space, layers, .. } = *request;
        let mut redrawn = Redrawn::default();
        let new_neighbour = self.best.as_ref().and_then(|best| {
            best.neighbours(space, layers, stream).find(|list| {
                // However many of them: they are no neighbours of this climb.
                let too_large = request.leaves_out(list);
                redrawn.count += usize::from(too_large);
                !too_large && known.insert(network_name(space, layers, list))
            })
        });
        let found = if let Some(list) = new_neighbour {
            Some((list, false))
        } else {
            let mut starts = Redrawn::default();
            let found = known.first_new(request, &mut starts, |_| {
                Some(uniform_list(space, layers, stream))
            });
            redrawn.count += starts.count;
            found
        };
        found.map(|(decisions, repeats)| Proposal {
            decisions,
            entropy: None,
            repeats,
            redrawn: redrawn.count,
        })
    }

    /// Whether the next climb starts from a trial that is not better than the best: it is no
    /// neighbour, and there is no neighbour left.
    fn starts_a_climb(
        &self,
        space: &dyn Space,
        best: &Best,
        minibatch: &RewardedMinibatch,
        list: &[Decision],
    ) -> bool {
        let mut stream = Key {
            minibatch: minibatch.sequence,
            ..Key::default()
        }
        .stream(Purpose::Surrogate);
        !best.has_neighbour(space, minibatch.layers, list)
            && best.was_explored(space, &self.networks.with_pending(space, &[]), &mut stream)
    }
}

impl Strategy for LocalSearch {
    fn reads_history(&self) -> bool {
        true
    }

    fn update_rule(&self, _: &LearningSettings) -> UpdateRule {
        UpdateRule::None
    }

    fn propose(&self, request: &ProposalRequest) -> Result<Vec<Proposal>, PolicyError> {
        let mut known = self.networks.with_pending(request.space, request.pending);
        let propose = |key: &Key| {
            let mut stream = key.stream(Purpose::Decisions);
            self.propose_one(request, &mut known, &mut stream)
        };
        Ok(request.keys.iter().filter_map(propose).collect())
    }

    fn gradient(&self, request: &GradientRequest) -> Result<Gradient, PolicyError> {
        Ok(Gradient::zero(request.policy.parameter_count()))
    }

    fn observe(&mut self, space: &dyn Space, minibatch: &RewardedMinibatch) {
        self.networks.observe(space, minibatch);
        for (list, reward) in minibatch.decisions.iter().zip(minibatch.rewards) {
            let Some(reward) = *reward else { continue };
            let takes_over = self.best.as_ref().is_none_or(|best| {
                reward > best.reward || self.starts_a_climb(space, best, minibatch, list)
            });
            if takes_over {
                self.best = Some(Arc::new(Best {
                    layers: minibatch.layers,
                    decisions: list.clone(),
                    reward,
                }));
            }
        }
    }

    fn save(&self) -> Vec<u8> {
        super::saved(&Saved {
            best: super::as_json(&self.best.as_deref()),
            networks: self.networks.save(),
        })
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), String> {
        let saved: Saved = postcard::from_bytes(state).map_err(|error| error.to_string())?;
        let best: Option<Best> =
            serde_json::from_str(&saved.best).map_err(|error| error.to_string())?;
        *self = Self {
            best: best.map(Arc::new),
            networks: ProposedNetworks::restore(saved.networks),
        };
        Ok(())
    }

    fn copy(&self) -> Arc<dyn Strategy> {
        Arc::new(self.clone())
    }
}

//! The paper's loop, guided by a surrogate of the reward: the controller proposes several candidates
//! for each slot, neighbours of the best trials join them, and a Gaussian process fitted to the log
//! picks among them by Thompson sampling (Thompson 1933): each slot takes the best candidate of a
//! function drawn from the process. What was trained teaches the controller as in `ppo`. No network
//! is proposed twice.
//!
//! All work is bounded by counts: trials fitted to, candidates, steps of the fit.

use super::encoding::{Encoding, Features, features};
use super::moves::{at_depth, moved, moves, randomly_moved, uniform_list};
use super::networks::{KnownNetworks, network_name};
use super::ppo::{Ppo, draw};
use super::surrogate::Surrogate;
use super::{
    GradientRequest, LearningSettings, Proposal, ProposalRequest, RewardedMinibatch, Strategy,
};
use crate::policy::{Gradient, PolicyError, UpdateRule};
use crate::random::{Purpose, Stream};
use crate::space::{Decision, Space};
use rand::RngExt;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::sync::{Arc, OnceLock};

/// Rewards before which the controller alone proposes.
const FIRST: usize = 8;
/// Trials that the surrogate is fitted to: the best, and the latest of the others.
const FITTED_BEST: usize = 96;
const FITTED: usize = 256;
/// Of these, the ones that decide its weights.
const LEADING: usize = 96;
/// Trials that are remembered: the best, and the latest of the others.
const KEPT_BEST: usize = 128;
const KEPT: usize = 1_024;
/// Trials whose neighbours are candidates.
const PARENTS: usize = 5;
/// Candidates: drawn from the controller, neighbours, neighbours of neighbours, uniform.
const DRAWN: usize = 48;
const NEIGHBOURS: usize = 80;
const SECOND_NEIGHBOURS: usize = 24;
const UNIFORM: usize = 16;
/// Lists of more decisions than this get fewer candidates, for each costs more.
const SHORT: usize = 60;

/// Surrogate-guided policy search.
#[derive(Clone, Default)]
pub(super) struct Guided {
    controller: Ppo,
    /// Those remembered, the oldest first.
    trials: Vec<Arc<Trial>>,
}

/// A trial of elsewhere, from which the surrogate knows something when a run begins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KnownTrial {
    /// Depth at which its decisions were made.
    pub layers: usize,
    pub decisions: Vec<Decision>,
    pub reward: f64,
}

/// The state of a `guided` that has seen nothing but these trials. They are no trials of the run: no
/// gradient sees them, and their networks may be proposed.
pub fn surrogate_state(known: impl IntoIterator<Item = KnownTrial>) -> Vec<u8> {
    let mut guided = Guided::default();
    for trial in known {
        guided.trials.push(Arc::new(Trial {
            layers: trial.layers,
            decisions: trial.decisions,
            reward: trial.reward,
            given: true,
            features: OnceLock::new(),
        }));
    }
    guided.forget();
    guided.save()
}

/// A trial with a reward.
#[derive(Serialize, Deserialize)]
struct Trial {
    layers: usize,
    decisions: Vec<Decision>,
    reward: f64,
    /// It is of elsewhere.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    given: bool,
    #[serde(skip)]
    features: OnceLock<Features>,
}

#[derive(Serialize, Deserialize)]
struct Saved {
    controller: Vec<u8>,
    /// As JSON: a decision has no other form.
    trials: String,
}

struct Candidate {
    decisions: Vec<Decision>,
    name: u64,
    features: Features,
}

impl Trial {
    fn features(&self, space: &dyn Space) -> &Features {
        self.features
            .get_or_init(|| features(space, self.layers, &self.decisions))
    }
}

/// Candidates of one request, none twice and none known.
struct Pool<'a> {
    request: &'a ProposalRequest<'a>,
    /// Lists that are too large to be candidates.
    redrawn: usize,
    known: &'a KnownNetworks<'a>,
    names: HashSet<u64>,
    candidates: Vec<Candidate>,
}

impl Pool<'_> {
    fn offer(&mut self, decisions: Vec<Decision>) -> bool {
        if self.request.leaves_out(&decisions) {
            self.redrawn += 1;
            return false;
        }
        let ProposalRequest { space, layers, .. } = *self.request;
        let name = network_name(space, layers, &decisions);
        let is_new = !self.known.contains(name) && self.names.insert(name);
        if is_new {
            self.candidates.push(Candidate {
                features: features(space, layers, &decisions),
                decisions,
                name,
            });
        }
        is_new
    }

    /// So many new candidates, in at most four times as many tries.
    fn fill(&mut self, count: usize, lists: impl Iterator<Item = Vec<Decision>>) {
        let mut missing = count;
        for list in lists.take(4 * count) {
            if missing == 0 {
                break;
            }
            missing -= usize::from(self.offer(list));
        }
    }
}

impl Guided {
    /// Indices of the trials by descending reward; of equals the older first.
    fn by_reward(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.trials.len()).collect();
        order.sort_by(|a, b| self.trials[*b].reward.total_cmp(&self.trials[*a].reward));
        order
    }

    /// `request.keys.len()` candidates at least, unless there are not so many; and how many lists
    /// were too large to be one.
    fn pool<'a>(
        &self,
        request: &'a ProposalRequest<'a>,
        known: &'a KnownNetworks,
        order: &[usize],
        stream: &mut Stream,
    ) -> Result<(Vec<Candidate>, usize), PolicyError> {
        let ProposalRequest { space, layers, .. } = *request;
        let slots = request.keys.len();
        let mut pool = Pool {
            request,
            redrawn: 0,
            known,
            names: HashSet::new(),
            candidates: Vec::new(),
        };
        let parents: Vec<Vec<Decision>> = order
            .iter()
            .take(PARENTS)
            .map(|index| &self.trials[*index])
            .map(|trial| at_depth(space, trial.layers, &trial.decisions, layers, stream))
            .collect();
        for (index, parent) in order.iter().zip(&parents) {
            if self.trials[*index].given {
                pool.offer(parent.clone());
            }
        }
        let length = parents.iter().map(Vec::len).max().unwrap_or(1);
        let bounded = |count: usize| (count * SHORT / length.max(SHORT)).max(slots);
        let draws = bounded(DRAWN).div_ceil(slots.max(1));
        for sample in draw(request, request.keys, 0..draws)? {
            pool.offer(sample.decisions);
        }
        let mut ways: Vec<_> = parents
            .iter()
            .flat_map(|parent| {
                let moves = moves(space, layers, parent).into_iter();
                moves.map(move |chosen| (parent, chosen))
            })
            .collect();
        ways.shuffle(stream);
        let neighbours = ways.into_iter();
        pool.fill(
            bounded(NEIGHBOURS),
            neighbours.map(|(parent, chosen)| moved(space, layers, parent, chosen, stream)),
        );
        let second = std::iter::from_fn(|| {
            let parent = &parents[stream.random_range(0..parents.len())];
            let neighbour = randomly_moved(space, layers, parent, stream)?;
            randomly_moved(space, layers, &neighbour, stream)
        });
        pool.fill(bounded(SECOND_NEIGHBOURS), second);
        let uniform = std::iter::repeat_with(|| uniform_list(space, layers, stream));
        pool.fill(bounded(UNIFORM), uniform);
        Ok((pool.candidates, pool.redrawn))
    }

    /// The best candidate of each slot's function; empty: nothing could be fitted.
    fn picked(
        &self,
        request: &ProposalRequest,
        order: &[usize],
        candidates: &[Candidate],
    ) -> Vec<usize> {
        let space = request.space;
        let fitted = self.fitted(order);
        let lists: Vec<&Features> = fitted
            .iter()
            .map(|index| self.trials[*index].features(space))
            .collect();
        let all = lists.iter().copied();
        let encoding = Encoding::new(space, all.chain(candidates.iter().map(|c| &c.features)));
        let rows = lists.iter().map(|list| encoding.row(list)).collect();
        let rewards: Vec<f64> = fitted
            .iter()
            .map(|index| self.trials[*index].reward)
            .collect();
        let scores = request.learning.scores.of(&rewards);
        let Some(surrogate) = Surrogate::fit(&encoding, rows, &scores, LEADING) else {
            return Vec::new();
        };
        let rows: Vec<Vec<u16>> = candidates
            .iter()
            .map(|candidate| encoding.row(&candidate.features))
            .collect();
        let mut streams: Vec<Stream> = request
            .keys
            .iter()
            .map(|key| key.stream(Purpose::Surrogate))
            .collect();
        let mut picked: Vec<usize> = Vec::new();
        for drawn in surrogate.draw(&rows, &mut streams) {
            let left = (0..candidates.len()).filter(|index| !picked.contains(index));
            let best = left.max_by(|a, b| drawn[*a].total_cmp(&drawn[*b]).then(b.cmp(a)));
            picked.extend(best);
        }
        picked
    }

    /// Indices of the trials to fit to, best and latest in turn, so that the leading ones are of
    /// both.
    fn fitted(&self, order: &[usize]) -> Vec<usize> {
        let mut best = order.iter().copied().take(FITTED_BEST);
        let mut latest = (0..self.trials.len()).rev();
        let mut taken = HashSet::new();
        let mut fitted = Vec::new();
        while fitted.len() < FITTED.min(self.trials.len()) {
            let before = fitted.len();
            fitted.extend(best.by_ref().find(|index| taken.insert(*index)));
            fitted.extend(latest.by_ref().find(|index| taken.insert(*index)));
            if fitted.len() == before {
                break;
            }
        }
        fitted
    }

    /// Forgets what is neither among the best nor among the latest.
    fn forget(&mut self) {
        if self.trials.len() <= KEPT {
            return;
        }
        let mut is_best = vec![false; self.trials.len()];
        for index in self.by_reward().into_iter().take(KEPT_BEST) {
            is_best[index] = true;
        }
        // A quarter goes at once, so that it is seldom.
        let latest = self.trials.len() - (3 * KEPT / 4 - KEPT_BEST);
        let mut index = 0;
        self.trials.retain(|_| {
            index += 1;
            is_best[index - 1] || index > latest
        });
    }
}

impl Strategy for Guided {
    fn reads_history(&self) -> bool {
        true
    }

    fn update_rule(&self, learning: &LearningSettings) -> UpdateRule {
        self.controller.update_rule(learning)
    }

    fn propose(&self, request: &ProposalRequest) -> Result<Vec<Proposal>, PolicyError> {
        let networks = self.controller.networks();
        let mut known = networks.with_pending(request.space, request.pending);
        let Some(first) = request.keys.first().filter(|_| self.trials.len() >= FIRST) else {
            return self.controller.draw_new(request, &mut known);
        };
        let order = self.by_reward();
        let mut stream = first.stream(Purpose::Surrogate);
        // The slots' functions are drawn from other streams.
        stream.set_stream(1);
        let (candidates, mut redrawn) = self.pool(request, &known, &order, &mut stream)?;
        let picked = self.picked(request, &order, &candidates);
        let mut proposals = Vec::with_capacity(request.keys.len());
        for index in picked {
            let candidate = &candidates[index];
            known.insert(candidate.name);
            proposals.push(Proposal {
                decisions: candidate.decisions.clone(),
                entropy: None,
                repeats: false,
                redrawn: std::mem::take(&mut redrawn),
            });
        }
        let rest = ProposalRequest {
            keys: &request.keys[proposals.len()..],
            ..*request
        };
        proposals.extend(self.controller.draw_new(&rest, &mut known)?);
        Ok(proposals)
    }

    fn gradient(&self, request: &GradientRequest) -> Result<Gradient, PolicyError> {
        self.controller.gradient(request)
    }

    fn observe(&mut self, space: &dyn Space, minibatch: &RewardedMinibatch) {
        self.controller.observe(space, minibatch);
        for (decisions, reward) in minibatch.decisions.iter().zip(minibatch.rewards) {
            if let Some(reward) = *reward {
                self.trials.push(Arc::new(Trial {
                    layers: minibatch.layers,
                    decisions: decisions.clone(),
                    reward,
                    given: false,
                    features: OnceLock::new(),
                }));
            }
        }
        self.forget();
    }

    fn change(&mut self, before: &LearningSettings, now: &LearningSettings) {
        self.controller.change(before, now);
    }

    fn save(&self) -> Vec<u8> {
        let trials: Vec<&Trial> = self.trials.iter().map(AsRef::as_ref).collect();
        super::saved(&Saved {
            controller: self.controller.save(),
            trials: super::as_json(&trials),
        })
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), String> {
        let saved: Saved = postcard::from_bytes(state).map_err(|error| error.to_string())?;
        let trials: Vec<Trial> =
            serde_json::from_str(&saved.trials).map_err(|error| error.to_string())?;
        self.controller.restore(&saved.controller)?;
        self.trials = trials.into_iter().map(Arc::new).collect();
        Ok(())
    }

    fn copy(&self) -> Arc<dyn Strategy> {
        Arc::new(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_and_the_latest_are_remembered() {
        let space = crate::policy::tests::Branching::new();
        let list = space.lists(1).swap_remove(0);
        let mut guided = Guided::default();
        for number in 0..3 * KEPT as u64 {
            let minibatch = RewardedMinibatch {
                sequence: number + 1,
                layers: 1,
                decisions: std::slice::from_ref(&list),
                // The first ones are the best, and the last ones the worst.
                rewards: &[Some(-(number as f64))],
                baseline: None,
                scale: None,
            };
            guided.observe(&space, &minibatch);
        }
        assert!(guided.trials.len() <= KEPT && guided.trials.len() > KEPT / 2);
        let rewards: Vec<f64> = guided.trials.iter().map(|trial| trial.reward).collect();
        assert_eq!(rewards[KEPT_BEST - 1], 1.0 - KEPT_BEST as f64);
        assert_eq!(rewards.last(), Some(&(1.0 - 3.0 * KEPT as f64)));
        assert_eq!(rewards[rewards.len() - 9], 9.0 - 3.0 * KEPT as f64);
        let order = guided.by_reward();
        let fitted = guided.fitted(&order);
        assert_eq!(fitted.len(), FITTED);
        assert!(fitted.contains(&0) && fitted.contains(&(guided.trials.len() - 1)));
    }
}

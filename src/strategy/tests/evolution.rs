//! A strategy that reads the history, for tests: a small regularised evolution (Real et al. 2019)
//! that never proposes a list twice. It uses all that the seam offers: a state that is a fold over
//! the log, pending trials, snapshots of the state, and a gradient that changes nothing.

use crate::policy::{Gradient, PolicyError, UpdateRule};
use crate::random::{Key, Purpose, Stream};
use crate::space::{Decision, Next, Space};
use crate::strategy::{
    GradientRequest, LearningSettings, Proposal, ProposalRequest, RewardedMinibatch, Strategy,
};
use rand::RngExt;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

const POPULATION: usize = 12;
const TOURNAMENT: usize = 4;
/// Draws without a new list after which it repeats.
const TRIES: usize = 200;

/// The youngest trials with a reward, and every list that was observed.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(in crate::strategy) struct Evolution {
    population: VecDeque<(String, f64)>,
    seen: BTreeSet<String>,
}

fn text(decisions: &[Decision]) -> String {
    serde_json::to_string(decisions).unwrap()
}

/// Ends a list uniformly.
fn complete(
    space: &dyn Space,
    layers: usize,
    mut list: Vec<Decision>,
    stream: &mut Stream,
) -> Vec<Decision> {
    loop {
        match space.next(layers, &list) {
            Next::Done => return list,
            Next::Choose { kind } => {
                let options = space.kinds()[kind].options.len();
                list.push(Decision::Choice(stream.random_range(0..options)));
            }
            Next::Anchor { earlier } => {
                let bits = (0..earlier).map(|_| u8::from(stream.random::<bool>()));
                list.push(Decision::Skips(bits.collect()));
            }
        }
    }
}

impl Evolution {
    /// Uniform until there is a population; then a mutation of the best of a few.
    fn draw(&self, request: &ProposalRequest, stream: &mut Stream) -> Vec<Decision> {
        if self.population.len() < POPULATION {
            return complete(request.space, request.layers, Vec::new(), stream);
        }
        let parent = (0..TOURNAMENT)
            .map(|_| &self.population[stream.random_range(0..self.population.len())])
            .max_by(|a, b| a.1.total_cmp(&b.1))
            .expect("a tournament has entrants");
        let mut list: Vec<Decision> = serde_json::from_str(&parent.0).unwrap();
        list.truncate(stream.random_range(0..list.len().max(1)));
        complete(request.space, request.layers, list, stream)
    }

    fn propose_new(
        &self,
        request: &ProposalRequest,
        key: Key,
        proposed: &BTreeSet<String>,
    ) -> Vec<Decision> {
        let mut stream = key.stream(Purpose::Decisions);
        let mut list = self.draw(request, &mut stream);
        for _ in 0..TRIES {
            let name = text(&list);
            if !self.seen.contains(&name) && !proposed.contains(&name) {
                break;
            }
            list = self.draw(request, &mut stream);
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
        let mut proposed: BTreeSet<String> = request
            .pending
            .iter()
            .flat_map(|pending| pending.decisions.iter().map(|list| text(list)))
            .collect();
        let propose = |key: &Key| {
            let decisions = self.propose_new(request, *key, &proposed);
            proposed.insert(text(&decisions));
            Proposal {
                decisions,
                entropy: None,
                repeats: false,
                redrawn: 0,
            }
        };
        Ok(request.keys.iter().map(propose).collect())
    }

    fn gradient(&self, request: &GradientRequest) -> Result<Gradient, PolicyError> {
        Ok(Gradient::zero(request.policy.parameter_count()))
    }

    fn observe(&mut self, _: &dyn Space, minibatch: &RewardedMinibatch) {
        for (list, reward) in minibatch.decisions.iter().zip(minibatch.rewards) {
            self.seen.insert(text(list));
            if let Some(reward) = reward {
                self.population.push_back((text(list), *reward));
            }
        }
        while self.population.len() > POPULATION {
            self.population.pop_front();
        }
    }

    fn save(&self) -> Vec<u8> {
        postcard::to_stdvec(self).unwrap()
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), String> {
        *self = postcard::from_bytes(state).map_err(|error| error.to_string())?;
        Ok(())
    }

    fn copy(&self) -> Arc<dyn Strategy> {
        Arc::new(self.clone())
    }
}

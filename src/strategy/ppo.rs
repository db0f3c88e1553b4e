//! Proximal policy optimisation for short budgets: the paper's controller, learning by the ranks of
//! rewards and by several clipped steps from each minibatch (Schulman et al. 2017, "Proximal Policy
//! Optimization Algorithms"), which the best trials so far join, and proposing no network twice.
//! Must not know how else lists for its minibatches are chosen: `guided` learns by this too.

use super::networks::{KnownNetworks, MAX_DRAWS, ProposedNetworks, SavedNetworks, network_name};
use super::oversized::Redrawn;
use super::{
    GradientRequest, LearningSettings, Proposal, ProposalRequest, RewardedMinibatch, Strategy,
};
use crate::policy::{
    AdamState, Episode, Gradient, PolicyError, Sample, UpdateRule, UpdateSettings,
};
use crate::random::{Key, Purpose};
use crate::space::Decision;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::Arc;

/// Rewards that a new one is ranked among.
const RANKED: usize = 1_000;
/// The latest of them: an advantage is a rank above their mean rank.
const RECENT: usize = 48;
/// A list that was bad and has become more probable pushes no harder than this.
const MAX_RATIO: f64 = 10.0;

/// How many of the best trials of each depth are remembered, so that they can teach again.
const KEPT_BEST: usize = 16;

/// What `ppo` and `guided` learn by, beside the learning rate and the entropy weight.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PpoSettings {
    /// Steps from each minibatch.
    pub epochs: usize,
    /// ε: a list teaches no more once its probability has moved by this share.
    pub clip: f64,
    /// Logged rewards after which the entropy weight has halved; None: it stays.
    pub entropy_half_life: Option<f64>,
    /// So many of the best trials before it teach again with each minibatch (Abolafia et al. 2018,
    /// "Neural Program Synthesis with Priority Queue Training").
    #[serde(default, skip_serializing_if = "is_zero")]
    pub replayed: usize,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // As serde calls it.
fn is_zero(count: &usize) -> bool {
    *count == 0
}

impl PpoSettings {
    /// Schulman et al. (2017), table 3, but for the epochs: half as many.
    pub const DEFAULT: Self = Self {
        epochs: 5,
        clip: 0.2,
        entropy_half_life: None,
        replayed: 0,
    };
}

/// Clipped policy gradient on ranks.
#[derive(Clone, Default)]
pub(super) struct Ppo {
    /// The latest rewards, the oldest first.
    rewards: VecDeque<f64>,
    /// Rewards so far.
    count: u64,
    networks: ProposedNetworks,
    /// By descending reward, of equals the older first.
    best: Vec<Arc<Best>>,
}

/// A trial with a reward.
#[derive(Serialize, Deserialize)]
struct Best {
    layers: usize,
    decisions: Vec<Decision>,
    reward: f64,
}

#[derive(Serialize, Deserialize)]
struct Saved {
    rewards: Vec<f64>,
    count: u64,
    networks: SavedNetworks,
    /// As JSON: a decision has no other form.
    best: String,
}

/// As written before the best trials taught again.
#[derive(Deserialize)]
struct SavedBefore {
    rewards: Vec<f64>,
    count: u64,
    networks: SavedNetworks,
}

/// Rewards in ascending order.
struct Ranks(Vec<f64>);

impl Ranks {
    fn new(rewards: impl Iterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = rewards.collect();
        sorted.sort_by(f64::total_cmp);
        Self(sorted)
    }

    /// −1 for the lowest, 1 for the highest; equal rewards share their rank.
    fn of(&self, reward: f64) -> f64 {
        let below = self.0.partition_point(|other| *other < reward);
        let up_to = self.0.partition_point(|other| *other <= reward);
        (below + up_to) as f64 / self.0.len().max(1) as f64 - 1.0
    }
}

impl Ppo {
    /// One new list of each slot, drawn from the controller: for each slot as many draws as it
    /// takes.
    pub(super) fn draw_new(
        &self,
        request: &ProposalRequest,
        known: &mut KnownNetworks,
    ) -> Result<Vec<Proposal>, PolicyError> {
        let ProposalRequest { space, layers, .. } = *request;
        let is_everything = known.is_everything(space, layers);
        draw_accepted(request, |redrawn, list| {
            if redrawn.refuses(request, list) {
                return Verdict::TooLarge;
            }
            if known.insert(network_name(space, layers, list)) {
                Verdict::Taken
            } else if is_everything {
                Verdict::Exhausted
            } else {
                Verdict::Known
            }
        })
    }

    pub(super) fn networks(&self) -> &ProposedNetworks {
        &self.networks
    }

    /// The ranks of a minibatch's rewards above the mean rank of the latest ones, in slot order; then
    /// those of trials that teach again.
    fn advantages(&self, rewards: &[Option<f64>], again: &[Arc<Best>]) -> Vec<Option<f64>> {
        let all = self.rewards.iter().chain(rewards.iter().flatten());
        let ranks = Ranks::new(all.copied());
        let mut recent: Vec<f64> = self.rewards.iter().rev().take(RECENT).copied().collect();
        if recent.is_empty() {
            recent.extend(rewards.iter().flatten());
        }
        let total: f64 = recent.iter().map(|reward| ranks.of(*reward)).sum();
        let mean = total / recent.len().max(1) as f64;
        let again = again.iter().map(|trial| Some(trial.reward));
        let rewards = rewards.iter().copied().chain(again);
        rewards
            .map(|reward| Some(ranks.of(reward?) - mean))
            .collect()
    }

    /// The best trials of the minibatch's depth; none, if it has no reward itself.
    fn replayed(&self, count: usize, minibatch: &RewardedMinibatch) -> Vec<Arc<Best>> {
        let count = if minibatch.rewards.iter().any(Option::is_some) {
            count
        } else {
            0
        };
        let best = self.best.iter();
        let of_depth = best.filter(|trial| trial.layers == minibatch.layers);
        of_depth.take(count).cloned().collect()
    }

    /// Takes a trial among the best of its depth if it is one of them.
    fn remember(&mut self, layers: usize, decisions: &[Decision], reward: f64) {
        let place = self.best.partition_point(|trial| trial.reward >= reward);
        let of_depth = |trial: &Arc<Best>| trial.layers == layers;
        let better = self.best[..place].iter().filter(|trial| of_depth(trial));
        if better.count() >= KEPT_BEST {
            return;
        }
        let trial = Best {
            layers,
            decisions: decisions.to_vec(),
            reward,
        };
        self.best.insert(place, Arc::new(trial));
        if self.best.iter().filter(|trial| of_depth(trial)).count() > KEPT_BEST {
            let worst = self.best.iter().rposition(of_depth);
            worst.map(|worst| self.best.remove(worst));
        }
    }

    fn entropy_weight(&self, learning: &LearningSettings, settings: &PpoSettings) -> f64 {
        let halvings = settings
            .entropy_half_life
            .map_or(0.0, |half_life| self.count as f64 / half_life);
        learning.entropy_weight * 0.5_f64.powf(halvings)
    }
}

/// What becomes of a list that was drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Taken,
    TooLarge,
    /// Its network was proposed before.
    Known,
    /// The same, and there is no other.
    Exhausted,
}

/// One list of each slot, drawn from the controller: the first that is taken, from the slot's own
/// stream. After [`MAX_DRAWS`] draws, the first that was not too large.
pub(super) fn draw_accepted(
    request: &ProposalRequest,
    mut verdict: impl FnMut(&mut Redrawn, &[Decision]) -> Verdict,
) -> Result<Vec<Proposal>, PolicyError> {
    let firsts = draw(request, request.keys, 0..1)?;
    let mut proposals = Vec::with_capacity(firsts.len());
    for (key, first) in request.keys.iter().zip(firsts) {
        let mut redrawn = Redrawn::default();
        let mut fallback = None;
        let mut taken = None;
        let mut samples = vec![first];
        let mut drawn = 1;
        'draws: loop {
            for sample in samples {
                match verdict(&mut redrawn, &sample.decisions) {
                    Verdict::Taken => {
                        taken = Some(sample);
                        break 'draws;
                    }
                    Verdict::TooLarge => {}
                    Verdict::Known => {
                        fallback.get_or_insert(sample);
                    }
                    Verdict::Exhausted => {
                        fallback.get_or_insert(sample);
                        break 'draws;
                    }
                }
            }
            if drawn >= MAX_DRAWS {
                break;
            }
            // A controller that has made up its mind repeats itself often: ever more at once.
            let end = MAX_DRAWS.min(2 * drawn);
            samples = draw(request, std::slice::from_ref(key), drawn..end)?;
            drawn = end;
        }
        let repeats = taken.is_none();
        if let Some(sample) = taken.or(fallback) {
            proposals.push(Proposal {
                repeats,
                redrawn: redrawn.count,
                ..sample.into()
            });
        }
    }
    Ok(proposals)
}

/// Draws of these numbers from each key's stream of decisions, key after key.
pub(super) fn draw(
    request: &ProposalRequest,
    keys: &[Key],
    numbers: std::ops::Range<usize>,
) -> Result<Vec<Sample>, PolicyError> {
    let streams = keys
        .iter()
        .flat_map(|key| {
            numbers.clone().map(|number| {
                let mut stream = key.stream(Purpose::Decisions);
                stream.set_stream(number as u64);
                stream
            })
        })
        .collect();
    request
        .policy
        .sample(request.parameters, request.space, request.layers, streams)
}

/// The advantage, weighted by how much more probable its list has become; 0 once that has gone far
/// enough (equation 7 of the paper).
fn clipped(advantage: f64, ratio: f64, clip: f64) -> f64 {
    let beyond = if advantage > 0.0 {
        ratio > 1.0 + clip
    } else {
        ratio < 1.0 - clip
    };
    if beyond { 0.0 } else { advantage * ratio }
}

impl Strategy for Ppo {
    fn reads_history(&self) -> bool {
        true
    }

    /// The steps are taken beside the shards: what they get is the whole way.
    fn update_rule(&self, _: &LearningSettings) -> UpdateRule {
        UpdateRule::Add
    }

    fn propose(&self, request: &ProposalRequest) -> Result<Vec<Proposal>, PolicyError> {
        let mut known = self.networks.with_pending(request.space, request.pending);
        self.draw_new(request, &mut known)
    }

    fn gradient(&self, request: &GradientRequest) -> Result<Gradient, PolicyError> {
        let GradientRequest {
            policy,
            space,
            parameters,
            learning,
            minibatch,
        } = request;
        let settings = learning.ppo.unwrap_or(PpoSettings::DEFAULT);
        let again = self.replayed(settings.replayed, minibatch);
        let advantages = self.advantages(minibatch.rewards, &again);
        let lists: Vec<&[_]> = minibatch
            .decisions
            .iter()
            .chain(again.iter().map(|trial| &trial.decisions))
            .map(Vec::as_slice)
            .collect();
        let log_probabilities = |parameters: &[f32]| {
            policy.log_probabilities(parameters, *space, minibatch.layers, &lists)
        };
        let pulled = log_probabilities(parameters)?;
        let entropy_weight = self.entropy_weight(learning, &settings);
        let rule = UpdateRule::Adam {
            learning_rate: learning.learning_rate,
        };
        let update = UpdateSettings {
            rule,
            accumulate: 1,
        };
        let mut state = AdamState::new(parameters.to_vec());
        let mut entropy = 0.0;
        for epoch in 1..=settings.epochs as u64 {
            let now = log_probabilities(&state.parameters)?;
            let weighted = advantages.iter().zip(now.iter().zip(&pulled));
            let episodes: Vec<Episode> = lists
                .iter()
                .zip(weighted)
                .map(|(decisions, (advantage, (now, pulled)))| Episode {
                    decisions,
                    advantage: advantage.map(|advantage| {
                        let ratio = (now - pulled).exp().min(MAX_RATIO);
                        clipped(advantage, ratio, settings.clip)
                    }),
                })
                .collect();
            let gradient = policy.gradient(
                &state.parameters,
                *space,
                minibatch.layers,
                &episodes,
                entropy_weight,
            )?;
            if epoch == 1 {
                entropy = gradient.entropy;
            }
            state.push(epoch, &gradient.values, &update);
        }
        let moved = state.parameters.iter().zip(*parameters);
        let values: Vec<f32> = moved.map(|(after, before)| after - before).collect();
        let squares = values.iter().map(|value| f64::from(*value).powi(2));
        Ok(Gradient {
            norm: squares.sum::<f64>().sqrt(),
            values,
            entropy,
        })
    }

    fn observe(&mut self, space: &dyn crate::space::Space, minibatch: &RewardedMinibatch) {
        self.networks.observe(space, minibatch);
        for (decisions, reward) in minibatch.decisions.iter().zip(minibatch.rewards) {
            let Some(reward) = *reward else { continue };
            self.rewards.push_back(reward);
            self.count += 1;
            self.remember(minibatch.layers, decisions, reward);
        }
        while self.rewards.len() > RANKED {
            self.rewards.pop_front();
        }
    }

    /// A run of before goes on by today's settings: its snapshots do not hold the best trials of
    /// before, so that none counts.
    fn change(&mut self, before: &LearningSettings, now: &LearningSettings) {
        let replays = |learning: &LearningSettings| learning.ppo.map_or(0, |ppo| ppo.replayed) > 0;
        if !replays(before) && replays(now) {
            self.best.clear();
        }
    }

    fn save(&self) -> Vec<u8> {
        super::saved(&Saved {
            rewards: self.rewards.iter().copied().collect(),
            count: self.count,
            networks: self.networks.save(),
            best: super::as_json(&self.best.iter().map(AsRef::as_ref).collect::<Vec<&Best>>()),
        })
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), String> {
        let saved = postcard::from_bytes(state).or_else(|_| {
            let SavedBefore {
                rewards,
                count,
                networks,
            } = postcard::from_bytes(state).map_err(|error| error.to_string())?;
            let best = "[]".to_owned();
            Ok::<_, String>(Saved {
                rewards,
                count,
                networks,
                best,
            })
        })?;
        let best: Vec<Best> =
            serde_json::from_str(&saved.best).map_err(|error| error.to_string())?;
        *self = Self {
            rewards: saved.rewards.into(),
            count: saved.count,
            networks: ProposedNetworks::restore(saved.networks),
            best: best.into_iter().map(Arc::new).collect(),
        };
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
    fn ranks_do_not_depend_on_the_scale() {
        let rewards = [0.3, 0.1, 0.1, 0.9, -5.0];
        let ranks = |scale: fn(f64) -> f64| -> Vec<f64> {
            let ranks = Ranks::new(rewards.into_iter().map(scale));
            rewards.into_iter().map(|r| ranks.of(scale(r))).collect()
        };
        let plain = ranks(|reward| reward);
        assert_eq!(plain, ranks(|reward| 1e9 * reward - 3e7));
        assert_eq!(plain, ranks(f64::exp));
        let [middle, low, same, high, lowest] = plain[..] else {
            panic!("five rewards")
        };
        assert_eq!(low, same);
        assert!(lowest < low && low < middle && middle < high);
        assert!((plain.iter().sum::<f64>()).abs() < 1e-12);
    }

    /// Sixteen rewards of each of two depths, in no order.
    fn with_best() -> Ppo {
        let mut ppo = Ppo::default();
        for number in 0..40 {
            for layers in [1, 2] {
                let reward = f64::from(number * 7 % 40);
                ppo.remember(layers, &[Decision::Choice(number as usize)], reward);
            }
        }
        ppo
    }

    fn best_of(ppo: &Ppo, layers: usize) -> Vec<f64> {
        let of_depth = ppo.best.iter().filter(|trial| trial.layers == layers);
        of_depth.map(|trial| trial.reward).collect()
    }

    #[test]
    fn the_best_of_each_depth_are_remembered_and_saved() {
        let ppo = with_best();
        let expected: Vec<f64> = (24..40).rev().map(f64::from).collect();
        assert_eq!(best_of(&ppo, 1), expected);
        assert_eq!(best_of(&ppo, 2), expected);
        let mut again = Ppo::default();
        again.restore(&ppo.save()).unwrap();
        assert_eq!(best_of(&again, 2), expected);
        let minibatch = |rewards| RewardedMinibatch {
            sequence: 1,
            layers: 2,
            decisions: &[],
            rewards,
            baseline: None,
            scale: None,
        };
        let taught = |rewards| {
            let trials = again.replayed(3, &minibatch(rewards));
            trials.iter().map(|trial| trial.reward).collect::<Vec<_>>()
        };
        assert_eq!(taught(&[None, Some(0.5)]), [39.0, 38.0, 37.0]);
        assert!(taught(&[None, None]).is_empty());
    }

    /// Replayed from its beginning and continued from a snapshot, a run of before is the same.
    #[test]
    fn a_state_of_before_goes_on_as_one_that_forgets() {
        #[derive(Serialize)]
        struct Before {
            rewards: Vec<f64>,
            count: u64,
            networks: SavedNetworks,
        }
        let mut ppo = with_best();
        ppo.rewards.extend([0.25, 0.5]);
        ppo.count = 2;
        let state = Before {
            rewards: vec![0.25, 0.5],
            count: 2,
            networks: ppo.networks.save(),
        };
        let mut continued = Ppo::default();
        continued.restore(&crate::strategy::saved(&state)).unwrap();
        let logged = |replayed| {
            let settings = crate::strategy::ControllerSettings::default();
            let mut learning = settings.learning(crate::strategy::StrategyName::PPO, 1);
            learning.ppo = learning.ppo.map(|ppo| PpoSettings { replayed, ..ppo });
            learning
        };
        for state in [&mut ppo, &mut continued] {
            state.change(&logged(0), &logged(8));
        }
        assert_eq!(ppo.save(), continued.save());
        ppo.remember(1, &[], 1.0);
        ppo.change(&logged(8), &logged(4));
        assert_eq!(best_of(&ppo, 1), [1.0]);
    }

    #[test]
    fn a_list_whose_probability_moved_enough_teaches_no_more() {
        assert_eq!(clipped(0.5, 1.1, 0.2), 0.55);
        assert_eq!(clipped(0.5, 1.3, 0.2), 0.0);
        assert_eq!(clipped(0.5, 0.5, 0.2), 0.25);
        assert_eq!(clipped(-0.5, 0.7, 0.2), 0.0);
        assert_eq!(clipped(-0.5, 1.4, 0.2), -0.7);
    }
}

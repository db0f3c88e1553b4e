//! REINFORCE on a reward in closed form: the mean reward rises and the best architecture, known
//! beforehand, becomes the most probable.

use crate::policy::Policy;
use crate::policy::tests::{Branching, policy, streams};
use crate::space::Decision;
use crate::strategy::{
    GradientRequest, LearningSettings, RewardedMinibatch, StrategyName, initial_snapshot,
};

const LAYERS: usize = 2;
const MINIBATCHES: u64 = 600;

/// Highest, 1, for one list alone: type 1 of size 2, no skip to choose; type 0 with flag 1, fed by
/// layer 1.
fn reward(list: &[Decision]) -> f64 {
    let best = [
        Decision::Choice(1),
        Decision::Choice(2),
        Decision::Skips(vec![]),
        Decision::Choice(0),
        Decision::Choice(1),
        Decision::Skips(vec![1]),
    ];
    let common = (0..best.len())
        .filter(|place| list.get(*place) == Some(&best[*place]))
        .count();
    common as f64 / best.len() as f64
}

struct Learned {
    first_mean: f64,
    last_mean: f64,
    most_probable: Vec<Decision>,
}

/// Trains with the advantage times `sign`; −1 is the mistake that these tests must notice.
fn learn(seed: u64, sign: f32) -> Learned {
    learn_from(seed, sign, None, |_, _, reward| reward)
}

/// The rewards are what `seen` makes of minibatch, slot and true reward.
fn learn_from(
    seed: u64,
    sign: f32,
    advantage_bound: Option<f64>,
    seen: impl Fn(u64, usize, f64) -> f64,
) -> Learned {
    let space = Branching::new();
    let policy = policy(&space, 16, 0.08);
    let learning = LearningSettings {
        strategy: StrategyName::REINFORCE,
        learning_rate: 0.01,
        baseline_decay: 0.95,
        entropy_weight: 0.0,
        accumulate: 1,
        ppo: None,
        advantage_bound,
        redraws: false,
        scores: crate::strategy::Scores::Ranks,
    };
    let mut cut = initial_snapshot(&policy, seed, learning);
    let mut means = Vec::new();
    for minibatch in 0..MINIBATCHES {
        let samples = policy
            .sample(
                &cut.state.parameters,
                &space,
                LAYERS,
                streams(seed, minibatch, 8),
            )
            .unwrap();
        let decisions: Vec<_> = samples.into_iter().map(|sample| sample.decisions).collect();
        let own: Vec<f64> = decisions.iter().map(|list| reward(list)).collect();
        means.push(own.iter().sum::<f64>() / 8.0);
        let slots = own.iter().enumerate();
        let rewards: Vec<_> = slots
            .map(|(slot, own)| Some(seen(minibatch, slot, *own)))
            .collect();
        let minibatch = RewardedMinibatch {
            sequence: minibatch + 1,
            layers: LAYERS,
            decisions: &decisions,
            rewards: &rewards,
            baseline: cut.averages.baseline(),
            scale: learning.scale(&cut.averages),
        };
        let request = GradientRequest {
            policy: &policy,
            space: &space,
            parameters: &cut.state.parameters,
            learning: &learning,
            minibatch,
        };
        let gradient = learning.strategy.create().gradient(&request).unwrap();
        let gradient: Vec<f32> = gradient.values.iter().map(|value| sign * value).collect();
        cut.state
            .push(minibatch.sequence, &gradient, &learning.update());
        learning.average(&mut cut.averages, &minibatch.compared(&learning));
    }
    let mean = |means: &[f64]| means.iter().sum::<f64>() / means.len() as f64;
    let first_mean = mean(&means[..20]);
    let last_mean = mean(&means[means.len() - 20..]);
    Learned {
        first_mean,
        last_mean,
        most_probable: most_probable(&policy, &cut.state.parameters, &space),
    }
}

fn most_probable(policy: &Policy, parameters: &[f32], space: &Branching) -> Vec<Decision> {
    let lists = space.lists(LAYERS);
    let slices: Vec<&[Decision]> = lists.iter().map(Vec::as_slice).collect();
    let logs = policy
        .log_probabilities(parameters, space, LAYERS, &slices)
        .unwrap();
    let best = logs
        .iter()
        .enumerate()
        .max_by(|a, b| a.1.total_cmp(b.1))
        .map(|(place, _)| place);
    lists[best.expect("the space has lists")].clone()
}

#[test]
fn the_mean_reward_rises_and_the_best_list_becomes_the_most_probable() {
    for seed in 0..5 {
        let learned = learn(seed, 1.0);
        assert!(
            learned.first_mean < 0.5,
            "seed {seed}: starts at {}",
            learned.first_mean
        );
        assert!(
            learned.last_mean > 0.9,
            "seed {seed}: ends at {}",
            learned.last_mean
        );
        assert_eq!(
            reward(&learned.most_probable),
            1.0,
            "seed {seed}: {:?}",
            learned.most_probable
        );
    }
}

#[test]
fn with_the_gradients_sign_flipped_it_does_not() {
    for seed in 0..2 {
        let learned = learn(seed, -1.0);
        assert!(
            learned.last_mean < learned.first_mean,
            "seed {seed}: ends at {}",
            learned.last_mean
        );
        assert!(reward(&learned.most_probable) < 1.0);
    }
}

/// A script prints one number out of measure: in the first minibatch, later, and twice at once.
#[test]
fn an_outlier_does_not_end_learning() {
    for outlier in [-1e6, 1e300, -1e39, f64::MAX] {
        for bad in [
            &[(0, 0)][..],
            &[(20, 3)],
            &[(0, 1), (0, 5)],
            &[(0, 2), (30, 0)],
        ] {
            let seen = |minibatch: u64, slot: usize, reward: f64| {
                if bad.contains(&(minibatch, slot)) {
                    outlier
                } else {
                    reward
                }
            };
            let bound = Some(LearningSettings::ADVANTAGE_BOUND);
            let learned = learn_from(1, 1.0, bound, seen);
            assert!(
                learned.last_mean > 0.9,
                "{outlier:e} at {bad:?}: ends at {}",
                learned.last_mean
            );
        }
    }
}

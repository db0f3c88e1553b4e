//! Every strategy in small searches in memory: lists are valid in every kind of space, no network
//! comes twice, the controls and the learners find more than chance, and where nothing new is left
//! they say so.

use crate::policy::{AdamState, Policy, RewardAverages};
use crate::random::Key;
use crate::space::{
    Allowed, Decision, DecisionSettings, ImageShape, OptionValue, SkipConnections, Space,
    SpaceKind, SpaceSettings, is_too_large,
};
use crate::strategy::networks::network_name;
use crate::strategy::{
    ControllerSettings, GradientRequest, History, HistoryPosition, LearningSettings, Proposal,
    ProposalRequest, RewardedMinibatch, StrategyName, initial_snapshot,
};
use std::collections::BTreeSet;

const WITHOUT_REPEATS: [&str; 5] = ["ppo", "guided", "evolution", "local-search", "grid"];

/// Those that look for better networks.
const SEEKING: [&str; 4] = ["ppo", "guided", "evolution", "local-search"];

/// A search in memory.
struct Search<'a> {
    space: &'a dyn Space,
    policy: Policy,
    learning: LearningSettings,
    history: History,
    state: AdamState,
    averages: RewardAverages,
    minibatch: u64,
}

impl<'a> Search<'a> {
    fn new(space: &'a dyn Space, strategy: &str, seed: u64) -> Self {
        let name = StrategyName::find(strategy).unwrap();
        let settings = ControllerSettings {
            hidden: 8,
            layers: 1,
            ..ControllerSettings::default()
        };
        let learning = settings.learning(name, 1);
        let policy = Policy::new(space, &settings.network());
        let start = initial_snapshot(&policy, seed, learning);
        Self {
            space,
            policy,
            learning,
            history: History::new(name, &[], HistoryPosition::default()).unwrap(),
            state: start.state,
            averages: start.averages,
            minibatch: 0,
        }
    }

    fn propose(&self, layers: usize, children: usize) -> Vec<Proposal> {
        let view = self.history.view();
        let request = ProposalRequest {
            policy: &self.policy,
            space: self.space,
            parameters: &self.state.parameters,
            learning: &self.learning,
            layers,
            keys: &Key::of_minibatch(3, 0, self.minibatch, children),
            pending: &view.pending,
        };
        view.strategy.propose(&request).unwrap()
    }

    fn reward(&mut self, layers: usize, lists: &[Vec<Decision>], rewards: &[Option<f64>]) {
        let minibatch = RewardedMinibatch {
            sequence: self.minibatch + 1,
            layers,
            decisions: lists,
            rewards,
            baseline: self.averages.baseline(),
            scale: None,
        };
        let strategy = self.history.log(self.space, 0, None, &minibatch);
        let request = GradientRequest {
            policy: &self.policy,
            space: self.space,
            parameters: &self.state.parameters,
            learning: &self.learning,
            minibatch,
        };
        let gradient = strategy.gradient(&request).unwrap().values;
        self.minibatch += 1;
        self.state
            .push(self.minibatch, &gradient, &self.learning.update());
        let compared = minibatch.compared(&self.learning);
        self.learning.average(&mut self.averages, &compared);
    }

    /// One minibatch whose rewards are a function of the lists.
    fn step(
        &mut self,
        layers: usize,
        children: usize,
        reward: impl Fn(&[Decision]) -> Option<f64>,
    ) -> Vec<Proposal> {
        let proposals = self.propose(layers, children);
        let lists: Vec<_> = proposals
            .iter()
            .map(|proposal| proposal.decisions.clone())
            .collect();
        let rewards: Vec<_> = lists.iter().map(|list| reward(list)).collect();
        self.reward(layers, &lists, &rewards);
        proposals
    }
}

fn image() -> ImageShape {
    ImageShape {
        channels: 3,
        height: 16,
        width: 16,
    }
}

fn decision(name: &str, options: i64) -> DecisionSettings {
    DecisionSettings {
        name: name.into(),
        options: (0..options).map(OptionValue::Integer).collect(),
        when: [].into(),
    }
}

fn choices(decision: Vec<DecisionSettings>) -> Box<dyn Space> {
    let settings = SpaceSettings {
        kind: SpaceKind::Choices,
        decision,
        ..SpaceSettings::default()
    };
    settings.build(image(), 10)
}

/// 4,096 networks.
fn six_by_four() -> Box<dyn Space> {
    choices(
        ["a", "b", "c", "d", "e", "f"]
            .map(|name| decision(name, 4))
            .to_vec(),
    )
}

fn option(decision: &Decision) -> usize {
    match decision {
        Decision::Choice(option) => *option,
        Decision::Skips(bits) => bits.iter().map(|bit| usize::from(*bit)).sum(),
    }
}

/// At most 1, for one list alone; a decision is worth more beside the right one.
fn reward(list: &[Decision]) -> f64 {
    let right = |place: usize| option(&list[place % list.len()]) == (place % list.len()) % 3;
    let worth = |place| match (right(place), right(place + 1)) {
        (true, true) => 1.0,
        (true, false) => 0.4,
        _ => 0.0,
    };
    (0..list.len()).map(worth).sum::<f64>() / list.len() as f64
}

/// The mean over seeds of the best reward.
fn best(strategy: &str, trials: usize, children: usize) -> f64 {
    const SEEDS: u64 = 8;
    let space = six_by_four();
    let of_seed = |seed| {
        let mut search = Search::new(space.as_ref(), strategy, seed);
        search.minibatch = 1_000 * seed;
        search.state.sequence = search.minibatch;
        let mut best = 0.0_f64;
        for _ in 0..trials / children {
            for proposal in search.step(0, children, |list| Some(reward(list))) {
                best = best.max(reward(&proposal.decisions));
            }
        }
        best
    };
    (0..SEEDS).map(of_seed).sum::<f64>() / SEEDS as f64
}

#[test]
fn they_find_more_than_chance() {
    let chance = best("random", 120, 4);
    for strategy in SEEKING {
        let found = best(strategy, 120, 4);
        assert!(
            found > chance + 0.05,
            "{strategy}: {found}, chance {chance}"
        );
    }
}

#[test]
fn one_trial_at_a_time_local_search_and_guided_come_near_the_best() {
    for strategy in ["local-search", "guided"] {
        let found = best(strategy, 100, 1);
        assert!(found > 0.9, "{strategy}: {found}");
    }
}

/// Growing depth, searched types and rates; cells; conditions.
fn spaces() -> Vec<(&'static str, Box<dyn Space>)> {
    let conv = SpaceSettings {
        layers: 2,
        layers_step: 1,
        layers_every: 12,
        layers_max: Some(4),
        filters: vec![8, 16, 24],
        layer_types: vec![
            crate::space::LayerType::Conv,
            crate::space::LayerType::MaxPool,
        ],
        learning_rates: vec![0.1, 0.01],
        skip_connections: SkipConnections::Predicted,
        ..SpaceSettings::default()
    };
    let cell = SpaceSettings {
        kind: SpaceKind::Cell,
        base: 3,
        ..SpaceSettings::default()
    };
    let mut inner = decision("inner", 5);
    inner.when = [("outer".to_owned(), Allowed::One(OptionValue::Integer(1)))].into();
    vec![
        ("conv", conv.build(image(), 10)),
        ("cell", cell.build(image(), 10)),
        (
            "conditional",
            choices(vec![decision("outer", 3), inner, decision("last", 30)]),
        ),
    ]
}

#[test]
fn lists_are_valid_and_no_network_comes_twice() {
    for (kind, space) in spaces() {
        for strategy in SEEKING {
            let mut search = Search::new(space.as_ref(), strategy, 1);
            let mut names = BTreeSet::new();
            let mut sampled = 0;
            for _ in 0..14 {
                let layers = space.layers(sampled);
                let reward =
                    |list: &[Decision]| Some(list.iter().map(option).sum::<usize>() as f64);
                for proposal in search.step(layers, 4, reward) {
                    space
                        .build(layers, &proposal.decisions)
                        .unwrap_or_else(|error| panic!("{kind}, {strategy}: {error}"));
                    let name = network_name(space.as_ref(), layers, &proposal.decisions);
                    assert!(names.insert(name), "{kind}, {strategy}: trial {sampled}");
                    assert!(!proposal.repeats, "{kind}, {strategy}");
                    sampled += 1;
                }
            }
        }
    }
}

#[test]
fn where_nothing_new_is_left_they_say_so_and_repeat() {
    let space = choices(vec![decision("a", 3), decision("b", 3)]);
    for strategy in WITHOUT_REPEATS {
        let mut search = Search::new(space.as_ref(), strategy, 1);
        let repeats: Vec<bool> = (0..6)
            .flat_map(|_| search.step(0, 2, |list| Some(option(&list[0]) as f64)))
            .map(|proposal| proposal.repeats)
            .collect();
        let expected: Vec<bool> = (0..12).map(|trial| trial >= 9).collect();
        assert_eq!(repeats, expected, "{strategy}");
    }
}

/// Children that failed are left out: they may come once more, and teach nothing.
#[test]
fn failures_do_not_stop_a_strategy() {
    let space = six_by_four();
    for strategy in WITHOUT_REPEATS {
        let mut search = Search::new(space.as_ref(), strategy, 1);
        for step in 0..12 {
            let fails = |list: &[Decision]| step < 4 || option(&list[0]) == 0;
            search.step(0, 3, |list| (!fails(list)).then(|| reward(list)));
        }
        assert!(
            search
                .state
                .parameters
                .iter()
                .all(|value| value.is_finite())
        );
    }
}

/// Most go by ranks, `guided` by distances too: another unit of rewards is the same search.
#[test]
fn the_scale_of_rewards_does_not_matter() {
    let space = six_by_four();
    for strategy in ["ppo", "guided", "evolution", "local-search"] {
        let lists = |scale: fn(f64) -> f64| -> Vec<Vec<Decision>> {
            let mut search = Search::new(space.as_ref(), strategy, 2);
            (0..10)
                .flat_map(|_| search.step(0, 4, |list| Some(scale(reward(list)))))
                .map(|proposal| proposal.decisions)
                .collect()
        };
        let plain = lists(|reward| reward);
        assert_eq!(plain, lists(|reward| 1024.0 * reward), "{strategy}");
        if strategy != "guided" {
            assert_eq!(plain, lists(|reward| 1e9 * reward - 5e8), "{strategy}");
            assert_eq!(plain, lists(f64::exp), "{strategy}");
        }
    }
}

/// The last decision changes fastest, minibatches of any size continue each other, and what is
/// pending is not proposed again.
#[test]
fn a_grid_visits_every_list_once_in_order() {
    let mut inner = decision("inner", 2);
    inner.when = [("outer".to_owned(), Allowed::One(OptionValue::Integer(1)))].into();
    let space = choices(vec![decision("outer", 3), inner, decision("last", 2)]);
    let expected: [&[usize]; 8] = [
        &[0, 0],
        &[0, 1],
        &[1, 0, 0],
        &[1, 0, 1],
        &[1, 1, 0],
        &[1, 1, 1],
        &[2, 0],
        &[2, 1],
    ];
    for size in [1, 3, 8] {
        let mut search = Search::new(space.as_ref(), "grid", 1);
        let mut found = Vec::new();
        while found.len() < 8 {
            let proposals = search.step(0, size.min(8 - found.len()), |list| {
                (option(&list[0]) != 1).then_some(0.5)
            });
            found.extend(proposals);
        }
        let lists: Vec<Vec<usize>> = found
            .iter()
            .map(|proposal| proposal.decisions.iter().map(option).collect())
            .collect();
        assert_eq!(
            lists, expected,
            "{size} at a time; a failure does not come again"
        );
        assert!(found.iter().all(|proposal| !proposal.repeats));
        let again = search.propose(0, 1);
        assert!(again[0].repeats, "all were visited");
    }
}

/// Two layers of 4 or 64 filters, of at most so many parameters.
fn sized(max_parameters: u64) -> Box<dyn Space> {
    let settings = SpaceSettings {
        layers: 2,
        filters: vec![4, 64],
        max_parameters: Some(max_parameters),
        ..SpaceSettings::default()
    };
    settings.build(image(), 10)
}

#[test]
fn every_strategy_draws_again_what_is_too_large() {
    let space = sized(5_000);
    for strategy in ["reinforce", "random"].iter().chain(&SEEKING) {
        let mut search = Search::new(space.as_ref(), strategy, 1);
        search.learning.redraws = true;
        let mut redrawn = 0;
        for _ in 0..10 {
            for proposal in search.step(2, 4, |list| Some(reward(list))) {
                redrawn += proposal.redrawn;
                assert!(
                    !is_too_large(space.as_ref(), 2, &proposal.decisions),
                    "{strategy}: {:?}",
                    proposal.decisions
                );
            }
        }
        assert!(redrawn > 0, "{strategy}");
        let again = || search.propose(2, 4);
        assert_eq!(again(), again(), "{strategy}");
    }
}

/// As a program of before proposes, and one whose limits no network keeps.
#[test]
fn without_the_rule_or_after_a_hundred_draws_a_network_is_proposed_whatever_its_size() {
    let space = sized(1);
    for strategy in ["reinforce", "random"].iter().chain(&WITHOUT_REPEATS) {
        for (redraws, expected) in [(false, 0), (true, 100)] {
            let mut search = Search::new(space.as_ref(), strategy, 1);
            search.learning.redraws = redraws;
            for proposal in search.propose(2, 4) {
                assert_eq!(proposal.redrawn, expected, "{strategy}");
                assert!(is_too_large(space.as_ref(), 2, &proposal.decisions));
            }
        }
    }
}

//! A search in memory: proposals, rewards, the log's history and the controller's parameters.

use crate::problems::Problem;
use netwright::policy::{AdamState, Policy, RewardAverages};
use netwright::random::{Key, Purpose};
use netwright::strategy::{
    ControllerSettings, GradientRequest, History, HistoryPosition, LearningSettings,
    ProposalRequest, RewardedMinibatch, StrategyName, initial_snapshot,
};
use std::time::Instant;

pub struct TrialRun<'a> {
    pub strategy: &'a str,
    pub seed: u64,
    /// Of a minibatch: so many are in flight.
    pub children: usize,
    pub trials: usize,
}

struct Search<'a> {
    problem: &'a Problem,
    policy: Policy,
    learning: LearningSettings,
    history: History,
    state: AdamState,
    averages: RewardAverages,
    seed: u64,
    minibatch: u64,
    trials: usize,
}

impl<'a> Search<'a> {
    fn new(strategy: &str, seed: u64, problem: &'a Problem) -> Self {
        let name = StrategyName::find(strategy).expect("a strategy");
        let mut settings = ControllerSettings::default();
        if strategy == "reinforce" {
            settings.learning_rate = Some(0.005);
        }
        let learning = settings.learning(name, 1);
        let policy = Policy::new(problem.space(), &settings.network());
        let start = initial_snapshot(&policy, seed, learning);
        let history = History::new(name, &[], HistoryPosition::default()).expect("no state");
        Self {
            problem,
            policy,
            learning,
            history,
            state: start.state,
            averages: start.averages,
            seed,
            minibatch: 0,
            trials: 0,
        }
    }

    /// Reward and true value of each child of the next minibatch.
    fn step(&mut self, children: usize) -> Vec<(f64, f64)> {
        let space = self.problem.space();
        let layers = space.layers(self.trials as u64);
        let keys = Key::of_minibatch(self.seed, 0, self.minibatch, children);
        let view = self.history.view();
        let proposals = view.strategy.propose(&ProposalRequest {
            policy: &self.policy,
            space,
            parameters: &self.state.parameters,
            learning: &self.learning,
            layers,
            keys: &keys,
            pending: &view.pending,
        });
        let decisions: Vec<_> = proposals
            .expect("finite parameters")
            .into_iter()
            .map(|proposal| proposal.decisions)
            .collect();
        let scored: Vec<(f64, f64)> = decisions
            .iter()
            .zip(keys)
            .map(|(list, key)| {
                let mut noise = key.stream(Purpose::TableRepeat);
                self.problem.evaluate(layers, list, &mut noise)
            })
            .collect();
        let rewards: Vec<_> = scored.iter().map(|(reward, _)| Some(*reward)).collect();
        let minibatch = RewardedMinibatch {
            sequence: self.minibatch + 1,
            layers,
            decisions: &decisions,
            rewards: &rewards,
            baseline: self.averages.baseline(),
            scale: None,
        };
        let strategy = self.history.log(space, 0, None, &minibatch);
        let gradient = strategy.gradient(&GradientRequest {
            policy: &self.policy,
            space,
            parameters: &self.state.parameters,
            learning: &self.learning,
            minibatch,
        });
        let gradient = gradient.expect("finite parameters").values;
        self.minibatch += 1;
        self.state
            .push(self.minibatch, &gradient, &self.learning.update());
        let compared = minibatch.compared(&self.learning);
        self.learning.average(&mut self.averages, &compared);
        self.trials += children;
        scored
    }
}

impl TrialRun<'_> {
    /// After each trial the true value of the best by reward.
    pub fn best_by_trial(&self, problem: &Problem) -> Vec<f64> {
        let mut search = Search::new(self.strategy, self.seed, problem);
        let mut best = (f64::NEG_INFINITY, 0.0);
        let mut found = Vec::with_capacity(self.trials);
        while found.len() < self.trials {
            let children = self.children.min(self.trials - found.len());
            for (reward, truth) in search.step(children) {
                if reward > best.0 {
                    best = (reward, truth);
                }
                found.push(best.1);
            }
        }
        found
    }
}

/// The time of one proposal of 8 after 1,000 trials, with the learning from it.
pub fn proposal_seconds(strategy: &str, problem: &Problem) -> f64 {
    const STEPS: u32 = 20;
    let mut search = Search::new(strategy, 1, problem);
    while search.trials < 1_000 {
        search.step(8);
    }
    let started = Instant::now();
    for _ in 0..STEPS {
        search.step(8);
    }
    started.elapsed().as_secs_f64() / f64::from(STEPS)
}

//! A search in memory: proposals, rewards, the log's history and the controller's parameters.

use crate::problems::Problem;
use netwright::policy::{AdamState, Policy, RewardAverages};
use netwright::random::{Key, Purpose, Stream};
use netwright::space::Decision;
use netwright::strategy::{
    Again, ControllerSettings, GradientRequest, History, HistoryPosition, LearningSettings,
    ProposalRequest, RewardedMinibatch, StrategyName, initial_snapshot, share,
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
        let mut words = strategy.split(':');
        let name = words.next().and_then(StrategyName::find);
        let name = name.unwrap_or_else(|| panic!("{strategy}: there is no such strategy"));
        let mut settings = ControllerSettings::default();
        if name == StrategyName::REINFORCE {
            settings.learning_rate = Some(0.005);
        }
        let learning = words.fold(settings.learning(name, 1), with);
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

    /// Each child of the next minibatch.
    fn step(&mut self, children: usize) -> Vec<Trial> {
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
        let trials = decisions.into_iter().zip(scored);
        trials
            .map(|(decisions, (reward, truth))| Trial {
                layers,
                decisions,
                reward,
                truth,
            })
            .collect()
    }
}

/// Learning settings with another value for a key of the log: `learning_rate=0.01`.
fn with(learning: LearningSettings, word: &str) -> LearningSettings {
    let (key, value) = word.split_once('=').expect("key=value");
    let value: serde_json::Value = serde_json::from_str(value).expect("a number");
    let mut logged = serde_json::to_value(learning).expect("settings");
    let of_ppo = logged.get(key).is_none();
    let section = if of_ppo {
        &mut logged["ppo"]
    } else {
        &mut logged
    };
    section[key] = value;
    serde_json::from_value(logged).expect("settings of the log")
}

/// The stream of a trial's noise, by its number from 0.
pub fn noise(seed: u64, trial: usize, children: usize) -> Stream {
    let minibatch = (trial / children) as u64;
    Key::of_minibatch(seed, 0, minibatch, children)[trial % children].stream(Purpose::TableRepeat)
}

/// A trial with its outcome.
pub struct Trial {
    layers: usize,
    decisions: Vec<Decision>,
    pub reward: f64,
    pub truth: f64,
}

impl TrialRun<'_> {
    /// All trials, in order.
    pub fn trials(&self, problem: &Problem) -> Vec<Trial> {
        let mut search = Search::new(self.strategy, self.seed, problem);
        let mut found = Vec::with_capacity(self.trials);
        while found.len() < self.trials {
            let children = self.children.min(self.trials - found.len());
            found.extend(search.step(children));
        }
        found
    }

    /// The true value of the network that ranks first after these trials, of which `confirmations`
    /// more evaluate the best `networks`: as `run.confirm` does.
    pub fn confirmed(
        &self,
        problem: &Problem,
        trials: &[Trial],
        confirmations: u64,
        networks: usize,
    ) -> f64 {
        let mut order: Vec<usize> = (0..trials.len()).collect();
        order.sort_by(|&a, &b| trials[b].reward.total_cmp(&trials[a].reward));
        let mut best: Vec<usize> = Vec::new();
        for index in order {
            if best.len() == networks {
                break;
            }
            let is_other = |&other: &usize| trials[other].truth != trials[index].truth;
            if best.iter().all(is_other) {
                best.push(index);
            }
        }
        let mut sums = vec![(0.0, 0_u64); best.len()];
        for which in share(confirmations, best.len()) {
            let trial = &trials[best[which]];
            let (sum, count) = &mut sums[which];
            let seed = Again::confirming(best[which] as u64 + 1).seed(self.seed, *count);
            let mut noise = Key::seed(seed).stream(Purpose::TableRepeat);
            *sum += problem
                .evaluate(trial.layers, &trial.decisions, &mut noise)
                .0;
            *count += 1;
        }
        let mean = |which: &usize| sums[*which].0 / sums[*which].1.max(1) as f64;
        let first = (0..best.len()).max_by(|a, b| mean(a).total_cmp(&mean(b)).then(b.cmp(a)));
        trials[best[first.expect("a trial")]].truth
    }
}

/// After each trial the true value of the best by reward.
pub fn best_by_trial(trials: &[Trial]) -> Vec<f64> {
    let mut best = (f64::NEG_INFINITY, 0.0);
    let found = trials.iter().map(|trial| {
        if trial.reward > best.0 {
            best = (trial.reward, trial.truth);
        }
        best.1
    });
    found.collect()
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

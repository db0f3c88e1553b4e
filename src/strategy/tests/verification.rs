//! Whole runs, asynchronous and synchronous, of strategies that read the history and of those that
//! do not: every proposal is derived again from the log, and what was changed in it is found.

use crate::policy::tests::{Branching, policy};
use crate::policy::{Policy, shard_boundaries};
use crate::random::{Key, Purpose};
use crate::space::Decision;
use crate::strategy::{
    Discrepancy, HeldParameters, History, HistoryPosition, HistoryView, LearningSettings, LogEntry,
    MinibatchEntry, PendingMinibatch, PpoSettings, ProposalRequest, ProposedMinibatch,
    PulledParameters, Replay, Snapshot, StrategyName, Verification, initial_snapshot,
};
use rand::RngExt;
use std::collections::BTreeSet;
use std::sync::Arc;

const SEED: u64 = 5;
const LAYERS: usize = 2;
const CHILDREN: usize = 3;
const CONTROLLERS: u64 = 3;

fn evolution() -> StrategyName {
    StrategyName::find("test-evolution").unwrap()
}

fn learning(strategy: StrategyName) -> LearningSettings {
    LearningSettings {
        strategy,
        learning_rate: 0.02,
        baseline_decay: 0.8,
        entropy_weight: 0.0,
        accumulate: 1,
        ppo: (strategy == StrategyName::PPO).then_some(PpoSettings {
            epochs: 3,
            clip: 0.1,
            entropy_half_life: Some(20.0),
            replayed: 2,
        }),
        advantage_bound: Some(LearningSettings::ADVANTAGE_BOUND),
        redraws: false,
        scores: crate::strategy::Scores::Ranks,
    }
}

/// Any number in [0, 1), another one for each list.
fn reward(list: &[Decision]) -> f64 {
    let bytes = serde_json::to_vec(list).unwrap();
    let mix = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    (bytes.iter().fold(0xcbf2_9ce4_8422_2325, mix) >> 11) as f64 / (1_u64 << 53) as f64
}

/// A run as the journal has it at its end: some minibatches wait for outcomes.
struct Run {
    policy: Policy,
    log: Vec<LogEntry>,
    open: Vec<ProposedMinibatch>,
    /// After every entry.
    cuts: Vec<Snapshot>,
}

/// Baseline and scale.
type Comparison = (Option<f64>, Option<f64>);

/// The parts of a search that proposals go through.
struct Live<'a> {
    replay: Replay<'a>,
    history: History,
    learning: LearningSettings,
    next_id: u64,
    minibatches: [u64; CONTROLLERS as usize],
    log: Vec<LogEntry>,
    cuts: Vec<Snapshot>,
}

impl<'a> Live<'a> {
    fn new(policy: &'a Policy, space: &'a Branching, strategy: StrategyName) -> Self {
        let learning = learning(strategy);
        let start = initial_snapshot(policy, SEED, learning);
        let history = History::new(strategy, &[], HistoryPosition::default()).unwrap();
        let mut live = Self {
            replay: Replay::new(policy, space, start.clone()).unwrap(),
            history,
            learning,
            next_id: 1,
            minibatches: [0; CONTROLLERS as usize],
            log: Vec::new(),
            cuts: vec![start],
        };
        live.change(learning);
        live
    }

    fn apply(&mut self, entry: LogEntry) {
        self.replay.apply(&entry).unwrap();
        self.log.push(entry);
        self.cuts.push(self.replay.snapshot());
    }

    fn change(&mut self, learning: LearningSettings) {
        let sequence = self.replay.sequence() + 1;
        self.history.change(sequence, &self.learning, &learning);
        self.learning = learning;
        self.apply(LogEntry::Change { sequence, learning });
    }

    /// From the newest parameters.
    fn propose(
        &mut self,
        controller: u64,
        learning: &LearningSettings,
        view: &HistoryView,
    ) -> ProposedMinibatch {
        let minibatch = self.minibatches[controller as usize];
        self.minibatches[controller as usize] += 1;
        let parameters = self.replay.policy.parameter_count();
        let pulled = PulledParameters {
            boundaries: shard_boundaries(parameters, 1),
            versions: vec![self.replay.version()],
        };
        let request = ProposalRequest {
            policy: self.replay.policy,
            space: self.replay.space,
            parameters: &self.replay.pulled(0, &pulled).unwrap(),
            learning,
            layers: LAYERS,
            keys: &Key::of_minibatch(SEED, controller, minibatch, CHILDREN),
            pending: &view.pending,
        };
        let proposals = view.strategy.propose(&request).unwrap();
        ProposedMinibatch {
            controller,
            minibatch,
            first_id: 0,
            layers: LAYERS,
            pulled,
            history: Some(view.position),
            round: None,
            decisions: proposals
                .into_iter()
                .map(|proposal| proposal.decisions)
                .collect(),
        }
    }

    fn write(&mut self, proposed: &mut ProposedMinibatch) {
        proposed.first_id = self.next_id;
        self.next_id += CHILDREN as u64;
        self.history.insert(proposed.first_id, pending(proposed));
    }

    fn reward(&mut self, proposed: ProposedMinibatch, (baseline, scale): Comparison) {
        let rewards = proposed
            .decisions
            .iter()
            .map(|list| (reward(list) > 0.05).then(|| reward(list)))
            .collect();
        let entry = MinibatchEntry {
            sequence: self.replay.sequence() + 1,
            proposed,
            baseline,
            scale,
            rewards,
        };
        let proposed = &entry.proposed;
        self.history.log(
            self.replay.space,
            proposed.controller,
            proposed.round,
            &entry.rewarded(),
        );
        self.apply(LogEntry::Minibatch(entry));
    }

    /// What a minibatch is compared with now.
    fn comparison(&self) -> Comparison {
        let averages = self.replay.averages();
        (averages.baseline(), self.learning.scale(&averages))
    }
}

fn pending(proposed: &ProposedMinibatch) -> Arc<PendingMinibatch> {
    Arc::new(PendingMinibatch::new(
        proposed.controller,
        proposed.minibatch,
        proposed.layers,
        proposed.decisions.clone().into(),
    ))
}

/// Where a controller of an asynchronous run stands.
enum Stage {
    Idle,
    /// The parameters are pulled later: others may take a sequence number meanwhile.
    Ticket(HistoryView, LearningSettings),
    Proposed(ProposedMinibatch),
    Written(ProposedMinibatch),
}

/// Every controller moves on whenever chance has it. `switch`: the strategy after half the run.
fn asynchronous(strategy: StrategyName, switch: Option<StrategyName>) -> Run {
    asynchronous_for(400, strategy, switch)
}

/// So many moves.
fn asynchronous_for(moves: usize, strategy: StrategyName, switch: Option<StrategyName>) -> Run {
    let policy = policy(&Branching::new(), 6, 0.3);
    let space = Branching::new();
    let mut live = Live::new(&policy, &space, strategy);
    let mut chance = Key::seed(SEED).stream(Purpose::Backoff);
    let mut stages = [const { Stage::Idle }; CONTROLLERS as usize];
    for step in 0..moves {
        if step == moves / 2
            && let Some(strategy) = switch
        {
            live.change(learning(strategy));
        }
        let controller = chance.random_range(0..stages.len());
        let stage = std::mem::replace(&mut stages[controller], Stage::Idle);
        stages[controller] = match stage {
            Stage::Idle => Stage::Ticket(live.history.view(), live.learning),
            Stage::Ticket(view, learning) => {
                Stage::Proposed(live.propose(controller as u64, &learning, &view))
            }
            Stage::Proposed(mut proposed) => {
                live.write(&mut proposed);
                Stage::Written(proposed)
            }
            Stage::Written(proposed) => {
                let comparison = live.comparison();
                live.reward(proposed, comparison);
                Stage::Idle
            }
        };
    }
    let open = stages
        .into_iter()
        .filter_map(|stage| match stage {
            Stage::Written(proposed) => Some(proposed),
            _ => None,
        })
        .collect();
    let Live { log, cuts, .. } = live;
    Run {
        policy,
        log,
        open,
        cuts,
    }
}

/// Rounds in which each replica sees what those before it proposed; the last one is not rewarded.
fn synchronous(strategy: StrategyName) -> Run {
    synchronous_for(30, strategy)
}

/// So many rounds.
fn synchronous_for(rounds: u64, strategy: StrategyName) -> Run {
    let policy = policy(&Branching::new(), 6, 0.3);
    let space = Branching::new();
    let mut live = Live::new(&policy, &space, strategy);
    let mut open = Vec::new();
    for round in 0..rounds {
        let mut view = live.history.view();
        let learning = live.learning;
        let mut proposals = Vec::new();
        for controller in 0..CONTROLLERS {
            let mut proposed = live.propose(controller, &learning, &view);
            proposed.round = Some(round);
            if view.strategy.reads_history() {
                view.add(pending(&proposed));
            }
            proposals.push(proposed);
        }
        proposals
            .iter_mut()
            .for_each(|proposed| live.write(proposed));
        if round == rounds - 1 {
            open = proposals;
            break;
        }
        let comparison = live.comparison();
        for proposed in proposals {
            live.reward(proposed, comparison);
        }
    }
    let Live { log, cuts, .. } = live;
    Run {
        policy,
        log,
        open,
        cuts,
    }
}

/// Verifies a log, and that its end is the cut there: the sequence number that differs.
fn verify(run: &Run, log: &[LogEntry]) -> Result<(), (Option<u64>, Discrepancy)> {
    let space = Branching::new();
    let mut verification = Verification::new(&run.policy, &space, SEED, log, &run.open)
        .map_err(|discrepancy| (None, discrepancy))?;
    let mut done = 0;
    loop {
        let next = verification.next_sequence();
        match verification.step() {
            Ok(Some(sequence)) => done = sequence,
            Ok(None) => break,
            Err(discrepancy) => return Err((next, discrepancy)),
        }
    }
    assert_eq!(done, log.len() as u64);
    verification
        .finish()
        .map_err(|discrepancy| (None, discrepancy))?;
    if Some(&verification.snapshot()) == run.cuts.last() {
        Ok(())
    } else {
        Err((Some(done), Discrepancy::Beginning))
    }
}

/// Short ones: there are 98 lists.
fn runs_without_repeats() -> Vec<(&'static str, Run)> {
    let names = ["ppo", "guided", "evolution", "local-search"];
    let mut runs: Vec<(&str, Run)> = Vec::new();
    for name in names {
        let strategy = StrategyName::find(name).unwrap();
        runs.push((name, asynchronous_for(110, strategy, None)));
        runs.push((name, synchronous_for(9, strategy)));
    }
    let random = StrategyName::RANDOM;
    runs.push((
        "guided later",
        asynchronous_for(120, random, Some(StrategyName::GUIDED)),
    ));
    runs
}

fn runs() -> Vec<(&'static str, Run)> {
    let reinforce = StrategyName::REINFORCE;
    let random = StrategyName::RANDOM;
    vec![
        ("reinforce", asynchronous(reinforce, None)),
        ("random", asynchronous(random, None)),
        ("evolution", asynchronous(evolution(), None)),
        ("reinforce, synchronous", synchronous(reinforce)),
        ("evolution, synchronous", synchronous(evolution())),
        (
            "random, then evolution",
            asynchronous(random, Some(evolution())),
        ),
        (
            "evolution, then reinforce",
            asynchronous(evolution(), Some(reinforce)),
        ),
    ]
}

#[test]
fn every_proposal_of_every_strategy_is_derived_again() {
    for (name, run) in runs().into_iter().chain(runs_without_repeats()) {
        assert!(run.log.len() > 20, "{name}");
        verify(&run, &run.log).unwrap_or_else(|error| panic!("{name}: {error:?}"));
    }
}

/// The entry of this index, if it is a minibatch.
fn changed(
    run: &Run,
    index: usize,
    change: impl FnOnce(&mut MinibatchEntry) -> bool,
) -> Option<Vec<LogEntry>> {
    let mut log = run.log.clone();
    match &mut log[index] {
        LogEntry::Minibatch(entry) => change(entry).then_some(log),
        LogEntry::Change { .. } => None,
    }
}

#[test]
fn one_changed_decision_reward_or_history_is_found() {
    let list = Branching::new().lists(LAYERS).pop().unwrap();
    for (name, run) in runs().into_iter().chain(runs_without_repeats()) {
        for index in (0..run.log.len()).step_by(7) {
            let decision = |entry: &mut MinibatchEntry| {
                let slot = &mut entry.proposed.decisions[1];
                let other = *slot != list;
                *slot = list.clone();
                other
            };
            if let Some(log) = changed(&run, index, decision) {
                let (sequence, discrepancy) = verify(&run, &log).unwrap_err();
                assert_eq!(sequence, Some(run.log[index].sequence()), "{name}");
                assert!(
                    matches!(discrepancy, Discrepancy::Decisions { .. }),
                    "{name}: {discrepancy}"
                );
            }
            let reward = |entry: &mut MinibatchEntry| {
                let reward = &mut entry.rewards[2];
                *reward = reward.map(|reward| reward + 0.01);
                reward.is_some()
            };
            if let Some(log) = changed(&run, index, reward) {
                assert!(verify(&run, &log).is_err(), "{name}: reward of {index}");
            }
            let future = |entry: &mut MinibatchEntry| {
                let sequence = entry.sequence;
                entry.proposed.history = Some(HistoryPosition { sequence, trial: 1 });
                true
            };
            if let Some(log) = changed(&run, index, future) {
                assert!(
                    matches!(verify(&run, &log), Err((_, Discrepancy::History { .. }))),
                    "{name}"
                );
            }
        }
    }
}

#[test]
fn another_scale_or_other_parameters_kept_for_a_minibatch_are_found() {
    let run = asynchronous(StrategyName::REINFORCE, None);
    let scale = |entry: &mut MinibatchEntry| {
        entry.scale = Some(2.0);
        true
    };
    let log = changed(&run, 40, scale).unwrap();
    assert!(matches!(
        verify(&run, &log),
        Err((Some(41), Discrepancy::Scale { .. }))
    ));
    let space = Branching::new();
    let proposed = &run.open[0];
    let held = |parameters: Vec<f32>| {
        [HeldParameters {
            controller: proposed.controller,
            minibatch: proposed.minibatch,
            parameters: parameters.into(),
        }]
    };
    let outcome = |held: &[HeldParameters]| {
        let mut verification = Verification::new(&run.policy, &space, SEED, &run.log, &run.open)
            .unwrap()
            .holding(held);
        while verification.step().unwrap().is_some() {}
        verification.finish()
    };
    let mut replay = Replay::new(&run.policy, &space, run.cuts[0].clone()).unwrap();
    run.log
        .iter()
        .for_each(|entry| replay.apply(entry).unwrap());
    let mut parameters = replay.pulled(0, &proposed.pulled).unwrap().to_vec();
    outcome(&held(parameters.clone())).unwrap();
    parameters[3] += 1e-6;
    assert!(matches!(
        outcome(&held(parameters)),
        Err(Discrepancy::Held { trial }) if trial == proposed.first_id
    ));
}

#[test]
fn a_run_that_stored_no_history_is_verified_as_far_as_its_strategies_need_none() {
    let mut run = asynchronous(StrategyName::REINFORCE, Some(StrategyName::RANDOM));
    for entry in &mut run.log {
        if let LogEntry::Minibatch(entry) = entry {
            entry.proposed.history = None;
        }
    }
    run.open.iter_mut().for_each(|open| open.history = None);
    verify(&run, &run.log).unwrap();
    let decision = |entry: &mut MinibatchEntry| {
        entry.proposed.decisions.swap(0, 1);
        true
    };
    let log = changed(&run, 40, decision).unwrap();
    assert!(matches!(
        verify(&run, &log),
        Err((Some(41), Discrepancy::Decisions { .. }))
    ));
}

/// In a round each replica sees those before it, so that nothing is proposed twice; without that,
/// two controllers coincide now and then.
#[test]
fn a_round_proposes_without_repeats() {
    let lists = |run: &Run| {
        let mut all = Vec::new();
        for entry in &run.log {
            if let LogEntry::Minibatch(entry) = entry {
                all.extend(entry.proposed.decisions.clone());
            }
        }
        let distinct: BTreeSet<String> = all.iter().map(|list| format!("{list:?}")).collect();
        (distinct.len(), all.len())
    };
    let total = Branching::new().lists(LAYERS).len();
    let (distinct, all) = lists(&synchronous(evolution()));
    assert_eq!(distinct, all.min(total), "of {all}");
    let (distinct, all) = lists(&synchronous(StrategyName::RANDOM));
    assert!(distinct < all.min(total), "random search repeats itself");
}

#[test]
fn a_strategy_goes_on_from_the_state_in_a_snapshot() {
    let guided = StrategyName::GUIDED;
    for run in [
        asynchronous(evolution(), None),
        asynchronous_for(110, StrategyName::find("evolution").unwrap(), None),
        asynchronous_for(110, StrategyName::find("local-search").unwrap(), None),
        asynchronous_for(110, guided, None),
    ] {
        goes_on_from_every_cut(&run);
    }
}

fn goes_on_from_every_cut(run: &Run) {
    let space = Branching::new();
    for start in run.cuts.iter().step_by(9) {
        let mut replay = Replay::new(&run.policy, &space, start.clone()).unwrap();
        for entry in &run.log[start.state.sequence as usize..] {
            // What was pulled before the cut is not at hand, so the parameters become others: the
            // state does not depend on them.
            let mut entry = entry.clone();
            if let LogEntry::Minibatch(entry) = &mut entry {
                entry.proposed.pulled.versions = vec![start.state.version];
            }
            replay.apply(&entry).unwrap();
        }
        let last = run.cuts.last().map(|cut| &cut.strategy);
        assert_eq!(Some(&replay.snapshot().strategy), last);
    }
    let mut damaged = run.cuts[9].clone();
    damaged.strategy.truncate(3);
    assert!(Replay::new(&run.policy, &space, damaged).is_err());
}

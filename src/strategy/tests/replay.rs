//! The replay of a log against shards and controllers that really ran it: asynchronous, with stale
//! pulls that differ by shard.

use crate::policy::tests::{Branching, policy, streams};
use crate::policy::{AdamState, Policy, PolicyError, RewardAverages, shard_boundaries};
use crate::random::{Key, Purpose};
use crate::space::Decision;
use crate::strategy::{
    GradientRequest, HeldParameters, LearningSettings, LogEntry, MinibatchEntry, ProposedMinibatch,
    PulledParameters, Replay, ReplayError, RewardedMinibatch, Snapshot, StrategyName,
    initial_snapshot,
};
use rand::RngExt;

const SEED: u64 = 11;
const LEARNING: LearningSettings = LearningSettings {
    strategy: StrategyName::REINFORCE,
    learning_rate: 0.02,
    baseline_decay: 0.8,
    entropy_weight: 0.01,
    accumulate: 3,
    ppo: None,
    advantage_bound: None,
    redraws: false,
    scores: crate::strategy::Scores::Ranks,
};

/// One shard with all its past.
struct Shard {
    state: AdamState,
    versions: Vec<Vec<f32>>,
}

/// A run: what its shards hold, its log, and the cut after every entry.
struct Live {
    policy: Policy,
    shards: Vec<Shard>,
    averages: RewardAverages,
    learning: LearningSettings,
    log: Vec<LogEntry>,
    cuts: Vec<Snapshot>,
}

impl Live {
    fn new(shards: usize) -> Self {
        let policy = policy(&Branching::new(), 6, 0.3);
        let start = initial_snapshot(&policy, SEED, LEARNING);
        let shards = shards_of(&start.state, shards);
        Self {
            policy,
            shards,
            averages: start.averages,
            learning: LEARNING,
            log: Vec::new(),
            cuts: vec![start],
        }
    }

    fn boundaries(&self) -> Vec<usize> {
        shard_boundaries(self.policy.parameter_count(), self.shards.len())
    }

    fn cut(&self) -> Snapshot {
        let states: Vec<AdamState> = self
            .shards
            .iter()
            .map(|shard| shard.state.clone())
            .collect();
        Snapshot {
            state: AdamState::concat(&states),
            averages: self.averages,
            learning: self.learning,
            strategy: Vec::new(),
        }
    }

    /// A controller samples at versions that lag by up to three, shard by shard, trains, and
    /// pushes.
    fn minibatch(&mut self) {
        let sequence = self.shards[0].state.sequence + 1;
        let mut chance = Key {
            seed: SEED,
            minibatch: sequence,
            ..Key::default()
        }
        .stream(Purpose::Backoff);
        let mut parameters = Vec::new();
        let mut versions = Vec::new();
        for shard in &self.shards {
            let lag = chance.random_range(0..4).min(shard.versions.len() - 1);
            let back = shard.versions.len() - 1 - lag;
            parameters.extend_from_slice(&shard.versions[back]);
            versions.push(shard.state.version - lag as u64);
        }
        let layers = 2 + (sequence % 2) as usize;
        let samples = self
            .policy
            .sample(
                &parameters,
                &Branching::new(),
                layers,
                streams(SEED, sequence, 4),
            )
            .unwrap();
        let all_failed = sequence.is_multiple_of(7);
        let reward = |chance: &mut crate::random::Stream| {
            (!all_failed && chance.random::<f64>() < 0.8).then(|| chance.random::<f64>())
        };
        let decisions: Vec<_> = samples.into_iter().map(|sample| sample.decisions).collect();
        let rewards: Vec<_> = decisions.iter().map(|_| reward(&mut chance)).collect();
        let baseline = self.averages.baseline();
        let scale = self.learning.scale(&self.averages);
        let minibatch = RewardedMinibatch {
            sequence,
            layers,
            decisions: &decisions,
            rewards: &rewards,
            baseline,
            scale,
        };
        let request = GradientRequest {
            policy: &self.policy,
            space: &Branching::new(),
            parameters: &parameters,
            learning: &self.learning,
            minibatch,
        };
        let gradient = self.learning.strategy.create().gradient(&request).unwrap();
        for (shard, range) in self
            .shards
            .iter_mut()
            .zip(shard_boundaries(parameters.len(), versions.len()).windows(2))
        {
            let version = shard.state.version;
            shard.state.push(
                sequence,
                &gradient.values[range[0]..range[1]],
                &self.learning.update(),
            );
            if shard.state.version > version {
                shard.versions.push(shard.state.parameters.clone());
            }
        }
        let compared = minibatch.compared(&self.learning);
        self.learning.average(&mut self.averages, &compared);
        let pulled = PulledParameters {
            boundaries: self.boundaries(),
            versions,
        };
        self.log.push(LogEntry::Minibatch(MinibatchEntry {
            sequence,
            proposed: proposed(sequence, layers, pulled, decisions),
            baseline,
            scale,
            rewards,
        }));
        self.cuts.push(self.cut());
    }

    fn change(&mut self, learning: LearningSettings) {
        let sequence = self.shards[0].state.sequence + 1;
        self.shards
            .iter_mut()
            .for_each(|shard| shard.state.skip(sequence));
        self.learning = learning;
        self.log.push(LogEntry::Change { sequence, learning });
        self.cuts.push(self.cut());
    }

    /// The run goes on with another number of shards, which hold no past.
    fn reshard(&mut self, shards: usize) {
        self.shards = shards_of(&self.cut().state, shards);
    }
}

/// As the journal holds it, of a controller of its own.
pub(super) fn proposed(
    sequence: u64,
    layers: usize,
    pulled: PulledParameters,
    decisions: Vec<Vec<Decision>>,
) -> ProposedMinibatch {
    ProposedMinibatch {
        controller: sequence,
        minibatch: 0,
        first_id: 100 * sequence,
        layers,
        pulled,
        history: None,
        round: None,
        decisions,
    }
}

fn shards_of(whole: &AdamState, count: usize) -> Vec<Shard> {
    let boundaries = shard_boundaries(whole.parameters.len(), count);
    let state = |range: &[usize]| whole.slice(range[0]..range[1]);
    boundaries
        .windows(2)
        .map(state)
        .map(|state| Shard {
            versions: vec![state.parameters.clone()],
            state,
        })
        .collect()
}

fn run() -> Live {
    let mut live = Live::new(5);
    (0..20).for_each(|_| live.minibatch());
    live.change(LearningSettings {
        learning_rate: 0.005,
        baseline_decay: 0.9,
        accumulate: 2,
        ..LEARNING
    });
    (0..10).for_each(|_| live.minibatch());
    live.reshard(3);
    (0..10).for_each(|_| live.minibatch());
    live
}

/// A bound that cuts: rewards of this run differ by less than 1.
fn bounded_run() -> Live {
    let mut live = Live::new(4);
    live.change(LearningSettings {
        advantage_bound: Some(0.1),
        ..LEARNING
    });
    (0..30).for_each(|_| live.minibatch());
    live
}

#[test]
fn ends_where_the_run_ended_bit_for_bit_where_advantages_are_bounded() {
    let (live, space) = (bounded_run(), Branching::new());
    let cut = live.log.iter().any(|entry| {
        matches!(entry, LogEntry::Minibatch(entry) if entry.rewarded().compared(&live.learning).cut(&entry.rewards).count() > 0)
    });
    assert!(cut, "no advantage was cut");
    let mut replay = Replay::new(&live.policy, &space, live.cuts[0].clone()).unwrap();
    for (entry, cut) in live.log.iter().zip(&live.cuts[1..]) {
        replay.apply(entry).unwrap();
        assert_eq!(&replay.snapshot(), cut);
    }
}

#[test]
fn ends_where_the_run_ended_bit_for_bit() {
    let live = run();
    let space = Branching::new();
    let stale = |entry: &LogEntry| matches!(entry, LogEntry::Minibatch(entry) if entry.proposed.pulled.versions.iter().any(|v| *v != entry.proposed.pulled.versions[0]));
    assert!(
        live.log.iter().filter(|entry| stale(entry)).count() > 20,
        "the interleaving is not asynchronous"
    );
    let mut replay = Replay::new(
        &live.policy,
        &space,
        initial_snapshot(&live.policy, SEED, LEARNING),
    )
    .unwrap();
    for ((entry, cut), wanted) in live
        .log
        .iter()
        .zip(&live.cuts[1..])
        .zip(Replay::wanted_versions(&live.log))
    {
        replay.forget_before(wanted);
        replay.apply(entry).unwrap();
        assert_eq!(&replay.snapshot(), cut, "after entry {}", entry.sequence());
    }
    let (end, _) = replay.into_parts();
    assert_eq!(
        (end.state.sequence, end.state.pending),
        (41, 1),
        "the remainder of an accumulation is kept"
    );
    assert_ne!(end.state.parameters, live.cuts[0].state.parameters);
}

#[test]
fn goes_on_from_any_cut_that_holds_what_was_pulled_later() {
    let live = run();
    let space = Branching::new();
    let mut continued = 0;
    for start in &live.cuts {
        let after = &live.log[start.state.sequence as usize..];
        let oldest = after.iter().filter_map(|entry| match entry {
            LogEntry::Minibatch(entry) => Some(entry.proposed.pulled.oldest()),
            LogEntry::Change { .. } => None,
        });
        let oldest = oldest.min().unwrap_or(u64::MAX);
        let mut replay = Replay::new(&live.policy, &space, start.clone()).unwrap();
        let result = after.iter().try_for_each(|entry| replay.apply(entry));
        if oldest >= start.state.version {
            result.unwrap();
            assert_eq!(Some(&replay.snapshot()), live.cuts.last());
            continued += 1;
        } else {
            assert!(
                matches!(result, Err(ReplayError::Version { version, .. }) if version < start.state.version)
            );
        }
    }
    // Resharding starts from one version: the cut before it can be continued.
    assert!(continued >= 3, "only {continued} cuts could be continued");
}

#[test]
fn goes_on_from_every_cut_with_what_was_pulled_before_it_at_hand() {
    let live = run();
    let space = Branching::new();
    let mut whole = Replay::new(&live.policy, &space, live.cuts[0].clone()).unwrap();
    let mut all = Vec::new();
    for entry in &live.log {
        if let LogEntry::Minibatch(MinibatchEntry { proposed, .. }) = entry {
            all.push(HeldParameters {
                controller: proposed.controller,
                minibatch: proposed.minibatch,
                parameters: whole.pulled(0, &proposed.pulled).unwrap(),
            });
        }
        whole.apply(entry).unwrap();
    }
    for start in &live.cuts {
        let after = &live.log[start.state.sequence as usize..];
        let pulled_before = |held: &&HeldParameters| {
            after.iter().any(|entry| {
                matches!(entry, LogEntry::Minibatch(entry) if entry.proposed.controller == held.controller
                    && entry.proposed.pulled.oldest() < start.state.version)
            })
        };
        let held: Vec<_> = all.iter().filter(pulled_before).cloned().collect();
        let mut replay = Replay::new(&live.policy, &space, start.clone())
            .unwrap()
            .holding(held);
        for (entry, wanted) in after.iter().zip(replay.versions_to_keep(after)) {
            replay.forget_before(wanted);
            replay.apply(entry).unwrap();
        }
        assert_eq!(Some(&replay.snapshot()), live.cuts.last());
    }
}

#[test]
fn keeps_what_is_wanted_and_releases_the_rest() {
    let live = run();
    let space = Branching::new();
    let mut replay = Replay::new(&live.policy, &space, live.cuts[0].clone()).unwrap();
    live.log
        .iter()
        .take(20)
        .for_each(|entry| replay.apply(entry).unwrap());
    let parameters = live.policy.parameter_count();
    let at = |versions: &[u64]| PulledParameters {
        boundaries: shard_boundaries(parameters, versions.len()),
        versions: versions.to_vec(),
    };
    let mixed = replay.pulled(0, &at(&[2, 5])).unwrap();
    let whole = |version: u64| replay.pulled(0, &at(&[version])).unwrap();
    assert_eq!(mixed[..parameters / 2], whole(2)[..parameters / 2]);
    assert_eq!(mixed[parameters / 2..], whole(5)[parameters / 2..]);
    assert_ne!(whole(2), whole(5));
    replay.forget_before(5);
    assert!(matches!(
        replay.pulled(9, &at(&[2, 5])),
        Err(ReplayError::Version {
            sequence: 9,
            version: 2
        })
    ));
    assert_eq!(
        replay.pulled(0, &at(&[5, 5])).unwrap()[parameters / 2..],
        mixed[parameters / 2..]
    );
    replay.forget_before(u64::MAX);
    assert!(
        replay.pulled(0, &at(&[replay.version()])).is_ok(),
        "the current version is always held"
    );
}

#[test]
fn a_log_that_does_not_fit_is_an_error() {
    let live = run();
    let space = Branching::new();
    let fresh = || Replay::new(&live.policy, &space, live.cuts[0].clone()).unwrap();
    assert!(matches!(
        fresh().apply(&live.log[1]),
        Err(ReplayError::Gap {
            expected: 1,
            found: 2
        })
    ));
    let LogEntry::Minibatch(entry) = &live.log[0] else {
        panic!("the first entry is a minibatch")
    };
    for boundaries in [
        vec![],
        vec![0],
        vec![0, 10],
        vec![0, 10, 5, 20, 30, live.policy.parameter_count()],
    ] {
        let pulled = PulledParameters {
            boundaries,
            versions: entry.proposed.pulled.versions.clone(),
        };
        let mut wrong = entry.clone();
        wrong.proposed.pulled = pulled;
        let result = fresh().apply(&LogEntry::Minibatch(wrong));
        assert!(matches!(
            result,
            Err(ReplayError::Boundaries { sequence: 1, .. })
        ));
    }
    let empty = PulledParameters {
        boundaries: vec![0],
        versions: vec![],
    };
    assert!(matches!(
        fresh().pulled(1, &empty),
        Err(ReplayError::Boundaries { .. })
    ));
    let mut wrong = entry.clone();
    wrong.proposed.decisions = vec![vec![Decision::Choice(9)]];
    wrong.rewards = vec![Some(1.0)];
    let result = fresh().apply(&LogEntry::Minibatch(wrong));
    assert!(matches!(
        result,
        Err(ReplayError::Policy {
            sequence: 1,
            source: PolicyError::Decisions { position: 0 }
        })
    ));
    // A snapshot of another controller network.
    let mut start = live.cuts[0].clone();
    start.state = start.state.slice(0..10);
    let result = Replay::new(&live.policy, &space, start)
        .unwrap()
        .apply(&live.log[0]);
    assert!(matches!(
        result,
        Err(ReplayError::Policy {
            source: PolicyError::Parameters { found: 10, .. },
            ..
        })
    ));
}

#[test]
fn random_search_counts_but_does_not_learn() {
    let policy = policy(&Branching::new(), 6, 0.3);
    let learning = LearningSettings {
        strategy: StrategyName::RANDOM,
        accumulate: 1,
        ..LEARNING
    };
    let start = initial_snapshot(&policy, SEED, learning);
    let space = Branching::new();
    let mut replay = Replay::new(&policy, &space, start.clone()).unwrap();
    let pulled = PulledParameters {
        boundaries: vec![0, policy.parameter_count()],
        versions: vec![0],
    };
    let decisions = vec![space.lists(2)[0].clone()];
    replay
        .apply(&LogEntry::Minibatch(MinibatchEntry {
            sequence: 1,
            proposed: proposed(1, 2, pulled, decisions),
            baseline: None,
            scale: None,
            rewards: vec![Some(0.5)],
        }))
        .unwrap();
    let (end, _) = replay.into_parts();
    assert_eq!(
        (end.state.parameters, end.state.version),
        (start.state.parameters, 1)
    );
    assert_eq!(end.averages.baseline(), Some(0.5));
}

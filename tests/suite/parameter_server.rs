//! The central path at the paper's size, S = 20, K = 100, m = 8 and 12,800 trials, through the
//! convolutional space and the real LSTM, with a closed-form reward behind the evaluators' own
//! trait: every gradient is applied exactly once, and the policy learns.

use super::common::is_alone;
use netwright::actors::{
    Additions, ChildFiles, End, Event, Observer, Parts, Progress, RestartSettings, SearchSettings,
    prepare, search,
};
use netwright::child::{
    Evaluator, FailureRule, Outcome, Progress as ChildProgress, RewardScale, Task,
};
use netwright::journal::Journal;
use netwright::machine::LaneSpec;
use netwright::policy::Policy;
use netwright::space::{Decision, ImageShape, Space, SpaceSettings};
use netwright::strategy::{
    ControllerSettings, LogEntry, ParameterServerSettings, Replay, StrategyName, initial_snapshot,
};
use netwright::telemetry::Metrics;
use std::path::Path;
use std::sync::{Arc, Mutex};

const TRIALS: u64 = 12_800;

/// The mean reward of uniformly random decisions: each choice is right with probability 1/4, each
/// skip with 1/2.
const RANDOM_MEAN: f64 = 0.5 * 0.25 + 0.5 * 0.5;

/// By how much the last 1,000 trials must be better than that.
const MARGIN: f64 = 0.15;

/// The mean of two shares: of choices that take their kind's third option, and of skips that are 0.
fn reward(decisions: &[Decision]) -> f64 {
    let mut right = 0_usize;
    let mut choices = 0_usize;
    let mut absent = 0;
    let mut skips = 0;
    for decision in decisions {
        match decision {
            Decision::Choice(option) => {
                choices += 1;
                right += usize::from(*option == 2);
            }
            Decision::Skips(bits) => {
                skips += bits.len();
                absent += bits.iter().filter(|bit| **bit == 0).count();
            }
        }
    }
    0.5 * right as f64 / choices as f64 + 0.5 * absent as f64 / skips as f64
}

struct ClosedForm;

impl Evaluator for ClosedForm {
    fn evaluate(&mut self, task: &Task, progress: &mut dyn ChildProgress) -> Outcome {
        progress.examples(1);
        let reward = reward(&task.decisions);
        Outcome::Completed {
            reward,
            metric: reward,
            seconds: None,
        }
    }
}

/// Resident memory of this process in bytes, at trial 1,000 and at the last one.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<u64>>>);

impl Observer for Memory {
    fn event(&mut self, event: Event, progress: &Progress) {
        if matches!(event, Event::ChildEnded { .. })
            && [1_000, TRIALS].contains(&progress.completed)
        {
            self.0.lock().unwrap().push(resident_bytes());
        }
    }
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<u64>()
        .unwrap()
        * 1024
}

fn settings() -> SearchSettings {
    SearchSettings {
        seed: 7,
        trials: TRIALS,
        confirm: 0,
        reuse: false,
        advantage_bound: None,
        pruner: None,
        redraws: false,
        controller: ControllerSettings {
            replicas: 100,
            children: 8,
            learning_rate: Some(0.003),
            strategy: StrategyName::REINFORCE.into(),
            ..ControllerSettings::default()
        },
        parameter_server: ParameterServerSettings {
            shards: 20,
            accumulate: 1,
        },
    }
}

fn space() -> Arc<dyn Space> {
    SpaceSettings::default()
        .build(
            ImageShape {
                channels: 3,
                height: 32,
                width: 32,
            },
            10,
        )
        .into()
}

/// Replays the log, which says what the parameters must be. Each shard has exactly these, so each
/// gradient was applied exactly once.
fn replay_everything(dir: &Path) -> (u64, u64) {
    let settings = settings();
    let space = space();
    let policy = Policy::new(space.as_ref(), &settings.controller.network());
    let reader = netwright::journal::Reader::open(dir).unwrap();
    let mut log: Vec<LogEntry> = Vec::new();
    reader.for_each_entry(|entry| log.push(entry)).unwrap();
    let LogEntry::Change { learning, .. } = &log[0] else {
        panic!("the log starts with the learning settings")
    };
    let mut replay = Replay::new(
        &policy,
        space.as_ref(),
        initial_snapshot(&policy, settings.seed, *learning),
    )
    .unwrap();
    let mut stale = 0;
    for entry in &log {
        if let LogEntry::Minibatch(minibatch) = entry {
            let version = replay.version();
            stale += u64::from(
                minibatch
                    .proposed
                    .pulled
                    .versions
                    .iter()
                    .any(|pulled| *pulled < version),
            );
        }
        replay.apply(entry).unwrap();
    }
    let last = reader
        .snapshot_numbers()
        .unwrap()
        .pop()
        .expect("a snapshot at the end");
    let last = reader.snapshot(last).unwrap().expect("a whole snapshot");
    assert_eq!(
        last.state.sequence,
        log.len() as u64,
        "the last snapshot is at the end of the log"
    );
    assert!(
        replay.snapshot() == last,
        "the shards' parameters are not what the log says"
    );
    (log.len() as u64, stale)
}

#[test]
fn twenty_shards_and_a_hundred_controllers_learn_and_lose_nothing() {
    let name = "parameter_server::twenty_shards_and_a_hundred_controllers_learn_and_lose_nothing";
    if !is_alone(name) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (journal, recovered) = Journal::open(dir.path(), &serde_json::json!({}), &[], "").unwrap();
    let prepared = prepare(
        &settings(),
        space(),
        journal,
        recovered,
        Additions::default(),
    )
    .unwrap();
    let memory = Memory::default();
    let lane = |index: usize| LaneSpec {
        device: "cpu".into(),
        name: format!("cpu-{index}"),
        cores: vec![],
        threads: 1,
    };
    let metrics = Arc::new(Metrics::new("t", RewardScale::Any).unwrap());
    let parts = Parts {
        lanes: (0..2).map(lane).collect(),
        factory: Arc::new(|_| Ok(Box::new(ClosedForm))),
        files: ChildFiles::open(dir.path(), 0, [], &Default::default()),
        metrics: metrics.clone(),
        observer: Box::new(memory.clone()),
        attempts: 1,
        failed_reward: FailureRule::SKIP,
        max_seconds: Some(600.0),
        restart: RestartSettings::default(),
        reload: None,
        serving: None,
        page: None,
    };
    assert_eq!(search(prepared, parts, None).unwrap(), End::Finished);

    let reader = netwright::journal::Reader::open(dir.path()).unwrap();
    let rewards = reader.rewards().unwrap();
    assert_eq!(rewards.len() as u64, TRIALS);
    let mean = |rewards: &[f64]| rewards.iter().sum::<f64>() / rewards.len() as f64;
    let first = mean(&rewards[..1000]);
    let last = mean(&rewards[rewards.len() - 1000..]);
    let (entries, stale) = replay_everything(dir.path());
    let memory = memory.0.lock().unwrap().clone();
    println!(
        "mean reward of the first 1,000 trials {first:.3}, of the last {last:.3} (random {RANDOM_MEAN}); \
         {stale} of {entries} gradients were stale; memory {} MB at trial 1,000, {} MB at the end",
        memory[0] >> 20,
        memory[1] >> 20
    );
    assert_eq!(
        entries,
        1 + TRIALS / 8,
        "the settings and one entry for each minibatch"
    );
    assert!(stale > 0, "asynchronous replicas see stale parameters");
    assert!(
        last > RANDOM_MEAN + MARGIN,
        "the policy did not learn: {last} against {RANDOM_MEAN}"
    );
    assert!(memory[1] < memory[0] + (50 << 20), "memory grows");
    let metrics = &metrics.learning;
    assert_eq!(metrics.controller_updates_total.get(), TRIALS / 8);
    assert_eq!(metrics.shard_updates_total.get(), 20 * TRIALS / 8);
    assert_eq!(
        metrics.gradient_staleness_updates.get_sample_count(),
        TRIALS / 8
    );
    assert!(metrics.gradient_staleness_updates.get_sample_sum() > 0.0);
}

//! Whole searches whose strategy reads the history (`test-evolution`), in a process of their own
//! that is killed and started again: they go on with the same numbers, and every proposal is
//! derived again from the log.

use super::*;
use crate::child::{Evaluator, FailureRule, Outcome, Progress as ChildProgress, RewardScale, Task};
use crate::journal::{Journal, Reader, TrialRow};
use crate::machine::LaneSpec;
use crate::policy::Policy;
use crate::space::{
    Decision, DecisionSettings, ImageShape, OptionValue, Space, SpaceKind, SpaceSettings,
};
use crate::strategy::{
    ControllerSettings, Discrepancy, LogEntry, ParameterServerSettings, StrategyName, Verification,
};
use crate::telemetry::Metrics;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Directory, kind, and the trial from which on every child stands still.
const SEARCH: &str = "NETWRIGHT_TEST_SEARCH";

const TRIALS: u64 = 60;

const NEVER: u64 = u64::MAX;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    OneController,
    Synchronous,
    Asynchronous,
}

impl Kind {
    const ALL: [Self; 3] = [Self::OneController, Self::Synchronous, Self::Asynchronous];

    fn find(name: &str) -> Self {
        Self::ALL
            .into_iter()
            .find(|kind| format!("{kind:?}") == name)
            .unwrap()
    }

    fn settings(self) -> SearchSettings {
        let (replicas, children) = match self {
            Self::OneController => (1, 4),
            Self::Synchronous => (3, 2),
            Self::Asynchronous => (4, 2),
        };
        SearchSettings {
            seed: 9,
            trials: TRIALS,
            reuse: false,
            advantage_bound: None,
            controller: ControllerSettings {
                replicas,
                children,
                hidden: 4,
                strategy: StrategyName::find("test-evolution").unwrap(),
                synchronous: self == Self::Synchronous,
                ..ControllerSettings::default()
            },
            parameter_server: ParameterServerSettings {
                shards: 2,
                accumulate: 1,
            },
        }
    }
}

/// 256 networks.
fn space() -> Arc<dyn Space> {
    let decision = |name: &str| DecisionSettings {
        name: name.into(),
        options: (0..4).map(OptionValue::Integer).collect(),
        when: [].into(),
    };
    let settings = SpaceSettings {
        kind: SpaceKind::Choices,
        decision: ["a", "b", "c", "d"].map(decision).into(),
        ..SpaceSettings::default()
    };
    let image = ImageShape {
        channels: 3,
        height: 32,
        width: 32,
    };
    settings.build(image, 10).into()
}

/// The reward is a function of the decisions; every fifth child fails for good.
struct Sum {
    stands_still_at: u64,
}

impl Evaluator for Sum {
    fn evaluate(&mut self, task: &Task, _: &mut dyn ChildProgress) -> Outcome {
        if task.trial >= self.stands_still_at {
            loop {
                std::thread::sleep(Duration::from_hours(1));
            }
        }
        let choice = |decision: &Decision| match decision {
            Decision::Choice(option) => *option as f64,
            Decision::Skips(_) => 0.0,
        };
        let reward = task.decisions.iter().map(choice).sum::<f64>() / 12.0;
        if task.trial.is_multiple_of(5) {
            return Outcome::Failed {
                cause: crate::child::Cause::Diverged,
                error: "diverged".into(),
            };
        }
        Outcome::Completed {
            reward,
            metric: reward,
            seconds: None,
        }
    }
}

struct Silent;

impl Observer for Silent {
    fn event(&mut self, _: Event, _: &Progress) {}
}

/// Starts the search in this directory, or continues it, and ends with it.
fn search_here(dir: &Path, kind: Kind, stands_still_at: u64) {
    let (journal, recovered) = Journal::open(dir, &serde_json::json!({}), &[], "").unwrap();
    let prepared = prepare(&kind.settings(), space(), journal, recovered, Vec::new()).unwrap();
    let lane = |index: usize| LaneSpec {
        device: "cpu".into(),
        name: format!("cpu-{index}"),
        cores: vec![],
        threads: 1,
    };
    let lanes = if kind == Kind::Asynchronous { 2 } else { 1 };
    let parts = Parts {
        lanes: (0..lanes).map(lane).collect(),
        factory: Arc::new(move |_| Ok(Box::new(Sum { stands_still_at }))),
        files: ChildFiles::open(dir, 0, [], &Default::default()),
        metrics: Arc::new(Metrics::new("t", RewardScale::Any).unwrap()),
        observer: Box::new(Silent),
        attempts: 1,
        failed_reward: FailureRule::SKIP,
        max_seconds: None,
        restart: RestartSettings::default(),
        reload: None,
        serving: None,
        page: None,
    };
    assert_eq!(search(prepared, parts, None).unwrap(), End::Finished);
}

/// Nothing by itself: the tests start this program again with it, as a process that they can kill.
#[test]
fn a_search_in_a_process_of_its_own() {
    let Ok(text) = std::env::var(SEARCH) else {
        return;
    };
    let [dir, kind, trial] = text.split('|').collect::<Vec<_>>()[..] else {
        panic!("{text}")
    };
    search_here(Path::new(dir), Kind::find(kind), trial.parse().unwrap());
}

fn start(dir: &Path, kind: Kind, stands_still_at: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "actors::tests::a_search_in_a_process_of_its_own"])
        .env(
            SEARCH,
            format!("{}|{kind:?}|{stands_still_at}", dir.display()),
        )
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

fn is_running(dir: &Path, trial: u64) -> bool {
    let row = Reader::open(dir).and_then(|reader| reader.trial(trial));
    matches!(row, Ok(Some(row)) if row.status == "running")
}

/// Kills the search when it stands still at this trial, and the lanes beside it at later ones.
fn kill_at(dir: &Path, kind: Kind, trial: u64) {
    let mut process = start(dir, kind, trial);
    let started = Instant::now();
    while !is_running(dir, trial) {
        assert_eq!(process.try_wait().unwrap(), None, "it ended before {trial}");
        assert!(started.elapsed() < Duration::from_mins(2), "no {trial}");
        std::thread::sleep(Duration::from_millis(2));
    }
    process.kill().unwrap();
    process.wait().unwrap();
}

/// Controller, decisions, seed, status and reward of a trial.
type Row = (Option<u64>, Vec<Decision>, u64, String, Option<f64>);

fn rows(dir: &Path) -> Vec<Row> {
    let reader = Reader::open(dir).unwrap();
    let row = |id: u64| -> TrialRow { reader.trial(id).unwrap().unwrap() };
    (1..=reader.last_trial().unwrap())
        .map(row)
        .map(|row| {
            (
                row.controller,
                row.decisions,
                row.seed,
                row.status,
                row.reward,
            )
        })
        .collect()
}

fn log(dir: &Path) -> Vec<LogEntry> {
    let mut log = Vec::new();
    let reader = Reader::open(dir).unwrap();
    reader.for_each_entry(|entry| log.push(entry)).unwrap();
    log
}

/// Derives everything again; also that the snapshot at the end is what the log says.
fn verify(dir: &Path, kind: Kind, log: &[LogEntry]) -> Result<(), Discrepancy> {
    let settings = kind.settings();
    let space = space();
    let policy = Policy::new(space.as_ref(), &settings.controller.network());
    let reader = Reader::open(dir).unwrap();
    let open = reader.open_minibatches().unwrap();
    let mut verification = Verification::new(&policy, space.as_ref(), settings.seed, log, &open)?;
    while let Some(sequence) = verification.step()? {
        if reader.snapshot_numbers().unwrap().contains(&sequence) {
            let stored = reader.snapshot(sequence).unwrap();
            assert_eq!(stored, Some(verification.snapshot()), "{kind:?}");
        }
    }
    verification.finish()
}

#[test]
fn a_strategy_that_reads_the_history_is_killed_continued_and_verified() {
    for kind in Kind::ALL {
        let whole = tempfile::tempdir().unwrap();
        let killed = tempfile::tempdir().unwrap();
        assert!(start(whole.path(), kind, NEVER).wait().unwrap().success());
        for trial in [3, 17, 18, 40, 59] {
            kill_at(killed.path(), kind, trial);
            let log = log(killed.path());
            verify(killed.path(), kind, &log).unwrap();
        }
        assert!(start(killed.path(), kind, NEVER).wait().unwrap().success());
        for dir in [whole.path(), killed.path()] {
            let log = log(dir);
            verify(dir, kind, &log).unwrap_or_else(|error| panic!("{kind:?}: {error}"));
            assert_eq!(rows(dir).len() as u64, TRIALS);
        }
        if kind == Kind::Asynchronous {
            continue; // Which controller takes which ticket is up to the machine.
        }
        assert_eq!(rows(whole.path()), rows(killed.path()), "{kind:?}");
        let mut lists: Vec<_> = rows(whole.path()).into_iter().map(|row| row.1).collect();
        lists.sort_by_key(|list| format!("{list:?}"));
        lists.dedup();
        assert_eq!(lists.len() as u64, TRIALS, "{kind:?}: a list came twice");
    }
}

#[test]
fn one_changed_decision_of_a_strategy_that_reads_the_history_is_found() {
    for kind in Kind::ALL {
        let dir = tempfile::tempdir().unwrap();
        search_here(dir.path(), kind, NEVER);
        let mut log = log(dir.path());
        let index = log.len() / 2;
        let LogEntry::Minibatch(entry) = &mut log[index] else {
            panic!("{kind:?}: no minibatch")
        };
        entry.proposed.decisions[0][0] = match entry.proposed.decisions[0][0] {
            Decision::Choice(0) => Decision::Choice(1),
            _ => Decision::Choice(0),
        };
        let trial = entry.proposed.first_id;
        match verify(dir.path(), kind, &log) {
            Err(Discrepancy::Decisions { trial: found, .. }) => assert_eq!(found, trial),
            other => panic!("{kind:?}: {other:?}"),
        }
    }
}

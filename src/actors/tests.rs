//! Whole searches with every strategy, in a process of their own that is killed and started again:
//! they go on with the same numbers, and every proposal is derived again from the log.

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

/// Directory, strategy, kind, and the trial from which on every child stands still.
const SEARCH: &str = "NETWRIGHT_TEST_SEARCH";

const TRIALS: u64 = 60;

const NEVER: u64 = u64::MAX;

/// A strategy that reads the history, in tests alone.
const TEST_EVOLUTION: &str = "test-evolution";

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

    fn settings(self, strategy: &str) -> SearchSettings {
        let (replicas, children) = match self {
            Self::OneController => (1, 4),
            Self::Synchronous => (3, 2),
            Self::Asynchronous => (4, 2),
        };
        SearchSettings {
            seed: 9,
            trials: TRIALS,
            confirm: 0,
            reuse: false,
            advantage_bound: None,
            pruner: None,
            redraws: false,
            controller: ControllerSettings {
                replicas,
                children,
                hidden: 4,
                strategy: StrategyName::find(strategy).unwrap().into(),
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
fn search_here(dir: &Path, strategy: &str, kind: Kind, stands_still_at: u64) {
    let (journal, recovered) = Journal::open(dir, &serde_json::json!({}), &[], "").unwrap();
    let prepared = prepare(
        &kind.settings(strategy),
        space(),
        journal,
        recovered,
        Additions::default(),
    )
    .unwrap();
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
    let [dir, strategy, kind, trial] = text.split('|').collect::<Vec<_>>()[..] else {
        panic!("{text}")
    };
    let trial = trial.parse().unwrap();
    search_here(Path::new(dir), strategy, Kind::find(kind), trial);
}

fn start(dir: &Path, strategy: &str, kind: Kind, stands_still_at: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "actors::tests::a_search_in_a_process_of_its_own"])
        .env(
            SEARCH,
            format!("{}|{strategy}|{kind:?}|{stands_still_at}", dir.display()),
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
fn kill_at(dir: &Path, strategy: &str, kind: Kind, trial: u64) {
    let mut process = start(dir, strategy, kind, trial);
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
fn verify(dir: &Path, strategy: &str, kind: Kind, log: &[LogEntry]) -> Result<(), Discrepancy> {
    let settings = kind.settings(strategy);
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

/// Kills a search at these trials, continues it to its end, and compares it with one that was never
/// killed. Returns the rows of the latter.
fn kill_and_compare(strategy: &str, kind: Kind, trials: &[u64]) -> Vec<Row> {
    let whole = tempfile::tempdir().unwrap();
    let killed = tempfile::tempdir().unwrap();
    let search = |dir: &Path| start(dir, strategy, kind, NEVER).wait().unwrap();
    assert!(search(whole.path()).success());
    for trial in trials {
        kill_at(killed.path(), strategy, kind, *trial);
        let log = log(killed.path());
        verify(killed.path(), strategy, kind, &log).unwrap();
    }
    assert!(search(killed.path()).success());
    for dir in [whole.path(), killed.path()] {
        let log = log(dir);
        verify(dir, strategy, kind, &log)
            .unwrap_or_else(|error| panic!("{strategy}, {kind:?}: {error}"));
        assert_eq!(rows(dir).len() as u64, TRIALS);
    }
    // Which of several controllers takes which ticket is up to the machine.
    if kind != Kind::Asynchronous {
        assert_eq!(
            rows(whole.path()),
            rows(killed.path()),
            "{strategy}, {kind:?}"
        );
    }
    rows(whole.path())
}

fn assert_without_repeats(rows: Vec<Row>, name: &str) {
    let mut lists: Vec<_> = rows.into_iter().map(|row| format!("{:?}", row.1)).collect();
    let count = lists.len();
    lists.sort();
    lists.dedup();
    assert_eq!(lists.len(), count, "{name}: a list came twice");
}

#[test]
fn a_strategy_that_reads_the_history_is_killed_continued_and_verified() {
    for kind in Kind::ALL {
        let rows = kill_and_compare(TEST_EVOLUTION, kind, &[3, 17, 18, 40, 59]);
        if kind != Kind::Asynchronous {
            assert_without_repeats(rows, &format!("{kind:?}"));
        }
    }
}

#[test]
fn every_strategy_is_killed_continued_and_verified() {
    for strategy in StrategyName::ALL {
        for kind in Kind::ALL {
            let rows = kill_and_compare(strategy, kind, &[14, 43]);
            let repeats = ["reinforce", "random"].contains(strategy);
            if !repeats && kind != Kind::Asynchronous {
                // A network whose child failed may come once more.
                let rewarded = rows.into_iter().filter(|row| row.4.is_some()).collect();
                assert_without_repeats(rewarded, &format!("{strategy}, {kind:?}"));
            }
        }
    }
}

#[test]
fn one_changed_decision_of_a_strategy_that_reads_the_history_is_found() {
    for kind in Kind::ALL {
        let dir = tempfile::tempdir().unwrap();
        search_here(dir.path(), TEST_EVOLUTION, kind, NEVER);
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
        match verify(dir.path(), TEST_EVOLUTION, kind, &log) {
            Err(Discrepancy::Decisions { trial: found, .. }) => assert_eq!(found, trial),
            other => panic!("{kind:?}: {other:?}"),
        }
    }
}

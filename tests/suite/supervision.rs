//! Actors that panic, freeze or stop, children that fail, and a child that kills the process: each
//! ends as described, and no trial is lost. Faults are injected into the real program through
//! `NETWRIGHT_FAULT`.

use super::common::{
    Search, assert_same_numbers, assert_verifies, database, events_of, netwright, printed, text,
    trials, wait_until,
};
use netwright::actors::{
    Additions, ChildFiles, End, Event, Observer, Parts, Progress, RestartSettings, SearchSettings,
    prepare, search,
};
use netwright::child::{
    Evaluator, FailureRule, Outcome, Progress as ChildProgress, RewardScale, Task,
};
use netwright::journal::Journal;
use netwright::machine::LaneSpec;
use netwright::space::{ImageShape, SpaceSettings};
use netwright::strategy::{ControllerSettings, ParameterServerSettings};
use netwright::telemetry::Metrics;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;

/// Short pauses before restarts, and a short `freeze_seconds`: still far longer than any step takes
/// on a busy machine.
const QUICK: [&str; 6] = [
    "restart.child_trainer.backoff_first_seconds=0.02",
    "restart.controller.backoff_first_seconds=0.02",
    "restart.parameter_shard.backoff_first_seconds=0.02",
    "restart.child_trainer.freeze_seconds=5",
    "restart.controller.freeze_seconds=5",
    "child.attempts=3",
];

/// Runs a search to its end with this fault and these settings.
fn run(search: &Search, run: &str, fault: &str, set: &[&str]) -> Output {
    let mut command = search.command(run);
    command.args(
        QUICK
            .iter()
            .chain(set)
            .flat_map(|setting| ["--set", setting]),
    );
    command
        .env("NETWRIGHT_FAULT", fault)
        .env_remove("RUST_BACKTRACE")
        .output()
        .unwrap()
}

/// Status, attempt, reward and error of a trial.
fn trial(run: &Path, id: u64) -> (String, u32, Option<f64>, Option<String>) {
    let sql = "SELECT status, attempt, reward, error FROM trials WHERE id = ?1";
    let row = |row: &rusqlite::Row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?));
    database(run).unwrap().query_row(sql, [id], row).unwrap()
}

#[test]
fn fallen_actors_are_rebuilt_and_the_numbers_are_those_of_a_quiet_run() {
    let extra = "[controller]\nreplicas = 1\nchildren = 8\nlearning_rate = 0.01\n[parameter_server]\nshards = 3\naccumulate = 2\n";
    let search = Search::new(320, extra);
    let quiet = run(&search, "quiet", "", &[]);
    assert!(quiet.status.success(), "{}", text(&quiet));
    for (name, fault, event) in [
        ("shard", "shard.panic=24", "parameter shard"),
        (
            "at-the-end",
            "shard.panic=20;shard.panic=41",
            "parameter shard",
        ),
        ("controller", "controller.panic=30", "controller 0 panicked"),
        (
            "frozen-controller",
            "controller.freeze=30",
            "controller 0 froze",
        ),
        (
            "trainer",
            "trainer.panic=100;trainer.panic=101",
            "child trainer",
        ),
        ("frozen-child", "start.freeze=100", "froze"),
        (
            "all",
            "shard.panic=20;controller.panic=20;trainer.panic=170;shard.panic=22;child.error=173",
            "parameter shard",
        ),
    ] {
        let output = run(&search, name, fault, &[]);
        assert!(output.status.success(), "{name}: {}", text(&output));
        let dir = search.run_dir(name);
        let restarts = events_of(&dir, "restart");
        assert!(
            restarts.iter().any(|text| text.contains(event)),
            "{name}: {restarts:?}"
        );
        println!("{name}: the numbers are to be those of the quiet run");
        assert_same_numbers(&dir, &search.run_dir("quiet"));
        assert_verifies(&dir);
    }
}

#[test]
fn many_replicas_lose_no_gradient_when_shards_and_controllers_fall() {
    let extra = "[controller]\nreplicas = 12\nchildren = 4\nlearning_rate = 0.01\n[parameter_server]\nshards = 5\n";
    for (name, synchronous) in [
        ("asynchronous", "controller.synchronous=false"),
        ("synchronous", "controller.synchronous=true"),
    ] {
        let search = Search::new(480, extra);
        let fault =
            "shard.panic=50;shard.panic=51;shard.panic=90*2;controller.panic=3*5;trainer.panic=300";
        let output = run(
            &search,
            name,
            fault,
            &[
                synchronous,
                "restart.controller.max_restarts=9",
                "restart.parameter_shard.max_restarts=9",
            ],
        );
        assert!(output.status.success(), "{name}: {}", text(&output));
        let dir = search.run_dir(name);
        let restarts = events_of(&dir, "restart");
        assert!(restarts.len() >= 9, "{restarts:?}");
        assert!(trials(&dir).iter().all(|trial| trial.3 == "completed"));
        assert_verifies(&dir);
    }
}

#[test]
fn beyond_the_limit_the_run_stops_saved_and_goes_on_when_the_cause_is_gone() {
    let search = Search::new(400, "");
    for (fault, set, reason) in [
        (
            "controller.panic=9*100",
            "restart.controller.max_restarts=2",
            "restart.controller.max_restarts",
        ),
        (
            "shard.panic=30;shard.panic=31;shard.panic=32",
            "restart.parameter_shard.max_restarts=2",
            "restart.parameter_shard.max_restarts",
        ),
        (
            "trainer.panic=333*100",
            "restart.child_trainer.max_restarts=2",
            "no lane is left to train on",
        ),
    ] {
        let output = run(&search, "run", fault, &[set]);
        assert_eq!(output.status.code(), Some(1), "{}", text(&output));
        assert!(text(&output).contains(reason), "{}", text(&output));
    }
    let output = run(&search, "run", "", &[]);
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!(
        trials(&search.run_dir("run"))
            .iter()
            .filter(|trial| trial.3 == "completed")
            .count(),
        400
    );
}

#[test]
fn failures_that_may_pass_are_tried_again_and_others_are_not() {
    let search = Search::new(40, "");
    let fault = "child.error=3*2;child.error=4*9;child.diverge=5;start.panic=6;start.freeze=7*9";
    let output = run(
        &search,
        "run",
        fault,
        &[
            "restart.child_trainer.max_restarts=20",
            "child.failed_reward=-0.5",
        ],
    );
    assert!(output.status.success(), "{}", text(&output));
    let dir = search.run_dir("run");
    let (status, attempt, ..) = trial(&dir, 3);
    assert_eq!((status.as_str(), attempt), ("completed", 2));
    for (id, attempts, reason) in [
        (4, 2, "on purpose"),
        (5, 0, "on purpose"),
        (6, 0, "panicked"),
        (7, 2, "no training step within 5 s"),
    ] {
        let (status, attempt, reward, error) = trial(&dir, id);
        assert_eq!(
            (status.as_str(), attempt, reward),
            ("failed", attempts, Some(-0.5)),
            "trial {id}: {error:?}"
        );
        assert!(
            error.as_ref().is_some_and(|error| error.contains(reason)),
            "trial {id}: {error:?}"
        );
    }
    assert_verifies(&dir);
    let skip = &["child.failed_reward=skip"];
    let skipped = run(&search, "skipped", "child.diverge=5", skip);
    assert!(skipped.status.success());
    assert_eq!(trial(&search.run_dir("skipped"), 5).2, None);
}

#[test]
fn a_panic_in_a_training_step_fails_that_child_alone() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("c.toml");
    let text_of = "[run]\ntrials = 4\n[space]\nlayers = 1\nfilters = [2, 3]\nskip_connections = false\n[controller]\nchildren = 2\n[child]\nepochs = 1\n\
                   [data]\ntrain_size = 128\nvalidation_size = 64\n[telemetry]\nlisten = \"off\"\n";
    std::fs::write(&config, text_of).unwrap();
    let dir = folder.path().join("run");
    let mut command = netwright();
    command
        .arg("search")
        .arg(&config)
        .arg("--run-dir")
        .arg(&dir)
        .env("NETWRIGHT_FAULT", "step.panic=2;step.freeze=3")
        .env_remove("RUST_BACKTRACE");
    let output = command
        .args(["--set", "restart.child_trainer.freeze_seconds=15"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let statuses: Vec<_> = (1..=4).map(|id| trial(&dir, id).0).collect();
    assert_eq!(
        statuses,
        ["completed", "failed", "completed", "completed"],
        "{}",
        text(&output)
    );
    assert!(
        trial(&dir, 3).1 >= 1,
        "its first attempt froze: {}",
        text(&output)
    );
    assert_eq!(
        trial(&dir, 2).3.as_deref(),
        Some("panicked: a fault on purpose in trial 2")
    );
}

#[test]
fn a_child_that_kills_every_process_is_found_out() {
    let search = Search::new(64, "");
    let mut deaths = 0;
    loop {
        let output = run(&search, "run", "child.abort=21*1000", &[]);
        if output.status.success() {
            break;
        }
        assert_eq!(
            output.status.code(),
            None,
            "ended by a signal: {}",
            text(&output)
        );
        deaths += 1;
        assert!(deaths < 40, "the run never ends");
    }
    // The first death may come before it is on disk that the trial runs.
    assert!((23..=24).contains(&deaths), "{deaths}");
    let (status, _, _, error) = trial(&search.run_dir("run"), 21);
    assert_eq!(status, "failed");
    assert!(
        error
            .as_ref()
            .is_some_and(|error| error.contains("processes died while it ran")),
        "{error:?}"
    );
    let others = trials(&search.run_dir("run"));
    assert_eq!(
        others.iter().filter(|trial| trial.3 == "completed").count(),
        63
    );
}

#[test]
fn processes_that_are_killed_from_outside_fail_nobody() {
    let search = Search::new(64, "");
    let dir = search.run_dir("run");
    // Each kill comes while trial 21 is under way. More of them than would fail it if it could have
    // brought them about.
    for _ in 0..26 {
        let output = run(&search, "run", "child.kill=21*1000", &[]);
        assert_eq!(output.status.code(), None, "{}", text(&output));
    }
    let status = printed("status", &dir, &[]);
    let line = status.lines().find(|line| line.starts_with("suspect"));
    let line = line.unwrap_or_else(|| panic!("no suspect in\n{status}"));
    assert!(
        line.contains("trial 21: 2") && line.ends_with("it runs alone, after all others"),
        "{line}"
    );
    let json: serde_json::Value =
        serde_json::from_str(&printed("status", &dir, &["--json"])).unwrap();
    assert_eq!(json["suspects"][0]["trial"], 21);
    assert_eq!(json["suspects"][0]["deaths"], 0);
    assert_eq!(json["suspects"].as_array().unwrap().len(), 1);
    // Its neighbours of the same minibatch went before it.
    let others: Vec<_> = (17..=24)
        .filter(|id| *id != 21)
        .map(|id| trial(&dir, id).0)
        .collect();
    assert!(
        others.iter().all(|status| status == "completed"),
        "{others:?}"
    );
    let quiet = run(&search, "run", "", &[]);
    assert!(quiet.status.success(), "{}", text(&quiet));
    let trials = trials(&dir);
    assert_eq!(trials.len(), 64);
    assert!(
        trials.iter().all(|trial| trial.3 == "completed"),
        "{trials:?}"
    );
    assert!(!printed("status", &dir, &[]).contains("suspect"));
    assert_verifies(&dir);
}

#[test]
fn a_device_fault_that_sticks_is_left_behind_with_the_process() {
    let search = Search::new(60, "");
    let output = run(&search, "run", "child.device=9;child.device=30", &[]);
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!(
        events_of(&search.run_dir("run"), "process restart").len(),
        2
    );
    assert_eq!(
        (
            trial(&search.run_dir("run"), 9).0.as_str(),
            trial(&search.run_dir("run"), 9).1
        ),
        ("completed", 1)
    );
    assert_eq!(trials(&search.run_dir("run")).len(), 60);
    let hopeless = run(
        &search,
        "hopeless",
        "child.device=9*100",
        &["restart.child_trainer.max_restarts=1", "child.attempts=9"],
    );
    assert_eq!(hopeless.status.code(), Some(1), "{}", text(&hopeless));
    assert!(
        text(&hopeless).contains("more than 1 new processes"),
        "{}",
        text(&hopeless)
    );
}

/// Its first child ends only once a device of this run is out of use, so that the lane that works
/// cannot have trained everything before that.
struct AfterTheIsolation {
    run: PathBuf,
}

impl Evaluator for AfterTheIsolation {
    fn evaluate(&mut self, _: &Task, progress: &mut dyn ChildProgress) -> Outcome {
        wait_until("the bad device goes out of use", || {
            progress.examples(1);
            !events_of(&self.run, "isolated").is_empty()
        });
        Outcome::Completed {
            reward: 0.5,
            metric: 0.5,
            seconds: None,
        }
    }
}

struct NoObserver;

impl Observer for NoObserver {
    fn event(&mut self, _: Event, _: &Progress) {}
}

#[test]
fn a_device_that_falls_too_often_goes_out_of_use_and_the_run_goes_on_with_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, recovered) = Journal::open(dir.path(), &serde_json::json!({}), &[], "").unwrap();
    let settings = SearchSettings {
        seed: 1,
        trials: 48,
        confirm: 0,
        reuse: false,
        advantage_bound: None,
        pruner: None,
        redraws: false,
        controller: ControllerSettings {
            replicas: 4,
            children: 4,
            ..ControllerSettings::default()
        },
        parameter_server: ParameterServerSettings {
            shards: 2,
            accumulate: 1,
        },
    };
    let space = SpaceSettings::default()
        .build(
            ImageShape {
                channels: 3,
                height: 32,
                width: 32,
            },
            10,
        )
        .into();
    let prepared = prepare(&settings, space, journal, recovered, Additions::default()).unwrap();
    let lane = |device: &str, index: usize| LaneSpec {
        device: device.into(),
        name: format!("{device}-{index}"),
        cores: vec![],
        threads: 1,
    };
    let mut restart = RestartSettings::default();
    (
        restart.child_trainer.max_restarts,
        restart.child_trainer.backoff_first_seconds,
    ) = (3, 0.01);
    let metrics = Arc::new(Metrics::new("t", RewardScale::Any).unwrap());
    let run = dir.path().to_owned();
    let parts = Parts {
        lanes: vec![lane("bad", 0), lane("good", 0), lane("bad", 1)],
        factory: Arc::new(move |lane| {
            if lane.device == "bad" {
                Err("the device does not answer".into())
            } else {
                Ok(Box::new(AfterTheIsolation { run: run.clone() }))
            }
        }),
        files: ChildFiles::open(dir.path(), 0, [], &Default::default()),
        metrics: metrics.clone(),
        observer: Box::new(NoObserver),
        attempts: 1,
        failed_reward: FailureRule::SKIP,
        max_seconds: Some(600.0),
        restart,
        reload: None,
        serving: None,
        page: None,
    };
    assert_eq!(search(prepared, parts, None).unwrap(), End::Finished);
    assert_eq!(
        metrics
            .actor_restarts_total
            .with_label_values(&["child_trainer"])
            .get(),
        3
    );
    let isolated = events_of(dir.path(), "isolated");
    assert_eq!(isolated.len(), 1, "{isolated:?}");
    // The last fall is told of by the lane, or noticed by who hands it a child.
    let reasons = ["the device does not answer", "its thread is gone"];
    assert!(
        isolated[0].contains("bad is OUT OF USE")
            && reasons.iter().any(|reason| isolated[0].contains(reason)),
        "{isolated:?}"
    );
    assert!(
        trials(dir.path())
            .iter()
            .all(|trial| trial.3 == "completed")
    );
}

//! Programs of every kind of behaviour, written for `sh`: what the evaluator makes of each, and
//! that nothing is left behind.

use super::*;
use crate::child::tests::{network, task as task_of};
use crate::space::{ChoiceNetwork, Network, OptionValue};
use std::cell::Cell;
use std::path::Path;
use std::time::Instant;

/// How long a test waits for what must happen: it only matters where the code is broken.
const LIMIT: Duration = Duration::from_mins(5);

/// Records epochs, and requests a stop after so many of them. Its clock does not depend on the
/// machine: it stands still until the program has written all `ready` files, and from then on each
/// look at it takes a second. Without such files it stands still for good.
struct Log {
    epochs: Vec<Epoch>,
    stop_after: Option<usize>,
    ready: Vec<PathBuf>,
    seconds: Cell<f64>,
    started: Instant,
}

impl Log {
    fn new(stop_after: Option<usize>, ready: Vec<PathBuf>) -> Self {
        Self {
            epochs: Vec::new(),
            stop_after,
            ready,
            seconds: Cell::new(0.0),
            started: Instant::now(),
        }
    }
}

impl Progress for Log {
    fn epoch(&mut self, epoch: Epoch) {
        self.epochs.push(epoch);
    }
    fn examples(&mut self, _: usize) {}
    fn stop_requested(&self) -> bool {
        self.stop_after
            .is_some_and(|epochs| self.epochs.len() >= epochs)
    }
    fn elapsed(&self) -> f64 {
        assert!(self.started.elapsed() < LIMIT, "the program never ends");
        if !self.ready.is_empty() && self.ready.iter().all(|file| file.exists()) {
            self.seconds.set(self.seconds.get() + 1.0);
        }
        self.seconds.get()
    }
}

fn task() -> Task {
    task_of(Network::Conv(network()), 77)
}

/// Runs `sh -c script` as a trial in this run directory.
fn run_in(folder: &Path, script: &str, task: &Task) -> (Outcome, Log) {
    run_with(folder, script, task, Log::new(None, Vec::new()))
}

/// The same with this log, for 3 seconds of its clock at most.
fn run_with(folder: &Path, script: &str, task: &Task, mut log: Log) -> (Outcome, Log) {
    let mut settings = ChildSettings {
        max_seconds: Some(3.0),
        ..ChildSettings::default()
    };
    settings.command.argv = ["sh", "-c", script].map(String::from).to_vec();
    let lane = CommandLane {
        visible_gpus: "3".into(),
        threads: 2,
    };
    let outcome = CommandEvaluator::new(&settings, folder.into(), lane).evaluate(task, &mut log);
    (outcome, log)
}

fn run(script: &str) -> Outcome {
    run_in(tempfile::tempdir().unwrap().path(), script, &task()).0
}

fn failure(outcome: Outcome) -> (Cause, String) {
    match outcome {
        Outcome::Failed { cause, error } => (cause, error),
        other => panic!("{other:?}"),
    }
}

/// True if this process is gone, or dead and not yet reaped by its new parent.
fn is_dead(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    stat.rsplit(')')
        .next()
        .is_none_or(|rest| rest.trim().is_empty() || rest.trim().starts_with('Z'))
}

/// Waits until the process dies whose id this file holds.
fn wait_for_death(file: &Path) {
    let pid = std::fs::read_to_string(file).unwrap();
    let started = Instant::now();
    while !is_dead(&pid) {
        assert!(started.elapsed() < LIMIT, "{} lives on", file.display());
        std::thread::sleep(Duration::from_millis(5));
    }
}

const REWARD: &str = "echo '{\"reward\": 0.5}'\n";

/// Of a child whose metric has to be 0.5 after its second epoch.
fn pruned_task() -> Task {
    use crate::child::{Goal, Pruner, Pruning, PruningRule};
    let rule = PruningRule::Asha {
        min_resource: 2,
        reduction_factor: 2,
    };
    let pruner = Pruner {
        rule,
        goal: Goal::Max,
        epochs: None,
    };
    Task {
        pruning: Some(Pruning {
            pruner,
            thresholds: vec![(2, 0.5).into()],
        }),
        ..task()
    }
}

#[test]
fn a_pruned_program_gets_sigterm_and_is_worth_what_its_last_epoch_says() {
    let folder = tempfile::tempdir().unwrap();
    let script = "trap 'echo ended > told; exit 0' TERM\n\
        echo '{\"epoch\": 1, \"metric\": 0.1, \"reward\": 9}'\n\
        echo '{\"epoch\": 2, \"metric\": 0.4, \"reward\": -3}'\n\
        while :; do sleep 0.01; done";
    let script = format!("cd {}\n{script}", folder.path().display());
    let (outcome, log) = run_in(folder.path(), &script, &pruned_task());
    let pruned = |reward| Outcome::Pruned {
        epoch: 2,
        reward,
        metric: Some(0.4),
        seconds: None,
    };
    assert_eq!((outcome, log.epochs.len()), (pruned(Some(-3.0)), 2));
    assert!(folder.path().join("told").exists());
    // What it prints after the epoch that prunes it does not count, however quick it is.
    let script = "echo '{\"epoch\": 1, \"metric\": 0.1}'; echo '{\"epoch\": 2, \"metric\": 0.4}'; echo '{\"epoch\": 3, \"metric\": 1}'; echo '{\"reward\": 1}'";
    let folder = tempfile::tempdir().unwrap();
    let (outcome, log) = run_in(folder.path(), script, &pruned_task());
    assert_eq!((outcome, log.epochs.len()), (pruned(None), 2));
    let good = script.replace("0.4", "0.5");
    let (outcome, _) = run_in(folder.path(), &good, &pruned_task());
    assert!(
        matches!(outcome, Outcome::Completed { reward: 1.0, .. }),
        "{outcome:?}"
    );
}

#[test]
fn epochs_and_reward_are_heard_and_nothing_is_left_of_a_program_that_keeps_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let script = "for i in 1 2 3; do echo \"{\\\"epoch\\\": $i, \\\"metric\\\": 0.$i, \\\"train_loss\\\": 2}\"; done; printf '{\"reward\": -7.5}'";
    let (outcome, log) = run_in(folder.path(), script, &task());
    assert_eq!(
        outcome,
        Outcome::Completed {
            reward: -7.5,
            metric: 0.3,
            seconds: None
        }
    );
    let heard: Vec<_> = log
        .epochs
        .iter()
        .map(|epoch| (epoch.epoch, epoch.metric, epoch.train_loss))
        .collect();
    assert_eq!(
        heard,
        [
            (1, 0.1, Some(2.0)),
            (2, 0.2, Some(2.0)),
            (3, 0.3, Some(2.0))
        ]
    );
    for folder in ["checkpoints", "log"].map(|name| folder.path().join(name)) {
        assert_eq!(std::fs::read_dir(folder).unwrap().count(), 0);
    }
}

#[test]
fn a_program_knows_its_architecture_trial_seed_gpu_threads_and_checkpoint_directory() {
    let folder = tempfile::tempdir().unwrap();
    let script = "cd \"$NETWRIGHT_CHECKPOINT_DIR\"; pwd; cat > stdin; printf %s \"$NETWRIGHT_ARCHITECTURE\" > variable; \
                  echo $NETWRIGHT_TRIAL $NETWRIGHT_ATTEMPT $NETWRIGHT_SEED $CUDA_VISIBLE_DEVICES $OMP_NUM_THREADS > rest; ";
    let again = Task {
        attempt: 1,
        ..task()
    };
    let (outcome, _) = run_in(
        folder.path(),
        &format!("{}{REWARD}", script.replace("pwd;", "")),
        &again,
    );
    assert!(matches!(outcome, Outcome::Completed { .. }), "{outcome:?}");
    let read = |name: &str| {
        std::fs::read_to_string(folder.path().join("checkpoints/trial-1").join(name)).unwrap()
    };
    let json = serde_json::to_string(&task().architecture).unwrap();
    assert_eq!(
        [read("stdin"), read("variable"), read("architecture.json")],
        [&json, &json, &json].map(String::clone)
    );
    let threads = std::env::var("OMP_NUM_THREADS").unwrap_or_else(|_| "2".into());
    assert_eq!(read("rest"), format!("1 2 77 3 {threads}\n"));
}

#[test]
fn a_large_architecture_is_handed_over_as_a_file_and_may_stay_unread() {
    let folder = tempfile::tempdir().unwrap();
    let values = (0..20_000)
        .map(|index| (format!("decision {index}"), OptionValue::Integer(index)))
        .collect();
    let large = task_of(Network::Choices(ChoiceNetwork { values }), 1);
    let script = format!("cmp \"$NETWRIGHT_ARCHITECTURE\" - && {REWARD}");
    assert!(matches!(
        run_in(folder.path(), &script, &large).0,
        Outcome::Completed { .. }
    ));
    assert!(matches!(
        run_in(folder.path(), REWARD, &large).0,
        Outcome::Completed { .. }
    ));
}

#[test]
fn each_way_to_fail_has_its_cause_and_says_what_happened() {
    let cases = [
        (
            "exit 3",
            Cause::Exited,
            "the command ended with exit code 3",
        ),
        (
            "echo one >&2; echo last words >&2; exit 1",
            Cause::Exited,
            "exit code 1; log/trial-1.log ends: last words",
        ),
        (
            "echo '{\"reward\": 1}'; exit 9",
            Cause::Exited,
            "exit code 9",
        ),
        (
            "kill -9 $$",
            Cause::Killed,
            "the command was killed by SIGKILL (out of memory?",
        ),
        ("kill -11 $$", Cause::Killed, "killed by SIGSEGV"),
        (
            "echo Epoch 1",
            Cause::Protocol,
            "line 1 on stdout, `Epoch 1`, is neither",
        ),
        (
            "echo '{\"epoch\": 1, \"metric\": 1}'; echo oops; sleep 60",
            Cause::Protocol,
            "line 2 on stdout, `oops`, is neither",
        ),
        (
            "printf '\\377\\376\\n'",
            Cause::Protocol,
            "line 1 on stdout",
        ),
        (
            "true",
            Cause::Protocol,
            "printed nothing on stdout and no reward",
        ),
        (
            "echo '{\"reward\": NaN}'",
            Cause::Diverged,
            "line 1 on stdout: the reward is not a finite number",
        ),
        (
            "head -c 3000000 /dev/zero | tr '\\0' x",
            Cause::Protocol,
            "line 1 on stdout, `xxx",
        ),
    ];
    for (script, expected, words) in cases {
        let (cause, error) = failure(run(script));
        assert_eq!(cause, expected, "{script}: {error}");
        assert!(
            error.contains(words) && error.len() < 400,
            "{script}: {error}"
        );
    }
}

#[test]
fn a_program_that_is_not_there_fails_its_trial_alone() {
    let mut settings = ChildSettings::default();
    settings.command.argv = vec!["./no-such-program".into()];
    let lane = CommandLane {
        visible_gpus: String::new(),
        threads: 1,
    };
    let folder = tempfile::tempdir().unwrap();
    let mut log = Log::new(None, Vec::new());
    let outcome =
        CommandEvaluator::new(&settings, folder.path().into(), lane).evaluate(&task(), &mut log);
    let (cause, error) = failure(outcome);
    assert_eq!(cause, Cause::Error);
    assert!(
        error.starts_with("./no-such-program: cannot be started: No such file"),
        "{error}"
    );
}

#[test]
fn a_grandchild_that_holds_stdout_open_delays_nothing_and_dies() {
    let folder = tempfile::tempdir().unwrap();
    // It never ends by itself.
    let script = format!(
        "sh -c 'trap \"\" TERM; while :; do sleep 1; done' & echo $! > \"$NETWRIGHT_CHECKPOINT_DIR/pid\"; {REWARD}"
    );
    let (outcome, _) = run_in(folder.path(), &script, &task());
    assert!(matches!(outcome, Outcome::Completed { .. }), "{outcome:?}");
    wait_for_death(&folder.path().join("checkpoints/trial-1/pid"));
}

#[test]
fn what_left_the_process_group_may_end_in_order_and_dies_if_it_does_not() {
    let folder = tempfile::tempdir().unwrap();
    // Forked twice, in a session of its own. What it starts when it is asked to end may finish its
    // work, and it goes on; from then on the clock runs.
    let daemon =
        "trap \"sleep 0.1; touch asked\" TERM; echo $$ > pid; while :; do sleep 0.02; done";
    let script = format!(
        "cd \"$NETWRIGHT_CHECKPOINT_DIR\"; (setsid sh -c '{daemon}' > /dev/null 2>&1 &); \
         while [ ! -s pid ]; do sleep 0.01; done; {REWARD}"
    );
    let directory = folder.path().join("checkpoints/trial-1");
    let log = Log::new(None, vec![directory.join("asked")]);
    let (outcome, _) = run_with(folder.path(), &script, &task(), log);
    assert!(matches!(outcome, Outcome::Completed { .. }), "{outcome:?}");
    let pid = std::fs::read_to_string(directory.join("pid")).unwrap();
    assert!(is_dead(&pid), "it is gone before the trial has its outcome");
    assert!(directory.join("asked").exists());
}

#[test]
fn a_descendant_without_an_environment_is_known_by_its_parents_and_no_other_trial_ends_it() {
    let folder = tempfile::tempdir().unwrap();
    let directory = |trial: u64| folder.path().join(format!("checkpoints/trial-{trial}"));
    let script = format!(
        "cd '{}'; env -i setsid sleep 1000 & echo $! > pid; wait",
        folder.path().display()
    );
    let mut program = Command::new("sh").args(["-c", &script]).spawn().unwrap();
    let id = rustix::process::Pid::from_raw(program.id().cast_signed()).unwrap();
    let mut own = Descendants::of(&directory(1));
    let started = Instant::now();
    // Until the sleep has taken the place of `env` and `setsid`.
    let pid = loop {
        assert!(started.elapsed() < LIMIT);
        let pid = std::fs::read_to_string(folder.path().join("pid")).unwrap_or_default();
        let name = std::fs::read_to_string(format!("/proc/{}/comm", pid.trim()));
        if name.is_ok_and(|name| name.trim() == "sleep") {
            break pid;
        }
    };
    own.look(id);
    program.kill().unwrap();
    program.wait().unwrap();
    assert!(Descendants::of(&directory(2)).kill() && !is_dead(&pid));
    assert!(!own.ask_to_end(id));
    wait_for_death(&folder.path().join("pid"));
    assert!(own.kill(), "none is left");
}

#[test]
fn a_program_and_a_grandchild_that_ignore_sigterm_die_when_the_time_is_over() {
    let folder = tempfile::tempdir().unwrap();
    let script = "cd \"$NETWRIGHT_CHECKPOINT_DIR\"; trap '' TERM; sleep 1000 & echo $! > pid; echo $$ > own; touch ready; \
                  while :; do sleep 1; done";
    let directory = folder.path().join("checkpoints/trial-1");
    let log = Log::new(None, vec![directory.join("ready")]);
    let (outcome, _) = run_with(folder.path(), script, &task(), log);
    let (cause, error) = failure(outcome);
    assert_eq!(cause, Cause::Timeout);
    // A shell that sees its child killed before it is itself may say so in its log.
    assert!(
        error.starts_with("the command did not end within 3 seconds (child.max_seconds)"),
        "{error}"
    );
    for name in ["pid", "own"] {
        wait_for_death(&directory.join(name));
    }
}

#[test]
fn a_stopped_program_may_save_and_goes_on_in_the_same_directory() {
    let folder = tempfile::tempdir().unwrap();
    let script = "cd \"$NETWRIGHT_CHECKPOINT_DIR\"; n=$(cat saved 2>/dev/null || echo 0); trap 'echo $n > saved; exit 0' TERM; \
                  [ -f saved ] || { n=1; echo '{\"epoch\": 1, \"metric\": 0}'; while :; do sleep 0.05; done; }; \
                  echo \"{\\\"reward\\\": $n}\"";
    let log = Log::new(Some(1), Vec::new());
    let (outcome, log) = run_with(folder.path(), script, &task(), log);
    assert_eq!((outcome, log.epochs.len()), (Outcome::Stopped, 1));
    let (outcome, _) = run_in(folder.path(), script, &task());
    assert_eq!(
        outcome,
        Outcome::Completed {
            reward: 1.0,
            metric: 1.0,
            seconds: None
        }
    );
}

#[cfg(target_os = "linux")]
#[test]
fn what_an_earlier_process_left_at_work_is_killed_before_the_trial_runs_again() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = folder.path().join("checkpoints/trial-1");
    std::fs::create_dir_all(&checkpoints).unwrap();
    let start = |folder: &Path| {
        Command::new("sleep")
            .arg("1000")
            .env(trial_files::CHECKPOINT_DIR, folder)
            .spawn()
            .unwrap()
    };
    let mut left = start(&checkpoints);
    let mut other = start(&folder.path().join("checkpoints/trial-11"));
    let (outcome, _) = run_in(folder.path(), REWARD, &task());
    assert!(matches!(outcome, Outcome::Completed { .. }));
    assert!(!left.wait().unwrap().success());
    assert!(
        other.try_wait().unwrap().is_none(),
        "another trial's program is none of its business"
    );
    other.kill().unwrap();
    other.wait().unwrap();
}

#[test]
fn a_later_attempt_writes_below_the_first_ones_log() {
    let folder = tempfile::tempdir().unwrap();
    for attempt in 0..2 {
        run_in(
            folder.path(),
            "echo no luck >&2; exit 1",
            &Task { attempt, ..task() },
        );
    }
    let log = std::fs::read_to_string(folder.path().join("log/trial-1.log")).unwrap();
    assert_eq!(log, "no luck\n--- started again, attempt 2 ---\nno luck\n");
}

#[test]
fn a_program_that_cannot_run_is_told_before_anything_starts() {
    let problem = |argv: &[&str]| {
        program_problem(
            &argv
                .iter()
                .map(|text| (*text).to_owned())
                .collect::<Vec<_>>(),
        )
    };
    assert_eq!(problem(&["sh", "-c", "true"]), None);
    assert!(
        problem(&["no-such-program"])
            .unwrap()
            .starts_with("there is no program no-such-program on the PATH")
    );
    assert!(
        problem(&["./no/such"])
            .unwrap()
            .starts_with("there is no file ./no/such")
    );
    assert!(
        problem(&["sh", "train.sh"])
            .unwrap()
            .starts_with("there is no file train.sh for sh to run")
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    assert_eq!(problem(&["sh", path]), None);
    assert!(
        problem(&[path])
            .unwrap()
            .contains("is not executable: chmod +x")
    );
}

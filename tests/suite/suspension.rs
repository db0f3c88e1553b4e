//! A search that is suspended (SIGSTOP, as a batch system or `docker pause` does) and goes on: for
//! its children, its actors and its budgets the time in between has not passed.

use super::common::{Running, Search, count, database, events_of, netwright, trials, wait_until};
use rustix::process::Signal;
use std::process::Command;
use std::time::Duration;

/// Every limit of the search, in seconds: long for what the search does, even on a busy machine.
const LIMIT: u64 = 6;

/// A letter: how the kernel calls what the process does.
fn state(process: &Running) -> String {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.id())).unwrap();
    stat.rsplit(") ").next().unwrap()[..1].to_owned()
}

/// Suspends the process for longer than every limit; `meanwhile` is called while it stands still.
fn suspend(process: &Running, meanwhile: impl FnOnce()) {
    process.signal(Signal::STOP);
    wait_until("the process stands still", || state(process) == "T");
    std::thread::sleep(Duration::from_secs(LIMIT + 1));
    meanwhile();
    process.signal(Signal::CONT);
}

fn sets(command: &mut Command, keys: &[&str]) {
    for key in keys {
        command.args(["--set", &format!("{key}={LIMIT}")]);
    }
}

#[test]
fn a_script_a_frozen_lane_and_the_run_have_the_time_that_they_had() {
    let folder = tempfile::tempdir().unwrap();
    let script = "touch ready; while [ ! -e go ]; do sleep 0.02; done; echo '{\"reward\": 1}'\n";
    std::fs::write(folder.path().join("train.sh"), script).unwrap();
    let config = "[run]\nname = \"t\"\ntrials = 2\n[telemetry]\nlisten = \"off\"\n[space]\nkind = \"choices\"\n\
                  decision = [{ name = \"a\", options = [1, 2] }]\n[controller]\nchildren = 2\n[devices]\nlanes_per_device = 2\n\
                  [child]\nevaluator = \"command\"\nattempts = 1\ncommand.argv = [\"sh\", \"train.sh\"]\n";
    std::fs::write(folder.path().join("search.toml"), config).unwrap();
    let mut command = netwright();
    command.current_dir(folder.path());
    command.args(["search", "search.toml", "--run-dir", "run"]);
    let limits = [
        "child.max_seconds",
        "run.max_seconds",
        "restart.child_trainer.freeze_seconds",
        "restart.controller.freeze_seconds",
        "restart.parameter_shard.freeze_seconds",
    ];
    sets(&mut command, &limits);
    // Trial 2 makes no step until the gate opens: its lane would be taken for frozen.
    command.env("NETWRIGHT_FAULT", "start.pause=2@go");
    let mut process = Running::start_silent(&mut command);
    let run = folder.path().join("run");
    wait_until("both children are under way", || {
        let running = "SELECT count(*) FROM trials WHERE status = 'running'";
        folder.path().join("ready").exists()
            && database(&run).is_some()
            && count(&run, running) == 2
    });
    suspend(&process, || {
        std::fs::write(folder.path().join("go"), "").unwrap();
    });
    assert_eq!(process.wait().code(), Some(0));
    let trials = trials(&run);
    assert!(
        trials.len() == 2 && trials.iter().all(|trial| trial.3 == "completed"),
        "{trials:?}"
    );
    for kind in ["restart", "stop"] {
        assert_eq!(events_of(&run, kind), Vec::<String>::new());
    }
    let seconds = format!("SELECT count(*) FROM trials WHERE seconds > {LIMIT}");
    assert_eq!(count(&run, &seconds), 0, "a suspension is no work");
}

#[test]
fn budgets_still_end_what_runs_too_long() {
    let search = Search::new(4, "");
    let mut command = search.command("run");
    command.args(["--set", "run.max_seconds=1"]);
    command.env("NETWRIGHT_FAULT", "start.hold=2");
    let mut process = Running::start_silent(&mut command);
    process.wait();
    let run = search.run_dir("run");
    assert!(events_of(&run, "stop")[0].contains("run.max_seconds is over"));
}

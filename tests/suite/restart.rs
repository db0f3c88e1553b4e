//! A run that is killed, stopped or started twice: nothing is lost, nothing counts twice, and the
//! numbers stay the same.

use super::common::{Search, finished, last_snapshot, trials};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const TRIALS: u64 = 2_000;

fn spawn(mut command: Command) -> Child {
    command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Waits until the run has this many outcomes, or the process has ended.
fn wait_for(search: &Search, run: &str, process: &mut Child, outcomes: u64) {
    let started = Instant::now();
    while finished(&search.run_dir(run)) < outcomes && process.try_wait().unwrap().is_none() {
        assert!(
            started.elapsed() < Duration::from_mins(2),
            "the search does not get to {outcomes} outcomes"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn signal(process: &Child, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(process.id().try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

/// Runs to the end, killed (kill -9) whenever a next share of the trials is there; returns how
/// often it was killed.
fn run_killed(search: &Search, run: &str) -> usize {
    let mut kills = 0;
    for target in [40, 333, 700, 1_111, 1_900] {
        let mut process = spawn(search.command(run));
        wait_for(search, run, &mut process, target);
        if process.try_wait().unwrap().is_none() {
            process.kill().unwrap();
            kills += 1;
        }
        process.wait().unwrap();
    }
    assert!(search.command(run).output().unwrap().status.success());
    kills
}

fn assert_whole(search: &Search, run: &str) {
    let trials = trials(&search.run_dir(run));
    assert_eq!(trials.len() as u64, TRIALS);
    for (expected, trial) in (1..).zip(&trials) {
        assert_eq!((trial.0, trial.3.as_str()), (expected, "completed"));
    }
}

#[test]
fn killed_runs_with_one_controller_end_in_the_same_numbers() {
    let search = Search::new(
        TRIALS,
        "[controller]\nreplicas = 1\nchildren = 8\nlearning_rate = 0.01\n",
    );
    assert!(search.command("whole").output().unwrap().status.success());
    let kills = run_killed(&search, "killed");
    assert!(kills >= 3, "only {kills} of 5 kills came before the end");
    assert_whole(&search, "whole");
    assert_eq!(
        trials(&search.run_dir("whole")),
        trials(&search.run_dir("killed"))
    );
    assert!(
        last_snapshot(&search.run_dir("whole")) == last_snapshot(&search.run_dir("killed")),
        "the controller's parameters differ"
    );
}

#[test]
fn killed_synchronous_runs_with_several_controllers_end_in_the_same_numbers() {
    let extra = "[controller]\nreplicas = 3\nchildren = 4\nlearning_rate = 0.01\nsynchronous = true\n[parameter_server]\nshards = 4\naccumulate = 2\n";
    let search = Search::new(TRIALS, extra);
    assert!(search.command("whole").output().unwrap().status.success());
    run_killed(&search, "killed");
    assert_whole(&search, "whole");
    assert_eq!(
        trials(&search.run_dir("whole")),
        trials(&search.run_dir("killed"))
    );
    assert!(
        last_snapshot(&search.run_dir("whole")) == last_snapshot(&search.run_dir("killed")),
        "the controller's parameters differ"
    );
}

#[test]
fn killed_asynchronous_runs_still_say_what_the_parameters_must_be() {
    let search = Search::new(
        TRIALS,
        "[controller]\nreplicas = 5\nchildren = 4\n[parameter_server]\nshards = 3\n",
    );
    run_killed(&search, "run");
    assert_whole(&search, "run");
    let verified = super::common::netwright()
        .arg("verify")
        .arg(search.run_dir("run"))
        .output()
        .unwrap();
    assert!(
        verified.status.success(),
        "{}",
        String::from_utf8_lossy(&verified.stdout)
    );
}

#[test]
fn a_signal_saves_and_gives_its_exit_code_and_the_same_command_goes_on() {
    for (number, code) in [
        (rustix::process::Signal::TERM, 143),
        (rustix::process::Signal::INT, 130),
    ] {
        let search = Search::new(200_000, "");
        let mut process = spawn(search.command("run"));
        wait_for(&search, "run", &mut process, 50);
        signal(&process, number);
        let asked = Instant::now();
        assert_eq!(process.wait().unwrap().code(), Some(code));
        assert!(asked.elapsed() < Duration::from_secs(10));
        let before = trials(&search.run_dir("run"));
        let output = search
            .command("run")
            .args(["--set", &format!("run.trials={}", before.len() + 20)])
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let after = trials(&search.run_dir("run"));
        assert_eq!(after.len(), before.len() + 20);
        let completed = before.iter().filter(|trial| trial.3 == "completed");
        assert!(completed.clone().count() >= 50);
        for trial in completed {
            assert_eq!(trial, &after[trial.0 as usize - 1]);
        }
    }
}

#[test]
fn a_second_process_on_the_same_run_is_refused_and_names_the_first() {
    let search = Search::new(200_000, "");
    let mut first = spawn(search.command("run"));
    wait_for(&search, "run", &mut first, 10);
    let second = search.command("run").output().unwrap();
    let message = String::from_utf8_lossy(&second.stderr).into_owned();
    first.kill().unwrap();
    let pid = first.id().to_string();
    first.wait().unwrap();
    assert!(!second.status.success());
    assert!(message.contains(&format!("process {pid}")), "{message}");
}

#[test]
fn a_changed_space_is_refused_with_the_difference_and_fresh_moves_the_run_aside() {
    let search = Search::new(20, "");
    assert!(search.command("run").output().unwrap().status.success());
    let before = trials(&search.run_dir("run"));
    let refused = search
        .command("run")
        .args(["--set", "run.seed=4"])
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        String::from_utf8_lossy(&refused.stderr).contains("run.seed"),
        "{}",
        String::from_utf8_lossy(&refused.stderr)
    );
    assert_eq!(trials(&search.run_dir("run")), before);
    assert!(
        search
            .command("run")
            .args(["--set", "run.seed=4", "--fresh"])
            .output()
            .unwrap()
            .status
            .success()
    );
    assert_ne!(trials(&search.run_dir("run")), before);
    assert_eq!(trials(&search.run_dir("run.1")), before);
}

#[test]
fn a_larger_number_of_trials_and_other_shards_continue_a_finished_run() {
    let search = Search::new(100, "");
    assert!(search.command("run").output().unwrap().status.success());
    let more = [
        "--set",
        "run.trials=203",
        "--set",
        "parameter_server.shards=7",
        "--set",
        "controller.learning_rate=0.02",
    ];
    assert!(
        search
            .command("run")
            .args(more)
            .output()
            .unwrap()
            .status
            .success()
    );
    assert_eq!(trials(&search.run_dir("run")).len(), 203);
    assert!(
        super::common::netwright()
            .arg("verify")
            .arg(search.run_dir("run"))
            .output()
            .unwrap()
            .status
            .success()
    );
}

//! A run that is killed, stopped or started twice: nothing is lost, nothing counts twice, and the
//! numbers stay the same.

use super::common::{
    ENDLESS, Running, Search, assert_same_numbers, assert_verifies, finished, killed_at, refused,
    stderr, succeeds, text, trials, wait_until,
};
use rustix::process::Signal;

const TRIALS: u64 = 2_000;

/// Runs a search to its end; the process is killed five times on the way.
fn run_killed(search: &Search, run: &str) {
    for trial in [40, 333, 700, 1_111, 1_900] {
        killed_at(search.command(run), trial);
    }
    succeeds(&mut search.command(run));
}

/// Starts a search and waits until it has at least this many outcomes.
fn start(search: &Search, outcomes: u64) -> Running {
    let mut process = Running::start_silent(&mut search.command("run"));
    wait_until("the outcomes", || {
        assert!(!process.has_ended(), "the search has ended");
        finished(&search.run_dir("run")) >= outcomes
    });
    process
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
    succeeds(&mut search.command("whole"));
    run_killed(&search, "killed");
    assert_whole(&search, "whole");
    assert_same_numbers(&search.run_dir("whole"), &search.run_dir("killed"));
}

#[test]
fn killed_synchronous_runs_with_several_controllers_end_in_the_same_numbers() {
    let extra = "[controller]\nreplicas = 3\nchildren = 4\nlearning_rate = 0.01\nsynchronous = true\n[parameter_server]\nshards = 4\naccumulate = 2\n";
    let search = Search::new(TRIALS, extra);
    succeeds(&mut search.command("whole"));
    run_killed(&search, "killed");
    assert_whole(&search, "whole");
    assert_same_numbers(&search.run_dir("whole"), &search.run_dir("killed"));
}

#[test]
fn killed_asynchronous_runs_still_say_what_the_parameters_must_be() {
    let search = Search::new(
        TRIALS,
        "[controller]\nreplicas = 5\nchildren = 4\n[parameter_server]\nshards = 3\n",
    );
    run_killed(&search, "run");
    assert_whole(&search, "run");
    assert_verifies(&search.run_dir("run"));
}

#[test]
fn a_signal_saves_and_gives_its_exit_code_and_the_same_command_goes_on() {
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let search = Search::new(ENDLESS, "");
        let run = search.run_dir("run");
        let mut process = start(&search, 50);
        process.signal(signal);
        assert_eq!(process.wait().code(), Some(code));
        let before = trials(&run);
        let more = format!("run.trials={}", before.len() + 20);
        succeeds(search.command("run").args(["--set", &more]));
        let after = trials(&run);
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
    let search = Search::new(ENDLESS, "");
    let first = start(&search, 10);
    let second = search.command("run").output().unwrap();
    assert_eq!(second.status.code(), Some(1), "{}", text(&second));
    let pid = format!("process {}", first.id());
    assert!(stderr(&second).contains(&pid), "{}", text(&second));
}

#[test]
fn a_changed_space_is_refused_with_the_difference_and_fresh_moves_the_run_aside() {
    let search = Search::new(20, "");
    let run = search.run_dir("run");
    succeeds(&mut search.command("run"));
    let before = trials(&run);
    let other_seed = ["--set", "run.seed=4"];
    let message = refused(search.command("run").args(other_seed));
    assert!(message.contains("run.seed"), "{message}");
    assert_eq!(trials(&run), before);
    succeeds(search.command("run").args(other_seed).arg("--fresh"));
    assert_ne!(trials(&run), before);
    assert_eq!(trials(&search.run_dir("run.1")), before);
}

#[test]
fn a_larger_number_of_trials_and_other_shards_continue_a_finished_run() {
    let search = Search::new(100, "");
    succeeds(&mut search.command("run"));
    succeeds(search.command("run").args([
        "--set",
        "run.trials=203",
        "--set",
        "parameter_server.shards=7",
        "--set",
        "controller.learning_rate=0.02",
    ]));
    assert_eq!(trials(&search.run_dir("run")).len(), 203);
    assert_verifies(&search.run_dir("run"));
}

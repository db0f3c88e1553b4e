//! `netwright compare`: several strategies at the same budget. Whatever interrupts it, the same
//! command goes on, and what it says is what the runs hold.

use super::common::{
    Running, Search, assert_verifies, count, finished, netwright, refused, stdout, succeeds,
    wait_until,
};
use rustix::process::Signal;
use serde_json::Value;
use std::path::Path;
use std::process::Command;

const EXTRA: &str =
    "[controller]\nstrategy = \"guided\"\nchildren = 4\nhidden = 8\nppo_epochs = 2\n";

fn compare(search: &Search, more: &[&str]) -> Command {
    let mut command = netwright();
    command
        .arg("compare")
        .arg(search.folder.path().join("search.toml"))
        .args(["--strategies", "random,evolution", "--repeats", "2"])
        .arg("--run-dir")
        .arg(search.run_dir("all"))
        .args(more);
    command
}

fn runs(search: &Search) -> Vec<std::path::PathBuf> {
    ["random-1", "random-2", "evolution-1", "evolution-2"]
        .map(|name| search.run_dir("all").join(name))
        .to_vec()
}

fn best(run: &Path) -> f64 {
    let reader = rusqlite::Connection::open(run.join("search.db")).unwrap();
    let sql = "SELECT max(reward) FROM trials";
    reader.query_row(sql, [], |row| row.get(0)).unwrap()
}

#[test]
fn killed_in_between_it_goes_on_and_reports_what_the_runs_hold() {
    let search = Search::new(20, EXTRA);
    let mut killed = compare(&search, &[]);
    let output = killed
        .env("NETWRIGHT_FAULT", "child.kill=7")
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(
        message.contains("random-1: its search ended with"),
        "{message}"
    );
    let text = succeeds(&mut compare(&search, &["--json"]));
    let json: Value = serde_json::from_str(&text).unwrap();
    for (index, run) in runs(&search).iter().enumerate() {
        assert_eq!(finished(run), 20);
        assert_verifies(run);
        let found = &json["strategies"][index / 2]["best"][index % 2];
        assert_eq!(found.as_f64(), Some(best(run)));
    }
    let seeds = |run: &Path| count(run, "SELECT seed FROM trials WHERE id = 1");
    let all = runs(&search);
    assert_eq!(seeds(&all[0]), seeds(&all[2]), "repeats are paired");
    assert_ne!(seeds(&all[0]), seeds(&all[1]));
    let difference = &json["differences"][0];
    assert_eq!(
        (&difference["strategy"], &difference["minus"]),
        (&Value::from("random"), &Value::from("evolution"))
    );
    let expected = (best(&all[0]) + best(&all[1]) - best(&all[2]) - best(&all[3])) / 2.0;
    assert!((difference["mean"].as_f64().unwrap() - expected).abs() < 1e-12);
    let file = |name: &str| std::fs::read_to_string(search.run_dir("all").join(name)).unwrap();
    assert!(file("curves.csv").starts_with("trial,random,evolution\n1,"));
    assert!(file("curves.svg").contains(">evolution<"));
    let text = stdout(&compare(&search, &[]).output().unwrap());
    for part in [
        "best reward",
        "random − evolution",
        "mean of top 15",
        "curves.svg",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

/// A config may have keys of its own strategy and of every strategy that is compared, but of no
/// other.
#[test]
fn keys_of_the_other_strategies_are_passed_over() {
    let of = |strategy: &str| {
        let extra = format!(
            "[controller]\nstrategy = \"{strategy}\"\nchildren = 4\nhidden = 8\nppo_epochs = 2\nlearning_rate = 0.01\n"
        );
        let search = Search::new(8, &extra);
        let mut command = netwright();
        command.arg("compare");
        command.arg(search.folder.path().join("search.toml"));
        command.args(["--repeats", "1", "--run-dir"]);
        command.arg(search.run_dir("all"));
        (search, command)
    };
    let (search, mut command) = of("random");
    succeeds(command.args(["--strategies", "random,ppo"]));
    for (run, has) in [("random-1", false), ("ppo-1", true)] {
        let config = search.run_dir("all").join(run).join("config.toml");
        let text = std::fs::read_to_string(config).unwrap();
        assert_eq!(text.contains("ppo_epochs = 2"), has, "{text}");
        assert_eq!(text.contains("learning_rate = 0.01"), has, "{text}");
    }
    let (_evolution, mut command) = of("evolution");
    let message = refused(command.args(["--strategies", "random,reinforce"]));
    assert!(
        message.contains(
            "controller.ppo_epochs = 2: has no effect with controller.strategy = \"evolution\""
        ),
        "{message}"
    );
    assert!(!message.contains("learning_rate"), "{message}");
    let (search, _) = of("random");
    let message = refused(&mut search.command("run"));
    assert!(
        message.contains(
            "controller.ppo_epochs = 2: has no effect with controller.strategy = \"random\""
        ) && message.contains("controller.learning_rate = 0.01: has no effect"),
        "{message}"
    );
}

#[test]
fn a_signal_ends_it_saved() {
    let search = Search::new(super::common::ENDLESS, EXTRA);
    let mut process = Running::start(&mut compare(&search, &[]));
    let first = &runs(&search)[0];
    wait_until("a trial of the first search", || finished(first) > 0);
    process.signal(Signal::TERM);
    assert_eq!(process.wait().code(), Some(143));
    assert_eq!(
        count(first, "SELECT value = 'yes' FROM meta WHERE key = 'closed'"),
        1
    );
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let search = Search::new(4, EXTRA);
    let message = refused(
        netwright()
            .arg("compare")
            .arg(search.folder.path().join("search.toml"))
            .args(["--strategies", "guided,telepathy"]),
    );
    assert!(
        message.contains(
            "--strategies telepathy: there is no such strategy; there are auto, reinforce, ppo"
        ),
        "{message}"
    );
    let message = refused(
        netwright()
            .arg("compare")
            .arg(search.folder.path().join("search.toml"))
            .args(["--strategies", "ppo,ppo"]),
    );
    assert!(message.contains("names ppo twice"), "{message}");
}

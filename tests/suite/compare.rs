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

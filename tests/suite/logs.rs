//! What a search writes to its log: for people and as JSON, one line a trial, the actors' lives,
//! and never a progress bar.

use super::common::{Running, Search, finished, stderr, stdout, text};
use serde_json::Value;
use std::process::{Output, Stdio};

const TRIALS: u64 = 30;

fn run(arguments: &[&str]) -> (Search, Output, String) {
    let search = Search::new(TRIALS, "[controller]\nreplicas = 2\nchildren = 4\n");
    let output = search.command("run").args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let log = std::fs::read_to_string(search.run_dir("run").join("log/search.log")).unwrap();
    (search, output, log)
}

/// Colours, cursor movements and the blocks of a bar.
fn assert_plain(text: &str) {
    assert!(!text.contains(['\u{1b}', '\r', '█', '░']), "{text}");
}

#[test]
fn the_log_for_people_has_one_line_a_trial_and_the_actors_lives_with_reasons() {
    let (_search, output, log) = run(&[]);
    assert_eq!(
        log.lines()
            .filter(|line| line.contains("INFO trial completed"))
            .count() as u64,
        TRIALS,
        "{log}"
    );
    for trial in 1..=TRIALS {
        assert_eq!(
            log.matches(&format!(" trial={trial} ")).count(),
            1,
            "trial {trial}\n{log}"
        );
    }
    for life in [
        "actors started",
        "lane cpu-0 on cpu is ready",
        "controller retires: nothing is left to sample",
        "the search has ended: Finished",
    ] {
        assert!(log.contains(life), "{life} is missing from\n{log}");
    }
    assert_plain(&log);
    assert_plain(&stdout(&output));
    assert_eq!(
        stderr(&output),
        "",
        "without a warning, standard error is empty"
    );
}

#[test]
fn json_lines_go_to_the_log_and_to_standard_error_and_each_is_an_object() {
    let (_search, output, log) = run(&[
        "--log-format",
        "json",
        "--set",
        "telemetry.listen=0.0.0.0:0",
    ]);
    let errors = stderr(&output);
    for text in [&log, &errors] {
        let lines: Vec<Value> = text
            .lines()
            .map(|line| {
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
            })
            .collect();
        let named = |name: &str| {
            lines
                .iter()
                .filter(|line| line["message"] == name)
                .cloned()
                .collect::<Vec<_>>()
        };
        let completed = named("trial completed");
        let mut trials: Vec<u64> = completed
            .iter()
            .map(|line| line["trial"].as_u64().unwrap())
            .collect();
        trials.sort_unstable();
        assert_eq!(trials, (1..=TRIALS).collect::<Vec<_>>());
        assert!(completed.iter().all(|line| line["level"] == "INFO"
            && line["reward"].is_f64()
            && line["timestamp"].is_string()));
        assert!(lines.iter().any(|line| line["level"] == "WARN"
            && line["message"].as_str().unwrap().contains("no password")));
    }
    let printed = stdout(&output);
    assert!(
        !printed.contains("children/h"),
        "no progress beside the log: {printed}"
    );
    assert!(
        printed.contains("rank") && printed.contains("the run:"),
        "the result is still printed: {printed}"
    );
    assert_plain(&printed);
}

#[test]
fn whoever_stops_reading_a_search_does_not_end_it() {
    let search = Search::new(TRIALS, "");
    let mut process = Running::start(search.command("run").stdout(Stdio::piped()));
    drop(process.take_stdout());
    assert!(process.wait().success());
    assert_eq!(finished(&search.run_dir("run")), TRIALS);
}

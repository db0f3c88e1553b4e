//! The files that outlive a search: trials.csv without a doubled or lost row whatever happened to
//! the process, and the charts.

use super::common::{ENDLESS, Running, Search, finished, printed, succeeds, trials, wait_until};
use std::collections::BTreeSet;
use std::path::Path;

/// Ids and rewards of the rows of trials.csv.
fn rows(run: &Path) -> Vec<(u64, String)> {
    let mut reader = csv::Reader::from_path(run.join("report/trials.csv")).unwrap();
    let headers = reader.headers().unwrap().clone();
    assert_eq!(
        (&headers[0], &headers[6], &headers[7], headers.len()),
        ("id", "status", "reward", 22)
    );
    reader
        .records()
        .map(|row| {
            row.map(|row| (row[0].parse().unwrap(), row[7].to_owned()))
                .unwrap()
        })
        .collect()
}

fn assert_whole(run: &Path) {
    let rows = rows(run);
    let trials = trials(run);
    let expected: BTreeSet<(u64, String)> = trials
        .iter()
        .filter(|trial| trial.3 == "completed")
        .map(|trial| {
            (
                trial.0,
                serde_json::Value::from(trial.4.unwrap()).to_string(),
            )
        })
        .collect();
    assert_eq!(rows.len(), expected.len(), "rows are doubled or missing");
    assert_eq!(rows.into_iter().collect::<BTreeSet<_>>(), expected);
}

#[test]
fn trials_csv_grows_during_the_run_and_is_whole_after_a_kill() {
    let search = Search::new(ENDLESS, "");
    let run = search.run_dir("run");
    let mut process = Running::start_silent(&mut search.command("run"));
    let lines = || {
        std::fs::read_to_string(run.join("report/trials.csv"))
            .map_or(0, |text| text.lines().count())
    };
    for _ in 0..2 {
        let before = lines().max(2);
        wait_until("trials.csv grows", || lines() > before);
    }
    process.kill();
    let trials = finished(&run) + 200;
    // As if the machine had gone down in the middle of a line.
    let text = std::fs::read_to_string(run.join("report/trials.csv")).unwrap();
    std::fs::write(
        run.join("report/trials.csv"),
        &text[..text.len() - text.len().min(30)],
    )
    .unwrap();
    let more = format!("run.trials={trials}");
    succeeds(search.command("run").args(["--set", &more]));
    assert!(rows(&run).len() as u64 >= trials);
    assert_whole(&run);
}

#[test]
fn the_charts_are_there_at_the_end_and_report_writes_all_files_again() {
    let search = Search::new(40, "");
    let run = search.run_dir("run");
    succeeds(&mut search.command("run"));
    assert_whole(&run);
    let chart = std::fs::read_to_string(run.join("report/reward.svg")).unwrap();
    assert!(
        chart.starts_with("<svg xmlns=") && chart.contains("reward over 40 trials: best"),
        "{chart}"
    );
    std::fs::remove_dir_all(run.join("report")).unwrap();
    let files: serde_json::Value =
        serde_json::from_str(&printed("report", &run, &["--json"])).unwrap();
    assert_eq!(files["files"].as_array().unwrap().len(), 5, "{files}");
    let read = |name: &str| std::fs::read_to_string(run.join("report").join(name)).unwrap();
    // The space has four decisions.
    let importance = read("importance.svg");
    assert_eq!(
        importance.matches("class=\"bar\"").count(),
        4,
        "{importance}"
    );
    assert!(
        importance.starts_with("<svg xmlns=")
            && importance.contains("by a random forest fitted to 40 of 40 trials"),
        "{importance}"
    );
    let best = read("best-tenth.svg");
    assert_eq!(best.matches("class=\"way").count(), 4, "{best}");
    assert!(
        best.contains("best tenth of the trials decided: 4 of 4"),
        "{best}"
    );
    let choices = read("choices.svg");
    assert_eq!(choices.matches("class=\"heading\"").count(), 4, "{choices}");
    assert_eq!(
        std::fs::read_to_string(run.join("report/reward.svg")).unwrap(),
        chart
    );
    assert_whole(&run);
    // The same values as `top --csv` writes, but for the order inside the architecture's JSON.
    let top = printed("top", &run, &["-n", "1", "--csv"]);
    let values = |row: csv::StringRecord| -> Vec<String> {
        row.iter()
            .enumerate()
            .filter(|(column, _)| *column != 5)
            .map(|(_, value)| value.to_owned())
            .collect()
    };
    let best = values(
        csv::Reader::from_reader(top.as_bytes())
            .records()
            .next()
            .unwrap()
            .unwrap(),
    );
    let mut all = csv::Reader::from_path(run.join("report/trials.csv")).unwrap();
    assert!(
        all.records().any(|row| values(row.unwrap()) == best),
        "{best:?}"
    );
}

//! The files that outlive a search: trials.csv without a doubled or lost row whatever happened to
//! the process, the charts, and the report as one file.

use super::common::{
    ENDLESS, Running, Search, events_of, finished, netwright, printed, succeeds, trials, wait_until,
};
use serde_json::json;
use std::collections::BTreeSet;
use std::path::Path;

/// Ids and rewards of the rows of trials.csv.
fn rows(run: &Path) -> Vec<(u64, String)> {
    let mut reader = csv::Reader::from_path(run.join("report/trials.csv")).unwrap();
    let headers = reader.headers().unwrap().clone();
    assert_eq!(
        (&headers[0], &headers[6], &headers[7], headers.len()),
        ("id", "status", "reward", 25)
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
    let page = std::fs::read_to_string(run.join("report/index.html")).unwrap();
    std::fs::remove_dir_all(run.join("report")).unwrap();
    let files: serde_json::Value =
        serde_json::from_str(&printed("report", &run, &["--json"])).unwrap();
    assert_eq!(files["files"].as_array().unwrap().len(), 6, "{files}");
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
        read("index.html"),
        page,
        "the search's own report is another one"
    );
    assert_stands_alone(&page);
    // A table: nothing is trained, so nothing can be retrained.
    assert!(
        page.contains("Nothing was trained: the rewards stand in") && !page.contains("Retraining")
    );
    let names = std::fs::read_dir(run.join("report")).unwrap();
    let partial = |name: &str| name.ends_with(".partial");
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(!names.into_iter().any(|name| partial(&name)));
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

/// Panics unless the file needs no other one, and its links lead to what is in it.
fn assert_stands_alone(page: &str) {
    let inside = page.replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
    for outside in [
        "http:", "https:", " src=", "url(", "@import", "<script", "{{",
    ] {
        assert!(!inside.contains(outside), "{outside} in {page}");
    }
    let links = page.split(" href=\"").skip(1);
    let links: BTreeSet<&str> = links.map(|link| link.split('"').next().unwrap()).collect();
    for link in links {
        let target = link
            .strip_prefix('#')
            .unwrap_or_else(|| panic!("{link} leads elsewhere"));
        assert_eq!(
            page.matches(&format!(" id=\"{target}\"")).count(),
            1,
            "{link}"
        );
    }
}

/// A search of six small networks on built-in images, in `run`.
fn images(folder: &Path) {
    let config = "[run]\nname = \"<six>\"\ntrials = 6\n[space]\nlayers = 3\nfilters = [4, 8]\nfilter_height = [3]\nfilter_width = [1, 3]\n\
                  stride_height = [2]\nstride_width = [2]\n[controller]\nchildren = 3\n[child]\nepochs = 3\nbatch_size = 16\n\
                  [data]\nkind = \"builtin\"\ntrain_size = 64\nvalidation_size = 32\naugment = false\n[telemetry]\nlisten = \"off\"\n";
    std::fs::write(folder.join("search.toml"), config).unwrap();
    let mut search = netwright();
    search
        .current_dir(folder)
        .args(["search", "search.toml", "--run-dir", "run"]);
    succeeds(&mut search);
}

#[test]
fn one_file_tells_what_was_found_and_what_its_numbers_mean() {
    let folder = tempfile::tempdir().unwrap();
    images(folder.path());
    let run = folder.path().join("run");
    let page = std::fs::read_to_string(run.join("report/index.html")).unwrap();
    assert_stands_alone(&page);
    let machine = concat!("netwright ", env!("CARGO_PKG_VERSION"), " on ");
    for part in [
        "&lt;six&gt;",
        "finished</span>",
        "<strong>6</strong> of 6 trials",
        "The best network <small>trial ",
        ">average over pixels, softmax</text>",
        "validation accuracy by epoch",
        "reward over 6 trials: best",
        "rank</th>",
        "64 for training, 32 for validation, 10 classes. The program draws the images",
        "trained for 3 epochs in batches of 16",
        "The metric to the power 3;",
        "No network of this run was retrained",
        machine,
        "cpu-0 on cpu",
        "reward_exponent = 3.0",
    ] {
        assert!(page.contains(part), "{part} is missing from {page}");
    }
    // Each of the six has its drawing.
    assert_eq!(page.matches("class=\"architecture\"").count(), 6);
    // The same machine and data are noted once.
    let more = [
        "search",
        "search.toml",
        "--run-dir",
        "run",
        "--set",
        "run.trials=7",
    ];
    succeeds(netwright().current_dir(folder.path()).args(more));
    for kind in ["machine", "data"] {
        assert_eq!(events_of(&run, kind).len(), 1, "{kind}");
    }
}

#[test]
fn a_retraining_below_the_run_is_told_in_its_report() {
    let folder = tempfile::tempdir().unwrap();
    images(folder.path());
    let run = folder.path().join("run");
    let other = Search::new(4, "");
    let retraining = run.join("retrain-2");
    let config = other.folder.path().join("search.toml");
    let mut search = netwright();
    search.arg("search").arg(config).arg("--run-dir");
    succeeds(search.arg(&retraining));
    let evaluation = json!({
        "network": "trial 2", "search_trial": 2, "chosen_trial": 1, "chosen": [["weight decay", "0.0005"]],
        "validation": 0.5, "unit": "accuracy", "trial": 4, "epochs": 9, "training_examples": 96, "weights_sha256": "ab12",
        "test": { "kind": "images", "images": 40, "correct": 30, "error": 0.25, "confusion": [[18, 2], [8, 12]], "classes": [
            { "name": "cat", "images": 20, "correct": 18, "accuracy": 0.9 }, { "name": "dog", "images": 20, "correct": 12, "accuracy": 0.6 }] },
        "test_set": "40 images",
    });
    let insert = "INSERT INTO meta (key, value) VALUES ('final_evaluation', ?1)";
    let database = rusqlite::Connection::open(retraining.join("search.db")).unwrap();
    database.execute(insert, [evaluation.to_string()]).unwrap();
    printed("report", &run, &[]);
    let page = std::fs::read_to_string(run.join("report/index.html")).unwrap();
    for part in [
        "trial 2, in <code>retrain-2</code>",
        "<dt>Test error</dt><dd>25.00%",
        "60.0% of 20",
        "<td class=\"heat-4\">8</td>",
        "<dt>weight decay</dt><dd>0.0005",
    ] {
        assert!(page.contains(part), "{part} is missing from {page}");
    }
    assert_stands_alone(&page);
}

//! A run that starts from another one: its best networks are evaluated first (`[[enqueue]] run`), its
//! controller's parameters are the first ones (`controller.from_run`). Both are copied, so that the
//! other run may go.

use super::common::{
    Search, assert_verifies, count, killed_at, last_snapshot, netwright, printed, refused, rows,
    succeeds, text, trials,
};
use serde_json::Value;
use std::path::Path;
use std::process::Command;

const CONTROLLER: &str = "[controller]\nchildren = 8\nlearning_rate = 0.02\n";

fn command(search: &Search, run: &str, set: &[&str]) -> Command {
    let mut command = search.command(run);
    command.current_dir(search.folder.path());
    for key in set {
        command.args(["--set", key]);
    }
    command
}

/// Name and network of each enqueued trial.
fn enqueued(run: &Path) -> Vec<(String, String)> {
    let sql = "SELECT enqueued, architecture FROM trials WHERE enqueued IS NOT NULL ORDER BY id";
    rows(run, sql)
}

#[test]
fn the_best_networks_of_another_run_are_evaluated_first_and_it_may_go() {
    let search = Search::new(80, CONTROLLER);
    succeeds(&mut command(&search, "earlier", &[]));
    let earlier = search.run_dir("earlier");
    let best: Vec<Value> =
        serde_json::from_str(&printed("top", &earlier, &["-n", "3", "--json"])).unwrap();
    let entry =
        "enqueue=[{ run = 'earlier', top = 3 }, { name = 'low', decisions = [0, 0, 0, 0] }]";
    let output = succeeds(&mut command(&search, "without", &["run.seed=4"]));
    assert!(!output.contains("enqueued"), "{output}");
    killed_at(command(&search, "run", &[entry, "run.seed=4"]), 2);
    std::fs::rename(&earlier, search.run_dir("elsewhere")).unwrap();
    let output = succeeds(&mut command(&search, "run", &[entry, "run.seed=4"]));
    assert!(
        output.contains(
            "first, before sampling starts: earlier 1, earlier 2, earlier 3, low (enqueued; "
        ),
        "{output}"
    );
    let run = search.run_dir("run");
    let found = enqueued(&run);
    for ((name, architecture), (rank, row)) in found.iter().zip((1..).zip(&best)) {
        assert_eq!(name, &format!("earlier {rank}"));
        let architecture: Value = serde_json::from_str(architecture).unwrap();
        assert_eq!(architecture, row["architecture"]);
    }
    assert_eq!((found.len(), found[3].0.as_str()), (4, "low"));
    // They teach nothing.
    assert!(last_snapshot(&run) == last_snapshot(&search.run_dir("without")));
    let decisions = |run: &Path, from: usize| -> Vec<String> {
        let rows = trials(run).into_iter().skip(from);
        rows.map(|row| row.1).collect()
    };
    assert_eq!(decisions(&run, 4), decisions(&search.run_dir("without"), 0));
    assert_verifies(&run);
    let copied = "SELECT count(*) FROM copies WHERE key = 'enqueue[1]' AND origin = 'the best 3 of earlier' AND length(hash) = 64";
    assert_eq!(count(&run, copied), 1);
    // Others are read anew, and that run is not there.
    let other = entry.replace("top = 3", "top = 2");
    let message = refused(&mut command(&search, "run", &[&other, "run.seed=4"]));
    assert!(
        message.contains("--set: enqueue[1].run (\"earlier\"): earlier: there is no run here"),
        "{message}"
    );
}

#[test]
fn a_controller_begins_as_that_of_another_run() {
    let search = Search::new(400, CONTROLLER);
    succeeds(&mut command(&search, "earlier", &[]));
    let set = ["controller.from_run=earlier", "run.trials=40", "run.seed=4"];
    let [run, without] = ["run", "without"].map(|run| search.run_dir(run));
    succeeds(&mut command(&search, "without", &set[1..]));
    killed_at(command(&search, "run", &set), 20);
    std::fs::rename(search.run_dir("earlier"), search.run_dir("elsewhere")).unwrap();
    succeeds(&mut command(&search, "run", &set));
    assert_verifies(&run);
    let mean = |run: &Path| {
        let rewards: Vec<f64> = trials(run)[..16]
            .iter()
            .filter_map(|trial| trial.4)
            .collect();
        rewards.iter().sum::<f64>() / rewards.len() as f64
    };
    assert!(
        mean(&run) > mean(&without) + 0.05,
        "{} is no better than {}",
        mean(&run),
        mean(&without)
    );
    // The run belongs to these parameters.
    let message = refused(&mut command(&search, "run", &set[1..]));
    assert!(message.contains("controller.from_run"), "{message}");
    let writer = rusqlite::Connection::open(run.join("search.db")).unwrap();
    writer
        .execute("UPDATE copies SET data = zeroblob(length(data))", [])
        .unwrap();
    let output = command(&search, "run", &set).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(
        text(&output).contains("what was copied for controller.from_run (earlier, up to sequence number 51) is not what it was"),
        "{}",
        text(&output)
    );
    writer.execute("DELETE FROM copies", []).unwrap();
    let output = netwright().arg("verify").arg(&run).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
}

#[test]
fn a_surrogate_knows_the_trials_of_another_run_or_of_a_file() {
    let search = Search::new(
        100,
        "[controller]\nchildren = 4\nhidden = 8\nstrategy = \"random\"\n",
    );
    succeeds(&mut command(&search, "earlier", &[]));
    let short = ["controller.strategy=guided", "run.trials=12", "run.seed=4"];
    let start = |run: &str, from: &str| {
        let key = format!("controller.surrogate_from={from}");
        command(&search, run, &[short[0], short[1], short[2], &key])
    };
    succeeds(&mut command(&search, "without", &short));
    succeeds(&mut start("whole", "earlier"));
    succeeds(&mut start("file", "earlier/report/trials.csv"));
    killed_at(start("killed", "earlier"), 7);
    std::fs::rename(search.run_dir("earlier"), search.run_dir("elsewhere")).unwrap();
    succeeds(&mut start("killed", "earlier"));
    let [without, whole, file, killed] =
        ["without", "whole", "file", "killed"].map(|run| search.run_dir(run));
    assert_eq!(trials(&whole), trials(&killed));
    let mean = |run: &Path| {
        let rewards: Vec<f64> = trials(run).iter().filter_map(|trial| trial.4).collect();
        rewards.iter().sum::<f64>() / rewards.len() as f64
    };
    for run in [&whole, &file] {
        let (with, without) = (mean(run), mean(&without));
        assert!(with > without + 0.1, "{with} is no better than {without}");
    }
    for run in [&whole, &file, &killed] {
        assert_verifies(run);
    }
    let writer = rusqlite::Connection::open(whole.join("search.db")).unwrap();
    writer.execute("DELETE FROM copies", []).unwrap();
    let output = netwright().arg("verify").arg(&whole).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
}

#[test]
fn what_cannot_be_taken_is_refused() {
    let search = Search::new(16, CONTROLLER);
    succeeds(&mut command(&search, "earlier", &[]));
    for (set, part) in [
        (
            &["controller.from_run=earlier", "controller.hidden=8"][..],
            "controller.from_run = \"earlier\": its controller is for another space or of another size:\n  controller.hidden: 35 there, 8 here",
        ),
        (
            &[
                "controller.surrogate_from=nowhere",
                "controller.strategy=guided",
            ],
            "controller.surrogate_from = \"nowhere\": there is no run and no file of this name",
        ),
        (
            &[
                "controller.surrogate_from=table.csv",
                "controller.strategy=guided",
            ],
            "the file has no column decisions",
        ),
        (
            &["controller.from_run=nowhere"],
            "controller.from_run = \"nowhere\": nowhere: there is no run here",
        ),
        (
            &[
                "controller.from_run=earlier",
                "controller.strategy=evolution",
                "controller.learning_rate=0.1",
            ],
            "controller.from_run = earlier: has no effect with controller.strategy = \"evolution\"",
        ),
        (
            &["enqueue=[{ run = 'nowhere', top = 2 }]"],
            "there is no run here",
        ),
        (
            &["enqueue=[{ run = 'earlier', top = 0 }]"],
            "enqueue[1].top: must be 1 to 1000",
        ),
        (
            &["enqueue=[{ decisions = [0, 0, 0, 0], top = 2 }]"],
            "enqueue[1].top: has an effect beside run",
        ),
        (
            &[
                "enqueue=[{ run = 'earlier', top = 2 }, { name = 'earlier 2', decisions = [0, 0, 0, 0] }]",
            ],
            "another entry is called \"earlier 2\" too: give this one a name",
        ),
    ] {
        let message = refused(&mut command(&search, "run", set));
        assert!(message.contains(part), "{set:?}: {message}");
    }
    assert!(!search.run_dir("run").exists());
}

//! `run.keep_weights`: the trained weights of the best children lie in the run, whatever interrupts
//! it, and no others.

use super::common::{
    Running, assert_same_numbers, count, database, finished, netwright, succeeds, wait_until,
};
use netwright::child::TrainedNetwork;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// `netwright search` for tiny networks on a few built-in images, one lane.
fn command(folder: &Path, run: &str) -> Command {
    let config = "[run]\nname = \"t\"\ntrials = 8\nkeep_weights = 3\n[space]\nlayers = 1\nfilters = [2, 4]\nfilter_height = [1, 3]\n\
                  filter_width = [1, 3]\nstride_height = [4]\nstride_width = [4]\n[controller]\nchildren = 4\nsynchronous = true\n\
                  [child]\nepochs = 2\nbatch_size = 16\n[data]\nkind = \"builtin\"\ntrain_size = 64\nvalidation_size = 64\n\
                  augment = false\n[devices]\nuse = [\"cpu\"]\nlanes_per_device = 1\n[telemetry]\nlisten = \"off\"\n";
    std::fs::write(folder.join("search.toml"), config).unwrap();
    let mut command = netwright();
    command
        .current_dir(folder)
        .args(["search", "search.toml", "--run-dir", run]);
    command
}

/// The files in `weights/`, by name.
fn files(run: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(run.join("weights")).into_iter().flatten();
    entries
        .map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            (name, std::fs::read(entry.path()).unwrap())
        })
        .collect()
}

/// The names that the files of the best trials have, by what the database says.
fn best(run: &Path, limit: usize) -> Vec<String> {
    let connection = database(run).unwrap();
    let sql = "SELECT 'trial-' || id || '.safetensors' FROM trials WHERE status = 'completed' AND reused_from IS NULL
               ORDER BY reward DESC, id LIMIT ?1";
    let mut statement = connection.prepare(sql).unwrap();
    let rows = statement.query_map([limit], |row| row.get(0)).unwrap();
    let mut names: Vec<String> = rows.map(Result::unwrap).collect();
    names.sort();
    names
}

#[test]
fn the_weights_of_the_best_are_there_with_the_score_of_their_last_epoch() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    succeeds(&mut command(folder.path(), "run"));
    let kept = files(&run);
    assert_eq!(kept.keys().cloned().collect::<Vec<_>>(), best(&run, 3));
    for (name, file) in &kept {
        let TrainedNetwork { record, tensors } = TrainedNetwork::from_file(file).unwrap();
        assert_eq!(name, &format!("trial-{}.safetensors", record.trial));
        let sql = "SELECT t.metric, t.seed, t.parameters, e.epoch, e.metric FROM trials t JOIN epochs e ON e.trial = t.id
                   WHERE t.id = ?1 ORDER BY e.epoch DESC LIMIT 1";
        let row: (f64, u64, usize, usize, f64) = database(&run)
            .unwrap()
            .query_row(sql, [record.trial], |row| {
                Ok((
                    row.get(0)?,
                    row.get(1)?,
                    row.get(2)?,
                    row.get(3)?,
                    row.get(4)?,
                ))
            })
            .unwrap();
        let training = &record.training;
        // Scale and shift of batch normalisation are parameters, its running statistics are not.
        let trained = tensors.iter().filter(|it| !it.name.contains("running"));
        let numbers: usize = trained.map(|tensor| tensor.values.len()).sum();
        let scores = training.validation.unwrap();
        let own = (
            scores.metric,
            record.seed,
            numbers,
            training.epochs,
            scores.score,
        );
        assert_eq!(own, row);
    }
}

#[test]
fn a_kill_between_weights_and_outcome_changes_nothing_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let [whole, killed] = ["whole", "killed"].map(|run| folder.path().join(run));
    succeeds(&mut command(folder.path(), "whole"));
    let stopped_at = |trial: u64| {
        let mut search = command(folder.path(), "killed");
        search.env("NETWRIGHT_FAULT", format!("weights.freeze={trial}"));
        let mut process = Running::start_silent(&mut search);
        let file = killed.join(format!("weights/trial-{trial}.safetensors"));
        wait_until("the weights are written", || file.exists());
        process.kill();
        let outcome =
            format!("SELECT count(*) FROM trials WHERE id = {trial} AND reward IS NOT NULL");
        assert_eq!(count(&killed, &outcome), 0, "no outcome before the weights");
    };
    // Each of the first three has a place among three.
    for trial in 1..4 {
        stopped_at(trial);
    }
    // What no trial of this run has a place for; and what is not ours.
    for name in [
        "trial-99.safetensors",
        "trial-2.safetensors.partial-0",
        "notes.txt",
    ] {
        std::fs::write(killed.join("weights").join(name), "x").unwrap();
    }
    succeeds(&mut command(folder.path(), "killed"));
    assert_same_numbers(&whole, &killed);
    let mut kept = files(&killed);
    assert!(kept.remove("notes.txt").is_some());
    assert!(kept == files(&whole), "the same weights, number by number");
}

#[test]
fn fewer_are_kept_when_fewer_are_wanted_and_none_by_zero() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let keep = |number: usize, trials: u64| {
        let set = [
            format!("run.keep_weights={number}"),
            format!("run.trials={trials}"),
        ];
        let mut search = command(folder.path(), "run");
        succeeds(search.args(["--set", &set[0], "--set", &set[1]]));
        assert_eq!(finished(&run), trials);
        files(&run).into_keys().collect::<Vec<_>>()
    };
    assert_eq!(keep(0, 4), Vec::<String>::new());
    assert!(!run.join("weights").exists());
    // The four trials before have no weights, but are among the best all the same.
    let some = keep(5, 8);
    assert!(some.iter().all(|name| best(&run, 5).contains(name)));
    assert!(keep(1, 8).len() <= 1);
}

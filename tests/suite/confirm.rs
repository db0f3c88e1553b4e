//! `run.confirm`: the last trials of a run evaluate its best networks again, with new seeds; they
//! teach nothing, nothing interrupts them for good, and the confirmed networks rank first.

use super::common::{
    Facts, Search, Server, assert_same_numbers, assert_verifies, count, events_of, killed_at,
    last_snapshot, netwright, printed, refused, rows, succeeds, trials,
};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

/// The sum of the digits as five rewards, each with a noise of its own that is larger than a digit
/// is worth.
fn noisy(trials: u64, extra: &str) -> Search {
    let search = Search::new(trials, extra);
    let columns: Vec<String> = (0..5).map(|repeat| format!("r{repeat}")).collect();
    let mut table = format!("a,b,c,d,{}\n", columns.join(","));
    for row in 0..256_u64 {
        let digits: Vec<u64> = (0..4).map(|digit| row >> (2 * digit) & 3).collect();
        let noise = |repeat: u64| (row * 5 + repeat).wrapping_mul(2_654_435_761) % 1000;
        let sum = digits.iter().sum::<u64>() as f64;
        let rewards: Vec<String> = (0..5)
            .map(|repeat| format!("{:.4}", sum / 24.0 + noise(repeat) as f64 / 2500.0))
            .collect();
        let digits: Vec<String> = digits.iter().map(u64::to_string).collect();
        writeln!(table, "{},{}", digits.join(","), rewards.join(",")).unwrap();
    }
    std::fs::write(search.folder.path().join("table.csv"), table).unwrap();
    search.edit(
        "reward = [\"reward\"]",
        &format!("reward = {columns:?}").replace('\'', "\""),
    );
    search
}

fn command(search: &Search, run: &str, set: &[&str]) -> Command {
    let mut command = search.command(run);
    for key in set {
        command.args(["--set", key]);
    }
    command
}

/// Id, the trial that it confirms, decisions, seed and reward of each confirmation.
fn confirmations(run: &Path) -> Vec<(u64, u64, String, i64, f64)> {
    let sql = "SELECT id, confirms, decisions, seed, reward FROM trials WHERE confirms IS NOT NULL
               AND controller IS NULL AND minibatch IS NULL AND slot IS NULL AND status = 'completed' AND reused_from IS NULL ORDER BY id";
    rows(run, sql)
}

fn top(run: &Path) -> Vec<Value> {
    serde_json::from_str(&printed("top", run, &["-n", "10", "--json"])).unwrap()
}

#[test]
fn the_last_trials_evaluate_the_best_networks_again_and_teach_nothing() {
    let search = noisy(60, "[controller]\nchildren = 4\nlearning_rate = 0.01\n");
    let [run, without] = ["run", "without"].map(|name| search.run_dir(name));
    let output = succeeds(&mut command(&search, "run", &["run.confirm=9"]));
    assert!(
        output.contains(
            "last, after sampling: 9 evaluations of the best 3 networks again (run.confirm)"
        ),
        "{output}"
    );
    succeeds(&mut command(&search, "without", &["run.trials=51"]));
    let all = trials(&run);
    assert_eq!((all.len(), &all[..51]), (60, &trials(&without)[..]));
    assert!(last_snapshot(&run) == last_snapshot(&without));
    assert_verifies(&run);

    // The best of those sampled, each network once, in turn.
    let mut sampled: Vec<&Facts> = all[..51].iter().collect();
    sampled.sort_by(|a, b| b.4.partial_cmp(&a.4).unwrap().then(a.0.cmp(&b.0)));
    let mut best: Vec<&Facts> = Vec::new();
    for trial in sampled {
        if best.len() < 3 && !best.iter().any(|other| other.1 == trial.1) {
            best.push(trial);
        }
    }
    let confirming = confirmations(&run);
    let expected: Vec<(u64, u64, String)> = (0..9)
        .map(|index| (52 + index, best[index as usize % 3]))
        .map(|(id, trial)| (id, trial.0, trial.1.clone()))
        .collect();
    let found: Vec<_> = confirming
        .iter()
        .map(|one| (one.0, one.1, one.2.clone()))
        .collect();
    assert_eq!(found, expected);
    let mut seeds: Vec<i64> = all.iter().map(|trial| trial.2).collect();
    seeds.sort_unstable();
    seeds.dedup();
    assert_eq!(seeds.len(), 60, "two trials have one seed");

    // They rank first, by the mean of what confirms them, whatever they had before.
    let mean = |trial: u64| {
        let rewards = confirming.iter().filter(|one| one.1 == trial);
        rewards.map(|one| one.4).sum::<f64>() / 3.0
    };
    let mut ranks: Vec<(u64, f64)> = best.iter().map(|one| (one.0, mean(one.0))).collect();
    ranks.sort_by(|a, b| b.1.total_cmp(&a.1));
    let rows = top(&run);
    for (row, (trial, mean)) in rows.iter().zip(&ranks) {
        assert_eq!(row["id"], *trial);
        let confirmed = &row["confirmed"];
        assert!((confirmed["reward"].as_f64().unwrap() - mean).abs() < 1e-12);
        assert_eq!(
            (&confirmed["completed"], &confirmed["confirmations"]),
            (&json!(3), &json!(3))
        );
    }
    assert!(rows[3]["confirmed"].is_null() && rows.iter().all(|row| row["confirms"].is_null()));
    shown(&run, ranks[0], confirming[0].1);
}

/// What the commands and the page say; `first` is the trial that ranks first, with its mean;
/// `confirmed_by_52` the trial that 52 confirms.
fn shown(run: &Path, (first, mean): (u64, f64), confirmed_by_52: u64) {
    let mean = format!("{mean:.4} (3)");
    let table = printed("top", run, &[]);
    assert!(
        table.contains("confirmed") && table.contains(&mean),
        "{table}"
    );
    let status = printed("status", run, &[]);
    for part in [
        "60 of 60 (0 failed)".to_owned(),
        format!("confirmed   trial {first}: mean reward {mean}"),
    ] {
        assert!(status.contains(&part), "{part} is not in {status}");
    }
    let status: Value = serde_json::from_str(&printed("status", run, &["--json"])).unwrap();
    assert_eq!(
        (&status["sampled"], &status["confirmations_finished"]),
        (&json!(51), &json!(9))
    );
    assert_eq!(
        (&status["best_trial"], &status["confirmed"][0]["trial"]),
        (&json!(first), &json!(first))
    );
    let one = printed("show", run, &["52"]);
    let title = format!("trial       52 (confirms trial {confirmed_by_52}; not sampled)");
    assert!(one.contains(&title), "{one}");
    let other = printed("show", run, &[&first.to_string()]);
    assert!(
        other.contains(&format!("confirmed   mean reward {mean}")),
        "{other}"
    );
    let server = Server::page(run);
    let page = server.get("/").body;
    for part in [
        "<strong>60</strong> of 60 trials",
        "9 of them confirm the best",
        "Best reward, confirmed",
        &mean,
    ] {
        assert!(page.contains(part), "{part} is not in {page}");
    }
    let trial = server.get("/fragment/trial/52").body;
    assert!(trial.contains("confirms trial"), "{trial}");
    let note = &events_of(run, "confirmation")[0];
    assert!(
        note.starts_with("the best 3 networks (trials ")
            && note.ends_with(") evaluated again, 9 times in all: run.confirm"),
        "{note}"
    );
}

#[test]
fn killed_among_them_it_ends_in_the_same_numbers_whatever_is_reused_or_repeated() {
    for extra in [
        "[controller]\nstrategy = \"reinforce\"\nchildren = 4\n",
        "[controller]\nstrategy = \"guided\"\nchildren = 4\nhidden = 8\nreplicas = 2\nsynchronous = true\n[devices]\nlanes_per_device = 3\n",
    ] {
        let search = noisy(40, extra);
        let set = ["run.confirm=10", "run.reuse=true"];
        let [whole, killed] = ["whole", "killed"].map(|run| search.run_dir(run));
        succeeds(&mut command(&search, "whole", &set));
        killed_at(command(&search, "killed", &set), 31);
        // Other lanes may have ended any of the later ones by then.
        let unfinished = trials(&killed)
            .into_iter()
            .filter(|trial| trial.4.is_none());
        let last = unfinished.map(|trial| trial.0).max().unwrap();
        killed_at(command(&search, "killed", &set), last);
        succeeds(&mut command(&search, "killed", &set));
        assert_same_numbers(&whole, &killed);
        assert_verifies(&killed);
        assert_eq!(confirmations(&whole).len(), 10, "{extra}");
        assert_eq!(confirmations(&whole), confirmations(&killed));
        let ranks = |run: &Path| -> Vec<(Value, Value)> {
            let rank = |row: Value| (row["id"].clone(), row["confirmed"].clone());
            top(run).into_iter().map(rank).collect()
        };
        assert_eq!(ranks(&whole), ranks(&killed));
    }
}

#[test]
fn more_trials_are_sampled_and_confirmed_again_at_the_new_end() {
    let search = noisy(30, "[controller]\nchildren = 4\nlearning_rate = 0.01\n");
    let run = search.run_dir("run");
    succeeds(&mut command(&search, "run", &["run.confirm=4"]));
    let confirming =
        |run: &Path| -> Vec<u64> { confirmations(run).iter().map(|one| one.0).collect() };
    assert_eq!(confirming(&run), [27, 28, 29, 30]);
    let more = ["run.confirm=4", "run.trials=50"];
    killed_at(command(&search, "run", &more), 40);
    succeeds(&mut command(&search, "run", &more));
    assert_eq!(confirming(&run), [27, 28, 29, 30, 47, 48, 49, 50]);
    assert_eq!(trials(&run).len(), 50);
    assert_verifies(&run);
    // Sampled as if there had been none.
    for trials in ["run.trials=26", "run.trials=42"] {
        succeeds(&mut command(&search, "without", &[trials]));
    }
    let decisions = |run: &Path| -> Vec<String> {
        let confirming = confirming(run);
        let sampled = trials(run)
            .into_iter()
            .filter(|trial| !confirming.contains(&trial.0));
        sampled.map(|trial| trial.1).collect()
    };
    assert_eq!(decisions(&run), decisions(&search.run_dir("without")));
    // What is no more than the confirmations goes to them.
    succeeds(&mut command(
        &search,
        "run",
        &["run.confirm=4", "run.trials=52"],
    ));
    assert_eq!(confirming(&run)[8..], [51, 52]);
    assert_verifies(&run);
}

#[test]
fn a_confirmation_of_another_network_is_found_out() {
    let search = noisy(20, "[controller]\nchildren = 4\n");
    let run = search.run_dir("run");
    succeeds(&mut command(&search, "run", &["run.confirm=4"]));
    let (id, of, ..) = confirmations(&run)[2].clone();
    for (change, message) in [
        (
            "decisions = CASE decisions WHEN '[3,3,3,3]' THEN '[0,0,0,0]' ELSE '[3,3,3,3]' END",
            format!("trial {id}: its network is not that of trial {of}, which it evaluates again"),
        ),
        (
            "seed = seed + 1",
            format!("trial {id}: its seed is not the one that it was given"),
        ),
    ] {
        let column = change.split(' ').next().unwrap();
        let writer = rusqlite::Connection::open(run.join("search.db")).unwrap();
        let read = format!("SELECT {column} FROM trials WHERE id = {id}");
        let before: rusqlite::types::Value = writer.query_row(&read, [], |row| row.get(0)).unwrap();
        let write = format!("UPDATE trials SET {change} WHERE id = {id}");
        writer.execute(&write, []).unwrap();
        let output = netwright().arg("verify").arg(&run).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains(&message), "{text}");
        let back = format!("UPDATE trials SET {column} = ?1 WHERE id = {id}");
        writer.execute(&back, [before]).unwrap();
    }
    assert_verifies(&run);
}

#[test]
fn what_confirms_nothing_is_refused() {
    let search = noisy(20, "");
    let message = refused(&mut command(&search, "run", &["run.confirm=20"]));
    assert!(
        message.contains("run.confirm = 20: must be below run.trials = 20"),
        "{message}"
    );
    let one = ["run.confirm=4", "child.table.reward=['r0']"];
    let message = refused(&mut command(&search, "run", &one));
    assert!(
        message.contains("run.confirm = 4: has no effect with one column in child.table.reward"),
        "{message}"
    );
    assert_eq!(
        count(&search.run_dir("run"), "SELECT count(*) FROM trials"),
        0
    );
}

/// The kept weights follow the ranks: the network that was confirmed to be the best has its file.
#[test]
fn weights_are_kept_by_rank() {
    let folder = tempfile::tempdir().unwrap();
    let config = "[run]\nname = \"t\"\ntrials = 14\nconfirm = 9\nkeep_weights = 2\n[space]\nlayers = 1\nfilters = [2, 4]\nfilter_height = [1, 3]\n\
                  filter_width = [1, 3]\nstride_height = [4]\nstride_width = [4]\n[controller]\nchildren = 4\n\
                  [child]\nepochs = 1\nbatch_size = 16\n[data]\nkind = \"builtin\"\ntrain_size = 64\nvalidation_size = 64\n\
                  augment = false\n[devices]\nuse = [\"cpu\"]\nlanes_per_device = 2\n[telemetry]\nlisten = \"off\"\n";
    std::fs::write(folder.path().join("search.toml"), config).unwrap();
    let search = || {
        let mut command = netwright();
        command
            .current_dir(folder.path())
            .args(["search", "search.toml", "--run-dir", "run"]);
        command
    };
    let run = folder.path().join("run");
    let kept = || {
        let entries = std::fs::read_dir(run.join("weights")).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    let by_rank = || {
        let mut names: Vec<String> = top(&run)[..2]
            .iter()
            .map(|row| format!("trial-{}.safetensors", row["id"]))
            .collect();
        names.sort();
        names
    };
    succeeds(&mut search());
    assert_eq!(kept(), by_rank());
    succeeds(search().args(["--set", "run.trials=28"]));
    // What was removed before does not come back, but there are as many as are to be kept.
    assert_eq!(kept().len(), 2);
}

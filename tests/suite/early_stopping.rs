//! `[early_stopping]`: children that are worse than earlier ones end early, the same ones however
//! often the search is killed and however many lanes it has, and `verify` derives which.

use super::common::{
    assert_same_numbers, assert_verifies, count, killed_at, netwright, printed, stdout, succeeds,
    trials,
};
use std::path::Path;
use std::process::Command;

/// A search whose program prints four epochs, as good as the trial's number says: 1 to 4 stand for
/// the start, then one is bad and one is good in turn.
const PROGRAM: &str = r#"trial=$NETWRIGHT_TRIAL
level=5
[ $trial -gt 4 ] && level=$((9 - 8 * (trial % 2)))
for epoch in 1 2 3 4; do echo "{\"epoch\": $epoch, \"metric\": 0.$level$epoch, \"reward\": 0.0$level}"; done
echo "{\"reward\": 0.$level}"
"#;

fn search(trials: u64, program: &str, extra: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("train.sh"), program).unwrap();
    let config = format!(
        "[run]\nname = \"t\"\ntrials = {trials}\n[telemetry]\nlisten = \"off\"\n[space]\nkind = \"choices\"\n\
         decision = [{{ name = \"a\", options = [1, 2, 3] }}, {{ name = \"b\", options = [0.5, 0.25] }}]\n\
         [child]\nevaluator = \"command\"\ncommand.argv = [\"sh\", \"train.sh\"]\n{extra}"
    );
    std::fs::write(folder.path().join("search.toml"), config).unwrap();
    folder
}

const MEDIAN: &str = "[controller]\nstrategy = \"reinforce\"\nchildren = 2\nhidden = 4\n[early_stopping]\nrule = \"median\"\nstartup_trials = 4\n";

fn command(folder: &Path, run: &str) -> Command {
    let mut command = netwright();
    command
        .current_dir(folder)
        .args(["search", "search.toml", "--run-dir", run]);
    command
}

fn statuses(run: &Path) -> Vec<String> {
    trials(run).into_iter().map(|trial| trial.3).collect()
}

const STATUSES: [&str; 10] = [
    "completed",
    "completed",
    "completed",
    "completed",
    "pruned",
    "completed",
    "pruned",
    "completed",
    "pruned",
    "completed",
];

#[test]
fn bad_children_end_early_and_teach_what_their_last_epoch_says() {
    let folder = search(10, PROGRAM, MEDIAN);
    let text = succeeds(&mut command(folder.path(), "run"));
    let run = folder.path().join("run");
    assert_eq!(statuses(&run), STATUSES);
    let pruned = &trials(&run)[4];
    assert_eq!((pruned.4, pruned.5), (Some(0.01), Some(0.11)));
    let epochs = "SELECT count(*) FROM epochs JOIN trials ON id = trial WHERE status = 'pruned'";
    assert_eq!(count(&run, epochs), 3, "one each");
    assert!(
        text.contains("10/10 trials · 3 pruned · best reward 0.9000"),
        "{text}"
    );
    let status = printed("status", &run, &[]);
    assert!(
        status.contains("finished    10 of 10 (3 pruned, 0 failed)"),
        "{status}"
    );
    let json = |subcommand, arguments: &[&str]| -> serde_json::Value {
        serde_json::from_str(&printed(subcommand, &run, arguments)).unwrap()
    };
    let status = json("status", &["--json"]);
    assert_eq!(
        (status["pruned"].as_u64(), status["completed"].as_u64()),
        (Some(3), Some(7))
    );
    let top = json("top", &["--json", "-n", "20"]);
    assert_eq!(
        top.as_array().unwrap().len(),
        7,
        "what was pruned is not among the best"
    );
    assert_verifies(&run);
}

/// Kills before, at and after the first pruned child; two lanes; a run that goes on when it is done.
#[test]
fn interruptions_and_lanes_change_nothing() {
    let folder = search(10, PROGRAM, MEDIAN);
    let run = |name: &str| folder.path().join(name);
    succeeds(&mut command(folder.path(), "whole"));
    for trial in [3, 5, 6] {
        let name = format!("killed-{trial}");
        killed_at(command(folder.path(), &name), trial);
        succeeds(&mut command(folder.path(), &name));
        assert_same_numbers(&run("whole"), &run(&name));
        assert_verifies(&run(&name));
    }
    let mut two = command(folder.path(), "two");
    succeeds(two.args(["--set", "devices.lanes_per_device=2"]));
    assert_same_numbers(&run("whole"), &run("two"));
    let mut first = command(folder.path(), "first");
    succeeds(first.args(["--set", "run.trials=6"]));
    succeeds(&mut command(folder.path(), "first"));
    assert_same_numbers(&run("whole"), &run("first"));
    assert_verifies(&run("first"));
}

/// Successive halving, by a metric that is better where it is lower, with two controllers that wait
/// for each other.
#[test]
fn successive_halving_prunes_all_but_the_best_of_those_that_came() {
    let extra = "[controller]\nstrategy = \"evolution\"\nchildren = 2\nreplicas = 2\nsynchronous = true\n\
                 [early_stopping]\nrule = \"asha\"\ngoal = \"min\"\nmin_resource = 2\nreduction_factor = 2\n";
    let folder = search(24, PROGRAM, extra);
    let run = folder.path().join("run");
    killed_at(command(folder.path(), "run"), 15);
    succeeds(&mut command(folder.path(), "run"));
    assert_verifies(&run);
    let pruned = count(&run, "SELECT count(*) FROM trials WHERE status = 'pruned'");
    assert!((4..=16).contains(&pruned), "{:?}", statuses(&run));
    let elsewhere = "SELECT count(*) FROM trials WHERE status = 'pruned' AND (SELECT max(epoch) FROM epochs WHERE trial = id) NOT IN (2, 4)";
    assert_eq!(count(&run, elsewhere), 0, "at the epochs 2 and 4 alone");
}

#[test]
fn verify_finds_a_changed_epoch_threshold_or_status() {
    let folder = search(10, PROGRAM, MEDIAN);
    let run = folder.path().join("run");
    succeeds(&mut command(folder.path(), "run"));
    for (change, back, message) in [
        (
            "UPDATE epochs SET metric = 0.9 WHERE trial IN (2, 3) AND epoch = 1",
            "UPDATE epochs SET metric = 0.51 WHERE trial IN (2, 3) AND epoch = 1",
            "trial 5: its minibatch was pruned by other thresholds than the epochs up to sequence number 3 give",
        ),
        (
            "INSERT INTO epochs VALUES (7, 2, NULL, 0.12, 1.0)",
            "DELETE FROM epochs WHERE trial = 7 AND epoch = 2",
            "trial 7: it was pruned after epoch 2, but its thresholds prune it after epoch 1",
        ),
        (
            "UPDATE trials SET status = 'completed' WHERE id = 9",
            "UPDATE trials SET status = 'pruned' WHERE id = 9",
            "trial 9: it was trained to its end, but its thresholds prune it after epoch 1",
        ),
    ] {
        let writer = rusqlite::Connection::open(run.join("search.db")).unwrap();
        writer.execute(change, []).unwrap();
        let output = netwright().arg("verify").arg(&run).output().unwrap();
        let text = stdout(&output);
        assert_eq!(output.status.code(), Some(1), "{change}: {text}");
        assert!(text.contains(message), "{change}: {text}");
        writer.execute(back, []).unwrap();
    }
    assert_verifies(&run);
}

/// A program that does not say what an epoch is worth teaches nothing when it is pruned.
#[test]
fn without_a_reward_on_its_epochs_a_pruned_child_teaches_nothing() {
    let program = PROGRAM.replace(", \\\"reward\\\": 0.0$level}", "}");
    assert_ne!(program, PROGRAM);
    let folder = search(8, &program, MEDIAN);
    succeeds(&mut command(folder.path(), "run"));
    let run = folder.path().join("run");
    assert_eq!(statuses(&run), STATUSES[..8]);
    assert_eq!((trials(&run)[4].4, trials(&run)[4].5), (None, Some(0.11)));
    assert_verifies(&run);
}

#[test]
fn a_key_without_an_effect_and_epochs_out_of_order_are_refused() {
    let folder = search(4, PROGRAM, "[controller]\nchildren = 2\n");
    for (set, message) in [
        (
            "early_stopping.startup_trials=3",
            "early_stopping.startup_trials = 3: has an effect with early_stopping.rule = \"median\" alone",
        ),
        (
            "early_stopping.reduction_factor=3",
            "early_stopping.rule = \"asha\" alone",
        ),
        (
            "early_stopping.rule=hyperband",
            "must be \"off\" or \"median\" or \"asha\"",
        ),
    ] {
        let output = command(folder.path(), "run")
            .args(["--set", set])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{set}");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains(message), "{set}: {text}");
    }
    let folds = "for epoch in 1 1; do echo \"{\\\"epoch\\\": $epoch, \\\"metric\\\": 1}\"; done; echo '{\"reward\": 1}'";
    let folder = search(4, folds, MEDIAN);
    let output = command(folder.path(), "run").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = "SELECT count(*) FROM trials WHERE error LIKE '%comes after epoch 1: early stopping needs epochs in ascending order%'";
    assert_eq!(count(&folder.path().join("run"), error), 4);
}

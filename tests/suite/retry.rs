//! `netwright retry`: networks of trials that have ended are evaluated again, as trials of their own;
//! the earlier rows stay, nothing is learned from them, and an interruption loses none.

use super::common::{
    assert_verifies, count, last_snapshot, netwright, printed, refused, rows, succeeds, text,
    trials,
};
use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// A search whose script fails for `a = 2` as long as the file `broken` is there. Its rewards are its
/// seeds, so that no two are the same.
fn search(folder: &Path, broken: bool) -> Command {
    let script = "if [ -f broken ] && echo $NETWRIGHT_ARCHITECTURE | grep -q '\"a\":2'; then echo 'out of order' >&2; exit 4; fi\n\
                  echo \"{\\\"reward\\\": 0.$NETWRIGHT_SEED}\"\n";
    std::fs::write(folder.join("train.sh"), script).unwrap();
    if broken {
        std::fs::write(folder.join("broken"), "").unwrap();
    }
    let config = "[run]\nname = \"t\"\ntrials = 12\n[telemetry]\nlisten = \"off\"\n[space]\nkind = \"choices\"\n\
         decision = [{ name = \"a\", options = [1, 2] }, { name = \"b\", options = [1, 2, 3] }]\n[controller]\nchildren = 4\n\
         strategy = \"reinforce\"\n[child]\nevaluator = \"command\"\nattempts = 1\ncommand.argv = [\"sh\", \"train.sh\"]\n";
    std::fs::write(folder.join("search.toml"), config).unwrap();
    let mut command = netwright();
    command.current_dir(folder).args(["search", "search.toml"]);
    command
}

fn retry(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = netwright();
    command
        .current_dir(folder)
        .args(["retry", "runs/t"])
        .args(arguments);
    command
}

/// Id, the trial that it tries again, and its status.
fn retried(run: &Path) -> Vec<(u64, u64, String)> {
    let sql = "SELECT id, retry_of, status FROM trials WHERE retry_of IS NOT NULL AND controller IS NULL AND minibatch IS NULL
               AND slot IS NULL ORDER BY id";
    rows(run, sql)
}

#[test]
fn failed_trials_are_tried_again_once_the_cause_is_mended() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("runs/t");
    succeeds(&mut search(folder.path(), true));
    let before = trials(&run);
    let failed: Vec<u64> = before
        .iter()
        .filter(|trial| trial.3 == "failed")
        .map(|trial| trial.0)
        .collect();
    assert!(!failed.is_empty() && failed.len() < 12, "{failed:?}");
    let snapshot = last_snapshot(&run);

    // Still out of order: the first of them fails again, and is what is to be tried next time.
    let first = failed[0].to_string();
    let output = succeeds(&mut retry(folder.path(), &[&first]));
    assert!(
        output.contains(&format!("tried again, with new seeds: {first}")),
        "{output}"
    );
    assert_eq!(retried(&run), [(13, failed[0], "failed".into())]);
    std::fs::remove_file(folder.path().join("broken")).unwrap();
    // Killed among them, all are evaluated by the next process.
    let output = retry(folder.path(), &["--failed"])
        .env("NETWRIGHT_FAULT", "child.kill=14")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), None, "{}", text(&output));
    succeeds(&mut search(folder.path(), false));
    let expected: Vec<(u64, u64, String)> = failed[1..]
        .iter()
        .chain(&[13])
        .zip(14..)
        .map(|(of, id)| (id, *of, "completed".to_owned()))
        .collect();
    let found = retried(&run);
    assert_eq!(found[1..], expected);
    let output = succeeds(&mut retry(folder.path(), &["--failed"]));
    assert_eq!(
        output,
        "nothing to try again: no failed trial is left that was not tried again\n"
    );

    // The rows of before, the controller and the log are what they were.
    assert_eq!(trials(&run)[..12], before);
    assert!(last_snapshot(&run) == snapshot);
    assert_verifies(&run);
    let seeds = count(&run, "SELECT count(DISTINCT seed) FROM trials");
    assert_eq!(seeds, count(&run, "SELECT count(*) FROM trials"));
    let status: Value = serde_json::from_str(&printed("status", &run, &["--json"])).unwrap();
    assert_eq!(
        (&status["sampled"], &status["failed"]),
        (&Value::from(12), &Value::from(failed.len()))
    );
    let top: Vec<Value> =
        serde_json::from_str(&printed("top", &run, &["--json", "-n", "99"])).unwrap();
    assert_eq!(top.len(), 12);
    let table = printed("top", &run, &["-n", "99"]);
    assert!(
        table.contains(&format!("[trial {} again] a=2", failed[1])),
        "{table}"
    );
    let shown = printed("show", &run, &["14"]);
    assert!(
        shown.contains(&format!("(trial {} again; not sampled)", failed[1])),
        "{shown}"
    );
}

#[test]
fn what_cannot_be_tried_again_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    succeeds(&mut search(folder.path(), false));
    let run = folder.path().join("runs/t");
    for (arguments, part) in [
        (&["13"][..], "no trial 13; its trials are 1 to 12"),
        (&["3", "--failed"], "cannot be used with"),
        (&[], "TRIAL"),
    ] {
        let message = refused(&mut retry(folder.path(), arguments));
        assert!(message.contains(part), "{arguments:?}: {message}");
    }
    // A completed one may be, and twice.
    succeeds(&mut retry(folder.path(), &["5", "5"]));
    succeeds(&mut retry(folder.path(), &["5"]));
    let found = retried(&run);
    assert_eq!(
        found,
        [
            (13, 5, "completed".to_owned()),
            (14, 5, "completed".to_owned())
        ]
    );
    let rewards = "SELECT count(DISTINCT reward) FROM trials WHERE id IN (5, 13, 14)";
    assert_eq!(count(&run, rewards), 3);
    assert_verifies(&run);
}

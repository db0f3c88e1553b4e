//! What failed children teach (`child.failed_reward`): by cause, nothing, or a number.

use super::common::{assert_verifies, count, database, killed_at, netwright, printed, succeeds};
use std::path::Path;
use std::process::Command;

/// A search whose option a = 3 always fails; 1 and 2 are worth 0.25 and 0.75.
fn search(trials: u64, extra: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let script = r#"case "$(cat)" in
        *'"a":1'*) echo '{"reward": 0.25}' ;;
        *'"a":2'*) echo '{"reward": 0.75}' ;;
        *) exit 7 ;;
    esac"#;
    std::fs::write(folder.path().join("train.sh"), script).unwrap();
    let config = format!(
        "[run]\nname = \"t\"\ntrials = {trials}\n[telemetry]\nlisten = \"off\"\n[space]\nkind = \"choices\"\n\
         decision = [{{ name = \"a\", options = [1, 2, 3] }}]\n[controller]\nchildren = 4\nlearning_rate = 0.02\n\
         [child]\nattempts = 1\nevaluator = \"command\"\ncommand.argv = [\"sh\", \"train.sh\"]\n{extra}"
    );
    std::fs::write(folder.path().join("search.toml"), config).unwrap();
    folder
}

fn command(folder: &Path) -> Command {
    let mut command = netwright();
    command.current_dir(folder).args(["search", "search.toml"]);
    command
}

/// Rewards of the failed trials, by id.
fn rewards_of_failures(run: &Path) -> Vec<Option<f64>> {
    let connection = database(run).unwrap();
    let mut statement = connection
        .prepare("SELECT reward FROM trials WHERE status = 'failed' ORDER BY id")
        .unwrap();
    let rows = statement.query_map([], |row| row.get(0));
    rows.unwrap().map(Result::unwrap).collect()
}

#[test]
fn an_option_that_always_fails_is_given_up() {
    let folder = search(200, "");
    succeeds(&mut command(folder.path()));
    let run = folder.path().join("runs/t");
    let failures = |after: u64| {
        let sql = format!("SELECT count(*) FROM trials WHERE status = 'failed' AND id > {after}");
        count(&run, &sql)
    };
    assert!(failures(0) > 10, "it was tried");
    assert!(failures(150) < 8, "{} of the last 50", failures(150));
    let rewards = rewards_of_failures(&run);
    // Until a first reward is known, a failure teaches nothing.
    let known: Vec<f64> = rewards.iter().flatten().copied().collect();
    assert!(known.len() + 8 >= rewards.len(), "{rewards:?}");
    assert!(
        known.iter().all(|reward| [0.25, 0.75].contains(reward)),
        "{rewards:?}"
    );
    assert_verifies(&run);
    // The file and the table say the same of them.
    let csv = std::fs::read_to_string(run.join("report/trials.csv")).unwrap();
    let rows = csv.lines().filter(|line| line.contains(",failed,0.25,"));
    assert_eq!(
        rows.count() as u64,
        count(
            &run,
            "SELECT count(*) FROM trials WHERE status = 'failed' AND reward = 0.25"
        )
    );
    assert!(
        printed("top", &run, &["-n", "200"]).lines().count() < 200,
        "failures lead nothing"
    );
}

#[test]
fn skip_and_a_number_hold_for_every_failure() {
    for (setting, expected) in [
        ("failed_reward = \"skip\"", None),
        ("failed_reward = -0.5", Some(-0.5)),
    ] {
        let folder = search(24, setting);
        succeeds(&mut command(folder.path()));
        let rewards = rewards_of_failures(&folder.path().join("runs/t"));
        assert!(!rewards.is_empty(), "{setting}");
        assert!(
            rewards.iter().all(|reward| *reward == expected),
            "{setting}: {rewards:?}"
        );
        assert_verifies(&folder.path().join("runs/t"));
    }
}

/// The machine's faults are nobody's reward: a process that is killed runs its trials again, and the
/// end is the same as without the kill.
#[test]
fn an_interrupted_run_gives_its_failures_the_same_rewards() {
    let (whole, killed) = (search(32, ""), search(32, ""));
    succeeds(&mut command(whole.path()));
    for trial in [7, 18] {
        killed_at(command(killed.path()), trial);
    }
    succeeds(&mut command(killed.path()));
    let [whole, killed] = [whole, killed].map(|folder| {
        let run = folder.path().join("runs/t");
        assert_verifies(&run);
        super::common::trials(&run)
    });
    assert_eq!(whole, killed);
}

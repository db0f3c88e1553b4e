//! Programs and tables that give rewards out of measure: the search learns on, names the trials,
//! prints nothing endless, and can always be continued and verified.

use super::common::{assert_verifies, count, events_of, netwright, printed, rows, succeeds, text};
use std::path::Path;
use std::process::Command;

/// A folder with a search of two decisions; `child` is its section of that name.
fn search(trials: u64, learning_rate: f64, child: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let config = format!(
        "[run]\nname = \"t\"\ntrials = {trials}\n[telemetry]\nlisten = \"off\"\n[space]\nkind = \"choices\"\n\
         decision = [{{ name = \"a\", options = [1, 2, 3] }}, {{ name = \"b\", options = [0.5, 0.25] }}]\n\
         [controller]\nchildren = 4\nlearning_rate = {learning_rate}\n[child]\nattempts = 1\n{child}"
    );
    std::fs::write(folder.path().join("search.toml"), config).unwrap();
    folder
}

fn command(folder: &Path) -> Command {
    let mut command = netwright();
    command.current_dir(folder).args(["search", "search.toml"]);
    command
}

/// Id, status and reward of each trial.
fn outcomes(run: &Path) -> Vec<(u64, String, Option<f64>)> {
    rows(run, "SELECT id, status, reward FROM trials ORDER BY id")
}

/// What a program may print for its reward, by trial.
const SCRIPT: &str = r#"
case "$NETWRIGHT_TRIAL" in
    3) reward=1e300 ;;
    9 | 10) reward=-1e6 ;;
    11) reward=Infinity ;;
    13) reward='"nan"' ;;
    14) reward=1e999 ;;
    18) echo '{"epoch": 1, "metric": -1e308, "train_loss": 1e308}'; reward=-1e39 ;;
    *) reward=0.5 ;;
esac
echo "{\"reward\": $reward}"
"#;

#[test]
fn no_reward_of_a_program_harms_the_run_and_each_one_out_of_measure_is_named() {
    let folder = search(
        24,
        0.01,
        "evaluator = \"command\"\ncommand.argv = [\"sh\", \"train.sh\"]\n",
    );
    std::fs::write(folder.path().join("train.sh"), SCRIPT).unwrap();
    let output = command(folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let run = folder.path().join("runs/t");
    let reported = events_of(&run, "outlier");
    assert_eq!(
        reported[0],
        "trial 3: its reward 1.0000e300 is far from the others; the controller learns from it as 10.5000"
    );
    for trial in [3, 9, 10, 18] {
        let name = format!("trial {trial}: its reward ");
        assert!(
            reported.iter().any(|text| text.starts_with(&name)),
            "{reported:?}"
        );
        assert!(text(&output).contains(&name), "{}", text(&output));
    }
    let outcomes = outcomes(&run);
    assert_eq!(outcomes[2], (3, "completed".into(), Some(1e300)));
    for trial in [11, 13, 14] {
        let (_, status, reward) = &outcomes[trial - 1];
        assert_eq!(status, "failed");
        // As bad as the lowest reward that the controller has learned from.
        assert!((-200.0..0.0).contains(&reward.unwrap()), "{reward:?}");
    }
    for (subcommand, arguments) in [
        ("top", &["-n", "30"][..]),
        ("status", &[]),
        ("show", &["3"]),
        ("show", &["18"]),
    ] {
        let text = printed(subcommand, &run, arguments);
        assert!(!text.contains(&"0".repeat(20)), "{subcommand}: {text}");
    }
    assert!(
        !text(&output).contains(&"0".repeat(20)),
        "{}",
        text(&output)
    );
    assert_verifies(&run);
    succeeds(command(folder.path()).args(["--set", "run.trials=40"]));
    assert_verifies(&run);
}

/// Rewards of ±10^39: beyond what the controller's numbers can hold.
#[test]
fn a_table_out_of_measure_is_learned_from() {
    let child = "evaluator = \"table\"\ntable.path = \"t.csv\"\ntable.reward = [\"r\"]\n";
    let folder = search(1200, 0.02, child);
    let mut table = "a,b,r\n".to_owned();
    for a in 1..=3 {
        for b in ["0.5", "0.25"] {
            let sign = if a == 2 { "" } else { "-" };
            table += &format!("{a},{b},{sign}1e39\n");
        }
    }
    std::fs::write(folder.path().join("t.csv"), table).unwrap();
    succeeds(&mut command(folder.path()));
    let run = folder.path().join("runs/t");
    let good = count(
        &run,
        "SELECT count(*) FROM trials WHERE id > 1100 AND reward > 0",
    );
    assert!(good > 80, "{good} of the last 100");
    assert_verifies(&run);
}

/// What the formula bounds itself keeps the paper's numbers: no scale is logged.
#[test]
fn advantages_are_bounded_where_rewards_may_be_any_number_and_nowhere_else() {
    let child = "evaluator = \"table\"\ntable.path = \"t.csv\"\ntable.reward = [\"r\"]\n";
    let folder = search(8, 0.01, child);
    let mut table = "a,b,r\n".to_owned();
    for a in 1..=3 {
        for b in ["0.5", "0.25"] {
            table += &format!("{a},{b},0.{a}\n");
        }
    }
    std::fs::write(folder.path().join("t.csv"), table).unwrap();
    succeeds(&mut command(folder.path()));
    let scaled = |run: &Path| count(run, "SELECT count(*) FROM minibatches WHERE scale = 1.0");
    assert_eq!(scaled(&folder.path().join("runs/t")), 2);
    let trained = folder.path().join("trained");
    succeeds(
        netwright()
            .current_dir(folder.path())
            .args(["init", "quickstart", "q.toml"]),
    );
    succeeds(
        netwright()
            .current_dir(folder.path())
            .args([
                "search",
                "q.toml",
                "--run-dir",
                "trained",
                "--set",
                "run.trials=2",
            ])
            .args(["--set", "child.epochs=1", "--set", "telemetry.listen=off"]),
    );
    assert_eq!(
        count(
            &trained,
            "SELECT count(*) FROM minibatches WHERE scale IS NULL"
        ),
        1
    );
    assert_eq!(
        count(
            &trained,
            "SELECT count(*) FROM changes WHERE learning LIKE '%advantage_bound%'"
        ),
        0
    );
    assert_verifies(&trained);
}

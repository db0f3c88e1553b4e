//! `controller.strategy`: every strategy is killed and goes on with the same numbers, `auto` becomes
//! one of them when a run starts and stays that, and `check` says which, and where a search is too
//! short to learn.

use super::common::{
    Search, assert_same_numbers, assert_verifies, count, database, events_of, killed_at, netwright,
    stdout, succeeds,
};
use std::path::Path;

const STRATEGIES: [&str; 7] = [
    "reinforce",
    "ppo",
    "guided",
    "evolution",
    "grid",
    "local-search",
    "random",
];

/// The strategies of a run's log, in order.
fn logged(run: &Path) -> Vec<String> {
    let connection = database(run).unwrap();
    let sql = "SELECT json_extract(learning, '$.strategy') FROM changes ORDER BY sequence";
    let mut statement = connection.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| row.get(0));
    rows.unwrap().map(Result::unwrap).collect()
}

fn search(strategy: &str, trials: u64, more: &str) -> Search {
    let extra =
        format!("[controller]\nstrategy = \"{strategy}\"\nchildren = 4\nhidden = 8\n{more}");
    Search::new(trials, &extra)
}

#[test]
fn every_strategy_is_killed_and_ends_in_the_same_numbers() {
    for strategy in STRATEGIES {
        let search = search(strategy, 48, "replicas = 2\nsynchronous = true\n");
        let [whole, killed] = ["whole", "killed"].map(|run| search.run_dir(run));
        succeeds(&mut search.command("whole"));
        killed_at(search.command("killed"), 29);
        succeeds(&mut search.command("killed"));
        assert_same_numbers(&whole, &killed);
        assert_verifies(&killed);
        assert_eq!(logged(&killed), [strategy]);
        let networks = count(&whole, "SELECT count(DISTINCT architecture) FROM trials");
        if !["reinforce", "random"].contains(&strategy) {
            assert_eq!(networks, 48, "{strategy}: a network came twice");
        }
    }
}

#[test]
fn one_changed_decision_or_reward_is_found() {
    for strategy in STRATEGIES {
        let search = search(strategy, 32, "");
        let run = search.run_dir("run");
        succeeds(&mut search.command("run"));
        for change in [
            "decisions = CASE decisions WHEN '[3,3,3,3]' THEN '[0,0,0,0]' ELSE '[3,3,3,3]' END",
            "reward = reward + 0.01",
        ] {
            let connection = database(&run).unwrap();
            let column = change.split(' ').next().unwrap();
            let sql = format!("SELECT {column} FROM trials WHERE id = 18");
            let before: rusqlite::types::Value =
                connection.query_row(&sql, [], |row| row.get(0)).unwrap();
            let sql = format!("UPDATE trials SET {change} WHERE id = 18");
            let writer = rusqlite::Connection::open(run.join("search.db")).unwrap();
            writer.execute(&sql, []).unwrap();
            let output = netwright().arg("verify").arg(&run).output().unwrap();
            assert_eq!(output.status.code(), Some(1), "{strategy}: {change}");
            let sql = format!("UPDATE trials SET {column} = ?1 WHERE id = 18");
            writer.execute(&sql, [before]).unwrap();
        }
        assert_verifies(&run);
    }
}

/// For a new run it is what measurements favour, for a run that exists what that has.
#[test]
fn auto_is_resolved_once_and_logged() {
    let search = search("auto", 12, "");
    let run = search.run_dir("run");
    succeeds(&mut search.command("run"));
    assert_eq!(logged(&run), ["guided"]);
    let go_on = |trials: u64, strategy: &str| {
        let mut command = search.command("run");
        command.args(["--set", &format!("run.trials={trials}")]);
        command.args(["--set", &format!("controller.strategy={strategy}")]);
        succeeds(&mut command);
    };
    go_on(20, "evolution");
    go_on(28, "auto");
    assert_eq!(logged(&run), ["guided", "evolution"]);
    assert_eq!(count(&run, "SELECT count(*) FROM trials"), 28);
    assert_verifies(&run);
}

#[test]
fn where_no_network_is_left_the_run_says_so_and_goes_on() {
    for strategy in ["guided", "local-search"] {
        let search = search(strategy, 300, "");
        let run = search.run_dir("run");
        succeeds(&mut search.command("run"));
        let notes = events_of(&run, "repeats");
        assert_eq!(
            notes,
            ["no new network in 1,000 draws: from now on networks come again"],
            "{strategy}"
        );
        // Draws of a controller that has learned may miss the last few of the 256 networks.
        let distinct = count(&run, "SELECT count(DISTINCT architecture) FROM trials");
        assert!((241..=256).contains(&distinct), "{strategy}: {distinct}");
        let repeated = count(&run, "SELECT sum(repeated) FROM minibatches");
        assert_eq!(repeated, 300 - distinct, "{strategy}");
        assert_verifies(&run);
    }
}

#[test]
fn check_says_what_auto_is_and_where_nothing_can_be_learned() {
    let check = |strategy: &str, more: &[&str]| {
        let search = search(strategy, 100, "");
        let mut command = netwright();
        command
            .arg("check")
            .arg(search.folder.path().join("search.toml"));
        let output = command.args(more).output().unwrap();
        assert!(output.status.success(), "{strategy}");
        stdout(&output)
    };
    let text = check("auto", &[]);
    assert!(
        text.contains("# controller.strategy = \"auto\" is guided: it found better networks"),
        "{text}"
    );
    let warning = "# warning: reinforce will learn next to nothing: 100 trials are 25 updates of controller.learning_rate = 0.0006";
    let text = check("reinforce", &[]);
    assert!(text.contains(warning), "{text}");
    for (strategy, more) in [
        ("reinforce", &["--set", "controller.learning_rate=0.01"][..]),
        ("reinforce", &["--set", "run.trials=12800"]),
        ("ppo", &[]),
        ("random", &[]),
        ("auto", &[]),
    ] {
        let text = check(strategy, more);
        assert!(!text.contains("# warning"), "{strategy}: {text}");
    }
    let json: serde_json::Value = serde_json::from_str(&check("auto", &["--json"])).unwrap();
    assert_eq!(json["strategy"], "guided");
}

#[test]
fn what_ppo_learns_by_is_logged_and_belongs_to_it() {
    let search = search("ppo", 16, "ppo_epochs = 2\nentropy_half_life = 50.0\n");
    let run = search.run_dir("run");
    succeeds(&mut search.command("run"));
    let sql = "SELECT json_extract(learning, '$.ppo.epochs') FROM changes";
    assert_eq!(count(&run, sql), 2);
    assert_verifies(&run);
    let mut command = search.command("other");
    let output = command
        .args(["--set", "controller.strategy=evolution"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        text.contains(
            "controller.ppo_epochs = 2: has no effect with controller.strategy = \"evolution\""
        ),
        "{text}"
    );
}

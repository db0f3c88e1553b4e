//! How a search ends whose trials fail, and what is said when there is nothing to list.

use super::common::{
    Search, finished, netwright, printed, refused, stderr, stdout, succeeds, text,
};

/// A search by a shell script.
fn search(trials: u64, script: &str) -> Search {
    let search = Search::new(trials, "");
    let config = format!(
        "[run]\nname = \"t\"\ntrials = {trials}\n[space]\nkind = \"choices\"\n[[space.decision]]\nname = \"a\"\noptions = [0, 1, 2, 3]\n\
         [controller]\nchildren = 4\n[child]\nevaluator = \"command\"\nattempts = 1\n[child.command]\nargv = [\"sh\", \"-c\", {}]\n[telemetry]\nlisten = \"off\"\n",
        toml::Value::String(script.into())
    );
    std::fs::write(search.folder.path().join("search.toml"), config).unwrap();
    search
}

#[test]
fn a_search_all_of_whose_trials_fail_is_no_success_and_names_the_commonest_error() {
    // Three in four for want of a module, in lines that differ.
    let script = r#"case "$NETWRIGHT_TRIAL" in 4|8|12) echo "no such dataset" >&2; exit 4;; esac; echo "line $$: No module named torch" >&2; exit 3"#;
    let search = search(12, script);
    for start in ["first", "second"] {
        let output = search.command("run").output().unwrap();
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{start}: {}", text(&output));
        assert_eq!(finished(&search.run_dir("run")), 12);
        assert!(
            said.contains(
                "error: all 12 trials have failed, 9 of them with the same error (trial 1): "
            ) && said.contains("No module named torch")
                && said.contains("--fresh starts anew"),
            "{start}: {said}"
        );
        assert!(
            stdout(&output).contains("no trial is completed yet; 12 have failed"),
            "{}",
            text(&output)
        );
    }
    // One success is enough.
    let output = search
        .command("run")
        .args(["--set", "run.trials=16", "--set"])
        .arg(r#"child.command.argv=["sh", "-c", "echo '{\"reward\": 0.5}'"]"#)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output));
}

#[test]
fn one_failed_trial_is_said_as_one() {
    let search = search(1, "exit 7");
    let output = search.command("run").output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(
        stderr(&output).contains("error: the only trial has failed (trial 1): "),
        "{}",
        text(&output)
    );
}

#[test]
fn a_leaderboard_of_no_rows_is_no_run_without_results() {
    let search = Search::new(12, "");
    let run = search.run_dir("run");
    succeeds(&mut search.command("run"));
    assert_eq!(
        printed("top", &run, &["-n", "0"]),
        "12 trials are completed; -n 0 lists none of them\n"
    );
    assert_eq!(printed("top", &run, &["-n", "0", "--json"]).trim(), "[]");
    assert_eq!(
        printed("top", &run, &["-n", "0", "--csv"]).lines().count(),
        1
    );
    assert!(printed("top", &run, &["-n", "1"]).contains("rank"));
    let most = u64::MAX.to_string();
    assert_eq!(
        printed("top", &run, &["-n", &most]),
        printed("top", &run, &["-n", "20"])
    );
    let said = refused(netwright().arg("show").arg(&run).arg(&most));
    assert!(said.contains("its trials are 1 to 12"), "{said}");
    refused(netwright().arg("top").arg(&run).args(["-n", "-1"]));
}

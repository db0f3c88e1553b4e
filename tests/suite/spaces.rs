//! Spaces as a user meets them: every type of layer trained for real, conditions that the table
//! knows, networks that are too large.

use super::common::{
    assert_same_numbers, assert_verifies, count, database, killed_at, netwright, printed, succeeds,
    text,
};
use std::path::Path;

/// Runs a search in this folder, which must succeed.
fn search(folder: &Path, config: &str) {
    std::fs::write(
        folder.join("s.toml"),
        format!("[telemetry]\nlisten = \"off\"\n[run]\ndir = \"run\"\n{config}"),
    )
    .unwrap();
    succeeds(netwright().current_dir(folder).args(["search", "s.toml"]));
    assert_verifies(&folder.join("run"));
}

/// Status, architecture, parameters, error of every trial.
type Row = (String, serde_json::Value, Option<i64>, Option<String>);

fn rows(folder: &Path) -> Vec<Row> {
    let connection = database(&folder.join("run")).unwrap();
    let mut statement = connection
        .prepare("SELECT status, architecture, parameters, error FROM trials ORDER BY id")
        .unwrap();
    let rows = statement.query_map([], |row| {
        let architecture: String = row.get(1)?;
        Ok((
            row.get(0)?,
            serde_json::from_str(&architecture).unwrap(),
            row.get(2)?,
            row.get(3)?,
        ))
    });
    rows.unwrap().map(Result::unwrap).collect()
}

const IMAGES: &str =
    "[data]\nkind = \"builtin\"\ntrain_size = 200\nvalidation_size = 50\naugment = false\n";

#[test]
fn layers_of_every_type_are_trained_at_the_rate_that_was_decided() {
    let folder = tempfile::tempdir().unwrap();
    let space = "trials = 12\nseed = 5\n[space]\nlayers = 4\nlayer_types = [\"conv\", \"max_pool\", \"avg_pool\", \"lcn\", \"batch_norm\"]\n\
                 filters = [4, 8]\nfilter_height = [1, 3]\nfilter_width = [3]\nstride_height = [2]\nstride_width = [2]\n\
                 learning_rates = [0.02, 0.1]\npool_after = [2]\n[child]\nepochs = 1\n";
    search(folder.path(), &format!("{space}{IMAGES}"));
    let rows = rows(folder.path());
    assert_eq!(rows.len(), 12);
    let text: String = rows.iter().map(|row| row.1.to_string()).collect();
    for part in [
        "max_pool",
        "avg_pool",
        "lcn",
        "batch_norm",
        "\"learning_rate\":0.02",
        "\"learning_rate\":0.1",
        "filter_height",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    assert!(rows.iter().all(|row| row.0 == "completed"), "{rows:?}");
    let shown = printed("show", &folder.path().join("run"), &["1"]);
    assert!(shown.contains("learning rate"), "{shown}");
}

const SMALL: &str = "trials = 8\nseed = 1\n[space]\nlayers = 2\nfilters = [4, 64]\nstride_height = [2]\nstride_width = [2]\nmax_parameters = 5000\n\
                     [child]\nepochs = 1\n";

#[test]
fn a_network_that_is_too_large_is_drawn_again_and_a_killed_search_draws_the_same() {
    for strategy in ["reinforce", "guided"] {
        let config =
            format!("{SMALL}{IMAGES}[controller]\nstrategy = \"{strategy}\"\nchildren = 2\n");
        let [whole, killed] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        search(whole.path(), &config);
        let all = rows(whole.path());
        assert!(
            all.iter()
                .all(|row| row.0 == "completed" && row.2.unwrap() <= 5_000),
            "{all:?}"
        );
        let run = whole.path().join("run");
        let redrawn = "SELECT sum(redrawn) FROM minibatches";
        assert!(count(&run, redrawn) > 0, "{strategy}");
        let text = format!("[telemetry]\nlisten = \"off\"\n[run]\ndir = \"run\"\n{config}");
        std::fs::write(killed.path().join("s.toml"), text).unwrap();
        let mut command = netwright();
        command
            .current_dir(killed.path())
            .args(["search", "s.toml"]);
        killed_at(command, 4);
        search(killed.path(), &config);
        assert_same_numbers(&run, &killed.path().join("run"));
    }
}

/// Where no network is small enough, each trial fails after 100 draws, and `check` says so before.
#[test]
fn where_nothing_fits_check_says_so_and_trials_fail_untrained() {
    let folder = tempfile::tempdir().unwrap();
    let config = format!("[run]\ndir = \"run\"\n{SMALL}{IMAGES}").replace("5000", "1");
    std::fs::write(folder.path().join("s.toml"), config).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = netwright();
        command.current_dir(folder.path()).args(arguments);
        command
            .args(["--set", "telemetry.listen=off"])
            .output()
            .unwrap()
    };
    let checked = text(&run(&["check", "s.toml"]));
    assert!(
        checked.contains(
            "# warning: no network fits space.max_parameters and max_flops: the smallest found has "
        ),
        "{checked}"
    );
    let some = text(&run(&[
        "check",
        "s.toml",
        "--set",
        "space.max_parameters=5000",
    ]));
    assert!(some.contains("% of random networks are larger than space.max_parameters or max_flops allow: those are drawn again"), "{some}");
    assert_eq!(
        run(&["search", "s.toml", "--set", "controller.strategy=reinforce"])
            .status
            .code(),
        Some(1)
    );
    let run = folder.path().join("run");
    let failed = "SELECT count(*) FROM trials WHERE error LIKE 'not trained: it has % parameters, space.max_parameters is 1'";
    assert_eq!(count(&run, failed), 8);
    assert_eq!(count(&run, "SELECT sum(redrawn) FROM minibatches"), 800);
    assert_verifies(&run);
}

#[test]
fn a_decision_whose_condition_does_not_hold_is_not_made() {
    let folder = tempfile::tempdir().unwrap();
    let rows_of_table = "op,kernel,reward\nconv,1,0.1\nconv,3,0.9\npool,,0.2\nnone,,0.3\n";
    std::fs::write(folder.path().join("t.csv"), rows_of_table).unwrap();
    let space = "trials = 40\n[space]\nkind = \"choices\"\n[[space.decision]]\nname = \"op\"\noptions = [\"conv\", \"pool\", \"none\"]\n\
                 [[space.decision]]\nname = \"kernel\"\noptions = [1, 3]\nwhen = { op = \"conv\" }\n[child]\nevaluator = \"table\"\n\
                 [child.table]\npath = \"t.csv\"\nreward = [\"reward\"]\n";
    search(folder.path(), space);
    let rows = rows(folder.path());
    let values: std::collections::BTreeSet<String> =
        rows.iter().map(|row| row.1["values"].to_string()).collect();
    let expected = [
        "{\"kernel\":1,\"op\":\"conv\"}",
        "{\"kernel\":3,\"op\":\"conv\"}",
        "{\"op\":\"none\"}",
        "{\"op\":\"pool\"}",
    ];
    assert_eq!(
        values.iter().map(String::as_str).collect::<Vec<_>>(),
        expected
    );
    let printed = succeeds(
        netwright()
            .current_dir(folder.path())
            .args(["check", "s.toml"]),
    );
    assert!(
        printed.contains("# search space: 4 architectures") && printed.contains("op = \"conv\""),
        "{printed}"
    );
}

//! What a network costs in its reward: parameters, operations or measured milliseconds; and the
//! networks that none beats without costing more.

use super::common::{Server, assert_verifies, count, netwright, printed, refused, rows, succeeds};
use std::path::Path;

/// A search for networks of 4 to 32 filters on drawn images.
const SEARCH: &str = "[run]\ndir = \"run\"\ntrials = 6\nseed = 2\n[telemetry]\nlisten = \"off\"\n[space]\nlayers = 2\nfilters = [4, 32]\n\
    stride_height = [2]\nstride_width = [2]\n[controller]\nchildren = 2\n\
    [data]\nkind = \"builtin\"\ntrain_size = 200\nvalidation_size = 50\naugment = false\n\
    [child]\nepochs = 1\n";

/// Runs it with these keys of `[child]`.
fn search(folder: &Path, child: &str) {
    std::fs::write(folder.join("s.toml"), format!("{SEARCH}{child}")).unwrap();
    succeeds(netwright().current_dir(folder).args(["search", "s.toml"]));
}

/// Reward, metric, cost, parameters and operations of every trial.
fn costs(run: &Path) -> Vec<(f64, f64, f64, f64, f64)> {
    let sql = "SELECT reward, metric, cost, parameters, flops FROM trials ORDER BY id";
    rows(run, sql)
}

fn assert_near(found: f64, expected: f64) {
    assert!(
        (found - expected).abs() <= 1e-9 * expected.abs(),
        "{found}, not {expected}"
    );
}

#[test]
fn a_reward_is_the_accuracys_and_that_of_what_the_network_costs() {
    for cost in ["parameters", "flops"] {
        let folder = tempfile::tempdir().unwrap();
        let child = format!("cost = \"{cost}\"\ncost_target = 2000\ncost_weight = -0.5\n");
        search(folder.path(), &child);
        let run = folder.path().join("run");
        for (reward, metric, paid, parameters, flops) in costs(&run) {
            assert_eq!(paid, if cost == "flops" { flops } else { parameters });
            assert_near(reward, metric.powi(3) * (paid / 2_000.0).powf(-0.5));
        }
        assert_verifies(&run);
    }
}

#[test]
fn milliseconds_are_measured_on_the_lane_and_written_down() {
    let folder = tempfile::tempdir().unwrap();
    search(
        folder.path(),
        "cost = \"milliseconds\"\ncost_target = 0.5\ncost_batch = 2\n",
    );
    let run = folder.path().join("run");
    for (reward, metric, milliseconds, ..) in costs(&run) {
        assert!(
            milliseconds > 0.0 && milliseconds < 60_000.0,
            "{milliseconds}"
        );
        assert_near(reward, metric.powi(3) * (milliseconds / 0.5).powf(-0.07));
    }
    assert_verifies(&run);
}

#[test]
fn top_and_the_page_show_the_networks_that_none_beats() {
    let folder = tempfile::tempdir().unwrap();
    search(folder.path(), "cost = \"parameters\"\ncost_target = 2000\n");
    let run = folder.path().join("run");
    let front: serde_json::Value =
        serde_json::from_str(&printed("top", &run, &["--pareto", "--json"])).unwrap();
    let points: Vec<(f64, f64)> = front
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            (
                row["cost"].as_f64().unwrap(),
                row["metric"].as_f64().unwrap(),
            )
        })
        .collect();
    assert!(!points.is_empty());
    assert!(
        points
            .windows(2)
            .all(|pair| pair[0].0 < pair[1].0 && pair[0].1 < pair[1].1),
        "{points:?}"
    );
    for (_, metric, cost, ..) in costs(&run) {
        assert!(
            points
                .iter()
                .any(|point| point.0 <= cost && point.1 >= metric)
        );
    }
    let table = printed("top", &run, &["--pareto"]);
    assert!(
        table.contains(" cost ") && table.contains(" parameters "),
        "{table}"
    );
    let csv = printed("top", &run, &["--pareto", "--csv"]);
    assert_eq!(csv.lines().count(), 1 + points.len());
    assert!(csv.lines().next().unwrap().ends_with(",cost"), "{csv}");
    let body = Server::page(&run).get("/").body;
    assert!(
        body.contains("accuracy by parameters")
            && body.contains("on the front, the cheapest first"),
        "{body}"
    );
    // Without a cost in their reward networks are compared by their parameters.
    let plain = tempfile::tempdir().unwrap();
    search(plain.path(), "");
    let run = plain.path().join("run");
    assert_eq!(
        count(&run, "SELECT count(*) FROM trials WHERE cost IS NOT NULL"),
        0
    );
    let table = printed("top", &run, &["--pareto"]);
    assert!(
        table.contains("parameters") && !table.contains(" cost "),
        "{table}"
    );
}

#[test]
fn a_cost_without_a_target_and_keys_without_a_cost_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let config = |child: &str| {
        std::fs::write(folder.path().join("s.toml"), format!("{SEARCH}{child}")).unwrap();
        refused(
            netwright()
                .current_dir(folder.path())
                .args(["check", "s.toml"]),
        )
    };
    let text = config("cost = \"flops\"\n");
    assert!(text.contains("child.cost_target: child.cost needs it: the cost at which a reward is that of the accuracy alone"), "{text}");
    let text = config("cost_weight = -0.1\n");
    assert!(
        text.contains("child.cost_weight = -0.1: has no effect with child.cost = \"none\""),
        "{text}"
    );
    let text = config("cost = \"flops\"\ncost_target = 1000\ncost_batch = 8\n");
    assert!(
        text.contains("has an effect with child.cost = \"milliseconds\" alone"),
        "{text}"
    );
}

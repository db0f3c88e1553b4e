//! `run.reuse`: a network sampled again takes the reward that is known, whatever its decisions, and
//! an interruption changes nothing.

use super::common::{
    Search, assert_same_numbers, assert_verifies, killed_at, netwright, rows, succeeds, trials,
};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Of every trial, by id: its architecture, its reward, and the trial whose reward it took.
fn taken(run: &Path) -> Vec<(String, f64, Option<u64>)> {
    rows(
        run,
        "SELECT architecture, reward, reused_from FROM trials ORDER BY id",
    )
}

/// Each network is trained only in its first trial, and its later trials name that one; returns how
/// many later ones there are.
fn assert_trained_once(run: &Path) -> usize {
    let mut first = BTreeMap::new();
    for (id, (architecture, reward, from)) in (1_u64..).zip(taken(run)) {
        let (trial, known) = *first.entry(architecture).or_insert((id, reward));
        assert_eq!(
            (from, reward),
            ((trial != id).then_some(trial), known),
            "trial {id}"
        );
    }
    first.len()
}

#[test]
fn killed_runs_reuse_the_same_rewards_and_end_in_the_same_numbers() {
    let search = Search::new(480, "[controller]\nchildren = 8\nlearning_rate = 0.01\n");
    search.write_noisy_table();
    let command = |run: &str| {
        let mut command = search.command(run);
        command.args([
            "--set",
            "run.reuse=true",
            "--set",
            "child.table.reward=['reward', 'again']",
        ]);
        command
    };
    let [whole, killed] = ["whole", "killed"].map(|run| search.run_dir(run));
    succeeds(&mut command("whole"));
    let networks = assert_trained_once(&whole);
    assert!((80..=256).contains(&networks), "{networks}");
    // The process is killed when a trial starts: one that is trained, not reused.
    let trained = (1..).zip(taken(&whole)).filter(|(_, row)| row.2.is_none());
    let trained: Vec<u64> = trained.map(|(id, _)| id).collect();
    for quarter in 1..4 {
        killed_at(command("killed"), trained[trained.len() * quarter / 4]);
    }
    succeeds(&mut command("killed"));
    assert_eq!(taken(&whole), taken(&killed));
    assert_same_numbers(&whole, &killed);
    assert_verifies(&killed);
    // In the leaderboard each network stands once.
    let top = succeeds(
        netwright()
            .arg("top")
            .arg(&whole)
            .args(["-n", "5000", "--json"]),
    );
    let top: Vec<serde_json::Value> = serde_json::from_str(&top).unwrap();
    assert_eq!(top.len(), networks);
}

#[test]
fn a_network_is_the_same_whichever_decisions_describe_it() {
    let folder = tempfile::tempdir().unwrap();
    // Two layers side by side on the image are one network, in either order.
    let config = "[run]\nname = \"t\"\ntrials = 60\nreuse = true\n[telemetry]\nlisten = \"off\"\n[space]\nlayers = 2\nfilters = [4, 8]\n\
                  filter_height = [1]\nfilter_width = [1]\n[controller]\nreplicas = 3\nchildren = 4\n[child]\nevaluator = \"command\"\n\
                  command.argv = [\"sh\", \"train.sh\"]\n";
    std::fs::write(folder.path().join("search.toml"), config).unwrap();
    std::fs::write(
        folder.path().join("train.sh"),
        "echo \"{\\\"reward\\\": $NETWRIGHT_TRIAL}\"\n",
    )
    .unwrap();
    succeeds(
        netwright()
            .current_dir(folder.path())
            .args(["search", "search.toml"]),
    );
    let run = folder.path().join("runs/t");
    let lists: BTreeSet<_> = trials(&run).into_iter().map(|trial| trial.1).collect();
    let networks = assert_trained_once(&run);
    assert!(
        networks < lists.len(),
        "{networks} networks of {} decision lists",
        lists.len()
    );
    assert_eq!(
        std::fs::read_dir(run.join("checkpoints")).unwrap().count(),
        0
    );
}

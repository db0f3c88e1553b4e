//! `run.reuse`: a network sampled again takes the reward that is known, whatever its decisions, and
//! an interruption changes nothing.

use super::common::{Search, database, finished, last_snapshot, netwright, trials};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;

/// Of every trial, by id: architecture, reward, and whose reward it took.
fn taken(run: &Path) -> Vec<(String, f64, Option<u64>)> {
    let connection = database(run).unwrap();
    let mut statement = connection
        .prepare("SELECT architecture, reward, reused_from FROM trials ORDER BY id")
        .unwrap();
    statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect()
}

/// Each network is trained in its first trial alone, and the others say so; returns how many there
/// are.
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
    // Noisy rewards: whoever were trained again would get another one.
    let search = Search::new(480, "[controller]\nchildren = 8\nlearning_rate = 0.01\n");
    let mut table = "a,b,c,d,reward,again\n".to_owned();
    for row in 0..256 {
        table += &format!(
            "{},{},{},{},0.{row:03},0.{}\n",
            row & 3,
            row >> 2 & 3,
            row >> 4 & 3,
            row >> 6,
            999 - row
        );
    }
    std::fs::write(search.folder.path().join("table.csv"), table).unwrap();
    let command = |run: &str| {
        let mut command = search.command(run);
        command
            .args([
                "--set",
                "run.reuse=true",
                "--set",
                "child.table.reward=['reward', 'again']",
            ])
            .stdout(Stdio::null());
        command
    };
    assert!(command("whole").status().unwrap().success());
    let mut kills = 0;
    for target in [50, 200, 350] {
        let mut process = command("killed").spawn().unwrap();
        while finished(&search.run_dir("killed")) < target && process.try_wait().unwrap().is_none()
        {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        kills += usize::from(process.try_wait().unwrap().is_none());
        process.kill().unwrap();
        process.wait().unwrap();
    }
    assert!(command("killed").status().unwrap().success());
    assert!(kills > 0, "every kill came after the end");
    let networks = assert_trained_once(&search.run_dir("whole"));
    assert!((80..=256).contains(&networks), "{networks}");
    assert_eq!(
        taken(&search.run_dir("whole")),
        taken(&search.run_dir("killed"))
    );
    assert_eq!(
        trials(&search.run_dir("whole")),
        trials(&search.run_dir("killed"))
    );
    assert!(
        last_snapshot(&search.run_dir("whole")) == last_snapshot(&search.run_dir("killed")),
        "the controller's parameters differ"
    );
    assert!(
        netwright()
            .arg("verify")
            .arg(search.run_dir("killed"))
            .output()
            .unwrap()
            .status
            .success()
    );
    // In the leaderboard each network stands once.
    let top = netwright()
        .arg("top")
        .arg(search.run_dir("whole"))
        .args(["-n", "5000", "--json"])
        .output()
        .unwrap();
    assert_eq!(
        serde_json::from_slice::<serde_json::Value>(&top.stdout)
            .unwrap()
            .as_array()
            .unwrap()
            .len(),
        networks
    );
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
    let output = netwright()
        .current_dir(folder.path())
        .args(["search", "search.toml"])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let run = folder.path().join("runs/t");
    let lists: std::collections::BTreeSet<_> =
        trials(&run).into_iter().map(|trial| trial.1).collect();
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

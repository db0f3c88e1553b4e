//! A search whose children are trained by the user's own program, as a user runs it: README's
//! script, the shipped examples with a stand-in for PyTorch, programs that are killed or refuse to
//! die, and GPUs that it is lent.

use super::common::{
    Running, assert_verifies, count, database, finished, has_line, is_dead, netwright, refused,
    stderr, succeeds, trials, wait_until,
};
use std::path::Path;
use std::process::Command;

/// The fenced block of README.md that begins with these words, unchanged.
fn readme_block(beginning: &str) -> String {
    let readme = include_str!("../../README.md");
    let block = readme.split("```").find(|block| {
        block
            .split_once('\n')
            .is_some_and(|(_, text)| text.starts_with(beginning))
    });
    block
        .expect("README has this block")
        .split_once('\n')
        .unwrap()
        .1
        .to_owned()
}

/// A folder with a script and a search of two decisions that runs it.
fn search(trials: u64, script: &str, extra: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("train.sh"), script).unwrap();
    let config = format!(
        "[run]\nname = \"t\"\ntrials = {trials}\n[telemetry]\nlisten = \"off\"\n[space]\nkind = \"choices\"\n\
         decision = [{{ name = \"a\", options = [1, 2, 3] }}, {{ name = \"b\", options = [0.5, 0.25] }}]\n[controller]\nchildren = 2\n\
         [child]\nevaluator = \"command\"\ncommand.argv = [\"sh\", \"train.sh\"]\n{extra}"
    );
    std::fs::write(folder.path().join("search.toml"), config).unwrap();
    folder
}

fn command(folder: &Path) -> Command {
    let mut command = netwright();
    command
        .current_dir(folder)
        .args(["search", "search.toml"])
        .env_remove("CUDA_VISIBLE_DEVICES");
    command
}

/// This column of every trial, by id.
fn column(run: &Path, name: &str) -> Vec<Option<String>> {
    let connection = database(run).unwrap();
    let mut statement = connection
        .prepare(&format!("SELECT {name} FROM trials ORDER BY id"))
        .unwrap();
    statement
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect()
}

#[test]
fn the_readmes_script_searches_as_it_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let script = readme_block("#!/bin/sh");
    assert_eq!(script.lines().count(), 10);
    std::fs::write(folder.path().join("train.sh"), script).unwrap();
    std::fs::write(folder.path().join("netwright.toml"), readme_block("[run]")).unwrap();
    succeeds(
        netwright()
            .current_dir(folder.path())
            .args(["search", "netwright.toml"]),
    );
    let run = folder.path().join("runs/script");
    let trials = trials(&run);
    assert_eq!(trials.len(), 16);
    assert!(
        trials.iter().all(|trial| trial.3 == "completed"),
        "{trials:?}"
    );
    for (architecture, trial) in column(&run, "architecture").iter().zip(&trials) {
        let best = architecture
            .as_ref()
            .unwrap()
            .contains("{\"depth\":3,\"width\":64}");
        assert_eq!(best, trial.4 == Some(0.9), "{architecture:?} {trial:?}");
    }
    assert_eq!(count(&run, "SELECT count(*) FROM epochs"), 3 * 16);
}

#[test]
fn the_shipped_examples_run_with_a_stand_in_for_their_scripts() {
    for (example, wanted) in [
        ("command", "\"kind\":\"conv\""),
        ("command-choices", "\"values\":{\"activation\":"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let output = netwright()
            .current_dir(folder.path())
            .args(["init", example, "mine.toml"])
            .output()
            .unwrap();
        assert!(
            output.status.success() && stderr(&output).contains("mine.py"),
            "{}",
            stderr(&output)
        );
        let config = std::fs::read_to_string(folder.path().join("mine.toml")).unwrap();
        assert!(
            config.contains("argv = [\"python3\", \"mine.py\", "),
            "{config}"
        );
        assert!(
            std::fs::read_to_string(folder.path().join("mine.py"))
                .unwrap()
                .lines()
                .count()
                < 60,
            "{example} is no short example"
        );
        let stand_in = format!(
            "[ -d \"$NETWRIGHT_CHECKPOINT_DIR\" ] && [ \"$NETWRIGHT_SEED\" -gt 0 ] || exit 1\n\
             cat | grep -q '{wanted}' || exit 2\nprintf %s \"$NETWRIGHT_ARCHITECTURE\" | grep -q '{wanted}' || exit 3\n\
             echo '{{\"epoch\": 1, \"metric\": 0.25}}'\necho \"{{\\\"reward\\\": 0.$NETWRIGHT_TRIAL}}\"\n"
        );
        std::fs::write(folder.path().join("stand-in.sh"), stand_in).unwrap();
        let mut command = netwright();
        command.current_dir(folder.path()).args([
            "search",
            "mine.toml",
            "--set",
            "child.command.argv=['sh', 'stand-in.sh']",
        ]);
        succeeds(command.args([
            "--set",
            "run.trials=9",
            "--set",
            "telemetry.listen=off",
            "--run-dir",
            "run",
        ]));
        let trials = trials(&folder.path().join("run"));
        assert!(
            (1..10)
                .zip(&trials)
                .all(|(id, trial)| trial.4 == Some(f64::from(id) / 10.0) && trial.5 == Some(0.25)),
            "{trials:?}"
        );
    }
}

#[test]
fn killed_with_its_program_a_search_goes_on_in_the_same_checkpoint_directory() {
    // The first time it waits for ever, with a grandchild that the death of the search does not
    // reach; then it goes on.
    let script = "cd \"$NETWRIGHT_CHECKPOINT_DIR\"; if [ -f begun ]; then echo '{\"reward\": 2}'; exit; fi\n\
                  sleep 1000 & echo $! > grandchild; echo $$ > own; echo '{\"epoch\": 1, \"metric\": 1}'; touch begun; sleep 1000\n";
    let folder = search(2, script, "[devices]\nlanes_per_device = 2\n");
    let run = folder.path().join("runs/t");
    let mut process = Running::start_silent(&mut command(folder.path()));
    let directories = [1, 2].map(|trial| run.join(format!("checkpoints/trial-{trial}")));
    wait_until("both programs have begun", || {
        directories
            .iter()
            .all(|directory| directory.join("begun").exists())
    });
    process.kill();
    let pid = |directory: &Path, name: &str| std::fs::read_to_string(directory.join(name)).unwrap();
    for directory in &directories {
        wait_until("the program died with the search", || {
            is_dead(&pid(directory, "own"))
        });
    }
    succeeds(&mut command(folder.path()));
    assert!(
        trials(&run).iter().all(|trial| trial.4 == Some(2.0)),
        "{:?}",
        trials(&run)
    );
    for directory in &directories {
        wait_until("the grandchild was ended", || {
            is_dead(&pid(directory, "grandchild"))
        });
    }
}

#[test]
fn a_signal_ends_a_search_whose_program_ignores_it() {
    let script =
        "trap '' TERM; echo $$ > \"$NETWRIGHT_CHECKPOINT_DIR/own\"; while :; do sleep 1; done\n";
    let folder = search(4, script, "");
    let run = folder.path().join("runs/t");
    let own = run.join("checkpoints/trial-1/own");
    let mut process = Running::start_silent(&mut command(folder.path()));
    wait_until("the program runs", || has_line(&own));
    process.signal(rustix::process::Signal::TERM);
    assert_eq!(process.wait().code(), Some(143));
    let pid = std::fs::read_to_string(&own).unwrap();
    wait_until("the program is dead", || is_dead(&pid));
    assert_eq!(finished(&run), 0);
    assert_eq!(column(&run, "status")[0].as_deref(), Some("stopped"));
}

#[test]
fn a_failing_program_is_tried_again_and_its_trial_says_why_it_failed() {
    let script = "case $NETWRIGHT_TRIAL in\n1) echo 'no such data' >&2; exit 4;;\n2) echo Hello;;\n3) kill -9 $$;;\n\
                  *) echo \"{\\\"reward\\\": $NETWRIGHT_ATTEMPT}\"; [ $NETWRIGHT_ATTEMPT = 2 ];;\nesac\n";
    let folder = search(4, script, "attempts = 2\n");
    succeeds(&mut command(folder.path()));
    let run = folder.path().join("runs/t");
    let errors = column(&run, "error");
    assert_eq!(
        errors[0].as_deref(),
        Some("the command ended with exit code 4; log/trial-1.log ends: no such data")
    );
    assert!(
        errors[1]
            .as_ref()
            .unwrap()
            .starts_with("line 1 on stdout, `Hello`, is neither {\"epoch\""),
        "{errors:?}"
    );
    assert!(
        errors[2]
            .as_ref()
            .unwrap()
            .starts_with("the command was killed by SIGKILL"),
        "{errors:?}"
    );
    assert_eq!((errors[3].as_deref(), trials(&run)[3].4), (None, Some(2.0)));
    assert!(
        std::fs::read_to_string(run.join("log/trial-1.log"))
            .unwrap()
            .contains("attempt 2 ---\nno such data")
    );
    assert_verifies(&run);
}

#[test]
fn what_cannot_run_is_refused_before_anything_starts() {
    let folder = search(2, "", "");
    for (argv, words) in [
        (
            "['no-such-program']",
            "child.command.argv: there is no program no-such-program on the PATH",
        ),
        (
            "['sh', 'gone.sh']",
            "child.command.argv: there is no file gone.sh for sh to run",
        ),
        ("['./gone']", "child.command.argv: there is no file ./gone"),
        (
            "['./train.sh']",
            "child.command.argv: ./train.sh is not executable: chmod +x ./train.sh",
        ),
        (
            "['train.sh']",
            "there is no program train.sh on the PATH; the file here is \"./train.sh\"",
        ),
        (
            "[]",
            "child.command.argv = []: child.evaluator = \"command\" needs it",
        ),
    ] {
        let argv = format!("child.command.argv={argv}");
        let message = refused(command(folder.path()).args(["--set", &argv]));
        assert!(
            message.contains(words) && message.lines().count() == 1,
            "{argv}: {message}"
        );
    }
    assert!(!folder.path().join("runs").exists());
}

#[test]
fn each_lane_shows_its_program_the_gpu_that_the_user_means() {
    let script = "echo \"$CUDA_VISIBLE_DEVICES.\" > \"$NETWRIGHT_CHECKPOINT_DIR/gpu\"; echo '{\"reward\": 1}'\n";
    let folder = search(2, script, "");
    for (run, devices, inherited, shown) in [
        ("plain", "['cuda:0', 'cuda:1']", None, ["0.", "1."]),
        (
            "mapped",
            "['cuda:1']",
            Some("4, GPU-7f"),
            ["GPU-7f.", "GPU-7f."],
        ),
        ("cpu", "['cpu']", Some("4"), [".", "."]),
    ] {
        let mut command = command(folder.path());
        if let Some(list) = inherited {
            command.env("CUDA_VISIBLE_DEVICES", list);
        }
        let devices = format!("devices.use={devices}");
        succeeds(command.args(["--run-dir", run, "--set", &devices]));
        let gpu = |trial: u64| {
            std::fs::read_to_string(
                folder
                    .path()
                    .join(run)
                    .join(format!("checkpoints/trial-{trial}/gpu")),
            )
            .unwrap()
            .trim()
            .to_owned()
        };
        assert_eq!([gpu(1), gpu(2)], shown);
    }
    let message = refused(
        command(folder.path())
            .env("CUDA_VISIBLE_DEVICES", "4,5")
            .args(["--set", "devices.use=['cuda:2']"]),
    );
    assert!(
        message.contains("CUDA_VISIBLE_DEVICES=4,5 shows 2 GPUs"),
        "{message}"
    );
}

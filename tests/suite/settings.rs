//! The config file as a user meets it, through the real binary: what is refused and how, which
//! source wins, what `check`, `init` and `devices` print.

use assert_cmd::Command;
use predicates::prelude::*;
use std::path::Path;

/// The binary, run in this folder without the `NETWRIGHT` variables of whoever runs the tests.
fn netwright(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_netwright"));
    for (key, _) in
        std::env::vars_os().filter(|(key, _)| key.to_string_lossy().starts_with("NETWRIGHT__"))
    {
        command.env_remove(key);
    }
    command.current_dir(folder);
    command
}

/// `check` on this text as config file; `change` may alter the command.
fn check(text: &str, change: impl FnOnce(&mut Command)) -> std::process::Output {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("s.toml"), text).unwrap();
    let mut command = netwright(folder.path());
    command.args(["check", "s.toml"]);
    change(&mut command);
    command.output().unwrap()
}

/// The message with which `check` refuses this text.
fn refused(text: &str) -> String {
    let output = check(text, |_| ());
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(output.stdout.is_empty(), "{text}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn bad_input_is_refused_with_file_line_key_and_what_is_valid() {
    for (text, parts) in [
        (
            "[run]\ntrials = \"many\"",
            ["s.toml:2: run.trials = \"many\"", "whole number"],
        ),
        (
            "[run]\nseed = 1.5",
            ["s.toml:2: run.seed = 1.5", "whole number"],
        ),
        ("[run]\nseed = -1", ["s.toml:2: run.seed = -1", "0 or more"]),
        (
            "[run]\nseed = 9223372036854775808",
            ["s.toml:2: run.seed = 9223372036854775808", "below 2^63"],
        ),
        (
            "[run]\ntrials = 0",
            ["s.toml:2: run.trials = 0", "must be 1 to"],
        ),
        (
            "[controller]\nsynchronous = \"yes\"",
            [
                "s.toml:2: controller.synchronous = \"yes\"",
                "true or false",
            ],
        ),
        (
            "[controller]\nlearning_rate = nan",
            ["s.toml:2: controller.learning_rate = nan", "finite number"],
        ),
        (
            "[controller]\nstrategy = \"evolve\"",
            [
                "s.toml:2: controller.strategy = \"evolve\"",
                "\"local-search\" or \"random\"",
            ],
        ),
        (
            "[parameter_server]\nshards = 0",
            ["s.toml:2: parameter_server.shards = 0", "must be 1 to"],
        ),
        (
            "[space]\nkind = \"tree\"",
            [
                "s.toml:2: space.kind = \"tree\"",
                "\"conv\" or \"cell\" or \"choices\"",
            ],
        ),
        (
            "[space]\nkind = \"cell\"",
            [
                "s.toml: data.kind = \"builtin\" (default)",
                "trained on a text",
            ],
        ),
        (
            "[space]\ncombinations = [\"sub\"]",
            ["s.toml:2: space.combinations = [\"sub\"]", "\"elem_mult\""],
        ),
        (
            "[space]\nbase = 4",
            ["s.toml:2: space.base = 4", "space.kind = \"cell\" alone"],
        ),
        (
            "[space]\nfilters = []",
            ["s.toml:2: space.filters = []", "one or more"],
        ),
        (
            "[space]\nfilter_height = [3, 0]",
            ["s.toml:2: space.filter_height = [3, 0]", "odd sizes from 1"],
        ),
        (
            "[space]\nlayers = 1000000",
            ["s.toml:2: space.layers = 1000000", "1 to 1000"],
        ),
        (
            "[space]\nlayers = 900\n[child]\nbatch_size = 1000000",
            ["s.toml:2: space.layers = 900", "GiB"],
        ),
        (
            "[child]\nevaluator = \"magic\"",
            [
                "s.toml:2: child.evaluator = \"magic\"",
                "\"train\" or \"table\" or \"command\"",
            ],
        ),
        (
            "[child]\nevaluator = \"command\"",
            ["s.toml: child.command.argv", "[\"python3\", \"train.py\"]"],
        ),
        (
            "[child.command]\nargv = [\"sh\"]",
            [
                "s.toml:2: child.command.argv = [\"sh\"]",
                "child.evaluator = \"command\" alone",
            ],
        ),
        (
            "[child]\nlearning_rate = -0.1",
            ["s.toml:2: child.learning_rate = -0.1", "above 0"],
        ),
        (
            "[data]\nkind = \"cifar10\"",
            ["s.toml: data.path", "folder of data_batch_1.bin"],
        ),
        (
            "[data]\nkind = \"image-folder\"\nsize = 32",
            ["s.toml: data.path", "one folder of images for each class"],
        ),
        (
            "[data]\nkind = \"image-folder\"\npath = \"x\"",
            [
                "s.toml: data.size",
                "side in pixels that every image is scaled to",
            ],
        ),
        (
            "[data]\nkind = \"image-folder\"\npath = \"x\"\nsize = 0",
            ["s.toml:4: data.size = 0", "8 to 512"],
        ),
        (
            "[data]\nkind = \"image-folder\"\npath = \"x\"\nsize = 64",
            ["s.toml: data.upsample = 36 (default)", "for example 72"],
        ),
        (
            "[data]\nsize = 64",
            ["s.toml:2: data.size = 64", "\"image-folder\" alone"],
        ),
        (
            "[data]\nupsample = 31",
            ["s.toml:2: data.upsample = 31", "must be 32"],
        ),
        (
            "[devices]\nuse = [\"cpu\", \"gpu\"]",
            [
                "s.toml:2: devices.use = [\"cpu\", \"gpu\"]",
                "\"gpu\" is no device",
            ],
        ),
        (
            "[telemetry]\nlisten = \"9464\"",
            ["s.toml:2: telemetry.listen = \"9464\"", "127.0.0.1:9464"],
        ),
        (
            "[run]\nname = \"unfinished",
            ["s.toml:2:", "not valid TOML"],
        ),
        ("[run]\n[run]", ["s.toml:2:", "not valid TOML"]),
    ] {
        let message = refused(text);
        for part in parts {
            assert!(message.contains(part), "{text}: {part} is not in {message}");
        }
        assert_eq!(message.lines().count(), 1, "{text}: {message}");
        assert!(message.starts_with("error: s.toml"), "{message}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let stderr = |message: &str| predicate::str::contains(message.to_owned());
    netwright(folder.path())
        .args(["check", "none.toml"])
        .assert()
        .code(2)
        .stderr(stderr("none.toml: no such file; `netwright init"));
    netwright(folder.path())
        .args(["search", "none.toml"])
        .assert()
        .code(2)
        .stderr(stderr("none.toml: no such file"));
    netwright(folder.path())
        .args(["check", "."])
        .assert()
        .code(2)
        .stderr(stderr(".: cannot be read"));
    std::fs::write(folder.path().join("latin.toml"), b"[run]\n# caf\xe9\n").unwrap();
    netwright(folder.path())
        .args(["check", "latin.toml"])
        .assert()
        .code(2)
        .stderr(stderr("latin.toml:2: byte 11"));
}

#[test]
fn all_unknown_keys_are_reported_with_their_sources() {
    let output = check("[child]\nepoch = 3\n[controler]\nhidden = 3", |command| {
        command
            .args(["--set", "space.layer=3"])
            .env("NETWRIGHT__RUN__SEEDS", "1");
    });
    assert_eq!(output.status.code(), Some(2));
    let message = String::from_utf8(output.stderr).unwrap();
    for part in [
        "s.toml:2: unknown key child.epoch; the nearest valid key is child.epochs",
        "s.toml:4: unknown key controler.hidden; the nearest valid key is controller.hidden",
        "environment variable NETWRIGHT__RUN__SEEDS: unknown key run.seeds; the nearest valid key is run.seed",
        "--set: unknown key space.layer; the nearest valid key is space.layers",
    ] {
        assert!(message.contains(part), "{part} is not in {message}");
    }
}

#[test]
fn the_file_yields_to_the_environment_and_both_to_set() {
    let text = "[run]\nname = \"file\"\nseed = 1\ntrials = 1";
    let output = check(text, |command| {
        command
            .args(["--set", "run.trials=3"])
            .env("NETWRIGHT__RUN__SEED", "2")
            .env("NETWRIGHT__RUN__TRIALS", "2");
    });
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let printed: toml::Table = String::from_utf8(output.stdout).unwrap().parse().unwrap();
    let run = printed["run"].as_table().unwrap();
    assert_eq!(
        (
            run["name"].as_str(),
            run["seed"].as_integer(),
            run["trials"].as_integer()
        ),
        (Some("file"), Some(2), Some(3))
    );
}

#[test]
fn what_check_prints_is_the_same_config() {
    let text = "[space]\nskip_connections = \"all\"\nlayers = 2\n[child]\nschedule = \"cosine\"\nmax_seconds = 60\n[devices]\nuse = [\"cpu\"]";
    let first = check(text, |_| ());
    assert!(
        first.status.success(),
        "{}",
        String::from_utf8_lossy(&first.stderr)
    );
    let printed = String::from_utf8(first.stdout).unwrap();
    for part in [
        "# search space: ",
        " architectures (2 layers)",
        "# device cpu: ",
        "# children at once: ",
        "# run directory: runs/search",
    ] {
        assert!(printed.contains(part), "{part} is not in {printed}");
    }
    // 4 heights, 4 widths and 4 counts in each of 2 layers.
    assert!(
        printed.contains("# search space: 4096 architectures"),
        "{printed}"
    );
    assert_eq!(
        String::from_utf8(check(&printed, |_| ()).stdout).unwrap(),
        printed
    );
    let json = check(text, |command| {
        command.arg("--json");
    });
    let facts: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(facts["settings"]["space"]["layers"], 2);
    assert!(
        (facts["space"]["first"]["log10_size"].as_f64().unwrap() - 4096_f64.log10()).abs() < 1e-9
    );
    assert!(facts["children_at_once"].as_u64().unwrap() >= 1);
}

#[test]
fn a_gpu_that_is_not_there_is_an_error() {
    let output = check("[devices]\nuse = [\"cuda:7\"]", |_| ());
    assert_eq!(output.status.code(), Some(2));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(
        message.contains("cuda:7") && message.contains("devices.use"),
        "{message}"
    );
}

#[test]
fn init_writes_configs_that_check_accepts() {
    for search in [
        "quickstart",
        "cifar10",
        "cifar10-v1",
        "cifar10-v2",
        "cifar10-v3",
        "choices",
        "command",
        "command-choices",
    ] {
        let folder = tempfile::tempdir().unwrap();
        netwright(folder.path())
            .args(["init", search])
            .assert()
            .success()
            .stderr(predicate::str::contains("wrote netwright.toml"));
        let text = std::fs::read_to_string(folder.path().join("netwright.toml")).unwrap();
        assert!(text.starts_with('#'), "{search} opens with a comment");
        netwright(folder.path())
            .args(["check", "netwright.toml"])
            .assert()
            .success();
        netwright(folder.path())
            .args(["init", search])
            .assert()
            .code(2)
            .stderr(predicate::str::contains("exists already"));
        assert_eq!(
            std::fs::read_to_string(folder.path().join("netwright.toml")).unwrap(),
            text,
            "an existing file is left alone"
        );
    }
    let folder = tempfile::tempdir().unwrap();
    let quickstart = include_str!("../../config/quickstart.toml");
    netwright(folder.path())
        .args(["init", "quickstart", "-"])
        .assert()
        .success()
        .stdout(quickstart);
    netwright(folder.path())
        .args(["init", "ptbb"])
        .assert()
        .code(2)
        .stderr(predicate::str::contains("quickstart, cifar10, cifar10-v1"));
    netwright(folder.path())
        .args(["init", "choices", "-"])
        .assert()
        .code(2)
        .stderr(predicate::str::contains("name a file"));
}

#[test]
fn check_prints_the_sizes_of_the_papers_spaces() {
    let folder = tempfile::tempdir().unwrap();
    for (space, size, lines) in [
        (
            "cifar10-v1",
            "2.3e15 architectures (6 layers) to 2.1e93 (20 layers)",
            "# networks of 20 layers: ",
        ),
        (
            "cifar10-v2",
            "1.2e21 architectures (6 layers) to 2.5e112 (20 layers)",
            "# networks of 6 layers: ",
        ),
        (
            "cifar10-v3",
            "9.1e46 architectures (39 layers)",
            "# networks of 39 layers: ",
        ),
    ] {
        let file = format!("{space}.toml");
        netwright(folder.path())
            .args(["init", space, &file])
            .assert()
            .success();
        let printed = netwright(folder.path())
            .args(["check", &file])
            .output()
            .unwrap();
        let printed = String::from_utf8(printed.stdout).unwrap();
        assert!(
            printed.contains(&format!("# search space: {size}")) && printed.contains(lines),
            "{printed}"
        );
        assert!(!printed.contains("end as failed"), "{printed}");
    }
    let limited = netwright(folder.path())
        .args([
            "check",
            "cifar10-v3.toml",
            "--set",
            "space.max_parameters=1",
        ])
        .output()
        .unwrap();
    let printed = String::from_utf8(limited.stdout).unwrap();
    assert!(
        printed.contains("# warning: no network fits space.max_parameters"),
        "{printed}"
    );
    let json = netwright(folder.path())
        .args(["check", "cifar10-v1.toml", "--json"])
        .output()
        .unwrap();
    let facts: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    let parameters = &facts["sizes"][1]["parameters"];
    let published = 4_200_000;
    assert_eq!(facts["sizes"][1]["layers"], 20);
    assert!(
        (parameters["smallest"].as_u64().unwrap()..parameters["largest"].as_u64().unwrap())
            .contains(&published),
        "{parameters}"
    );
}

#[test]
fn a_condition_that_cannot_work_is_refused_with_its_line() {
    let head = "[space]\nkind = \"choices\"\n[[space.decision]]\nname = \"op\"\noptions = [\"conv\", \"pool\"]\n[[space.decision]]\nname = \"k\"\noptions = [1, 2]\n";
    for (when, message) in [
        (
            "{ opp = \"conv\" }",
            "c.toml:9: space.decision[2].when: no decision is named \"opp\"; the nearest is \"op\"",
        ),
        (
            "{ op = \"max\" }",
            "c.toml:9: space.decision[2].when: \"op\" has no option \"max\"; its options are \"conv\", \"pool\"",
        ),
        (
            "{ k = 1 }",
            "c.toml:9: space.decision[2].when: \"k\" cannot be its own condition",
        ),
        (
            "\"conv\"",
            "c.toml:9: space.decision[2].when = \"conv\": must name other decisions",
        ),
        ("{ op = { is = 1 } }", "c.toml:9: space.decision[2].when = "),
    ] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(
            folder.path().join("c.toml"),
            format!("{head}when = {when}\n[child]\nevaluator = \"table\"\n"),
        )
        .unwrap();
        netwright(folder.path())
            .args(["check", "c.toml"])
            .assert()
            .code(2)
            .stderr(predicate::str::contains(message));
    }
}

#[test]
fn init_puts_the_choices_table_beside_the_config() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("sub")).unwrap();
    netwright(folder.path())
        .args(["init", "choices", "sub/mine.toml"])
        .assert()
        .success();
    let printed = netwright(folder.path())
        .args(["check", "sub/mine.toml"])
        .output()
        .unwrap();
    let printed: toml::Table = String::from_utf8(printed.stdout).unwrap().parse().unwrap();
    let path = printed["child"]["table"]["path"].as_str().unwrap();
    assert_eq!(path, "sub/mine.csv");
    assert!(folder.path().join(path).exists());
}

#[test]
fn devices_lists_the_cpu() {
    let folder = tempfile::tempdir().unwrap();
    netwright(folder.path())
        .arg("devices")
        .assert()
        .success()
        .stdout(predicate::str::starts_with("cpu"));
    let output = netwright(folder.path())
        .args(["devices", "--json"])
        .output()
        .unwrap();
    let devices: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(devices[0]["device"], "cpu");
    assert!(
        devices[0]["cores"].as_u64().unwrap() >= 1
            && devices[0]["memory_bytes"].as_u64().unwrap() > 0
    );
}

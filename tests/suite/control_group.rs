//! A container's limits (control groups, versions 1 and 2) are the machine that a search sees:
//! devices, lanes and the memory of children follow them.

use super::common::{Search, count, events_of, netwright, succeeds, trials};
use serde_json::Value;
use std::path::Path;

/// Half a core's worth of CPU time, 300 MB of memory, as a container of version 2 shows them.
const VERSION_2: &[(&str, &str)] = &[
    ("proc/self/cgroup", "0::/\n"),
    (
        "proc/self/mountinfo",
        "30 24 0:26 / /sys/fs/cgroup ro - cgroup2 cgroup rw\n",
    ),
    ("sys/fs/cgroup/cpu.max", "50000 100000\n"),
    ("sys/fs/cgroup/memory.max", "314572800\n"),
];

/// The same as a container of version 1 shows it.
const VERSION_1: &[(&str, &str)] = &[
    (
        "proc/self/cgroup",
        "4:memory:/docker/ab\n2:cpu,cpuacct:/docker/ab\n",
    ),
    (
        "proc/self/mountinfo",
        "40 39 0:30 /docker/ab /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu,cpuacct\n\
         41 39 0:31 /docker/ab /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n",
    ),
    ("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "50000\n"),
    ("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"),
    ("sys/fs/cgroup/memory/memory.limit_in_bytes", "314572800\n"),
];

fn container(files: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    root
}

fn devices(root: &Path, arguments: &[&str]) -> String {
    succeeds(
        netwright()
            .arg("devices")
            .args(arguments)
            .env("NETWRIGHT_CGROUP_ROOT", root),
    )
}

#[test]
fn devices_and_lanes_are_those_of_the_container() {
    for files in [VERSION_2, VERSION_1] {
        let root = container(files);
        let json: Value = serde_json::from_str(&devices(root.path(), &["--json"])).unwrap();
        assert_eq!(
            (&json[0]["cores"], &json[0]["memory_bytes"]),
            (&1.into(), &314_572_800.into())
        );
        assert!(json[0]["machine"]["memory_bytes"].as_u64() > Some(314_572_800));
        let text = devices(root.path(), &[]);
        assert!(
            text.contains(", 1 core, 0.3 GiB") && text.contains("this process may use no more)"),
            "{text}"
        );
        let search = Search::new(4, "");
        succeeds(
            search
                .command("run")
                .env("NETWRIGHT_CGROUP_ROOT", root.path()),
        );
        assert_eq!(events_of(&search.run_dir("run"), "lanes"), ["cpu-0 on cpu"]);
    }
}

#[test]
fn a_child_that_does_not_fit_into_the_container_fails_alone() {
    let root = container(VERSION_2);
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let mut command = netwright();
    command
        .args([
            "search",
            concat!(env!("CARGO_MANIFEST_DIR"), "/config/quickstart.toml"),
        ])
        .arg("--run-dir")
        .arg(&run)
        .env("NETWRIGHT_CGROUP_ROOT", root.path());
    // One of the two widths needs some gigabytes, which this machine may well have.
    for set in [
        "telemetry.listen=off",
        "run.trials=12",
        "space.layers=1",
        "space.filters=[4, 4096]",
        "controller.children=4",
        "child.epochs=1",
        "child.batch_size=256",
        "data.train_size=256",
        "data.validation_size=16",
        "devices.use=[\"cpu\"]",
        "devices.lanes_per_device=1",
    ] {
        command.args(["--set", set]);
    }
    succeeds(&mut command);
    let trials = trials(&run);
    assert_eq!(trials.len(), 12);
    let completed = trials.iter().filter(|trial| trial.3 == "completed").count();
    let refused = count(
        &run,
        "SELECT count(*) FROM trials WHERE status = 'failed' AND error LIKE '%MiB are there for it%'",
    );
    assert!(completed > 0 && refused > 0, "{trials:?}");
    assert_eq!(completed as u64 + refused, 12, "{trials:?}");
}

//! A search on GPUs, which a driver of the tests plays (`src/kernels/cuda/tests/driver.cpp`): real
//! kernels, four devices, no hardware. And what is said where there is no GPU to be used.

use super::common::{
    Search, assert_verifies, database, finished, needs, netwright, refused, stdout, text,
};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the driver is; None: it cannot be built here.
fn driver() -> Option<PathBuf> {
    if !needs::has("searches on GPUs", &["c++"], "sudo apt-get install g++") {
        return None;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(root.join("src/kernels/cuda/tests/driver.sh"))
        .arg(root.join("target"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output));
    Some(PathBuf::from(stdout(&output).trim()))
}

/// Small children, one epoch each.
fn search(trials: usize, devices: &str) -> Search {
    let search = Search::new(1, "");
    let config = format!(
        "[run]\ntrials = {trials}\n[space]\nlayers = 1\nfilters = [2, 3]\nfilter_height = [3]\nfilter_width = [3]\n\
         stride_height = [4]\nstride_width = [4]\n[controller]\nchildren = {trials}\n[child]\nepochs = 2\nbatch_size = 16\n\
         [data]\ntrain_size = 48\nvalidation_size = 16\n[devices]\n{devices}\n[telemetry]\nlisten = \"off\"\n"
    );
    std::fs::write(search.folder.path().join("search.toml"), config).unwrap();
    search
}

fn with_driver(command: &mut Command, driver: &Path) {
    command.env("LD_LIBRARY_PATH", driver);
}

/// Of each trial: its status and the device that it was trained on.
fn devices(run: &Path) -> Vec<(String, String)> {
    let connection = database(run).unwrap();
    let mut statement = connection
        .prepare("SELECT status, device FROM trials ORDER BY id")
        .unwrap();
    let rows = statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();
    rows.map(Result::unwrap).collect()
}

#[test]
fn four_gpus_are_shown_and_auto_spreads_children_over_them() {
    let Some(driver) = driver() else { return };
    let mut shown = netwright();
    shown.arg("devices");
    with_driver(&mut shown, &driver);
    let shown = stdout(&shown.output().unwrap());
    for number in 0..4 {
        let line = shown
            .lines()
            .find(|line| line.starts_with(&format!("cuda:{number}")));
        let line = line.unwrap_or_else(|| panic!("{shown}"));
        assert!(
            line.contains(&format!("Stand-in GPU {number}")) && line.contains("GPU-a"),
            "{line}"
        );
    }
    let search = search(8, "use = \"auto\"");
    let mut command = search.command("run");
    with_driver(&mut command, &driver);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    assert!(
        stdout(&output).contains("devices: cuda:0, cuda:1, cuda:2, cuda:3; 4 children at a time"),
        "{}",
        text(&output)
    );
    let run = search.run_dir("run");
    let trained = devices(&run);
    assert_eq!(trained.len(), 8);
    for number in 0..4 {
        let device = format!("cuda:{number}");
        assert!(
            trained.contains(&("completed".to_owned(), device.clone())),
            "{device}: {trained:?}"
        );
    }
    assert_verifies(&run);
}

#[test]
fn after_an_error_that_sticks_the_process_starts_again_and_loses_no_trial() {
    let Some(driver) = driver() else { return };
    let search = search(6, "use = [\"cuda:0\", \"cuda:1\"]");
    let once = search.folder.path().join("fault");
    let mut command = search.command("run");
    with_driver(&mut command, &driver);
    command.env("STAND_IN_FAULT", format!("1:20:{}", once.display()));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    assert!(once.exists(), "there was a fault");
    let run = search.run_dir("run");
    let log = std::fs::read_to_string(run.join("log/search.log")).unwrap();
    assert!(
        log.contains("an illegal memory access was encountered"),
        "{log}"
    );
    assert_eq!(finished(&run), 6);
    let trained = devices(&run);
    assert!(
        trained.iter().all(|(status, _)| status == "completed"),
        "{trained:?}"
    );
}

#[test]
fn what_cannot_be_used_is_said_and_auto_takes_the_cpu() {
    let Some(driver) = driver() else { return };
    for (variable, value, reason) in [
        (
            "STAND_IN_DRIVER",
            "12040",
            "too old: it knows CUDA 12.4, and 13.0 is needed (driver 580 or later)",
        ),
        (
            "STAND_IN_CAPABILITY",
            "75",
            "compute capability 7.5, and 8.0 is needed",
        ),
        ("STAND_IN_DEVICES", "0", "shows no GPU"),
    ] {
        let auto = search(1, "use = \"auto\"\nlanes_per_device = 1");
        let mut command = auto.command("run");
        with_driver(&mut command, &driver);
        let output = command.env(variable, value).output().unwrap();
        let said = stdout(&output);
        assert!(
            output.status.success() && said.contains("devices: cpu (") && said.contains(reason),
            "{}",
            text(&output)
        );
        let listed = search(1, "use = [\"cuda:0\"]");
        let mut command = listed.command("run");
        with_driver(&mut command, &driver);
        let message = refused(command.env(variable, value));
        assert!(
            message.contains("devices.use: cuda:0 cannot be used") && message.contains(reason),
            "{message}"
        );
    }
    let listed = search(1, "use = [\"cuda:9\"]");
    let mut command = listed.command("run");
    with_driver(&mut command, &driver);
    let message = refused(&mut command);
    assert!(
        message.contains("there is no cuda:9 here") && message.contains("cuda:3"),
        "{message}"
    );
}

#[test]
fn the_binary_links_no_library_of_cudas() {
    if !needs::has(
        "the libraries that the binary links",
        &["ldd"],
        "ldd comes with the C library",
    ) {
        return;
    }
    let output = Command::new("ldd")
        .arg(env!("CARGO_BIN_EXE_netwright"))
        .output()
        .unwrap();
    let libraries = stdout(&output);
    assert!(
        libraries.contains("libc") && !libraries.contains("cu") && !libraries.contains("nv"),
        "{libraries}"
    );
}

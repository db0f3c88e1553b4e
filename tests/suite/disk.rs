//! A disk that is really full: the run waits, loses nothing, and goes on when there is room; a
//! child is not failed by a checkpoint that cannot be written.

use super::common::small_disk::SmallDisk;
use super::common::{
    ENDLESS, Running, Search, assert_verifies, count, finished, netwright, sampled, stderr,
    succeeds, text, wait_until,
};
use std::process::Stdio;

#[test]
fn a_run_on_a_full_disk_waits_loses_nothing_and_goes_on() {
    let Some(disk) = SmallDisk::of(
        "disk::a_run_on_a_full_disk_waits_loses_nothing_and_goes_on",
        64,
    ) else {
        return;
    };
    let search = Search::new(ENDLESS, "[controller]\nreplicas = 3\nchildren = 4\n");
    let run = disk.folder().join("run");
    let stderr = search.folder.path().join("stderr");
    let command = || {
        let mut command = netwright();
        command
            .arg("search")
            .arg(search.folder.path().join("search.toml"))
            .arg("--run-dir")
            .arg(&run);
        command
    };
    let said = || std::fs::read_to_string(&stderr).unwrap();
    let waits = || {
        said()
            .matches("the run waits and tries again, nothing is lost")
            .count()
    };
    let mut process = Running::start(
        command()
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&stderr).unwrap()),
    );
    wait_until("it trains", || finished(&run) > 100);
    disk.fill();
    wait_until("it says that it waits", || waits() > 0);
    assert!(said().contains("disk is full"), "{}", said());
    let before = finished(&run);
    disk.empty();
    wait_until("it goes on", || finished(&run) > before + 100);
    assert!(said().contains("writing works again; nothing was lost"));
    // Full again, and killed so: the next one goes on where it was.
    let said_before = waits();
    disk.fill();
    wait_until("it says again that it waits", || waits() > said_before);
    process.kill();
    disk.empty();
    assert!(finished(&run) > before);
    let trials = sampled(&run) + 20;
    let more = format!("run.trials={trials}");
    succeeds(command().args(["--set", &more]));
    assert_eq!(finished(&run), trials);
    assert_verifies(&run);
}

#[test]
fn a_checkpoint_that_finds_no_room_fails_no_child() {
    let Some(disk) = SmallDisk::of("disk::a_checkpoint_that_finds_no_room_fails_no_child", 1)
    else {
        return;
    };
    let search = Search::new(1, "");
    // Half a million parameters, and each has its velocity: 4 MB.
    let config = "[run]\ntrials = 2\n[space]\nlayers = 2\nskip_connections = false\nfilters = [100, 104]\nfilter_height = [7]\nfilter_width = [7]\n\
                  stride_height = [4]\nstride_width = [4]\n[child]\nepochs = 3\ncheckpoint_seconds = 0\n[controller]\nchildren = 2\n\
                  [data]\ntrain_size = 64\nvalidation_size = 64\n[telemetry]\nlisten = \"off\"\n";
    std::fs::write(search.folder.path().join("search.toml"), config).unwrap();
    let run = search.run_dir("run");
    std::fs::create_dir(&run).unwrap();
    std::os::unix::fs::symlink(disk.folder(), run.join("checkpoints")).unwrap();
    let output = search.command("run").output().unwrap();
    let said = stderr(&output);
    assert!(output.status.success(), "{}", text(&output));
    assert!(
        said.contains("child.checkpoint: cannot be written: No space left on device"),
        "nothing of it in {said:?}"
    );
    let completed = "SELECT count(*) FROM trials WHERE status = 'completed'";
    assert_eq!(count(&run, completed), 2);
    let folders = std::fs::read_dir(disk.folder())
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let left: Vec<_> = folders
        .flat_map(|folder| std::fs::read_dir(folder).unwrap())
        .collect();
    assert!(left.is_empty(), "half a checkpoint is in the way: {left:?}");
}

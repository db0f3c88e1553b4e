//! A disk that is really full: the run waits, loses nothing, and goes on when there is room; a
//! child is not failed by a checkpoint that cannot be written.

use super::common::small_disk::SmallDisk;
use super::common::{Search, database, finished, netwright};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_run_on_a_full_disk_waits_loses_nothing_and_goes_on() {
    let Some(disk) = SmallDisk::of(
        "disk::a_run_on_a_full_disk_waits_loses_nothing_and_goes_on",
        64,
    ) else {
        return;
    };
    let search = Search::new(1_000_000, "[controller]\nreplicas = 3\nchildren = 4\n");
    let (run, stderr) = (
        disk.folder().join("run"),
        search.folder.path().join("stderr"),
    );
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
    let wait = |what: &str, done: &dyn Fn() -> bool| {
        let started = Instant::now();
        while !done() {
            assert!(
                started.elapsed() < Duration::from_mins(2),
                "never: {what}: {}",
                said()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let process = command()
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(&stderr).unwrap())
        .spawn()
        .unwrap();
    let process = Killed(process);
    wait("it starts", &|| finished(&run) > 100);
    disk.fill();
    wait("it says so", &|| {
        said().contains("the run waits and tries again, nothing is lost")
    });
    assert!(said().contains("disk is full"), "{}", said());
    let held = finished(&run);
    disk.empty();
    wait("it goes on", &|| finished(&run) > held + 100);
    assert!(said().contains("writing works again; nothing was lost"));
    // Full again, and killed so: the next one goes on where it was.
    disk.fill();
    wait("it says so again", &|| {
        said().matches("the run waits").count() == 2
    });
    drop(process);
    disk.empty();
    let before = finished(&run);
    let sampled: u64 = database(&run)
        .unwrap()
        .query_row("SELECT count(*) FROM trials", [], |row| row.get(0))
        .unwrap();
    let output = command()
        .args(["--set", &format!("run.trials={}", sampled + 20)])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(before > held && finished(&run) == sampled + 20);
    let verified = netwright().arg("verify").arg(&run).output().unwrap();
    assert!(
        verified.status.success(),
        "{}",
        String::from_utf8_lossy(&verified.stdout)
    );
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
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains("child.checkpoint: cannot be written: No space left on device"),
        "nothing of it in {said:?}"
    );
    let completed = "SELECT count(*) FROM trials WHERE status = 'completed'";
    let completed: u64 = database(&run)
        .unwrap()
        .query_row(completed, [], |row| row.get(0))
        .unwrap();
    assert_eq!(completed, 2);
    let folders = std::fs::read_dir(disk.folder())
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let left: Vec<_> = folders
        .flat_map(|folder| std::fs::read_dir(folder).unwrap())
        .collect();
    assert!(left.is_empty(), "half a checkpoint is in the way: {left:?}");
}

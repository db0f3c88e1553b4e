//! A disk that is really full: the run waits, loses nothing, and goes on when there is room; a child is not failed by a checkpoint that
//! cannot be written.

use super::common::small_disk::SmallDisk;
use super::common::{Search, database, finished};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a command whose complaints go to this file.
fn start(mut command: Command, stderr: &std::path::Path) -> Killed {
    Killed(command.stdout(Stdio::null()).stderr(std::fs::File::create(stderr).unwrap()).spawn().unwrap())
}

fn wait(what: &str, done: impl Fn() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < Duration::from_secs(120), "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_run_on_a_full_disk_waits_loses_nothing_and_goes_on() {
    let search = Search::new(1_000_000, "[controller]\nreplicas = 3\nchildren = 4\n");
    let run = search.run_dir("run");
    std::fs::create_dir(&run).unwrap();
    let Some(disk) = SmallDisk::mount(&run, 64) else { return };
    let said = search.folder.path().join("stderr");
    let says = |part: &str| std::fs::read_to_string(&said).unwrap().contains(part);
    let process = start(disk.run(&search.command("run")), &said);
    wait("it starts", || finished(&disk.folder()) > 100);
    disk.fill();
    wait("it says so", || says("the run waits and tries again, nothing is lost"));
    assert!(says("disk is full"), "{}", std::fs::read_to_string(&said).unwrap());
    let held = finished(&disk.folder());
    disk.empty();
    wait("it goes on", || finished(&disk.folder()) > held + 100);
    assert!(says("writing works again; nothing was lost"));
    // Full again, and killed so: the next one goes on where it was.
    disk.fill();
    wait("it says so again", || std::fs::read_to_string(&said).unwrap().matches("the run waits").count() == 2);
    drop(process);
    disk.empty();
    let before = finished(&disk.folder());
    let sampled: u64 = database(&disk.folder()).unwrap().query_row("SELECT count(*) FROM trials", [], |row| row.get(0)).unwrap();
    let mut again = search.command("run");
    let output = disk.run(again.args(["--set", &format!("run.trials={}", sampled + 20)])).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(before > held && finished(&disk.folder()) == sampled + 20);
    let mut verify = super::common::netwright();
    let verified = disk.run(verify.arg("verify").arg(&run)).output().unwrap();
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
}

#[test]
fn a_checkpoint_that_finds_no_room_fails_no_child() {
    let search = Search::new(1, "");
    let config = "[run]\ntrials = 2\n[space]\nlayers = 2\nfilters = [256]\nfilter_height = [7]\nfilter_width = [7]\nstride_height = [4]\nstride_width = [4]\n\
                  [child]\nepochs = 3\ncheckpoint_seconds = 0\n[controller]\nchildren = 2\n[data]\ntrain_size = 64\nvalidation_size = 64\n\
                  [telemetry]\nlisten = \"off\"\n";
    std::fs::write(search.folder.path().join("search.toml"), config).unwrap();
    let (run, checkpoints) = (search.run_dir("run"), search.run_dir("run/checkpoints"));
    std::fs::create_dir_all(&checkpoints).unwrap();
    // The network has three million parameters, and each its velocity.
    let Some(disk) = SmallDisk::mount(&checkpoints, 4) else { return };
    let output = disk.run(&search.command("run")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("child.checkpoint: cannot be written: No space left on device"), "{said}");
    let completed: u64 =
        database(&run).unwrap().query_row("SELECT count(*) FROM trials WHERE status = 'completed'", [], |row| row.get(0)).unwrap();
    assert_eq!(completed, 2);
    let left: Vec<_> =
        std::fs::read_dir(disk.folder()).unwrap().flat_map(|entry| std::fs::read_dir(entry.unwrap().path()).unwrap()).collect();
    assert!(left.is_empty(), "{left:?}");
}

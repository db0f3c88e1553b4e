//! Who works on a run is asked of its lock, whatever the lock file says: its process may be gone and
//! its number another's, or on a machine of another name.

use super::common::small_disk::SmallDisk;
use super::common::{
    ENDLESS, Running, Search, assert_verifies, finished, netwright, printed, stderr, succeeds,
    text, wait_until,
};
use std::path::Path;
use std::process::Command;

/// The life of a run, as `status --json` names it.
fn life(run: &Path) -> String {
    let status: serde_json::Value =
        serde_json::from_str(&printed("status", run, &["--json"])).unwrap();
    status["life"].as_str().unwrap().to_owned()
}

#[test]
fn a_run_is_at_work_as_long_as_its_lock_is_held_and_no_longer() {
    let search = Search::new(ENDLESS, "");
    let run = search.run_dir("run");
    let lock = run.join("run.lock");
    let mut process = Running::start_silent(&mut search.command("run"));
    wait_until("it works", || finished(&run) > 10);
    let own = std::fs::read_to_string(&lock).unwrap();
    let host = own.split(' ').next().unwrap().to_owned();
    // Dead processes' numbers are given again, hosts are renamed (a container's with each start),
    // and the file can be lost.
    let texts = [
        own.clone(),
        format!("{host} {}\n", std::process::id()),
        format!("{host} 4194999\n"),
        "elsewhere 1\n".to_owned(),
        "elsewhere\n".to_owned(),
        String::new(),
        "\u{1F980} 12 x".to_owned(),
    ];
    for text in &texts {
        std::fs::write(&lock, text).unwrap();
        assert_eq!(life(&run), "running", "{text:?}");
        let second = search.command("run").output().unwrap();
        assert_eq!(
            second.status.code(),
            Some(1),
            "{}",
            super::common::text(&second)
        );
        assert!(
            stderr(&second).contains("another netwright runs here"),
            "{}",
            stderr(&second)
        );
    }
    assert!(!process.has_ended(), "asking ends no search");
    process.kill();
    for text in &texts {
        std::fs::write(&lock, text).unwrap();
        assert_eq!(life(&run), "interrupted", "{text:?}");
        assert!(printed("status", &run, &[]).contains("interrupted: its process is gone"));
    }
    std::fs::remove_file(&lock).unwrap();
    assert_eq!(life(&run), "interrupted");
    std::fs::write(&lock, "elsewhere 1\n").unwrap();
    let more = format!("run.trials={}", finished(&run) + 10);
    succeeds(search.command("run").args(["--set", &more]));
    assert_eq!(life(&run), "closed");
}

#[test]
fn asking_for_the_status_again_and_again_keeps_no_search_from_starting() {
    let search = Search::new(20, "");
    let run = search.run_dir("run");
    succeeds(&mut search.command("run"));
    // A run that was not closed is asked for its lock.
    rusqlite::Connection::open(run.join("search.db"))
        .unwrap()
        .execute_batch("UPDATE meta SET value = 'no' WHERE key = 'closed'")
        .unwrap();
    let ask = "while :; do flock -s -n \"$0\" true; done";
    let mut asking = Running::start(
        Command::new("sh")
            .arg("-c")
            .arg(ask)
            .arg(run.join("run.lock")),
    );
    for trials in [30, 40, 50] {
        let more = format!("run.trials={trials}");
        succeeds(search.command("run").args(["--set", &more]));
    }
    assert!(!asking.has_ended());
    assert_eq!(finished(&run), 50);
}

#[test]
fn a_run_on_a_read_only_file_system_is_read_and_a_search_of_it_refused() {
    let Some(disk) = SmallDisk::of(
        "lock::a_run_on_a_read_only_file_system_is_read_and_a_search_of_it_refused",
        16,
    ) else {
        return;
    };
    let search = Search::new(40, "");
    let run = disk.folder().join("run");
    let command = || {
        let mut command = netwright();
        command
            .arg("search")
            .arg(search.folder.path().join("search.toml"))
            .arg("--run-dir")
            .arg(&run);
        command
    };
    succeeds(&mut command());
    for side in ["search.db-wal", "search.db-shm"] {
        let _ = std::fs::remove_file(run.join(side));
    }
    let mount = |options: &str| {
        let status = Command::new("mount")
            .args(["-o", options])
            .arg(disk.folder())
            .status();
        assert!(status.unwrap().success(), "mount -o {options}");
    };
    mount("remount,ro");
    assert_eq!(life(&run), "closed");
    assert!(printed("top", &run, &[]).contains("rank"));
    assert_verifies(&run);
    for command in [&mut command(), netwright().arg("restore").arg(&run)] {
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", text(&output));
        assert!(
            stderr(&output).contains("cannot be written: Read-only file system")
                && stderr(&output).contains("a directory that it may write"),
            "{}",
            text(&output)
        );
    }
    mount("remount,rw");
}

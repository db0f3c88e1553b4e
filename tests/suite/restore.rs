//! A run whose database is damaged, gone or older than its copy: whoever meets it is told, no
//! command makes it worse, and `netwright restore` makes the copy the database again.

use super::common::{
    ENDLESS, Running, Search, assert_verifies, finished, netwright, printed, refused, sampled,
    stderr, stdout, succeeds, text, trials, wait_until,
};
use std::path::{Path, PathBuf};

const TRIALS: u64 = 40;

/// A finished run with a copy of all of it: the second start takes the copy.
fn finished_run() -> (Search, PathBuf) {
    let search = Search::new(TRIALS, "");
    for _ in 0..2 {
        succeeds(&mut search.command("run"));
    }
    let run = search.run_dir("run");
    (search, run)
}

/// The bytes of a file of the run.
fn bytes(run: &Path, name: &str) -> Vec<u8> {
    std::fs::read(run.join(name)).unwrap()
}

/// Does something to a run's database.
type Damage = fn(&Path);

const DAMAGES: &[(&str, Damage)] = &[
    ("missing", |database| {
        std::fs::remove_file(database).unwrap();
    }),
    ("empty", |database| std::fs::write(database, "").unwrap()),
    ("a few bytes", |database| {
        std::fs::write(database, "SQLite for").unwrap();
    }),
    ("truncated", |database| {
        let whole = std::fs::read(database).unwrap();
        std::fs::write(database, &whole[..whole.len() / 3]).unwrap();
    }),
    ("garbage", |database| {
        std::fs::write(database, [0xA5; 9_000]).unwrap();
    }),
    ("zeros", |database| {
        std::fs::write(database, [0; 9_000]).unwrap();
    }),
    ("without tables", |database| {
        std::fs::remove_file(database).unwrap();
        let connection = rusqlite::Connection::open(database).unwrap();
        connection.execute_batch("PRAGMA user_version = 3").unwrap();
    }),
];

#[test]
fn a_run_without_its_database_is_refused_with_the_way_back_which_leads_there() {
    for (name, damage) in DAMAGES {
        let (search, run) = finished_run();
        let before = trials(&run);
        for side in ["search.db-wal", "search.db-shm"] {
            let _ = std::fs::remove_file(run.join(side));
        }
        damage(&run.join("search.db"));
        let copy = bytes(&run, "search.backup.db");
        let way_back = format!("`netwright restore {}`", run.display());
        for subcommand in ["status", "top", "verify", "page", "report"] {
            let output = netwright().arg(subcommand).arg(&run).output().unwrap();
            let said = text(&output);
            assert_eq!(
                output.status.code(),
                Some(1),
                "{name}, {subcommand}: {said}"
            );
            assert!(
                said.contains(&way_back) && said.contains("40 trials, 40 completed"),
                "{name}, {subcommand}: {said}"
            );
        }
        for arguments in [&[][..], &["--set", "run.trials=60"]] {
            let output = search.command("run").args(arguments).output().unwrap();
            assert_eq!(output.status.code(), Some(1), "{name}: {}", text(&output));
            assert!(
                stderr(&output).contains(&way_back),
                "{name}: {}",
                text(&output)
            );
        }
        assert_eq!(
            bytes(&run, "search.backup.db"),
            copy,
            "{name}: the copy is as it was"
        );
        let said = printed("restore", &run, &[]);
        assert!(said.contains("40 trials, 40 completed"), "{name}: {said}");
        assert_eq!(trials(&run), before, "{name}");
        assert_verifies(&run);
        succeeds(search.command("run").args(["--set", "run.trials=44"]));
        assert_eq!(finished(&run), 44, "{name}");
        if *name != "missing" {
            assert!(
                run.join("search.replaced-1.db").exists(),
                "{name}: it is kept"
            );
        }
    }
}

#[test]
fn a_log_that_has_lost_its_database_is_neither_deleted_nor_applied_to_the_copy() {
    let search = Search::new(ENDLESS, "");
    let run = search.run_dir("run");
    succeeds(search.command("run").args(["--set", "run.trials=40"]));
    let mut process = Running::start_silent(&mut search.command("run"));
    wait_until("it goes on", || finished(&run) > 60);
    process.kill();
    let log = bytes(&run, "search.db-wal");
    assert!(!log.is_empty());
    for gone in [true, false] {
        let _ = std::fs::remove_file(run.join("search.db"));
        if !gone {
            std::fs::write(run.join("search.db"), "").unwrap();
        }
        for subcommand in ["status", "top"] {
            let output = netwright().arg(subcommand).arg(&run).output().unwrap();
            assert_eq!(output.status.code(), Some(1), "{}", text(&output));
        }
        let output = search.command("run").output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", text(&output));
        assert!(bytes(&run, "search.db-wal") == log, "the log is as it was");
    }
    let said = printed("restore", &run, &["--json"]);
    let restoration: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        (
            restoration["restored"].clone(),
            restoration["trials"].clone()
        ),
        (true.into(), 40.into())
    );
    assert_eq!(sampled(&run), 40);
    assert!(bytes(&run, "search.replaced-1.db-wal") == log);
    succeeds(search.command("run").args(["--set", "run.trials=60"]));
    assert_verifies(&run);
}

#[test]
fn a_copy_is_never_replaced_by_a_database_that_holds_less() {
    let search = Search::new(TRIALS, "");
    let run = search.run_dir("run");
    succeeds(&mut search.command("run"));
    let older = bytes(&run, "search.db");
    for _ in 0..2 {
        succeeds(search.command("run").args(["--set", "run.trials=90"]));
    }
    let newer = trials(&run);
    std::fs::write(run.join("search.db"), older).unwrap();
    let copy = bytes(&run, "search.backup.db");
    let output = search.command("run").output().unwrap();
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("it is older than its copy: it holds 40 trials, 40 completed, and ")
            && said.contains("search.backup.db 90 trials, 90 completed")
            && said.contains("netwright restore"),
        "{said}"
    );
    assert_eq!(bytes(&run, "search.backup.db"), copy);
    assert!(
        printed("status", &run, &[]).contains("finished    40"),
        "it can be read"
    );
    printed("restore", &run, &[]);
    assert_eq!(trials(&run), newer);
    assert_eq!(
        rusqlite::Connection::open(run.join("search.replaced-1.db"))
            .unwrap()
            .query_row("SELECT count(*) FROM trials", [], |row| row
                .get::<_, u64>(0))
            .unwrap(),
        40,
        "the older one is kept"
    );
}

#[test]
fn a_copy_that_is_damaged_too_is_named_and_fresh_keeps_all_of_it() {
    for (name, damage) in DAMAGES {
        let (search, run) = finished_run();
        for side in ["search.db-wal", "search.db-shm"] {
            let _ = std::fs::remove_file(run.join(side));
        }
        damage(&run.join("search.db"));
        std::fs::write(run.join("search.backup.db"), [0x5A; 5_000]).unwrap();
        for subcommand in ["status", "top", "verify", "restore"] {
            let output = netwright().arg(subcommand).arg(&run).output().unwrap();
            let said = stderr(&output);
            assert_eq!(
                output.status.code(),
                Some(1),
                "{name}, {subcommand}: {said}"
            );
            assert!(
                said.contains("search.backup.db")
                    && said.contains("damaged")
                    && said.contains("report/trials.csv lists the trials that it knew")
                    && said.contains("--fresh"),
                "{name}, {subcommand}: {said}"
            );
            assert_eq!(said.lines().count(), 1, "{said}");
        }
        let output = search.command("run").output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{name}: {}", text(&output));
        succeeds(search.command("run").arg("--fresh"));
        assert_eq!(finished(&run), TRIALS);
        assert_eq!(
            bytes(&search.run_dir("run.1"), "search.backup.db"),
            [0x5A; 5_000]
        );
    }
}

#[test]
fn restore_changes_nothing_where_there_is_nothing_to_restore() {
    let (search, run) = finished_run();
    let before = bytes(&run, "search.db");
    let said = printed("restore", &run, &[]);
    assert!(
        said.contains("is whole (40 trials, 40 completed)")
            && said.contains("nothing is to be restored"),
        "{said}"
    );
    assert!(bytes(&run, "search.db") == before);
    assert!(!run.join("search.replaced-1.db").exists());
    // Without a copy there is nothing to restore from.
    std::fs::remove_file(run.join("search.backup.db")).unwrap();
    std::fs::remove_file(run.join("search.db")).unwrap();
    let output = netwright().arg("restore").arg(&run).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(
        stderr(&output).contains("search.backup.db: is not there, so nothing can be restored"),
        "{}",
        text(&output)
    );
    let said = refused(netwright().arg("restore").arg(search.run_dir("absent")));
    assert!(said.contains("there is no run here"), "{said}");
}

#[test]
fn restore_waits_for_nobody_and_leaves_a_run_at_work_alone() {
    let search = Search::new(ENDLESS, "");
    let run = search.run_dir("run");
    let mut process = Running::start_silent(&mut search.command("run"));
    wait_until("it works", || finished(&run) > 10);
    let output = netwright().arg("restore").arg(&run).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let expected = "another netwright runs here: host ";
    assert!(stderr(&output).contains(expected), "{}", text(&output));
    assert_eq!(stdout(&output), "");
    assert!(!process.has_ended());
}

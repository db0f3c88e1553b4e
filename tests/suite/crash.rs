//! `kill -9` at random instants, a full disk, a read-only directory, a torn log, a damaged
//! database: what a run promises is checked from `search.db` alone. `make faults` kills 200 times;
//! `make test` less often.

use super::common::{
    ENDLESS, Running, Search, assert_same_numbers, assert_verifies, count, database, netwright,
    sampled, stderr, stdout, succeeds, text, wait_until,
};
use netwright::random::{Key, Purpose};
use rand::Rng;
use rusqlite::Connection;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// id → decisions, seed, status, reward of every trial with an outcome.
type Outcomes = BTreeMap<u64, (String, i64, String, Option<f64>)>;

/// Checks what must be true of any run's database at any instant; describes each problem.
fn problems(connection: &Connection) -> Vec<String> {
    let rules = [
        ("trial numbers have a gap", "SELECT count(*) FROM trials WHERE (SELECT max(id) FROM trials) != (SELECT count(*) FROM trials)"),
        (
            "a minibatch's trials are not all there, or not its own",
            "SELECT count(*) FROM minibatches b WHERE b.m != (SELECT count(*) FROM trials t WHERE t.controller = b.controller AND
          t.minibatch = b.minibatch AND t.slot = t.id - b.first_id AND t.slot < b.m)",
        ),
        (
            "a trial belongs to no minibatch",
            "SELECT count(*) FROM trials t WHERE NOT EXISTS (SELECT 1 FROM minibatches b WHERE t.controller = b.controller AND t.minibatch = b.minibatch)",
        ),
        (
            "a controller's minibatches have a gap",
            "SELECT count(*) FROM (SELECT max(minibatch) + 1 - count(*) AS gap FROM minibatches GROUP BY controller) WHERE gap != 0",
        ),
        (
            "sequence numbers have a gap, or one is given twice",
            "WITH numbers AS (SELECT sequence FROM minibatches WHERE sequence IS NOT NULL UNION ALL SELECT sequence FROM changes)
          SELECT count(*) FROM numbers WHERE (SELECT max(sequence) FROM numbers) != (SELECT count(DISTINCT sequence) FROM numbers)
          OR (SELECT count(*) FROM numbers) != (SELECT count(DISTINCT sequence) FROM numbers)",
        ),
        (
            "a minibatch has its number but not all outcomes: its gradient was computed from less",
            "SELECT count(*) FROM minibatches b JOIN trials t USING (controller, minibatch) WHERE b.sequence IS NOT NULL
          AND t.status NOT IN ('completed', 'pruned', 'failed')",
        ),
        (
            "a minibatch has all outcomes but no number: its gradient is lost",
            "SELECT count(*) FROM minibatches b WHERE b.sequence IS NULL AND NOT EXISTS (SELECT 1 FROM trials t WHERE
          t.controller = b.controller AND t.minibatch = b.minibatch AND t.status NOT IN ('completed', 'pruned', 'failed'))",
        ),
        ("a completed trial has no reward", "SELECT count(*) FROM trials WHERE status = 'completed' AND reward IS NULL"),
        (
            "a snapshot is ahead of the log",
            "SELECT count(*) FROM snapshots WHERE sequence > max((SELECT coalesce(max(sequence), 0) FROM minibatches),
          (SELECT coalesce(max(sequence), 0) FROM changes))",
        ),
    ];
    let found = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, u64>(0));
    rules
        .iter()
        .filter(|(_, sql)| found(sql).unwrap() != 0)
        .map(|(problem, _)| (*problem).to_owned())
        .collect()
}

fn outcomes(connection: &Connection) -> Outcomes {
    let sql = "SELECT id, decisions, seed, status, reward FROM trials WHERE status IN ('completed', 'pruned', 'failed')";
    let mut statement = connection.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| {
        Ok((
            row.get(0)?,
            (row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?),
        ))
    });
    rows.unwrap().map(Result::unwrap).collect()
}

/// The tables exist, so the run has begun.
fn begun(run: &Path) -> Option<Connection> {
    database(run).filter(|connection| {
        connection
            .query_row("SELECT count(*) FROM trials", [], |_| Ok(()))
            .is_ok()
    })
}

fn kills() -> u64 {
    std::env::var("NETWRIGHT_KILLS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(16)
}

/// Reads a process's log until it ends; returns the trials that it announced as ended: the log has a
/// line for each, where the progress bar leaves some out.
fn announced(process: &mut Running) -> std::thread::JoinHandle<Vec<u64>> {
    let lines = BufReader::new(process.take_stderr()).lines();
    std::thread::spawn(move || {
        let ended = |line: String| {
            // The last line may be cut off.
            let line: serde_json::Value = serde_json::from_str(&line).ok()?;
            matches!(
                line["message"].as_str(),
                Some("trial completed" | "trial failed")
            )
            .then(|| line["trial"].as_u64())?
        };
        lines.map_while(Result::ok).filter_map(ended).collect()
    })
}

/// Starts the search and kills it, again and again; checks the database after each kill. Half of
/// the kills come at a random instant after trials have ended in this very process, the others at a
/// random instant after its start. Returns how many came while the process trained.
fn kill_at_random(search: &Search, run: &str, kills: u64, longest_pause: u64) -> u64 {
    let mut stream = Key::seed(kills).stream(Purpose::Shuffle);
    let dir = search.run_dir(run);
    let mut known = begun(&dir).map_or_else(Outcomes::new, |connection| outcomes(&connection));
    let mut under_way = 0;
    for kill in 0..kills {
        let mut command = search.command(run);
        command.args(["--log-format", "json"]);
        let mut process = Running::start(command.stdout(Stdio::null()).stderr(Stdio::piped()));
        let announced = announced(&mut process);
        if kill % 2 == 0 {
            wait_until("the search goes on, or ends", || {
                begun(&dir).is_some_and(|connection| outcomes(&connection).len() > known.len())
                    || process.has_ended()
            });
        }
        // The instant of the kill; nothing is expected to have happened by then.
        let pause = u64::from(stream.next_u32()) % longest_pause;
        std::thread::sleep(Duration::from_millis(pause));
        let ended = process.has_ended();
        process.kill();
        let announced = announced.join().unwrap();
        let Some(connection) = begun(&dir) else {
            continue;
        };
        let problems = problems(&connection);
        assert!(problems.is_empty(), "after kill {kill}: {problems:?}");
        let now = outcomes(&connection);
        for (trial, outcome) in &known {
            assert_eq!(
                now.get(trial),
                Some(outcome),
                "trial {trial} was finished before kill {kill}"
            );
        }
        for trial in announced {
            assert!(
                now.contains_key(&trial),
                "the log says that trial {trial} was finished before kill {kill}, and it is not on disk"
            );
        }
        under_way += u64::from(!ended && now.len() > known.len());
        known = now;
    }
    under_way
}

/// The run comes to its end, whole, and its parameters are what seed and journal say.
fn assert_ends_whole(search: &Search, run: &str, arguments: &[String]) {
    succeeds(search.command(run).args(arguments));
    let dir = search.run_dir(run);
    assert_eq!(problems(&database(&dir).unwrap()), Vec::<String>::new());
    for unfinished in [
        "SELECT count(*) FROM trials WHERE status != 'completed'",
        "SELECT count(*) FROM minibatches WHERE sequence IS NULL",
    ] {
        assert_eq!(count(&dir, unfinished), 0, "{unfinished}");
    }
    assert_verifies(&dir);
}

/// The settings with which a run ends `more` trials after those that it has.
fn soon(search: &Search, run: &str, more: u64) -> [String; 2] {
    let trials = sampled(&search.run_dir(run)) + more;
    ["--set".into(), format!("run.trials={trials}")]
}

#[test]
fn runs_killed_at_random_instants_lose_and_double_nothing() {
    let kills = kills();
    let extra = "[controller]\nreplicas = 4\nchildren = 4\nhidden = 64\n[parameter_server]\nshards = 3\naccumulate = 2\n";
    let search = Search::new(ENDLESS, extra);
    let under_way = kill_at_random(&search, "run", kills, 60);
    println!("{under_way} of {kills} kills came while trials ended");
    assert_ends_whole(&search, "run", &soon(&search, "run", 50));
    assert!(
        under_way >= kills / 2,
        "only {under_way} of {kills} kills came while trials ended"
    );
}

#[test]
fn a_run_of_one_controller_killed_at_random_instants_ends_in_the_same_numbers() {
    let search = Search::new(
        ENDLESS,
        "[controller]\nreplicas = 1\nchildren = 8\nhidden = 64\nlearning_rate = 0.01\n",
    );
    kill_at_random(&search, "killed", kills() / 2, 60);
    assert_ends_as_never_killed(&search, 50);
}

#[test]
fn training_killed_at_random_instants_ends_in_the_same_numbers() {
    let config = "[run]\ntrials = 1000000\n[space]\nlayers = 1\nfilters = [2, 3]\nskip_connections = false\n[controller]\nchildren = 4\n[child]\nepochs = 4\ncheckpoint_seconds = 0.01\n\
                  [data]\ntrain_size = 128\nvalidation_size = 64\n[devices]\nlanes_per_device = 2\n[telemetry]\nlisten = \"off\"\n";
    let search = Search::new(1, "");
    std::fs::write(search.folder.path().join("search.toml"), config).unwrap();
    kill_at_random(&search, "killed", kills() / 4, 300);
    assert_ends_as_never_killed(&search, 6);
}

/// The run `killed` is continued for some more trials, and ends in the numbers of one that was never
/// interrupted.
fn assert_ends_as_never_killed(search: &Search, more: u64) {
    let trials = soon(search, "killed", more);
    assert_ends_whole(search, "killed", &trials);
    assert_ends_whole(search, "whole", &trials);
    assert_same_numbers(&search.run_dir("whole"), &search.run_dir("killed"));
}

/// The checks above can fail: each kind of damage is found.
#[test]
fn the_checks_find_what_is_lost_doubled_or_skipped() {
    let search = Search::new(64, "");
    assert_ends_whole(&search, "run", &[]);
    for (damage, problem) in [
        ("DELETE FROM trials WHERE id = 20", "gap"),
        (
            "UPDATE trials SET status = 'queued', reward = NULL WHERE id = 9",
            "not all outcomes",
        ),
        (
            "UPDATE minibatches SET sequence = NULL WHERE number = 3",
            "is lost",
        ),
        (
            "UPDATE minibatches SET sequence = sequence + 1 WHERE sequence = (SELECT max(sequence) FROM minibatches)",
            "have a gap",
        ),
        ("UPDATE changes SET sequence = 3", "twice"),
        (
            "UPDATE trials SET minibatch = 99 WHERE id = 64",
            "no minibatch",
        ),
        (
            "DELETE FROM minibatches WHERE number = 2",
            "minibatches have a gap",
        ),
        ("UPDATE trials SET reward = NULL WHERE id = 5", "no reward"),
        (
            "UPDATE snapshots SET sequence = sequence + 50",
            "ahead of the log",
        ),
    ] {
        let copy = search.folder.path().join("copy.db");
        std::fs::copy(search.run_dir("run").join("search.db"), &copy).unwrap();
        let connection = Connection::open(&copy).unwrap();
        connection.execute_batch(damage).unwrap();
        assert!(
            problems(&connection)
                .iter()
                .any(|found| found.contains(problem)),
            "{damage}: {:?}",
            problems(&connection)
        );
    }
}

#[test]
fn verify_names_the_first_number_that_differs() {
    let search = Search::new(160, "[controller]\nchildren = 8\n");
    assert_ends_whole(&search, "run", &[]);
    let path = search.run_dir("run").join("search.db");
    let whole = std::fs::read(&path).unwrap();
    // Trials 25 to 32 are the fourth minibatch: number 5, after the settings' own.
    for (damage, expected) in [
        (
            "UPDATE trials SET reward = reward + 0.001 WHERE id = 27",
            "sequence number 6: it was compared with the baseline",
        ),
        (
            "UPDATE trials SET decisions = '[9,9,9,9]' WHERE id = 27",
            "sequence number 5",
        ),
        (
            "UPDATE snapshots SET data = zeroblob(length(data))",
            "the snapshot at sequence number 21 differs",
        ),
        (
            "DELETE FROM minibatches WHERE sequence = 7",
            "sequence number 8: the log has no entry 7",
        ),
    ] {
        for side in ["search.db-wal", "search.db-shm"] {
            let _ = std::fs::remove_file(search.run_dir("run").join(side));
        }
        std::fs::write(&path, &whole).unwrap();
        Connection::open(&path)
            .unwrap()
            .execute_batch(damage)
            .unwrap();
        let verified = netwright()
            .arg("verify")
            .arg(search.run_dir("run"))
            .output()
            .unwrap();
        let said = text(&verified);
        assert_eq!(verified.status.code(), Some(1), "{damage}: {said}");
        assert!(said.contains(expected), "{damage}: {said}");
    }
}

#[test]
fn a_torn_log_gives_an_earlier_whole_state() {
    let search = Search::new(ENDLESS, "[controller]\nreplicas = 3\nchildren = 4\n");
    let run = search.run_dir("run");
    for keep in [10, 40, 55, 80, 97] {
        kill_at_random(&search, "run", 1, 100);
        let wal = run.join("search.db-wal");
        let bytes = std::fs::read(&wal).unwrap();
        let mut torn = bytes[..bytes.len() * keep / 100].to_vec();
        let last = torn.len().saturating_sub(100);
        torn[last..].fill(0xA5);
        std::fs::write(&wal, torn).unwrap();
        // SQLite then reads the log from its beginning.
        let _ = std::fs::remove_file(run.join("search.db-shm"));
        if let Some(connection) = begun(&run) {
            assert_eq!(problems(&connection), Vec::<String>::new(), "{keep}% kept");
        }
        // What was torn off may be in the copy of the last start: no search goes on without it.
        succeeds(netwright().arg("restore").arg(&run));
    }
    assert_ends_whole(&search, "run", &soon(&search, "run", 50));
}

#[test]
fn a_damaged_database_is_refused_with_what_is_wrong_and_the_last_good_copy() {
    let search = Search::new(400, "");
    assert_ends_whole(&search, "run", &[]);
    // The next start finds it whole and keeps a copy.
    assert_ends_whole(&search, "run", &[]);
    let path = search.run_dir("run").join("search.db");
    let whole = std::fs::read(&path).unwrap();
    for (from, to) in [(0, 100), (4096 * 3, 4096 * 6)] {
        let mut damaged = whole.clone();
        damaged[from..to].fill(0xA5);
        std::fs::write(&path, &damaged).unwrap();
        let output = search.command("run").output().unwrap();
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(
            said.contains("search.db: ") && said.contains("the last good copy is"),
            "{said}"
        );
        assert!(!said.contains("panicked"), "{said}");
        assert_eq!(std::fs::read(&path).unwrap(), damaged, "nothing is changed");
    }
    std::fs::copy(search.run_dir("run").join("search.backup.db"), &path).unwrap();
    assert_ends_whole(&search, "run", &[]);
}

#[test]
fn a_full_disk_holds_the_run_up_and_loses_nothing() {
    let search = Search::new(ENDLESS, "[controller]\nreplicas = 3\nchildren = 4\n");
    let dir = search.run_dir("run");
    let netwright = search.command("run");
    // A limit on the size of files is a disk that is full; ignored, its signal leaves the write's
    // error.
    let mut command = Command::new("sh");
    command
        .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
        .arg(netwright.get_program())
        .args(netwright.get_args());
    let log = search.folder.path().join("stderr");
    let mut process = Running::start(
        command
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).unwrap()),
    );
    let said = || std::fs::read_to_string(&log).unwrap();
    let finished = || begun(&dir).map_or(0, |connection| outcomes(&connection).len());
    let pid = process.pid();
    let limit = |current: Option<u64>| {
        let limit = rustix::process::Rlimit {
            current,
            maximum: None,
        };
        rustix::process::prlimit(Some(pid), rustix::process::Resource::Fsize, limit).unwrap();
    };
    wait_until("it trains", || finished() > 100);
    limit(Some(4096));
    wait_until("it says that it waits", || {
        said().contains("the run waits and tries again, nothing is lost")
    });
    let before = finished();
    limit(None);
    wait_until("it goes on", || finished() > before + 100);
    assert!(said().contains("writing works again; nothing was lost"));
    process.kill();
    assert_eq!(problems(&begun(&dir).unwrap()), Vec::<String>::new());
    succeeds(search.command("run").args(["--set", "run.trials=1"]));
    assert_verifies(&dir);
}

#[test]
fn a_read_only_directory_is_refused_to_a_search_and_can_be_read() {
    use std::os::unix::fs::PermissionsExt;
    let search = Search::new(60, "");
    assert_ends_whole(&search, "run", &[]);
    let dir = search.run_dir("run");
    let set = |path: &Path, mode: u32| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    set(search.folder.path(), 0o755);
    for entry in std::fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        set(&path, if path.is_dir() { 0o555 } else { 0o444 });
    }
    set(&dir, 0o555);
    // Root may write anywhere: as root, the test runs a copy of the program as another user, who
    // may read this folder.
    let program = search.folder.path().join("netwright");
    std::fs::copy(env!("CARGO_BIN_EXE_netwright"), &program).unwrap();
    let root = rustix::process::getuid().is_root();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(&program);
        command.args(arguments).current_dir(search.folder.path());
        if root {
            command.uid(65_534).gid(65_534);
        }
        let output = command.output().unwrap();
        (output.status.code(), stdout(&output) + &stderr(&output))
    };
    let (code, said) = run(&[
        "search",
        "search.toml",
        "--run-dir",
        "run",
        "--set",
        "run.trials=90",
    ]);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("run")
            && said.to_lowercase().contains("permission denied")
            && !said.contains("panicked"),
        "{said}"
    );
    for command in ["status", "top", "verify"] {
        let (code, said) = run(&[command, "run"]);
        assert_eq!(code, Some(0), "{command}: {said}");
    }
    set(&dir, 0o755);
}

//! What several tests of the binary share: a small search that needs no data, and ways to run it.

pub mod driver;
pub mod needs;
mod served;
pub mod small_disk;

pub use served::Served;

use rusqlite::{Connection, OpenFlags};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// A folder with a `choices` search over a table of 256 rows.
pub struct Search {
    pub folder: tempfile::TempDir,
}

impl Search {
    /// Writes config and table; `extra` is added to the config.
    pub fn new(trials: u64, extra: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut table = "a,b,c,d,reward\n".to_owned();
        let mut config = format!(
            "[run]\nname = \"t\"\nseed = 3\ntrials = {trials}\n[telemetry]\nlisten = \"off\"\n"
        );
        for row in 0..256_u32 {
            let digits: Vec<u32> = (0..4).map(|place| row >> (2 * place) & 3).collect();
            let reward = f64::from(digits.iter().sum::<u32>()) / 12.0;
            writeln!(
                table,
                "{},{},{},{},{reward}",
                digits[0], digits[1], digits[2], digits[3]
            )
            .unwrap();
        }
        let csv = folder.path().join("table.csv");
        std::fs::write(&csv, table).unwrap();
        writeln!(
            config,
            "[child]\nevaluator = \"table\"\n[child.table]\npath = \"{}\"\nreward = [\"reward\"]",
            csv.display()
        )
        .unwrap();
        writeln!(config, "[space]\nkind = \"choices\"").unwrap();
        for name in ["a", "b", "c", "d"] {
            writeln!(
                config,
                "[[space.decision]]\nname = \"{name}\"\noptions = [0, 1, 2, 3]"
            )
            .unwrap();
        }
        config.push_str(extra);
        std::fs::write(folder.path().join("search.toml"), config).unwrap();
        Self { folder }
    }

    /// `netwright search` on it, in this run directory.
    pub fn command(&self, run: &str) -> Command {
        let mut command = netwright();
        command
            .arg("search")
            .arg(self.folder.path().join("search.toml"))
            .arg("--run-dir")
            .arg(self.run_dir(run));
        command
    }

    pub fn run_dir(&self, run: &str) -> PathBuf {
        self.folder.path().join(run)
    }
}

/// The binary under test, without the settings of whoever runs the tests.
pub fn netwright() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_netwright"));
    for (key, _) in std::env::vars().filter(|(key, _)| key.starts_with("NETWRIGHT__")) {
        command.env_remove(key);
    }
    command
}

/// The run's database, read-only, as any user's script would open it.
pub fn database(run: &Path) -> Option<Connection> {
    Connection::open_with_flags(run.join("search.db"), OpenFlags::SQLITE_OPEN_READ_ONLY).ok()
}

/// How many trials have their outcome; 0 as long as there is no database.
pub fn finished(run: &Path) -> u64 {
    let count = |connection: Connection| {
        connection
            .query_row(
                "SELECT count(*) FROM trials WHERE status IN ('completed', 'failed')",
                [],
                |row| row.get(0),
            )
            .ok()
    };
    database(run).and_then(count).unwrap_or(0)
}

/// The columns that must not depend on how often a run was interrupted: id, decisions, seed,
/// status, reward, metric.
pub type Facts = (u64, String, i64, String, Option<f64>, Option<f64>);

/// These columns of every trial.
pub fn trials(run: &Path) -> Vec<Facts> {
    let connection = database(run).unwrap();
    let mut statement = connection
        .prepare("SELECT id, decisions, seed, status, reward, metric FROM trials ORDER BY id")
        .unwrap();
    let rows = statement.query_map([], |row| {
        Ok((
            row.get(0)?,
            row.get(1)?,
            row.get(2)?,
            row.get(3)?,
            row.get(4)?,
            row.get(5)?,
        ))
    });
    rows.unwrap().map(Result::unwrap).collect()
}

/// The newest snapshot of the controller, as stored.
pub fn last_snapshot(run: &Path) -> Vec<u8> {
    database(run)
        .unwrap()
        .query_row(
            "SELECT data FROM snapshots ORDER BY sequence DESC LIMIT 1",
            [],
            |row| row.get(0),
        )
        .unwrap()
}

/// GET over a plain socket: status and body. HTTP/1.0, so that no answer comes in chunks.
pub fn http_get(address: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .unwrap_or_else(|| panic!("no answer from {address}{path}: {answer}"));
    (
        status,
        answer
            .split_once("\r\n\r\n")
            .map(|(_, body)| body.to_owned())
            .unwrap_or_default(),
    )
}

/// The value of a sample line, such as `netwright_children_total{outcome="completed"}`; None: there
/// is no such line.
pub fn sample(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find(|line| {
        line.strip_prefix(name)
            .is_some_and(|rest| rest.starts_with(' '))
    })?;
    line.rsplit(' ').next()?.parse().ok()
}

/// A search that runs, with its endpoint on any free port unless the command says otherwise. Killed
/// when dropped.
pub struct Live {
    pub process: Child,
    pub address: String,
}

/// The lines of a stream, which is read to its end whether someone listens or not.
fn lines_of(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (line, lines) = channel();
    std::thread::spawn(move || {
        BufReader::new(stream)
            .lines()
            .map_while(Result::ok)
            .for_each(|text| drop(line.send(text)));
    });
    lines
}

impl Live {
    /// Starts the command of a search; ready once it has printed its address.
    pub fn start(command: &mut Command) -> Self {
        let mut process = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (lines, errors) = (
            lines_of(process.stdout.take().unwrap()),
            lines_of(process.stderr.take().unwrap()),
        );
        let address = lines.iter().find_map(|line| {
            line.strip_prefix("metrics: http://")
                .map(|rest| rest.trim_end_matches("/metrics").to_owned())
        });
        let Some(address) = address else {
            panic!(
                "the search has ended without an address: {}",
                errors.iter().collect::<Vec<_>>().join("\n")
            )
        };
        Self { process, address }
    }

    pub fn get(&self, path: &str) -> (u16, String) {
        http_get(&self.address, path)
    }

    pub fn metrics(&self) -> String {
        let (status, text) = self.get("/metrics");
        assert_eq!(status, 200, "{text}");
        text
    }

    /// Scrapes until the text is as wanted.
    pub fn metrics_when(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let started = Instant::now();
        loop {
            let text = self.metrics();
            if wanted(&text) {
                return text;
            }
            assert!(
                started.elapsed() < Duration::from_mins(2),
                "never: {what}\n{text}"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.process.id().try_into().unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

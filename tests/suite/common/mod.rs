//! What several tests of the binary share: a small search that needs no data, and ways to run it.

pub mod needs;
mod served;

pub use served::Served;

use rusqlite::{Connection, OpenFlags};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A folder with a `choices` search over a table of 256 rows.
pub struct Search {
    pub folder: tempfile::TempDir,
}

impl Search {
    /// Writes config and table; `extra` is added to the config.
    pub fn new(trials: u64, extra: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut table = "a,b,c,d,reward\n".to_owned();
        let mut config = format!("[run]\nname = \"t\"\nseed = 3\ntrials = {trials}\n[telemetry]\nlisten = \"off\"\n");
        for row in 0..256_u32 {
            let digits: Vec<u32> = (0..4).map(|place| row >> (2 * place) & 3).collect();
            let reward = f64::from(digits.iter().sum::<u32>()) / 12.0;
            writeln!(table, "{},{},{},{},{reward}", digits[0], digits[1], digits[2], digits[3]).unwrap();
        }
        let csv = folder.path().join("table.csv");
        std::fs::write(&csv, table).unwrap();
        writeln!(config, "[child]\nevaluator = \"table\"\n[child.table]\npath = \"{}\"\nreward = [\"reward\"]", csv.display()).unwrap();
        writeln!(config, "[space]\nkind = \"choices\"").unwrap();
        for name in ["a", "b", "c", "d"] {
            writeln!(config, "[[space.decision]]\nname = \"{name}\"\noptions = [0, 1, 2, 3]").unwrap();
        }
        config.push_str(extra);
        std::fs::write(folder.path().join("search.toml"), config).unwrap();
        Self { folder }
    }

    /// `netwright search` on it, in this run directory.
    pub fn command(&self, run: &str) -> Command {
        let mut command = netwright();
        command.arg("search").arg(self.folder.path().join("search.toml")).arg("--run-dir").arg(self.run_dir(run));
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
        connection.query_row("SELECT count(*) FROM trials WHERE status IN ('completed', 'failed')", [], |row| row.get(0)).ok()
    };
    database(run).and_then(count).unwrap_or(0)
}

/// The columns that must not depend on how often a run was interrupted: id, decisions, seed, status, reward, metric.
pub type Facts = (u64, String, i64, String, Option<f64>, Option<f64>);

/// These columns of every trial.
pub fn trials(run: &Path) -> Vec<Facts> {
    let connection = database(run).unwrap();
    let mut statement = connection.prepare("SELECT id, decisions, seed, status, reward, metric FROM trials ORDER BY id").unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?)));
    rows.unwrap().map(Result::unwrap).collect()
}

/// The newest snapshot of the controller, as stored.
pub fn last_snapshot(run: &Path) -> Vec<u8> {
    database(run).unwrap().query_row("SELECT data FROM snapshots ORDER BY sequence DESC LIMIT 1", [], |row| row.get(0)).unwrap()
}

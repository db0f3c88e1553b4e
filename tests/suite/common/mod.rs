//! What several tests of the binary share: a small search that needs no data, and ways to run it,
//! to watch it, and to read what it has written.

pub mod driver;
pub mod needs;
mod process;
mod run_on_disk;
mod server;
pub mod small_disk;

pub use process::{
    Running, arguments_of, has_line, is_alone, is_dead, netwright, printed, refused, stderr,
    stdout, succeeds, text, wait_until,
};
pub use run_on_disk::{
    Facts, assert_same_numbers, assert_verifies, count, database, events, events_of, finished,
    last_snapshot, rows, sampled, trials,
};
pub use server::{Server, get, sample};

use std::fmt::Write as _;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Command;

/// More trials than any machine finishes during a test, so that the search is still at work however
/// fast the machine is.
pub const ENDLESS: u64 = 10_000_000;

/// A folder with a `choices` search over a table of 256 rows.
pub struct Search {
    pub folder: tempfile::TempDir,
}

impl Search {
    /// Writes config and table; `extra` is added to the config. Where that names no strategy, it is
    /// the paper's.
    pub fn new(trials: u64, extra: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut table = "a,b,c,d,reward\n".to_owned();
        let mut config = format!(
            "[run]\nname = \"t\"\nseed = 3\ntrials = {trials}\n[telemetry]\nlisten = \"off\"\n"
        );
        for row in 0..256_u32 {
            let digits: Vec<u32> = (0..4).map(|digit| row >> (2 * digit) & 3).collect();
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
        let strategy = "[controller]\nstrategy = \"reinforce\"\n";
        if extra.contains("strategy = ") {
            config.push_str(extra);
        } else if extra.contains("[controller]\n") {
            config.push_str(&extra.replacen("[controller]\n", strategy, 1));
        } else {
            config.push_str(strategy);
            config.push_str(extra);
        }
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

    /// Replaces `from` in `search.toml`, at once: a search that reads the file meanwhile sees the
    /// old text or the new one.
    pub fn edit(&self, from: &str, to: &str) {
        let path = self.folder.path().join("search.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{from} is not in\n{text}");
        let edited = path.with_extension("edited");
        std::fs::write(&edited, text.replace(from, to)).unwrap();
        std::fs::rename(edited, path).unwrap();
    }

    /// Gives the table two rewards for each network, `reward` and `again`: a network that is
    /// evaluated twice can get another reward than before.
    pub fn write_noisy_table(&self) {
        let mut table = "a,b,c,d,reward,again\n".to_owned();
        for row in 0..256 {
            let a = row & 3;
            let b = row >> 2 & 3;
            let c = row >> 4 & 3;
            let d = row >> 6;
            writeln!(table, "{a},{b},{c},{d},0.{row:03},0.{}", 999 - row).unwrap();
        }
        std::fs::write(self.folder.path().join("table.csv"), table).unwrap();
    }
}

/// Runs the command of a search, which is killed (`kill -9`) when this trial starts.
pub fn killed_at(mut command: Command, trial: u64) {
    let output = command
        .env("NETWRIGHT_FAULT", format!("child.kill={trial}"))
        .output()
        .unwrap();
    let signal = output.status.signal();
    assert_eq!(signal, Some(9), "trial {trial}: {}", text(&output));
}

//! The command line: one file a subcommand. Turns every error into one message and an exit code.
//! Must not hold logic of its own.

/// `println!` of a search: a closed pipe (`| head`) or a full disk must not end a run.
macro_rules! say {
    ($($text:tt)*) => {
        $crate::cli::say_line(format_args!($($text)*))
    };
}

/// `eprintln!` for what is no result: where it cannot be written, the command goes on.
macro_rules! note {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($text)*);
    }};
}

mod announcement;
mod architecture_file;
mod assembly;
mod check;
mod classify;
mod compare;
mod compare_architectures;
mod data;
mod devices;
mod enqueue;
mod export;
mod export_run;
mod init;
mod log;
mod page;
mod process_restart;
mod progress;
mod reload;
mod report;
mod restore;
mod retrain;
mod retrained;
mod retry;
mod schema;
mod search;
mod show;
mod status;
mod top;
mod verify;
mod warm_start;

use crate::child::FailedReward;
use crate::journal::JournalError;
use crate::settings::{self, Settings};
use clap::{Args, Parser, Subcommand};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

/// Why a command ends without success.
#[derive(Debug)]
pub enum Failure {
    /// The user's input is wrong: exit code 2. The message names the file, key or line and what
    /// would be right.
    Input(String),
    /// Something failed: exit code 1.
    Failed(String),
    /// A signal ended it, after saving: exit code 128 + the signal's number.
    Signal(u8),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self {
            Self::Input(text) | Self::Failed(text) => f.write_str(text),
            Self::Signal(number) => write!(f, "signal {number}"),
        }
    }
}

/// Neural architecture search with reinforcement learning.
#[derive(Parser)]
#[command(name = "netwright", version, about, max_term_width = 120)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write a commented config file to start from
    Init(init::InitArgs),
    /// Print the resolved settings, the size of the search space, the devices and how many children
    /// train at once
    Check(check::CheckArgs),
    /// Print the JSON Schema of a config file, by which editors complete and check one
    Schema(schema::SchemaArgs),
    /// Run a search, or continue it
    Search(search::SearchArgs),
    /// Train the architectures of files, or cells of the literature, by a search's recipe, beside the
    /// best network that it found
    CompareArchitectures(compare_architectures::CompareArchitecturesArgs),
    /// Search with several strategies at the same budget, again and again, and say which is better
    Compare(compare::CompareArgs),
    /// Where a run stands
    Status(status::StatusArgs),
    /// The best architectures of a run
    Top(top::TopArgs),
    /// One trial: its network, outcome and learning curve
    Show(show::ShowArgs),
    /// Train networks of a run again by a grid of recipes, and score the best one on the test set
    Retrain(retrain::RetrainArgs),
    /// Write a trial's network for other programs (ONNX, a folder for PyTorch, its architecture), or
    /// the whole run (TensorBoard, Optuna)
    Export(export::ExportArgs),
    /// Classify image files by an exported network
    Classify(classify::ClassifyArgs),
    /// The page of a run, served until Ctrl-C; a running search serves its own
    Page(page::PageArgs),
    /// Write the files of RUN/report again: index.html, trials.csv, charts and drawings; a search
    /// writes them itself
    Report(report::ReportArgs),
    /// Evaluate networks of a run again, as trials of their own with new seeds; then the run goes on
    Retry(retry::RetryArgs),
    /// Make a run's backup its database again, if that is damaged, gone or older
    Restore(restore::RestoreArgs),
    /// Derive the controller's parameters again from the seed and the journal, and compare with
    /// every snapshot
    Verify(verify::VerifyArgs),
    /// Data sets that can be downloaded
    Data(data::DataArgs),
    /// The devices that children can train on
    Devices(devices::DevicesArgs),
}

/// True: standard output is kept for a result, and what is said goes to standard error.
static RESULT_ALONE: AtomicBool = AtomicBool::new(false);

/// See `say!`.
fn say_line(text: std::fmt::Arguments) {
    let _ = if RESULT_ALONE.load(Ordering::Relaxed) {
        writeln!(std::io::stderr(), "{text}")
    } else {
        writeln!(std::io::stdout(), "{text}")
    };
}

/// Writes to standard output; a reader that has seen enough (`| head`) is no failure.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::Failed(format!("standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Prints a value as indented JSON.
fn print_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    let text =
        serde_json::to_string_pretty(value).map_err(|error| Failure::Failed(error.to_string()))?;
    print(&format!("{text}\n"))
}

/// A run that cannot be read: the user named a wrong one, or its file is damaged.
fn reading(error: JournalError) -> Failure {
    match error {
        JournalError::NoRun { .. } | JournalError::Unfit { .. } | JournalError::Changed { .. } => {
            Failure::Input(error.to_string())
        }
        _ => Failure::Failed(error.to_string()),
    }
}

/// The environment. A variable that is no Unicode is no value of ours, but must not end the
/// program.
fn variables() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().map(|(name, value)| {
        (
            name.to_string_lossy().into(),
            value.to_string_lossy().into(),
        )
    })
}

/// A config file and what overrides it.
#[derive(Args, Clone, Debug)]
pub struct ConfigArgs {
    /// The config file (TOML)
    pub config: PathBuf,
    /// Set a key over the file and the environment, for example --set child.epochs=3
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

impl ConfigArgs {
    /// The settings that the file, the environment and the arguments make together.
    ///
    /// # Errors
    /// Everything that is wrong with them, as one message.
    pub fn load(&self) -> Result<Settings, Failure> {
        settings::load(&self.config, &self.set, variables())
            .map_err(|error| Failure::Input(error.to_string()))
    }

    /// The same for searches with each of these strategies: keys of any of them are taken, beside
    /// those of the strategy that the settings name.
    ///
    /// # Errors
    /// As `load`.
    pub fn load_for_strategies(&self, strategies: &[&str]) -> Result<Settings, Failure> {
        settings::load_for_strategies(&self.config, &self.set, variables(), strategies)
            .map_err(|error| Failure::Input(error.to_string()))
    }

    /// A run that was begun before failures were valued by their cause goes on to leave them out,
    /// unless the user's own words say otherwise. True: it does.
    pub fn keep_rules_of_before(&self, settings: &mut Settings) -> bool {
        let key = "child.failed_reward";
        let unset = settings::origin(&self.config, &self.set, variables(), key).is_none();
        if unset {
            settings.child.failed_reward = FailedReward::Skip;
        }
        unset
    }
}

/// Parses the command line, runs the command, prints a failure, and gives the exit code.
pub fn main() -> ExitCode {
    let command = Cli::parse().command;
    let result = match command {
        Command::Init(args) => init::run(args),
        Command::Check(args) => check::run(args),
        Command::Schema(args) => schema::run(args),
        Command::Search(args) => search::run(&args),
        Command::CompareArchitectures(args) => compare_architectures::run(args),
        Command::Compare(args) => compare::run(args),
        Command::Status(args) => status::run(args),
        Command::Top(args) => top::run(args),
        Command::Show(args) => show::run(args),
        Command::Retrain(args) => retrain::run(args),
        Command::Export(args) => export::run(args),
        Command::Classify(args) => classify::run(args),
        Command::Page(args) => page::run(args),
        Command::Report(args) => report::run(args),
        Command::Retry(args) => retry::run(args),
        Command::Restore(args) => restore::run(args),
        Command::Verify(args) => verify::run(args),
        Command::Data(args) => data::run(args),
        Command::Devices(args) => devices::run(args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Input(message)) => {
            note!("error: {message}");
            ExitCode::from(2)
        }
        Err(Failure::Failed(message)) => {
            note!("error: {message}");
            ExitCode::FAILURE
        }
        Err(Failure::Signal(code)) => ExitCode::from(128 + code),
    }
}

//! `netwright retry`: networks of trials that have ended are evaluated again, as trials of their own
//! with new seeds; then the run goes on. The earlier rows stay. Must not evaluate anything itself.

use super::log::LogFormat;
use super::search::{self, SearchArgs};
use super::{ConfigArgs, Failure, print, reading, show};
use crate::journal::Reader;
use std::collections::BTreeSet;
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct RetryArgs {
    /// The run directory
    pub run: PathBuf,
    /// Trials that have ended
    #[arg(value_name = "TRIAL", required_unless_present = "failed")]
    pub trials: Vec<u64>,
    /// Every failed trial that was not tried again yet
    #[arg(long, conflicts_with = "trials")]
    pub failed: bool,
    /// How log lines look
    #[arg(long, value_enum, default_value_t)]
    pub log_format: LogFormat,
}

pub fn run(args: RetryArgs) -> Result<(), Failure> {
    let trials = chosen(&args)?;
    if trials.is_empty() {
        return print("nothing to try again: no failed trial is left that was not tried again\n");
    }
    let numbers: Vec<String> = trials.iter().map(u64::to_string).collect();
    say!("tried again, with new seeds: {}", numbers.join(", "));
    let config = ConfigArgs {
        config: args.run.join("config.toml"),
        set: Vec::new(),
    };
    let search = SearchArgs {
        config,
        run_dir: Some(args.run),
        log_format: args.log_format,
        fresh: false,
    };
    search::run_with(&search, trials)
}

/// The trials that are to be evaluated again, each once.
///
/// # Errors
/// One is not there, or has no outcome yet.
fn chosen(args: &RetryArgs) -> Result<Vec<u64>, Failure> {
    let reader = Reader::open(&args.run).map_err(reading)?;
    if args.failed {
        return reader.not_retried().map_err(reading);
    }
    let trials: BTreeSet<u64> = args.trials.iter().copied().collect();
    for id in &trials {
        let row = show::trial(&reader, &args.run, *id)?;
        if matches!(row.status.as_str(), "queued" | "running" | "stopped") {
            return Err(Failure::Input(format!(
                "{}: trial {id} has no outcome yet ({}): it is evaluated when the search goes on",
                args.run.display(),
                row.status
            )));
        }
    }
    Ok(trials.into_iter().collect())
}

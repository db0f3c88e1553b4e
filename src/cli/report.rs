//! `netwright report`: writes the files of a run's `report/` again. Must not know what is in them.

use super::{Failure, print, reading};
use crate::journal::{Life, Reader};
use crate::report::{ReportError, TrialsFile, write_report};
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct ReportArgs {
    /// The run directory
    pub run: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

pub fn run(args: ReportArgs) -> Result<(), Failure> {
    let failed = |error: ReportError| match error {
        ReportError::Journal(error) => reading(error),
        ReportError::Io { .. } => Failure::Failed(error.to_string()),
    };
    let live = Reader::open(&args.run)
        .map_err(reading)?
        .life()
        .map_err(reading)?
        == Life::Running;
    let mut files = Vec::new();
    // A running search holds it open and adds to it.
    if !live {
        files.push(
            TrialsFile::create(&args.run)
                .map_err(failed)?
                .path()
                .to_owned(),
        );
    }
    files.extend(write_report(&args.run).map_err(failed)?);
    if args.json {
        return super::print_json(&serde_json::json!({ "files": files }));
    }
    let mut text: String = files
        .iter()
        .map(|path| format!("{}\n", path.display()))
        .collect();
    if live {
        text += &format!(
            "({}: the running search keeps it up to date)\n",
            args.run.join("report/trials.csv").display()
        );
    }
    print(&text)
}

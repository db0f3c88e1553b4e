//! `netwright restore`: makes a run's backup its database again. Deletes nothing; must not decide
//! which of the two holds more.

use super::{Failure, print, reading};
use crate::journal::{Restoration, restore};
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub struct RestoreArgs {
    /// The run directory
    pub run: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

pub fn run(args: RestoreArgs) -> Result<(), Failure> {
    let restoration = restore(&args.run).map_err(reading)?;
    if args.json {
        super::print_json(&restoration)
    } else {
        print(&text(&args.run, &restoration))
    }
}

fn text(run: &Path, restoration: &Restoration) -> String {
    let database = run.join("search.db");
    let database = database.display();
    let holds = restoration.holds;
    let Some(copied_at) = &restoration.copied_at else {
        return format!(
            "{database} is whole ({holds}) and no older than its copy: nothing is to be restored\n"
        );
    };
    let mut text = format!("{database} is the copy of {copied_at} now: {holds}\n");
    if let Some(kept) = &restoration.kept {
        text += &format!("what was there is kept as {}\n", kept.display());
    }
    text + "the command that ran the search continues it from there\n"
}

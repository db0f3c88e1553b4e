//! `netwright top`.

use super::Failure;

#[derive(clap::Args)]
pub struct TopArgs {
    /// The run directory
    pub run: std::path::PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

pub fn run(_args: TopArgs) -> Result<(), Failure> {
    Err(Failure::Failed("not written yet".into()))
}

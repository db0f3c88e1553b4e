//! `netwright search`.

use super::Failure;

#[derive(clap::Args)]
pub struct SearchArgs {
    #[command(flatten)]
    pub config: super::ConfigArgs,
}

pub fn run(_args: SearchArgs) -> Result<(), Failure> {
    Err(Failure::Failed("not written yet".into()))
}

//! `netwright check`.

use super::Failure;

#[derive(clap::Args)]
pub struct CheckArgs {
    #[command(flatten)]
    pub config: super::ConfigArgs,
}

pub fn run(_args: CheckArgs) -> Result<(), Failure> {
    Err(Failure::Failed("not written yet".into()))
}

//! `netwright init`.

use super::Failure;

#[derive(clap::Args)]
pub struct InitArgs {}

pub fn run(_args: InitArgs) -> Result<(), Failure> {
    Err(Failure::Failed("not written yet".into()))
}

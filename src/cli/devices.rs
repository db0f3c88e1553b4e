//! `netwright devices`.

use super::Failure;

#[derive(clap::Args)]
pub struct DevicesArgs {}

pub fn run(_args: DevicesArgs) -> Result<(), Failure> {
    Err(Failure::Failed("not written yet".into()))
}

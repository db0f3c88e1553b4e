//! `netwright schema`: every key of a config file, for editors (JSON Schema) or readers (Markdown).

use super::{Failure, print, print_json};
use crate::settings;

#[derive(clap::Args)]
pub struct SchemaArgs {
    /// Print the reference of all keys as Markdown (docs/configuration.md)
    #[arg(long)]
    pub markdown: bool,
}

pub fn run(args: SchemaArgs) -> Result<(), Failure> {
    if args.markdown {
        print(&settings::reference())
    } else {
        print_json(settings::schema())
    }
}

//! `netwright devices`: what children can train on. Prints what `machine` finds.

use super::{Failure, print};
use crate::machine::{Device, list_devices};

#[derive(clap::Args)]
pub struct DevicesArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

pub fn run(args: DevicesArgs) -> Result<(), Failure> {
    let devices = list_devices();
    if args.json {
        let json = serde_json::to_string_pretty(&devices)
            .map_err(|error| Failure::Failed(error.to_string()))?;
        return print(&(json + "\n"));
    }
    let width = devices
        .iter()
        .map(|device| device.device.len())
        .max()
        .unwrap_or(0);
    let mut text: String = devices
        .iter()
        .map(|device| format!("{:width$}  {}\n", device.device, describe(device)))
        .collect();
    if !cfg!(feature = "cuda") {
        text += "\nThis build is CPU-only. For NVIDIA GPUs: make run CUDA=1 (cargo build --release --features cuda)\n";
    }
    print(&text)
}

/// Model, cores, memory and vector instructions in one line.
pub fn describe(device: &Device) -> String {
    let gibibytes = device.memory_bytes as f64 / f64::from(1 << 30);
    let mut facts = vec![device.model.clone()];
    match device.cores {
        0 => {}
        1 => facts.push("1 core".into()),
        cores => facts.push(format!("{cores} cores")),
    }
    facts.push(format!("{gibibytes:.1} GiB"));
    if !device.instructions.is_empty() {
        facts.push(device.instructions.join(" "));
    }
    facts.join(", ")
}

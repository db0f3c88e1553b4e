//! `netwright devices`: what children can train on. Prints what `machine` finds.

use super::{Failure, print};
use crate::machine::{Device, list_devices, why_no_gpu};

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
    if let Some(reason) = why_no_gpu() {
        text += &format!("\nNo GPU to train on: {reason}\n");
    }
    print(&text)
}

/// This program, its system and all that children can train on, in one line.
pub fn machine() -> String {
    let devices: Vec<String> = list_devices()
        .iter()
        .map(|device| format!("{}: {}", device.device, describe(device)))
        .collect();
    format!(
        "netwright {} on {} {}; {}",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::OS,
        std::env::consts::ARCH,
        devices.join("; ")
    )
}

/// Model, cores, memory and vector instructions in one line.
pub fn describe(device: &Device) -> String {
    let mut facts = vec![device.model.clone()];
    facts.extend(cores(device.cores));
    facts.push(memory(device.memory_bytes));
    facts.extend(device.uuid.clone());
    facts.extend(device.unusable.clone());
    if !device.instructions.is_empty() {
        facts.push(device.instructions.join(" "));
    }
    let facts = facts.join(", ");
    let Some(whole) = &device.machine else {
        return facts;
    };
    format!(
        "{facts} (of the machine's {} and {}, this process may use no more)",
        cores(whole.cores).unwrap_or_default(),
        memory(whole.memory_bytes)
    )
}

fn cores(number: usize) -> Option<String> {
    match number {
        0 => None,
        1 => Some("1 core".into()),
        _ => Some(format!("{number} cores")),
    }
}

fn memory(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
}

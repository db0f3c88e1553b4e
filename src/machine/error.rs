//! Devices, threads and readings that cannot be had: each error is one sentence. Must not know who
//! asked for them.

use super::visible::VARIABLE;
use nvml_wrapper::error::NvmlError;
use std::path::PathBuf;

/// A device that the settings name, or the threads of a lane, cannot be had; says what would be
/// right where the user can mend it.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    #[error("devices.{key}: {problem}")]
    Settings { key: String, problem: String },
    /// There is none, or it cannot be used.
    #[error(
        "devices.use: {device} cannot be used: {reason}; set devices.use = [\"cpu\"] to train on the CPU"
    )]
    Unusable { device: String, reason: String },
    #[error(
        "devices.use: there is no {device} here; this machine has cpu and {} (`netwright devices` lists them)",
        listed(gpus)
    )]
    Absent { device: String, gpus: Vec<String> },
    /// The user has restricted the GPUs of this process.
    #[error(
        "devices.use: there is no {device}: {}={list} shows {shown} GPUs, counted from cuda:0",
        VARIABLE
    )]
    Hidden {
        device: String,
        list: String,
        shown: usize,
    },
    #[error("no threads for lane {lane}: {source}")]
    Threads {
        lane: String,
        source: rayon::ThreadPoolBuildError,
    },
}

fn listed(gpus: &[String]) -> String {
    if gpus.is_empty() {
        "no GPU that CUDA sees".to_owned()
    } else {
        gpus.join(", ")
    }
}

/// There are no readings of GPUs.
#[derive(Debug, thiserror::Error)]
pub enum ReadingsError {
    #[error("there is no NVIDIA driver (libnvidia-ml.so.1 was not found)")]
    NoDriver,
    #[error("NVML: {0}")]
    Open(NvmlError),
    #[error(transparent)]
    Query(#[from] NvmlError),
    #[error("{}: {problem}", path.display())]
    File { path: PathBuf, problem: String },
    #[error("none of {0} GPUs is visible to this process")]
    NoneVisible(usize),
}

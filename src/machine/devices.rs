//! The devices that this process may use: the CPU, as far as its control group allows, and the GPUs
//! that CUDA shows. Must not know how they are divided into lanes.

use super::{cgroup, cuda};
use serde::Serialize;
use std::path::Path;

/// A device that children can train on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Device {
    /// `cpu` or `cuda:0`, as `devices.use` names it.
    pub device: String,
    /// The manufacturer's name of it.
    pub model: String,
    /// CPU cores that this process may use: those that its threads may run on, but no more than its
    /// control group gives it time for, rounded up. 0 for a GPU.
    pub cores: usize,
    /// Vector instructions of a CPU that the kernels or candle can use.
    pub instructions: Vec<String>,
    /// What this process may use: of the CPU no more than its control group allows.
    pub memory_bytes: u64,
    /// Of a CPU: what the machine has, where this process may use less.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machine: Option<WholeMachine>,
    /// Of a GPU: the driver's identifier, which does not depend on its number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// Of a GPU: why no child can train on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unusable: Option<String>,
}

/// What a machine has, whoever may use it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WholeMachine {
    pub cores: usize,
    pub memory_bytes: u64,
}

/// Every device that this process sees, the CPU first.
pub fn list_devices() -> Vec<Device> {
    let mut devices = vec![cpu()];
    devices.extend(gpus());
    devices
}

/// Name and UUID of every GPU that CUDA shows this process.
pub fn cuda_uuids() -> Vec<(String, String)> {
    gpus()
        .into_iter()
        .filter_map(|gpu| Some((gpu.device, gpu.uuid?)))
        .collect()
}

/// Why children cannot train on a GPU here; None: on at least one they can.
pub fn why_no_gpu() -> Option<String> {
    match cuda::gpus() {
        Err(reason) => Some(reason.to_string()),
        Ok(gpus) => {
            let problems: Vec<String> = gpus.iter().filter_map(cuda::Gpu::problem).collect();
            (problems.len() == gpus.len()).then(|| problems.join("; "))
        }
    }
}

/// The N of `cuda:N`.
pub fn gpu_index(name: &str) -> Option<usize> {
    let digits = name.strip_prefix("cuda:")?;
    digits
        .parse()
        .ok()
        .filter(|index: &usize| index.to_string() == digits)
}

/// The CPU cores of this process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Cores {
    /// Those that its threads may run on; empty: the system does not say.
    pub ids: Vec<usize>,
    /// How many of them it has CPU time for.
    pub usable: usize,
}

/// Cores in this process's affinity mask and its cpuset, and how many its CPU quota is worth.
pub(super) fn available_cores() -> Cores {
    let ids = core_affinity::get_core_ids().unwrap_or_default();
    let ids = ids.into_iter().map(|core| core.id).collect();
    within(ids, &cgroup::limits(&cgroup::root()))
}

/// How many CPU cores this process may use, 1 or more.
pub fn usable_cores() -> usize {
    available_cores().usable.max(1)
}

fn within(mut ids: Vec<usize>, limits: &cgroup::Limits) -> Cores {
    if let Some(cores) = &limits.cores
        && ids.iter().any(|id| cores.contains(id))
    {
        ids.retain(|id| cores.contains(id));
    }
    let worth = limits
        .cpus
        .map_or(usize::MAX, |cpus| (cpus.ceil() as usize).max(1));
    let usable = ids.len().min(worth);
    Cores { ids, usable }
}

fn cpu() -> Device {
    let facts = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = facts.lines().find_map(|line| {
        line.strip_prefix("model name")?
            .split_once(':')
            .map(|(_, name)| name.trim().to_owned())
    });
    let whole = WholeMachine {
        cores: facts
            .lines()
            .filter(|line| line.starts_with("processor"))
            .count(),
        memory_bytes: machine_memory_bytes(),
    };
    let cores = usable_cores();
    let memory_bytes = memory_bytes() as u64;
    let less = cores < whole.cores || memory_bytes < whole.memory_bytes;
    Device {
        device: "cpu".into(),
        model: model.unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
        cores,
        instructions: instructions(),
        memory_bytes,
        machine: less.then_some(whole),
        uuid: None,
        unusable: None,
    }
}

#[cfg(target_arch = "x86_64")]
fn instructions() -> Vec<String> {
    let known = [
        ("avx2", std::is_x86_feature_detected!("avx2")),
        ("fma", std::is_x86_feature_detected!("fma")),
        ("avx512f", std::is_x86_feature_detected!("avx512f")),
        ("avx512vnni", std::is_x86_feature_detected!("avx512vnni")),
    ];
    known
        .into_iter()
        .filter(|(_, there)| *there)
        .map(|(name, _)| name.to_owned())
        .collect()
}

#[cfg(target_arch = "aarch64")]
fn instructions() -> Vec<String> {
    let known = [
        ("neon", std::arch::is_aarch64_feature_detected!("neon")),
        ("sve", std::arch::is_aarch64_feature_detected!("sve")),
    ];
    known
        .into_iter()
        .filter(|(_, there)| *there)
        .map(|(name, _)| name.to_owned())
        .collect()
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn instructions() -> Vec<String> {
    Vec::new()
}

/// Memory that this process may use, in bytes: the machine's, or less where its control group says
/// so.
pub fn memory_bytes() -> usize {
    limited_memory().map_or_else(
        || machine_memory_bytes() as usize,
        |(limit, _)| limit as usize,
    )
}

/// Memory for all children that train at the same time, in bytes. A control group kills the whole
/// process where it takes more than its limit, so there what this process holds already (its data)
/// and room for its own work is left out.
pub fn memory_for_children() -> usize {
    limited_memory().map_or_else(
        || machine_memory_bytes() as usize,
        |(limit, held)| left_for_children(limit, held) as usize,
    )
}

/// The control group's limit, where it is less than the machine's memory, and what this process
/// holds.
fn limited_memory() -> Option<(u64, u64)> {
    let limit = cgroup::limits(&cgroup::root()).memory_bytes?;
    let held = kibibytes("/proc/self/status", "RssAnon:").unwrap_or(0);
    (limit < machine_memory_bytes()).then_some((limit, held))
}

/// For the journal, the page, the policy and the threads: beside what is held when the lanes start.
const OWN_WORK: u64 = 48 << 20;

/// In whole steps, so that the same search plans the same in each of its processes.
const STEP: u64 = 32 << 20;

fn left_for_children(limit: u64, held: u64) -> u64 {
    let own = (held + OWN_WORK).next_multiple_of(STEP);
    // Of a limit that leaves nothing, so little that each child is refused in words.
    limit.saturating_sub(own).max(1 << 20)
}

/// Memory of this machine in bytes, as Linux says; a cautious 4 GiB where it does not.
fn machine_memory_bytes() -> u64 {
    kibibytes("/proc/meminfo", "MemTotal:").unwrap_or(4 << 30)
}

/// The line of this name in a file of /proc, in bytes.
fn kibibytes(file: impl AsRef<Path>, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let number: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(number << 10)
}

/// The GPUs that CUDA shows, in its order; those that are too old, too.
fn gpus() -> Vec<Device> {
    let gpus = cuda::gpus().unwrap_or_default();
    (0..)
        .zip(gpus)
        .map(|(index, gpu)| Device {
            device: format!("cuda:{index}"),
            unusable: gpu.problem(),
            model: gpu.model,
            cores: 0,
            instructions: Vec::new(),
            memory_bytes: gpu.memory_bytes,
            machine: None,
            uuid: gpu.uuid,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_worth_so_many_cores_and_a_cpuset_names_them() {
        let within = |cpus: Option<f64>, cores: Option<&[usize]>| {
            let limits = cgroup::Limits {
                cpus,
                cores: cores.map(|cores| cores.iter().copied().collect()),
                memory_bytes: None,
            };
            let Cores { ids, usable } = super::within(vec![0, 1, 2, 3], &limits);
            (ids, usable)
        };
        let all = vec![0, 1, 2, 3];
        assert_eq!(within(None, None), (all.clone(), 4));
        assert_eq!(within(Some(1.0), None), (all.clone(), 1));
        assert_eq!(within(Some(1.5), None), (all.clone(), 2));
        assert_eq!(within(Some(0.2), None), (all.clone(), 1));
        assert_eq!(within(Some(64.0), Some(&[2, 3])), (vec![2, 3], 2));
        assert_eq!(within(Some(1.0), Some(&[1])), (vec![1], 1));
        // The kernel says by the affinity mask what is true.
        assert_eq!(within(None, Some(&[9])), (all, 4));
    }

    #[test]
    fn what_a_process_holds_is_not_left_for_its_children() {
        let left = |limit: u64, held: u64| left_for_children(limit << 20, held << 20) >> 20;
        assert_eq!(left(300, 10), 236);
        assert_eq!(left(300, 11), 236);
        assert_eq!(left(300, 100), 140);
        assert_eq!(left(64, 200), 1);
    }
}

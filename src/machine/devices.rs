//! The devices of this machine, and how the settings divide them into lanes. Must not know what is
//! computed on them.

use super::{DeviceUse, DevicesSettings, visible};
use serde::Serialize;

/// A device that children can train on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Device {
    /// `cpu` or `cuda:0`, as `devices.use` names it.
    pub device: String,
    /// The maker's name of it.
    pub model: String,
    /// CPU cores that this process may use; 0 on a GPU.
    pub cores: usize,
    /// Vector instructions of a CPU that matter here.
    pub instructions: Vec<String>,
    pub memory_bytes: u64,
    /// Of a GPU: what the driver calls it, whatever its number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
}

/// One thread of execution that trains one child at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LaneSpec {
    /// `cpu` or `cuda:0`
    pub device: String,
    /// `cpu-0`: the lane's name in logs and metrics.
    pub name: String,
    /// CPU cores that its threads are pinned to; empty: not pinned.
    pub cores: Vec<usize>,
    pub threads: usize,
}

/// The N of `cuda:N`.
pub fn gpu_index(name: &str) -> Option<usize> {
    let digits = name.strip_prefix("cuda:")?;
    digits
        .parse()
        .ok()
        .filter(|index: &usize| index.to_string() == digits)
}

/// Every device that this build can use, the CPU first.
pub fn list_devices() -> Vec<Device> {
    let mut devices = vec![cpu()];
    devices.extend(gpu::list());
    devices
}

/// Name and UUID of every GPU that CUDA shows this process.
pub fn cuda_uuids() -> Vec<(String, String)> {
    gpu::list()
        .into_iter()
        .filter_map(|gpu| Some((gpu.device, gpu.uuid?)))
        .collect()
}

/// The lanes that these settings mean on this machine.
///
/// # Errors
/// Names the device that this build or this machine does not have, and what would be right.
pub fn resolve_lanes(settings: &DevicesSettings) -> Result<Vec<LaneSpec>, String> {
    let gpus: Vec<_> = gpu::list().into_iter().map(|gpu| gpu.device).collect();
    divide(settings, &gpus, &available_cores(), cfg!(feature = "cuda"))
}

/// As `resolve_lanes`, for programs of the user's, which bring their own CUDA: any build can lend them a
/// GPU, and one that is listed is believed to be there.
///
/// # Errors
/// As `resolve_lanes`.
pub fn resolve_lanes_for_programs(settings: &DevicesSettings) -> Result<Vec<LaneSpec>, String> {
    let inherited = visible::inherited();
    let mut gpus = visible::gpus(inherited.as_deref());
    if let DeviceUse::Listed(names) = &settings.use_ {
        for name in names.iter().filter(|name| gpu_index(name).is_some()) {
            visible::visible(name, inherited.as_deref())?;
            gpus.push(name.clone());
        }
    }
    divide(settings, &gpus, &available_cores(), true)
}

/// `resolve_lanes` for a machine with these GPUs and cores.
fn divide(
    settings: &DevicesSettings,
    gpus: &[String],
    cores: &[usize],
    cuda_build: bool,
) -> Result<Vec<LaneSpec>, String> {
    let problems = settings.problems();
    if let Some((key, reason)) = problems.first() {
        return Err(format!("devices.{key}: {reason}"));
    }
    let used = match &settings.use_ {
        DeviceUse::Auto if gpus.is_empty() => vec!["cpu".to_owned()],
        DeviceUse::Auto => gpus.to_vec(),
        DeviceUse::Listed(names) => names.clone(),
    };
    let mut lanes = Vec::new();
    for device in used {
        if device == "cpu" {
            lanes.extend(cpu_lanes(settings, cores));
        } else if gpus.contains(&device) {
            lanes.extend(gpu_lanes(settings, &device));
        } else {
            return Err(absent(&device, gpus, cuda_build));
        }
    }
    Ok(lanes)
}

fn absent(device: &str, gpus: &[String], cuda_build: bool) -> String {
    if !cuda_build {
        return format!(
            "devices.use: this build of netwright is CPU-only and cannot use {device}; build with `make run CUDA=1` \
             (cargo build --release --features cuda), or set devices.use = [\"cpu\"]"
        );
    }
    let there = if gpus.is_empty() {
        "no GPU that CUDA sees".to_owned()
    } else {
        gpus.join(", ")
    };
    format!(
        "devices.use: there is no {device} here; this machine has cpu and {there} (`netwright devices` lists them)"
    )
}

/// As many lanes as the cores allow, or as asked; cores are shared in turn where there are more
/// threads than cores.
fn cpu_lanes(settings: &DevicesSettings, cores: &[usize]) -> Vec<LaneSpec> {
    let threads = settings.threads_per_lane;
    let lanes = settings
        .lanes_per_device
        .unwrap_or((cores.len() / threads).max(1));
    let lane = |index: usize| {
        let mut own: Vec<_> = cores
            .iter()
            .copied()
            .cycle()
            .skip(index * threads % cores.len().max(1))
            .take(threads.min(cores.len()))
            .collect();
        own.sort_unstable();
        LaneSpec {
            device: "cpu".into(),
            name: format!("cpu-{index}"),
            cores: own,
            threads,
        }
    };
    (0..lanes).map(lane).collect()
}

fn gpu_lanes(settings: &DevicesSettings, device: &str) -> Vec<LaneSpec> {
    let lane = |index: usize| LaneSpec {
        device: device.into(),
        name: format!("{}-{index}", device.replace(':', "")),
        cores: Vec::new(),
        threads: settings.threads_per_lane,
    };
    (0..settings.lanes_per_device.unwrap_or(1))
        .map(lane)
        .collect()
}

/// Cores in this process's affinity mask.
fn available_cores() -> Vec<usize> {
    let ids = core_affinity::get_core_ids().unwrap_or_default();
    ids.into_iter().map(|core| core.id).collect()
}

fn cpu() -> Device {
    let facts = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = facts.lines().find_map(|line| {
        line.strip_prefix("model name")?
            .split_once(':')
            .map(|(_, name)| name.trim().to_owned())
    });
    let memory_bytes = u64::try_from(super::memory_bytes()).unwrap_or(u64::MAX);
    Device {
        device: "cpu".into(),
        model: model.unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
        cores: available_cores().len().max(1),
        instructions: instructions(),
        memory_bytes,
        uuid: None,
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

#[cfg(not(feature = "cuda"))]
mod gpu {
    /// A CPU build sees no GPU.
    pub fn list() -> Vec<super::Device> {
        Vec::new()
    }
}

#[cfg(feature = "cuda")]
mod gpu {
    use candle_core::cuda::cudarc::driver::{CudaContext, result};

    /// The GPUs that the driver shows; none where there is no driver (asking it may panic: its
    /// library is then missing).
    pub fn list() -> Vec<super::Device> {
        let count =
            std::panic::catch_unwind(|| CudaContext::device_count().unwrap_or(0)).unwrap_or(0);
        (0..count)
            .filter_map(|index| usize::try_from(index).ok().and_then(one))
            .collect()
    }

    /// As NVML writes it.
    fn text(bytes: &[u8; 16]) -> String {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        format!(
            "GPU-{}-{}-{}-{}-{}",
            &hex[..8],
            &hex[8..12],
            &hex[12..16],
            &hex[16..20],
            &hex[20..]
        )
    }

    fn one(index: usize) -> Option<super::Device> {
        let handle = result::device::get(i32::try_from(index).ok()?).ok()?;
        let model = result::device::get_name(handle).ok()?;
        // SAFETY: `handle` was just given by the driver for this index.
        let memory = unsafe { result::device::total_mem(handle) }.ok()?;
        let memory_bytes = u64::try_from(memory).unwrap_or(u64::MAX);
        let uuid = result::device::get_uuid(handle)
            .ok()
            .map(|uuid| text(&uuid.bytes.map(|byte| byte as u8)));
        Some(super::Device {
            device: format!("cuda:{index}"),
            model,
            cores: 0,
            instructions: Vec::new(),
            memory_bytes,
            uuid,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(
        use_: DeviceUse,
        lanes_per_device: Option<usize>,
        threads_per_lane: usize,
    ) -> DevicesSettings {
        DevicesSettings {
            use_,
            lanes_per_device,
            threads_per_lane,
        }
    }

    fn listed(names: &[&str]) -> DeviceUse {
        DeviceUse::Listed(names.iter().map(|name| (*name).to_owned()).collect())
    }

    #[test]
    fn lanes_share_the_cores_out() {
        let lanes = divide(
            &settings(DeviceUse::Auto, None, 2),
            &[],
            &[0, 1, 4, 5, 6],
            false,
        )
        .unwrap();
        let cores: Vec<_> = lanes.iter().map(|lane| lane.cores.clone()).collect();
        assert_eq!(cores, [vec![0, 1], vec![4, 5]]);
        assert_eq!(lanes[1].name, "cpu-1");
        // More lanes than cores, and more threads than cores: cores are used in turn, none twice in
        // one lane.
        let lanes = divide(
            &settings(listed(&["cpu"]), Some(3), 2),
            &[],
            &[0, 1, 2],
            false,
        )
        .unwrap();
        let cores: Vec<_> = lanes.iter().map(|lane| lane.cores.clone()).collect();
        assert_eq!(cores, [vec![0, 1], vec![0, 2], vec![1, 2]]);
        let lanes = divide(&settings(DeviceUse::Auto, None, 8), &[], &[3], false).unwrap();
        assert_eq!(
            (lanes.len(), lanes[0].cores.as_slice(), lanes[0].threads),
            (1, [3].as_slice(), 8)
        );
        // A system that does not tell its cores: nothing is pinned.
        assert!(
            divide(&settings(DeviceUse::Auto, None, 1), &[], &[], false).unwrap()[0]
                .cores
                .is_empty()
        );
    }

    #[test]
    fn gpus_come_first_where_the_build_has_them() {
        let gpus = ["cuda:0".to_owned(), "cuda:1".to_owned()];
        let names = |use_| -> Vec<String> {
            divide(&settings(use_, None, 1), &gpus, &[0, 1], true)
                .unwrap()
                .into_iter()
                .map(|lane| lane.name)
                .collect()
        };
        assert_eq!(names(DeviceUse::Auto), ["cuda0-0", "cuda1-0"]);
        assert_eq!(
            names(listed(&["cuda:1", "cpu"])),
            ["cuda1-0", "cpu-0", "cpu-1"]
        );
    }

    #[test]
    fn what_is_not_there_is_refused() {
        let error = |names: &[&str], cuda| {
            divide(&settings(listed(names), None, 1), &[], &[0], cuda).unwrap_err()
        };
        assert!(error(&["cuda:0"], false).contains("make run CUDA=1"));
        assert!(error(&["cuda:3"], true).contains("no cuda:3 here"));
        assert!(error(&["cpu", "cpu"], true).contains("twice"));
        assert!(error(&["gpu"], true).contains("\"gpu\" is no device"));
        assert!(error(&["cuda:01"], true).contains("is no device"));
        assert!(error(&[], true).contains("names no device"));
    }
}

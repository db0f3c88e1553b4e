//! The devices that this process may use: the CPU and the GPUs that CUDA shows. Must not know how they
//! are divided into lanes.

use serde::Serialize;

/// A device that children can train on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Device {
    /// `cpu` or `cuda:0`, as `devices.use` names it.
    pub device: String,
    /// The manufacturer's name of it.
    pub model: String,
    /// CPU cores that this process may use; 0 for a GPU.
    pub cores: usize,
    /// Vector instructions of a CPU that the kernels or candle can use.
    pub instructions: Vec<String>,
    pub memory_bytes: u64,
    /// Of a GPU: the driver's identifier, which does not depend on its number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
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

/// The N of `cuda:N`.
pub fn gpu_index(name: &str) -> Option<usize> {
    let digits = name.strip_prefix("cuda:")?;
    digits
        .parse()
        .ok()
        .filter(|index: &usize| index.to_string() == digits)
}

/// Cores in this process's affinity mask.
pub(super) fn available_cores() -> Vec<usize> {
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
    let memory_bytes = u64::try_from(memory_bytes()).unwrap_or(u64::MAX);
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

/// Memory of this machine in bytes, as Linux says; a cautious 4 GiB where it does not.
pub fn memory_bytes() -> usize {
    let total = std::fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| {
            let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
            line.split_whitespace().nth(1)?.parse::<usize>().ok()
        });
    total.map_or(4 << 30, |kibibytes| kibibytes << 10)
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

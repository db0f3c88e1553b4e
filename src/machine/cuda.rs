//! NVIDIA's driver: whether it is there and new enough, and the GPUs that it shows this process. Must
//! not know what is computed on them.
//!
//! The driver is loaded when the program runs (cudarc panics where there is none, so it is looked for
//! first); no library of CUDA's is linked.

use cudarc::driver::{DriverError, result, sys};

/// The version of CUDA that the compiled kernels are of, which a driver has to know.
const NEEDED: (i32, i32) = (13, 0);
/// The first driver that does.
const NEEDED_DRIVER: u32 = 580;
/// The compute capability from which on there are kernels.
const LEAST_CAPABILITY: (i32, i32) = (8, 0);

/// A GPU as the driver shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gpu {
    /// The manufacturer's name of it.
    pub model: String,
    pub memory_bytes: u64,
    /// As NVML writes it.
    pub uuid: Option<String>,
    /// Compute capability.
    pub capability: (i32, i32),
}

impl Gpu {
    /// Why no child can train on it; None: one can.
    pub fn problem(&self) -> Option<String> {
        let (major, minor) = self.capability;
        let (least, of_least) = LEAST_CAPABILITY;
        (self.capability < LEAST_CAPABILITY).then(|| {
            format!(
                "{} has compute capability {major}.{minor}, and {least}.{of_least} is needed",
                self.model
            )
        })
    }
}

/// Why there is no GPU to train on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoGpu {
    #[error("no NVIDIA driver was found (libcuda.so.1)")]
    NoDriver,
    #[error(
        "the NVIDIA driver is too old: it knows CUDA {}.{}, and {}.{} is needed (driver {NEEDED_DRIVER} or later)",
        .0.0, .0.1, NEEDED.0, NEEDED.1
    )]
    OldDriver((i32, i32)),
    #[error("the NVIDIA driver shows no GPU")]
    None,
    #[error("the NVIDIA driver does not work: {0}")]
    Driver(String),
}

/// Every GPU that the driver shows, in its order: `cuda:0` and so on.
///
/// # Errors
/// Why there is none.
pub fn gpus() -> Result<Vec<Gpu>, NoGpu> {
    if !is_present() {
        return Err(NoGpu::NoDriver);
    }
    let known = version()?;
    if known < NEEDED {
        return Err(NoGpu::OldDriver(known));
    }
    match result::init() {
        Err(DriverError(sys::CUresult::CUDA_ERROR_NO_DEVICE)) => return Err(NoGpu::None),
        other => other.map_err(failed)?,
    }
    let count = result::device::get_count().map_err(failed)?;
    if count == 0 {
        return Err(NoGpu::None);
    }
    (0..count).map(gpu).collect()
}

/// Whether there is a driver to ask.
#[cfg(not(feature = "cuda"))]
fn is_present() -> bool {
    // SAFETY: loads the library, which is the one that CUDA programs load.
    unsafe { sys::is_culib_present() }
}

/// With candle on CUDA the program is linked with it.
#[cfg(feature = "cuda")]
fn is_present() -> bool {
    true
}

/// The version of CUDA that the driver knows; this may be asked before anything else.
fn version() -> Result<(i32, i32), NoGpu> {
    let mut version = 0;
    // SAFETY: the library is there; the driver writes one number.
    unsafe { sys::cuDriverGetVersion(&raw mut version) }
        .result()
        .map_err(failed)?;
    Ok((version / 1000, version % 1000 / 10))
}

fn gpu(index: i32) -> Result<Gpu, NoGpu> {
    use sys::CUdevice_attribute_enum as Attribute;
    let device = result::device::get(index).map_err(failed)?;
    let read = |attribute| {
        // SAFETY: the driver gave the handle.
        unsafe { result::device::get_attribute(device, attribute) }.map_err(failed)
    };
    // SAFETY: likewise.
    let memory = unsafe { result::device::total_mem(device) }.map_err(failed)?;
    Ok(Gpu {
        model: result::device::get_name(device).map_err(failed)?,
        memory_bytes: memory as u64,
        uuid: result::device::get_uuid(device)
            .ok()
            .map(|uuid| uuid_text(&uuid.bytes.map(|byte| byte as u8))),
        capability: (
            read(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
            read(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
        ),
    })
}

fn failed(error: DriverError) -> NoGpu {
    let text = error.error_string().map_or_else(
        |_| format!("error {}", error.0 as u32),
        |text| text.to_string_lossy().into_owned(),
    );
    NoGpu::Driver(text)
}

/// As NVML writes it.
fn uuid_text(bytes: &[u8; 16]) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_old_says_what_is_needed() {
        let old = NoGpu::OldDriver((12, 4)).to_string();
        assert!(
            old.contains("CUDA 12.4") && old.contains("13.0") && old.contains("driver 580"),
            "{old}"
        );
        let gpu = |capability| Gpu {
            model: "a GPU".into(),
            memory_bytes: 0,
            uuid: None,
            capability,
        };
        assert_eq!(gpu((8, 0)).problem(), None);
        let problem = gpu((7, 5)).problem().unwrap();
        assert!(
            problem.contains("7.5") && problem.contains("8.0"),
            "{problem}"
        );
    }

    #[test]
    fn a_uuid_is_written_as_nvml_writes_it() {
        let bytes = std::array::from_fn(|index| 16 * index as u8 + index as u8);
        assert_eq!(
            uuid_text(&bytes),
            "GPU-00112233-4455-6677-8899-aabbccddeeff"
        );
    }
}

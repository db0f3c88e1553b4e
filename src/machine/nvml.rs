//! NVML's raw readings of the GPUs, in NVML's own units. Must not know names of metrics or of
//! `cuda:N`.
//!
//! `NETWRIGHT_NVML_READINGS`, for tests only, names a JSON file that takes NVML's place: a list of
//! objects with the fields of `Identity` and of `Raw` (what is left out, the GPU does not support),
//! read anew at every sample.

use super::ReadingsError;
use nvml_wrapper::Nvml;
use nvml_wrapper::enum_wrappers::device::{Clock, TemperatureSensor};
use nvml_wrapper::error::NvmlError;
use serde::Deserialize;
use std::path::PathBuf;

/// The variable that puts a file in NVML's place.
const INSTEAD: &str = "NETWRIGHT_NVML_READINGS";

/// Which GPU it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Identity {
    /// `GPU-8f3c…`
    pub uuid: String,
    /// `00000000:3B:00.0`
    pub pci_bus_id: String,
    /// The maker's name of it.
    pub model: String,
}

/// One reading of a GPU; None: the device does not support it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Raw {
    /// Share of time in which a kernel ran.
    pub utilization_percent: Option<u32>,
    pub memory_used_bytes: Option<u64>,
    pub memory_total_bytes: Option<u64>,
    pub power_milliwatts: Option<u32>,
    pub temperature_celsius: Option<u32>,
    /// Of the streaming multiprocessors.
    pub clock_megahertz: Option<u32>,
}

/// Where readings come from. Calls may block for as long as the driver does.
pub trait Readings: Send {
    /// Every GPU, in NVML's order (by PCI bus id).
    ///
    /// # Errors
    /// What the driver says.
    fn gpus(&self) -> Result<Vec<Identity>, ReadingsError>;

    /// The GPU at this place of `gpus`; of a GPU that is lost, nothing.
    fn read(&self, index: usize) -> Raw;
}

/// The driver, or what stands in for it.
///
/// # Errors
/// Why there are no readings.
pub fn open() -> Result<Box<dyn Readings>, ReadingsError> {
    if let Some(path) = std::env::var_os(INSTEAD) {
        return Ok(Box::new(FromFile(path.into())));
    }
    // Drivers and containers bring the versioned name; the plain one comes with development
    // packages only.
    let versioned = Nvml::builder()
        .lib_path("libnvidia-ml.so.1".as_ref())
        .init();
    versioned
        .or_else(|_| Nvml::init())
        .map(|nvml| Box::new(nvml) as Box<dyn Readings>)
        .map_err(|error| match error {
            NvmlError::LibloadingError(_) => ReadingsError::NoDriver,
            other => ReadingsError::Open(other),
        })
}

impl Readings for Nvml {
    fn gpus(&self) -> Result<Vec<Identity>, ReadingsError> {
        let count = self.device_count()?;
        let one = |index| -> Result<_, ReadingsError> {
            let device = self.device_by_index(index)?;
            Ok(Identity {
                uuid: device.uuid()?,
                pci_bus_id: device.pci_info()?.bus_id,
                model: device.name()?,
            })
        };
        (0..count).map(one).collect()
    }

    fn read(&self, index: usize) -> Raw {
        let Some(device) = u32::try_from(index)
            .ok()
            .and_then(|index| self.device_by_index(index).ok())
        else {
            return Raw::default();
        };
        let memory = device.memory_info().ok();
        Raw {
            utilization_percent: device.utilization_rates().ok().map(|rates| rates.gpu),
            memory_used_bytes: memory.as_ref().map(|memory| memory.used),
            memory_total_bytes: memory.map(|memory| memory.total),
            power_milliwatts: device.power_usage().ok(),
            temperature_celsius: device.temperature(TemperatureSensor::Gpu).ok(),
            clock_megahertz: device.clock_info(Clock::SM).ok(),
        }
    }
}

/// Readings of a file.
struct FromFile(PathBuf);

/// One GPU of the file.
#[derive(Deserialize)]
struct Entry {
    #[serde(flatten)]
    identity: Identity,
    #[serde(flatten)]
    raw: Raw,
}

impl FromFile {
    fn entries(&self) -> Result<Vec<Entry>, ReadingsError> {
        let unreadable = |problem: String| ReadingsError::File {
            path: self.0.clone(),
            problem,
        };
        let text =
            std::fs::read_to_string(&self.0).map_err(|error| unreadable(error.to_string()))?;
        serde_json::from_str(&text).map_err(|error| unreadable(error.to_string()))
    }
}

impl Readings for FromFile {
    fn gpus(&self) -> Result<Vec<Identity>, ReadingsError> {
        Ok(self
            .entries()?
            .into_iter()
            .map(|entry| entry.identity)
            .collect())
    }

    fn read(&self, index: usize) -> Raw {
        self.entries()
            .ok()
            .and_then(|entries| entries.get(index).map(|entry| entry.raw))
            .unwrap_or_default()
    }
}

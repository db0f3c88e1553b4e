//! The machine that this process runs on: cores, memory and GPUs that it may use, and how the
//! settings divide them into lanes. The ground floor: imports nothing of ours, and must not know
//! what is computed on a device.

mod devices;
mod error;
mod lane_device;
mod lanes;
mod matching;
mod nvml;
mod open_files;
mod settings;
mod visible;

pub use devices::{Device, cuda_uuids, gpu_index, list_devices, memory_bytes};
pub use error::{MachineError, ReadingsError};
pub use lane_device::{candle_device, thread_pool};
pub use lanes::{LaneSpec, resolve_lanes, resolve_lanes_for_programs};
pub use matching::{match_by_uuid, match_by_variable};
pub use nvml::{Identity, Raw, Readings, open as open_nvml};
pub use open_files::ensure_open_files;
pub use rayon::ThreadPool;
pub use settings::{DeviceUse, DevicesSettings};
pub use visible::{inherited as inherited_gpus, visible as visible_gpus};

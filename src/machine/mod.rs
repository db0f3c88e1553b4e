//! The machine that this process runs on: cores, memory and GPUs that it may use, how the settings
//! divide them into lanes, and signs of what ended a process. The ground floor: imports nothing of
//! ours, and must not know what is computed on a device.

pub mod cgroup;
mod cuda;
mod devices;
mod error;
pub mod fatal_signal;
mod interrupts;
mod lane_threads;
mod lanes;
mod matching;
mod nvml;
mod open_files;
mod settings;
mod visible;

pub use devices::{
    Device, WholeMachine, cuda_uuids, gpu_index, list_devices, memory_bytes, memory_for_children,
    usable_cores, why_no_gpu,
};
pub use error::{MachineError, ReadingsError};
pub use interrupts::end_at_once_on_interrupts;
pub use lane_threads::thread_pool;
pub use lanes::{LaneSpec, resolve_cpu_lanes, resolve_lanes, resolve_lanes_for_programs};
pub use matching::{match_by_uuid, match_by_variable};
pub use nvml::{Identity, Raw, Readings, open as open_nvml};
pub use open_files::ensure_open_files;
pub use rayon::ThreadPool;
pub use settings::{DeviceUse, DevicesSettings, Precision};
pub use visible::{inherited as inherited_gpus, visible as visible_gpus};

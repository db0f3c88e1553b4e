//! The training of a convolutional network on an NVIDIA GPU: parameters, optimiser, data set and
//! augmentation are in the device's memory, and the host queues steps. The kernels are C++ beside
//! these files. Knows nothing of epochs' order, schedules or rewards.

mod arena;
mod device;
mod embedded;
mod images;
mod launches;
mod layout;
mod network;
mod packing;
mod plan;
#[cfg(test)]
pub mod stand_in;
mod tiles;

pub use device::{CudaError, Device, Launch};
pub use embedded::LEAST_CAPABILITY;
pub use images::{DeviceImages, ImageTables, WhitenedBy};
pub use layout::{Crop, Position, Precision, Progress};
pub use network::{DeviceNetwork, NetworkError, State, StateSizes};
pub use plan::Job;

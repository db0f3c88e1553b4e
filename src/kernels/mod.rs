//! Fast tensor operations that candle lacks, with their backward passes: the training step of a convolutional child.
//! Knows nothing of architectures, data sets or actors; imports nothing of ours but `random`.

mod network;
mod reference;
mod spec;

pub use network::ConvNet;
pub use spec::{KernelError, LayerSpec, NetworkSpec, ParameterSlot};

//! Fast tensor operations that candle lacks, with their backward passes: the training step of a convolutional child.
//! Knows nothing of architectures, data sets or actors; imports nothing of ours but `random`.

mod arena;
mod conv;
mod head;
mod memory;
mod network;
mod norm;
mod pack;
mod simd;
mod spec;
mod sweep;

#[cfg(test)]
mod tests;

pub use network::ConvNet;
pub use spec::{KernelError, LayerSpec, NetworkSpec, ParameterSlot};

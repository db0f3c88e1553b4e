//! Fast tensor operations that candle lacks, with their backward passes: the training step of a
//! convolutional child, and recurrent layers of any cell. Knows nothing of architectures, data sets
//! or actors; imports nothing of ours but `random`.

mod arena;
mod cell;
mod conv;
mod embedding;
mod functions;
mod head;
mod local_contrast;
mod memory;
mod network;
mod norm;
pub mod ops;
mod pack;
mod packed;
mod planes;
mod point_products;
mod pooling;
mod simd;
mod softmax;
mod spec;
mod sweep;
mod weight_tiles;
mod winograd;

#[cfg(test)]
mod tests;

pub use cell::{Apply, CellLayer, CellProgram, CellShape, Join, Masks, NAMED as NAMED_CELLS, Op};
pub use embedding::{Embedding, Layout};
pub use head::cross_entropy;
pub use local_contrast::weights as local_contrast_weights;
pub use network::ConvNet;
pub use pooling::Pooling;
pub use simd::Isa;
pub use softmax::{SKIPPED, Softmax, SoftmaxGradient};
pub use spec::{Geometry, KernelError, LayerSpec, NetworkSpec, OperationSpec, ParameterSlot};

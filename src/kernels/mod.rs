//! Fast tensor operations that candle lacks, with their backward passes: the training step of a
//! convolutional child, and recurrent layers of any cell. Knows nothing of architectures, data sets
//! or actors; imports nothing of ours but `random`.

mod convnet;
pub mod cuda;
mod error;
mod matmul;
mod memory;
mod parameters;
mod recurrent;
mod simd;

#[cfg(test)]
mod testing;

pub use convnet::{
    BATCH_NORM_EPSILON, ConvNet, Geometry, LOCAL_CONTRAST_EPSILON, LayerSpec, NetworkSpec,
    OperationSpec, Pooling, cross_entropy, local_contrast_weights, ops,
};
pub use error::KernelError;
pub use parameters::ParameterSlot;
pub use recurrent::{
    Activation, CellLayer, CellProgram, CellShape, Combination, Embedding, Layout, Masks,
    NAMED_CELLS, Op, SKIPPED, Softmax, SoftmaxGradient,
};
pub use simd::Isa;

//! The training step of a convolutional network on the CPU: plan and memory, convolutions (direct
//! and Winograd's), pooling, normalisations, the classifier. Knows nothing of recurrent layers.

mod arena;
mod convolution;
mod head;
mod local_contrast;
mod network;
mod norm;
pub mod ops;
mod pack;
mod planes;
mod pooling;
mod spec;
mod winograd;

#[cfg(test)]
mod tests;

pub use head::cross_entropy;
pub use local_contrast::{EPSILON as LOCAL_CONTRAST_EPSILON, weights as local_contrast_weights};
pub use network::ConvNet;
pub use norm::EPSILON as BATCH_NORM_EPSILON;
pub use pooling::Pooling;
pub use spec::{Geometry, LayerSpec, NetworkSpec, OperationSpec};
pub(super) use spec::{LayerPlan, Plan};

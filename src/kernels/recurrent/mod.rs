//! What a recurrent language model is made of: layers of any cell, the embedding and the softmax.
//! Knows nothing of images.

mod cell;
mod embedding;
mod softmax;

#[cfg(test)]
mod tests;

pub use cell::{
    Activation, CellLayer, CellProgram, CellShape, Combination, Masks, NAMED as NAMED_CELLS, Op,
};
pub use embedding::{Embedding, Layout};
pub use softmax::{SKIPPED, Softmax, SoftmaxGradient};

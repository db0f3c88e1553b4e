//! Recurrent layers of any cell: a pointwise program between matrix products, with its backward
//! pass. Knows nothing of architectures, words or losses.

mod layer;
mod plan;
mod pointwise;
mod program;
mod shape;

#[cfg(test)]
mod tests;

pub use layer::{CellLayer, Masks};
pub use program::{Activation, CellProgram, Combination, NAMED, Op};
pub use shape::CellShape;

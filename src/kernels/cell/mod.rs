//! Recurrent layers of any cell: a pointwise program between matrix products, with its backward pass.
//! Knows nothing of architectures, words or losses.

mod layer;
mod program;

#[cfg(test)]
mod tests;

pub use layer::{CellLayer, CellShape, Masks};
pub use program::{Apply, CellProgram, Join, NAMED, Op};

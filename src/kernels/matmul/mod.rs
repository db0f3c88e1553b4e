//! Matrix products with a packed right side: panels, and the register tiles that go over them. Knows
//! nothing of what is multiplied.

mod packed;
mod tile;

#[cfg(test)]
mod tests;

pub use packed::{DEPTH, Left, Packed, Target, widths};

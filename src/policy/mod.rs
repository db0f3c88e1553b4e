//! The controller network: samples decision lists, gives their log-probability and the REINFORCE
//! gradient (paper §3.1, §3.2), and the arithmetic of the shared parameters: Adam, the baseline.
//! Tensors, but no actors, no files, no clocks.

mod adam;
mod backward;
mod baseline;
mod forward;
mod layout;
mod linear;
mod network;
#[cfg(test)]
pub(crate) mod tests;

pub use adam::{AdamState, UpdateRule, UpdateSettings};
pub use baseline::{Baseline, ComparedRewards, RewardAverages};
pub use network::{Episode, Gradient, NetworkSettings, Policy, Sample};

/// A problem inside the controller network's arithmetic (a bug of ours, or parameters that are not
/// finite).
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    #[error("the controller's parameters are no longer finite; lower controller.learning_rate")]
    NotFinite,
    /// The position counts from 0.
    #[error("a decision list does not fit the space at decision {}", position + 1)]
    Decisions { position: usize },
    #[error("the controller network has {expected} parameters, not {found}")]
    Parameters { expected: usize, found: usize },
}

/// The contiguous range of the flat parameter vector that each of `shards` shards owns; lengths
/// differ by at most one.
pub fn shard_boundaries(parameters: usize, shards: usize) -> Vec<usize> {
    (0..=shards)
        .map(|shard| parameters * shard / shards)
        .collect()
}

//! Why something that the kernels are asked to build is refused. Knows nothing of who asks.

/// Why a network cannot be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KernelError {
    /// The description contradicts itself.
    #[error("{0}")]
    Invalid(String),
    /// Sizes whose products do not fit the machine's addresses.
    #[error("the network is too large for this machine's memory: {0}")]
    TooLarge(String),
}

//! How large the networks of a space may be (`space.max_parameters`, `space.max_flops`). Must not know
//! what happens to those that are larger.

use super::{Architecture, Decision, Space, SpaceSettings};

/// The largest networks that are wanted; None: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SizeLimits {
    pub max_parameters: Option<u64>,
    pub max_flops: Option<u64>,
}

impl SizeLimits {
    pub fn new(settings: &SpaceSettings) -> Self {
        Self {
            max_parameters: settings.max_parameters,
            max_flops: settings.max_flops,
        }
    }

    /// Whether there is a limit.
    pub fn is_some(&self) -> bool {
        self.max_parameters.or(self.max_flops).is_some()
    }

    /// Whether a network of this size is larger.
    pub fn leave_out(&self, parameters: Option<u64>, flops: Option<u64>) -> bool {
        self.parameters_beyond(parameters).is_some() || self.flops_beyond(flops).is_some()
    }

    /// Why an architecture is too large, in one sentence; None: it is not, or its size is not
    /// known.
    pub fn exceeded(&self, architecture: &Architecture) -> Option<String> {
        let (parameters, flops) = architecture.size();
        if let Some((size, limit)) = self.parameters_beyond(parameters) {
            return Some(format!(
                "not trained: it has {size} parameters, space.max_parameters is {limit}"
            ));
        }
        let (size, limit) = self.flops_beyond(flops)?;
        Some(format!(
            "not trained: one image takes {size} floating-point operations, space.max_flops is {limit}"
        ))
    }

    fn parameters_beyond(&self, size: Option<u64>) -> Option<(u64, u64)> {
        size.zip(self.max_parameters)
            .filter(|(size, limit)| size > limit)
    }

    fn flops_beyond(&self, size: Option<u64>) -> Option<(u64, u64)> {
        size.zip(self.max_flops)
            .filter(|(size, limit)| size > limit)
    }
}

/// Whether the network of this finished list is larger than its space's limits.
pub fn is_too_large(space: &dyn Space, layers: usize, decisions: &[Decision]) -> bool {
    let limits = space.limits();
    limits.is_some()
        && space
            .build(layers, decisions)
            .is_ok_and(|architecture| limits.exceeded(&architecture).is_some())
}

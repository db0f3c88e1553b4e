//! Networks larger than the space's limits are drawn again, before anything is trained. Must not know
//! how a strategy draws.
//!
//! What comes out is the strategy's distribution given that the network is small enough, but the
//! controller learns as if every list could have come: its gradient is that of the probability of a
//! list alone. So it is not told that large networks are unwanted, and what it learns is biased by
//! how their share changes with its parameters.

use super::ProposalRequest;
use crate::space::{Decision, is_too_large};

/// Draws for one slot that are too large after which the next one is proposed whatever its size; if
/// it is too large, it fails untrained.
pub(super) const MAX_REDRAWN: usize = 100;

/// Of one slot of a request.
#[derive(Default)]
pub(super) struct Redrawn {
    /// Lists that were drawn again.
    pub(super) count: usize,
}

impl Redrawn {
    /// Whether this list is to be drawn again, because its network is too large.
    pub(super) fn refuses(&mut self, request: &ProposalRequest, list: &[Decision]) -> bool {
        let refused = self.count < MAX_REDRAWN && request.leaves_out(list);
        self.count += usize::from(refused);
        refused
    }
}

impl ProposalRequest<'_> {
    /// Whether this list is larger than what is proposed.
    pub(super) fn leaves_out(&self, list: &[Decision]) -> bool {
        self.learning.redraws && is_too_large(self.space, self.layers, list)
    }
}

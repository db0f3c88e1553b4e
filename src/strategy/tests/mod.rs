//! Tests of strategies and of the replay, on the small space of the policy's tests.

mod bandit;
mod evolution;
mod replay;
mod search;
mod verification;

use super::registry::Entry;
use std::sync::Arc;

/// Strategies that exist in tests alone: known by name, and in no listing.
#[rustfmt::skip]
pub(super) const STRATEGIES: &[Entry] = &[
    Entry { name: "test-evolution", doc: "a strategy that reads the history", create: || Arc::new(evolution::Evolution::default()) },
];

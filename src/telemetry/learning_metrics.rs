//! Metrics of the controllers and parameter shards: what the policy is like, and how it is updated.
//! Must not know who counts.

use super::buckets;
use super::metrics::Families;
use prometheus::{Gauge, Histogram, IntCounter};

/// Registered by [`super::Metrics::new`].
pub struct LearningMetrics {
    pub architecture_layers: Gauge,
    pub proposals_redrawn_total: IntCounter,
    pub proposals_repeated_total: IntCounter,
    pub policy_entropy_nats: Gauge,
    pub policy_gradient_norm: Gauge,
    pub controller_updates_total: IntCounter,
    pub shard_updates_total: IntCounter,
    pub gradient_staleness_updates: Histogram,
}

impl LearningMetrics {
    pub(super) fn new(make: &Families<'_>) -> prometheus::Result<Self> {
        Ok(Self {
            architecture_layers: make.gauge(
                "architecture_layers",
                "Depth of the architectures sampled last.",
            )?,
            proposals_redrawn_total: make.counter(
                "proposals_redrawn_total",
                "Networks drawn again, because they are larger than space.max_parameters or max_flops.",
            )?,
            proposals_repeated_total: make.counter(
                "proposals_repeated_total",
                "Networks proposed again: an equal one was pending that the strategy had not seen, or it found no new one.",
            )?,
            policy_entropy_nats: make.gauge(
                "policy_entropy_nats",
                "Entropy of the policy: mean over the last minibatch sampled, in nats.",
            )?,
            policy_gradient_norm: make.gauge(
                "policy_gradient_norm",
                "Euclidean norm of the last policy gradient.",
            )?,
            controller_updates_total: make.counter(
                "controller_updates_total",
                "Gradients that controllers have pushed.",
            )?,
            shard_updates_total: make.counter(
                "shard_updates_total",
                "Updates that parameter shards have applied, in this process.",
            )?,
            gradient_staleness_updates: make.histogram(
                "gradient_staleness_updates",
                "Updates between a gradient's pull and its push, in this process.",
                buckets::staleness(),
            )?,
        })
    }
}

//! Every metric of a search: Prometheus names with the prefix `netwright_`, base units, bounded labels.
//! Must not know who counts.

use crate::child::{Cause, Outcome};
use prometheus::process_collector::ProcessCollector;
use prometheus::{Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, Opts, Registry, TextEncoder};

/// The label `outcome` of `children_total`.
const OUTCOMES: [&str; 6] = ["completed", "failed", "diverged", "timeout", "out_of_memory", "stopped"];

/// The label `actor` of `actor_restarts_total`.
const ACTORS: [&str; 3] = ["child_trainer", "controller", "parameter_shard"];

/// The registry and its metrics; all label values are there from the first scrape.
pub struct Metrics {
    registry: Registry,
    /// The usual `process_*`, which take no prefix of ours.
    process: Registry,
    pub reward: Histogram,
    pub best_reward: Gauge,
    pub baseline: Gauge,
    pub policy_entropy_nats: Gauge,
    pub policy_gradient_norm: Gauge,
    pub children_total: IntCounterVec,
    pub children_running: Gauge,
    pub children_queued: Gauge,
    pub child_duration_seconds: Histogram,
    pub examples_total: IntCounter,
    pub controller_updates_total: IntCounter,
    pub shard_updates_total: IntCounter,
    pub gradient_staleness_updates: Histogram,
    pub last_snapshot_timestamp_seconds: Gauge,
    pub architecture_layers: Gauge,
    pub actor_restarts_total: IntCounterVec,
}

impl Metrics {
    /// A registry of its own for one run.
    ///
    /// # Errors
    /// When a metric is refused (two of one name: a bug).
    pub fn new() -> prometheus::Result<Self> {
        let registry = Registry::new_custom(Some("netwright".into()), None)?;
        let gauge = |name: &str, help: &str| -> prometheus::Result<Gauge> {
            let gauge = Gauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        let counter = |name: &str, help: &str| -> prometheus::Result<IntCounter> {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok(counter)
        };
        let histogram = |name: &str, help: &str, buckets: Vec<f64>| -> prometheus::Result<Histogram> {
            let histogram = Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets))?;
            registry.register(Box::new(histogram.clone()))?;
            Ok(histogram)
        };
        let children_total = IntCounterVec::new(Opts::new("children_total", "Children that ended, by outcome."), &["outcome"])?;
        registry.register(Box::new(children_total.clone()))?;
        for outcome in OUTCOMES {
            children_total.with_label_values(&[outcome]);
        }
        let actor_restarts_total = IntCounterVec::new(Opts::new("actor_restarts_total", "Actors that fell and were rebuilt."), &["actor"])?;
        registry.register(Box::new(actor_restarts_total.clone()))?;
        for actor in ACTORS {
            actor_restarts_total.with_label_values(&[actor]);
        }
        let process = Registry::new();
        process.register(Box::new(ProcessCollector::for_self()))?;
        Ok(Self {
            process,
            actor_restarts_total,
            reward: histogram("reward", "Rewards of completed children.", reward_buckets())?,
            best_reward: gauge("best_reward", "The highest reward so far.")?,
            baseline: gauge("baseline", "Moving-average baseline of REINFORCE.")?,
            policy_entropy_nats: gauge("policy_entropy_nats", "Entropy of the policy: mean over the last minibatch sampled, in nats.")?,
            policy_gradient_norm: gauge("policy_gradient_norm", "Euclidean norm of the last policy gradient.")?,
            children_total,
            children_running: gauge("children_running", "Children under training.")?,
            children_queued: gauge("children_queued", "Children that wait for a lane.")?,
            child_duration_seconds: histogram("child_duration_seconds", "Time of a child on its lane.", duration_buckets())?,
            examples_total: counter("examples_total", "Training examples that children have used.")?,
            controller_updates_total: counter("controller_updates_total", "Gradients that controllers have pushed.")?,
            shard_updates_total: counter("shard_updates_total", "Updates that parameter shards have applied.")?,
            gradient_staleness_updates: histogram(
                "gradient_staleness_updates",
                "Updates between a gradient's pull and its push.",
                vec![0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0],
            )?,
            last_snapshot_timestamp_seconds: gauge("last_snapshot_timestamp_seconds", "Unix time of the last snapshot on disk.")?,
            architecture_layers: gauge("architecture_layers", "Depth of the architectures sampled last.")?,
            registry,
        })
    }

    /// Counts a child whose outcome is on disk.
    pub fn child_ended(&self, outcome: &Outcome, seconds: f64) {
        self.children_total.with_label_values(&[label(outcome)]).inc();
        self.child_duration_seconds.observe(seconds);
        if let Outcome::Completed { reward, .. } = outcome {
            self.rewarded(*reward);
        }
    }

    /// Takes in what earlier processes of the same run counted.
    pub fn restore(&self, rewards: &[f64], failed: u64) {
        rewards.iter().for_each(|reward| self.rewarded(*reward));
        self.children_total.with_label_values(&["completed"]).inc_by(rewards.len() as u64);
        self.children_total.with_label_values(&["failed"]).inc_by(failed);
    }

    fn rewarded(&self, reward: f64) {
        self.reward.observe(reward);
        if self.reward.get_sample_count() == 1 || reward > self.best_reward.get() {
            self.best_reward.set(reward);
        }
    }

    /// A snapshot is on disk now.
    pub fn snapshot_stored(&self) {
        self.last_snapshot_timestamp_seconds.set(jiff::Timestamp::now().as_millisecond() as f64 / 1e3);
    }

    /// The text format of Prometheus.
    ///
    /// # Errors
    /// When the encoder refuses a family (a bug).
    pub fn text(&self) -> prometheus::Result<String> {
        let mut families = self.registry.gather();
        families.extend(self.process.gather());
        TextEncoder::new().encode_to_string(&families)
    }
}

fn label(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Completed { .. } => "completed",
        Outcome::Stopped => "stopped",
        Outcome::Failed { cause, .. } => match cause {
            Cause::Diverged => "diverged",
            Cause::Timeout => "timeout",
            Cause::OutOfMemory => "out_of_memory",
            Cause::Unbuildable | Cause::Panicked | Cause::Device | Cause::Error => "failed",
        },
    }
}

/// Accuracy to the third power: fine where good networks are.
fn reward_buckets() -> Vec<f64> {
    (1..=20).map(|step| (f64::from(step) / 20.0).powi(3)).collect()
}

/// 0.1 s to 7 d.
fn duration_buckets() -> Vec<f64> {
    vec![0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0, 180.0, 600.0, 1800.0, 3600.0, 10_800.0, 43_200.0, 86_400.0, 259_200.0, 604_800.0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_is_there_from_the_first_scrape() {
        let text = Metrics::new().unwrap().text().unwrap();
        for family in ["reward", "best_reward", "baseline", "children_total", "examples_total", "gradient_staleness_updates"] {
            assert!(text.contains(&format!("# TYPE netwright_{family} ")), "{family} is missing from\n{text}");
        }
        for outcome in OUTCOMES {
            assert!(text.contains(&format!("netwright_children_total{{outcome=\"{outcome}\"}} 0")));
        }
    }

    #[test]
    fn a_completed_child_moves_reward_best_and_count() {
        let metrics = Metrics::new().unwrap();
        for reward in [0.2, 0.5, 0.3] {
            metrics.child_ended(&Outcome::Completed { reward, metric: 0.7, seconds: None }, 2.0);
        }
        let text = metrics.text().unwrap();
        assert!(text.contains("netwright_reward_count 3"));
        assert!(text.contains("netwright_best_reward 0.5"));
        assert!(text.contains("netwright_children_total{outcome=\"completed\"} 3"));
    }
}

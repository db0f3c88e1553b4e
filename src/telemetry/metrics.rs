//! Every metric of a search: Prometheus names with the prefix `netwright_`, base units, labels of
//! bounded cardinality. Must not know who counts.

use super::buckets;
use super::learning_metrics::LearningMetrics;
use super::readiness::Readiness;
use crate::child::RewardScale;
use crate::child::{Cause, Outcome};
use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry, TextEncoder,
};

/// The label `outcome` of `children_total`.
const OUTCOMES: [&str; 7] = [
    "completed",
    "pruned",
    "failed",
    "diverged",
    "timeout",
    "out_of_memory",
    "stopped",
];

/// The label `actor`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActorKind {
    Supervisor,
    ParameterShard,
    Controller,
    ChildTrainer,
}

impl ActorKind {
    const ALL: [Self; 4] = [
        Self::Supervisor,
        Self::ParameterShard,
        Self::Controller,
        Self::ChildTrainer,
    ];

    /// The value of the label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Supervisor => "supervisor",
            Self::ParameterShard => "parameter_shard",
            Self::Controller => "controller",
            Self::ChildTrainer => "child_trainer",
        }
    }
}

/// The registry and its metrics; every label value exists from the first scrape.
pub struct Metrics {
    registry: Registry,
    /// The standard `process_*` metrics, which have no prefix of ours.
    process: Registry,
    /// What `/readyz` answers.
    pub readiness: Readiness,
    pub reward: Histogram,
    pub best_reward: Gauge,
    pub baseline: Gauge,
    pub learning: LearningMetrics,
    pub children_total: IntCounterVec,
    pub children_reused_total: IntCounter,
    pub children_running: Gauge,
    pub children_queued: Gauge,
    pub child_duration_seconds: Histogram,
    pub examples_total: IntCounter,
    pub actor_restarts_total: IntCounterVec,
    mailbox_depth: IntGaugeVec,
    pub journal_commit_seconds: Histogram,
    pub last_snapshot_timestamp_seconds: Gauge,
    lanes: LaneMetrics,
    pub run_dir_free_bytes: Gauge,
}

/// What earlier processes of the same run counted, as far as the journal recorded it.
#[derive(Clone, Debug, Default)]
pub struct Restored {
    /// Rewards of completed children that were sampled.
    pub rewards: Vec<f64>,
    /// How many children completed.
    pub completed: u64,
    /// How many children were pruned.
    pub pruned: u64,
    /// Seconds of each completed, pruned or failed child on its lane.
    pub seconds: Vec<f64>,
    /// How many children failed, by cause.
    pub failed: Vec<(Cause, u64)>,
    pub baseline: Option<f64>,
    /// Gradients that have a sequence number.
    pub updates: u64,
    /// Unix time of the newest snapshot.
    pub snapshot_at: Option<f64>,
}

/// Creates metrics and registers them.
pub(super) struct Families<'a>(&'a Registry);

impl Families<'_> {
    fn register<T: Collector + Clone + 'static>(
        &self,
        made: prometheus::Result<T>,
    ) -> prometheus::Result<T> {
        let metric = made?;
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    /// What the run and the program are, as labels of gauges that are 1.
    fn infos(&self, run: &str) -> prometheus::Result<()> {
        self.gauges("run_info", "1, with the run's name.", &["run"])?
            .with_label_values(&[run])
            .set(1.0);
        let build = self.gauges(
            "build_info",
            "1, with the program's version; cuda: whether it can train on NVIDIA GPUs.",
            &["version", "cuda"],
        )?;
        build
            .with_label_values(&[env!("CARGO_PKG_VERSION"), "true"])
            .set(1.0);
        Ok(())
    }

    pub(super) fn gauge(&self, name: &str, help: &str) -> prometheus::Result<Gauge> {
        self.register(Gauge::new(name, help))
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<GaugeVec> {
        self.register(GaugeVec::new(Opts::new(name, help), labels))
    }

    pub(super) fn counter(&self, name: &str, help: &str) -> prometheus::Result<IntCounter> {
        self.register(IntCounter::new(name, help))
    }

    fn counters(
        &self,
        name: &str,
        help: &str,
        label: &str,
        values: &[&str],
    ) -> prometheus::Result<IntCounterVec> {
        let family = self.register(IntCounterVec::new(Opts::new(name, help), &[label]))?;
        for value in values {
            family.with_label_values(&[value]);
        }
        Ok(family)
    }

    fn whole_gauges(
        &self,
        name: &str,
        help: &str,
        label: &str,
        values: &[&str],
    ) -> prometheus::Result<IntGaugeVec> {
        let family = self.register(IntGaugeVec::new(Opts::new(name, help), &[label]))?;
        for value in values {
            family.with_label_values(&[value]);
        }
        Ok(family)
    }

    pub(super) fn histogram(
        &self,
        name: &str,
        help: &str,
        buckets: Vec<f64>,
    ) -> prometheus::Result<Histogram> {
        self.register(Histogram::with_opts(
            HistogramOpts::new(name, help).buckets(buckets),
        ))
    }
}

/// One value for each lane.
struct LaneMetrics {
    busy_ratio: GaugeVec,
    info: GaugeVec,
}

impl LaneMetrics {
    fn new(make: &Families<'_>) -> prometheus::Result<Self> {
        Ok(Self {
            busy_ratio: make.gauges(
                "lane_busy_ratio",
                "Share of the last 15 seconds in which the lane had a child.",
                &["lane"],
            )?,
            info: make.gauges(
                "lane_info",
                "1 for each lane: the device that it is on (the label gpu of gpu_*, or cpu).",
                &["lane", "device"],
            )?,
        })
    }
}

impl Metrics {
    /// A registry of its own for the run of this name.
    ///
    /// # Errors
    /// When the registry refuses a metric (two of one name), which is a bug.
    pub fn new(run: &str, rewards: RewardScale) -> prometheus::Result<Self> {
        let registry = Registry::new_custom(Some("netwright".into()), None)?;
        let process = Registry::new();
        process.register(Box::new(ProcessCollector::for_self()))?;
        let make = Families(&registry);
        let actors = ActorKind::ALL.map(ActorKind::label);
        make.infos(run)?;
        Ok(Self {
            process,
            readiness: Readiness::default(),
            reward: make.histogram(
                "reward",
                "Rewards of completed children that were sampled.",
                rewards.buckets(),
            )?,
            best_reward: make.gauge(
                "best_reward",
                "The highest reward of a sampled child so far.",
            )?,
            baseline: make.gauge("baseline", "Moving-average baseline of REINFORCE.")?,
            learning: LearningMetrics::new(&make)?,
            children_total: make.counters(
                "children_total",
                "Children that ended, by outcome.",
                "outcome",
                &OUTCOMES,
            )?,
            children_reused_total: make.counter(
                "children_reused_total",
                "Children that took the reward of an equal network, untrained.",
            )?,
            children_running: make.gauge("children_running", "Children under training.")?,
            children_queued: make.gauge("children_queued", "Children that wait for a lane.")?,
            child_duration_seconds: make.histogram(
                "child_duration_seconds",
                "Time of a finished child on its lane.",
                buckets::durations(),
            )?,
            examples_total: make.counter(
                "examples_total",
                "Training examples that children have used, in this process.",
            )?,
            actor_restarts_total: make.counters(
                "actor_restarts_total",
                "Actors that were started again after a failure, in this process.",
                "actor",
                &actors,
            )?,
            mailbox_depth: make.whole_gauges(
                "mailbox_depth",
                "Messages that wait for actors of this kind.",
                "actor",
                &actors,
            )?,
            journal_commit_seconds: make.histogram(
                "journal_commit_seconds",
                "Time of a transaction of the journal, with fsync.",
                buckets::commits(),
            )?,
            last_snapshot_timestamp_seconds: make.gauge(
                "last_snapshot_timestamp_seconds",
                "Unix time of the last snapshot on disk; 0: none yet.",
            )?,
            lanes: LaneMetrics::new(&make)?,
            run_dir_free_bytes: make
                .gauge("run_dir_free_bytes", "Free space where the run is stored.")?,
            registry,
        })
    }

    /// Registers another collector; its names get our prefix.
    pub(super) fn register(&self, collector: Box<dyn Collector>) -> prometheus::Result<()> {
        self.registry.register(collector)
    }

    /// Records the lane's device; returns the lane's busy ratio, a gauge of 0..=1.
    pub fn lane(&self, lane: &str, device: &str) -> Gauge {
        self.lanes.info.with_label_values(&[lane, device]).set(1.0);
        self.lanes.busy_ratio.with_label_values(&[lane])
    }

    /// The gauge of messages that wait for actors of this kind.
    pub fn mailbox(&self, actor: ActorKind) -> IntGauge {
        self.mailbox_depth.with_label_values(&[actor.label()])
    }

    /// Counts the restart of an actor that failed.
    pub fn restarted(&self, actor: ActorKind) {
        self.actor_restarts_total
            .with_label_values(&[actor.label()])
            .inc();
    }

    /// Counts a child whose outcome is on disk, but for its reward.
    pub fn child_ended(&self, outcome: &Outcome, seconds: f64) {
        self.children_total
            .with_label_values(&[label(outcome)])
            .inc();
        match outcome {
            Outcome::Completed { seconds: own, .. } | Outcome::Pruned { seconds: own, .. } => {
                self.child_duration_seconds.observe(own.unwrap_or(seconds));
            }
            Outcome::Failed { .. } => self.child_duration_seconds.observe(seconds),
            // The child runs again: this was only a part of its time.
            Outcome::Stopped => {}
        }
    }

    /// Counts a child that took a known reward, once that is on disk; it spent no time on a lane.
    pub fn child_reused(&self, outcome: &Outcome) {
        self.children_total
            .with_label_values(&[label(outcome)])
            .inc();
        self.children_reused_total.inc();
    }

    /// Counts the reward of a child that was sampled.
    pub fn rewarded(&self, outcome: &Outcome) {
        if let Outcome::Completed { reward, .. } = outcome {
            self.reward_of(*reward);
        }
    }

    /// Adds what earlier processes of the same run counted.
    pub fn restore(&self, earlier: &Restored) {
        earlier
            .rewards
            .iter()
            .for_each(|reward| self.reward_of(*reward));
        earlier
            .seconds
            .iter()
            .for_each(|seconds| self.child_duration_seconds.observe(*seconds));
        self.children_total
            .with_label_values(&["completed"])
            .inc_by(earlier.completed);
        self.children_total
            .with_label_values(&["pruned"])
            .inc_by(earlier.pruned);
        for (cause, count) in &earlier.failed {
            self.children_total
                .with_label_values(&[cause_label(*cause)])
                .inc_by(*count);
        }
        self.baseline.set(earlier.baseline.unwrap_or_default());
        self.learning
            .controller_updates_total
            .inc_by(earlier.updates);
        self.last_snapshot_timestamp_seconds
            .set(earlier.snapshot_at.unwrap_or_default());
    }

    fn reward_of(&self, reward: f64) {
        self.reward.observe(reward);
        if self.reward.get_sample_count() == 1 || reward > self.best_reward.get() {
            self.best_reward.set(reward);
        }
    }

    /// A snapshot is on disk now.
    pub fn snapshot_stored(&self) {
        self.last_snapshot_timestamp_seconds
            .set(jiff::Timestamp::now().as_millisecond() as f64 / 1e3);
    }

    /// Calls `visit` with the full name, the value of the first label and the value of each gauge
    /// of ours that has a label. Counters and histograms are visited too, with the value 0.
    pub(super) fn each_gauge(&self, mut visit: impl FnMut(&str, &str, f64)) {
        for family in self.registry.gather() {
            for metric in family.get_metric() {
                if let Some(label) = metric.get_label().first() {
                    visit(family.name(), label.value(), metric.get_gauge().get_value());
                }
            }
        }
    }

    /// The text format of Prometheus.
    ///
    /// # Errors
    /// When the encoder refuses a family, which is a bug.
    pub fn text(&self) -> prometheus::Result<String> {
        let mut families = self.registry.gather();
        families.extend(self.process.gather());
        TextEncoder::new().encode_to_string(&families)
    }
}

fn label(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Completed { .. } => "completed",
        Outcome::Pruned { .. } => "pruned",
        Outcome::Stopped => "stopped",
        Outcome::Failed { cause, .. } => cause_label(*cause),
    }
}

fn cause_label(cause: Cause) -> &'static str {
    match cause {
        Cause::Diverged => "diverged",
        Cause::Timeout | Cause::Frozen => "timeout",
        Cause::OutOfMemory | Cause::DeviceFull => "out_of_memory",
        Cause::Unbuildable
        | Cause::Panicked
        | Cause::Exited
        | Cause::Killed
        | Cause::Protocol
        | Cause::Device
        | Cause::Error => "failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics() -> Metrics {
        Metrics::new(
            "t",
            RewardScale::Accuracy {
                exponent: 3.0,
                has_cost: false,
            },
        )
        .unwrap()
    }

    fn assert_lines(text: &str, lines: &[&str]) {
        for line in lines {
            assert!(
                text.lines().any(|found| found == *line),
                "{line} is missing from\n{text}"
            );
        }
    }

    #[test]
    fn every_family_is_there_from_the_first_scrape() {
        let metrics = metrics();
        metrics.lane("cpu-0", "cpu");
        let text = metrics.text().unwrap();
        for family in [
            "reward",
            "best_reward",
            "baseline",
            "policy_entropy_nats",
            "policy_gradient_norm",
            "children_total",
            "children_running",
            "children_queued",
            "child_duration_seconds",
            "examples_total",
            "controller_updates_total",
            "shard_updates_total",
            "gradient_staleness_updates",
            "actor_restarts_total",
            "mailbox_depth",
            "journal_commit_seconds",
            "last_snapshot_timestamp_seconds",
            "architecture_layers",
            "lane_busy_ratio",
            "run_dir_free_bytes",
            "run_info",
            "build_info",
        ] {
            assert!(
                text.contains(&format!("# TYPE netwright_{family} ")),
                "{family} is missing from\n{text}"
            );
            assert!(text.contains(&format!("# HELP netwright_{family} ")));
        }
        for outcome in OUTCOMES {
            assert_lines(
                &text,
                &[&format!(
                    "netwright_children_total{{outcome=\"{outcome}\"}} 0"
                )],
            );
        }
        for actor in [
            "supervisor",
            "parameter_shard",
            "controller",
            "child_trainer",
        ] {
            assert_lines(
                &text,
                &[&format!(
                    "netwright_actor_restarts_total{{actor=\"{actor}\"}} 0"
                )],
            );
            assert_lines(
                &text,
                &[&format!("netwright_mailbox_depth{{actor=\"{actor}\"}} 0")],
            );
        }
        assert_lines(
            &text,
            &[
                "netwright_run_info{run=\"t\"} 1",
                "netwright_lane_info{device=\"cpu\",lane=\"cpu-0\"} 1",
            ],
        );
        #[cfg(target_os = "linux")]
        for family in [
            "cpu_seconds_total",
            "open_fds",
            "max_fds",
            "resident_memory_bytes",
            "virtual_memory_bytes",
            "start_time_seconds",
            "threads",
        ] {
            assert!(
                text.contains(&format!("# TYPE process_{family} ")),
                "{family}"
            );
        }
    }

    #[test]
    fn a_completed_child_moves_reward_best_and_count_and_a_failed_one_its_cause() {
        let metrics = metrics();
        for reward in [0.2, 0.5, 0.3] {
            let outcome = Outcome::Completed {
                reward,
                metric: 0.7,
                seconds: None,
            };
            metrics.child_ended(&outcome, 2.0);
            metrics.rewarded(&outcome);
        }
        let causes = [
            Cause::Diverged,
            Cause::Timeout,
            Cause::OutOfMemory,
            Cause::Unbuildable,
            Cause::Panicked,
            Cause::Error,
        ];
        for cause in causes {
            metrics.child_ended(
                &Outcome::Failed {
                    cause,
                    error: "e".into(),
                },
                1.0,
            );
        }
        metrics.child_ended(&Outcome::Stopped, 1.0);
        let pruned = Outcome::Pruned {
            epoch: 2,
            reward: Some(0.9),
            metric: Some(0.9),
            seconds: None,
        };
        metrics.child_ended(&pruned, 1.0);
        metrics.rewarded(&pruned);
        metrics.restarted(ActorKind::ChildTrainer);
        let text = metrics.text().unwrap();
        assert_lines(&text, &["netwright_children_reused_total 0"]);
        assert_lines(
            &text,
            &[
                "netwright_reward_count 3",
                "netwright_best_reward 0.5",
                "netwright_child_duration_seconds_count 10",
                "netwright_children_total{outcome=\"completed\"} 3",
                "netwright_children_total{outcome=\"diverged\"} 1",
                "netwright_children_total{outcome=\"timeout\"} 1",
                "netwright_children_total{outcome=\"out_of_memory\"} 1",
                "netwright_children_total{outcome=\"failed\"} 3",
                "netwright_children_total{outcome=\"pruned\"} 1",
                "netwright_children_total{outcome=\"stopped\"} 1",
                "netwright_actor_restarts_total{actor=\"child_trainer\"} 1",
            ],
        );
        let outcome = Outcome::Completed {
            reward: 0.2,
            metric: 0.7,
            seconds: Some(0.0),
        };
        metrics.child_reused(&outcome);
        metrics.rewarded(&outcome);
        let reused = [
            "netwright_children_reused_total 1",
            "netwright_reward_count 4",
            "netwright_child_duration_seconds_count 10",
        ];
        assert_lines(&metrics.text().unwrap(), &reused);
    }

    #[test]
    fn what_the_journal_knows_is_restored() {
        let metrics = metrics();
        let earlier = Restored {
            rewards: vec![-0.5, -0.25],
            completed: 3,
            pruned: 2,
            seconds: vec![1.0; 5],
            failed: vec![(Cause::Timeout, 2), (Cause::Panicked, 1)],
            baseline: Some(-0.3),
            updates: 7,
            snapshot_at: Some(1e9),
        };
        metrics.restore(&earlier);
        let text = metrics.text().unwrap();
        assert_lines(
            &text,
            &[
                "netwright_reward_count 2",
                "netwright_best_reward -0.25",
                "netwright_baseline -0.3",
                "netwright_child_duration_seconds_sum 5",
                "netwright_children_total{outcome=\"completed\"} 3",
                "netwright_children_total{outcome=\"pruned\"} 2",
                "netwright_children_total{outcome=\"timeout\"} 2",
                "netwright_children_total{outcome=\"failed\"} 1",
                "netwright_controller_updates_total 7",
                "netwright_last_snapshot_timestamp_seconds 1000000000",
            ],
        );
    }
}

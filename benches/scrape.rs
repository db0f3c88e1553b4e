//! What one scrape of `/metrics` costs in CPU time: free disk space, GPUs where NVML finds some,
//! and the text of every family, with eight lanes.

use criterion::{Criterion, criterion_group, criterion_main};
use netwright::child::{Outcome, RewardScale};
use netwright::telemetry::{Metrics, Sampler};
use std::hint::black_box;
use std::time::Duration;

/// CPU time of this thread, as Linux counts it: other work on the machine does not count.
fn cpu_time() -> Duration {
    let facts = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    Duration::from_nanos(
        facts
            .split(' ')
            .next()
            .and_then(|nanoseconds| nanoseconds.parse().ok())
            .expect("nanoseconds come first"),
    )
}

fn scrape(criterion: &mut Criterion) {
    let metrics = Metrics::new(
        "bench",
        RewardScale::Perplexity {
            constant: 80.0,
            exponent: 2.0,
        },
    )
    .expect("metrics of different names");
    let sampler =
        Sampler::new(&metrics, std::env::temp_dir(), &[]).expect("metrics of different names");
    (0..8).for_each(|lane| {
        metrics
            .lane(&format!("cuda{lane}-0"), &format!("cuda:{lane}"))
            .set(0.9);
    });
    for child in 1..1_000 {
        let reward = f64::from(child) / 1_000.0;
        let outcome = Outcome::Completed {
            reward,
            metric: reward,
            seconds: None,
        };
        metrics.child_ended(&outcome, f64::from(child));
        metrics.rewarded(&outcome);
    }
    criterion.bench_function("scrape", |bencher| {
        bencher.iter_custom(|iterations| {
            let started = cpu_time();
            for _ in 0..iterations {
                sampler.sample();
                let _ = black_box(metrics.text());
            }
            cpu_time().checked_sub(started).unwrap()
        });
    });
}

criterion_group!(benches, scrape);
criterion_main!(benches);

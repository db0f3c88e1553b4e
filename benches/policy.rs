//! What the controller network costs: sampling and the gradient of a minibatch of 8, six layers of
//! three choices and an anchor point, at the paper's size (two layers of 35 units).

use criterion::{Criterion, criterion_group, criterion_main};
use netwright::policy::{Episode, Policy};
use netwright::random::{Key, Purpose, Stream};
use netwright::space::{ConvSpace, ImageShape, SkipConnections, Space, SpaceSettings};
use netwright::strategy::ControllerSettings;
use std::hint::black_box;

const LAYERS: usize = 6;

fn space() -> impl Space {
    let settings = SpaceSettings {
        filter_height: vec![1, 3, 5, 7],
        filter_width: vec![1, 3, 5, 7],
        filters: vec![24, 36, 48, 64],
        skip_connections: SkipConnections::Predicted,
        ..SpaceSettings::default()
    };
    ConvSpace::new(
        &settings,
        ImageShape {
            channels: 3,
            height: 32,
            width: 32,
        },
        10,
    )
}

fn streams() -> Vec<Stream> {
    (0..8)
        .map(|slot| {
            Key {
                seed: 1,
                slot,
                ..Key::default()
            }
            .stream(Purpose::Decisions)
        })
        .collect()
}

fn policy(criterion: &mut Criterion) {
    let space = space();
    let policy = Policy::new(&space, &ControllerSettings::default().network());
    let parameters = policy.initial_parameters(1);
    let sample = || {
        policy
            .sample(black_box(&parameters), &space, LAYERS, streams())
            .expect("finite parameters")
    };
    let samples = sample();
    assert_eq!(samples[0].decisions.len(), 4 * LAYERS);
    let episodes: Vec<Episode> = (-4_i32..)
        .zip(&samples)
        .map(|(k, sample)| Episode {
            decisions: &sample.decisions,
            advantage: Some(f64::from(k) / 10.0),
        })
        .collect();
    let mut group = criterion.benchmark_group("policy");
    group.bench_function("sample", |bencher| bencher.iter(sample));
    group.bench_function("gradient", |bencher| {
        bencher.iter(|| {
            policy
                .gradient(black_box(&parameters), &space, LAYERS, &episodes, 0.0)
                .expect("finite parameters")
        });
    });
    group.bench_function("sample_uniform", |bencher| {
        bencher.iter(|| policy.sample_uniform(&space, LAYERS, streams()));
    });
    group.finish();
}

criterion_group!(benches, policy);
criterion_main!(benches);

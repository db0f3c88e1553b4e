//! What the page's server takes for each answer of a run with 100,000 trials: deep networks with
//! skip connections, every 97th failed, 40 in training. Asked over HTTP, the journal open for
//! writing in the same process, as in a search.

use criterion::{Criterion, criterion_group, criterion_main};
use netwright::child::{Cause, Epoch, FailureRule, Outcome};
use netwright::journal::{Journal, SampledMinibatch, SampledTrial};
use netwright::policy::Policy;
use netwright::random::{Key, Purpose};
use netwright::report::{Page, routes};
use netwright::space::{ConvSpace, ImageShape, SkipConnections, Space, SpaceSettings};
use netwright::strategy::{ControllerSettings, HistoryPosition, PulledParameters};
use netwright::telemetry::{Endpoint, TelemetrySettings};
use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

const TRIALS: u64 = 100_000;
const RUNNING: u64 = 40;
const MINIBATCH: usize = 8;
const LAYERS: usize = 12;
const CONFIG: &str = "[run]\nname = \"bench\"\ntrials = 200000\n[child]\nevaluator = \"train\"\nepochs = 50\n[data]\nkind = \"cifar10\"\n";

/// Enough different trials; they come again and again.
fn sampled() -> Vec<SampledTrial> {
    let settings = SpaceSettings {
        filter_height: vec![1, 3, 5, 7],
        filter_width: vec![1, 3, 5, 7],
        filters: vec![24, 36, 48, 64],
        skip_connections: SkipConnections::Predicted,
        ..SpaceSettings::default()
    };
    let space = ConvSpace::new(
        &settings,
        ImageShape {
            channels: 3,
            height: 32,
            width: 32,
        },
        10,
    );
    let policy = Policy::new(&space, &ControllerSettings::default().network());
    let streams = (0..400)
        .map(|slot| {
            Key {
                seed: 1,
                slot,
                ..Key::default()
            }
            .stream(Purpose::Decisions)
        })
        .collect();
    let trial = |decisions: Vec<_>| SampledTrial {
        architecture: space
            .build(LAYERS, &decisions)
            .expect("decisions of this space"),
        decisions,
        seed: 1 << 60,
        parameters: Some(1_234_567),
        flops: Some(123_456_789),
    };
    policy
        .sample_uniform(&space, LAYERS, streams)
        .into_iter()
        .map(|sample| trial(sample.decisions))
        .collect()
}

fn outcome(trial: u64) -> Outcome {
    let reward = (trial * 7919 % 100_003) as f64 / 100_003.0;
    match trial % 97 {
        0 => Outcome::Failed {
            cause: Cause::Diverged,
            error: "diverged: the loss of epoch 3 is not finite".into(),
        },
        _ => Outcome::Completed {
            reward,
            metric: reward.cbrt(),
            seconds: None,
        },
    }
}

fn epochs(journal: &Journal, trial: u64, epochs: usize) {
    for epoch in 1..=epochs {
        let share = epoch as f64 / 50.0;
        journal.epoch(
            trial,
            Epoch {
                epoch,
                train_loss: Some(2.3 - share),
                metric: share,
                seconds: 1.5,
            },
        );
    }
}

/// As a search writes it.
fn write(journal: &Journal) {
    journal.event("start", "process 1; 0 of 200000 trials are finished");
    journal.event(
        "lanes",
        &(0..RUNNING)
            .map(|lane| format!("cuda{}-{lane} on cuda:{}", lane % 8, lane % 8))
            .collect::<Vec<_>>()
            .join(", "),
    );
    let trials = sampled();
    let pulled = PulledParameters {
        boundaries: vec![0, 1],
        versions: vec![0],
    };
    for (minibatch, trials) in
        (0..TRIALS / MINIBATCH as u64).zip(trials.chunks_exact(MINIBATCH).cycle())
    {
        let minibatch = SampledMinibatch {
            controller: 0,
            minibatch,
            layers: LAYERS,
            pulled: pulled.clone(),
            history: HistoryPosition::default(),
            repeated: 0,
            redrawn: 0,
            pruning: None,
            held: None,
            trials: trials.to_vec(),
        };
        journal.insert(vec![minibatch], false, Box::new(drop));
    }
    for trial in 1..=TRIALS {
        journal.started(trial, &format!("cuda:{}", trial % 8), None);
        if trial <= TRIALS - RUNNING {
            epochs(journal, trial, 3);
            journal.finished(
                trial,
                outcome(trial),
                4.5,
                FailureRule::SKIP,
                Box::new(drop),
            );
        } else {
            epochs(journal, trial, 40);
        }
    }
    // Answered when all this is carried out.
    let (reply, answer) = channel();
    journal.log(Box::new(move |_| {
        let _ = reply.send(());
    }));
    answer.recv().expect("the writer lives");
}

/// A server of the run's page, on a thread of its own until the process ends.
fn serve(dir: &Path) -> SocketAddr {
    let endpoint = Endpoint::bind(&TelemetrySettings {
        listen: Some("127.0.0.1:0".into()),
    })
    .expect("a free port")
    .expect("not off");
    let address = endpoint.address().expect("it has one");
    let endpoint = endpoint.with(routes(Arc::new(Page::new(dir))));
    std::thread::spawn(move || {
        actix::System::new().block_on(async move {
            let _serving = endpoint.serve();
            std::future::pending::<()>().await;
        });
    });
    address
}

fn get(address: SocketAddr, path: &str) -> usize {
    let mut stream = TcpStream::connect(address).expect("the server stands");
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").expect("it reads");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("it answers");
    assert!(
        answer.starts_with(b"HTTP/1.0 200"),
        "{path}: {}",
        String::from_utf8_lossy(&answer[..answer.len().min(300)])
    );
    answer.len()
}

fn page(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a folder");
    let (journal, _) =
        Journal::open(dir.path(), &serde_json::json!({}), &[], CONFIG).expect("a new run");
    let started = Instant::now();
    write(&journal);
    println!(
        "{TRIALS} trials written in {:.1} s",
        started.elapsed().as_secs_f64()
    );
    let mut group = criterion.benchmark_group("page");
    group
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));

    // The first one to look at a run has it read from its beginning.
    group.bench_function("the very first load", |bencher| {
        bencher.iter_batched(
            || serve(dir.path()),
            |address| get(address, "/"),
            criterion::BatchSize::PerIteration,
        );
    });
    let address = serve(dir.path());
    for path in [
        "/",
        "/points",
        "/api/status",
        "/api/trials",
        "/api/trials?limit=1000",
        "/api/trials?limit=1000&offset=99000",
        "/api/trials?limit=1000&sort=-reward",
        "/api/trials?limit=1000&sort=-reward&offset=90000",
        "/api/trials?limit=1000&sort=reward&status=completed",
        "/api/trials?limit=1000&sort=-id&status=completed&offset=90000",
        "/api/trials?status=failed",
        "/api/trials/50000",
        "/fragment/trial/50000",
        "/drawing/50000.svg",
    ] {
        println!("{path}: {} bytes", get(address, path));
        group.bench_function(path, |bencher| bencher.iter(|| get(address, path)));
    }

    // The journal is looked at twice a second at most: what a look takes when a trial has ended
    // since.
    let page = Page::new(dir.path());
    let mut next = TRIALS - RUNNING + 1;
    page.view().expect("the run can be read");
    group.bench_function("an update", |bencher| {
        bencher.iter_custom(|iterations| {
            let mut spent = Duration::ZERO;
            for _ in 0..iterations.min(3) {
                let (reply, answer) = channel();
                journal.finished(
                    next,
                    outcome(next),
                    4.5,
                    FailureRule::SKIP,
                    Box::new(move |_| {
                        let _ = reply.send(());
                    }),
                );
                answer.recv().expect("the writer lives");
                next += 1;
                std::thread::sleep(Duration::from_millis(510));
                let started = Instant::now();
                let _ = black_box(page.view());
                spent += started.elapsed();
            }
            spent.mul_f64(iterations as f64 / iterations.min(3) as f64)
        });
    });
    group.finish();
    journal.close();
}

criterion_group!(benches, page);
criterion_main!(benches);

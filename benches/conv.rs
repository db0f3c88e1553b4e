//! Convolutional children of `peers/architectures.json` (or another list): a training step with
//! Nesterov's update, an evaluation, the preparation of a batch, working memory, and lanes side by
//! side. `peers/compare.py` puts it beside PyTorch's numbers. Knows nothing of other
//! implementations.
//!
//! `cargo bench --bench conv -- [--list FILE] [--threads N] [--seconds S] [--name NAME]…` prints
//! one JSON line an architecture; `--describe` prints the architectures themselves; `--serve`
//! measures what standard input asks for, one word a line: step, evaluation, batch, memory, lane,
//! lanes, wide (a JSON line each).

mod measure;

use measure::{Memory, time};
use netwright::child::Sgd;
use netwright::child::convnet::{initial_parameters, initial_running, network_spec};
use netwright::data::{Batches, DataSettings, Dataset, HeldOut, Split};
use netwright::kernels::{ConvNet, Isa, NetworkSpec};
use netwright::machine::{LaneSpec, thread_pool};
use netwright::space::{Architecture, Decision, ImageShape, Network, SpaceSettings};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

const BATCH: usize = 64;
/// CIFAR-10's images.
const IMAGE: ImageShape = ImageShape {
    channels: 3,
    height: 32,
    width: 32,
};
const CLASSES: usize = 10;

/// What the command line asks for.
struct Arguments {
    list: PathBuf,
    names: Vec<String>,
    threads: usize,
    seconds: f64,
    describe: bool,
    serve: bool,
}

fn arguments() -> Arguments {
    let list = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("benches/peers/architectures.json");
    let mut parsed = Arguments {
        list,
        names: Vec::new(),
        threads: 1,
        seconds: 1.0,
        describe: false,
        serve: false,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || {
            words
                .next()
                .unwrap_or_else(|| panic!("{word} needs a value"))
        };
        match word.as_str() {
            "--list" => parsed.list = value().into(),
            "--name" => parsed.names.push(value()),
            "--threads" => parsed.threads = value().parse().expect("a number of threads"),
            "--seconds" => parsed.seconds = value().parse().expect("a number of seconds"),
            "--describe" => parsed.describe = true,
            "--serve" => parsed.serve = true,
            // An argument that cargo adds.
            _ => {}
        }
    }
    parsed
}

/// An entry of the list: `architecture` as `netwright show --json` prints it, or `decisions` (a
/// list, or a string of one) in the paper's space, which `space` may change as a config file's
/// `[space]` does.
fn architecture(entry: &Value) -> Architecture {
    if let Some(architecture) = entry.get("architecture") {
        return serde_json::from_value(architecture.clone()).expect("an architecture");
    }
    let settings: SpaceSettings = entry
        .get("space")
        .map_or_else(SpaceSettings::default, |space| {
            serde_json::from_value(space.clone()).expect("[space]")
        });
    let decisions: Vec<Decision> = match &entry["decisions"] {
        Value::String(text) => serde_json::from_str(text).expect("a list of decisions"),
        list => serde_json::from_value(list.clone()).expect("a list of decisions"),
    };
    let layers = entry
        .get("layers")
        .and_then(Value::as_u64)
        .map_or(settings.layers, |layers| layers as usize);
    settings
        .build(IMAGE, CLASSES)
        .build(layers, &decisions)
        .expect("decisions of the space")
}

/// A pool as a lane's: its threads pinned to cores `first` and on.
fn pool(first: usize, threads: usize) -> Arc<rayon::ThreadPool> {
    let cores: Vec<usize> = core_affinity::get_core_ids()
        .unwrap_or_default()
        .into_iter()
        .map(|core| core.id)
        .collect();
    let cores = if cores.is_empty() {
        cores
    } else {
        (first..first + threads)
            .map(|i| cores[i % cores.len()])
            .collect()
    };
    let lane = LaneSpec {
        device: "cpu".into(),
        name: format!("bench-{first}"),
        cores,
        threads,
    };
    Arc::new(thread_pool(&lane).expect("threads can be started"))
}

/// What one lane holds for a child: everything that its steps touch.
struct Child {
    spec: NetworkSpec,
    net: ConvNet,
    parameters: Vec<f32>,
    running: Vec<f32>,
    gradient: Vec<f32>,
    sgd: Sgd,
    images: Vec<f32>,
    labels: Vec<u8>,
    logits: Vec<f32>,
}

impl Child {
    fn new(architecture: &Architecture, pool: &Arc<rayon::ThreadPool>) -> Self {
        let Network::Conv(network) = &architecture.network else {
            panic!("only convolutional networks are measured")
        };
        let spec = network_spec(network).expect("a network that can be built");
        let net =
            ConvNet::new(&spec, BATCH, Arc::clone(pool)).expect("a network that can be built");
        let parameters = initial_parameters(net.parameters(), 1);
        let value = |i: usize| ((i * 2_654_435_761) % 1000) as f32 / 250.0 - 2.0;
        Self {
            running: initial_running(net.running()),
            gradient: vec![0.0; parameters.len()],
            sgd: Sgd::new(parameters.len(), 0.9, 1e-4),
            images: (0..BATCH * spec.channels * spec.height * spec.width)
                .map(value)
                .collect(),
            labels: (0..BATCH).map(|i| (i * 7 % spec.classes) as u8).collect(),
            logits: vec![0.0; BATCH * spec.classes],
            parameters,
            net,
            spec,
        }
    }

    fn step(&mut self) {
        self.net.train_step(
            &self.parameters,
            &mut self.running,
            &self.images,
            &self.labels,
            &mut self.gradient,
        );
        assert!(
            self.sgd.step(&mut self.parameters, &self.gradient, 0.01),
            "the numbers stay finite"
        );
    }

    fn evaluate(&mut self) {
        self.net.logits(
            &self.parameters,
            &self.running,
            &self.images,
            &mut self.logits,
        );
    }
}

/// Images as the data room prepares them for training: upsampled, cropped, flipped, whitened.
struct Preparation {
    dataset: Dataset,
    batches: Batches,
    indices: Vec<u32>,
    epoch: usize,
}

impl Preparation {
    fn new(image: ImageShape) -> Self {
        let bytes = (0..4 * BATCH * image.channels * image.height * image.width)
            .map(|i| (i * 37 % 251) as u8)
            .collect();
        let dataset = Dataset {
            shape: image,
            class_names: vec!["one".into(), "other".into()],
            images: bytes,
            labels: vec![0; 4 * BATCH],
            content: String::new(),
            synthetic: true,
            held_out: HeldOut::Drawn,
            notes: Vec::new(),
        };
        let split = Split {
            train: (0..4 * BATCH as u32).collect(),
            validation: Vec::new(),
        };
        let batches = Batches::new(&dataset, &split, &DataSettings::default());
        Self {
            batches,
            dataset,
            indices: (0..BATCH as u32).map(|i| i * 3).collect(),
            epoch: 0,
        }
    }

    fn fill(&mut self, pool: &rayon::ThreadPool, child: &mut Child) {
        self.epoch += 1;
        pool.install(|| {
            self.batches.training(
                &self.dataset,
                &self.indices,
                1,
                self.epoch,
                &mut child.images,
                &mut child.labels,
            );
        });
    }
}

/// Images a second of lanes of one thread each, all at work for `seconds`: batches prepared and
/// steps done as in a search.
fn lanes(architecture: &Architecture, threads: &[usize], seconds: f64) -> f64 {
    let barrier = std::sync::Barrier::new(threads.len());
    std::thread::scope(|scope| {
        let lanes = threads.iter().enumerate().map(|(lane, &threads)| {
            let barrier = &barrier;
            scope.spawn(move || {
                let pool = pool(lane * threads, threads);
                let mut child = Child::new(architecture, &pool);
                let mut preparation = Preparation::new(ImageShape {
                    channels: child.spec.channels,
                    height: child.spec.height,
                    width: child.spec.width,
                });
                child.step();
                barrier.wait();
                let start = Instant::now();
                let mut steps = 0;
                while steps < 2 || start.elapsed().as_secs_f64() < seconds {
                    preparation.fill(&pool, &mut child);
                    child.step();
                    steps += 1;
                }
                (steps * BATCH) as f64 / start.elapsed().as_secs_f64()
            })
        });
        let lanes = lanes.collect::<Vec<_>>();
        lanes
            .into_iter()
            .map(|lane| lane.join().expect("a lane that ends"))
            .sum()
    })
}

/// Everything that can be asked of one architecture.
struct Bench {
    architecture: Architecture,
    pool: Arc<rayon::ThreadPool>,
    child: Child,
    preparation: Preparation,
    seconds: f64,
    memory: f64,
    flops: f64,
}

impl Bench {
    fn new(architecture: Architecture, arguments: &Arguments) -> Self {
        let Network::Conv(network) = &architecture.network else {
            panic!("only convolutional networks are measured")
        };
        let image = network.image;
        let flops = network.flops() as f64;
        let pool = pool(0, arguments.threads);
        let preparation = Preparation::new(image);
        // What a child's steps add: its arena is made with the network, so the network counts.
        let memory = Memory::from_here();
        let mut child = Child::new(&architecture, &pool);
        child.step();
        child.step();
        let memory = memory.peak();
        Self {
            architecture,
            pool,
            child,
            preparation,
            seconds: arguments.seconds,
            memory,
            flops,
        }
    }

    fn measure(&mut self, what: &str) -> Value {
        let of = |(wall, processor): (f64, f64)| json!({"wall": wall, "cpu": processor});
        match what {
            "step" => of(time(self.seconds, || self.child.step())),
            "evaluation" => of(time(self.seconds, || self.child.evaluate())),
            "batch" => {
                let preparation = &mut self.preparation;
                let pool = &self.pool;
                let child = &mut self.child;
                of(time(self.seconds, || preparation.fill(pool, child)))
            }
            "memory" => {
                json!({"mib": self.memory, "flops": self.flops * BATCH as f64, "isa": Isa::detect().name()})
            }
            "lane" => json!({"images": lanes(&self.architecture, &[1], self.seconds)}),
            "lanes" => json!({"images": lanes(&self.architecture, &[1, 1], self.seconds)}),
            "wide" => json!({"images": lanes(&self.architecture, &[2], self.seconds)}),
            other => panic!("{other:?} is nothing to measure"),
        }
    }
}

fn main() {
    let arguments = arguments();
    let text =
        std::fs::read_to_string(&arguments.list).expect("the list of architectures can be read");
    let list: Vec<Value> = serde_json::from_str(&text).expect("a list of architectures");
    let chosen = list.iter().filter(|entry| {
        arguments.names.is_empty() || arguments.names.iter().any(|n| entry["name"] == n.as_str())
    });
    let chosen: Vec<(String, Architecture)> = chosen
        .map(|entry| {
            (
                entry["name"].as_str().expect("a name").to_owned(),
                architecture(entry),
            )
        })
        .collect();
    if arguments.describe {
        let all: Vec<Value> = chosen
            .iter()
            .map(|(name, architecture)| json!({"name": name, "architecture": architecture}))
            .collect();
        println!("{}", Value::Array(all));
        return;
    }
    for (name, architecture) in chosen {
        let mut bench = Bench::new(architecture, &arguments);
        if arguments.serve {
            println!("{}", json!({"ready": name}));
            for line in std::io::stdin().lines() {
                println!("{}", bench.measure(line.expect("a line").trim()));
            }
            return;
        }
        let [step, evaluation, batch, memory] =
            ["step", "evaluation", "batch", "memory"].map(|what| bench.measure(what));
        println!(
            "{}",
            json!({"name": name, "step": step, "evaluation": evaluation, "batch": batch, "memory": memory})
        );
    }
}

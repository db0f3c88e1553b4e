//! Training steps (with Nesterov's update) and evaluation of the networks in `peers/networks.json`.
//! `cargo bench --bench conv -- [--threads N] [--seconds S] [--name NETWORK]…` prints one JSON line a network; `peers/compare.py`
//! reads them beside PyTorch's. Knows nothing of other implementations.

use netwright::kernels::{ConvNet, Isa, LayerSpec, NetworkSpec, OperationSpec};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

const BATCH: usize = 64;

/// What the command line asks for.
struct Arguments {
    networks: PathBuf,
    names: Vec<String>,
    threads: usize,
    seconds: f64,
}

fn arguments() -> Arguments {
    let networks = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("benches/peers/networks.json");
    let mut parsed = Arguments { networks, names: Vec::new(), threads: 1, seconds: 2.0 };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().unwrap_or_else(|| panic!("{word} needs a value"));
        match word.as_str() {
            "--networks" => parsed.networks = value().into(),
            "--name" => parsed.names.push(value()),
            "--threads" => parsed.threads = value().parse().expect("a number of threads"),
            "--seconds" => parsed.seconds = value().parse().expect("a number of seconds"),
            // What cargo adds.
            _ => {}
        }
    }
    parsed
}

fn spec(json: &serde_json::Value) -> NetworkSpec {
    let number = |v: &serde_json::Value, key: &str| usize::try_from(v[key].as_u64().expect(key)).expect(key);
    let list = |v: &serde_json::Value, key: &str| -> Vec<usize> {
        v[key].as_array().expect(key).iter().map(|i| usize::try_from(i.as_u64().expect(key)).expect(key)).collect()
    };
    let layer = |v: &serde_json::Value| {
        let operation = OperationSpec::Convolution {
            filter_height: number(v, "filter_height"),
            filter_width: number(v, "filter_width"),
            filters: number(v, "filters"),
            stride_height: number(v, "stride_height"),
            stride_width: number(v, "stride_width"),
        };
        LayerSpec { operation, inputs: list(v, "inputs") }
    };
    NetworkSpec {
        channels: number(json, "channels"),
        height: number(json, "height"),
        width: number(json, "width"),
        classes: number(json, "classes"),
        layers: json["layers"].as_array().expect("layers").iter().map(layer).collect(),
        output: list(json, "output"),
    }
}

/// Floating-point operations of one image forward, as a convolution without tricks has them: two for each product.
fn flops(net: &ConvNet, spec: &NetworkSpec) -> f64 {
    let mut shapes = vec![(spec.height, spec.width)];
    let mut total = 0.0;
    for (index, l) in spec.layers.iter().enumerate() {
        let (height, width) = l.inputs.iter().map(|&i| shapes[i]).fold((1, 1), |most, next| (most.0.max(next.0), most.1.max(next.1)));
        let sizes = l.operation.geometry((1, height, width));
        let (height, width) = (sizes.out_height(), sizes.out_width());
        let name = format!("layer{}.weight", index + 1);
        let weights = net.parameters().iter().find(|slot| slot.name == name).map_or(0, |slot| slot.len());
        total += 2.0 * weights as f64 * (height * width) as f64;
        shapes.push((height, width));
    }
    total
}

/// Seconds of the processor that all threads of this process have had; on the wall where the system does not say.
fn processor_seconds(start: Instant) -> f64 {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return start.elapsed().as_secs_f64() };
    let times = tasks.flatten().filter_map(|task| std::fs::read_to_string(task.path().join("schedstat")).ok());
    times.filter_map(|text| text.split(' ').next().and_then(|n| n.parse::<f64>().ok())).sum::<f64>() / 1e9
}

/// Peak resident memory, in MiB.
fn peak() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|l| l.split_whitespace().next()).and_then(|n| n.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}

/// Medians in milliseconds: on the wall, of the processor.
fn time(seconds: f64, mut f: impl FnMut()) -> (f64, f64) {
    f();
    f();
    let (start, mut wall, mut processor) = (Instant::now(), Vec::new(), Vec::new());
    while wall.len() < 3 || start.elapsed().as_secs_f64() < seconds {
        let (before, call) = (processor_seconds(start), Instant::now());
        f();
        wall.push(1e3 * call.elapsed().as_secs_f64());
        processor.push(1e3 * (processor_seconds(start) - before));
    }
    let median = |times: &mut Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    (median(&mut wall), median(&mut processor))
}

fn measure(name: &str, spec: &NetworkSpec, arguments: &Arguments, pool: &Arc<rayon::ThreadPool>) {
    let value = |i: usize| ((i * 2_654_435_761) % 1000) as f32 / 1000.0 - 0.5;
    let images: Vec<f32> = (0..BATCH * spec.channels * spec.height * spec.width).map(value).collect();
    let labels: Vec<u8> = (0..BATCH).map(|i| (i % spec.classes) as u8).collect();
    let before = peak();
    let mut net = ConvNet::new(spec, BATCH, Arc::clone(pool)).expect("a network of the list");
    let mut parameters: Vec<f32> = (0..net.parameter_count()).map(|i| 0.2 * value(i)).collect();
    let (mut running, mut gradient) = (vec![1.0; net.running_count()], vec![0.0; parameters.len()]);
    let mut velocity = vec![0.0f32; parameters.len()];
    let step = time(arguments.seconds, || {
        net.train_step(&parameters, &mut running, &images, &labels, &mut gradient);
        for ((p, v), g) in parameters.iter_mut().zip(&mut velocity).zip(&gradient) {
            let g = g + 1e-4 * *p;
            *v = 0.9 * *v + g;
            *p -= 0.01 * (g + 0.9 * *v);
        }
    });
    let memory = peak() - before;
    let mut logits = vec![0.0; BATCH * spec.classes];
    let evaluation = time(arguments.seconds / 4.0, || net.logits(&parameters, &running, &images, &mut logits));
    let once = flops(&net, spec) * BATCH as f64;
    println!(
        r#"{{"name": "{name}", "step": {:.3}, "step_cpu": {:.3}, "evaluation": {:.3}, "evaluation_cpu": {:.3}, "mib": {memory:.1}, "gflops_cpu": {:.1}, "isa": "{}"}}"#,
        step.0,
        step.1,
        evaluation.0,
        evaluation.1,
        3.0 * once / step.1 / 1e6,
        Isa::detect().name()
    );
}

fn main() {
    let arguments = arguments();
    let pool = Arc::new(rayon::ThreadPoolBuilder::new().num_threads(arguments.threads).build().expect("threads can be started"));
    let text = std::fs::read_to_string(&arguments.networks).expect("the list of networks can be read");
    let list: Vec<serde_json::Value> = serde_json::from_str(&text).expect("a list of networks");
    for network in &list {
        let name = network["name"].as_str().expect("a name");
        if arguments.names.is_empty() || arguments.names.iter().any(|n| n == name) {
            measure(name, &spec(network), &arguments, &pool);
        }
    }
}

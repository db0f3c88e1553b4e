//! Training steps and evaluation of typical children on one thread: images and floating-point operations a second.
//! `cargo bench --bench conv [-- SECONDS_EACH]`. Knows nothing of other implementations; see `peers/` for those.

use netwright::kernels::{ConvNet, LayerSpec, NetworkSpec};
use std::sync::Arc;
use std::time::Instant;

fn layer(filter: (usize, usize), filters: usize, stride: usize, inputs: &[usize]) -> LayerSpec {
    let (filter_height, filter_width) = filter;
    LayerSpec { filter_height, filter_width, filters, stride_height: stride, stride_width: stride, inputs: inputs.to_vec() }
}

fn networks() -> Vec<(&'static str, Vec<LayerSpec>, Vec<usize>)> {
    let same = |filter: (usize, usize), filters: usize| (0..6).map(|i| layer(filter, filters, 1, &[i])).collect::<Vec<_>>();
    let skip = vec![
        layer((3, 3), 36, 1, &[0]),
        layer((3, 3), 48, 1, &[1]),
        layer((3, 3), 36, 1, &[1, 2]),
        layer((3, 3), 48, 1, &[2, 3]),
        layer((3, 3), 36, 1, &[1, 4]),
        layer((3, 3), 48, 1, &[3, 5]),
    ];
    let mixed = vec![
        layer((7, 3), 24, 1, &[0]),
        layer((1, 7), 36, 1, &[0, 1]),
        layer((5, 5), 48, 2, &[1, 2]),
        layer((3, 5), 24, 1, &[3]),
        layer((7, 1), 64, 2, &[2, 4]),
        layer((3, 3), 36, 1, &[1, 5]),
    ];
    let small = vec![layer((3, 3), 8, 1, &[0]), layer((3, 3), 16, 2, &[1]), layer((3, 3), 32, 2, &[2])];
    vec![
        ("chain 3x3, 48", same((3, 3), 48), vec![6]),
        ("chain 5x5, 36", same((5, 5), 36), vec![6]),
        ("chain 7x7, 24", same((7, 7), 24), vec![6]),
        ("chain 1x7, 64", same((1, 7), 64), vec![6]),
        ("skips 3x3", skip, vec![6]),
        ("mixed", mixed, vec![6]),
        ("small", small, vec![3]),
    ]
}

/// Floating-point operations of one image forward: two for each product.
fn flops(net: &ConvNet, spec: &NetworkSpec) -> f64 {
    let mut shapes = vec![(spec.height, spec.width)];
    let mut total = 0.0;
    for (index, l) in spec.layers.iter().enumerate() {
        let height = l.inputs.iter().map(|&i| shapes[i].0).max().unwrap_or(1).div_ceil(l.stride_height);
        let width = l.inputs.iter().map(|&i| shapes[i].1).max().unwrap_or(1).div_ceil(l.stride_width);
        let name = format!("layer{}.weight", index + 1);
        let weights = net.parameters().iter().find(|slot| slot.name == name).map_or(0, |slot| slot.len());
        total += 2.0 * weights as f64 * (height * width) as f64;
        shapes.push((height, width));
    }
    total
}

/// Seconds that this thread has run: unlike the clock on the wall, they do not count other processes' turns.
fn running_seconds(start: Instant) -> f64 {
    let kernel = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanoseconds: Option<f64> = kernel.and_then(|s| s.split(' ').next().and_then(|n| n.parse().ok()));
    nanoseconds.map_or_else(|| start.elapsed().as_secs_f64(), |n| n / 1e9)
}

/// Seconds of the fastest call and of the median one.
fn time(seconds: f64, mut f: impl FnMut()) -> (f64, f64) {
    f();
    let (start, mut times) = (Instant::now(), Vec::new());
    while times.len() < 3 || start.elapsed().as_secs_f64() < seconds {
        let before = running_seconds(start);
        f();
        times.push(running_seconds(start) - before);
    }
    times.sort_by(f64::total_cmp);
    (times[0], times[times.len() / 2])
}

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|a| !a.starts_with("--"));
    let seconds = arguments.next().and_then(|a| a.parse().ok()).unwrap_or(2.0);
    let pool = Arc::new(rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("one thread can be started"));
    // All of it in the pool's thread, whose own time is measured.
    pool.install(|| measure(seconds, &pool));
}

fn measure(seconds: f64, pool: &Arc<rayon::ThreadPool>) {
    println!("{:16} {:>9} {:>9} {:>9} {:>9} {:>9} {:>8}", "network", "step im/s", "GFLOP/s", "best", "eval im/s", "GFLOP/s", "MiB");
    for (name, layers, output) in networks() {
        let batch = 64;
        let spec = NetworkSpec { channels: 3, height: 32, width: 32, classes: 10, layers, output };
        let mut net = ConvNet::new(&spec, batch, Arc::clone(pool)).expect("a network of the list");
        let value = |i: usize| ((i * 2_654_435_761) % 1000) as f32 / 1000.0 - 0.5;
        let parameters: Vec<f32> = (0..net.parameter_count()).map(|i| 0.2 * value(i)).collect();
        let images: Vec<f32> = (0..batch * 3 * 1024).map(value).collect();
        let labels: Vec<u8> = (0..batch).map(|i| (i % 10) as u8).collect();
        let mut running = vec![1.0; net.running_count()];
        let mut gradient = vec![0.0; net.parameter_count()];
        let mut logits = vec![0.0; batch * 10];
        let once = flops(&net, &spec) * batch as f64;
        // The image's own gradient is not computed: the first layer's share counts twice, not three times.
        let (best, step) = time(seconds, || {
            net.train_step(&parameters, &mut running, &images, &labels, &mut gradient);
        });
        let (_, eval) = time(seconds / 4.0, || net.logits(&parameters, &running, &images, &mut logits));
        println!(
            "{name:16} {:9.1} {:9.1} {:9.1} {:9.1} {:9.1} {:8.1}",
            batch as f64 / step,
            3.0 * once / step / 1e9,
            3.0 * once / best / 1e9,
            batch as f64 / eval,
            once / eval / 1e9,
            net.memory_bytes() as f64 / 1048576.0
        );
    }
}

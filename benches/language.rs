//! A full training step of the language model (embedding, two layers of a cell, softmax over 10,000 words, clipped update) and its
//! softmax alone. `cargo bench --bench language -- [--threads N] [--seconds S] [--hidden H]` prints one JSON line each;
//! `peers/language.py step` is the same step in PyTorch.

use netwright::child::language_model::{DropoutMasks, Network, Sizes, descent};
use netwright::child::{ChildSettings, cell_program};
use netwright::kernels::{Softmax, SoftmaxGradient};
use netwright::space::{Cell, LanguageModel};
use std::sync::Arc;
use std::time::Instant;

const WORDS: usize = 10_000;
const BATCH: usize = 20;
const STEPS: usize = 35;
const LAYERS: usize = 2;

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

/// Milliseconds of the processor: median and least.
fn time(seconds: f64, mut f: impl FnMut()) -> (f64, f64) {
    f();
    f();
    let (start, mut times) = (Instant::now(), Vec::new());
    while times.len() < 5 || start.elapsed().as_secs_f64() < seconds {
        let before = processor_seconds(start);
        f();
        times.push(1e3 * (processor_seconds(start) - before));
    }
    times.sort_by(f64::total_cmp);
    (times[times.len() / 2], times[0])
}

/// Fused multiply-adds that a core can do, in GFLOP/s: independent chains in registers.
fn fma_peak() -> f64 {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        // SAFETY: the CPU has both.
        return (0..5).map(|_| unsafe { fma_peak_avx2() }).fold(0.0, f64::max);
    }
    f64::NAN
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn fma_peak_avx2() -> f64 {
    use std::arch::x86_64::{_mm256_fmadd_ps, _mm256_set1_ps};
    const CHAINS: usize = 12;
    const ROUNDS: usize = 20_000_000;
    let mut sums = [_mm256_set1_ps(1.0); CHAINS];
    let (factor, addend) = std::hint::black_box((_mm256_set1_ps(0.999), _mm256_set1_ps(0.001)));
    let start = Instant::now();
    let before = processor_seconds(start);
    for _ in 0..ROUNDS {
        for sum in &mut sums {
            *sum = _mm256_fmadd_ps(*sum, factor, addend);
        }
    }
    std::hint::black_box(sums);
    (CHAINS * ROUNDS * 16) as f64 / (processor_seconds(start) - before) / 1e9
}

fn argument(name: &str, default: f64) -> f64 {
    let words: Vec<String> = std::env::args().collect();
    let place = words.iter().position(|word| word == name);
    place.and_then(|place| words.get(place + 1)).map_or(default, |text| text.parse().expect("a number"))
}

fn main() {
    let (threads, seconds, hidden) =
        (argument("--threads", 1.0) as usize, argument("--seconds", 5.0), argument("--hidden", 200.0) as usize);
    let pool = Arc::new(rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads can be started"));
    let tokens: Vec<u32> = (0..BATCH * STEPS).map(|i| (i * 2_654_435_761 % WORDS) as u32).collect();
    let targets: Vec<u32> = tokens.iter().map(|token| (token * 31 + 7) % WORDS as u32).collect();
    let value = |i: usize| ((i * 2_654_435_761) % 1000) as f32 / 10_000.0 - 0.05;
    println!(r#"{{"fma_peak_gflops": {:.1}}}"#, fma_peak());

    let softmax_flops = (3 * 2 * BATCH * STEPS * hidden * WORDS) as f64;
    let mut softmax = Softmax::new(hidden, WORDS).expect("a softmax");
    let weight: Vec<f32> = (0..hidden * WORDS).map(value).collect();
    let (bias, features): (Vec<f32>, Vec<f32>) = (vec![0.0; WORDS], (0..BATCH * STEPS * hidden).map(value).collect());
    let [mut d_weight, mut d_bias, mut d_features] = [weight.len(), WORDS, features.len()].map(|count| vec![0.0; count]);
    let (median, least) = time(seconds, || {
        let gradient = SoftmaxGradient { weight: &mut d_weight, bias: &mut d_bias, features: &mut d_features };
        pool.install(|| softmax.train(&weight, &bias, &features, &targets, 0.05, gradient));
    });
    println!(r#"{{"softmax_cpu": {median:.2}, "softmax_cpu_least": {least:.2}, "gflops": {:.1}}}"#, softmax_flops / median / 1e6);

    for name in ["lstm", "nascell"] {
        let before = peak();
        let cell = Cell::named(name).expect("a cell");
        let model = LanguageModel { vocabulary: WORDS, hidden, layers: LAYERS, shared_embeddings: false };
        let program = cell_program(&cell).expect("a program");
        let mut network = Network::new(&program, Sizes { model, batch: BATCH, steps: STEPS }, &pool).expect("a network");
        let mut parameters: Vec<f32> = (0..network.parameter_count()).map(value).collect();
        let (mut gradient, mut state) = (vec![0.0; parameters.len()], network.start());
        let masks = DropoutMasks { inputs: vec![None; LAYERS], recurrent: vec![None; LAYERS], ..DropoutMasks::default() };
        let mut descent = descent::Descent::new(&ChildSettings::language_model(), parameters.len());
        let (median, least) = time(seconds, || {
            network.train(&parameters, (&tokens, &targets), &masks, &mut state, &mut gradient);
            let sparse = network.sparse_rows();
            assert!(pool.install(|| descent.step(&mut parameters, &mut gradient, sparse, hidden, 1.0)));
        });
        let flops = softmax_flops + (LAYERS * 3 * 2 * BATCH * STEPS * 2 * cell.gates() * hidden * hidden) as f64;
        println!(
            r#"{{"cell": "{name}", "step_cpu": {median:.2}, "step_cpu_least": {least:.2}, "gflops": {:.1}, "mib": {:.1}}}"#,
            flops / median / 1e6,
            peak() - before
        );
    }
}

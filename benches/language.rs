//! A full training step of the language model (embedding, two layers of a cell, softmax over 10,000
//! words, clipped update) and its softmax alone. `cargo bench --bench language -- [--name
//! softmax|CELL]… [--threads N] [--seconds S] [--hidden H]` prints one JSON line each, after the
//! peak of this core; `peers/language.py` has the same step in PyTorch and `peers/cells.py` runs
//! both in turn.

mod measure;
mod recurrent;

use measure::{Memory, processor_seconds, time};
use netwright::child::language_model::{DropoutMasks, Network, Sizes, descent};
use netwright::child::{ChildSettings, cell_program};
use netwright::kernels::{Softmax, SoftmaxGradient};
use netwright::space::{Cell, LanguageModel};
use recurrent::{Arguments, BATCH, LAYERS, STEPS};
use std::sync::Arc;
use std::time::Instant;

const WORDS: usize = 10_000;

/// Fused multiply-adds that a core can do, in GFLOP/s: independent chains in registers.
fn fma_peak() -> f64 {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        // SAFETY: the CPU has both.
        return (0..5)
            .map(|_| unsafe { fma_peak_avx2() })
            .fold(0.0, f64::max);
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

fn value(i: usize) -> f32 {
    ((i * 2_654_435_761) % 1000) as f32 / 10_000.0 - 0.05
}

fn softmax_flops(hidden: usize) -> f64 {
    (3 * 2 * BATCH * STEPS * hidden * WORDS) as f64
}

fn measure_softmax(targets: &[u32], arguments: &Arguments, pool: &rayon::ThreadPool) {
    let hidden = arguments.hidden;
    let [parameters, features] = [(hidden + 1) * WORDS, BATCH * STEPS * hidden]
        .map(|count| (0..count).map(value).collect::<Vec<f32>>());
    let memory = Memory::from_here();
    let mut softmax = Softmax::new(hidden, WORDS).expect("a softmax");
    let [mut d_parameters, mut d_features] =
        [parameters.len(), features.len()].map(|count| vec![0.0; count]);
    let (_, step) = time(arguments.seconds, || {
        let gradient = SoftmaxGradient {
            parameters: &mut d_parameters,
            features: &mut d_features,
        };
        pool.install(|| softmax.train(&parameters, &features, targets, 0.05, gradient));
    });
    report("softmax", step, softmax_flops(hidden), &memory);
}

fn measure_model(
    name: &str,
    (tokens, targets): (&[u32], &[u32]),
    arguments: &Arguments,
    pool: &Arc<rayon::ThreadPool>,
) {
    let hidden = arguments.hidden;
    let memory = Memory::from_here();
    let cell = Cell::named(name).expect("a cell");
    let model = LanguageModel {
        vocabulary: WORDS,
        hidden,
        layers: LAYERS,
        shared_embeddings: false,
    };
    let program = cell_program(&cell).expect("a program");
    let mut network = Network::new(
        &program,
        Sizes {
            model,
            batch: BATCH,
            steps: STEPS,
        },
        pool,
    )
    .expect("a network");
    let mut parameters: Vec<f32> = (0..network.parameter_count()).map(value).collect();
    let mut gradient = vec![0.0; parameters.len()];
    let mut state = network.start();
    let masks = DropoutMasks {
        inputs: vec![None; LAYERS],
        recurrent: vec![None; LAYERS],
        ..DropoutMasks::default()
    };
    let mut descent = descent::Descent::new(&ChildSettings::language_model(), parameters.len());
    let (_, step) = time(arguments.seconds, || {
        network.train(
            &parameters,
            (tokens, targets),
            &masks,
            &mut state,
            &mut gradient,
        );
        let sparse = network.sparse_rows();
        assert!(pool.install(|| descent.step(&mut parameters, &mut gradient, sparse, hidden, 1.0)));
    });
    let flops = softmax_flops(hidden)
        + (LAYERS * 3 * 2 * BATCH * STEPS * 2 * cell.gates() * hidden * hidden) as f64;
    report(name, step, flops, &memory);
}

fn report(name: &str, step: f64, flops: f64, memory: &Memory) {
    println!(
        r#"{{"name": "{name}", "step_cpu": {step:.2}, "gflops": {:.1}, "mib": {:.1}}}"#,
        flops / step / 1e6,
        memory.peak()
    );
}

fn main() {
    let arguments = Arguments::parse();
    let pool = Arc::new(
        rayon::ThreadPoolBuilder::new()
            .num_threads(arguments.threads)
            .build()
            .expect("threads can be started"),
    );
    let tokens: Vec<u32> = (0..BATCH * STEPS)
        .map(|i| (i * 2_654_435_761 % WORDS) as u32)
        .collect();
    let targets: Vec<u32> = tokens
        .iter()
        .map(|token| (token * 31 + 7) % WORDS as u32)
        .collect();
    println!(r#"{{"name": "peak", "gflops": {:.1}}}"#, fma_peak());
    for name in ["softmax", "lstm", "nascell"] {
        if !arguments.wants(name) {
            continue;
        }
        match name {
            "softmax" => measure_softmax(&targets, &arguments, &pool),
            cell => measure_model(cell, (&tokens, &targets), &arguments, &pool),
        }
    }
}

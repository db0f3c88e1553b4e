//! Both engines against PyTorch: five steps of small networks, as `benches/peers/agree.py` trained
//! them. The numbers are committed, so that the test needs no PyTorch; `make test-peers` draws
//! other networks, which NETWRIGHT_AGREEMENT then names.

use super::{KernelPasses, Passes, TensorPasses, assert_tensors_close, device};
use crate::child::Sgd;
use crate::child::convnet::{initial_running, network_spec};
use crate::kernels::{NetworkSpec, ParameterSlot};
use crate::space::{Architecture, Network};
use serde::Deserialize;
use std::sync::Arc;

const COMMITTED: &str = include_str!("../../../../benches/peers/agreement.json");

#[derive(Deserialize)]
struct Case {
    name: String,
    seed: u64,
    /// Images of each step.
    batches: Vec<usize>,
    architecture: Architecture,
    parameters: Vec<f32>,
    running: Vec<f32>,
    logits: Vec<f32>,
}

/// `uniform` of agree.py: numbers in -1..1 from a hash of seed and position.
fn uniform(seed: u64, count: usize) -> Vec<f32> {
    let number = |i: u64| {
        let mut x = (i + seed * 1_000_003) as u32;
        for (shift, factor) in [(16, 0x7FEB_352D), (15, 0x846C_A68B)] {
            x = (x ^ (x >> shift)).wrapping_mul(factor);
        }
        ((x ^ (x >> 16)) >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count as u64).map(number).collect()
}

fn initial(slots: &[ParameterSlot], seed: u64) -> Vec<f32> {
    let mut values = uniform(seed, slots.iter().map(ParameterSlot::len).sum());
    for slot in slots {
        let own = &mut values[slot.offset..][..slot.len()];
        if let [_] = slot.shape[..] {
            own.iter_mut()
                .for_each(|v| *v = *v * 0.2 + f32::from(slot.name.ends_with(".scale")));
        } else {
            let bound = (6.0 / slot.shape[1..].iter().product::<usize>() as f64).sqrt() as f32;
            own.iter_mut().for_each(|v| *v *= bound);
        }
    }
    values
}

fn images(spec: &NetworkSpec, seed: u64, count: usize) -> Vec<f32> {
    uniform(seed, count * spec.channels * spec.height * spec.width)
        .iter()
        .map(|v| 2.0 * v)
        .collect()
}

/// Parameters, running statistics and logits after the steps.
fn train(
    engine: &mut dyn Passes,
    spec: &NetworkSpec,
    case: &Case,
) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    let mut parameters = initial(engine.parameters(), case.seed);
    let mut running = initial_running(engine.running());
    let mut gradient = vec![0.0; parameters.len()];
    let mut sgd = Sgd::new(parameters.len(), 0.9, 0.05);
    for (step, &count) in (1..).zip(&case.batches) {
        let labels: Vec<u8> = (0..count).map(|i| (i * 7 % spec.classes) as u8).collect();
        let images = images(spec, case.seed + 1000 * step, count);
        engine
            .train_step(&parameters, &mut running, &images, &labels, &mut gradient)
            .unwrap();
        assert!(sgd.step(&mut parameters, &gradient, 0.02));
    }
    let count = case.batches[0];
    let mut logits = vec![f32::NAN; count * spec.classes];
    engine
        .logits(
            &parameters,
            &running,
            &images(spec, case.seed, count),
            &mut logits,
        )
        .unwrap();
    (parameters, running, logits)
}

#[test]
fn both_engines_agree_with_pytorch() {
    let drawn = std::env::var_os("NETWRIGHT_AGREEMENT").map(|path| {
        std::fs::read_to_string(path).expect("the file that NETWRIGHT_AGREEMENT names")
    });
    let cases: Vec<Case> = serde_json::from_str(drawn.as_deref().unwrap_or(COMMITTED)).unwrap();
    assert!(cases.len() >= 6);
    for case in &cases {
        let Network::Conv(network) = &case.architecture.network else {
            panic!("{}: not convolutional", case.name)
        };
        let spec = network_spec(network).unwrap();
        let pool = Arc::new(
            rayon::ThreadPoolBuilder::new()
                .num_threads(2)
                .build()
                .unwrap(),
        );
        let kernels = Box::new(KernelPasses::new(&spec, case.batches[0], &pool).unwrap());
        let engines: [(&str, Box<dyn Passes>); 2] = [
            ("kernels", kernels),
            ("tensors", Box::new(TensorPasses::new(&spec, &device()))),
        ];
        for (name, mut engine) in engines {
            let (parameters, running, logits) = train(engine.as_mut(), &spec, case);
            let what = format!("{}, {name}", case.name);
            assert_tensors_close(
                engine.parameters(),
                &parameters,
                &case.parameters,
                1e-3,
                &what,
            );
            assert_tensors_close(engine.running(), &running, &case.running, 1e-3, &what);
            let slot = ParameterSlot {
                name: "logits".into(),
                shape: vec![logits.len()],
                offset: 0,
            };
            assert_tensors_close(&[slot], &logits, &case.logits, 1e-3, &what);
        }
    }
}

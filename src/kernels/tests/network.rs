//! Whole networks against the reference.

use super::reference;
use crate::kernels::network::ConvNet;
use crate::kernels::simd::Isa;
use crate::kernels::spec::{LayerSpec, NetworkSpec, Plan};
use crate::random::{Key, Purpose};
use rand::RngExt;
use std::sync::Arc;

fn layer(filter: (usize, usize), filters: usize, stride: (usize, usize), inputs: &[usize]) -> LayerSpec {
    LayerSpec {
        filter_height: filter.0,
        filter_width: filter.1,
        filters,
        stride_height: stride.0,
        stride_width: stride.1,
        inputs: inputs.to_vec(),
    }
}

fn pool(threads: usize) -> Arc<rayon::ThreadPool> {
    Arc::new(rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap())
}

/// Small numbers in -1..1, the same for the same seed.
fn numbers(seed: u64, n: usize) -> Vec<f32> {
    let mut stream = Key::seed(seed).stream(Purpose::ChildParameters);
    (0..n).map(|_| stream.random_range(-1.0f32..1.0)).collect()
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(v)).collect()
}

/// |kernel - reference| is at most 5e-5 of the tensor's largest number.
#[track_caller]
fn assert_close(what: &str, kernel: &[f32], reference: &[f64], tolerance: f64) {
    assert_eq!(kernel.len(), reference.len(), "{what}");
    let largest = reference.iter().fold(1e-6f64, |a, &b| a.max(b.abs()));
    for (i, (&k, &r)) in kernel.iter().zip(reference).enumerate() {
        assert!((f64::from(k) - r).abs() <= tolerance * largest, "{what}[{i}]: kernel {k}, reference {r}, largest {largest}");
    }
}

/// One step and an evaluation, of every instruction set that there is.
fn compare(spec: &NetworkSpec, batch: usize, n: usize, seed: u64) {
    let plan = Plan::new(spec, batch).unwrap();
    let parameters = numbers(seed, plan.parameter_count);
    let running = vec![0.5; plan.running_count];
    let images = numbers(seed + 1, n * spec.channels * spec.height * spec.width);
    let labels: Vec<u8> = (0..n).map(|i| (i * 7 % spec.classes) as u8).collect();
    let (loss, gradient, after) = reference::train_step(&plan, &wide(&parameters), &wide(&running), &wide(&images), &labels);
    let logits = reference::logits(&plan, &wide(&parameters), &wide(&running), &wide(&images));
    for isa in Isa::available() {
        let mut net = ConvNet::with_isa(spec, batch, pool(2), isa).unwrap();
        let mut ours = vec![f32::NAN; plan.parameter_count];
        let mut run = running.clone();
        let our_loss = net.train_step(&parameters, &mut run, &images, &labels, &mut ours);
        assert!((f64::from(our_loss) - loss).abs() < 5e-5 * loss.abs().max(1.0), "{isa:?}: loss {our_loss}, reference {loss}");
        assert_close("running statistics", &run, &after, 5e-5);
        for slot in &plan.parameters {
            let range = slot.offset..slot.offset + slot.len();
            assert_close(&format!("{isa:?} {}", slot.name), &ours[range.clone()], &gradient[range], 5e-5);
        }
        let mut out = vec![f32::NAN; n * spec.classes];
        net.logits(&parameters, &running, &images, &mut out);
        assert_close("logits", &out, &logits, 5e-5);
    }
}

#[test]
fn chain_of_two_layers() {
    let layers = vec![layer((3, 3), 6, (1, 1), &[0]), layer((3, 3), 5, (1, 1), &[1])];
    compare(&NetworkSpec { channels: 3, height: 8, width: 9, classes: 4, layers, output: vec![2] }, 16, 16, 1);
}

#[test]
fn strides_skips_and_a_partial_group() {
    let layers = vec![
        layer((5, 3), 6, (2, 1), &[0]),
        layer((1, 7), 5, (1, 3), &[0, 1]),
        layer((7, 1), 9, (2, 3), &[0, 1, 2]),
        layer((3, 3), 4, (1, 1), &[1, 3]),
    ];
    compare(&NetworkSpec { channels: 3, height: 13, width: 11, classes: 4, layers, output: vec![2, 4] }, 40, 37, 2);
}

//! The kernels for GPUs, on the stand-in driver, against the definition and against PyTorch's
//! numbers.

use super::device_passes::DevicePasses;
use super::*;
use crate::kernels::cuda::stand_in::on_stand_in;
use crate::kernels::cuda::{Device, Precision};
use std::rc::Rc;

type Check = fn(&mut dyn Passes, &NetworkSpec, &mut Stream);

/// Runs checks on random networks.
fn check_on(device: &Rc<Device>, (seeds, network): Networks, checks: &[Check]) {
    for seed in seeds {
        let mut stream = stream(seed);
        let spec = network(&mut stream);
        for check in checks {
            let mut passes = DevicePasses::new(&spec, 3, Precision::F32, device).unwrap();
            check(&mut passes, &spec, &mut stream.clone());
        }
    }
}

#[test]
fn gradients_and_statistics_are_those_of_the_definition() {
    let test = "child::convnet::tests::gpu::gradients_and_statistics_are_those_of_the_definition";
    on_stand_in(test, &[], || {
        let device = Device::open(0).unwrap();
        let checks: [Check; 2] = [assert_gradient_is_right, assert_statistics_are_right];
        check_on(&device, (0..6, random_network), &checks);
        check_on(&device, (100..112, mixed_network), &checks);
        let smoothed: [Check; 1] = [assert_smoothed_gradient_is_right];
        check_on(&device, (200..203, mixed_network), &smoothed);
    });
}

/// Each kernel is compared with f64 in C++ (`make test-emulated`); here, that what tensor cores
/// compute together is the same step but for what bf16 rounds.
#[test]
fn in_bf16_a_step_is_that_of_f32_but_for_rounding() {
    let test = "child::convnet::tests::gpu::in_bf16_a_step_is_that_of_f32_but_for_rounding";
    on_stand_in(test, &[], || {
        let device = Device::open(0).unwrap();
        for (seed, network) in (0..8_u64).map(|seed| {
            let networks: [fn(&mut Stream) -> NetworkSpec; 2] = [random_network, mixed_network];
            (seed, networks[seed as usize % 2])
        }) {
            let mut stream = stream(seed);
            let spec = network(&mut stream);
            let (images, labels) = random_batch(&spec, 3, &mut stream);
            let step = |precision| {
                let mut passes = DevicePasses::new(&spec, 3, precision, &device).unwrap();
                let parameters = random_parameters(&passes, &mut stream.clone());
                let mut running = initial_running(passes.running());
                let mut gradient = vec![f32::NAN; parameters.len()];
                let loss = passes
                    .train_step(&parameters, &mut running, &images, &labels, &mut gradient)
                    .unwrap();
                let mut logits = vec![f32::NAN; 3 * spec.classes];
                passes
                    .logits(&parameters, &running, &images, &mut logits)
                    .unwrap();
                (loss, gradient, running, logits)
            };
            let (bf16, f32) = (step(Precision::Bf16), step(Precision::F32));
            assert!((bf16.0 - f32.0).abs() < 0.05, "{} and {}", bf16.0, f32.0);
            let distance = |a: &[f32], b: &[f32]| {
                let square = |v: f32| f64::from(v) * f64::from(v);
                let between: f64 = a.iter().zip(b).map(|(a, b)| square(a - b)).sum();
                let size: f64 = b.iter().map(|b| square(*b)).sum();
                (between / size.max(1e-6)).sqrt()
            };
            for (what, a, b) in [
                ("gradient", &bf16.1, &f32.1),
                ("running statistics", &bf16.2, &f32.2),
                ("logits", &bf16.3, &f32.3),
            ] {
                let distance = distance(a, b);
                assert!(distance < 0.15, "{what} of {spec:?}: {distance}");
            }
        }
    });
}

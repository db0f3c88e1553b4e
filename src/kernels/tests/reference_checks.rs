//! The reference itself, by finite differences away from kinks.

use super::reference;
use super::{numbers, wide};
use crate::kernels::spec::{LayerSpec, NetworkSpec, OperationSpec, Plan};

/// Every gradient of a small network with strides, skips, mixed shapes and a loose end.
#[test]
fn gradients_are_those_of_finite_differences() {
    let layer = |filter_height, filter_width, filters, stride_height, stride_width, inputs: &[usize]| {
        let operation = OperationSpec::Convolution { filter_height, filter_width, filters, stride_height, stride_width };
        LayerSpec { operation, inputs: inputs.to_vec() }
    };
    let layers =
        vec![layer(3, 3, 3, 1, 1, &[0]), layer(1, 5, 2, 2, 1, &[0, 1]), layer(2, 3, 3, 1, 2, &[1, 2]), layer(3, 1, 2, 1, 1, &[2, 3])];
    let spec = NetworkSpec { channels: 2, height: 5, width: 6, classes: 3, layers, output: vec![1, 4] };
    let plan = Plan::new(&spec, 3).unwrap();
    let images = wide(&numbers(1, 3 * 2 * 5 * 6));
    let (labels, running) = ([0, 2, 1], vec![0.0; plan.running_count]);
    let parameters = wide(&numbers(2, plan.parameter_count));
    let loss = |parameters: &[f64]| reference::train_step(&plan, parameters, &running, &images, &labels).0;
    let (_, gradient, _) = reference::train_step(&plan, &parameters, &running, &images, &labels);
    let (mut checked, step) = (0, 1e-5);
    for i in 0..parameters.len() {
        let at = |delta: f64| {
            let mut moved = parameters.clone();
            moved[i] += delta;
            loss(&moved)
        };
        let (wide, narrow) = ((at(step) - at(-step)) / (2.0 * step), (at(step / 4.0) - at(-step / 4.0)) / (step / 2.0));
        // Where two steps disagree, a ReLU's kink lies between.
        if (wide - narrow).abs() < 1e-7 {
            checked += 1;
            assert!((narrow - gradient[i]).abs() < 1e-6, "parameter {i}: difference {narrow}, gradient {}", gradient[i]);
        }
    }
    assert!(checked * 10 > parameters.len() * 9, "{checked} of {} away from kinks", parameters.len());
}

/// PyTorch: `F.conv2d(torch.arange(1., 10).view(1, 1, 3, 3), torch.arange(1., 7).view(1, 1, 2, 3), padding=(0, 1))` over rows
/// padded with one row of zeros below, as an even filter's padding is (k - 1) / 2 above.
#[test]
fn an_even_filter_is_padded_above_by_half() {
    let g = crate::kernels::spec::Geometry {
        channels: 1,
        height: 3,
        width: 3,
        filters: 1,
        filter_height: 2,
        filter_width: 3,
        stride_height: 1,
        stride_width: 1,
    };
    let x: Vec<f64> = (1..10).map(f64::from).collect();
    let w: Vec<f64> = (1..7).map(f64::from).collect();
    assert_eq!(reference::convolution(&g, 1, &x, &w), [58.0, 91.0, 58.0, 106.0, 154.0, 94.0, 38.0, 50.0, 26.0]);
}

//! The reference itself, by finite differences away from kinks.

use super::reference;
use crate::kernels::convnet::BATCH_NORM_EPSILON;
use crate::kernels::convnet::spec::{Geometry, LayerSpec, NetworkSpec, OperationSpec, Plan};
use crate::kernels::testing::{Rounding, numbers, wide};

/// Asserts that `gradient` is that of `loss` at `x`, but next to kinks: there two steps disagree.
/// Most places must be clear of them.
fn assert_gradient(what: &str, x: &[f64], gradient: &[f64], loss: impl Fn(&[f64]) -> f64) {
    assert_eq!(x.len(), gradient.len(), "{what}");
    let difference = |i: usize, step: f64| {
        let at = |delta: f64| {
            let mut moved = x.to_vec();
            moved[i] += delta;
            loss(&moved)
        };
        (at(step) - at(-step)) / (2.0 * step)
    };
    let mut checked = 0;
    for (i, &expected) in gradient.iter().enumerate() {
        let wide = difference(i, 1e-5);
        let narrow = difference(i, 2.5e-6);
        if (wide - narrow).abs() < 1e-7 {
            checked += 1;
            assert!(
                (narrow - expected).abs() < 1e-6,
                "{what}[{i}]: difference {narrow}, gradient {expected}"
            );
        }
    }
    assert!(
        checked * 10 > gradient.len() * 9,
        "{what}: {checked} of {} away from kinks",
        gradient.len()
    );
}

fn inner(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Each operation alone: convolution (to its input and its weights), normalisation with ReLU (to
/// its input, scale and shift), softmax cross-entropy.
#[test]
fn each_operations_gradients_are_those_of_finite_differences() {
    let sizes = [
        ((5, 4), (3, 2), (2, 3)),
        ((1, 6), (1, 7), (1, 1)),
        ((6, 1), (7, 1), (3, 1)),
        ((3, 3), (4, 5), (1, 2)),
    ];
    for (seed, ((height, width), (filter_height, filter_width), (stride_height, stride_width))) in
        (0..).zip(sizes)
    {
        let g = Geometry {
            channels: 2,
            height,
            width,
            filters: 3,
            filter_height,
            filter_width,
            stride_height,
            stride_width,
        };
        let x = wide(&numbers(seed, 2 * 2 * height * width));
        let w = wide(&numbers(seed + 10, 3 * g.taps()));
        let dy = wide(&numbers(seed + 20, 2 * 3 * g.out_height() * g.out_width()));
        let exact = &mut Rounding::none();
        let loss = |x: &[f64], w: &[f64]| {
            inner(
                &reference::convolution(&g, 2, x, w, &mut Rounding::none()),
                &dy,
            )
        };
        let dx = reference::convolution_input_gradient(&g, 2, &dy, &w, exact);
        assert_gradient("dx", &x, &dx, |x| loss(x, &w));
        let dw = reference::convolution_weight_gradient(&g, 2, &x, &dy, exact);
        assert_gradient("dw", &w, &dw, |w| loss(&x, w));
    }
    let n = 3;
    let channels = 2;
    let area = 5;
    let y = wide(&numbers(31, n * channels * area));
    let da = wide(&numbers(32, n * channels * area));
    let scale = wide(&numbers(33, channels));
    let shift = wide(&numbers(34, channels));
    let loss = |y: &[f64], scale: &[f64], shift: &[f64]| {
        let normed = reference::norm_relu(n, area, y, scale, shift, &mut Rounding::none());
        inner(&normed.activation, &da)
    };
    let exact = &mut Rounding::none();
    let saved = reference::norm_relu(n, area, &y, &scale, &shift, exact);
    let [dy, dscale, dshift] = reference::norm_relu_gradient(n, area, &saved, &scale, &da, exact);
    assert_gradient("dy", &y, &dy, |y| loss(y, &scale, &shift));
    assert_gradient("dscale", &scale, &dscale, |scale| loss(&y, scale, &shift));
    assert_gradient("dshift", &shift, &dshift, |shift| loss(&y, &scale, shift));
    let logits = wide(&numbers(35, 12));
    for smoothing in [0.0, 0.2] {
        let loss = |logits: &[f64]| {
            reference::cross_entropy(4, logits, &[3, 0, 1], smoothing, &mut Rounding::none())
        };
        assert_gradient("dlogits", &logits, &loss(&logits).1, |logits| {
            loss(logits).0
        });
    }
}

/// Every gradient of a small network with strides, skips, mixed shapes and a loose end.
#[test]
fn gradients_are_those_of_finite_differences() {
    let layer =
        |filter_height, filter_width, filters, stride_height, stride_width, inputs: &[usize]| {
            let operation = OperationSpec::Convolution {
                filter_height,
                filter_width,
                filters,
                stride_height,
                stride_width,
            };
            LayerSpec {
                operation,
                inputs: inputs.to_vec(),
            }
        };
    let layers = vec![
        layer(3, 3, 3, 1, 1, &[0]),
        layer(1, 5, 2, 2, 1, &[0, 1]),
        layer(2, 3, 3, 1, 2, &[1, 2]),
        layer(3, 1, 2, 1, 1, &[2, 3]),
    ];
    let spec = NetworkSpec {
        channels: 2,
        height: 5,
        width: 6,
        classes: 3,
        batch_norm_epsilon: BATCH_NORM_EPSILON,
        layers,
        output: vec![1, 4],
    };
    let plan = Plan::new(&spec, 3).unwrap();
    let images = wide(&numbers(1, 3 * 2 * 5 * 6));
    let labels = [0, 2, 1];
    let running = vec![0.0; plan.running_count];
    let parameters = wide(&numbers(2, plan.parameter_count));
    let train = |parameters: &[f64]| {
        let step = reference::Step {
            plan: &plan,
            parameters,
            running: &running,
            images: &images,
            labels: &labels,
        };
        step.train(&mut Rounding::none())
    };
    let gradient = train(&parameters).gradient;
    assert_gradient("parameter", &parameters, &gradient, |p| train(p).loss);
}

/// PyTorch: `F.conv2d(torch.arange(1., 10).view(1, 1, 3, 3), torch.arange(1., 7).view(1, 1, 2, 3),
/// padding=(0, 1))` over rows padded with one row of zeros below, as an even filter's padding is (k
/// - 1) / 2 above.
#[test]
fn an_even_filter_is_padded_above_by_half() {
    let g = Geometry {
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
    assert_eq!(
        reference::convolution(&g, 1, &x, &w, &mut Rounding::none()),
        [58.0, 91.0, 58.0, 106.0, 154.0, 94.0, 38.0, 50.0, 26.0]
    );
}

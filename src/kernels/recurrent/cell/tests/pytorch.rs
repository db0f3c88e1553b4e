//! An LSTM and a GRU against PyTorch 2.15, whose numbers these lines print:
//!
//! ```python
//! import torch
//! from torch import nn
//! def value(first, *shape):
//!     n = torch.Size(shape).numel()
//!     return ((torch.arange(first, first + n) * 37 % 101) / 101 - 0.5).reshape(shape)
//! for kind, gates in ((nn.LSTM, 4), (nn.GRU, 3)):
//!     layer = kind(3, 2)
//!     with torch.no_grad():
//!         layer.weight_ih_l0.copy_(2 * value(0, gates * 2, 3))
//!         layer.weight_hh_l0.copy_(2 * value(100, gates * 2, 2))
//!         layer.bias_ih_l0.copy_(value(200, gates * 2))
//!         layer.bias_hh_l0.copy_(value(300, gates * 2) if kind is nn.GRU else torch.zeros(gates * 2))
//!     x = (2 * value(400, 4, 2, 3)).requires_grad_()
//!     h, c = value(500, 1, 2, 2), value(600, 1, 2, 2)
//!     out, state = layer(x, (h, c) if kind is nn.LSTM else h)
//!     out.backward(value(700, 4, 2, 2))
//!     grads = [layer.weight_ih_l0.grad, layer.weight_hh_l0.grad, layer.bias_ih_l0.grad] + ([layer.bias_hh_l0.grad] if kind is nn.GRU else [])
//!     for name, t in (("out", [out]), ("state", state if kind is nn.LSTM else [state]), ("gradient", grads), ("d_x", [x.grad])):
//!         print(kind.__name__, name, "[" + ", ".join(f"{float(f'{v:.7f}')}" for p in t for v in p.detach().flatten().tolist()) + "]")
//! ```

use super::*;

fn value(first: usize, count: usize, scale: f32) -> Vec<f32> {
    (first..first + count)
        .map(|i| scale * ((i * 37 % 101) as f32 / 101.0 - 0.5))
        .collect()
}

fn compare(program: &CellProgram, expected: [&[f64]; 4]) {
    let shape = CellShape {
        input: 3,
        hidden: 2,
        batch: 2,
        steps: 4,
    };
    let units = program.gates * 2;
    let biases = [
        value(200, units, 1.0),
        value(300, if program.recurrent_bias { units } else { 0 }, 1.0),
    ]
    .concat();
    let given = Given {
        shape,
        parameters: [value(0, units * 3, 2.0), value(100, units * 2, 2.0), biases].concat(),
        x: value(400, 24, 2.0),
        state: [
            value(500, 4, 1.0),
            value(600, if program.states() == 2 { 4 } else { 0 }, 1.0),
        ]
        .concat(),
        d_out: value(700, 16, 1.0),
        input_mask: None,
        recurrent_mask: None,
    };
    let step = given.step(&mut CellLayer::new(program, shape, pool(1)).unwrap());
    for (ours, expected) in [&step.out, &step.state, &step.gradient, &step.d_x]
        .into_iter()
        .zip(expected)
    {
        assert_eq!(ours.len(), expected.len());
        assert!(
            ours.iter()
                .zip(expected)
                .all(|(a, b)| (f64::from(*a) - b).abs() < 2e-6),
            "{ours:?}\n{expected:?}"
        );
    }
}

#[test]
fn lstm() {
    compare(
        &CellProgram::lstm(),
        [&LSTM_OUT, &LSTM_STATE, &LSTM_GRADIENT, &LSTM_D_X],
    );
}

#[test]
fn gru() {
    compare(
        &CellProgram::gru(),
        [&GRU_OUT, &GRU_STATE, &GRU_GRADIENT, &GRU_D_X],
    );
}

const LSTM_OUT: [f64; 16] = [
    0.2452754, 0.0177842, -0.0327704, -0.1071522, 0.0027087, -0.2416306, -0.0698917, -0.2579962,
    -0.0797298, -0.2846419, -0.1276367, -0.3352224, -0.1682657, -0.3123507, -0.255041, -0.3164705,
];
const LSTM_STATE: [f64; 8] = [
    -0.1682657, -0.3123507, -0.255041, -0.3164705, -0.4181185, -0.6784804, -0.5971201, -0.7458645,
];
const LSTM_GRADIENT: [f64; 48] = [
    -0.0025844, -0.0056847, -0.0066276, 0.047153, -0.0649312, -0.0233552, 0.0038605, -0.0090157,
    -0.0018532, 0.0036223, 0.0031386, -0.0092781, 0.042503, 0.0296434, 0.0236335, -0.0587686,
    0.0927125, 0.0213976, -0.0031492, -0.0185639, -0.0123079, 0.0245195, -0.0311678, -0.0384906,
    0.002009, 0.0007816, 0.0111625, -0.003016, 0.0020923, 0.0004674, -0.001402, 0.009494,
    -0.0039937, 0.0091365, -0.023233, -0.005734, 0.0055121, 0.0007261, 0.0057127, 0.0129815,
    -0.0057589, 0.0886836, 0.0077921, -0.0370122, -0.0119281, -0.015348, -0.0009568, 0.0003402,
];
const LSTM_D_X: [f64; 24] = [
    -0.0035282, 0.0115848, -0.001412, -0.0124841, -0.0344688, 0.0697342, -0.0197865, 0.0056339,
    -0.0101403, -0.0458221, -0.0993885, 0.0876972, 0.0200072, 0.0434851, -0.0322193, 0.0225936,
    0.00208, 0.05856, -0.007428, -0.0540723, -0.038654, -0.0060134, 0.0909156, -0.018394,
];
const GRU_OUT: [f64; 16] = [
    0.31439, 0.3041644, -0.1420912, -0.5463597, -0.0412749, -0.4282719, -0.424278, -0.6620273,
    -0.3848345, -0.6279801, -0.4780711, -0.6221443, -0.4530964, -0.596611, -0.5266409, -0.5617617,
];
const GRU_STATE: [f64; 4] = [-0.4530964, -0.596611, -0.5266409, -0.5617617];
const GRU_GRADIENT: [f64; 42] = [
    0.0104203, -0.0336651, -0.0075105, -0.0062658, 0.0167641, 0.0013539, 0.0099701, 0.0185331,
    0.0216598, -0.0247136, 0.0159922, 0.0238729, 0.1042245, 0.0467089, 0.0609502, -0.1730247,
    0.3259961, 0.0844249, 0.0095114, -0.0038527, -0.0089022, -0.0035884, -0.002972, 0.0244685,
    0.0011895, 0.0023318, -0.009592, 0.0963192, -0.0803165, -0.0417193, 0.0350347, 0.0152374,
    -0.0126424, -0.1105217, 0.0384882, 0.0701123, 0.0350347, 0.0152374, -0.0126425, -0.1105217,
    -0.0429523, 0.0807896,
];
const GRU_D_X: [f64; 24] = [
    0.0084623, 0.0933573, -0.0397891, 0.073027, -0.1830454, 0.2012138, -0.0869076, 0.1145494,
    -0.1351931, 0.0275661, -0.1837122, 0.1592312, -0.0204186, 0.0829843, -0.0733478, 0.017055,
    0.0010694, 0.0111355, -0.011248, -0.071412, 0.0462102, -0.0109869, 0.1689211, -0.1167437,
];

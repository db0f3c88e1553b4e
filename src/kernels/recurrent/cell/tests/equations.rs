//! The paper's example and NASCell against their equations, written down as they stand.

use super::*;

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// W x or R h of one gate, in f64.
fn product(weights: &[f32], gate: usize, hidden: usize, x: &[f64]) -> Vec<f64> {
    let rows = weights.chunks(x.len()).skip(gate * hidden).take(hidden);
    rows.map(|row| row.iter().zip(x).map(|(w, x)| f64::from(*w) * x).sum())
        .collect()
}

/// Runs a layer of one sequence and the equations side by side. `equations` gives h' and c' of one
/// unit from W x, R h of each gate and c.
fn compare(program: &CellProgram, equations: impl Fn(&[f64], &[f64], f64) -> (f64, f64)) {
    let shape = CellShape {
        input: 4,
        hidden: 6,
        batch: 1,
        steps: 12,
    };
    let given = Given::new(program, shape, 0.7, 21);
    let step = given.step(&mut CellLayer::new(program, shape, pool(1)).unwrap());
    let (w, r) = given.parameters.split_at(program.gates * 6 * 4);
    let exact = |numbers: &[f32]| numbers.iter().map(|n| f64::from(*n)).collect::<Vec<_>>();
    let mut h = exact(&given.state[..6]);
    let mut c = exact(&given.state[6..]);
    for (x, out) in given.x.chunks(4).zip(step.out.chunks(6)) {
        let x: Vec<_> = (0..program.gates)
            .map(|gate| product(w, gate, 6, &exact(x)))
            .collect();
        let m: Vec<_> = (0..program.gates)
            .map(|gate| product(r, gate, 6, &h))
            .collect();
        for unit in 0..6 {
            let of = |gates: &[Vec<f64>]| gates.iter().map(|gate| gate[unit]).collect::<Vec<_>>();
            (h[unit], c[unit]) = equations(&of(&x), &of(&m), c[unit]);
            assert!(
                (h[unit] - f64::from(out[unit])).abs() < 2e-6,
                "{} and {}",
                h[unit],
                out[unit]
            );
        }
    }
    let last = step.state[6..]
        .iter()
        .zip(&c)
        .map(|(a, b)| (f64::from(*a) - b).abs())
        .fold(0.0, f64::max);
    assert!(last < 2e-6, "{last}");
}

#[test]
fn the_papers_example() {
    let nodes = [
        (Combination::Add, Activation::Tanh),
        (Combination::Mul, Activation::Relu),
        (Combination::Mul, Activation::Sigmoid),
    ];
    let program = CellProgram::tree(&nodes, (Combination::Add, Activation::Relu), 1, 0);
    compare(&program, |x, h, c| {
        let a0 = (x[0] + h[0]).tanh();
        let a1 = (x[1] * h[1]).max(0.0);
        let a0_new = (a0 + c).max(0.0);
        let a2 = sigmoid(a0_new * a1);
        (a2, x[1] * h[1])
    });
}

#[test]
fn nascell() {
    compare(&CellProgram::nascell(), |x, m, c| {
        let l0 = sigmoid(x[0] + m[0]);
        let l1 = (x[1] + m[1]).max(0.0);
        let l2 = sigmoid(x[2] + m[2]);
        let l3 = (x[3] * m[3]).max(0.0);
        let l4 = (x[4] + m[4]).tanh();
        let l5 = sigmoid(x[5] + m[5]);
        let l6 = (x[6] + m[6]).tanh();
        let l7 = sigmoid(x[7] + m[7]);
        let p0 = (l0 * l1).tanh();
        let p1 = (l2 + l3).tanh();
        let p2 = (l4 * l5).tanh();
        let p3 = sigmoid(l6 + l7);
        let p0 = (p0 + c).tanh();
        let new_c = p0 * p1;
        let q = (p2 + p3).tanh();
        ((new_c * q).tanh(), new_c)
    });
}

//! A second implementation, number by number in f64: trees by the paper's rules, gradients by a
//! tape. Knows nothing of programs.

use super::*;
use crate::kernels::testing::Rounding;

/// Numbers of a computation, each with the numbers that it was made from and the slopes towards
/// them.
pub struct Tape<'a> {
    pub values: Vec<f64>,
    from: Vec<[(usize, f64); 2]>,
    /// How far each maximum's operands are apart, and each ReLU's is from 0.
    pub kinks: Vec<f64>,
    rounding: &'a mut Rounding,
}

/// Largest error of the vector functions, in unit roundoffs of their value (of 1 for sines).
const FUNCTION_ROUNDOFFS: f64 = 8.0;

impl<'a> Tape<'a> {
    pub fn new(rounding: &'a mut Rounding) -> Self {
        Self {
            values: Vec::new(),
            from: Vec::new(),
            kinks: Vec::new(),
            rounding,
        }
    }

    pub fn input(&mut self, value: f64) -> usize {
        self.push(value, 0.0, [(0, 0.0); 2])
    }

    /// `size`: of the terms of the value, as `Rounding::of` takes it.
    fn push(&mut self, value: f64, size: f64, from: [(usize, f64); 2]) -> usize {
        self.values.push(self.rounding.of(value, size));
        self.from.push(from);
        self.values.len() - 1
    }

    pub fn combine(&mut self, combination: Combination, a: usize, b: usize) -> usize {
        let x = self.values[a];
        let y = self.values[b];
        match combination {
            Combination::Add => self.push(x + y, x.abs() + y.abs(), [(a, 1.0), (b, 1.0)]),
            Combination::Mul => self.push(x * y, x * y, [(a, y), (b, x)]),
            Combination::Max => {
                self.kinks.push(x - y);
                let share = if x > y {
                    1.0
                } else if x < y {
                    0.0
                } else {
                    0.5
                };
                self.push(x.max(y), 0.0, [(a, share), (b, 1.0 - share)])
            }
        }
    }

    pub fn activate(&mut self, activation: Activation, a: usize) -> usize {
        let x = self.values[a];
        let sigmoid = 1.0 / (1.0 + (-x).exp());
        let (value, slope) = match activation {
            Activation::Identity => (x, 1.0),
            Activation::OneMinus => (1.0 - x, -1.0),
            Activation::Tanh => (x.tanh(), 1.0 - x.tanh().powi(2)),
            Activation::Sigmoid => (sigmoid, sigmoid * (1.0 - sigmoid)),
            Activation::Relu => (x.max(0.0), if x > 0.0 { 1.0 } else { 0.0 }),
            Activation::Sin => (x.sin(), x.cos()),
        };
        let size = match activation {
            Activation::Identity => 0.0,
            Activation::OneMinus => 1.0 + x.abs(),
            Activation::Relu => {
                self.kinks.push(x);
                0.0
            }
            Activation::Tanh | Activation::Sigmoid => FUNCTION_ROUNDOFFS * value,
            Activation::Sin => FUNCTION_ROUNDOFFS * x.abs().min(1.0),
        };
        // Slopes are computed from rounded values: 1 − tanh² is rounded at the size of 1.
        let slope = match activation {
            Activation::Identity | Activation::OneMinus | Activation::Relu => slope,
            _ => self.rounding.of(slope, FUNCTION_ROUNDOFFS),
        };
        self.push(value, size, [(a, slope), (0, 0.0)])
    }

    /// Σ weights[i] · x[i]
    pub fn dot(&mut self, weights: impl Iterator<Item = usize>, x: &[usize]) -> usize {
        let mut sum = self.input(0.0);
        for (weight, &x) in weights.zip(x) {
            let product = self.combine(Combination::Mul, weight, x);
            sum = self.combine(Combination::Add, sum, product);
        }
        sum
    }

    /// The gradient of every number, from those of some.
    pub fn gradients(&mut self, seeds: &[(usize, f64)]) -> Vec<f64> {
        let mut d = vec![0.0; self.values.len()];
        seeds.iter().for_each(|(index, seed)| d[*index] += seed);
        for index in (0..d.len()).rev() {
            for (from, slope) in self.from[index] {
                let term = d[index] * slope;
                d[from] += self.rounding.of(term, term);
            }
        }
        d
    }
}

/// A tree's tokens.
#[derive(Clone, Debug)]
pub struct Tokens {
    pub nodes: Vec<(Combination, Activation)>,
    pub inject: (Combination, Activation),
    pub cell_index: usize,
    pub inject_index: usize,
}

impl Tokens {
    pub fn program(&self) -> CellProgram {
        CellProgram::tree(&self.nodes, self.inject, self.cell_index, self.inject_index)
    }

    /// h' and c' of one unit from the leaves' products and c. Recursive, from the root down; the
    /// program goes from the leaves up.
    fn unit(&self, tape: &mut Tape, products: &[(usize, usize)], c: usize) -> (usize, usize) {
        let mut new_c = None;
        let root = self.nodes.len() - 1;
        let h = self.node(root, tape, products, c, &mut new_c);
        (h, new_c.unwrap())
    }

    fn node(
        &self,
        index: usize,
        tape: &mut Tape,
        products: &[(usize, usize)],
        c: usize,
        new_c: &mut Option<usize>,
    ) -> usize {
        let leaves = self.nodes.len().div_ceil(2);
        let (combination, activation) = self.nodes[index];
        let (a, b) = if index < leaves {
            products[index]
        } else {
            let first = 2 * (index - leaves);
            (
                self.node(first, tape, products, c, new_c),
                self.node(first + 1, tape, products, c, new_c),
            )
        };
        let before = tape.combine(combination, a, b);
        if index == self.cell_index {
            *new_c = Some(before);
        }
        let after = tape.activate(activation, before);
        if index != self.inject_index {
            return after;
        }
        let merged = tape.combine(self.inject.0, after, c);
        tape.activate(self.inject.1, merged)
    }

    /// The same as `Given::step`, in f64: out, the last state, the parameters' gradient and that of
    /// x; and how far the computation was from each kink.
    pub fn step(&self, given: &Given, rounding: &mut Rounding) -> [Vec<f64>; 5] {
        let CellShape {
            input,
            hidden,
            batch,
            ..
        } = given.shape;
        let mut tape = Tape::new(rounding);
        let mut inputs = |numbers: &[f32]| {
            numbers
                .iter()
                .map(|n| tape.input(f64::from(*n)))
                .collect::<Vec<_>>()
        };
        let parameters = inputs(&given.parameters);
        let x = inputs(&given.x);
        let state = inputs(&given.state);
        let masks = [&given.input_mask, &given.recurrent_mask]
            .map(|mask| mask.as_ref().map(|mask| inputs(mask)));
        let mut h = state[..batch * hidden].to_vec();
        let mut c = state[batch * hidden..].to_vec();
        let leaves = self.nodes.len().div_ceil(2);
        let mut out = Vec::new();
        for x in x.chunks(batch * input) {
            let mut next_h = Vec::new();
            let mut next_c = Vec::new();
            for row in 0..batch {
                let masked =
                    |tape: &mut Tape, numbers: &[usize], mask: &Option<Vec<usize>>| match mask {
                        None => numbers.to_vec(),
                        Some(mask) => {
                            let mask = &mask[row * numbers.len()..];
                            numbers
                                .iter()
                                .zip(mask)
                                .map(|(n, m)| tape.combine(Combination::Mul, *n, *m))
                                .collect::<Vec<_>>()
                        }
                    };
                let x = masked(&mut tape, &x[row * input..][..input], &masks[0]);
                let old = masked(&mut tape, &h[row * hidden..][..hidden], &masks[1]);
                for unit in 0..hidden {
                    let products: Vec<_> = (0..leaves)
                        .map(|leaf| {
                            let w = (leaf * hidden + unit) * input;
                            let r = leaves * hidden * input + (leaf * hidden + unit) * hidden;
                            let w = tape.dot(parameters[w..w + input].iter().copied(), &x);
                            (w, tape.dot(parameters[r..r + hidden].iter().copied(), &old))
                        })
                        .collect();
                    let (h, c) = self.unit(&mut tape, &products, c[row * hidden + unit]);
                    next_h.push(h);
                    next_c.push(c);
                }
            }
            out.extend_from_slice(&next_h);
            (h, c) = (next_h, next_c);
        }
        let seeds: Vec<_> = out
            .iter()
            .zip(&given.d_out)
            .map(|(index, d)| (*index, f64::from(*d)))
            .collect();
        let d = tape.gradients(&seeds);
        let values = |positions: &[usize], of: &[f64]| {
            positions.iter().map(|index| of[*index]).collect::<Vec<_>>()
        };
        [
            values(&out, &tape.values),
            values(&[h, c].concat(), &tape.values),
            values(&parameters, &d),
            values(&x, &d),
            tape.kinks,
        ]
    }
}

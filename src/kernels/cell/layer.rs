//! One recurrent layer over a whole sequence, and its gradients. Knows nothing of other layers or of what comes after it.

use super::program::{CellProgram, Op};
use crate::kernels::{KernelError, ParameterSlot};
use rayon::ThreadPool;
use std::sync::Arc;

/// Sizes of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CellShape {
    /// Numbers of x at one step.
    pub input: usize,
    /// Units of the layer.
    pub hidden: usize,
    /// Sequences side by side; all calls have exactly this many.
    pub batch: usize,
    /// Steps of one call at most.
    pub steps: usize,
}

/// Dropout masks, the same at all steps of a call: 0, or 1 / (probability to keep). None: nothing is dropped.
#[derive(Clone, Copy, Debug, Default)]
pub struct Masks<'a> {
    /// [batch, input]: what of x reaches the gates.
    pub input: Option<&'a [f32]>,
    /// [batch, hidden]: what of h reaches the gates; a program that takes h itself (`Op::State(0)`) has all of it.
    pub recurrent: Option<&'a [f32]>,
}

/// A recurrent layer. All parameters are one packed vector, laid out as `parameters` says. Sequences are [steps, batch, …], states
/// [states, batch, hidden]: h first. Results are the same bits for any number of threads.
pub struct CellLayer {
    program: CellProgram,
    shape: CellShape,
    parameters: Vec<ParameterSlot>,
    parameter_count: usize,
    /// Of the last `forward`: [steps, batch, input] and [steps, batch, hidden], masked; and for each step the states before it.
    x: Vec<f32>,
    h: Vec<f32>,
    states: Vec<f32>,
    recurrent_mask: Option<Vec<f32>>,
    input_mask: Option<Vec<f32>>,
}

impl CellLayer {
    /// A layer that computes in `pool` alone.
    ///
    /// # Errors
    /// The program or a size is impossible.
    pub fn new(program: &CellProgram, shape: CellShape, _pool: Arc<ThreadPool>) -> Result<Self, KernelError> {
        program.check()?;
        if [shape.input, shape.hidden, shape.batch, shape.steps].contains(&0) {
            return Err(KernelError::Invalid(format!("a size of {shape:?} is 0; at least 1 is needed")));
        }
        let (gates, hidden, input) = (program.gates, shape.hidden, shape.input);
        let mut parameters = vec![("input_weight", vec![gates, hidden, input]), ("recurrent_weight", vec![gates, hidden, hidden])];
        parameters.extend(program.input_bias.then(|| ("input_bias", vec![gates, hidden])));
        parameters.extend(program.recurrent_bias.then(|| ("recurrent_bias", vec![gates, hidden])));
        let mut parameter_count = 0;
        let slot = |(name, shape): (&str, Vec<usize>)| {
            let slot = ParameterSlot { name: name.to_owned(), shape, offset: parameter_count };
            parameter_count += slot.len();
            slot
        };
        let parameters = parameters.into_iter().map(slot).collect();
        let (x, h, states) = (Vec::new(), Vec::new(), Vec::new());
        Ok(Self { program: program.clone(), shape, parameters, parameter_count, x, h, states, recurrent_mask: None, input_mask: None })
    }

    /// The trained tensors, in order of their offsets and without gaps: `input_weight` [gates, hidden, input], `recurrent_weight`
    /// [gates, hidden, hidden], and where the program has them `input_bias` and `recurrent_bias` [gates, hidden].
    pub fn parameters(&self) -> &[ParameterSlot] {
        &self.parameters
    }

    /// Numbers in the packed parameters.
    pub fn parameter_count(&self) -> usize {
        self.parameter_count
    }

    /// Runs x [steps, batch, input] through the layer and keeps what `backward` needs. `state` is read and becomes the state after the
    /// last step; `out` [steps, batch, hidden] is written. There may be fewer steps than the layer was built for.
    pub fn forward(&mut self, parameters: &[f32], x: &[f32], masks: Masks, state: &mut [f32], out: &mut [f32]) {
        let CellShape { input, hidden, batch, .. } = self.shape;
        let steps = out.len() / (batch * hidden);
        (self.x, self.h, self.states) = (x.to_vec(), Vec::new(), Vec::new());
        self.input_mask = masks.input.map(<[f32]>::to_vec);
        self.recurrent_mask = masks.recurrent.map(<[f32]>::to_vec);
        if let Some(mask) = masks.input {
            self.x.chunks_mut(batch * input).for_each(|x| x.iter_mut().zip(mask).for_each(|(x, m)| *x *= m));
        }
        for step in 0..steps {
            self.states.extend_from_slice(state);
            let mut h = state[..batch * hidden].to_vec();
            if let Some(mask) = masks.recurrent {
                h.iter_mut().zip(mask).for_each(|(h, m)| *h *= m);
            }
            self.h.extend_from_slice(&h);
            for row in 0..batch {
                for unit in 0..hidden {
                    let values = self.values(parameters, step, row, unit);
                    for (index, &output) in self.program.outputs.iter().enumerate() {
                        state[(index * batch + row) * hidden + unit] = values[output];
                    }
                }
            }
            out[step * batch * hidden..][..batch * hidden].copy_from_slice(&state[..batch * hidden]);
        }
    }

    /// As `forward` without masks, keeping nothing: any number of steps.
    pub fn evaluate(&mut self, parameters: &[f32], x: &[f32], state: &mut [f32], out: &mut [f32]) {
        self.forward(parameters, x, Masks::default(), state, out);
    }

    /// From the gradient of `out` of the last `forward`, those of the parameters and of x, both overwritten. No gradient reaches the
    /// state that `forward` was given, nor comes from the one it returned (truncated back-propagation).
    pub fn backward(&mut self, parameters: &[f32], d_out: &[f32], gradient: &mut [f32], d_x: &mut [f32]) {
        let CellShape { input, hidden, batch, .. } = self.shape;
        let (gates, states) = (self.program.gates, self.program.states());
        let steps = d_out.len() / (batch * hidden);
        gradient.fill(0.0);
        d_x.fill(0.0);
        let mut d_state = vec![0.0; states * batch * hidden];
        for step in (0..steps).rev() {
            let mut before = vec![0.0; d_state.len()];
            for row in 0..batch {
                let place = step * batch + row;
                for unit in 0..hidden {
                    d_state[row * hidden + unit] += d_out[place * hidden + unit];
                    let values = self.values(parameters, step, row, unit);
                    let mut d = vec![0.0; values.len()];
                    for (index, &output) in self.program.outputs.iter().enumerate() {
                        d[output] += d_state[(index * batch + row) * hidden + unit];
                    }
                    for (op, &operation) in self.program.ops.iter().enumerate().rev() {
                        back(operation, op, &values, &mut d);
                    }
                    for (op, d) in self.program.ops.iter().zip(d) {
                        match *op {
                            Op::State(state) => before[(state * batch + row) * hidden + unit] += d,
                            Op::Input(gate) => {
                                let weight = (gate * hidden + unit) * input;
                                for i in 0..input {
                                    gradient[weight + i] += d * self.x[place * input + i];
                                    let mask = self.input_mask.as_ref().map_or(1.0, |mask| mask[row * input + i]);
                                    d_x[place * input + i] += d * parameters[weight + i] * mask;
                                }
                                if self.program.input_bias {
                                    gradient[gates * hidden * (input + hidden) + gate * hidden + unit] += d;
                                }
                            }
                            Op::Recurrent(gate) => {
                                let weight = gates * hidden * input + (gate * hidden + unit) * hidden;
                                for i in 0..hidden {
                                    gradient[weight + i] += d * self.h[place * hidden + i];
                                    let mask = self.recurrent_mask.as_ref().map_or(1.0, |mask| mask[row * hidden + i]);
                                    before[row * hidden + i] += d * parameters[weight + i] * mask;
                                }
                                if self.program.recurrent_bias {
                                    let biases = usize::from(self.program.input_bias) * gates * hidden;
                                    gradient[gates * hidden * (input + hidden) + biases + gate * hidden + unit] += d;
                                }
                            }
                            _ => {}
                        }
                    }
                }
            }
            d_state = before;
        }
    }

    fn values(&self, parameters: &[f32], step: usize, row: usize, unit: usize) -> Vec<f32> {
        let CellShape { input, hidden, batch, .. } = self.shape;
        let (gates, states) = (self.program.gates, self.program.states());
        let place = step * batch + row;
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        let biases = gates * hidden * (input + hidden);
        let mut values: Vec<f32> = Vec::new();
        for &op in &self.program.ops {
            values.push(match op {
                Op::Input(gate) => {
                    let bias = if self.program.input_bias { parameters[biases + gate * hidden + unit] } else { 0.0 };
                    bias + dot(&parameters[(gate * hidden + unit) * input..][..input], &self.x[place * input..])
                }
                Op::Recurrent(gate) => {
                    let biases = biases + usize::from(self.program.input_bias) * gates * hidden;
                    let bias = if self.program.recurrent_bias { parameters[biases + gate * hidden + unit] } else { 0.0 };
                    let weights = &parameters[gates * hidden * input + (gate * hidden + unit) * hidden..][..hidden];
                    bias + dot(weights, &self.h[place * hidden..])
                }
                Op::State(state) => self.states[((step * states + state) * batch + row) * hidden + unit],
                Op::Add(a, b) => values[a] + values[b],
                Op::Mul(a, b) => values[a] * values[b],
                Op::Max(a, b) => values[a].max(values[b]),
                Op::OneMinus(a) => 1.0 - values[a],
                Op::Tanh(a) => values[a].tanh(),
                Op::Sigmoid(a) => 1.0 / (1.0 + (-values[a]).exp()),
                Op::Relu(a) => values[a].max(0.0),
                Op::Sin(a) => values[a].sin(),
            });
        }
        values
    }
}

/// Adds to the gradients of an operation's operands what comes from its own.
fn back(op: Op, place: usize, values: &[f32], d: &mut [f32]) {
    let (own, value) = (d[place], values[place]);
    match op {
        Op::Input(_) | Op::Recurrent(_) | Op::State(_) => {}
        Op::Add(a, b) => {
            d[a] += own;
            d[b] += own;
        }
        Op::Mul(a, b) => {
            d[a] += own * values[b];
            d[b] += own * values[a];
        }
        Op::Max(a, b) => {
            let share = |x: f32, y: f32| {
                if x > y {
                    1.0
                } else if x == y {
                    0.5
                } else {
                    0.0
                }
            };
            d[a] += own * share(values[a], values[b]);
            d[b] += own * share(values[b], values[a]);
        }
        Op::OneMinus(a) => d[a] -= own,
        Op::Tanh(a) => d[a] += own * (1.0 - value * value),
        Op::Sigmoid(a) => d[a] += own * value * (1.0 - value),
        Op::Relu(a) => d[a] += if value > 0.0 { own } else { 0.0 },
        Op::Sin(a) => d[a] += own * values[a].cos(),
    }
}

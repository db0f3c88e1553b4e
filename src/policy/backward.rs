//! The controller network's backward pass: the gradient of Σ_r (weight_r · log P(list r) + entropy
//! weight_r · entropy(list r)), by back-propagation through time over a tape of the forward pass.
//! Must not know where the weights come from.

use super::forward::{LayerStep, Step, Taken};
use super::layout::{AnchorRanges, LayerRanges, Layout};
use super::linear::{Real, axpy, multiply_transposed_add, outer_add, sigmoid};

/// The weights of one row's log-probability and entropy in what is differentiated.
#[derive(Clone, Copy)]
pub(super) struct Weights<T> {
    pub log_probability: T,
    pub entropy: T,
}

/// Gradients with respect to an anchor point's hidden state, and to its product with W_prev. Later
/// steps add to them; the anchor's own step takes them.
struct PendingAnchor<T> {
    output: Vec<T>,
    previous: Vec<T>,
}

struct Pass<'a, T> {
    layout: &'a Layout,
    parameters: &'a [T],
    weights: &'a [Weights<T>],
    gradient: Vec<T>,
    /// With respect to the next step's input, `[rows, hidden]`.
    next_input: Vec<T>,
    /// With respect to each layer's output and cell as the next step takes them.
    states: Vec<(Vec<T>, Vec<T>)>,
    /// For each row, its anchor points whose own step the pass has not reached.
    anchors: Vec<Vec<PendingAnchor<T>>>,
}

/// The gradient, in the layout of the parameters.
pub(super) fn backward<T: Real>(
    layout: &Layout,
    parameters: &[T],
    steps: &[Step<T>],
    weights: &[Weights<T>],
) -> Vec<T> {
    let hidden = layout.hidden;
    let rows = weights.len();
    let anchors_of = |row: usize| {
        steps
            .iter()
            .filter(|step| matches!(step.taken[row], Taken::Anchor { .. }))
            .count()
    };
    let zeros = || vec![T::zero(); rows * hidden];
    let pending = || PendingAnchor {
        output: vec![T::zero(); hidden],
        previous: vec![T::zero(); hidden],
    };
    let mut pass = Pass {
        layout,
        parameters,
        weights,
        gradient: vec![T::zero(); layout.total],
        next_input: zeros(),
        states: layout.layers.iter().map(|_| (zeros(), zeros())).collect(),
        anchors: (0..rows)
            .map(|row| (0..anchors_of(row)).map(|_| pending()).collect())
            .collect(),
    };
    for step in steps.iter().rev() {
        let mut d_output = zeros();
        for (row, taken) in step.taken.iter().enumerate() {
            let own = row * hidden..(row + 1) * hidden;
            pass.decision(row, taken, &step.output[own.clone()], &mut d_output[own]);
        }
        pass.lstm(&step.layers, d_output);
    }
    for row in pass.next_input.chunks_exact(hidden) {
        axpy(T::one(), row, &mut pass.gradient[layout.start.clone()]);
    }
    pass.gradient
}

impl<T: Real> Pass<'_, T> {
    fn decision(&mut self, row: usize, taken: &Taken<T>, output: &[T], d_output: &mut [T]) {
        let hidden = self.layout.hidden;
        let d_next = self.next_input[row * hidden..(row + 1) * hidden].to_vec();
        match taken {
            Taken::Nothing => {}
            Taken::Choice {
                kind,
                probabilities,
                option,
            } => {
                let ranges = &self.layout.kinds[*kind];
                let embedding = ranges.embedding.start + option * hidden;
                axpy(
                    T::one(),
                    &d_next,
                    &mut self.gradient[embedding..embedding + hidden],
                );
                let d_logits = choice_gradient(probabilities, *option, self.weights[row]);
                axpy(T::one(), &d_logits, &mut self.gradient[ranges.bias.clone()]);
                outer_add(
                    output,
                    &d_logits,
                    &mut self.gradient[ranges.head.clone()],
                    hidden,
                );
                multiply_transposed_add(
                    &d_logits,
                    &self.parameters[ranges.head.clone()],
                    d_output,
                    hidden,
                );
            }
            Taken::Anchor {
                hidden: attention,
                logits,
                bits,
                mean,
            } => {
                if let Some(ranges) = self.layout.anchors.clone() {
                    self.chosen_mean(&ranges, row, bits, mean, &d_next);
                    self.attention(&ranges, row, (attention, logits, bits), output, d_output);
                }
            }
        }
    }

    /// Back through the next input: the projection of the mean of the chosen anchors' hidden
    /// states.
    fn chosen_mean(
        &mut self,
        ranges: &AnchorRanges,
        row: usize,
        bits: &[u8],
        mean: &[T],
        d_next: &[T],
    ) {
        let hidden = self.layout.hidden;
        let chosen = bits.iter().filter(|bit| **bit == 1).count();
        if chosen == 0 {
            return;
        }
        outer_add(
            mean,
            d_next,
            &mut self.gradient[ranges.projection.clone()],
            hidden,
        );
        let mut d_mean = vec![T::zero(); hidden];
        multiply_transposed_add(
            d_next,
            &self.parameters[ranges.projection.clone()],
            &mut d_mean,
            hidden,
        );
        for (anchor, _) in self.anchors[row]
            .iter_mut()
            .zip(bits)
            .filter(|(_, bit)| **bit == 1)
        {
            axpy(T::one() / T::of(chosen as f64), &d_mean, &mut anchor.output);
        }
    }

    /// Back through vᵀ tanh(W_prev·h_j + W_curr·h_i) for every earlier j, and through what later
    /// anchors did with this one.
    fn attention(
        &mut self,
        ranges: &AnchorRanges,
        row: usize,
        taken: (&[T], &[T], &[u8]),
        output: &[T],
        d_output: &mut [T],
    ) {
        let hidden = self.layout.hidden;
        let (attention, logits, bits) = taken;
        let own = self.anchors[row].pop();
        let mut d_current = vec![T::zero(); hidden];
        for (j, (tanh, (logit, bit))) in attention
            .chunks_exact(hidden)
            .zip(logits.iter().zip(bits))
            .enumerate()
        {
            let d_logit = skip_gradient(*logit, *bit, self.weights[row]);
            axpy(d_logit, tanh, &mut self.gradient[ranges.v.clone()]);
            let v = &self.parameters[ranges.v.clone()];
            for unit in 0..hidden {
                let d = d_logit * v[unit] * (T::one() - tanh[unit] * tanh[unit]);
                d_current[unit] += d;
                self.anchors[row][j].previous[unit] += d;
            }
        }
        outer_add(
            output,
            &d_current,
            &mut self.gradient[ranges.current.clone()],
            hidden,
        );
        multiply_transposed_add(
            &d_current,
            &self.parameters[ranges.current.clone()],
            d_output,
            hidden,
        );
        if let Some(own) = own {
            outer_add(
                output,
                &own.previous,
                &mut self.gradient[ranges.previous.clone()],
                hidden,
            );
            multiply_transposed_add(
                &own.previous,
                &self.parameters[ranges.previous.clone()],
                d_output,
                hidden,
            );
            axpy(T::one(), &own.output, d_output);
        }
    }

    /// Back through one step of the LSTM; leaves the gradient of the step's input in `next_input`.
    fn lstm(&mut self, steps: &[LayerStep<T>], mut d_output: Vec<T>) {
        let layers = self.layout.layers.iter().zip(steps).zip(&mut self.states);
        for ((ranges, step), (d_next_output, d_cell)) in layers.rev() {
            axpy(T::one(), d_next_output, &mut d_output);
            let d_gates = gates_gradient(step, &d_output, d_cell, self.layout.hidden);
            let d_input = layer_gradient(
                ranges,
                step,
                &d_gates,
                self.parameters,
                &mut self.gradient,
                d_next_output,
                self.layout.hidden,
            );
            d_output = d_input;
        }
        self.next_input = d_output;
    }
}

/// d/d(gates before activation); `d_cell` becomes the gradient of the previous cell.
fn gates_gradient<T: Real>(
    step: &LayerStep<T>,
    d_output: &[T],
    d_cell: &mut [T],
    hidden: usize,
) -> Vec<T> {
    let one = T::one();
    let mut d_gates = vec![T::zero(); step.gates.len()];
    for index in 0..d_output.len() {
        let row = index / hidden;
        let unit = index % hidden;
        let at = |gate: usize| row * 4 * hidden + gate * hidden + unit;
        let [i, f, g, o] = [0, 1, 2, 3].map(|gate| step.gates[at(gate)]);
        let tanh = step.tanh_cell[index];
        let d = d_cell[index] + d_output[index] * o * (one - tanh * tanh);
        d_gates[at(0)] = d * g * i * (one - i);
        d_gates[at(1)] = d * step.previous_cell[index] * f * (one - f);
        d_gates[at(2)] = d * i * (one - g * g);
        d_gates[at(3)] = d_output[index] * tanh * o * (one - o);
        d_cell[index] = d * f;
    }
    d_gates
}

/// Gradients of one layer's weights; returns that of its input, and leaves that of its previous
/// output in `d_previous`.
fn layer_gradient<T: Real>(
    ranges: &LayerRanges,
    step: &LayerStep<T>,
    d_gates: &[T],
    parameters: &[T],
    gradient: &mut [T],
    d_previous: &mut [T],
    hidden: usize,
) -> Vec<T> {
    for row in d_gates.chunks_exact(4 * hidden) {
        axpy(T::one(), row, &mut gradient[ranges.bias.clone()]);
    }
    let middle = ranges.weights.start + ranges.weights.len() / 2;
    outer_add(
        &step.input,
        d_gates,
        &mut gradient[ranges.weights.start..middle],
        hidden,
    );
    outer_add(
        &step.previous_output,
        d_gates,
        &mut gradient[middle..ranges.weights.end],
        hidden,
    );
    d_previous.fill(T::zero());
    multiply_transposed_add(
        d_gates,
        &parameters[middle..ranges.weights.end],
        d_previous,
        hidden,
    );
    let mut d_input = vec![T::zero(); d_previous.len()];
    multiply_transposed_add(
        d_gates,
        &parameters[ranges.weights.start..middle],
        &mut d_input,
        hidden,
    );
    d_input
}

/// With respect to the logits: log-probability gives onehot − p; entropy H gives −p·(ln p + H).
fn choice_gradient<T: Real>(probabilities: &[T], option: usize, weights: Weights<T>) -> Vec<T> {
    let log = |p: T| if p > T::zero() { p.ln() } else { T::zero() };
    let entropy: T = probabilities.iter().map(|p| -*p * log(*p)).sum();
    let one = |index: usize| if index == option { T::one() } else { T::zero() };
    let gradient = |(index, p): (usize, &T)| {
        weights.log_probability * (one(index) - *p) - weights.entropy * *p * (log(*p) + entropy)
    };
    probabilities.iter().enumerate().map(gradient).collect()
}

/// With respect to a skip's logit s, p = σ(s): log-probability gives bit − p; entropy gives −s·p·(1
/// − p).
fn skip_gradient<T: Real>(logit: T, bit: u8, weights: Weights<T>) -> T {
    let p = sigmoid(logit);
    weights.log_probability * (T::of(f64::from(bit)) - p)
        - weights.entropy * logit * p * (T::one() - p)
}

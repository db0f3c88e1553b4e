//! The controller network's forward pass over a batch of sequences in lockstep: LSTM, heads, anchor
//! attention (paper §3.1, §3.3). Each decision is either drawn or given; the tape keeps what the
//! backward pass needs. Must not know rewards.

use super::PolicyError;
use super::layout::Layout;
use super::linear::{Real, dot, multiply_add, sigmoid, softplus, tanh};
use crate::space::{Decision, Next, Space};

/// What one LSTM layer did in one step; all `[rows, hidden]`, gates `[rows, 4·hidden]` after their
/// activations.
pub(super) struct LayerStep<T> {
    pub input: Vec<T>,
    pub previous_output: Vec<T>,
    pub previous_cell: Vec<T>,
    pub gates: Vec<T>,
    pub tanh_cell: Vec<T>,
}

/// What one row decided in one step.
pub(super) enum Taken<T> {
    /// Probabilities of the options, and the one taken.
    Choice {
        kind: usize,
        probabilities: Vec<T>,
        option: usize,
    },
    /// For each earlier anchor tanh(W_prev·h_j + W_curr·h_i) `[earlier, hidden]`, its logit, and
    /// the bit taken.
    Anchor {
        hidden: Vec<T>,
        logits: Vec<T>,
        bits: Vec<u8>,
        mean: Vec<T>,
    },
    /// The row's list was finished before.
    Nothing,
}

/// One step of all rows.
pub(super) struct Step<T> {
    pub layers: Vec<LayerStep<T>>,
    /// Output of the top layer, `[rows, hidden]`.
    pub output: Vec<T>,
    pub taken: Vec<Taken<T>>,
}

/// One row's result.
pub(super) struct Row {
    pub decisions: Vec<Decision>,
    pub log_probability: f64,
    pub entropy: f64,
}

/// What decides: draws an option from its probabilities, or bits from their logits; or says what
/// was decided.
pub(super) trait Decider<T> {
    fn choose(&mut self, row: usize, position: usize, probabilities: &[T]) -> Option<usize>;
    fn skips(&mut self, row: usize, position: usize, probabilities: &[T]) -> Option<Vec<u8>>;
    /// Whether there is a decision at this position, where the space wants none.
    fn has_more(&self, row: usize, position: usize) -> bool;
}

/// State of a forward pass.
struct Pass<'a, T> {
    layout: &'a Layout,
    parameters: &'a [T],
    rows: usize,
    /// Next input, `[rows, hidden]`.
    input: Vec<T>,
    /// Output and cell of each layer.
    states: Vec<(Vec<T>, Vec<T>)>,
    /// For each row: W_prev·h and h of its anchors so far.
    anchors: Vec<Vec<(Vec<T>, Vec<T>)>>,
}

/// Runs all rows to the end of their lists.
pub(super) fn forward<T: Real>(
    layout: &Layout,
    parameters: &[T],
    space: &dyn Space,
    layers: usize,
    rows: usize,
    decider: &mut dyn Decider<T>,
) -> Result<(Vec<Row>, Vec<Step<T>>), PolicyError> {
    let hidden = layout.hidden;
    if parameters.len() != layout.total {
        return Err(PolicyError::Parameters {
            expected: layout.total,
            found: parameters.len(),
        });
    }
    if !parameters.iter().all(|parameter| parameter.is_finite()) {
        return Err(PolicyError::NotFinite);
    }
    let mut pass = Pass::new(layout, parameters, rows);
    let mut results: Vec<Row> = (0..rows)
        .map(|_| Row {
            decisions: Vec::new(),
            log_probability: 0.0,
            entropy: 0.0,
        })
        .collect();
    let mut steps = Vec::new();
    loop {
        let wanted: Vec<Next> = results
            .iter()
            .map(|row| space.next(layers, &row.decisions))
            .collect();
        for (row, _) in wanted
            .iter()
            .enumerate()
            .filter(|(_, next)| **next == Next::Done)
        {
            let position = results[row].decisions.len();
            if decider.has_more(row, position) {
                return Err(PolicyError::Decisions { position });
            }
        }
        if wanted.iter().all(|next| *next == Next::Done) {
            return Ok((results, steps));
        }
        let (layer_steps, output) = pass.lstm();
        let mut taken = Vec::with_capacity(rows);
        for (row, (next, result)) in wanted.into_iter().zip(&mut results).enumerate() {
            let own = &output[row * hidden..(row + 1) * hidden];
            taken.push(match next {
                Next::Done => Taken::Nothing,
                Next::Choose { kind } => pass.choose(kind, row, own, result, decider)?,
                Next::Anchor { earlier } => pass.anchor(earlier, row, own, result, decider)?,
            });
        }
        steps.push(Step {
            layers: layer_steps,
            output,
            taken,
        });
    }
}

impl<'a, T: Real> Pass<'a, T> {
    /// Before the first step: the learned start input, and states of zero.
    fn new(layout: &'a Layout, parameters: &'a [T], rows: usize) -> Self {
        let zeros = || vec![T::zero(); rows * layout.hidden];
        Self {
            layout,
            parameters,
            rows,
            input: parameters[layout.start.clone()].repeat(rows),
            states: layout.layers.iter().map(|_| (zeros(), zeros())).collect(),
            anchors: (0..rows).map(|_| Vec::new()).collect(),
        }
    }

    /// One step of the LSTM on `self.input`; returns what each layer did and the top layer's
    /// output.
    fn lstm(&mut self) -> (Vec<LayerStep<T>>, Vec<T>) {
        let hidden = self.layout.hidden;
        let mut input = std::mem::take(&mut self.input);
        let mut steps = Vec::with_capacity(self.layout.layers.len());
        for (ranges, (output, cell)) in self.layout.layers.iter().zip(&mut self.states) {
            let weights = &self.parameters[ranges.weights.clone()];
            let (from_input, from_output) = weights.split_at(weights.len() / 2);
            let mut gates = self.parameters[ranges.bias.clone()].repeat(self.rows);
            multiply_add(&input, from_input, &mut gates, hidden);
            multiply_add(output, from_output, &mut gates, hidden);
            let previous_output = output.clone();
            let previous_cell = cell.clone();
            let mut tanh_cell = vec![T::zero(); cell.len()];
            for row in 0..self.rows {
                let own = row * hidden..(row + 1) * hidden;
                let gates = &mut gates[row * 4 * hidden..(row + 1) * 4 * hidden];
                cell_step(
                    gates,
                    &mut cell[own.clone()],
                    &mut tanh_cell[own.clone()],
                    &mut output[own],
                );
            }
            steps.push(LayerStep {
                input,
                previous_output,
                previous_cell,
                gates,
                tanh_cell,
            });
            input = output.clone();
        }
        self.input = vec![T::zero(); self.rows * hidden];
        (steps, input)
    }

    fn next_input(&mut self, row: usize) -> &mut [T] {
        let hidden = self.layout.hidden;
        &mut self.input[row * hidden..(row + 1) * hidden]
    }

    fn choose(
        &mut self,
        kind: usize,
        row: usize,
        output: &[T],
        result: &mut Row,
        decider: &mut dyn Decider<T>,
    ) -> Result<Taken<T>, PolicyError> {
        let ranges = &self.layout.kinds[kind];
        let mut logits = self.parameters[ranges.bias.clone()].to_vec();
        multiply_add(
            output,
            &self.parameters[ranges.head.clone()],
            &mut logits,
            self.layout.hidden,
        );
        let log_probabilities = log_softmax(&logits)?;
        let probabilities: Vec<T> = log_probabilities.iter().map(|log| log.exp()).collect();
        let position = result.decisions.len();
        let option = decider
            .choose(row, position, &probabilities)
            .filter(|option| *option < ranges.options);
        let option = option.ok_or(PolicyError::Decisions { position })?;
        result.log_probability += log_probabilities[option].f64();
        result.entropy -= probabilities
            .iter()
            .zip(&log_probabilities)
            .map(|(p, log)| p.f64() * log.f64())
            .sum::<f64>();
        result.decisions.push(Decision::Choice(option));
        let embedding = ranges.embedding.start + option * self.layout.hidden;
        let embedding = &self.parameters[embedding..embedding + self.layout.hidden];
        self.next_input(row).copy_from_slice(embedding);
        Ok(Taken::Choice {
            kind,
            probabilities,
            option,
        })
    }

    fn anchor(
        &mut self,
        earlier: usize,
        row: usize,
        output: &[T],
        result: &mut Row,
        decider: &mut dyn Decider<T>,
    ) -> Result<Taken<T>, PolicyError> {
        let size = self.layout.hidden;
        let position = result.decisions.len();
        let ranges = self
            .layout
            .anchors
            .as_ref()
            .filter(|_| earlier == self.anchors[row].len());
        let ranges = ranges.ok_or(PolicyError::Decisions { position })?;
        let project = |range: &std::ops::Range<usize>, input: &[T]| {
            let mut product = vec![T::zero(); size];
            multiply_add(input, &self.parameters[range.clone()], &mut product, size);
            product
        };
        let current = project(&ranges.current, output);
        let v = &self.parameters[ranges.v.clone()];
        let mut hidden = Vec::with_capacity(earlier * size);
        let mut logits = Vec::with_capacity(earlier);
        for (previous, _) in &self.anchors[row] {
            let sums = previous.iter().zip(&current);
            hidden.extend(sums.map(|(previous, current)| tanh(*previous + *current)));
            logits.push(dot(v, &hidden[hidden.len() - size..]));
        }
        if logits.iter().any(|logit: &T| !logit.is_finite()) {
            return Err(PolicyError::NotFinite);
        }
        let probabilities: Vec<T> = logits.iter().map(|logit| sigmoid(*logit)).collect();
        let bits = decider
            .skips(row, position, &probabilities)
            .filter(|bits| bits.len() == earlier && bits.iter().all(|bit| *bit < 2));
        let bits = bits.ok_or(PolicyError::Decisions { position })?;
        for ((logit, probability), bit) in logits.iter().zip(&probabilities).zip(&bits) {
            // ln σ(s) = −softplus(−s), ln(1 − σ(s)) = −softplus(s)
            let on = -softplus(-*logit);
            let off = -softplus(*logit);
            result.log_probability += if *bit == 1 { on } else { off }.f64();
            result.entropy -= probability.f64() * on.f64() + (1.0 - probability.f64()) * off.f64();
        }
        let mean = self.mean_of_chosen(row, &bits);
        let next = project(&ranges.projection, &mean);
        let previous = project(&ranges.previous, output);
        self.anchors[row].push((previous, output.to_vec()));
        self.next_input(row).copy_from_slice(&next);
        result.decisions.push(Decision::Skips(bits.clone()));
        Ok(Taken::Anchor {
            hidden,
            logits,
            bits,
            mean,
        })
    }

    /// Mean hidden state `[hidden]` of the row's anchor points whose bit is 1; zero if none is.
    fn mean_of_chosen(&self, row: usize, bits: &[u8]) -> Vec<T> {
        let chosen: Vec<&Vec<T>> = self.anchors[row]
            .iter()
            .zip(bits)
            .filter(|(_, bit)| **bit == 1)
            .map(|((_, h), _)| h)
            .collect();
        let mut mean = vec![T::zero(); self.layout.hidden];
        for h in &chosen {
            super::linear::axpy(T::one() / T::of(chosen.len() as f64), h, &mut mean);
        }
        mean
    }
}

/// One row of one LSTM layer: applies the gates' activations (input, forget, cell, output) and
/// moves the cell and the output on. One short loop for each thing to do: each becomes vector
/// instructions.
fn cell_step<T: Real>(gates: &mut [T], cell: &mut [T], tanh_cell: &mut [T], output: &mut [T]) {
    let hidden = cell.len();
    gates[..2 * hidden]
        .iter_mut()
        .for_each(|gate| *gate = sigmoid(*gate));
    gates[2 * hidden..3 * hidden]
        .iter_mut()
        .for_each(|gate| *gate = tanh(*gate));
    gates[3 * hidden..]
        .iter_mut()
        .for_each(|gate| *gate = sigmoid(*gate));
    let (i, rest) = gates.split_at(hidden);
    let (f, rest) = rest.split_at(hidden);
    let (g, o) = rest.split_at(hidden);
    for (((cell, i), f), g) in cell.iter_mut().zip(i).zip(f).zip(g) {
        *cell = *f * *cell + *i * *g;
    }
    tanh_cell
        .iter_mut()
        .zip(cell.iter())
        .for_each(|(tanh_cell, cell)| *tanh_cell = tanh(*cell));
    for ((output, tanh_cell), o) in output.iter_mut().zip(tanh_cell).zip(o) {
        *output = *o * *tanh_cell;
    }
}

fn log_softmax<T: Real>(logits: &[T]) -> Result<Vec<T>, PolicyError> {
    let highest = logits.iter().copied().fold(T::neg_infinity(), T::max);
    let total: T = logits.iter().map(|logit| (*logit - highest).exp()).sum();
    let offset = highest + total.ln();
    if !offset.is_finite() || logits.iter().any(|logit| !logit.is_finite()) {
        return Err(PolicyError::NotFinite);
    }
    Ok(logits.iter().map(|logit| *logit - offset).collect())
}

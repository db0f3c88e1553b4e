//! Sizes of a recurrent layer and where its parameters lie. Knows nothing of how they are used.

use super::plan::Plan;
use super::program::CellProgram;
use crate::kernels::{KernelError, ParameterSlot};

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

/// Most that a hidden vector is padded by: no vector is wider.
const PADDING: usize = 16;

/// Offsets and padded sizes.
pub struct Layout {
    pub parameters: Vec<ParameterSlot>,
    pub parameter_count: usize,
    pub padded: usize,
    pub states: usize,
    input: usize,
    hidden: usize,
    recurrent: usize,
    input_bias: Option<usize>,
    recurrent_bias: Option<usize>,
}

impl Layout {
    /// `program` was checked. Hidden vectors are padded to whole vectors of `width` numbers.
    pub fn new(
        program: &CellProgram,
        plan: &Plan,
        shape: CellShape,
        width: usize,
    ) -> Result<Self, KernelError> {
        let CellShape {
            input,
            hidden,
            batch,
            steps,
        } = shape;
        if [input, hidden, batch, steps].contains(&0) {
            return Err(KernelError::Invalid(format!(
                "a size of {shape:?} is 0; at least 1 is needed"
            )));
        }
        check_size(program, plan, shape)?;
        let gates = program.gates;
        let mut parameter_count = 0;
        let mut parameters = Vec::new();
        let mut slot = |name: &str, shape: Vec<usize>| {
            let slot = ParameterSlot {
                name: name.to_owned(),
                shape,
                offset: parameter_count,
            };
            parameter_count += slot.len();
            let offset = slot.offset;
            parameters.push(slot);
            offset
        };
        slot("input_weight", vec![gates, hidden, input]);
        let recurrent = slot("recurrent_weight", vec![gates, hidden, hidden]);
        let input_bias = program
            .input_bias
            .then(|| slot("input_bias", vec![gates, hidden]));
        let recurrent_bias = program
            .recurrent_bias
            .then(|| slot("recurrent_bias", vec![gates, hidden]));
        let padded = hidden.next_multiple_of(width);
        let states = program.states();
        Ok(Self {
            parameters,
            parameter_count,
            padded,
            states,
            input,
            hidden,
            recurrent,
            input_bias,
            recurrent_bias,
        })
    }

    fn input_at(&self, gate: usize) -> std::ops::Range<usize> {
        let size = self.hidden * self.input;
        gate * size..(gate + 1) * size
    }

    fn recurrent_at(&self, gate: usize) -> std::ops::Range<usize> {
        let start = self.recurrent;
        let size = self.hidden * self.hidden;
        start + gate * size..start + (gate + 1) * size
    }

    /// W of a gate [hidden, input].
    pub fn input_weight<'a>(&self, parameters: &'a [f32], gate: usize) -> &'a [f32] {
        &parameters[self.input_at(gate)]
    }

    /// R of a gate [hidden, hidden].
    pub fn recurrent_weight<'a>(&self, parameters: &'a [f32], gate: usize) -> &'a [f32] {
        &parameters[self.recurrent_at(gate)]
    }

    pub fn input_weight_mut<'a>(&self, gradient: &'a mut [f32], gate: usize) -> &'a mut [f32] {
        &mut gradient[self.input_at(gate)]
    }

    pub fn recurrent_weight_mut<'a>(&self, gradient: &'a mut [f32], gate: usize) -> &'a mut [f32] {
        &mut gradient[self.recurrent_at(gate)]
    }

    /// The biases of a row of the products, 0 where there are none. None: there are none at all.
    pub fn biases(&self, parameters: &[f32], plan: &Plan, hidden: usize) -> Option<Vec<f32>> {
        if self.input_bias.is_none() && self.recurrent_bias.is_none() {
            return None;
        }
        let recurrent = plan.columns.len() - plan.recurrent_columns;
        let mut row = vec![0.0; plan.columns.len() * self.padded];
        for (column, &gate) in plan.columns.iter().enumerate() {
            let biases = [
                self.input_bias.filter(|_| column < plan.input_columns),
                self.recurrent_bias.filter(|_| column >= recurrent),
            ];
            for bias in biases.into_iter().flatten() {
                let bias = &parameters[bias + gate * hidden..][..hidden];
                row[column * self.padded..]
                    .iter_mut()
                    .zip(bias)
                    .for_each(|(to, bias)| *to += bias);
            }
        }
        Some(row)
    }

    /// The biases' gradients: sums over the rows of the products' gradients.
    pub fn bias_gradients<'a>(
        &self,
        plan: &Plan,
        hidden: usize,
        rows: impl Iterator<Item = &'a [f32]>,
        gradient: &mut [f32],
    ) {
        if self.input_bias.is_none() && self.recurrent_bias.is_none() {
            return;
        }
        let mut sums = vec![0.0f64; plan.columns.len() * self.padded];
        rows.for_each(|row| {
            sums.iter_mut()
                .zip(row)
                .for_each(|(sum, d)| *sum += f64::from(*d));
        });
        let recurrent = plan.columns.len() - plan.recurrent_columns;
        for (column, &gate) in plan.columns.iter().enumerate() {
            let biases = [
                self.input_bias.filter(|_| column < plan.input_columns),
                self.recurrent_bias.filter(|_| column >= recurrent),
            ];
            for bias in biases.into_iter().flatten() {
                let to = &mut gradient[bias + gate * hidden..][..hidden];
                to.iter_mut()
                    .zip(&sums[column * self.padded..])
                    .for_each(|(to, sum)| *to = *sum as f32);
            }
        }
    }
}

/// Refuses sizes whose products overflow an address, with room for every buffer.
fn check_size(program: &CellProgram, plan: &Plan, shape: CellShape) -> Result<(), KernelError> {
    let CellShape {
        input,
        hidden,
        batch,
        steps,
    } = shape;
    let widest = input.max(hidden.saturating_add(PADDING));
    let fits = |sizes: &[usize]| {
        let bytes = sizes
            .iter()
            .try_fold(64 * size_of::<f32>(), |product, &size| {
                product.checked_mul(size)
            });
        bytes.is_some_and(|bytes| isize::try_from(bytes).is_ok())
    };
    let columns = plan.columns.len().max(program.states());
    if fits(&[columns, steps, batch, widest]) && fits(&[columns, widest, widest]) {
        return Ok(());
    }
    Err(KernelError::TooLarge(format!(
        "the sizes of {shape:?} multiply to more bytes than an address can hold"
    )))
}

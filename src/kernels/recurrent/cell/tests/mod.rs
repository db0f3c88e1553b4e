//! Cells against exact references.

mod equations;
mod finite_differences;
mod interpreter;
mod pytorch;
mod random_cells;

use super::*;
use crate::kernels::ParameterSlot;
use crate::kernels::simd::Isa;
use crate::kernels::testing::pool;

/// Numbers in −scale..scale, the same for the same seed.
fn numbers(seed: u64, count: usize, scale: f32) -> Vec<f32> {
    use rand::RngExt as _;
    let mut stream = crate::random::Key::seed(seed).stream(crate::random::Purpose::Decisions);
    (0..count)
        .map(|_| stream.random_range(-scale..scale))
        .collect()
}

/// Everything that one training step of a layer gives.
#[derive(Debug, PartialEq)]
struct Step {
    out: Vec<f32>,
    state: Vec<f32>,
    gradient: Vec<f32>,
    d_x: Vec<f32>,
}

/// What a step is computed from.
struct Given {
    shape: CellShape,
    parameters: Vec<f32>,
    x: Vec<f32>,
    state: Vec<f32>,
    d_out: Vec<f32>,
    input_mask: Option<Vec<f32>>,
    recurrent_mask: Option<Vec<f32>>,
}

impl Given {
    fn new(program: &CellProgram, shape: CellShape, scale: f32, seed: u64) -> Self {
        let CellShape {
            input,
            hidden,
            batch,
            steps,
        } = shape;
        let count = CellLayer::new(program, shape, pool(1))
            .unwrap()
            .parameter_count();
        Self {
            shape,
            parameters: numbers(seed, count, scale),
            x: numbers(seed + 1, steps * batch * input, 1.0),
            state: numbers(seed + 2, program.states() * batch * hidden, 0.5),
            d_out: numbers(seed + 3, steps * batch * hidden, 1.0),
            input_mask: None,
            recurrent_mask: None,
        }
    }

    fn masks(&self) -> Masks<'_> {
        Masks {
            input: self.input_mask.as_deref(),
            recurrent: self.recurrent_mask.as_deref(),
        }
    }

    fn step(&self, layer: &mut CellLayer) -> Step {
        let mut step = Step {
            out: vec![f32::NAN; self.d_out.len()],
            state: self.state.clone(),
            gradient: vec![f32::NAN; self.parameters.len()],
            d_x: vec![f32::NAN; self.x.len()],
        };
        layer.forward(
            &self.parameters,
            &self.x,
            self.masks(),
            &mut step.state,
            &mut step.out,
        );
        layer.backward(
            &self.parameters,
            &self.d_out,
            &mut step.gradient,
            &mut step.d_x,
        );
        step
    }
}

//! How much memory a language model takes, known before it takes any: on the CPU a failed
//! allocation ends the process.

use super::network::Sizes;
use crate::kernels::{CellProgram, Softmax};

/// Bytes of a training: parameters and gradient (and velocity, with `momentum`), a checkpoint of
/// them, the layers' working memory and the softmax's. In floating point: no size overflows it.
pub fn bytes(program: &CellProgram, sizes: Sizes, parameters: u64, momentum: bool) -> u64 {
    let model = sizes.model;
    let window = sizes.steps as f64 * sizes.batch as f64 * model.hidden as f64;
    // A layer keeps x, h, its states, and for each gate and operation a value or a gradient.
    let kept =
        4.0 + 2.0 * program.states() as f64 + 2.0 * program.gates as f64 + program.ops.len() as f64;
    let vectors = if momentum { 5.0 } else { 3.0 };
    // Layers may keep their weights a second time, in the order in which they are read.
    let floats = vectors * parameters as f64
        + window * (model.layers as f64 * kept + 4.0)
        + 2.0 * layer_weights(program, sizes);
    ((4.0 * floats) as u64).saturating_add(Softmax::working_bytes(model.hidden, model.vocabulary))
}

fn layer_weights(program: &CellProgram, sizes: Sizes) -> f64 {
    sizes.model.layers as f64 * program.gates as f64 * 2.0 * (sizes.model.hidden as f64).powi(2)
}

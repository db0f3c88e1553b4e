//! A trained language model at work on a text that it has not seen. Must not know files, nor where
//! the text comes from.

use super::super::{TrainedNetwork, cell_program};
use super::network::{Network, Sizes};
use super::streams::{Streams, Window};
use crate::data::Input;
use crate::space;
use rayon::ThreadPool;
use serde_json::Value;
use std::sync::Arc;

/// Perplexity of a text, in f32 on the CPU: every token counts once. The text is read as in
/// validation, as so many sequences side by side as the training had, the state of each warmed on
/// the tokens before it.
///
/// # Errors
/// One sentence: it is no language model, its tensors do not fit it, or the text is empty.
pub fn test_perplexity(
    trained: &TrainedNetwork,
    text: &[u32],
    pool: &Arc<ThreadPool>,
) -> Result<f64, String> {
    let record = &trained.record;
    let (space::Network::Cell(cell), Input::Text(input)) =
        (&record.architecture.network, &record.input)
    else {
        return Err("the network is no language model".into());
    };
    let model = cell
        .model
        .ok_or("the language model's sizes are not there")?;
    if model.vocabulary != input.vocabulary.len() {
        return Err("the network and its vocabulary are not of one size".into());
    }
    if text.is_empty() {
        return Err("the text holds no token".into());
    }
    let recipe = |key: &str| {
        let value = record.training.recipe.get(key).and_then(Value::as_u64);
        value.map_or(1, |value| value as usize).max(1)
    };
    let batch = recipe("batch_size").min(text.len());
    let steps = recipe("steps").min(text.len().div_ceil(batch));
    let sizes = Sizes {
        model,
        batch,
        steps,
    };
    let program = cell_program(&cell.cell).map_err(|error| error.to_string())?;
    let mut network = Network::new(&program, sizes, pool).map_err(|error| error.to_string())?;
    let [parameters] = trained.packed([network.parameters()])?;
    let streams = Streams::validation(text, input.end, batch);
    let mut state = network.start();
    let mut window = Window::default();
    streams.before(steps, &mut window);
    let mut nats = network.evaluate(&parameters, &window.tokens, &window.targets, &mut state);
    network.restart(&mut state, 0);
    for first in (0..streams.length()).step_by(steps) {
        streams.window(first, steps, &mut window);
        nats += network.evaluate(&parameters, &window.tokens, &window.targets, &mut state);
    }
    Ok((nats / text.len() as f64).exp())
}

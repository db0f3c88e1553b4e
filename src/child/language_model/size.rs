//! The hidden size of a language model: given, or solved for a number of parameters. A function of
//! settings, cell and vocabulary.

use super::super::ChildSettings;
use crate::space::{
    Cell, CellNetwork, Decision, DecisionError, LanguageModel, Network, Next, Space,
};

/// A solved size may miss `child.parameters` by this share.
const TOLERANCE: f64 = 0.01;

/// There is no language model as the settings ask for it.
#[derive(Debug, thiserror::Error)]
pub enum SizeError {
    #[error(
        "child.parameters = {parameters}: no hidden size comes within 1% of it with {vocabulary} tokens and {layers} layers ({nearest})"
    )]
    Parameters {
        parameters: usize,
        vocabulary: usize,
        layers: usize,
        /// The hidden sizes that come nearest, with their parameters.
        nearest: String,
    },
    #[error("space.kind must be \"cell\": only recurrent cells are trained on a text")]
    NoCells,
    #[error(transparent)]
    Decision(#[from] DecisionError),
}

/// The language model that a cell is trained in.
///
/// # Errors
/// No hidden size has nearly as many parameters as are asked for: says which come nearest.
pub fn model(
    settings: &ChildSettings,
    cell: &Cell,
    vocabulary: usize,
) -> Result<LanguageModel, SizeError> {
    let sized = |hidden| LanguageModel {
        vocabulary,
        hidden,
        layers: settings.layers,
        shared_embeddings: settings.shared_embeddings,
    };
    if let Some(hidden) = settings.hidden {
        return Ok(sized(hidden));
    }
    let count = |hidden| {
        let network = CellNetwork {
            cell: cell.clone(),
            model: Some(sized(hidden)),
        };
        network.size().map_or(0, |(parameters, _)| parameters) as f64
    };
    let wanted = settings.parameters as f64;
    // A layer has two matrices [hidden, hidden] or more, so nothing beyond fits.
    let mut below = 0;
    let mut above = (wanted / 2.0).sqrt() as usize + 2;
    while above - below > 1 {
        let middle = below + (above - below) / 2;
        *(if count(middle) <= wanted {
            &mut below
        } else {
            &mut above
        }) = middle;
    }
    let miss = |hidden: usize| (count(hidden) / wanted - 1.0).abs();
    let best = if below > 0 && miss(below) <= miss(above) {
        below
    } else {
        above
    };
    if miss(best) <= TOLERANCE {
        return Ok(sized(best));
    }
    let near = |hidden: usize| format!("child.hidden = {hidden} has {}", count(hidden));
    let nearest = if below > 0 {
        format!("{}, {}", near(below), near(above))
    } else {
        format!("the smallest, {}", near(above))
    };
    Err(SizeError::Parameters {
        parameters: settings.parameters,
        vocabulary,
        layers: settings.layers,
        nearest,
    })
}

/// The language model of all cells of a space: they have one number of parameters.
///
/// # Errors
/// As `model`; or the space has no cells.
pub fn searched_model(
    settings: &ChildSettings,
    space: &dyn Space,
    vocabulary: usize,
) -> Result<LanguageModel, SizeError> {
    let mut decisions = Vec::new();
    loop {
        match space.next(0, &decisions) {
            Next::Choose { .. } => decisions.push(Decision::Choice(0)),
            Next::Anchor { earlier } => decisions.push(Decision::Skips(vec![0; earlier])),
            Next::Done => break,
        }
    }
    match space.build(0, &decisions)?.network {
        Network::Cell(network) => model(settings, &network.cell, vocabulary),
        _ => Err(SizeError::NoCells),
    }
}

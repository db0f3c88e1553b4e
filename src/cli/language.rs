//! What `search` and `compare` share of language models: the text, the space of its cells, and how
//! numbers read. Must not train.

use super::Failure;
use super::progress::{Metric, Units};
use crate::child::language_model::{searched_model, unigram_perplexity};
use crate::data::{Corpus, Unit};
use crate::machine::LaneSpec;
use crate::settings::Settings;
use crate::space::{CellSpace, ImageShape, Space};
use std::sync::Arc;

/// The text, and the space of the cells that are trained on it.
pub fn load(settings: &Settings) -> Result<(Arc<Corpus>, Arc<dyn Space>), Failure> {
    let corpus = Corpus::load(&settings.data).map_err(|error| Failure::Input(error.to_string()))?;
    let (words, batch) = (corpus.train.len(), settings.child.batch_size);
    if words < batch {
        let text = format!(
            "child.batch_size: {batch} sequences side by side need as many tokens; the training text has {words}"
        );
        return Err(Failure::Input(text));
    }
    // The image matters to other spaces alone.
    let cells = settings.space.build(
        ImageShape {
            channels: 1,
            height: 1,
            width: 1,
        },
        2,
    );
    let model = searched_model(&settings.child, cells.as_ref(), corpus.vocabulary.len())
        .map_err(Failure::Input)?;
    Ok((
        Arc::new(corpus),
        Arc::new(CellSpace::new(&settings.space, Some(model))),
    ))
}

/// # Errors
/// A lane is no CPU: there is no GPU path for recurrent cells.
pub fn on_cpu(lanes: &[LaneSpec]) -> Result<(), Failure> {
    match lanes.iter().find(|lane| lane.device != "cpu") {
        None => Ok(()),
        Some(lane) => Err(Failure::Input(format!(
            "devices.use: recurrent cells are trained on the CPU alone, not on {}: set use = [\"cpu\"]",
            lane.device
        ))),
    }
}

/// A text in one line.
pub fn describe(corpus: &Corpus) -> String {
    let unit = match corpus.unit {
        Unit::Word => "words",
        Unit::Char => "characters",
    };
    let (train, validation) = (corpus.train.len(), corpus.validation.len());
    format!(
        "a text; {train} {unit} for training, {validation} for validation, {} different",
        corpus.vocabulary.len()
    )
}

pub fn units(settings: &Settings) -> Units {
    let metric = match settings.data.unit {
        Unit::Word => Metric::Perplexity,
        Unit::Char => Metric::Bits,
    };
    Units {
        metric,
        epochs: settings.child.epochs,
    }
}

/// What the best child is to be compared with, in one line.
pub fn reference(corpus: &Corpus, best: f64, worst: f64) -> String {
    let unigram = unigram_perplexity(corpus);
    match corpus.unit {
        Unit::Word => {
            format!(
                "validation perplexity: best child {best:.1}, worst {worst:.1}; word frequencies alone {unigram:.1}"
            )
        }
        Unit::Char => format!(
            "validation bits per character: best child {best:.3}, worst {worst:.3}; character frequencies alone {:.3}",
            unigram.log2()
        ),
    }
}

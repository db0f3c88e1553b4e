//! What is wrong with an architecture that no list of decisions described: each error is one
//! sentence that says what does not fit, and what would. Must not know where the architecture was
//! written.

use super::settings::{MAX_FILTER_SIZE, MAX_LAYERS};
use super::{DecisionError, ImageShape};

/// An architecture from elsewhere is none that a space can take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdoptError {
    #[error("it is of kind \"{given}\", and space.kind is \"{searched}\"")]
    Kind {
        given: &'static str,
        searched: &'static str,
    },
    #[error(
        "image: it is for images of {} (channels × height × width), and those of this search have {}",
        sizes(*given),
        sizes(*searched)
    )]
    Image {
        given: ImageShape,
        searched: ImageShape,
    },
    #[error("classes: it tells {given} classes apart, and this search has {searched}")]
    Classes { given: usize, searched: usize },
    #[error("layers: it has {given}; a network has 1 to {}", MAX_LAYERS)]
    Depth { given: usize },
    /// Layers count from 1.
    #[error("layer {number}: {problem}")]
    Layer { number: usize, problem: LayerError },
    #[error(
        "output = {given:?}: must be {loose:?}, the layers that no other takes: all of them go to the classifier"
    )]
    Output {
        given: Vec<usize>,
        loose: Vec<usize>,
    },
    #[error("learning_rate: must be above 0, for example 0.1")]
    LearningRate,
    #[error(
        "learning_rate: must be there, for space.learning_rates has one decided for each network"
    )]
    NoLearningRate,
    #[error(transparent)]
    Tree(#[from] TreeError),
    #[error("values.{name}: there is no such decision; there are {known}")]
    UnknownValue { name: String, known: String },
    #[error("values.{name}: must not be there, for its condition (when) does not hold")]
    SuperfluousValue { name: String },
    #[error("values.{name}: must be there, one of {options}")]
    MissingValue { name: String, options: String },
    #[error("values.{name} = {value}: must be one of {options}")]
    OtherValue {
        name: String,
        value: String,
        options: String,
    },
    #[error(transparent)]
    Decision(#[from] DecisionError),
}

fn sizes(shape: ImageShape) -> String {
    format!("{} × {} × {}", shape.channels, shape.height, shape.width)
}

/// A layer of a convolutional network cannot be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayerError {
    #[error("inputs = {0:?}: must be different earlier layers, 0 for the image")]
    Inputs(Vec<usize>),
    #[error("inputs = {0:?}: a layer of type add needs two or more")]
    Addends(Vec<usize>),
    #[error("{name} = {size}: must be odd, {min} to {}", MAX_FILTER_SIZE)]
    Window {
        name: &'static str,
        size: usize,
        min: usize,
    },
    #[error("{name} = {size}: must be {min} to {max}")]
    Range {
        name: &'static str,
        size: usize,
        min: usize,
        max: usize,
    },
}

/// Tokens are none of a cell's tree.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    #[error(
        "{0} nodes are no full binary tree of 2 leaves or more: 2·base − 1 are, for example 15"
    )]
    Nodes(usize),
    /// Of the node whose value is c', or of the one that c is merged at.
    #[error("the {name} index is {index}; the nodes are 0 to {last}")]
    Index {
        name: &'static str,
        index: usize,
        last: usize,
    },
}

//! An Architecture says exactly what network it is, as plain data with a stable, versioned JSON.
//! Must not know which decisions led to it.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The description of one child network. Two are equal if and only if they are the same network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Architecture {
    /// Version of the JSON: 1.
    pub version: u32,
    #[serde(flatten)]
    pub network: Network,
}

/// What is described.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Network {
    Conv(ConvNetwork),
    Choices(ChoiceNetwork),
}

/// Channels, height and width of an image or of a layer's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageShape {
    pub channels: usize,
    pub height: usize,
    pub width: usize,
}

/// A convolutional network as a graph of layers, in canonical order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConvNetwork {
    pub image: ImageShape,
    pub classes: usize,
    pub layers: Vec<ConvLayer>,
    /// Layers (from 1, ascending) whose outputs nobody consumed: concatenated before the classifier (paper §3.3, rule 2).
    pub output: Vec<usize>,
}

/// Convolution without bias, batch normalisation, ReLU; "same" padding (k−1)/2, output ceil(n/stride).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConvLayer {
    pub filter_height: usize,
    pub filter_width: usize,
    pub filters: usize,
    pub stride_height: usize,
    pub stride_width: usize,
    /// What is concatenated along depth, ascending: 0 is the image, i the i-th layer. Smaller inputs are padded with
    /// zeros at the bottom and the right to the largest (paper §3.3, rule 3).
    pub inputs: Vec<usize>,
}

/// The values of a user-defined space.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChoiceNetwork {
    pub values: BTreeMap<String, OptionValue>,
}

/// One option of a decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum OptionValue {
    Boolean(bool),
    Integer(i64),
    Float(f64),
    Text(String),
}

impl std::fmt::Display for OptionValue {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self {
            Self::Boolean(value) => value.fmt(f),
            Self::Integer(value) => value.fmt(f),
            Self::Float(value) => write!(f, "{value:?}"),
            Self::Text(value) => value.fmt(f),
        }
    }
}

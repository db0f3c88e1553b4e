//! An Architecture says exactly what network it is, as plain data with a stable, versioned JSON.
//! Must not know which decisions led to it.

use super::{CellNetwork, ConvLayer, Operation};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// The description of one child network. Two are equal if and only if they are the same network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Architecture {
    /// Version of the JSON: 1.
    pub version: u32,
    #[serde(flatten)]
    pub network: Network,
}

/// The network, by the kind of its space.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Network {
    Conv(ConvNetwork),
    Cell(CellNetwork),
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConvNetwork {
    pub image: ImageShape,
    pub classes: usize,
    /// What it is trained with, where the space decides it; None: `child.learning_rate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learning_rate: Option<f64>,
    pub layers: Vec<ConvLayer>,
    /// Layers (from 1, ascending) whose outputs no other layer takes: they are concatenated before
    /// the classifier (paper §3.3, rule 2).
    pub output: Vec<usize>,
}

/// The values of a user-defined space.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChoiceNetwork {
    pub values: BTreeMap<String, OptionValue>,
}

/// One option of a decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
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

impl Network {
    /// Its word in JSON, which is that of `space.kind`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Conv(_) => "conv",
            Self::Cell(_) => "cell",
            Self::Choices(_) => "choices",
        }
    }
}

impl Architecture {
    /// Parameters and FLOPs (see [`ConvNetwork::flops`], [`CellNetwork::size`]); None of named
    /// decisions, which only the user can read, and of a cell without a language model.
    pub fn size(&self) -> (Option<u64>, Option<u64>) {
        match &self.network {
            Network::Conv(network) => (Some(network.parameters()), Some(network.flops())),
            Network::Cell(network) => network.size().unzip(),
            Network::Choices(_) => (None, None),
        }
    }

    /// Of its JSON.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of_json(&serde_json::to_vec(self).unwrap_or_default())
    }
}

/// Stands for a network where a million of them are told apart: half a SHA-256 of its JSON, which is
/// canonical.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 16]);

impl Fingerprint {
    /// Of an architecture's JSON, as it is stored.
    pub fn of_json(json: &[u8]) -> Self {
        let mut half = [0; 16];
        half.copy_from_slice(&Sha256::digest(json)[..16]);
        Self(half)
    }
}

impl ConvNetwork {
    /// The network of these layers, brought into canonical order; `inputs` may come in any order. A
    /// layer without input takes the image (paper §3.3, rule 1), and the classifier takes every
    /// layer that no other takes (rule 2). A sum of one input is that input's ReLU.
    pub fn new(image: ImageShape, classes: usize, mut layers: Vec<ConvLayer>) -> Self {
        let mut consumed = vec![false; layers.len() + 1];
        for layer in &mut layers {
            if layer.inputs.is_empty() {
                layer.inputs.push(0);
            }
            if layer.inputs.len() == 1 && layer.operation == Operation::Add {
                layer.operation = Operation::Relu;
            }
            layer.inputs.sort_unstable();
            layer
                .inputs
                .iter()
                .for_each(|&input| consumed[input] = true);
        }
        let output: Vec<usize> = (1..=layers.len())
            .filter(|&layer| !consumed[layer])
            .collect();
        let (layers, output) = super::canonical::canonical(&layers, &output);
        Self {
            image,
            classes,
            learning_rate: None,
            layers,
            output,
        }
    }

    /// The same network with so many more filters in every convolution (paper §4.1), in canonical
    /// order.
    #[must_use]
    pub fn widened(&self, filters: usize) -> Self {
        let mut layers = self.layers.clone();
        for layer in &mut layers {
            match &mut layer.operation {
                Operation::Convolution(convolution) | Operation::PlainConvolution(convolution) => {
                    convolution.filters += filters;
                }
                Operation::MaxPool(_)
                | Operation::AveragePool(_)
                | Operation::LocalContrast { .. }
                | Operation::BatchNorm
                | Operation::Relu
                | Operation::Add => {}
            }
        }
        Self {
            learning_rate: self.learning_rate,
            ..Self::new(self.image, self.classes, layers)
        }
    }

    /// Shape of each layer's input ([`Operation::input`]).
    pub fn input_shapes(&self) -> Vec<ImageShape> {
        let shapes = self.shapes();
        let input = |layer: &ConvLayer| layer.operation.input(self.read(&layer.inputs, &shapes));
        self.layers.iter().map(input).collect()
    }

    /// Shape of each layer's output.
    pub fn shapes(&self) -> Vec<ImageShape> {
        let mut shapes: Vec<ImageShape> = Vec::with_capacity(self.layers.len());
        for ConvLayer { operation, inputs } in &self.layers {
            let input = operation.input(self.read(inputs, &shapes));
            shapes.push(operation.output(input));
        }
        shapes
    }

    /// Shape of what global average pooling takes.
    pub fn output_shape(&self) -> ImageShape {
        let shapes = self.shapes();
        // As a layer's that does nothing to them.
        Operation::Relu.input(self.read(&self.output, &shapes))
    }

    /// The shapes of what is read.
    fn read(&self, inputs: &[usize], shapes: &[ImageShape]) -> impl Iterator<Item = ImageShape> {
        inputs.iter().map(|&input| {
            if input == 0 {
                self.image
            } else {
                shapes[input - 1]
            }
        })
    }

    /// Trainable parameters: those of the layers, the classifier's weights and bias.
    pub fn parameters(&self) -> u64 {
        let layers = self
            .layers
            .iter()
            .zip(self.input_shapes())
            .map(|(layer, input)| layer.operation.parameters(input));
        layers.sum::<u64>() + ((self.output_shape().channels + 1) * self.classes) as u64
    }

    /// Floating-point operations of one image's forward pass: those of the layers (see
    /// [`super::Operation::flops`]), and 2 for each multiply-accumulate of the classifier.
    pub fn flops(&self) -> u64 {
        let layers = self
            .layers
            .iter()
            .zip(self.input_shapes())
            .map(|(layer, input)| layer.operation.flops(input));
        layers.sum::<u64>() + 2 * (self.output_shape().channels * self.classes) as u64
    }

    /// How many activations of one image a training step keeps in memory: of each layer, what it
    /// computes and what it passes on.
    pub fn activation_values(&self) -> u64 {
        self.shapes()
            .iter()
            .map(|shape| 2 * (shape.channels * shape.height * shape.width) as u64)
            .sum()
    }
}

//! A trained network as an ONNX model (opset 18), for whatever runs those. What an image goes
//! through before the first layer is inside the graph: its input is raw bytes. Must not know files,
//! nor how a network was trained.

mod cell;
mod convnet;
mod graph;
#[cfg(test)]
mod tests;

/// The messages of `onnx.proto`, made by `build.rs`.
#[allow(clippy::all, clippy::pedantic)]
mod proto {
    include!(concat!(env!("OUT_DIR"), "/onnx.rs"));
}

use crate::child::TrainedNetwork;
use crate::data::{ImageInput, Input, TextInput};
use crate::space::Network;
use prost::Message;
use proto::{ModelProto, OperatorSetIdProto, StringStringEntryProto};
use serde_json::{Value, json};

/// The operators' version.
pub const OPSET: i64 = 18;

/// The format's version: that of the first ONNX with this opset.
const IR_VERSION: i64 = 8;

/// Larger messages than this are read by nobody: protobuf's limit.
const MAX_BYTES: usize = i32::MAX as usize;

/// An ONNX model, and what stands beside it.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    pub bytes: Vec<u8>,
    /// One line: its inputs and outputs.
    pub signature: String,
    /// Of a language model: the tokens in the order of the logits, as JSON.
    pub vocabulary: Option<String>,
}

/// The model of a trained network.
///
/// # Errors
/// One sentence: it is no network that has weights, its tensors do not fit it, or it is too large.
pub fn model(trained: &TrainedNetwork) -> Result<Model, String> {
    let record = &trained.record;
    let (graph, signature, mut metadata, vocabulary) = match (
        &record.architecture.network,
        &record.input,
    ) {
        (Network::Conv(network), Input::Images(input)) => {
            let shape = input.shape;
            let signature = format!(
                "image uint8 [batch, {}, {}, {}] → logits [batch, {}]",
                shape.channels, shape.height, shape.width, network.classes
            );
            let graph = convnet::graph(trained, network, input)?;
            (graph, signature, of_images(input), None)
        }
        (Network::Cell(cell), Input::Text(input)) => {
            let signature = format!(
                "token int64 [batch], state [layers, states, batch, hidden] → logits [batch, {}], next_state",
                input.vocabulary.len()
            );
            let vocabulary = json!(input.vocabulary).to_string();
            let graph = cell::graph(trained, cell)?;
            (graph, signature, of_text(input), Some(vocabulary))
        }
        _ => return Err("its network and its data are of different kinds".into()),
    };
    metadata.push(("training", json!(record.training)));
    metadata.push(("trial", json!(record.trial)));
    metadata.push(("architecture", json!(record.architecture)));
    let model = ModelProto {
        ir_version: Some(IR_VERSION),
        producer_name: Some("netwright".into()),
        producer_version: Some(env!("CARGO_PKG_VERSION").into()),
        doc_string: Some(format!("trial {} of a search: {signature}", record.trial)),
        graph: Some(graph.finish()),
        opset_import: vec![OperatorSetIdProto {
            domain: Some(String::new()),
            version: Some(OPSET),
        }],
        metadata_props: metadata.into_iter().map(entry).collect(),
    };
    if model.encoded_len() > MAX_BYTES {
        return Err(format!(
            "it has {} bytes, and an ONNX file at most {MAX_BYTES}",
            model.encoded_len()
        ));
    }
    Ok(Model {
        bytes: model.encode_to_vec(),
        signature,
        vocabulary,
    })
}

fn entry((key, value): (&str, Value)) -> StringStringEntryProto {
    StringStringEntryProto {
        key: Some(key.to_owned()),
        value: Some(match value {
            Value::String(text) => text,
            value => value.to_string(),
        }),
    }
}

/// The names of the classes, and how an image file becomes the input.
fn of_images(input: &ImageInput) -> Vec<(&'static str, Value)> {
    let rules = json!({
        "crop": "the largest square in the middle",
        "resize": { "width": input.shape.width, "height": input.shape.height,
                    "filter": "triangle (bilinear), antialiased", "rounding": "to the nearest, halves up" },
        "alpha": "over black: value * alpha / 255, rounded down",
        "orientation": "turned as the file's EXIF data say",
        "layout": "uint8 [batch, channels, height, width], RGB",
        "whitening": "inside the graph",
    });
    vec![
        ("class_names", json!(input.class_names)),
        ("image_file", rules),
    ]
}

fn of_text(input: &TextInput) -> Vec<(&'static str, Value)> {
    vec![("unit", json!(input.unit)), ("end_token", json!(input.end))]
}

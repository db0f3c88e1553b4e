//! An architecture in a JSON file, as `show --json` and `export --format json` write it: read and
//! fitted to a search, with one sentence for whatever is wrong. Must not know what becomes of the
//! network.

use crate::space::{AdoptError, Architecture, ConvLayer, Decision, ImageShape};
use crate::workload::{Candidates, WorkloadError};
use serde_json::{Value, json};
use std::path::Path;

/// Where users find an example.
const EXAMPLE: &str = "`netwright show RUN TRIAL --json` prints one";

/// The architecture in `file` as a search of these candidates evaluates it, and the decisions that
/// describe it: empty where they are not looked for. A convolutional network that says nothing of
/// its images (`image`, `classes`) is one for those of the search.
///
/// # Errors
/// `FILE: ` and what is wrong, and what would be right.
pub fn adopted(
    file: &Path,
    candidates: &Candidates,
) -> Result<(Architecture, Vec<Decision>), String> {
    value(file)
        .map(|value| match candidates.space.images() {
            Some((image, classes)) => completed(value, image, classes),
            None => value,
        })
        .and_then(architecture)
        .and_then(|given| candidates.adopt(given).map_err(|error| refusal(&error)))
        .map_err(|problem| format!("{}: {problem}", file.display()))
}

/// Why a search does not take the architecture.
fn refusal(error: &WorkloadError) -> String {
    let way_out = match error {
        WorkloadError::Adopt(AdoptError::Image { .. } | AdoptError::Classes { .. }) => {
            "; a file without image and classes is for those of the search"
        }
        _ => "",
    };
    format!("{error}{way_out}")
}

/// The architecture in `file` by itself, in canonical order.
///
/// # Errors
/// As [`adopted`].
pub fn alone(file: &Path) -> Result<Architecture, String> {
    value(file)
        .and_then(architecture)
        .and_then(|given| given.checked().map_err(|error| error.to_string()))
        .map_err(|problem| format!("{}: {problem}", file.display()))
}

/// The architecture's own value: the whole file, or what it has under `architecture`.
fn value(file: &Path) -> Result<Value, String> {
    let unreadable = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            "there is no such file (paths are relative to the working directory)".to_owned()
        }
        _ => format!("cannot be read: {error}"),
    };
    let metadata = std::fs::metadata(file).map_err(unreadable)?;
    if !metadata.is_file() {
        return Err("is no regular file".into());
    }
    let bytes = std::fs::read(file).map_err(unreadable)?;
    if bytes.starts_with(&[0xFF, 0xFE]) || bytes.starts_with(&[0xFE, 0xFF]) {
        return Err("is UTF-16 text; save it as UTF-8".into());
    }
    // Editors on Windows write a byte order mark, which is no part of the JSON.
    let text = bytes
        .strip_prefix("\u{feff}".as_bytes())
        .unwrap_or(bytes.as_slice());
    let mut value: Value =
        serde_json::from_slice(text).map_err(|error| format!("is not JSON: {error}"))?;
    if let Some(inner) = value.get_mut("architecture") {
        value = inner.take();
    }
    Ok(value)
}

/// The same with image and classes, where a convolutional network lacks them.
fn completed(mut value: Value, image: ImageShape, classes: usize) -> Value {
    if let Value::Object(fields) = &mut value
        && fields.get("kind").and_then(Value::as_str) == Some("conv")
    {
        fields.entry("image").or_insert_with(|| json!(image));
        fields.entry("classes").or_insert_with(|| json!(classes));
    }
    value
}

fn architecture(value: Value) -> Result<Architecture, String> {
    match value.get("version").and_then(Value::as_u64) {
        Some(1) => {}
        Some(other) => {
            return Err(format!(
                "its version is {other}, and this program knows version 1"
            ));
        }
        None => {
            return Err(format!(
                "is no architecture, for \"version\": 1 is not there; {EXAMPLE}"
            ));
        }
    }
    let layer = unreadable_layer(&value);
    serde_json::from_value(value).map_err(|error| {
        let reason = match error.to_string() {
            // For a choice without tags serde's message names types of this program.
            text if text.contains("Cell") => {
                "a cell has nodes, inject, cell_index and inject_index, or reference = rnn, lstm or gru".into()
            }
            text => text,
        };
        let place = layer.map_or_else(String::new, |number| format!(" (layer {number})"));
        format!("is no architecture: {reason}{place}; {EXAMPLE}")
    })
}

/// The first layer (from 1) of a convolutional network that is none.
fn unreadable_layer(value: &Value) -> Option<usize> {
    let layers = value.get("layers")?.as_array()?;
    let is_none = |layer: &Value| serde_json::from_value::<ConvLayer>(layer.clone()).is_err();
    layers.iter().position(is_none).map(|index| index + 1)
}

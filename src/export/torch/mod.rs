//! A trained network as a folder for PyTorch, in the form in which the Hugging Face Hub keeps models:
//! `config.json`, `model.safetensors`, `model.py`, `README.md` and a drawing. And back. Must not
//! know runs, nor how drawings are made.

mod card;
#[cfg(test)]
mod tests;

use crate::child::{TrainedNetwork, TrainingRecord, safetensors_file, safetensors_tensors};
use crate::data::Input;
use std::path::Path;

const CONFIG: &str = "config.json";
const WEIGHTS: &str = "model.safetensors";

/// A file of the folder: its name and its content.
pub type File = (&'static str, Vec<u8>);

/// The folder of a trained network. `title` is the run's name, `drawing` the network as SVG.
///
/// # Errors
/// One sentence: the format cannot hold it.
pub fn folder(trained: &TrainedNetwork, title: &str, drawing: String) -> Result<Vec<File>, String> {
    let record = &trained.record;
    let config = serde_json::to_string_pretty(record).map_err(|error| error.to_string())? + "\n";
    let tensors = trained.tensors.iter().map(|tensor| {
        let (name, shape) = (tensor.name.as_str(), tensor.shape.as_slice());
        (name, shape, tensor.values.as_slice())
    });
    // "pt" is what readers of the Hub expect of PyTorch's tensors.
    let weights = safetensors_file(tensors, ("format", "pt"))?;
    let program = match record.input {
        Input::Images(_) => include_str!("convnet.py"),
        Input::Text(_) => include_str!("language_model.py"),
    };
    Ok(vec![
        (CONFIG, config.into_bytes()),
        (WEIGHTS, weights),
        ("model.py", program.into()),
        ("README.md", card::card(record, title).into_bytes()),
        ("architecture.svg", drawing.into_bytes()),
    ])
}

/// Reads such a folder.
///
/// # Errors
/// One sentence that names the file, and why it cannot be used.
pub fn read(folder: &Path) -> Result<TrainedNetwork, String> {
    let named = |name: &str, problem: String| format!("{}: {problem}", folder.join(name).display());
    let bytes = |name: &str| {
        std::fs::read(folder.join(name)).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => format!(
                "{}: no {name} here; `netwright export RUN TRIAL --format torch FOLDER` writes such a folder",
                folder.display()
            ),
            _ => named(name, error.to_string()),
        })
    };
    let config =
        String::from_utf8(bytes(CONFIG)?).map_err(|_| named(CONFIG, "is not UTF-8".to_owned()))?;
    let record = TrainingRecord::from_json(&config).map_err(|problem| named(CONFIG, problem))?;
    let tensors =
        safetensors_tensors(&bytes(WEIGHTS)?).map_err(|problem| named(WEIGHTS, problem))?;
    Ok(TrainedNetwork { record, tensors })
}

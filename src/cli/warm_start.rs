//! What a run takes from another one at its first start: the best networks (`[[enqueue]] run`) and
//! the controller's parameters (`controller.from_run`). Both are copied into the run, and from then on
//! the copies are what counts. Must not evaluate anything.

use super::{Failure, reading};
use crate::journal::{Copied, Reader};
use crate::settings::Settings;
use crate::space::{Architecture, Decision};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::Arc;

/// The key of the parameters.
const FROM_RUN: &str = "controller.from_run";

/// A network of another run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TakenNetwork {
    /// The trial there.
    pub trial: u64,
    pub decisions: Vec<Decision>,
    pub architecture: Architecture,
}

/// What was copied into the run before; None of a new one.
///
/// # Errors
/// A copy is damaged. A run that cannot be read otherwise is refused when it is opened.
pub fn copies(run_dir: &Path) -> Result<Vec<Copied>, Failure> {
    match Reader::open(run_dir) {
        Ok(reader) => reader.copies().map_err(reading),
        Err(_) => Ok(Vec::new()),
    }
}

/// The best networks of the run in `dir`, the best first, for the entry of this key; what is copied
/// is added to `copies`.
///
/// # Errors
/// The run cannot be read, or none of its trials is completed.
pub fn networks(
    key: &str,
    dir: &str,
    top: usize,
    copies: &mut Vec<Copied>,
) -> Result<Vec<TakenNetwork>, String> {
    let origin = format!("the best {top} of {dir}");
    let mut found = copies.iter();
    if let Some(copied) = found.find(|copied| copied.key == key && copied.origin == origin) {
        return serde_json::from_slice(&copied.data)
            .map_err(|error| format!("what was copied for {key} cannot be read: {error}"));
    }
    let reader = Reader::open(Path::new(dir)).map_err(|error| error.to_string())?;
    let rows = reader.top(top).map_err(|error| error.to_string())?;
    if rows.is_empty() {
        return Err(format!("{dir}: none of its trials is completed yet"));
    }
    let taken: Vec<TakenNetwork> = rows
        .into_iter()
        .map(|row| TakenNetwork {
            trial: row.id,
            decisions: row.decisions,
            architecture: row.architecture,
        })
        .collect();
    let data = serde_json::to_vec(&taken).map_err(|error| error.to_string())?;
    copies.retain(|copied| copied.key != key);
    copies.push(Copied {
        key: key.to_owned(),
        origin,
        data,
    });
    Ok(taken)
}

/// The parameters that the controller begins with, copied before or read from `controller.from_run`;
/// None: those that the seed gives. What is copied is added to `copies`.
///
/// # Errors
/// That run cannot be read, has another space or another controller, or no snapshot yet.
pub fn parameters(
    settings: &Settings,
    copies: &mut Vec<Copied>,
) -> Result<Option<Arc<[f32]>>, Failure> {
    let Some(dir) = &settings.controller.from_run else {
        return Ok(None);
    };
    if let Some(copied) = copied_parameters(copies) {
        return Ok(Some(copied));
    }
    let refused = |problem: String| Failure::Input(format!("{FROM_RUN} = \"{dir}\": {problem}"));
    let reader = Reader::open(Path::new(dir)).map_err(|error| refused(error.to_string()))?;
    let identity = reader
        .identity()
        .map_err(|error| refused(error.to_string()))?;
    let differences = other_controller(settings, &identity);
    if !differences.is_empty() {
        return Err(refused(format!(
            "its controller is for another space or of another size:\n{}",
            differences.join("\n")
        )));
    }
    let newest = || -> Result<_, crate::journal::JournalError> {
        match reader.snapshot_numbers()?.last() {
            Some(sequence) => reader.snapshot(*sequence),
            None => Ok(None),
        }
    };
    let snapshot = newest()
        .map_err(|error| refused(error.to_string()))?
        .ok_or_else(|| refused("it has no whole snapshot of its controller yet".into()))?;
    let parameters = snapshot.state.parameters;
    copies.push(Copied {
        key: FROM_RUN.to_owned(),
        origin: format!("{dir}, up to sequence number {}", snapshot.state.sequence),
        data: parameters
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect(),
    });
    Ok(Some(parameters.iter().copied().collect()))
}

/// The parameters among what was copied.
pub fn copied_parameters(copies: &[Copied]) -> Option<Arc<[f32]>> {
    let copied = { copies.iter() }.find(|copied| copied.key == FROM_RUN)?;
    let values = copied.data.chunks_exact(4);
    let value = |bytes: &[u8]| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    Some(values.map(value).collect())
}

/// One line for each setting that shapes the controller and is another one there.
fn other_controller(settings: &Settings, theirs: &serde_json::Value) -> Vec<String> {
    let ours = settings.identity();
    let shapes = |key: &str| {
        key.starts_with("space.") || key == "controller.hidden" || key == "controller.layers"
    };
    let keys = [&ours, theirs].map(|all| all.as_object().into_iter().flatten());
    let keys: std::collections::BTreeSet<&String> = keys
        .into_iter()
        .flatten()
        .map(|(key, _)| key)
        .filter(|key| shapes(key))
        .collect();
    let differs = keys
        .into_iter()
        .filter(|key| ours.get(key.as_str()) != theirs.get(key.as_str()));
    differs
        .map(|key| {
            let text = |all: &serde_json::Value| {
                all.get(key.as_str())
                    .map_or_else(|| "not set".to_owned(), ToString::to_string)
            };
            format!("  {key}: {} there, {} here", text(theirs), text(&ours))
        })
        .collect()
}

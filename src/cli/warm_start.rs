//! What a run takes from another one at its first start: the best networks (`[[enqueue]] run`), the
//! controller's parameters (`controller.from_run`), and trials that the surrogate knows
//! (`controller.surrogate_from`). All is copied into the run, and from then on
//! the copies are what counts. Must not evaluate anything.

use super::{Failure, reading};
use crate::journal::{Copied, JournalError, Reader};
use crate::settings::Settings;
use crate::space::{Architecture, Decision};
use crate::strategy::{KnownTrial, LogEntry};
use crate::workload::Candidates;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

/// The keys of the parameters, and of the trials that the surrogate knows.
const FROM_RUN: &str = "controller.from_run";
const SURROGATE_FROM: &str = "controller.surrogate_from";

/// So many trials are copied for a surrogate.
const MOST_KNOWN: usize = 1_024;

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
    let newest = || -> Result<_, JournalError> {
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

/// The trials that the surrogate knows from the beginning: copied before, or read from
/// `controller.surrogate_from`, a run or a CSV file. What is copied is added to `copies`.
///
/// # Errors
/// It cannot be read, or none of its trials is of this space.
pub fn known_trials(
    settings: &Settings,
    candidates: &Candidates,
    copies: &mut Vec<Copied>,
) -> Result<Vec<KnownTrial>, Failure> {
    let Some(from) = &settings.controller.surrogate_from else {
        return Ok(Vec::new());
    };
    if let Some(known) = copied_trials(copies)? {
        return Ok(known);
    }
    let refused =
        |problem: String| Failure::Input(format!("{SURROGATE_FROM} = \"{from}\": {problem}"));
    let path = Path::new(from);
    let lists = if path.is_dir() {
        completed(path).map_err(|error| refused(error.to_string()))?
    } else {
        listed(path).map_err(refused)?
    };
    let all = lists.len();
    let space = candidates.space.as_ref();
    let last = space.layers(settings.run.trials.saturating_sub(1));
    let known = lists.into_iter().filter_map(|(decisions, reward)| {
        let mut depths = space.layers(0)..=last;
        Some(KnownTrial {
            layers: depths.find(|layers| space.build(*layers, &decisions).is_ok())?,
            decisions,
            reward,
        })
    });
    let known: Vec<KnownTrial> = known.collect();
    if known.is_empty() {
        return Err(refused(format!(
            "of its {all} trials with a reward none is of this space"
        )));
    }
    let known = fewer(known);
    copies.push(Copied {
        key: SURROGATE_FROM.to_owned(),
        origin: format!("{} of the {all} trials of {from}", known.len()),
        data: serde_json::to_vec(&known).map_err(|error| refused(error.to_string()))?,
    });
    Ok(known)
}

/// The trials among what was copied.
///
/// # Errors
/// They cannot be read.
pub fn copied_trials(copies: &[Copied]) -> Result<Option<Vec<KnownTrial>>, Failure> {
    let mut copies = copies.iter();
    let Some(copied) = copies.find(|copied| copied.key == SURROGATE_FROM) else {
        return Ok(None);
    };
    serde_json::from_slice(&copied.data)
        .map(Some)
        .map_err(|error| {
            Failure::Failed(format!(
                "what was copied for {SURROGATE_FROM} cannot be read: {error}"
            ))
        })
}

/// As many as a surrogate remembers: the best, and the latest of the others, in their order.
fn fewer(known: Vec<KnownTrial>) -> Vec<KnownTrial> {
    let mut order: Vec<usize> = (0..known.len()).collect();
    order.sort_by(|a, b| known[*b].reward.total_cmp(&known[*a].reward));
    let best: BTreeSet<usize> = order.into_iter().take(MOST_KNOWN / 4).collect();
    let latest = known.len().saturating_sub(MOST_KNOWN - best.len());
    let kept = known.into_iter().enumerate();
    kept.filter(|(index, _)| *index >= latest || best.contains(index))
        .map(|(_, trial)| trial)
        .collect()
}

/// A decision list and its reward.
type Rewarded = (Vec<Decision>, f64);

/// The sampled trials of a run that are completed, by id.
fn completed(dir: &Path) -> Result<Vec<Rewarded>, JournalError> {
    let mut all = Vec::new();
    Reader::open(dir)?.for_each_entry(|entry| {
        if let LogEntry::Minibatch(entry) = entry {
            let rewards = entry.rewards.into_iter();
            let lists = entry.proposed.decisions.into_iter();
            all.extend(
                lists
                    .zip(rewards)
                    .filter_map(|(list, reward)| Some((list, reward?))),
            );
        }
    })?;
    Ok(all)
}

/// The trials of a CSV file, in its order.
fn listed(path: &Path) -> Result<Vec<Rewarded>, String> {
    let mut reader = csv::Reader::from_path(path).map_err(|error| match error.kind() {
        csv::ErrorKind::Io(error) if error.kind() == std::io::ErrorKind::NotFound => {
            "there is no run and no file of this name (paths are relative to the working directory)"
                .to_owned()
        }
        _ => error.to_string(),
    })?;
    let header = reader.headers().map_err(|error| error.to_string())?.clone();
    let column = |name: &str| {
        { header.iter() }.position(|column| column.trim() == name).ok_or_else(|| {
            format!("the file has no column {name}; it needs the columns decisions (as in a run's report/trials.csv) and reward")
        })
    };
    let (decisions, reward) = (column("decisions")?, column("reward")?);
    let mut all = Vec::new();
    for (line, record) in (2_u64..).zip(reader.records()) {
        let record = record.map_err(|error| error.to_string())?;
        let field = |column: usize| record.get(column).unwrap_or_default().trim();
        if field(reward).is_empty() {
            continue; // It failed.
        }
        let number = field(reward)
            .parse::<f64>()
            .ok()
            .filter(|number| number.is_finite());
        let list = serde_json::from_str(field(decisions)).ok();
        let (Some(number), Some(list)) = (number, list) else {
            return Err(format!(
                "record {line}: needs a list of decisions such as [1, 0, 2] and a reward, and has {} and {}",
                field(decisions),
                field(reward)
            ));
        };
        all.push((list, number));
    }
    Ok(all)
}

/// One line for each setting that shapes the controller and is another one there.
fn other_controller(settings: &Settings, theirs: &serde_json::Value) -> Vec<String> {
    let ours = settings.identity();
    let shapes = |key: &str| {
        key.starts_with("space.") || key == "controller.hidden" || key == "controller.layers"
    };
    let keys = [&ours, theirs].map(|all| all.as_object().into_iter().flatten());
    let keys: BTreeSet<&String> = keys
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

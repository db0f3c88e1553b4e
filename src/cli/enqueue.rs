//! The `[[enqueue]]` entries of a config file as trials: their files are read and fitted to the
//! space before anything starts. Must not evaluate anything.

use super::{ConfigArgs, Failure, architecture_file};
use crate::actors::EnqueueSettings;
use crate::journal::{Enqueued, SampledTrial};
use crate::random::Key;
use crate::settings::{self, Settings};
use crate::space::{Architecture, Decision};
use crate::workload::Candidates;
use std::path::Path;

/// No controller has this number, so no sampled trial has the seed of an enqueued one.
const NO_CONTROLLER: u64 = u64::MAX;

/// All entries, in order, as this workload evaluates them.
///
/// # Errors
/// Names the entry, its file or decision, and what would be right.
pub fn entries(
    config: &ConfigArgs,
    settings: &Settings,
    candidates: &Candidates,
) -> Result<Vec<Enqueued>, Failure> {
    let reader = EntryReader {
        config,
        candidates,
        seed: settings.run.seed,
    };
    (1..)
        .zip(&settings.enqueue)
        .map(|(number, entry)| {
            reader
                .entry(number, entry)
                .map_err(|problem| reader.refused(number, entry, &problem))
        })
        .collect()
}

/// Makes trials of entries, which are counted from 1.
struct EntryReader<'a> {
    /// Where the entries were written.
    config: &'a ConfigArgs,
    candidates: &'a Candidates,
    seed: u64,
}

impl EntryReader<'_> {
    fn refused(&self, number: usize, entry: &EnqueueSettings, problem: &str) -> Failure {
        let key = if entry.decisions.is_some() {
            "decisions"
        } else {
            "architecture"
        };
        let part = format!("enqueue[{number}].{key}");
        let origin = settings::origin(
            &self.config.config,
            &self.config.set,
            super::variables(),
            &part,
        );
        let origin = origin.map_or_else(String::new, |origin| format!("{origin}: "));
        Failure::Input(format!(
            "{origin}{part} (\"{}\"): {problem}",
            entry.name(number)
        ))
    }

    fn entry(&self, number: usize, entry: &EnqueueSettings) -> Result<Enqueued, String> {
        let (architecture, decisions) = match (&entry.architecture, &entry.decisions) {
            (Some(file), _) => architecture_file::adopted(Path::new(file), self.candidates)?,
            (None, Some(decisions)) => (self.decided(decisions)?, decisions.clone()),
            (None, None) => return Err("needs architecture or decisions".into()),
        };
        let (parameters, flops) = architecture.size();
        let seed = Key {
            controller: NO_CONTROLLER,
            minibatch: number as u64,
            ..Key::seed(self.seed)
        }
        .child_seed();
        Ok(Enqueued {
            name: entry.name(number),
            trial: SampledTrial {
                decisions,
                architecture,
                seed,
                parameters,
                flops,
            },
        })
    }

    fn decided(&self, decisions: &[Decision]) -> Result<Architecture, String> {
        let space = &self.candidates.space;
        let layers = space.layers(0);
        let of = if layers > 0 {
            format!(" (a list is for the search's first depth, {layers} layers)")
        } else {
            String::new()
        };
        space
            .build(layers, decisions)
            .map_err(|error| format!("{error}{of}"))
    }
}

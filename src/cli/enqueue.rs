//! The `[[enqueue]]` entries of a config file as trials: their files are read and fitted to the
//! space before anything starts. Must not evaluate anything.

use super::warm_start::{self, TakenNetwork};
use super::{ConfigArgs, Failure, architecture_file};
use crate::actors::EnqueueSettings;
use crate::journal::{Copied, Enqueued, SampledTrial};
use crate::random::Key;
use crate::settings::{self, Settings};
use crate::space::{Architecture, Decision};
use crate::workload::Candidates;
use std::path::Path;

/// No controller has this number, so no sampled trial has the seed of an enqueued one.
const NO_CONTROLLER: u64 = u64::MAX;

/// All entries, in order, as this workload evaluates them. `copies` is what the run has copied from
/// others before, and gets what is read now.
///
/// # Errors
/// Names the entry, its file or decision, and what would be right.
pub fn entries(
    config: &ConfigArgs,
    settings: &Settings,
    candidates: &Candidates,
    copies: &mut Vec<Copied>,
) -> Result<Vec<Enqueued>, Failure> {
    let reader = EntryReader {
        config,
        candidates,
        seed: settings.run.seed,
    };
    let mut all: Vec<Enqueued> = Vec::new();
    for (number, entry) in (1..).zip(&settings.enqueue) {
        let read = match &entry.run {
            Some(dir) => reader.of_run(number, entry, dir, copies),
            None => reader.entry(number, entry).map(|one| vec![one]),
        };
        let refused = |problem: String| reader.refused(number, entry, &problem);
        for one in read.map_err(refused)? {
            if all.iter().any(|other| other.name == one.name) {
                let problem = format!(
                    "another entry is called \"{}\" too: give this one a name",
                    one.name
                );
                return Err(refused(problem));
            }
            all.push(one);
        }
    }
    Ok(all)
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
        let key = match (&entry.decisions, &entry.run) {
            (Some(_), _) => "decisions",
            (None, Some(_)) => "run",
            (None, None) => "architecture",
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
            (None, None) => return Err("needs architecture, decisions or run".into()),
        };
        Ok(self.trial(entry.name(number), (number, 0), architecture, decisions))
    }

    /// The best networks of another run, as this workload evaluates them: their decisions where they
    /// mean the same here.
    fn of_run(
        &self,
        number: usize,
        entry: &EnqueueSettings,
        dir: &str,
        copies: &mut Vec<Copied>,
    ) -> Result<Vec<Enqueued>, String> {
        let key = format!("enqueue[{number}]");
        let space = &self.candidates.space;
        let taken = warm_start::networks(&key, dir, entry.taken(), copies)?;
        let adopted = |(rank, one): (u32, TakenNetwork)| {
            let own = space.build(space.layers(0), &one.decisions);
            let (architecture, decisions) = match own {
                Ok(own) if own == one.architecture => (own, one.decisions),
                _ => self
                    .candidates
                    .adopt(one.architecture)
                    .map_err(|error| format!("trial {} there: {error}", one.trial))?,
            };
            let name = format!("{} {rank}", entry.name(number));
            Ok(self.trial(name, (number, rank), architecture, decisions))
        };
        (1..).zip(taken).map(adopted).collect()
    }

    /// `position`: of its entry, from 1, and its rank there; 0: the entry is one network.
    fn trial(
        &self,
        name: String,
        position: (usize, u32),
        architecture: Architecture,
        decisions: Vec<Decision>,
    ) -> Enqueued {
        let (parameters, flops) = architecture.size();
        let seed = Key {
            controller: NO_CONTROLLER,
            minibatch: position.0 as u64,
            slot: position.1,
            ..Key::seed(self.seed)
        }
        .child_seed();
        Enqueued {
            name,
            trial: SampledTrial {
                decisions,
                architecture,
                seed,
                parameters,
                flops,
            },
        }
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

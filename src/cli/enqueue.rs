//! The `[[enqueue]]` entries of a config file as trials: their files are read and fitted to the
//! space before anything starts. Must not evaluate anything.

use super::{ConfigArgs, Failure};
use crate::actors::EnqueueSettings;
use crate::child::EvaluatorKind;
use crate::child::language_model::model;
use crate::journal::{Enqueued, SampledTrial};
use crate::random::Key;
use crate::settings::{self, Settings};
use crate::space::{Architecture, Decision, Network, Space, SpaceKind};
use serde_json::Value;
use std::path::Path;

/// No controller has this number: the seeds of what is enqueued are nobody else's.
const NOBODY: u64 = u64::MAX;

/// What the entries must fit.
pub struct Fit<'a> {
    /// Where the entries were written.
    pub config: &'a ConfigArgs,
    pub settings: &'a Settings,
    pub space: &'a dyn Space,
    /// The classes that the space was built for where nobody has looked how many the data has.
    pub assumed_classes: Option<usize>,
    /// Tokens of the text; None: cells are not trained here, or the text was not looked at.
    pub vocabulary: Option<usize>,
}

impl Fit<'_> {
    /// All entries, in order.
    ///
    /// # Errors
    /// Names the entry, its file or decision, and what would be right.
    pub fn entries(&self) -> Result<Vec<Enqueued>, Failure> {
        let entries = (1..).zip(&self.settings.enqueue);
        entries
            .map(|(place, entry)| {
                self.entry(place, entry)
                    .map_err(|problem| self.refused(place, entry, &problem))
            })
            .collect()
    }

    fn refused(&self, place: usize, entry: &EnqueueSettings, problem: &str) -> Failure {
        let key = if entry.decisions.is_some() {
            "decisions"
        } else {
            "architecture"
        };
        let part = format!("enqueue[{place}].{key}");
        let origin = settings::origin(
            &self.config.config,
            &self.config.set,
            super::variables(),
            &part,
        );
        let origin = origin.map_or_else(String::new, |origin| format!("{origin}: "));
        Failure::Input(format!(
            "{origin}{part} (\"{}\"): {problem}",
            entry.name(place)
        ))
    }

    fn entry(&self, place: usize, entry: &EnqueueSettings) -> Result<Enqueued, String> {
        let (architecture, decisions) = match (&entry.architecture, &entry.decisions) {
            (Some(file), _) => self
                .filed(Path::new(file))
                .map_err(|problem| format!("{file}: {problem}"))?,
            (None, Some(decisions)) => (self.decided(decisions)?, decisions.clone()),
            (None, None) => return Err("needs architecture or decisions".into()),
        };
        let (parameters, flops) = architecture.size();
        let seed = Key {
            controller: NOBODY,
            minibatch: place as u64,
            ..Key::seed(self.settings.run.seed)
        }
        .child_seed();
        Ok(Enqueued {
            name: entry.name(place),
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
        let layers = self.space.layers(0);
        let of = if layers > 0 {
            format!(" (a list is for the search's first depth, {layers} layers)")
        } else {
            String::new()
        };
        self.space
            .build(layers, decisions)
            .map_err(|error| format!("{error}{of}"))
    }

    fn filed(&self, file: &Path) -> Result<(Architecture, Vec<Decision>), String> {
        let mut given = read(file)?;
        if let (Network::Conv(network), Some(classes)) = (&mut given.network, self.assumed_classes)
        {
            network.classes = classes;
        }
        let (mut architecture, decisions) = self.space.adopt(given)?;
        if self.settings.child.evaluator == EvaluatorKind::Table
            && self.settings.space.kind != SpaceKind::Choices
        {
            return Err("a table finds networks by their decisions: give decisions = [...] in place of a file".into());
        }
        if let (Network::Cell(network), Some(vocabulary)) =
            (&mut architecture.network, self.vocabulary)
        {
            network.model = Some(model(&self.settings.child, &network.cell, vocabulary)?);
        }
        Ok((architecture, decisions))
    }
}

/// An architecture's JSON, by itself or inside what `netwright show RUN TRIAL --json` prints.
fn read(file: &Path) -> Result<Architecture, String> {
    let text = std::fs::read_to_string(file).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            "there is no such file (paths are relative to the working directory)".to_owned()
        }
        _ => format!("cannot be read: {error}"),
    })?;
    let mut value: Value =
        serde_json::from_str(&text).map_err(|error| format!("is not JSON: {error}"))?;
    if let Some(inner) = value.get_mut("architecture") {
        value = inner.take();
    }
    let example = "`netwright show RUN TRIAL --json` prints one";
    match value.get("version").and_then(Value::as_u64) {
        Some(1) => {}
        Some(other) => {
            return Err(format!(
                "its version is {other}, and this program knows version 1"
            ));
        }
        None => {
            return Err(format!(
                "is no architecture, for \"version\": 1 is not there; {example}"
            ));
        }
    }
    serde_json::from_value(value).map_err(|error| {
        let reason = match error.to_string() {
            // What serde says of a choice without tags names our types.
            text if text.contains("Cell") => {
                "a cell has nodes, inject, cell_index and inject_index, or reference = rnn, lstm or gru".into()
            }
            text => text,
        };
        format!("is no architecture: {reason}; {example}")
    })
}

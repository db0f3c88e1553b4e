//! `netwright export RUN --format tensorboard|optuna`: a whole run for programs that compare trials.
//! Reads the run, also while it is live; must not know those programs' formats.

use super::export::{failed, is_free, partial};
use super::{Failure, reading};
use crate::export::optuna::StudyFile;
use crate::export::record::{EpochRecord, RunRecord, TrialRecord, TrialState};
use crate::export::tensorboard::{self, SearchEvents};
use crate::journal::{JournalError, Reader, TrialHistory};
use crate::report;
use crate::space::{
    Architecture, ImageShape, NamedDecision, Network, Space, SpaceSettings, named_decisions,
};
use serde_json::{Map, Value, json};
use std::fs::File;
use std::io::{BufWriter, ErrorKind};
use std::path::Path;

/// Trials that are read at once.
const BATCH: u64 = 500;

/// The file of a folder for TensorBoard by which a later export knows it as its own.
const MARKER: &str = "netwright-export.json";

/// A journal for Optuna's JournalStorage.
pub fn optuna(reader: &Reader, dir: &Path, out: &Path) -> Result<(), Failure> {
    is_free(out)?;
    let partial = partial(out);
    let written = write_study(reader, dir, &partial).and_then(|trials| {
        std::fs::rename(&partial, out).map_err(|error| failed(out, &error))?;
        Ok(trials)
    });
    if written.is_err() {
        let _ = std::fs::remove_file(&partial);
    }
    let trials = written?;
    let out = out.display();
    say!("{out}: a study of {trials} trials for Optuna (optuna-dashboard {out})");
    Ok(())
}

fn write_study(reader: &Reader, dir: &Path, path: &Path) -> Result<u64, Failure> {
    let fail = |error: std::io::Error| failed(path, &error);
    let file = File::create_new(path).map_err(fail)?;
    let run = RunHistory::new(reader, dir)?;
    let mut study = StudyFile::begin(BufWriter::new(file), &run.record).map_err(fail)?;
    let trials = run.each_trial(|trial| study.trial(trial).map_err(fail))?;
    let file = study
        .finish()
        .and_then(|out| {
            out.into_inner()
                .map_err(std::io::IntoInnerError::into_error)
        })
        .map_err(fail)?;
    file.sync_all().map_err(fail)?;
    Ok(trials)
}

/// A folder for TensorBoard; one that an earlier export has written is replaced.
pub fn tensorboard(reader: &Reader, dir: &Path, out: &Path) -> Result<(), Failure> {
    let replaces = check_folder(out)?;
    let partial = partial(out);
    let aside = partial.with_extension(format!("replaced-{}", std::process::id()));
    let written = write_events(reader, dir, &partial).and_then(|trials| {
        let fail = |error: std::io::Error| failed(out, &error);
        if replaces {
            std::fs::rename(out, &aside).map_err(fail)?;
        }
        std::fs::rename(&partial, out).map_err(|error| {
            if replaces {
                // The earlier one stays.
                let _ = std::fs::rename(&aside, out);
            }
            fail(error)
        })?;
        Ok(trials)
    });
    if written.is_err() {
        let _ = std::fs::remove_dir_all(&partial);
    }
    let trials = written?;
    if replaces {
        let _ = std::fs::remove_dir_all(&aside);
    }
    let out = out.display();
    say!("{out}: {trials} trials for TensorBoard (tensorboard --logdir {out})");
    Ok(())
}

fn write_events(reader: &Reader, dir: &Path, folder: &Path) -> Result<u64, Failure> {
    let write = |path: &Path, bytes: &[u8]| {
        std::fs::write(path, bytes).map_err(|error| failed(path, &error))
    };
    let create =
        |folder: &Path| std::fs::create_dir(folder).map_err(|error| failed(folder, &error));
    create(folder)?;
    let run = RunHistory::new(reader, dir)?;
    let mut search = SearchEvents::default();
    let trials = run.each_trial(|trial| {
        search.trial(trial);
        let own = folder.join(tensorboard::folder(trial.id));
        create(&own)?;
        let events = tensorboard::trial_events(&run.record, trial);
        write(&own.join(tensorboard::EVENTS), &events)
    })?;
    write(
        &folder.join(tensorboard::EVENTS),
        &search.finish(&run.record),
    )?;
    let marker =
        json!({ "netwright": env!("CARGO_PKG_VERSION"), "run": run.record.name, "trials": trials });
    write(&folder.join(MARKER), format!("{marker:#}\n").as_bytes())?;
    Ok(trials)
}

/// Whether an earlier export stands here; nothing, or an empty folder, does not.
///
/// # Errors
/// Anything else: it is not overwritten.
fn check_folder(out: &Path) -> Result<bool, Failure> {
    let refused = |problem: &str| {
        Err(Failure::Input(format!(
            "{}: {problem}; name another folder, or an empty one",
            out.display()
        )))
    };
    let entries = match std::fs::read_dir(out) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) if error.kind() == ErrorKind::NotADirectory => return refused("is no folder"),
        Err(error) => return Err(failed(out, &error)),
        Ok(entries) => entries,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| failed(out, &error))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    if names.is_empty() {
        return Ok(false);
    }
    let ours = |name: &String| {
        let number = name.strip_prefix("trial-");
        [MARKER, tensorboard::EVENTS].contains(&name.as_str())
            || number.is_some_and(|number| number.bytes().all(|digit| digit.is_ascii_digit()))
    };
    if !out.join(MARKER).is_file() {
        return refused("is not empty, and no export of a run");
    }
    match names.iter().find(|name| !ours(name)) {
        Some(name) => refused(&format!("holds {name}, which no export has written")),
        None => Ok(true),
    }
}

/// A run as it is copied.
struct RunHistory<'a> {
    reader: &'a Reader,
    record: RunRecord,
    /// None: the settings cannot be read, and decisions have no names.
    space: Option<SpaceSettings>,
}

impl<'a> RunHistory<'a> {
    fn new(reader: &'a Reader, dir: &Path) -> Result<Self, Failure> {
        let settings = std::fs::read_to_string(dir.join("config.toml")).unwrap_or_default();
        let table: toml::Table = settings.parse().unwrap_or_default();
        let space = table
            .get("space")
            .and_then(|space| space.clone().try_into().ok());
        if space.is_none() {
            note!(
                "note: {}: has no [space] that can be read, so the decisions of the trials have no names and are left out",
                dir.join("config.toml").display()
            );
        }
        let created = reader.created().map_err(reading)?;
        Ok(Self {
            reader,
            record: RunRecord {
                name: report::run_name(dir),
                created: created.and_then(|at| at.parse().ok()),
                metric: report::metric_unit(dir),
                settings,
            },
            space,
        })
    }

    /// Calls `take` with every trial, by id; returns how many there are.
    fn each_trial(
        &self,
        mut take: impl FnMut(&TrialRecord) -> Result<(), Failure>,
    ) -> Result<u64, Failure> {
        let failed = |error: JournalError| reading(error);
        let last = self.reader.last_trial().map_err(failed)?;
        // Decisions have the same names whatever the images are.
        let mut space: Option<Box<dyn Space>> = None;
        let mut first = 1;
        while first <= last {
            let end = last.min(first + BATCH - 1);
            for trial in self.reader.history(first..=end).map_err(failed)? {
                if space.is_none() {
                    space = self
                        .space
                        .as_ref()
                        .map(|settings| built(settings, &trial.row.architecture));
                }
                take(&record(&trial, space.as_deref()))?;
            }
            first = end + 1;
        }
        Ok(last)
    }
}

/// The space that trials like this one come from.
fn built(settings: &SpaceSettings, architecture: &Architecture) -> Box<dyn Space> {
    let (image, classes) = match &architecture.network {
        Network::Conv(network) => (network.image, network.classes),
        Network::Cell(_) | Network::Choices(_) => {
            let none = ImageShape {
                channels: 0,
                height: 0,
                width: 0,
            };
            (none, 0)
        }
    };
    settings.build(image, classes)
}

fn record(trial: &TrialHistory, space: Option<&dyn Space>) -> TrialRecord {
    let TrialHistory { row, epochs, .. } = trial;
    let time = |at: &Option<String>| at.as_ref().and_then(|at| at.parse().ok());
    let epochs = epochs.iter().map(|row| EpochRecord {
        epoch: row.epoch,
        train_loss: row.train_loss,
        metric: row.metric,
        seconds: row.seconds,
    });
    TrialRecord {
        id: row.id,
        state: TrialState::of(&row.status),
        decisions: space.map_or_else(Vec::new, |space| decisions(trial, space)),
        epochs: epochs.collect(),
        reward: row.reward,
        started: time(&row.started_at),
        finished: time(&row.finished_at),
        facts: facts(trial),
    }
}

/// Of an architecture that was enqueued as a file there are none.
fn decisions(trial: &TrialHistory, space: &dyn Space) -> Vec<NamedDecision> {
    let layers = trial.layers.unwrap_or_else(|| space.layers(0));
    named_decisions(space, layers, &trial.row.decisions).unwrap_or_default()
}

/// The row without what has a place of its own, and the network in a line.
fn facts(trial: &TrialHistory) -> Map<String, Value> {
    let mut facts = match serde_json::to_value(&trial.row) {
        Ok(Value::Object(facts)) => facts,
        _ => Map::new(),
    };
    facts.retain(|name, value| name != "id" && !value.is_null());
    facts.insert(
        "network".into(),
        report::summary(&trial.row.architecture).into(),
    );
    facts
}

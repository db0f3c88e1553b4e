//! What a report needs to know of a run's settings, read from its config.toml as plain TOML: a run
//! of an older version stays readable.

use crate::child::{Cost, MetricUnit};
use crate::data::DataSettings;
use crate::space::SpaceSettings;
use crate::workload::{Scoring, WorkloadSettings};
use serde::de::DeserializeOwned;
use std::path::Path;

/// Unset or unreadable keys are None.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunFacts {
    pub name: String,
    /// Trials that the run is to have.
    pub trials: Option<u64>,
    /// Epochs of a child; None: children have none.
    pub epochs: Option<u64>,
    pub unit: MetricUnit,
    /// What networks cost in their reward; None: nothing.
    pub cost: Option<Cost>,
}

impl RunFacts {
    /// Of the run in `dir`.
    pub fn read(dir: &Path) -> Self {
        let text = std::fs::read_to_string(dir.join("config.toml")).unwrap_or_default();
        let folder = dir
            .file_name()
            .map_or_else(|| "run".into(), |name| name.to_string_lossy().into_owned());
        Self::of(&text, folder)
    }

    fn of(text: &str, folder: String) -> Self {
        let table: toml::Table = text.parse().unwrap_or_default();
        let key =
            |section: &str, key: &str| table.get(section).and_then(|section| section.get(key));
        let word = |section: &str, name: &str| key(section, name).and_then(toml::Value::as_str);
        let count = |section: &str, name: &str| {
            key(section, name)
                .and_then(toml::Value::as_integer)
                .and_then(|number| number.try_into().ok())
        };
        let scoring = scoring(&table);
        Self {
            name: word("run", "name").map_or(folder, str::to_owned),
            trials: count("run", "trials"),
            epochs: scoring.and_then(|scoring| scoring.epochs?.try_into().ok()),
            unit: scoring.map_or_else(MetricUnit::default, |scoring| scoring.metric),
            cost: word("child", "cost")
                .and_then(|word| serde_json::from_value(word.into()).ok())
                .filter(|cost| *cost != Cost::None),
        }
    }
}

/// What the run in `dir` searches; None: its config does not say so, or cannot be read.
pub fn space(dir: &Path) -> Option<SpaceSettings> {
    let text = std::fs::read_to_string(dir.join("config.toml")).ok()?;
    section(&text.parse().ok()?, "space")
}

fn section<T: DeserializeOwned>(table: &toml::Table, name: &str) -> Option<T> {
    table.get(name)?.clone().try_into().ok()
}

/// How children are scored; None: the sections that say so are not there or cannot be read.
fn scoring(table: &toml::Table) -> Option<Scoring> {
    Some(workload_settings(table)?.scoring())
}

/// What children are made of and scored by, the space left out; None as above.
pub fn workload_settings(table: &toml::Table) -> Option<WorkloadSettings> {
    let seed = table.get("run").and_then(|run| run.get("seed"));
    let seed = seed.and_then(toml::Value::as_integer);
    Some(WorkloadSettings {
        seed: seed
            .and_then(|seed| seed.try_into().ok())
            .unwrap_or_default(),
        child: section(table, "child")?,
        // A section whose keys do not apply, as this one's for a table, is not there.
        data: if table.contains_key("data") {
            section(table, "data")?
        } else {
            DataSettings::default()
        },
        ..WorkloadSettings::default()
    })
}

/// Name and device of each lane, as the search notes them: `cpu-0 on cpu, cpu-1 on cpu`.
pub fn lanes(text: &str) -> Vec<(String, String)> {
    text.split(", ")
        .filter_map(|lane| lane.split_once(" on "))
        .map(|(lane, device)| (lane.to_owned(), device.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_come_from_the_config_and_a_missing_one_is_no_error() {
        let text = "[run]\nname = \"x\"\ntrials = 12\n[child]\nevaluator = \"train\"\nepochs = 5\n[data]\nkind = \"builtin\"\n";
        let facts = RunFacts {
            name: "x".into(),
            trials: Some(12),
            epochs: Some(5),
            unit: MetricUnit::Accuracy,
            cost: None,
        };
        assert_eq!(RunFacts::of(text, "folder".into()), facts);
        let cost = text.replace("epochs = 5", "cost = \"flops\"");
        assert_eq!(RunFacts::of(&cost, "folder".into()).cost, Some(Cost::Flops));
        let unit = |text: &str| RunFacts::of(text, "folder".into()).unit;
        let text = "[child]\nevaluator = \"train\"\n[data]\nkind = \"text\"\nunit = \"char\"\n";
        assert_eq!(unit(text), MetricUnit::BitsPerCharacter);
        assert_eq!(unit(&text.replace("char", "word")), MetricUnit::Perplexity);
        assert_eq!(unit(&text.replace("train", "table")), MetricUnit::Plain);
        assert_eq!(
            RunFacts::of("not toml", "folder".into()),
            RunFacts {
                name: "folder".into(),
                ..RunFacts::default()
            }
        );
    }
}

//! A run as a study of Optuna, in the form of its JournalStorage: a file of operations, one JSON
//! object a line (optuna/storages/journal). Must not know where the run comes from.

use super::record::{RunRecord, TrialRecord, TrialState};
use crate::space::NamedDecision;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use std::io::Write;

/// `JournalOperation`.
const CREATE_STUDY: u8 = 0;
const SET_STUDY_USER_ATTR: u8 = 2;
const CREATE_TRIAL: u8 = 4;

/// `StudyDirection`: of the reward, whatever the metric.
const MAXIMIZE: u8 = 2;

/// `TrialState`.
fn state(state: TrialState) -> u8 {
    match state {
        TrialState::Running => 0,
        TrialState::Completed => 1,
        TrialState::Pruned => 2,
        TrialState::Failed => 3,
        TrialState::Waiting => 4,
    }
}

/// Writes a study, its trials in the order of their ids from 1: Optuna numbers them from 0.
pub struct StudyFile<W> {
    out: W,
}

impl<W: Write> StudyFile<W> {
    /// # Errors
    /// It cannot be written; so for all that follow.
    pub fn begin(out: W, run: &RunRecord) -> std::io::Result<Self> {
        let mut file = Self { out };
        file.write(
            CREATE_STUDY,
            json!({ "study_name": run.name, "directions": [MAXIMIZE] }),
        )?;
        // One operation sets one attribute.
        for (key, value) in [
            ("value", "reward"),
            ("intermediate_values", run.metric.name()),
            ("netwright", env!("CARGO_PKG_VERSION")),
            ("config.toml", &run.settings),
        ] {
            let attribute = json!({ "study_id": 0, "user_attr": { key: value } });
            file.write(SET_STUDY_USER_ATTR, attribute)?;
        }
        Ok(file)
    }

    /// # Errors
    /// As `begin`.
    pub fn trial(&mut self, trial: &TrialRecord) -> std::io::Result<()> {
        self.write(CREATE_TRIAL, created(trial))
    }

    /// # Errors
    /// As `begin`.
    pub fn finish(mut self) -> std::io::Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }

    fn write(&mut self, operation: u8, fields: Value) -> std::io::Result<()> {
        let mut line = Map::new();
        line.insert("op_code".into(), operation.into());
        line.insert("worker_id".into(), "netwright".into());
        if let Value::Object(fields) = fields {
            line.extend(fields);
        }
        serde_json::to_writer(&mut self.out, &line)?;
        self.out.write_all(b"\n")
    }
}

/// A trial at once: its state, and all that Optuna would have been told one after the other.
fn created(trial: &TrialRecord) -> Value {
    let is_final = matches!(
        trial.state,
        TrialState::Completed | TrialState::Pruned | TrialState::Failed
    );
    let by_name = |value: fn(&NamedDecision) -> Value| -> Map<String, Value> {
        let named = trial.decisions.iter();
        named
            .map(|named| (named.name.clone(), value(named)))
            .collect()
    };
    let intermediate: Map<String, Value> = trial
        .epochs
        .iter()
        .filter_map(|epoch| Some((epoch.epoch.to_string(), epoch.metric?.into())))
        .collect();
    let mut fields = json!({
        "study_id": 0,
        "state": state(trial.state),
        // Optuna has a value of completed trials alone.
        "value": trial.reward.filter(|_| trial.state == TrialState::Completed),
        "values": null,
        "datetime_start": trial.started.map(time),
        "distributions": by_name(distribution),
        "params": by_name(|named| named.chosen.into()),
        "user_attrs": attributes(trial),
        "system_attrs": {},
        "intermediate_values": intermediate,
    });
    if let Some(finished) = trial.finished.filter(|_| is_final) {
        fields["datetime_complete"] = time(finished).into();
    }
    fields
}

/// `CategoricalDistribution`, as a text: a parameter is stored as the index of its choice.
fn distribution(named: &NamedDecision) -> Value {
    let text = json!({
        "name": "CategoricalDistribution",
        "attributes": { "choices": named.options },
    });
    text.to_string().into()
}

/// The trial's own id, what else is known of it, and its epochs with what Optuna has no place for.
fn attributes(trial: &TrialRecord) -> Map<String, Value> {
    let mut attributes = Map::new();
    attributes.insert("trial".into(), trial.id.into());
    attributes.extend(trial.facts.clone());
    let epochs: Vec<Value> = trial
        .epochs
        .iter()
        .map(|epoch| {
            json!({
                "epoch": epoch.epoch,
                "train_loss": epoch.train_loss,
                "metric": epoch.metric,
                "seconds": epoch.seconds,
            })
        })
        .collect();
    attributes.insert("epochs".into(), epochs.into());
    attributes
}

/// With its zone, so that Optuna shows it in that of whoever looks.
fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S%.6f+00:00").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::child::MetricUnit;
    use crate::export::record::EpochRecord;
    use crate::space::OptionValue;

    fn lines(trials: &[TrialRecord]) -> Vec<Value> {
        let run = RunRecord {
            name: "a run".into(),
            created: None,
            metric: MetricUnit::Perplexity,
            settings: "[run]\n".into(),
        };
        let mut file = StudyFile::begin(Vec::new(), &run).unwrap();
        trials.iter().for_each(|trial| file.trial(trial).unwrap());
        let bytes = file.finish().unwrap();
        assert_eq!(bytes.last(), Some(&b'\n'), "Optuna reads whole lines");
        String::from_utf8(bytes)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    fn trial(state: TrialState) -> TrialRecord {
        let options = vec![
            OptionValue::Integer(3),
            OptionValue::Text("x".into()),
            OptionValue::Float(0.5),
        ];
        TrialRecord {
            id: 1,
            state,
            decisions: vec![NamedDecision {
                name: "kind of \"x\"".into(),
                chosen: 2,
                options,
            }],
            epochs: vec![
                EpochRecord {
                    epoch: 1,
                    train_loss: Some(2.5),
                    metric: Some(100.25),
                    seconds: None,
                },
                EpochRecord {
                    epoch: 2,
                    train_loss: None,
                    metric: None,
                    seconds: Some(1.0),
                },
            ],
            reward: Some(0.125),
            started: Some("2026-11-27T23:59:59.5Z".parse().unwrap()),
            finished: Some("2026-11-28T00:00:01Z".parse().unwrap()),
            facts: Map::from_iter([("metric".to_owned(), 100.25.into())]),
        }
    }

    #[test]
    fn a_study_begins_with_its_direction_and_its_settings() {
        let lines = lines(&[]);
        let study = json!({ "op_code": 0, "worker_id": "netwright", "study_name": "a run", "directions": [2] });
        assert_eq!(lines[0], study);
        assert_eq!(
            lines[2]["user_attr"],
            json!({ "intermediate_values": "perplexity" })
        );
        assert!(
            lines[1..]
                .iter()
                .all(|line| line["op_code"] == 2
                    && line["user_attr"].as_object().unwrap().len() == 1)
        );
    }

    #[test]
    fn a_trial_is_one_line_with_all_that_is_known() {
        let line = lines(&[trial(TrialState::Completed)]).pop().unwrap();
        let distribution =
            "{\"attributes\":{\"choices\":[3,\"x\",0.5]},\"name\":\"CategoricalDistribution\"}";
        let expected = json!({
            "op_code": 4, "worker_id": "netwright", "study_id": 0, "state": 1, "value": 0.125, "values": null,
            "datetime_start": "2026-11-27T23:59:59.500000+00:00", "datetime_complete": "2026-11-28T00:00:01.000000+00:00",
            "distributions": { "kind of \"x\"": distribution }, "params": { "kind of \"x\"": 2 },
            "user_attrs": { "trial": 1, "metric": 100.25, "epochs": [
                { "epoch": 1, "train_loss": 2.5, "metric": 100.25, "seconds": null },
                { "epoch": 2, "train_loss": null, "metric": null, "seconds": 1.0 },
            ] },
            "system_attrs": {}, "intermediate_values": { "1": 100.25 },
        });
        assert_eq!(line, expected);
    }

    #[test]
    fn a_trial_without_an_outcome_has_neither_value_nor_end() {
        for (state, number, ends) in [
            (TrialState::Running, 0, false),
            (TrialState::Waiting, 4, false),
            (TrialState::Failed, 3, true),
            (TrialState::Pruned, 2, true),
        ] {
            let line = lines(&[trial(state)]).pop().unwrap();
            assert_eq!(
                (&line["state"], &line["value"]),
                (&json!(number), &Value::Null)
            );
            assert_eq!(line.get("datetime_complete").is_some(), ends);
        }
    }
}

//! A run as TensorBoard reads it: for each trial a folder with an event file (its scalars by epoch,
//! its hyper-parameters), and one file above them for the search. Must not know files, nor where the
//! run comes from.

mod records;
#[cfg(test)]
mod tests;

/// The messages of `tensorboard.proto`, made by `build.rs`.
#[allow(clippy::all, clippy::pedantic)]
mod proto {
    include!(concat!(env!("OUT_DIR"), "/tensorboard.rs"));
}

use super::record::{RunRecord, TrialRecord, TrialState};
use crate::space::{NamedDecision, OptionValue};
use jiff::Timestamp;
use prost::Message;
use proto::h_params_plugin_data::Data;
use proto::{
    DataType, DatasetType, Event, Experiment, HParamInfo, HParamsPluginData, ListValue, MetricInfo,
    MetricName, PluginData, SessionEndInfo, SessionStartInfo, Status, Summary, SummaryMetadata,
    SummaryValue, Value, event, value,
};
use std::collections::BTreeMap;

/// The name of every event file. TensorBoard knows one by `tfevents` in its name.
pub const EVENTS: &str = "events.out.tfevents.netwright";

/// The name of a trial's folder, so that names sort as numbers do up to a million trials.
pub fn folder(trial: u64) -> String {
    format!("trial-{trial:06}")
}

/// The names of scalars: those of the table `epochs`, and of the trial's reward.
const TRAIN_LOSS: &str = "train_loss";
const METRIC: &str = "metric";
const SECONDS: &str = "seconds";
const REWARD: &str = "reward";
/// Of the search, by trial.
const BEST_REWARD: &str = "best_reward";

/// What the plugin for scalars calls itself.
const SCALARS: &str = "scalars";

/// What the hparams plugin calls itself, and the names of its data.
const HPARAMS: &str = "hparams";
const EXPERIMENT: &str = "_hparams_/experiment";
const SESSION_START: &str = "_hparams_/session_start_info";
const SESSION_END: &str = "_hparams_/session_end_info";

/// The version of event files.
const VERSION: &str = "brain.Event:2";

/// An event file in the making.
struct Events(Vec<u8>);

impl Events {
    fn begin(at: f64) -> Self {
        let mut events = Self(Vec::new());
        events.append(at, 0, event::What::FileVersion(VERSION.into()));
        events
    }

    fn append(&mut self, wall_time: f64, step: u64, what: event::What) {
        let event = Event {
            wall_time,
            step: step as i64,
            what: Some(what),
        };
        records::append(&event, &mut self.0);
    }

    fn value(&mut self, at: f64, step: u64, value: SummaryValue) {
        let value = vec![value];
        self.append(at, step, event::What::Summary(Summary { value }));
    }

    /// A number that is shown by `display_name`. Scalars are 32 bits wide.
    fn scalar(&mut self, at: f64, step: u64, (tag, display_name): (&str, &str), number: f64) {
        let value = SummaryValue {
            tag: tag.into(),
            simple_value: Some(number as f32),
            metadata: Some(SummaryMetadata {
                display_name: display_name.into(),
                plugin_data: Some(PluginData {
                    plugin_name: SCALARS.into(),
                    content: Vec::new(),
                }),
                ..SummaryMetadata::default()
            }),
        };
        self.value(at, step, value);
    }

    fn hparams(&mut self, at: f64, tag: &str, data: Data) {
        let content = HParamsPluginData {
            version: 0,
            data: Some(data),
        };
        let value = SummaryValue {
            tag: tag.into(),
            simple_value: None,
            metadata: Some(SummaryMetadata {
                plugin_data: Some(PluginData {
                    plugin_name: HPARAMS.into(),
                    content: content.encode_to_vec(),
                }),
                ..SummaryMetadata::default()
            }),
        };
        self.value(at, 0, value);
    }
}

/// Unix time; 0 where it is not known.
fn unix(at: Option<Timestamp>) -> f64 {
    at.map_or(0.0, |at| at.as_duration().as_secs_f64())
}

/// What the metric is called where a name stands alone.
fn metric_name(run: &RunRecord) -> String {
    format!("validation {}", run.metric.name())
}

/// The event file of a trial.
pub fn trial_events(run: &RunRecord, trial: &TrialRecord) -> Vec<u8> {
    let start = unix(trial.started.or(run.created));
    let mut events = Events::begin(start);
    let hparams = trial.decisions.iter();
    let started = SessionStartInfo {
        hparams: hparams
            .map(|named| {
                let kind = data_type(&named.options);
                (named.name.clone(), option_value(named.value(), kind))
            })
            .collect(),
        start_time_secs: unix(trial.started),
    };
    events.hparams(start, SESSION_START, Data::SessionStartInfo(started));
    let metric = metric_name(run);
    let mut at = start;
    let mut last = 0;
    for epoch in &trial.epochs {
        // When an epoch ended is not recorded, but how long it took.
        at += epoch.seconds.unwrap_or(0.0);
        last = epoch.epoch;
        for (names, number) in [
            ((TRAIN_LOSS, "training loss"), epoch.train_loss),
            ((METRIC, metric.as_str()), epoch.metric),
            ((SECONDS, "seconds"), epoch.seconds),
        ] {
            if let Some(number) = number {
                events.scalar(at, epoch.epoch, names, number);
            }
        }
    }
    let end = trial.finished.map_or(at, |end| unix(Some(end)));
    if let Some(reward) = trial.reward {
        events.scalar(end, last, (REWARD, REWARD), reward);
    }
    let status = match trial.state {
        TrialState::Completed | TrialState::Pruned => Status::Success,
        TrialState::Failed => Status::Failure,
        TrialState::Running => Status::Running,
        TrialState::Waiting => Status::Unknown,
    };
    let ended = SessionEndInfo {
        status: status.into(),
        end_time_secs: unix(trial.finished),
    };
    events.hparams(end, SESSION_END, Data::SessionEndInfo(ended));
    events.0
}

/// The search as a whole, filled trial by trial in the order of their ids.
#[derive(Default)]
pub struct SearchEvents {
    /// Each decision's place and options.
    decisions: BTreeMap<String, (usize, Vec<OptionValue>)>,
    /// Reward and end of each completed trial.
    rewards: Vec<(u64, f64, f64)>,
}

impl SearchEvents {
    pub fn trial(&mut self, trial: &TrialRecord) {
        for named in &trial.decisions {
            let NamedDecision { name, options, .. } = named;
            let place = self.decisions.len();
            if !self.decisions.contains_key(name) {
                self.decisions
                    .insert(name.clone(), (place, options.clone()));
            }
        }
        let reward = trial
            .reward
            .filter(|_| trial.state == TrialState::Completed);
        self.rewards
            .extend(reward.map(|reward| (trial.id, reward, unix(trial.finished))));
    }

    /// The event file of the search: what can be decided, the names of the metrics, and the reward
    /// by trial.
    pub fn finish(self, run: &RunRecord) -> Vec<u8> {
        let created = unix(run.created);
        let mut events = Events::begin(created);
        let metrics = [
            (REWARD, REWARD.to_owned(), DatasetType::DatasetValidation),
            (METRIC, metric_name(run), DatasetType::DatasetValidation),
            (
                TRAIN_LOSS,
                "training loss".to_owned(),
                DatasetType::DatasetTraining,
            ),
            (SECONDS, SECONDS.to_owned(), DatasetType::DatasetUnknown),
        ];
        let metric = |(tag, display_name, kind): (&str, String, DatasetType)| MetricInfo {
            name: Some(MetricName {
                group: String::new(),
                tag: tag.into(),
            }),
            display_name,
            dataset_type: kind.into(),
        };
        let experiment = Experiment {
            name: run.name.clone(),
            description: format!("netwright {}", env!("CARGO_PKG_VERSION")),
            time_created_secs: created,
            hparam_infos: infos(self.decisions),
            metric_infos: metrics.into_iter().map(metric).collect(),
        };
        events.hparams(created, EXPERIMENT, Data::Experiment(experiment));
        let mut best = f64::NEG_INFINITY;
        for (trial, reward, at) in self.rewards {
            best = best.max(reward);
            events.scalar(at, trial, (REWARD, "reward by trial"), reward);
            events.scalar(at, trial, (BEST_REWARD, "best reward by trial"), best);
        }
        events.0
    }
}

/// The hyper-parameters, in the order in which they are decided.
fn infos(decisions: BTreeMap<String, (usize, Vec<OptionValue>)>) -> Vec<HParamInfo> {
    let mut ordered: Vec<_> = decisions.into_iter().collect();
    ordered.sort_by_key(|(_, (place, _))| *place);
    ordered
        .into_iter()
        .map(|(name, (_, options))| {
            let kind = data_type(&options);
            let values = options.iter().map(|option| option_value(option, kind));
            HParamInfo {
                name,
                r#type: kind.into(),
                domain_discrete: Some(ListValue {
                    values: values.collect(),
                }),
            }
        })
        .collect()
}

/// The type that fits all options; texts fit any.
fn data_type(options: &[OptionValue]) -> DataType {
    let all = |is: fn(&OptionValue) -> bool| options.iter().all(is);
    if all(|option| matches!(option, OptionValue::Boolean(_))) {
        DataType::Bool
    } else if all(|option| matches!(option, OptionValue::Integer(_) | OptionValue::Float(_))) {
        DataType::Float64
    } else {
        DataType::String
    }
}

/// Where texts are among the options, all of them are texts.
fn option_value(option: &OptionValue, kind: DataType) -> Value {
    let kind = match option {
        _ if kind == DataType::String => value::Kind::StringValue(option.to_string()),
        OptionValue::Boolean(value) => value::Kind::BoolValue(*value),
        OptionValue::Integer(value) => value::Kind::NumberValue(*value as f64),
        OptionValue::Float(value) => value::Kind::NumberValue(*value),
        OptionValue::Text(value) => value::Kind::StringValue(value.clone()),
    };
    Value { kind: Some(kind) }
}

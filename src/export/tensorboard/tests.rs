//! What is written is read back: framing, checksums, messages. TensorBoard itself reads it in
//! `tests/scripts/trackers.py`.

use super::proto::HParamsPluginData;
use super::records::masked_checksum;
use super::*;
use crate::child::MetricUnit;
use crate::export::record::EpochRecord;
use serde_json::Map;

/// The records of a file, each checked against its checksums.
fn read(mut bytes: &[u8]) -> Vec<Event> {
    let mut events = Vec::new();
    let number = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().unwrap());
    while !bytes.is_empty() {
        let (head, rest) = bytes.split_at(12);
        let length = u64::from_le_bytes(head[..8].try_into().unwrap()) as usize;
        assert_eq!(number(&head[8..]), masked_checksum(&head[..8]));
        let (message, rest) = rest.split_at(length);
        assert_eq!(number(&rest[..4]), masked_checksum(message));
        events.push(Event::decode(message).unwrap());
        bytes = &rest[4..];
    }
    events
}

/// The values of all summaries, with step and time.
fn values(events: &[Event]) -> Vec<(i64, f64, SummaryValue)> {
    let mut values = Vec::new();
    for event in events {
        if let Some(event::What::Summary(summary)) = &event.what {
            assert_eq!(summary.value.len(), 1);
            values.push((event.step, event.wall_time, summary.value[0].clone()));
        }
    }
    values
}

/// Tag, step, time and number of every scalar.
fn scalars(events: &[Event]) -> Vec<(String, i64, f64, f32)> {
    values(events)
        .into_iter()
        .filter_map(|(step, at, value)| Some((value.tag, step, at, value.simple_value?)))
        .collect()
}

/// What the hparams plugin finds under this tag.
fn hparams(events: &[Event], tag: &str) -> Data {
    let (_, _, value) = values(events)
        .into_iter()
        .find(|(_, _, value)| value.tag == tag)
        .unwrap();
    let plugin = value.metadata.unwrap().plugin_data.unwrap();
    assert_eq!(plugin.plugin_name, "hparams");
    let data = HParamsPluginData::decode(plugin.content.as_slice()).unwrap();
    assert_eq!(data.version, 0);
    data.data.unwrap()
}

fn run() -> RunRecord {
    RunRecord {
        name: "a run".into(),
        created: Some(Timestamp::from_second(1_000).unwrap()),
        metric: MetricUnit::Accuracy,
        settings: String::new(),
    }
}

fn decision(name: &str, chosen: usize, options: &[OptionValue]) -> NamedDecision {
    NamedDecision {
        name: name.into(),
        chosen,
        options: options.to_vec(),
    }
}

fn trial() -> TrialRecord {
    let epoch = |epoch, train_loss, metric| EpochRecord {
        epoch,
        train_loss,
        metric,
        seconds: Some(2.0),
    };
    TrialRecord {
        id: 7,
        state: TrialState::Completed,
        decisions: vec![
            decision(
                "width",
                1,
                &[OptionValue::Integer(16), OptionValue::Integer(32)],
            ),
            decision(
                "bias",
                0,
                &[OptionValue::Boolean(false), OptionValue::Boolean(true)],
            ),
            decision(
                "kind",
                0,
                &[OptionValue::Float(0.5), OptionValue::Text("none".into())],
            ),
        ],
        epochs: vec![epoch(1, Some(1.5), Some(0.5)), epoch(2, None, Some(0.75))],
        reward: Some(0.25),
        started: Some(Timestamp::from_second(2_000).unwrap()),
        finished: Some(Timestamp::from_second(2_010).unwrap()),
        facts: Map::new(),
    }
}

#[test]
fn records_are_framed_as_tensorflow_frames_them() {
    // The first record of any event file, at time 0.
    let mut bytes = Vec::new();
    let event = Event {
        what: Some(event::What::FileVersion(VERSION.into())),
        ..Event::default()
    };
    records::append(&event, &mut bytes);
    assert_eq!(bytes.len(), 8 + 4 + 15 + 4);
    assert_eq!(&bytes[..8], &[15, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(&bytes[12..27], b"\x1a\x0dbrain.Event:2");
    // CRC-32C of "123456789" is 0xe3069283 (RFC 3720); masked as LevelDB does.
    let mask = |crc: u32| crc.rotate_right(15).wrapping_add(0xa282_ead8);
    assert_eq!(masked_checksum(b"123456789"), mask(0xe306_9283));
}

#[test]
fn a_trials_epochs_and_reward_are_scalars_at_their_times() {
    let events = read(&trial_events(&run(), &trial()));
    assert_eq!(
        events[0].what,
        Some(event::What::FileVersion("brain.Event:2".into()))
    );
    let expected = [
        ("train_loss", 1, 2_002.0, 1.5),
        ("metric", 1, 2_002.0, 0.5),
        ("seconds", 1, 2_002.0, 2.0),
        ("metric", 2, 2_004.0, 0.75),
        ("seconds", 2, 2_004.0, 2.0),
        ("reward", 2, 2_010.0, 0.25),
    ]
    .map(|(tag, step, at, number)| (tag.to_owned(), step, at, number));
    assert_eq!(scalars(&events), expected);
    let (_, _, metric) = values(&events)
        .into_iter()
        .find(|(_, _, value)| value.tag == "metric")
        .unwrap();
    assert_eq!(metric.metadata.unwrap().display_name, "validation accuracy");
}

#[test]
fn a_trial_is_a_session_with_its_hyper_parameters() {
    let events = read(&trial_events(&run(), &trial()));
    let Data::SessionStartInfo(start) = hparams(&events, SESSION_START) else {
        panic!("no start of a session")
    };
    let kind = |name: &str| start.hparams[name].kind.clone().unwrap();
    assert_eq!(kind("width"), value::Kind::NumberValue(32.0));
    assert_eq!(kind("bias"), value::Kind::BoolValue(false));
    assert_eq!(kind("kind"), value::Kind::StringValue("0.5".into()));
    assert_eq!((start.hparams.len(), start.start_time_secs), (3, 2_000.0));
    for (state, status) in [
        (TrialState::Completed, Status::Success),
        (TrialState::Failed, Status::Failure),
        (TrialState::Running, Status::Running),
        (TrialState::Waiting, Status::Unknown),
    ] {
        let events = read(&trial_events(&run(), &TrialRecord { state, ..trial() }));
        let Data::SessionEndInfo(end) = hparams(&events, SESSION_END) else {
            panic!("no end of a session")
        };
        assert_eq!((end.status(), end.end_time_secs), (status, 2_010.0));
    }
}

#[test]
fn the_search_lists_what_can_be_decided_and_its_rewards() {
    let mut search = SearchEvents::default();
    let with = |id, reward, state| TrialRecord {
        id,
        state,
        reward,
        ..trial()
    };
    search.trial(&with(1, Some(0.5), TrialState::Completed));
    search.trial(&with(2, Some(0.0), TrialState::Failed));
    search.trial(&with(3, Some(0.25), TrialState::Completed));
    let events = read(&search.finish(&run()));
    let rewards: Vec<_> = scalars(&events)
        .into_iter()
        .map(|(tag, step, _, number)| (tag, step, number))
        .collect();
    let expected = [
        ("reward", 1, 0.5),
        ("best_reward", 1, 0.5),
        ("reward", 3, 0.25),
        ("best_reward", 3, 0.5),
    ]
    .map(|(tag, step, number)| (tag.to_owned(), step, number));
    assert_eq!(rewards, expected);
    let Data::Experiment(experiment) = hparams(&events, EXPERIMENT) else {
        panic!("no experiment")
    };
    assert_eq!(
        (experiment.name.as_str(), experiment.time_created_secs),
        ("a run", 1_000.0)
    );
    let infos: Vec<_> = experiment
        .hparam_infos
        .iter()
        .map(|info| {
            let options = info.domain_discrete.as_ref().unwrap().values.len();
            (info.name.as_str(), info.r#type(), options)
        })
        .collect();
    assert_eq!(
        infos,
        [
            ("width", DataType::Float64, 2),
            ("bias", DataType::Bool, 2),
            ("kind", DataType::String, 2)
        ]
    );
    let metrics: Vec<_> = experiment
        .metric_infos
        .iter()
        .map(|info| info.name.as_ref().unwrap().tag.as_str())
        .collect();
    assert_eq!(metrics, ["reward", "metric", "train_loss", "seconds"]);
}

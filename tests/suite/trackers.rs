//! `netwright export RUN --format tensorboard|optuna`: every trial, epoch and decision of a run, as
//! other programs read them. Those programs themselves read it in `tests/scripts/trackers.py`.

use super::common::{
    Running, Search, count, database, finished, netwright, refused, succeeds, trials, wait_until,
};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

fn export(run: &Path, format: &str, out: &Path) -> Command {
    let mut command = netwright();
    command
        .arg("export")
        .arg(run)
        .args(["--format", format])
        .arg(out);
    command
}

/// The lines of an export for Optuna that create trials.
fn study(run: &Path) -> Vec<Value> {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("study");
    let printed = succeeds(&mut export(run, "optuna", &out));
    let text = std::fs::read_to_string(&out).unwrap();
    assert!(text.ends_with('\n'));
    let mut lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        (&lines[0]["op_code"], &lines[0]["directions"]),
        (&0.into(), &[2].to_vec().into())
    );
    lines.retain(|line| line["op_code"] == 4);
    assert!(
        printed.contains(&format!("a study of {} trials", lines.len())),
        "{printed}"
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    lines
}

/// What was decided in a trial, by name.
fn decided(trial: &Value) -> BTreeMap<String, Value> {
    let distributions = trial["distributions"].as_object().unwrap();
    let params = trial["params"].as_object().unwrap();
    assert!(distributions.keys().eq(params.keys()));
    let value = |(name, text): (&String, &Value)| {
        let distribution: Value = serde_json::from_str(text.as_str().unwrap()).unwrap();
        assert_eq!(distribution["name"], "CategoricalDistribution");
        let chosen = params[name].as_u64().unwrap() as usize;
        (
            name.clone(),
            distribution["attributes"]["choices"][chosen].clone(),
        )
    };
    distributions.iter().map(value).collect()
}

/// Records in the event files of an export for TensorBoard, by the file's folder; each record's
/// checksums are right.
fn records(folder: &Path) -> BTreeMap<String, Vec<Vec<u8>>> {
    let mut all = BTreeMap::new();
    let mut read = |name: &str, folder: &Path| {
        let bytes = std::fs::read(folder.join("events.out.tfevents.netwright")).unwrap();
        all.insert(name.to_owned(), framed(&bytes));
    };
    read("", folder);
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.path().is_dir() {
            read(&entry.file_name().into_string().unwrap(), &entry.path());
        }
    }
    all
}

fn framed(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let crc = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI);
    let masked = |part: &[u8]| {
        let masked = crc
            .checksum(part)
            .rotate_right(15)
            .wrapping_add(0xa282_ead8);
        masked.to_le_bytes().to_vec()
    };
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let (message, rest) = bytes[12..].split_at(length);
        assert_eq!(bytes[8..12], masked(&bytes[..8]));
        assert_eq!(rest[..4], masked(message));
        records.push(message.to_vec());
        bytes = &rest[4..];
    }
    records
}

/// How many of the records hold this text.
fn holding(records: &[Vec<u8>], text: &str) -> usize {
    let holds = |record: &&Vec<u8>| {
        record
            .windows(text.len())
            .any(|part| part == text.as_bytes())
    };
    records.iter().filter(holds).count()
}

/// A small search of this kind, run to its end.
fn searched(config: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let config = format!("[telemetry]\nlisten = \"off\"\n{config}");
    std::fs::write(folder.path().join("search.toml"), config).unwrap();
    let text = "cats see dogs\ndogs fear cats and sleep\n";
    std::fs::write(folder.path().join("train.txt"), text.repeat(60)).unwrap();
    std::fs::write(folder.path().join("valid.txt"), text.repeat(10)).unwrap();
    let script = "for epoch in 1 2 3; do echo \"{\\\"epoch\\\": $epoch, \\\"metric\\\": 0.$epoch}\"; done\necho '{\"reward\": 0.5}'\n";
    std::fs::write(folder.path().join("train.sh"), script).unwrap();
    let mut command = netwright();
    command
        .current_dir(folder.path())
        .args(["search", "search.toml", "--run-dir", "run"]);
    succeeds(&mut command);
    folder
}

const CONV: &str = "[run]\ntrials = 3\n[space]\nlayers = 2\nlayers_step = 1\nlayers_every = 2\nlayers_max = 3\nfilters = [4, 6]\nfilter_height = [1, 3]\n\
                    filter_width = [3]\nstride_height = [2]\nstride_width = [2]\nskip_connections = true\nlearning_rates = [0.1, 0.05]\n\
                    [controller]\nchildren = 2\n[child]\nepochs = 2\nbatch_size = 32\n[data]\ntrain_size = 200\nvalidation_size = 50\n";
const CELL: &str = "[run]\ntrials = 2\n[space]\nkind = \"cell\"\nbase = 2\n[controller]\nchildren = 2\n[child]\nepochs = 2\nhidden = 6\nlearning_rate = 0.1\ninit_scale = 0.2\nlayers = 1\nsteps = 10\n\
                    batch_size = 4\n[data]\nkind = \"text\"\npath = \".\"\n[devices]\nuse = [\"cpu\"]\n";
const COMMAND: &str = "[run]\ntrials = 2\n[space]\nkind = \"choices\"\ndecision = [{ name = \"a\", options = [1, 2.5, \"x\"] }, { name = \"b\", options = [true, false] }]\n\
                       [controller]\nchildren = 2\n[child]\nevaluator = \"command\"\ncommand.argv = [\"sh\", \"train.sh\"]\n";

#[test]
fn every_trial_epoch_and_decision_of_each_kind_of_run_is_written() {
    for (config, names, epochs) in [
        (
            CONV,
            &["layer 1 filter height", "layer 2 skip 1", "learning rate"][..],
            2,
        ),
        (
            CELL,
            &["node 0 combination", "inject activation", "cell index"],
            2,
        ),
        (COMMAND, &["a", "b"], 3),
    ] {
        let folder = searched(config);
        let run = folder.path().join("run");
        let rows = trials(&run);
        let study = study(&run);
        assert_eq!(study.len(), rows.len());
        for (line, (id, _, _, status, reward, _)) in study.iter().zip(&rows) {
            assert_eq!(status, "completed");
            assert_eq!(
                (&line["state"], line["value"].as_f64()),
                (&1.into(), *reward)
            );
            assert_eq!(line["user_attrs"]["trial"], *id);
            let decided = decided(line);
            assert!(
                names.iter().all(|name| decided.contains_key(*name)),
                "{decided:?}"
            );
            let at = |epoch: u64| {
                format!(
                    "SELECT count(*) FROM epochs WHERE trial = {id} AND epoch = {epoch} AND metric IS NOT NULL"
                )
            };
            let values = line["intermediate_values"].as_object().unwrap();
            assert_eq!(values.len(), epochs);
            assert!((1..=epochs as u64).all(
                |epoch| values.contains_key(&epoch.to_string()) && count(&run, &at(epoch)) == 1
            ));
        }
        let out = folder.path().join("events");
        succeeds(&mut export(&run, "tensorboard", &out));
        let records = records(&out);
        assert_eq!(records.len(), rows.len() + 1);
        assert_eq!(holding(&records[""], "_hparams_/experiment"), 1);
        assert_eq!(holding(&records[""], "best_reward"), rows.len());
        for (id, ..) in &rows {
            let records = &records[&format!("trial-{id:06}")];
            assert_eq!(holding(records, "validation "), epochs);
            assert_eq!(holding(records, "_hparams_/session_start_info"), 1);
            assert_eq!(holding(records, "_hparams_/session_end_info"), 1);
            assert!(
                names.iter().all(|name| holding(records, name) > 0),
                "{names:?}"
            );
        }
    }
}

#[test]
fn the_decisions_are_those_of_the_architecture_at_every_depth() {
    let folder = searched(CONV);
    let run = folder.path().join("run");
    // A repetition has the depth of what it repeats.
    succeeds(
        netwright()
            .current_dir(folder.path())
            .args(["retry", "run", "3"]),
    );
    succeeds(netwright().current_dir(folder.path()).args([
        "search",
        "search.toml",
        "--run-dir",
        "run",
    ]));
    let study = study(&run);
    let mut depths = Vec::new();
    for line in &study {
        let decided = decided(line);
        let network = &line["user_attrs"]["architecture"];
        let layers = network["layers"].as_array().unwrap();
        let of = |what: &str| {
            let mut sizes: Vec<u64> = (1..=layers.len())
                .map(|layer| decided[&format!("layer {layer} {what}")].as_u64().unwrap())
                .collect();
            sizes.sort_unstable();
            sizes
        };
        let built = |key: &str| {
            let mut sizes: Vec<u64> = layers
                .iter()
                .map(|layer| layer[key].as_u64().unwrap())
                .collect();
            sizes.sort_unstable();
            sizes
        };
        assert_eq!(of("filters"), built("filters"));
        assert_eq!(of("filter height"), built("filter_height"));
        assert_eq!(decided["learning rate"], network["learning_rate"]);
        let skips = decided
            .keys()
            .filter(|name| name.contains(" skip "))
            .count();
        assert_eq!(skips, layers.len() * (layers.len() - 1) / 2);
        depths.push(layers.len());
    }
    depths.sort_unstable();
    assert_eq!(depths, [2, 2, 3, 3]);
}

#[test]
fn a_live_run_is_exported_while_it_goes_on() {
    let search = Search::new(super::common::ENDLESS, "[controller]\nchildren = 4\n");
    let run = search.run_dir("run");
    let mut process = Running::start_silent(&mut search.command("run"));
    wait_until("some trials end", || finished(&run) > 20);
    let out = search.folder.path().join("events");
    for _ in 0..2 {
        let before = finished(&run);
        let study = study(&run);
        assert!(study.len() as u64 >= before);
        let known = |line: &&Value| line["state"] != 1 || line["value"].is_f64();
        assert!(study.iter().all(|line| known(&line)));
        assert!(study.iter().all(|line| decided(line).len() == 4));
        // The second time it replaces what the first has written.
        succeeds(&mut export(&run, "tensorboard", &out));
        assert!(records(&out).len() as u64 > before);
    }
    assert!(!process.has_ended(), "the search was still at work");
}

#[test]
fn an_enqueued_network_of_no_decisions_and_a_failed_trial_are_there_too() {
    let folder = searched(&format!(
        "{}\n[[enqueue]]\nname = \"mine\"\ndecisions = [0, 1]\n",
        COMMAND.replace("trials = 2", "trials = 1")
    ));
    let run = folder.path().join("run");
    let study = study(&run);
    assert_eq!(study.len(), 2);
    assert_eq!(study[0]["user_attrs"]["enqueued"], "mine");
    assert_eq!(
        decided(&study[0]),
        BTreeMap::from([("a".into(), 1.into()), ("b".into(), false.into())])
    );

    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("train.sh"), "exit 3\n").unwrap();
    let config = format!("[telemetry]\nlisten = \"off\"\n{COMMAND}");
    std::fs::write(folder.path().join("search.toml"), config).unwrap();
    let mut command = netwright();
    command
        .current_dir(folder.path())
        .args(["search", "search.toml", "--run-dir", "run"]);
    assert_eq!(command.output().unwrap().status.code(), Some(1));
    let run = folder.path().join("run");
    let failed = self::study(&run);
    assert!(!failed.is_empty());
    for line in &failed {
        assert_eq!((&line["state"], &line["value"]), (&3.into(), &Value::Null));
        assert!(line["user_attrs"]["error"].is_string());
    }
}

#[test]
fn nothing_of_others_is_overwritten() {
    let search = Search::new(4, "");
    succeeds(&mut search.command("run"));
    let run = search.run_dir("run");
    let folder = search.folder.path();
    let file = folder.join("taken");
    std::fs::write(&file, "mine").unwrap();
    let message = refused(&mut export(&run, "optuna", &file));
    assert!(
        message.contains("taken: is there already, and is not overwritten"),
        "{message}"
    );
    let message = refused(&mut export(&run, "tensorboard", &file));
    assert!(
        message.contains("taken: is no folder; name another folder, or an empty one"),
        "{message}"
    );
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");

    let full = folder.join("full");
    std::fs::create_dir(&full).unwrap();
    succeeds(&mut export(&run, "tensorboard", &full));
    std::fs::write(full.join("notes.txt"), "mine").unwrap();
    let message = refused(&mut export(&run, "tensorboard", &full));
    assert!(
        message.contains("holds notes.txt, which no export has written"),
        "{message}"
    );
    let other = folder.join("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("notes.txt"), "mine").unwrap();
    let message = refused(&mut export(&run, "tensorboard", &other));
    assert!(
        message.contains("other: is not empty, and no export of a run"),
        "{message}"
    );
    for folder in [&full, &other] {
        assert_eq!(
            std::fs::read_to_string(folder.join("notes.txt")).unwrap(),
            "mine"
        );
    }

    let mut with_trial = netwright();
    with_trial
        .arg("export")
        .arg(&run)
        .args(["1", "--format", "optuna"])
        .arg(folder.join("x"));
    let message = refused(&mut with_trial);
    assert!(
        message.contains("--format optuna writes the whole run: leave the trial out"),
        "{message}"
    );
    let message = refused(&mut export(&run, "json", &folder.join("x")));
    assert!(
        message.contains("--format json writes one trial's network: name the trial"),
        "{message}"
    );
    assert!(database(&run).is_some());
}

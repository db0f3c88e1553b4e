//! A search on CIFAR-10's binary format, as a user runs it: files of our own making always, the
//! real ones where they are found.

use super::common::{count, netwright, refused, succeeds, trials};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Writes `records` records whose images carry their class: a bright band at a height that depends
/// on it.
fn write_batch(path: &Path, records: usize) {
    let mut file = std::io::BufWriter::new(std::fs::File::create(path).unwrap());
    for record in 0..records {
        let label = (record * 7 % 10) as u8;
        file.write_all(&[label]).unwrap();
        for position in 0..3072_usize {
            let row = position % 1024 / 32;
            let noise = (record * 31 + position * 17) % 97;
            let value = if row / 3 == usize::from(label) {
                200
            } else {
                40
            };
            file.write_all(&[(value + noise / 3) as u8]).unwrap();
        }
    }
}

/// A small search: three layers, few images, two children; `data` names the folder.
fn command(folder: &Path, run: &str, data: &Path) -> Command {
    let config = folder.join("small.toml");
    std::fs::write(
        &config,
        "[run]\nname = \"small\"\ntrials = 3\nseed = 5\n[space]\nlayers = 3\nfilters = [6, 8]\nfilter_height = [1, 3]\nfilter_width = [3, 5]\n\
         stride_height = [1, 2]\nstride_width = [2]\n[controller]\nchildren = 2\n[child]\nepochs = 2\nbatch_size = 32\nlearning_rate = 0.05\n\
         [data]\nkind = \"cifar10\"\ntrain_size = 320\nvalidation_size = 100\n[telemetry]\nlisten = \"off\"\n",
    )
    .unwrap();
    let mut command = netwright();
    command
        .arg("search")
        .arg(config)
        .arg("--run-dir")
        .arg(folder.join(run))
        .arg("--set")
        .arg(format!("data.path={}", data.display()));
    command
}

#[test]
fn two_runs_with_the_same_seed_give_the_same_numbers_and_epochs_are_recorded() {
    let folder = tempfile::tempdir().unwrap();
    write_batch(&folder.path().join("data_batch_1.bin"), 300);
    write_batch(&folder.path().join("data_batch_3.bin"), 200);
    for run in ["one", "two"] {
        let printed = succeeds(&mut command(folder.path(), run, folder.path()));
        assert!(printed.contains("linear classifier"), "{printed}");
    }
    let run = folder.path().join("one");
    let one = trials(&run);
    let two = trials(&folder.path().join("two"));
    assert_eq!(one.len(), 3);
    assert_eq!(one, two);
    for trial in &one {
        let reward = trial.4.unwrap();
        let metric = trial.5.unwrap();
        assert!((reward - metric.powi(3)).abs() < 1e-9, "reward = accuracy³");
    }
    let sized = "SELECT count(*) FROM trials WHERE parameters > 0 AND flops > 0";
    assert_eq!(count(&run, "SELECT count(*) FROM epochs"), 6);
    assert_eq!(count(&run, sized), 3);
}

/// CIFAR-100's training set: `records` records of superclass, class and pixels.
fn write_fine(path: &Path, records: usize) {
    let record = |number: usize| {
        let mut record = vec![(number % 20) as u8, (number % 100) as u8];
        record.extend((0..3072).map(|position| ((number * 31 + position * 17) % 251) as u8));
        record
    };
    let bytes: Vec<u8> = (0..records).flat_map(record).collect();
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn cifar100_is_searched_with_a_hundred_classes() {
    let folder = tempfile::tempdir().unwrap();
    write_fine(&folder.path().join("train.bin"), 130);
    let fine = [
        "data.kind=cifar100",
        "data.train_size=100",
        "data.validation_size=20",
        "run.trials=1",
    ];
    let fine = fine.into_iter().flat_map(|key| ["--set", key]);
    let printed = succeeds(command(folder.path(), "run", folder.path()).args(fine));
    assert!(
        printed.contains("100 for training, 20 for validation, 100 classes"),
        "{printed}"
    );
    let run = folder.path().join("run");
    let classes = "SELECT count(*) FROM trials WHERE status = 'completed' AND json_extract(architecture, '$.classes') = 100";
    assert_eq!(count(&run, classes), 1);
    // Before any data are read, networks have the size of a hundred classes.
    let sizes = |kind: &str| {
        let mut check = netwright();
        check.arg("check").arg(folder.path().join("small.toml"));
        let printed = succeeds(check.args(["--json", "--set", "data.path=x", "--set", kind]));
        let facts: serde_json::Value = serde_json::from_str(&printed).unwrap();
        facts["sizes"][0]["parameters"]["smallest"]
            .as_u64()
            .unwrap()
    };
    assert!(sizes("data.kind=cifar100") > sizes("data.kind=cifar10"));
    let other = refused(&mut command(folder.path(), "other", folder.path()));
    assert!(other.contains("no data_batch_1.bin here"), "{other}");
}

#[test]
fn broken_files_are_refused_with_file_and_offset_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let batch = folder.path().join("data_batch_1.bin");
    write_batch(&batch, 500);
    let mut bytes = std::fs::read(&batch).unwrap();
    bytes.truncate(3073 * 499 + 17);
    std::fs::write(&batch, &bytes).unwrap();
    let truncated = refused(&mut command(folder.path(), "run", folder.path()));
    bytes.truncate(3073 * 499);
    bytes[3073 * 4] = 77;
    std::fs::write(&batch, &bytes).unwrap();
    let mislabelled = refused(&mut command(folder.path(), "run", folder.path()));
    for (message, offset) in [(truncated, 3073 * 499), (mislabelled, 3073 * 4)] {
        assert!(
            message.contains("data_batch_1.bin") && message.contains(&offset.to_string()),
            "{message}"
        );
    }
    assert!(!folder.path().join("run").exists());
}

#[test]
fn real_cifar10_trains_where_it_is_found() {
    let data =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data/cifar-10-batches-bin");
    if !data.is_dir() {
        eprintln!("skipped: no CIFAR-10 at {}", data.display());
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    succeeds(&mut command(folder.path(), "run", &data));
    let trials = trials(&folder.path().join("run"));
    assert!(
        trials.iter().all(|trial| trial.3 == "completed"),
        "{trials:?}"
    );
}

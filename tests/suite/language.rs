//! A search for recurrent cells on a text, as a user runs it: a text of our own making always, the
//! Penn Treebank where it is found.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Sentences in which a word depends on the one before it.
fn write_text(folder: &Path) {
    for (name, lines) in [("toy.train.txt", 400), ("toy.valid.txt", 60)] {
        let mut text = String::new();
        for line in 0..lines {
            let (subject, verb) = (
                ["cats", "dogs", "owls"][line % 3],
                ["see", "chase", "fear"][line * 7 / 3 % 3],
            );
            writeln!(text, "{subject} {verb} <unk> and {subject} sleep").unwrap();
        }
        std::fs::write(folder.join(name), text).unwrap();
    }
}

/// `netwright COMMAND` with a small search; `data` names the folder.
fn netwright(command: &str, folder: &Path, run: &str, data: &Path, more: &[&str]) -> Output {
    let config = folder.join("small.toml");
    std::fs::write(
        &config,
        "[run]\nname = \"small\"\ntrials = 4\nseed = 5\n[space]\nkind = \"cell\"\nbase = 3\n[controller]\nchildren = 2\n\
         [child]\nepochs = 2\nhidden = 8\nlayers = 1\nsteps = 10\nbatch_size = 10\ninit_scale = 0.2\nlearning_rate = 0.2\n\
         embedding_dropout = 0.0\ninput_dropout = 0.0\nrecurrent_dropout = 0.0\noutput_dropout = 0.1\n\
         [data]\nkind = \"text\"\n[devices]\nuse = [\"cpu\"]\n[telemetry]\nlisten = \"off\"\n",
    )
    .unwrap();
    let mut program: Command = super::common::netwright();
    program
        .arg(command)
        .arg(config)
        .arg("--run-dir")
        .arg(folder.join(run))
        .arg("--set")
        .arg(format!("data.path={}", data.display()));
    program.args(more).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn cells_are_trained_and_rewarded_by_their_perplexity_and_the_same_seed_gives_the_same_numbers() {
    let folder = tempfile::tempdir().unwrap();
    write_text(folder.path());
    for run in ["one", "two"] {
        let output = netwright("search", folder.path(), run, folder.path(), &[]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let shown = text(&output.stdout);
        for part in [
            "a text; 2800 words for training, 420 for validation, 10 different",
            "validation perplexity: best child",
            "word frequencies",
        ] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
        assert!(!shown.contains('%'), "a perplexity is no accuracy: {shown}");
    }
    let (one, two) = (
        super::common::trials(&folder.path().join("one")),
        super::common::trials(&folder.path().join("two")),
    );
    assert_eq!((one.len(), &one), (4, &two));
    for trial in &one {
        let (reward, perplexity) = (trial.4.unwrap(), trial.5.unwrap());
        assert!(
            (reward - 80.0 / perplexity.powi(2)).abs() < 1e-9 && (1.0..11.0).contains(&perplexity),
            "{trial:?}"
        );
    }
    let database = super::common::database(&folder.path().join("one")).unwrap();
    let sized = "SELECT (SELECT count(*) FROM epochs), (SELECT count(*) FROM trials WHERE parameters = 2 * 80 + 10 + 3 * 2 * 64)";
    let (epochs, sized): (u64, u64) = database
        .query_row(sized, [], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();
    assert_eq!((epochs, sized), (8, 4));
}

#[test]
fn compare_trains_reference_cells_beside_the_best_found() {
    let folder = tempfile::tempdir().unwrap();
    write_text(folder.path());
    let alone = netwright(
        "compare",
        folder.path(),
        "run",
        folder.path(),
        &["--cell", "lstm", "--json", "--set", "child.epochs=1"],
    );
    let rows: serde_json::Value = serde_json::from_slice(&alone.stdout).unwrap();
    assert_eq!(
        (
            rows.as_array().unwrap().len(),
            rows[0]["cell"].as_str(),
            rows[0]["hidden"].as_u64()
        ),
        (1, Some("lstm"), Some(8))
    );
    // A cell of the literature may come first in a search too: in the model that it has in a
    // comparison.
    let (file, lstm) = (
        folder.path().join("lstm.json"),
        "{\"version\": 1, \"kind\": \"cell\", \"reference\": \"lstm\"}",
    );
    std::fs::write(&file, lstm).unwrap();
    let enqueue = format!("enqueue=[{{ architecture = {file:?} }}]");
    let searched = netwright(
        "search",
        folder.path(),
        "run",
        folder.path(),
        &["--set", "run.trials=2", "--set", &enqueue],
    );
    assert!(searched.status.success(), "{}", text(&searched.stderr));
    let entry = "SELECT enqueued, status, parameters FROM trials WHERE id = 1";
    let database = super::common::database(&folder.path().join("run")).unwrap();
    let entry: (String, String, u64) = database
        .query_row(entry, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .unwrap();
    assert_eq!(
        entry,
        (
            "lstm".into(),
            "completed".into(),
            rows[0]["parameters"].as_u64().unwrap()
        )
    );
    let output = netwright("compare", folder.path(), "run", folder.path(), &[]);
    let shown = text(&output.stdout);
    assert!(
        ["rnn", "lstm", "gru", "nascell", "trial "]
            .iter()
            .all(|name| shown.contains(name)),
        "{shown}{}",
        text(&output.stderr)
    );
    let wrong = netwright(
        "compare",
        folder.path(),
        "run",
        folder.path(),
        &["--cell", "tree"],
    );
    assert!(
        wrong.status.code() == Some(2) && text(&wrong.stderr).contains("rnn, lstm, gru, nascell"),
        "{}",
        text(&wrong.stderr)
    );
}

#[test]
fn what_cannot_work_is_refused_in_one_message_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    write_text(folder.path());
    std::fs::write(folder.path().join("bad.txt"), b"cats\nsee \xff\n").unwrap();
    std::fs::write(folder.path().join("other.txt"), "cats fly\n").unwrap();
    std::fs::write(folder.path().join("plain.txt"), "cats see\n").unwrap();
    let plain = format!(
        "data.train_file={}",
        folder.path().join("plain.txt").display()
    );
    let cases: [(&[&str], &str); 7] = [
        (
            &["--set", "data.validation_file=bad.txt"],
            "bad.txt: line 2",
        ),
        (
            &[
                "--set",
                "data.validation_file=other.txt",
                "--set",
                &plain,
                "--set",
                "child.batch_size=1",
            ],
            "\"fly\" in line 1",
        ),
        (
            &["--set", "data.kind=builtin"],
            "space.kind = \"cell\" is trained on a text",
        ),
        (&["--set", "data.whiten=channel"], "data.whiten"),
        (&["--set", "child.hidden=0"], "child.hidden"),
        (&["--set", "data.train_size=5"], "child.batch_size"),
        (&["--set", "space.kind=conv"], "data.kind"),
    ];
    for (set, part) in cases {
        let output = netwright("search", folder.path(), "run", folder.path(), set);
        let message = text(&output.stderr);
        assert!(
            output.status.code() == Some(2) && message.contains(part),
            "{set:?}: {message}"
        );
    }
    assert!(!folder.path().join("run").exists());
    // The hidden size is solved for the parameters; where none fits, it is said which come nearest.
    let config = folder.path().join("solved.toml");
    std::fs::write(
        &config,
        "[space]\nkind = \"cell\"\n[data]\nkind = \"text\"\n[child]\nparameters = 40\n",
    )
    .unwrap();
    let mut program = super::common::netwright();
    let output = program
        .arg("search")
        .arg(&config)
        .arg("--set")
        .arg(format!("data.path={}", folder.path().display()))
        .output()
        .unwrap();
    assert!(
        output.status.code() == Some(2) && text(&output.stderr).contains("child.parameters = 40"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn the_penn_treebank_trains_where_it_is_found() {
    let data = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data/ptb");
    if !data.is_dir() {
        eprintln!("skipped: no Penn Treebank at {}", data.display());
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let slice = [
        "--set",
        "data.train_size=4000",
        "--set",
        "data.validation_size=500",
        "--set",
        "run.trials=2",
    ];
    let output = netwright("search", folder.path(), "run", &data, &slice);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(
        text(&output.stdout).contains("10000 different"),
        "{}",
        text(&output.stdout)
    );
    assert!(
        super::common::trials(&folder.path().join("run"))
            .iter()
            .all(|trial| trial.3 == "completed")
    );
}

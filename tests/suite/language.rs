//! A search for recurrent cells on a text, as a user runs it: a text of our own making always, the
//! Penn Treebank where it is found.

use super::common::{count, database, netwright, refused, stderr, stdout, succeeds, trials};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Sentences in which a word depends on the one before it.
fn write_text(folder: &Path) {
    for (name, lines) in [("toy.train.txt", 400), ("toy.valid.txt", 60)] {
        let mut text = String::new();
        for line in 0..lines {
            let subject = ["cats", "dogs", "owls"][line % 3];
            let verb = ["see", "chase", "fear"][line * 7 / 3 % 3];
            writeln!(text, "{subject} {verb} <unk> and {subject} sleep").unwrap();
        }
        std::fs::write(folder.join(name), text).unwrap();
    }
}

/// `netwright SUBCOMMAND` with a small search; `data` names the folder of the text.
fn command(subcommand: &str, folder: &Path, run: &str, data: &Path) -> Command {
    let config = folder.join("small.toml");
    std::fs::write(
        &config,
        "[run]\nname = \"small\"\ntrials = 4\nseed = 5\n[space]\nkind = \"cell\"\nbase = 3\n[controller]\nchildren = 2\n\
         [child]\nepochs = 2\nhidden = 8\nlayers = 1\nsteps = 10\nbatch_size = 10\ninit_scale = 0.2\nlearning_rate = 0.2\n\
         embedding_dropout = 0.0\ninput_dropout = 0.0\nrecurrent_dropout = 0.0\noutput_dropout = 0.1\n\
         [data]\nkind = \"text\"\n[devices]\nuse = [\"cpu\"]\n[telemetry]\nlisten = \"off\"\n",
    )
    .unwrap();
    let mut command = netwright();
    command
        .arg(subcommand)
        .arg(config)
        .arg("--run-dir")
        .arg(folder.join(run))
        .arg("--set")
        .arg(format!("data.path={}", data.display()));
    command
}

#[test]
fn cells_are_trained_and_rewarded_by_their_perplexity_and_the_same_seed_gives_the_same_numbers() {
    let folder = tempfile::tempdir().unwrap();
    write_text(folder.path());
    for run in ["one", "two"] {
        let shown = succeeds(&mut command("search", folder.path(), run, folder.path()));
        for part in [
            "a text; 2800 words for training, 420 for validation, 10 different",
            "validation perplexity: best child",
            "word frequencies",
        ] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
        assert!(!shown.contains('%'), "a perplexity is no accuracy: {shown}");
    }
    let run = folder.path().join("one");
    let one = trials(&run);
    let two = trials(&folder.path().join("two"));
    assert_eq!((one.len(), &one), (4, &two));
    for trial in &one {
        let reward = trial.4.unwrap();
        let perplexity = trial.5.unwrap();
        assert!(
            (reward - 80.0 / perplexity.powi(2)).abs() < 1e-9 && (1.0..11.0).contains(&perplexity),
            "{trial:?}"
        );
    }
    let sized = "SELECT count(*) FROM trials WHERE parameters = 2 * 80 + 10 + 3 * 2 * 64";
    assert_eq!(count(&run, "SELECT count(*) FROM epochs"), 8);
    assert_eq!(count(&run, sized), 4);
}

#[test]
fn compare_trains_reference_cells_beside_the_best_found() {
    let folder = tempfile::tempdir().unwrap();
    write_text(folder.path());
    let compare = || command("compare-architectures", folder.path(), "run", folder.path());
    let alone = ["--cell", "lstm", "--json", "--set", "child.epochs=1"];
    let rows = succeeds(compare().args(alone));
    let rows: serde_json::Value = serde_json::from_str(&rows).unwrap();
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
    let file = folder.path().join("lstm.json");
    let lstm = "{\"version\": 1, \"kind\": \"cell\", \"reference\": \"lstm\"}";
    std::fs::write(&file, lstm).unwrap();
    let enqueue = format!("enqueue=[{{ architecture = {file:?} }}]");
    let mut search = command("search", folder.path(), "run", folder.path());
    succeeds(search.args(["--set", "run.trials=2", "--set", &enqueue]));
    let entry = "SELECT enqueued, status, parameters FROM trials WHERE id = 1";
    let entry: (String, String, u64) = database(&folder.path().join("run"))
        .unwrap()
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
    let output = compare().output().unwrap();
    let shown = stdout(&output);
    assert!(
        ["rnn", "lstm", "gru", "nascell", "trial "]
            .iter()
            .all(|name| shown.contains(name)),
        "{shown}{}",
        stderr(&output)
    );
    let message = refused(compare().args(["--cell", "tree"]));
    assert!(message.contains("rnn, lstm, gru, nascell"), "{message}");
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
        let mut search = command("search", folder.path(), "run", folder.path());
        let message = refused(search.args(set));
        assert!(message.contains(part), "{set:?}: {message}");
    }
    assert!(!folder.path().join("run").exists());
    // The hidden size is solved for the parameters; where none fits, it is said which come nearest.
    let config = folder.path().join("solved.toml");
    std::fs::write(
        &config,
        "[space]\nkind = \"cell\"\n[data]\nkind = \"text\"\n[child]\nparameters = 40\n",
    )
    .unwrap();
    let data = format!("data.path={}", folder.path().display());
    let message = refused(
        netwright()
            .arg("search")
            .arg(&config)
            .args(["--set", &data]),
    );
    assert!(message.contains("child.parameters = 40"), "{message}");
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
    let printed = succeeds(command("search", folder.path(), "run", &data).args(slice));
    assert!(printed.contains("10000 different"), "{printed}");
    let trials = trials(&folder.path().join("run"));
    assert!(
        trials.iter().all(|trial| trial.3 == "completed"),
        "{trials:?}"
    );
}

//! `netwright retrain`: networks of a search are trained again by every recipe, the winner on all
//! data, and only its final weights meet the test set, whatever interrupts it.

use super::common::{
    Running, Search, assert_verifies, count, database, killed_at, netwright, printed, refused,
    stderr, stdout, succeeds, text, trials, wait_until,
};
use netwright::child::TrainedNetwork;
use rustix::fs::inotify;
use rustix::io::Errno;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::Write as _;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The settings of tiny networks on few images, one lane.
const SMALL: &str = "[run]\nname = \"t\"\ntrials = 4\nkeep_weights = 2\n[space]\nlayers = 1\nfilters = [2, 4]\nfilter_height = [1, 3]\n\
                     filter_width = [1, 3]\nstride_height = [4]\nstride_width = [4]\n[controller]\nchildren = 4\n\
                     [child]\nepochs = 2\nbatch_size = 16\ncheckpoint_seconds = 0\n[devices]\nuse = [\"cpu\"]\nlanes_per_device = 1\n\
                     [telemetry]\nlisten = \"off\"\n";

const IMAGES: &str =
    "[data]\nkind = \"builtin\"\ntrain_size = 64\nvalidation_size = 64\naugment = false\n";

/// Records of CIFAR-10's format whose images carry their class.
fn write_batch(path: &Path, records: usize) {
    let mut file = std::io::BufWriter::new(std::fs::File::create(path).unwrap());
    for record in 0..records {
        let label = record * 7 % 10;
        file.write_all(&[label as u8]).unwrap();
        let pixel = |position: usize| {
            let noise = (record * 31 + position * 17) % 97 / 3;
            let value = if position % 1024 / 96 == label {
                200
            } else {
                40
            };
            (value + noise) as u8
        };
        let pixels: Vec<u8> = (0..3072).map(pixel).collect();
        file.write_all(&pixels).unwrap();
    }
}

/// A folder with a finished search, `run`.
struct Searched {
    folder: tempfile::TempDir,
}

impl Searched {
    fn new(data: &str) -> Self {
        let searched = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        std::fs::write(searched.path("search.toml"), format!("{SMALL}{data}")).unwrap();
        searched
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn search(&self) {
        let mut search = netwright();
        search.current_dir(self.folder.path());
        succeeds(search.args(["search", "search.toml", "--run-dir", "run"]));
    }

    /// `netwright retrain run ARGUMENTS`
    fn retrain(&self, arguments: &[&str]) -> Command {
        let mut command = netwright();
        command.current_dir(self.folder.path());
        command.args(["retrain", "run"]).args(arguments);
        command
    }
}

/// What a retraining prints with `--json`.
fn result(command: &mut Command) -> Value {
    let output = command.arg("--json").output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    serde_json::from_str(&stdout(&output)).unwrap()
}

/// Counts how often files of a folder are opened for reading.
struct Opens {
    watch: OwnedFd,
    opened: usize,
}

impl Opens {
    fn of(file: &Path) -> Self {
        let watch = inotify::init(inotify::CreateFlags::NONBLOCK).unwrap();
        // With the closings between them, two openings are never told as one.
        let events = inotify::WatchFlags::OPEN | inotify::WatchFlags::CLOSE_NOWRITE;
        inotify::add_watch(&watch, file, events).unwrap();
        Self { watch, opened: 0 }
    }

    fn count(&mut self) -> usize {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(&self.watch, &mut buffer);
        loop {
            match events.next() {
                Ok(event) => {
                    let is_opening = event.events().contains(inotify::ReadFlags::OPEN);
                    self.opened += usize::from(is_opening);
                }
                Err(Errno::WOULDBLOCK) => return self.opened,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// The command as it runs until it stands still at this point of this trial, and is killed there.
fn killed_at_point(mut command: Command, fault: &str, mut is_there: impl FnMut() -> bool) {
    command.env("NETWRIGHT_FAULT", fault);
    let mut process = Running::start_silent(&mut command);
    wait_until(fault, || {
        assert!(!process.has_ended(), "{fault}: it has ended");
        is_there()
    });
    process.kill();
}

fn has(run: &Path, sql: &str) -> bool {
    count(run, sql) > 0
}

#[test]
fn killed_in_every_phase_it_ends_in_the_same_numbers_and_the_winner_alone_is_tested() {
    let searched = Searched::new(
        "[data]\nkind = \"cifar10\"\npath = \"data\"\ntrain_size = 96\nvalidation_size = 48\naugment = false\n",
    );
    std::fs::create_dir(searched.path("data")).unwrap();
    write_batch(&searched.path("data/data_batch_1.bin"), 150);
    let test = searched.path("data/test_batch.bin");
    write_batch(&test, 70);
    let mut opens = Opens::of(&test);
    searched.search();
    let command = |run: &str| {
        let rates = "retrain.learning_rate=[0.1, 0.02]";
        let more = [
            "--set",
            "retrain.decay_epoch=[1]",
            "--set",
            "retrain.final_epochs=3",
        ];
        let arguments = ["--top", "2", "--run-dir", run, "--set", rates];
        searched.retrain(&[&arguments[..], &more].concat())
    };
    let whole = result(&mut command("whole"));
    assert_eq!(opens.count(), 1, "for the winner alone");
    assert_eq!(whole["test"]["images"], 70);
    assert_eq!(
        (whole["training_examples"].clone(), whole["epochs"].clone()),
        (json!(144), json!(3))
    );
    let chosen = whole["chosen_trial"].as_u64().unwrap();
    assert_eq!(whole["trial"], 5, "after two networks, each by two recipes");

    let killed = searched.path("killed");
    killed_at(command("killed"), 3);
    let fault = format!("retrain.chosen.hold={chosen}");
    let all = "SELECT count(*) FROM meta WHERE key = 'closed' AND value = 'yes'";
    killed_at_point(command("killed"), &fault, || has(&killed, all));
    killed_at(command("killed"), 5);
    let begun = "SELECT count(*) FROM epochs WHERE trial = 5 AND epoch = 2";
    killed_at_point(command("killed"), "epoch2.hold=5", || has(&killed, begun));
    assert_eq!(opens.count(), 1, "nobody has looked at the test set before");
    let hashed = "SELECT count(*) FROM meta WHERE key = 'final_weights'";
    killed_at_point(command("killed"), "retrain.hashed.hold=5", || {
        has(&killed, hashed)
    });
    assert_eq!(opens.count(), 1, "the hash comes first");
    killed_at_point(command("killed"), "retrain.tested.hold=5", || {
        opens.count() == 2
    });
    assert!(!has(
        &killed,
        "SELECT count(*) FROM meta WHERE key = 'final_evaluation'"
    ));
    assert_eq!(result(&mut command("killed")), whole);
    assert_eq!(
        opens.count(),
        3,
        "a kill has the same weights evaluated again"
    );
    assert_eq!(trials(&killed), trials(&searched.path("whole")));
    assert_eq!(result(&mut command("killed")), whole, "it is done");
    assert_eq!(opens.count(), 3);
    assert_verifies(&killed);
    assert_eq!(
        count(
            &killed,
            "SELECT count(*) FROM epochs WHERE trial = 5 AND metric IS NULL"
        ),
        3
    );

    // Other weights in their place are not evaluated, and not exported.
    let weights = killed.join("weights/final.safetensors");
    let mut bytes = std::fs::read(&weights).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&weights, bytes).unwrap();
    let mut export = netwright();
    export
        .arg("export")
        .arg(&killed)
        .args(["5", "--format", "torch"]);
    let output = export.arg(searched.path("out")).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(stderr(&output).contains("is not the file that the retraining has written"));
}

#[test]
fn a_retraining_is_a_run_like_any_other_and_its_weights_are_exported_first() {
    let searched = Searched::new(IMAGES);
    searched.search();
    let mut command = searched.retrain(&["--set", "retrain.weight_decay=[0.0, 0.001]"]);
    let shown = succeeds(&mut command);
    let best: u64 = {
        let sql = "SELECT id FROM trials ORDER BY reward DESC, id LIMIT 1";
        count(&searched.path("run"), sql)
    };
    for part in [
        format!("networks: trial {best}; recipes: 2 (2 trainings; validation chooses)"),
        "test set: 2000 images of its own, drawn; it is read once".into(),
        "final training: 2 epochs; data: synthetic images, drawn by this program; 128 for training, 0 for validation".into(),
        format!("retrained: trial {best} of the search\nchosen by validation: trial"),
        ": weight_decay 0.0".into(),
        "test error ".into(),
        "images of each class (row) by what the network takes them for (column)".into(),
    ] {
        assert!(shown.contains(&part), "{part}: {shown}");
    }
    let run = searched.path("run/retrain-top-1");
    let status: Value = serde_json::from_str(&printed("status", &run, &["--json"])).unwrap();
    assert_eq!(status["final_evaluation"]["search_trial"], json!(best));
    assert!(printed("status", &run, &[]).contains("test error"));
    let top = printed("top", &run, &[]);
    assert!(
        top.contains("[weight_decay 0.0") && top.contains("[final training"),
        "{top}"
    );
    assert!(!top.contains("baseline"), "{top}");
    let last = printed("show", &run, &["3"]);
    assert!(
        last.contains("final training, on training and validation data"),
        "{last}"
    );
    assert!(last.contains("final.safetensors"), "{last}");
    let first = printed("show", &run, &["1"]);
    assert!(first.contains("recipe      weight_decay 0.0"), "{first}");
    succeeds(netwright().arg("report").arg(&run));

    // The search's trial has the retrained weights, whatever it has kept itself.
    let out = searched.path("out");
    let mut export = netwright();
    export
        .arg("export")
        .arg(searched.path("run"))
        .arg(best.to_string());
    let said = succeeds(export.args(["--format", "torch"]).arg(&out));
    assert!(
        said.contains("weights: those of the retraining") && said.contains("test error"),
        "{said}"
    );
    let config: Value =
        serde_json::from_str(&std::fs::read_to_string(out.join("config.json")).unwrap()).unwrap();
    assert_eq!(config["training"]["training_examples"], 128);
    assert_eq!(config["test"]["images"], 2000);
    let card = std::fs::read_to_string(out.join("README.md")).unwrap();
    assert!(card.contains("test data (2000 images)"), "{card}");
    let bytes = std::fs::read(run.join("weights/final.safetensors")).unwrap();
    let kept = TrainedNetwork::from_file(&bytes).unwrap();
    assert_eq!(
        (kept.record.training.validation, kept.record.test),
        (None, None)
    );
    // What the search had kept lies beside them.
    let copy = run.join(format!("weights/search-{best}.safetensors"));
    let own = searched.path(&format!("run/weights/trial-{best}.safetensors"));
    assert!(std::fs::read(copy).unwrap() == std::fs::read(own).unwrap());
}

#[test]
fn other_networks_recipes_or_data_are_refused_and_nothing_is_harmed() {
    let searched = Searched::new(IMAGES);
    searched.search();
    let message = refused(&mut searched.retrain(&["--trial", "9"]));
    assert!(
        message.contains("no trial 9; its trials are 1 to 4"),
        "{message}"
    );
    let message = refused(&mut searched.retrain(&["--set", "retrain.dropouts=[[0, 0, 0, 0]]"]));
    assert!(
        message.contains("retrain.dropouts: has no effect with space.kind = \"conv\""),
        "{message}"
    );
    let message = refused(&mut searched.retrain(&["--set", "retrain.learning_rate=[0.1, 0.1]"]));
    assert!(
        message.contains("must list different rates above 0"),
        "{message}"
    );
    let message = refused(&mut searched.retrain(&["--set", "data.train_size=65"]));
    assert!(
        message.contains("the data are not those of the search any more"),
        "{message}"
    );
    assert!(!searched.path("run/retrain-top-1").exists());

    let first = result(&mut searched.retrain(&["--trial", "2"]));
    assert_eq!(
        (first["network"].clone(), first["chosen"].clone()),
        (json!("trial 2"), json!([]))
    );
    let run = searched.path("run/retrain-2");
    let message = refused(&mut searched.retrain(&["--trial", "2", "--set", "retrain.epochs=7"]));
    assert!(
        message.contains("was begun with other recipes"),
        "{message}"
    );
    let message = refused(&mut searched.retrain(&["--trial", "2", "--set", "child.batch_size=8"]));
    assert!(
        message.contains("child.batch_size: 16 in the run, 8 now"),
        "{message}"
    );
    let message = refused(&mut searched.retrain(&["--trial", "1", "--run-dir", "run/retrain-2"]));
    assert!(
        message.contains("trains another network (trial 2)"),
        "{message}"
    );
    let message = refused(netwright().args(["retrain"]).arg(&run));
    assert!(message.contains("is a retraining itself"), "{message}");
    assert_eq!(result(&mut searched.retrain(&["--trial", "2"])), first);
    let mut anew = searched.retrain(&["--trial", "2", "--fresh", "--set", "retrain.epochs=1"]);
    assert_eq!(result(&mut anew)["epochs"], 1);
    assert!(searched.path("run/retrain-2.1/search.db").exists());
}

#[test]
fn tables_and_programs_cannot_be_retrained() {
    let table = Search::new(8, "");
    succeeds(&mut table.command("run"));
    let message = refused(netwright().arg("retrain").arg(table.run_dir("run")));
    assert!(
        message.contains("child.evaluator = \"table\": a table looks rewards up"),
        "{message}"
    );
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("c.toml");
    std::fs::write(
        &config,
        "[child]\nevaluator = \"command\"\n[child.command]\nargv = [\"true\"]\n",
    )
    .unwrap();
    let file = folder.path().join("a.json");
    let mut command = netwright();
    let message = refused(
        command
            .arg("retrain")
            .arg(&config)
            .arg("--architecture")
            .arg(&file),
    );
    assert!(
        message.contains("child.evaluator = \"command\": a program of your own"),
        "{message}"
    );
    let message = refused(
        netwright()
            .arg("retrain")
            .arg(folder.path().join("nothing")),
    );
    assert!(message.contains("there is no run here"), "{message}");
}

#[test]
fn a_network_from_a_file_is_widened_and_trained_beside_the_run_of_its_config() {
    let searched = Searched::new(IMAGES);
    searched.search();
    let written = succeeds(
        netwright()
            .args(["show", "--json"])
            .arg(searched.path("run"))
            .arg("1"),
    );
    std::fs::write(searched.path("mine.json"), &written).unwrap();
    let narrow: Value = serde_json::from_str(&written).unwrap();
    let filters = |network: &Value| network["layers"][0]["filters"].as_u64().unwrap();
    let command = || {
        let mut command = netwright();
        command.current_dir(searched.folder.path());
        command.args(["retrain", "--architecture", "mine.json", "search.toml"]);
        command.args(["--set", "retrain.widen=3", "--set", "run.dir=here"]);
        command
    };
    let evaluation = result(&mut command());
    assert_eq!(
        (
            evaluation["network"].clone(),
            evaluation["search_trial"].clone()
        ),
        (json!("mine"), Value::Null)
    );
    let run = searched.path("here-retrain-mine");
    let shown: Value = serde_json::from_str(&printed("show", &run, &["2", "--json"])).unwrap();
    assert_eq!(
        filters(&shown["architecture"]),
        3 + filters(&narrow["architecture"])
    );
    // The same command has nothing left to do; another file of this name is another network.
    assert_eq!(result(&mut command()), evaluation);
    std::fs::write(
        searched.path("mine.json"),
        succeeds(
            netwright()
                .args(["show", "--json"])
                .arg(searched.path("run"))
                .arg("2"),
        ),
    )
    .unwrap();
    let other: Value =
        serde_json::from_str(&std::fs::read_to_string(searched.path("mine.json")).unwrap())
            .unwrap();
    if other["architecture"] != narrow["architecture"] {
        assert!(refused(&mut command()).contains("trains another network (mine)"));
    }
}

/// Sentences in which a word depends on the one before it.
fn write_text(file: &Path, lines: usize) {
    let mut text = String::new();
    for line in 0..lines {
        let subject = ["cats", "dogs", "owls"][line % 3];
        let verb = ["see", "chase", "fear"][line * 7 / 3 % 3];
        writeln!(text, "{subject} {verb} <unk> and {subject} sleep").unwrap();
    }
    std::fs::write(file, text).unwrap();
}

#[test]
fn without_a_test_set_a_cell_ends_with_its_weights_and_is_scored_when_there_is_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    write_text(&path("toy.train.txt"), 120);
    write_text(&path("toy.valid.txt"), 30);
    let config = "[run]\nname = \"small\"\ntrials = 2\n[space]\nkind = \"cell\"\nbase = 3\n[controller]\nchildren = 2\n\
                  [child]\nepochs = 2\nhidden = 6\nlayers = 1\nsteps = 10\nbatch_size = 5\ninit_scale = 0.2\nlearning_rate = 0.2\n\
                  [data]\nkind = \"text\"\npath = \".\"\n[retrain]\ndropouts = [[0.0, 0.1, 0.0, 0.1], [0.0, 0.0, 0.0, 0.0]]\n\
                  [devices]\nuse = [\"cpu\"]\nlanes_per_device = 1\n[telemetry]\nlisten = \"off\"\n";
    std::fs::write(path("search.toml"), config).unwrap();
    let here = || {
        let mut command = netwright();
        command.current_dir(folder.path());
        command
    };
    succeeds(here().args(["search", "search.toml", "--run-dir", "run"]));
    let retrain = || {
        let mut command = here();
        command.args(["retrain", "run", "--trial", "2"]);
        command
    };
    let shown = succeeds(&mut retrain());
    let without =
        "no test set: . holds no test.txt (nor *.test.txt), and data.test_file names none";
    assert!(
        shown.contains(&format!("{without}; the retraining ends")),
        "{shown}"
    );
    assert!(
        shown.contains(&format!("{without}; nothing was tested")),
        "{shown}"
    );
    let untested = result(&mut retrain());
    assert_eq!(untested["test"], Value::Null);
    write_text(&path("toy.test.txt"), 40);
    let tested = result(&mut retrain());
    assert_eq!(
        tested["weights_sha256"], untested["weights_sha256"],
        "the same weights"
    );
    assert_eq!(tested["test"]["tokens"], 280);
    let perplexity = tested["test"]["perplexity"].as_f64().unwrap();
    let validation = tested["validation"].as_f64().unwrap();
    // Test and validation text are of one kind.
    assert!(
        perplexity > 1.0 && perplexity < 2.0 * validation,
        "{perplexity} {validation}"
    );
    let connection = database(&path("run/retrain-2")).unwrap();
    let recipes: Vec<String> = connection
        .prepare("SELECT decisions FROM trials ORDER BY id")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(
        (recipes.len(), &recipes[..2]),
        (3, &["[0]".to_owned(), "[1]".to_owned()][..])
    );
}

#[test]
fn a_search_that_is_at_work_is_left_alone_and_warned_of() {
    let searched = Searched::new(IMAGES);
    searched.search();
    let mut search = netwright();
    search.current_dir(searched.folder.path());
    search.args([
        "search",
        "search.toml",
        "--run-dir",
        "run",
        "--set",
        "run.trials=8",
    ]);
    search.env("NETWRIGHT_FAULT", "start.hold=6");
    let mut search = Running::start_silent(&mut search);
    let run = searched.path("run");
    wait_until("trial 6 is under way", || {
        has(
            &run,
            "SELECT count(*) FROM trials WHERE id = 6 AND status = 'running'",
        )
    });
    let output = searched.retrain(&["--trial", "1"]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    assert!(
        stderr(&output).contains("the search is still running; both use the same devices"),
        "{}",
        text(&output)
    );
    assert!(!search.has_ended());
    search.kill();
}

//! A child that trains for long goes on from its checkpoint when the search is killed, stopped, or
//! its lane frozen: with the numbers of one that was never interrupted, and without training again
//! what it had trained.

use super::common::{Running, Search, assert_same_numbers, database, succeeds, wait_until};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

/// `child.checkpoint_seconds`: so small that a checkpoint is due after every step.
const EVERY_STEP: f64 = 1e-9;

/// Two children, one after the other.
fn images(epochs: usize, checkpoint_seconds: f64) -> Search {
    let search = Search::new(1, "");
    let config = format!(
        "[run]\ntrials = 2\n[space]\nlayers = 2\nfilters = [6, 8]\nstride_height = [2]\nstride_width = [2]\n[controller]\nchildren = 2\n\
         [child]\nepochs = {epochs}\nschedule = \"cosine\"\ncheckpoint_seconds = {checkpoint_seconds}\n\
         [data]\ntrain_size = 320\nvalidation_size = 64\n[devices]\nlanes_per_device = 1\n[telemetry]\nlisten = \"off\"\n"
    );
    std::fs::write(search.folder.path().join("search.toml"), config).unwrap();
    search
}

/// The same of language models, with dropout and a learning rate that falls.
fn language(epochs: usize, checkpoint_seconds: f64) -> Search {
    let search = Search::new(1, "");
    let folder = search.folder.path();
    for (name, lines) in [("train.txt", 600), ("valid.txt", 60)] {
        let mut text = String::new();
        for line in 0..lines {
            let subject = ["cats", "dogs", "owls"][line % 3];
            let verb = ["see", "chase", "fear"][line * 7 / 3 % 3];
            writeln!(text, "{subject} {verb} mice and {subject} sleep").unwrap();
        }
        std::fs::write(folder.join(name), text).unwrap();
    }
    let config = format!(
        "[run]\ntrials = 2\n[space]\nkind = \"cell\"\nbase = 3\n[controller]\nchildren = 2\n\
         [child]\nepochs = {epochs}\nhidden = 24\nlayers = 2\nsteps = 10\nbatch_size = 10\ninit_scale = 0.2\nlearning_rate = 0.2\n\
         checkpoint_seconds = {checkpoint_seconds}\n[data]\nkind = \"text\"\npath = \"{}\"\n\
         [devices]\nuse = [\"cpu\"]\nlanes_per_device = 1\n[telemetry]\nlisten = \"off\"\n",
        folder.display()
    );
    std::fs::write(folder.join("search.toml"), config).unwrap();
    search
}

/// Of each epoch: loss, metric and seconds, as the bits that the journal stores.
type Curve = BTreeMap<u64, (u64, u64, u64)>;

fn curve(run: &Path, trial: u64) -> Curve {
    let Some(connection) = database(run) else {
        return Curve::new();
    };
    let Ok(mut statement) = connection
        .prepare("SELECT epoch, train_loss, metric, seconds FROM epochs WHERE trial = ?1")
    else {
        return Curve::new();
    };
    let bits = |row: &rusqlite::Row, column| row.get(column).map(f64::to_bits);
    let rows = statement.query_map([trial], |row| {
        Ok((row.get(0)?, (bits(row, 1)?, bits(row, 2)?, bits(row, 3)?)))
    });
    rows.unwrap().map(Result::unwrap).collect()
}

/// Loss and metric of both trials' epochs, which must not depend on interruptions.
fn numbers(run: &Path) -> Vec<Vec<(u64, u64, u64)>> {
    [1, 2]
        .map(|trial| {
            curve(run, trial)
                .into_iter()
                .map(|(epoch, (loss, metric, _))| (epoch, loss, metric))
                .collect()
        })
        .into()
}

fn log(run: &Path) -> String {
    std::fs::read_to_string(run.join("log/search.log")).unwrap_or_default()
}

/// Starts the search with a gate at the end of this epoch of this trial, and kills (or stops) the
/// process there. The checkpoint that is left is from the middle of that epoch.
fn interrupt(search: &Search, trial: u64, epoch: usize, signal: Signal) {
    let run = search.run_dir("interrupted");
    let checkpoint = run.join(format!("checkpoints/trial-{trial}/child.checkpoint"));
    let mut command = search.command("interrupted");
    let mut process =
        Running::start_silent(command.env("NETWRIGHT_FAULT", format!("epoch{epoch}.hold={trial}")));
    wait_until(format!("epoch {epoch} of trial {trial} is on disk"), || {
        assert!(!process.has_ended(), "{}", log(&run));
        curve(&run, trial).len() >= epoch && checkpoint.exists()
    });
    process.signal(signal);
    process.wait();
}

fn assert_same(search: &Search) {
    let whole = search.run_dir("whole");
    let interrupted = search.run_dir("interrupted");
    assert_same_numbers(&whole, &interrupted);
    assert_eq!(numbers(&whole), numbers(&interrupted));
    let left = |run: &Path| std::fs::read_dir(run.join("checkpoints")).map_or(0, Iterator::count);
    assert_eq!(
        (left(&whole), left(&interrupted)),
        (0, 0),
        "checkpoints of trials that have their outcome"
    );
}

/// Kills a child three times and stops one; it never goes back to its first epoch.
fn assert_goes_on(search: &Search) {
    let run = search.run_dir("interrupted");
    let mut before = Curve::new();
    for (trial, epoch, signal) in [
        (1, 3, Signal::KILL),
        (1, 5, Signal::KILL),
        (1, 7, Signal::TERM),
        (2, 4, Signal::KILL),
    ] {
        interrupt(search, trial, epoch, signal);
        // Epochs that were not trained again are there with the seconds that they took then.
        let now = curve(&run, 1);
        let kept = before
            .iter()
            .filter(|(epoch, row)| now.get(epoch) == Some(row))
            .count();
        assert!(
            before.is_empty() || kept + 1 >= before.len(),
            "before: {before:?}\nnow: {now:?}"
        );
        before = now;
    }
    succeeds(&mut search.command("interrupted"));
    let log = log(&run);
    let goes_on: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("goes on from its checkpoint"))
        .collect();
    assert_eq!(goes_on.len(), 4, "{log}");
    assert!(
        goes_on.iter().all(|line| !line.contains("epoch=1 ")),
        "{goes_on:?}"
    );
    succeeds(&mut search.command("whole"));
    assert_same(search);
}

#[test]
fn a_convolutional_child_that_is_killed_goes_on_with_the_same_numbers() {
    assert_goes_on(&images(9, EVERY_STEP));
}

#[test]
fn a_language_model_that_is_killed_goes_on_with_the_same_numbers() {
    assert_goes_on(&language(9, EVERY_STEP));
}

#[test]
fn a_child_whose_lane_froze_goes_on_after_the_last_epoch_that_was_kept() {
    let search = images(4, 0.0);
    let mut command = search.command("interrupted");
    command.args([
        "--set",
        "restart.child_trainer.freeze_seconds=5",
        "--set",
        "restart.child_trainer.backoff_first_seconds=0.02",
    ]);
    succeeds(command.env("NETWRIGHT_FAULT", "later.freeze=1"));
    let log = log(&search.run_dir("interrupted"));
    assert!(
        log.contains("goes on from its checkpoint trial=1 epoch=2 step=0"),
        "{log}"
    );
    succeeds(&mut search.command("whole"));
    assert_same(&search);
}

#[test]
fn a_checkpoint_that_is_torn_or_of_another_training_is_passed_over() {
    let search = images(9, EVERY_STEP);
    interrupt(&search, 1, 3, Signal::KILL);
    let run = search.run_dir("interrupted");
    let path = run.join("checkpoints/trial-1/child.checkpoint");
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    // What another process would have left half written, and a trial that is none of this run's.
    std::fs::write(path.with_extension("checkpoint.partial-9"), &whole[..9]).unwrap();
    std::fs::create_dir(run.join("checkpoints/trial-77")).unwrap();
    std::fs::write(run.join("checkpoints/trial-77/child.checkpoint"), &whole).unwrap();
    interrupt(&search, 1, 5, Signal::KILL);
    assert!(
        log(&run).contains("the checkpoint is torn") && !run.join("checkpoints/trial-77").exists(),
        "{}",
        log(&run)
    );
    // Another batch size is another training: the checkpoint is not taken, and the child trains by
    // the new settings from its start.
    let other = ["--set", "child.batch_size=32", "--set", "child.epochs=3"];
    for (name, is_told) in [("interrupted", true), ("whole", false)] {
        succeeds(search.command(name).args(other));
        let log = log(&search.run_dir(name));
        assert_eq!(log.contains("is of another training"), is_told, "{log}");
    }
    assert_same(&search);
}

#[test]
fn under_other_numerics_a_child_begins_again_and_the_log_says_why() {
    let search = images(4, EVERY_STEP);
    interrupt(&search, 1, 2, Signal::KILL);
    let mut command = search.command("interrupted");
    succeeds(command.args(["--set", "devices.threads_per_lane=2"]));
    let log = log(&search.run_dir("interrupted"));
    let line = log
        .lines()
        .find(|line| line.contains("was computed by other numerics"));
    let line = line.unwrap_or_else(|| panic!("{log}"));
    assert!(
        line.contains("(cpu, f32, ") && line.contains(", 1 thread; here they are cpu, f32, "),
        "{line}"
    );
}

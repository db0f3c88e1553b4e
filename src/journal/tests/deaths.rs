//! Which deaths of processes are counted for a trial, and as what.

use super::{completed, finish, insert, open, sampled};
use crate::child::Epoch;
use crate::journal::{Journal, OpenTrial, Reader, fatal_signal_file};
use std::path::Path;
use std::sync::mpsc::channel;

/// A process that has this trial under way until it dies, after this many epochs.
fn process(dir: &Path, trial: u64, epochs: usize) {
    let (journal, _) = open(dir);
    start(&journal, trial);
    for epoch in 1..=epochs {
        let epoch = Epoch {
            epoch,
            train_loss: None,
            metric: 0.5,
            seconds: 1.0,
        };
        journal.epoch(trial, epoch);
    }
    journal.close();
}

fn start(journal: &Journal, trial: u64) {
    let (reply, answer) = channel();
    journal.started(
        trial,
        "cpu",
        Some(Box::new(move |()| reply.send(()).unwrap())),
    );
    answer.recv().unwrap();
}

/// A run with two trials, of which none has begun.
fn run() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    insert(&journal, vec![sampled(0, 0, 2, 0)], false);
    journal.close();
    dir
}

/// Explained and unexplained deaths of a trial, as the next process hears of them.
fn deaths(dir: &Path, trial: u64) -> (u32, u32) {
    let (journal, recovered) = open(dir);
    journal.close();
    let OpenTrial {
        deaths,
        unexplained,
        ..
    } = recovered.open[0].trials[trial as usize - 1];
    (deaths, unexplained)
}

fn die_by(dir: &Path, signal: &str) {
    std::fs::write(fatal_signal_file(dir), signal).unwrap();
}

#[test]
fn a_fatal_signal_explains_a_death_and_its_marker_is_taken_away() {
    let dir = run();
    for count in 1..=3 {
        process(dir.path(), 1, 0);
        die_by(dir.path(), "SIGSEGV");
        assert_eq!(deaths(dir.path(), 1), (count, 0));
        assert!(!fatal_signal_file(dir.path()).exists());
    }
    assert_eq!(deaths(dir.path(), 2), (0, 0), "it was not under way");
    let reader = Reader::open(dir.path()).unwrap();
    let event = reader.last_event("death").unwrap().unwrap();
    assert_eq!(
        event,
        "the process before this one was ended by SIGSEGV; under way were the trials 1"
    );
    let suspects = reader.suspects().unwrap();
    assert_eq!(
        (suspects.len(), suspects[0].trial, suspects[0].deaths),
        (1, 1, 3)
    );
}

#[test]
fn deaths_that_nothing_explains_are_counted_apart() {
    let dir = run();
    for count in 1..=4 {
        process(dir.path(), 2, 0);
        assert_eq!(deaths(dir.path(), 2), (0, count));
    }
    process(dir.path(), 2, 0);
    die_by(dir.path(), "");
    assert_eq!(deaths(dir.path(), 2), (1, 4));
    let (journal, _) = open(dir.path());
    start(&journal, 2);
    finish(&journal, 2, completed(0.5));
    journal.close();
    assert_eq!(deaths(dir.path(), 2), (0, 0), "it has its outcome");
}

#[test]
fn an_epoch_or_a_checkpoint_that_moves_on_ends_the_row() {
    let dir = run();
    for count in 1..=2 {
        process(dir.path(), 1, 0);
        assert_eq!(deaths(dir.path(), 1), (0, count));
    }
    process(dir.path(), 1, 1);
    assert_eq!(deaths(dir.path(), 1), (0, 0));
    // From a checkpoint within the first epoch, of a child whose epochs outlive every process.
    let folder = dir.path().join("checkpoints/trial-2");
    std::fs::create_dir_all(&folder).unwrap();
    for step in [10, 20, 30] {
        process(dir.path(), 2, 0);
        assert_eq!(deaths(dir.path(), 2), (0, 1));
        let checkpoint = crate::child::checkpoint_at(0, step);
        std::fs::write(folder.join("child.checkpoint"), checkpoint).unwrap();
        process(dir.path(), 2, 0);
        assert_eq!(deaths(dir.path(), 2), (0, 0), "step {step}");
    }
    process(dir.path(), 2, 0);
    assert_eq!(deaths(dir.path(), 2), (0, 1), "the checkpoint stands still");
}

#[test]
fn what_dies_by_its_own_signal_in_the_same_place_makes_no_progress() {
    let dir = run();
    for count in 0..3 {
        process(dir.path(), 1, 2);
        die_by(dir.path(), "SIGABRT");
        assert_eq!(deaths(dir.path(), 1), (count, 0));
    }
    process(dir.path(), 1, 3);
    die_by(dir.path(), "SIGABRT");
    assert_eq!(deaths(dir.path(), 1), (0, 0), "it came further");
}

#[test]
fn a_programs_files_are_its_checkpoint() {
    let dir = run();
    let folder = dir.path().join("checkpoints/trial-1/deep");
    std::fs::create_dir_all(&folder).unwrap();
    for size in 1..4 {
        process(dir.path(), 1, 0);
        std::fs::write(folder.join("model.pt"), vec![0; size]).unwrap();
        assert_eq!(deaths(dir.path(), 1), (0, 0));
    }
    std::fs::write(folder.join("../architecture.json"), "{}").unwrap();
    process(dir.path(), 1, 0);
    assert_eq!(deaths(dir.path(), 1), (0, 1));
}

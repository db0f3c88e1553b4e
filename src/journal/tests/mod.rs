//! What the journal promises: ids and sequence numbers without gaps, replies after the commit, the
//! baseline in one order, recovery from any interruption, and nothing lost while the disk refuses.

mod deaths;
mod failures;
mod guards;
mod pruning;
mod tail;
mod versions;

use super::*;
use crate::policy::{AdamState, Baseline, RewardAverages};
use crate::space::{ChoiceNetwork, Network};
use crate::strategy::StrategyName;
use proptest::prelude::*;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

/// How long a test waits for what must happen: it only matters where the code is broken.
const LIMIT: Duration = Duration::from_mins(5);

const LEARNING: LearningSettings = LearningSettings {
    strategy: StrategyName::REINFORCE,
    learning_rate: 0.1,
    baseline_decay: 0.9,
    entropy_weight: 0.0,
    accumulate: 1,
    ppo: None,
    advantage_bound: None,
    redraws: false,
    scores: crate::strategy::Scores::Ranks,
};

fn identity() -> serde_json::Value {
    serde_json::json!({"run.seed": 1, "space.filters": [24, 36]})
}

fn open(dir: &Path) -> (Journal, Recovered) {
    Journal::open(dir, &identity(), &[], "").unwrap()
}

fn sampled(controller: u64, minibatch: u64, m: usize, version: u64) -> SampledMinibatch {
    let architecture = Architecture {
        version: 1,
        network: Network::Choices(ChoiceNetwork { values: [].into() }),
    };
    let trial = |slot: usize| SampledTrial {
        decisions: vec![Decision::Choice(slot), Decision::Skips(vec![1, 0])],
        architecture: architecture.clone(),
        seed: 100 * controller + slot as u64,
        parameters: None,
        flops: Some(7),
    };
    let pulled = PulledParameters {
        boundaries: vec![0, 2, 3],
        versions: vec![version + 1, version],
    };
    SampledMinibatch {
        controller,
        minibatch,
        layers: 6,
        pulled,
        history: HistoryPosition {
            sequence: version,
            trial: 9,
        },
        repeated: 1,
        redrawn: 2,
        pruning: None,
        trials: (0..m).map(trial).collect(),
        held: None,
    }
}

fn insert(journal: &Journal, minibatches: Vec<SampledMinibatch>, round: bool) -> Vec<u64> {
    let (reply, answer) = channel();
    journal.insert(
        minibatches,
        round,
        Box::new(move |ids| reply.send(ids).unwrap()),
    );
    answer.recv().unwrap()
}

fn finish(journal: &Journal, trial: u64, outcome: Outcome) -> Vec<Sequenced> {
    finish_by(journal, FailureRule::SKIP, trial, outcome)
}

fn finish_by(
    journal: &Journal,
    failures: FailureRule,
    trial: u64,
    outcome: Outcome,
) -> Vec<Sequenced> {
    let (reply, answer) = channel();
    journal.finished(
        trial,
        outcome,
        1.0,
        failures,
        Box::new(move |sequenced| reply.send(sequenced).unwrap()),
    );
    answer.recv().unwrap()
}

fn completed(reward: f64) -> Outcome {
    Outcome::Completed {
        reward,
        metric: reward,
        seconds: None,
    }
}

fn failed() -> Outcome {
    Outcome::Failed {
        cause: crate::child::Cause::Diverged,
        error: "diverged".into(),
    }
}

fn change(journal: &Journal, learning: LearningSettings) -> u64 {
    let (reply, answer) = channel();
    journal.change(
        learning,
        Box::new(move |sequence| reply.send(sequence).unwrap()),
    );
    answer.recv().unwrap()
}

fn store(journal: &Journal, sequence: u64, version: u64) {
    store_with(journal, sequence, version, Vec::new());
}

fn store_with(journal: &Journal, sequence: u64, version: u64, held: Vec<HeldParameters>) {
    let state = AdamState {
        version,
        sequence,
        ..AdamState::new(vec![sequence as f32; 3])
    };
    let (reply, answer) = channel();
    let snapshot = Snapshot {
        state,
        averages: RewardAverages::default(),
        learning: LEARNING,
        strategy: vec![sequence as u8],
    };
    journal.snapshot(snapshot, held, Box::new(move |()| reply.send(()).unwrap()));
    answer.recv().unwrap();
}

proptest! {
    #![proptest_config(crate::random::cases(24))]

    /// Several controllers, outcomes in any order, the process gone and back at any point.
    #[test]
    fn the_order_has_no_gaps_and_the_baseline_follows_it(
        sizes in prop::collection::vec(1_usize..4, 1..6), order in prop::collection::vec(0_usize..100, 20), reopen in 0_usize..12
    ) {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, _) = open(dir.path());
        change(&journal, LEARNING);
        let mut waiting = Vec::new();
        for (controller, m) in sizes.iter().enumerate() {
            let first = insert(&journal, vec![sampled(controller as u64, 0, *m, 0)], false)[0];
            prop_assert_eq!(first, 1 + waiting.len() as u64);
            waiting.extend(first..first + *m as u64);
        }
        let total = waiting.len();
        let mut given = Vec::new();
        let mut baseline = Baseline::default();
        for (step, pick) in order.iter().cycle().take(total).enumerate() {
            if step == reopen {
                journal.close();
                journal = open(dir.path()).0;
            }
            let trial = waiting.swap_remove(pick % waiting.len());
            let outcome = if trial % 5 == 0 { failed() } else { completed(trial as f64 / 10.0) };
            for sequenced in finish(&journal, trial, outcome) {
                prop_assert_eq!(sequenced.baseline, baseline.value());
                sequenced.rewards.iter().flatten().for_each(|reward| baseline.push(*reward, LEARNING.baseline_decay));
                given.push(sequenced.sequence);
            }
            prop_assert!(finish(&journal, trial, completed(9.0)).is_empty(), "an outcome counts once");
        }
        prop_assert_eq!(given, (2..2 + sizes.len() as u64).collect::<Vec<_>>());
        journal.close();
        let (journal, recovered) = open(dir.path());
        prop_assert_eq!(recovered.log.len(), 1 + sizes.len());
        prop_assert!(recovered.open.is_empty());
        prop_assert_eq!((recovered.sampled, recovered.completed + recovered.failed), (total as u64, total as u64));
        journal.close();
    }
}

#[test]
fn a_round_takes_its_numbers_together_in_order_and_shares_one_baseline() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    change(&journal, LEARNING);
    let first = insert(&journal, vec![sampled(0, 0, 1, 0)], true)[0];
    assert_eq!(finish(&journal, first, completed(0.5))[0].sequence, 2);
    let ids = insert(
        &journal,
        vec![sampled(0, 1, 2, 0), sampled(1, 0, 1, 0)],
        true,
    );
    assert_eq!(ids, [2, 4]);
    assert!(finish(&journal, 4, completed(0.9)).is_empty());
    assert!(finish(&journal, 3, failed()).is_empty());
    journal.close();
    let (journal, recovered) = open(dir.path());
    assert_eq!(recovered.open.len(), 2);
    assert_eq!(
        recovered.open[1]
            .trials
            .iter()
            .map(|trial| trial.finished)
            .collect::<Vec<_>>(),
        [true]
    );
    let given = finish(&journal, 2, completed(0.7));
    let facts: Vec<_> = given
        .iter()
        .map(|one| {
            (
                one.controller,
                one.sequence,
                one.baseline,
                one.rewards.clone(),
            )
        })
        .collect();
    assert_eq!(
        facts,
        [
            (0, 3, Some(0.5), vec![Some(0.7), None]),
            (1, 4, Some(0.5), vec![Some(0.9)])
        ]
    );
    journal.close();
}

#[test]
fn what_was_running_runs_again_and_its_epochs_are_those_of_the_last_run() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    insert(&journal, vec![sampled(3, 0, 2, 0)], false);
    journal.started(1, "cpu", None);
    journal.epoch(
        1,
        Epoch {
            epoch: 1,
            train_loss: Some(f64::NAN),
            metric: 0.3,
            seconds: 2.0,
        },
    );
    journal.failed_attempt(2, "timeout");
    journal.close();
    let (journal, recovered) = open(dir.path());
    let facts: Vec<_> = recovered.open[0]
        .trials
        .iter()
        .map(|trial| (trial.id, trial.attempt, trial.interruptions))
        .collect();
    assert_eq!(facts, [(1, 0, 1), (2, 1, 0)]);
    assert_eq!(recovered.next_minibatch, [(3, 1)]);
    let reader = Reader::open(dir.path()).unwrap();
    assert_eq!(reader.epochs(1).unwrap()[0].train_loss, None);
    journal.started(1, "cpu", None);
    finish(&journal, 1, Outcome::Stopped);
    assert!(reader.epochs(1).unwrap().is_empty());
    assert_eq!(reader.trial(1).unwrap().unwrap().status, "stopped");
    journal.close();
}

#[test]
fn a_reward_that_is_not_finite_is_a_failure() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    insert(&journal, vec![sampled(0, 0, 1, 0)], false);
    let given = finish(&journal, 1, completed(f64::NAN));
    assert_eq!(given[0].rewards, [None]);
    let row = Reader::open(dir.path()).unwrap().trial(1).unwrap().unwrap();
    assert_eq!((row.status.as_str(), row.reward), ("failed", None));
    journal.close();
}

#[test]
fn recovery_starts_at_a_snapshot_that_holds_every_version_still_needed() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    change(&journal, LEARNING);
    // Pulled at version 0 and still open; pulled at 1 and 2 and finished.
    insert(&journal, vec![sampled(9, 0, 1, 0)], false);
    for (minibatch, version) in [(0, 1), (1, 2)] {
        let id = insert(&journal, vec![sampled(0, minibatch, 1, version)], false)[0];
        finish(&journal, id, completed(0.5));
    }
    store(&journal, 1, 0);
    store(&journal, 2, 1);
    store(&journal, 3, 2);
    journal.close();
    let (journal, recovered) = open(dir.path());
    assert_eq!(
        recovered.snapshot.unwrap().state.sequence,
        1,
        "the open minibatch needs version 0"
    );
    assert_eq!(
        recovered
            .log
            .iter()
            .map(LogEntry::sequence)
            .collect::<Vec<_>>(),
        [2, 3]
    );
    finish(&journal, 1, completed(0.1));
    store(&journal, 4, 3);
    let reader = Reader::open(dir.path()).unwrap();
    assert_eq!(
        reader.snapshot_numbers().unwrap(),
        [4],
        "nothing needs the older ones"
    );
    journal.close();
}

#[test]
fn snapshots_that_no_recovery_can_start_from_do_not_pile_up() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    change(&journal, LEARNING);
    // One minibatch is always in flight: pulled before the snapshot, and in its place after it.
    let mut flying = insert(&journal, vec![sampled(0, 0, 1, 0)], false)[0];
    for round in 0..20 {
        let next = insert(&journal, vec![sampled(0, round + 1, 1, round)], false)[0];
        finish(
            &journal,
            std::mem::replace(&mut flying, next),
            completed(0.5),
        );
        store(&journal, round + 2, round + 1);
    }
    let kept = Reader::open(dir.path())
        .unwrap()
        .snapshot_numbers()
        .unwrap();
    assert_eq!(kept, [21], "the newest one alone may still be of use");
    journal.close();
    let (journal, recovered) = open(dir.path());
    assert!(
        recovered.snapshot.is_none(),
        "the minibatch in flight needs version 19, and the snapshot has 20"
    );
    assert_eq!(recovered.log.len(), 21);
    journal.close();
}

#[test]
fn a_damaged_snapshot_is_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    change(&journal, LEARNING);
    insert(&journal, vec![sampled(9, 0, 1, 1)], false);
    store(&journal, 1, 1);
    journal.close();
    let connection = rusqlite::Connection::open(dir.path().join("search.db")).unwrap();
    connection
        .execute("UPDATE snapshots SET data = zeroblob(length(data))", [])
        .unwrap();
    let (journal, recovered) = open(dir.path());
    assert!(recovered.snapshot.is_none());
    assert_eq!(recovered.log.len(), 1);
    journal.close();
}

#[test]
fn another_identity_is_refused_with_the_difference_and_nothing_changes() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(dir.path(), &identity(), &[], "first").unwrap();
    journal.close();
    let other = serde_json::json!({"run.seed": 1, "space.filters": [24], "space.layers": 6});
    let message = Journal::open(dir.path(), &other, &[], "second")
        .err()
        .unwrap()
        .to_string();
    assert!(
        message.contains("space.filters: [24,36] in the run, [24] now"),
        "{message}"
    );
    assert!(
        message.contains("space.layers: not set in the run, 6 now"),
        "{message}"
    );
    assert_eq!(
        std::fs::read_to_string(dir.path().join("config.toml")).unwrap(),
        "first"
    );
}

#[test]
fn files_that_are_no_run_are_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(
        dir.path().join("search.db"),
        "not a database, whatever its name says, and longer than a header of one",
    )
    .unwrap();
    let message = Journal::open(dir.path(), &identity(), &[], "")
        .err()
        .unwrap()
        .to_string();
    assert!(message.contains("search.db"), "{message}");
    assert!(
        std::fs::read_to_string(dir.path().join("search.db"))
            .unwrap()
            .starts_with("not a database")
    );
    let file = dir.path().join("a file");
    std::fs::write(&file, "").unwrap();
    assert!(matches!(
        Journal::open(&file, &identity(), &[], ""),
        Err(JournalError::Unfit { .. })
    ));
    assert!(matches!(
        Reader::open(&dir.path().join("absent")),
        Err(JournalError::NoRun { .. })
    ));
}

#[test]
fn a_damaged_database_names_the_last_good_copy() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    insert(
        &journal,
        (0..40)
            .map(|controller| sampled(controller, 0, 8, 0))
            .collect(),
        false,
    );
    journal.close();
    open(dir.path()).0.close(); // The copy is taken when a whole run is opened.
    let path = dir.path().join("search.db");
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[4096..middle].fill(0xAB);
    std::fs::write(&path, bytes).unwrap();
    let message = Journal::open(dir.path(), &identity(), &[], "")
        .err()
        .unwrap()
        .to_string();
    assert!(
        message.contains("search.db") && message.contains("search.backup.db"),
        "{message}"
    );
}

/// As `open`, with one backup after the other instead of one each hour.
fn open_with_constant_backups(dir: &Path) -> Journal {
    let health = Arc::new(Health::default());
    let requests = writer::start(
        open::open(dir, &identity(), &[], "").unwrap(),
        health.clone(),
        Duration::ZERO,
    )
    .unwrap();
    Journal { requests, health }
}

/// Trials in a database that nobody writes to; None: it is not there, or not whole.
fn trials_in(path: &Path) -> Option<u64> {
    let connection =
        rusqlite::Connection::open_with_flags(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY)
            .ok()?;
    let verdict: String = connection
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .ok()?;
    (verdict == "ok").then(|| {
        connection
            .query_row("SELECT count(*) FROM trials", [], |row| row.get(0))
            .ok()
    })?
}

#[test]
fn a_run_that_goes_on_keeps_a_rolling_copy_that_stands_in_for_a_damaged_database() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("search.db");
    let backup = dir.path().join("search.backup.db");
    let journal = open_with_constant_backups(dir.path());
    let started = Instant::now();
    let mut inserted = 0;
    // The copy is that of a moment in which the writer went on.
    while trials_in(&backup).is_none_or(|trials| trials < 40) {
        insert(&journal, vec![sampled(0, inserted, 8, 0)], false);
        inserted += 1;
        assert!(
            started.elapsed() < LIMIT,
            "no copy of the run as it goes on"
        );
    }
    journal.close();
    assert!(
        !dir.path().join("search.backup.db.partial").exists(),
        "a copy under way is brought to its end"
    );
    let kept = trials_in(&backup).unwrap();
    assert!(
        kept.is_multiple_of(8) && kept <= 8 * inserted,
        "{kept} of {}",
        8 * inserted
    );
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[4096..middle].fill(0xAB);
    std::fs::write(&path, bytes).unwrap();
    let message = Journal::open(dir.path(), &identity(), &[], "")
        .err()
        .unwrap()
        .to_string();
    assert!(
        message.contains("search.db")
            && message.contains(&format!("the last good copy is {}", backup.display())),
        "{message}"
    );
    assert!(
        backup::back_up_live(dir.path()).is_err(),
        "a damaged database is no new copy"
    );
    assert_eq!(trials_in(&backup), Some(kept));
    std::fs::copy(&backup, &path).unwrap();
    let (journal, recovered) = open(dir.path());
    assert_eq!(recovered.sampled, kept);
    journal.close();
}

#[test]
fn while_the_disk_refuses_replies_wait_and_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    insert(&journal, vec![sampled(0, 0, 2, 0)], false);
    // Another writer holds the database for longer than SQLite waits: every commit fails, as on a
    // full disk.
    let blocker = rusqlite::Connection::open(dir.path().join("search.db")).unwrap();
    blocker.execute_batch("BEGIN IMMEDIATE").unwrap();
    let (reply, answer) = channel();
    for trial in [1, 2] {
        let reply = reply.clone();
        journal.finished(
            trial,
            completed(0.25 * trial as f64),
            1.0,
            FailureRule::SKIP,
            Box::new(move |sequenced| reply.send(sequenced).unwrap()),
        );
        // The second one finds the writer refused already.
        let refused = |problem: String| problem.contains("database is locked");
        let started = Instant::now();
        while !journal.health.problem().is_some_and(refused) {
            assert!(started.elapsed() < LIMIT, "the writer is never refused");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    assert!(answer.try_recv().is_err(), "a reply came before the commit");
    drop(reply);
    blocker.execute_batch("ROLLBACK").unwrap();
    assert!(answer.recv().unwrap().is_empty());
    assert_eq!(answer.recv().unwrap()[0].rewards, [Some(0.25), Some(0.5)]);
    journal.close();
}

#[test]
fn a_listed_trial_is_the_row_as_json_and_lists_have_their_order() {
    use TrialOrder::{Best, Newest, Oldest, Worst};
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    insert(
        &journal,
        vec![sampled(0, 0, 3, 0), sampled(1, 0, 3, 0)],
        false,
    );
    journal.started(1, "cuda:0", None);
    for (trial, reward) in [(1, 0.25), (2, 1.0), (4, 0.1 + 0.2)] {
        finish(&journal, trial, completed(reward));
    }
    let error = "it said \"no\"\n\tand left \\ \u{1b}[0m";
    finish(
        &journal,
        3,
        Outcome::Failed {
            cause: crate::child::Cause::Exited,
            error: error.into(),
        },
    );
    let reader = Reader::open(dir.path()).unwrap();
    let page = |status, order, offset, limit| {
        let (total, rows) = reader.page(status, order, offset, limit).unwrap();
        let ids = rows.iter().map(|row| {
            let row: serde_json::Value = serde_json::from_str(row).unwrap();
            let id = row["id"].as_u64().unwrap();
            assert_eq!(row, serde_json::json!(reader.trial(id).unwrap().unwrap()));
            id
        });
        (total, ids.collect::<Vec<_>>())
    };
    assert_eq!(page(None, Oldest, 0, 100), (6, vec![1, 2, 3, 4, 5, 6]));
    assert_eq!(page(None, Oldest, 4, 5), (6, vec![5, 6]));
    assert_eq!(page(None, Newest, 1, 2), (6, vec![5, 4]));
    assert_eq!(
        (
            page(None, Newest, 5, 2).1,
            page(None, Newest, 6, 2).1,
            page(None, Oldest, u64::MAX >> 1, 2).1
        ),
        (vec![1], vec![], vec![])
    );
    assert_eq!(page(None, Best, 0, 4).1[..3], [2, 4, 1]);
    assert_eq!(page(None, Worst, 0, 3).1, [1, 4, 2]);
    assert_eq!(page(Some("completed"), Newest, 1, 2), (3, vec![2, 1]));
    assert_eq!(page(Some("completed"), Best, 1, 5), (3, vec![4, 1]));
    assert_eq!(page(Some("failed"), Best, 0, 5), (1, vec![3]));
    journal.close();
}

fn enqueue(journal: &Journal, names: &[&str]) -> u64 {
    let trial = sampled(0, 0, 1, 0).trials.remove(0);
    let trials = names
        .iter()
        .map(|name| Enqueued {
            name: (*name).to_owned(),
            trial: trial.clone(),
        })
        .collect();
    let (reply, answer) = channel();
    journal.enqueue(trials, Box::new(move |first| reply.send(first).unwrap()));
    answer.recv().unwrap()
}

#[test]
fn enqueued_trials_take_ids_but_no_place_in_the_order() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    change(&journal, LEARNING);
    assert_eq!(enqueue(&journal, &["a", "b"]), 1);
    assert_eq!(insert(&journal, vec![sampled(0, 0, 2, 0)], false), [3]);
    assert!(
        finish(&journal, 1, completed(9.0)).is_empty() && finish(&journal, 2, failed()).is_empty()
    );
    finish(&journal, 3, completed(0.5));
    assert_eq!(
        finish(&journal, 4, completed(0.7))[0],
        Sequenced {
            controller: 0,
            minibatch: 0,
            sequence: 2,
            round: None,
            baseline: None,
            scale: None,
            rewards: vec![Some(0.5), Some(0.7)],
            cut: Vec::new(),
            curves: Vec::new(),
        }
    );
    assert_eq!(enqueue(&journal, &["c"]), 5);
    journal.close();
    let (journal, recovered) = open_with(dir.path(), &["a", "b", "c"]);
    let enqueued: Vec<_> = recovered
        .enqueued
        .iter()
        .map(|(name, trial)| (name.as_str(), trial.id, trial.finished))
        .collect();
    assert_eq!(enqueued, [("a", 1, true), ("b", 2, true), ("c", 5, false)]);
    assert_eq!(
        (
            recovered.sampled,
            recovered.completed,
            recovered.failed,
            recovered.children_completed
        ),
        (2, 2, 0, 3)
    );
    assert_eq!(
        (
            recovered.rewards,
            recovered.best_metric,
            recovered.log.len()
        ),
        (vec![0.5, 0.7], Some(0.7), 2)
    );
    let reader = Reader::open(dir.path()).unwrap();
    assert_eq!(
        (
            reader.top(9).unwrap()[0].id,
            reader.best().unwrap().unwrap().id,
            reader.worst().unwrap().unwrap().id
        ),
        (1, 4, 3)
    );
    journal.close();
}

/// As a run whose config file has these entries.
fn open_with(dir: &Path, names: &[&str]) -> (Journal, Recovered) {
    let trial = sampled(0, 0, 1, 0).trials.remove(0);
    let entries: Vec<_> = names
        .iter()
        .map(|name| Enqueued {
            name: (*name).to_owned(),
            trial: trial.clone(),
        })
        .collect();
    Journal::open(dir, &identity(), &entries, "").unwrap()
}

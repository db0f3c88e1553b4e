//! A run of any length is recovered from its newest snapshot and what comes after it: parameters are
//! kept for minibatches that were open there, and nothing before it is looked at.

use super::*;

fn held(minibatch: u64, value: f32) -> HeldParameters {
    HeldParameters {
        controller: 0,
        minibatch,
        parameters: vec![value; 3].into(),
    }
}

/// One minibatch is always in flight, pulled before the snapshot that is taken meanwhile; its
/// parameters come with that snapshot, or with the minibatch where the snapshot is under way.
fn run_with_one_in_flight(dir: &Path, rounds: u64) {
    let (journal, _) = open(dir);
    change(&journal, LEARNING);
    let mut flying = insert(&journal, vec![sampled(0, 0, 1, 0)], false)[0];
    for round in 0..rounds {
        let mut next = sampled(0, round + 1, 1, round);
        if round % 2 == 0 {
            next.held = Some(vec![round as f32; 3].into());
        }
        let next = insert(&journal, vec![next], false)[0];
        let done = std::mem::replace(&mut flying, next);
        finish(&journal, done, completed(0.5 + round as f64));
        let open = if round % 2 == 0 {
            Vec::new()
        } else {
            vec![held(round + 1, round as f32)]
        };
        store_with(&journal, round + 2, round + 1, open);
    }
    journal.close();
}

#[test]
fn the_newest_snapshot_serves_while_minibatches_are_in_flight() {
    let dir = tempfile::tempdir().unwrap();
    run_with_one_in_flight(dir.path(), 20);
    let (journal, recovered) = open(dir.path());
    assert_eq!(recovered.snapshot.unwrap().state.sequence, 21);
    assert!(recovered.log.is_empty());
    assert_eq!(recovered.held, [held(20, 19.0)]);
    assert_eq!(recovered.open[0].minibatch, 20);
    assert_eq!(
        (
            recovered.completed,
            recovered.rewards.len(),
            recovered.sequenced
        ),
        (20, 20, 20)
    );
    let reader = Reader::open(dir.path()).unwrap();
    assert_eq!(reader.snapshot_numbers().unwrap(), [21]);
    assert_eq!(
        reader.held().unwrap(),
        (vec![held(20, 19.0)], 0),
        "what the snapshot knows is kept no longer"
    );
    // The log goes on from the snapshot's averages, which are empty in this test.
    assert_eq!(finish(&journal, 21, completed(0.25))[0].baseline, None);
    journal.close();
}

#[test]
fn damaged_parameters_have_the_log_replayed_from_the_seed() {
    let dir = tempfile::tempdir().unwrap();
    run_with_one_in_flight(dir.path(), 3);
    rusqlite::Connection::open(dir.path().join("search.db"))
        .unwrap()
        .execute("UPDATE held SET parameters = zeroblob(12)", [])
        .unwrap();
    assert_eq!(Reader::open(dir.path()).unwrap().held().unwrap().1, 1);
    let (journal, recovered) = open(dir.path());
    assert!(recovered.snapshot.is_none() && recovered.held.is_empty());
    assert_eq!(recovered.log.len(), 4);
    journal.close();
}

#[test]
fn nothing_before_the_snapshot_is_read_again() {
    let dir = tempfile::tempdir().unwrap();
    run_with_one_in_flight(dir.path(), 9);
    let whole = |connection: &rusqlite::Connection| {
        let tail = recovery::log_tail(connection).unwrap();
        let ledger = ledger::Ledger::load(connection).unwrap();
        (tail.snapshot, tail.held, tail.log, ledger.sequence)
    };
    let connection = rusqlite::Connection::open(dir.path().join("search.db")).unwrap();
    let before = whole(&connection);
    connection
        .execute_batch(
            "UPDATE trials SET decisions = 'no JSON', architecture = 'no JSON' WHERE status = 'completed';
             UPDATE minibatches SET versions = 'no JSON', boundaries = '' WHERE sequence IS NOT NULL;
             DELETE FROM trials WHERE id < 5;",
        )
        .unwrap();
    assert_eq!(whole(&connection), before);
}

#[test]
fn a_database_that_is_large_is_copied_while_the_run_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).0.close();
    let connection = rusqlite::Connection::open(dir.path().join("search.db")).unwrap();
    connection
        .execute_batch(
            "CREATE TABLE bulk (data BLOB);
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 70)
             INSERT INTO bulk SELECT zeroblob(1048576) FROM n;",
        )
        .unwrap();
    drop(connection);
    let backup = dir.path().join("search.backup.db");
    let _ = std::fs::remove_file(&backup);
    let journal = open_with_constant_backups(dir.path());
    assert!(!backup.exists(), "the start waits for no copy");
    change(&journal, LEARNING);
    let started = Instant::now();
    while trials_in(&backup).is_none() {
        assert!(started.elapsed() < LIMIT, "no copy is made");
        std::thread::sleep(Duration::from_millis(5));
    }
    journal.close();
}

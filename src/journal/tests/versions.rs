//! Databases of earlier versions: readers take them as they are, and a run that is continued is
//! brought up to date.

use super::*;

/// The table of trials as it was in version 4, with its indexes.
fn trials_of_4() -> String {
    let old = schema::TRIALS
        .replace(
            "    confirms INTEGER,\n    retry_of INTEGER,\n    cost REAL,\n",
            "",
        )
        .replace("'completed', 'pruned', 'failed'", "'completed', 'failed'")
        .replace("coalesce(enqueued, confirms, retry_of)", "enqueued")
        .replace(
            ", controller) WHERE finished_at",
            ", enqueued) WHERE finished_at",
        );
    let lines = old.lines();
    let kept =
        lines.filter(|line| !line.contains("trials_confirms") && !line.contains("trials_retry_of"));
    kept.collect::<Vec<_>>().join("\n")
}

/// Takes away what version 5 added.
fn to_version_4(connection: &rusqlite::Connection) {
    let columns = format!("{}, enqueued", schema::COLUMNS_OF_1);
    let indexes = [
        "by_status",
        "by_reward",
        "enqueued",
        "confirms",
        "retry_of",
        "finished",
    ];
    let indexes = indexes.map(|name| format!("DROP INDEX trials_{name};"));
    let down = format!(
        "DROP TABLE copies; {} ALTER TABLE trials RENAME TO new; {} INSERT INTO trials SELECT {columns} FROM new; DROP TABLE new; DROP INDEX minibatches_pruning;
         ALTER TABLE minibatches DROP COLUMN pruning; ALTER TABLE minibatches DROP COLUMN redrawn; PRAGMA user_version = 4;",
        indexes.concat(),
        trials_of_4()
    );
    connection.execute_batch(&down).unwrap();
}

/// Takes away what version 4 added.
const TO_VERSION_3: &str = "
    DROP TABLE held; DROP TABLE unrewarded; DROP INDEX trials_finished; DELETE FROM meta WHERE key = 'begun_by_version';
    ALTER TABLE minibatches DROP COLUMN scale; ALTER TABLE minibatches DROP COLUMN lowest; PRAGMA user_version = 3;";

/// Takes away what version 3 added.
const TO_VERSION_2: &str = "
    ALTER TABLE minibatches DROP COLUMN history_sequence; ALTER TABLE minibatches DROP COLUMN history_trial;
    ALTER TABLE minibatches DROP COLUMN repeated; ALTER TABLE snapshots DROP COLUMN format; PRAGMA user_version = 2;";

#[test]
fn what_a_proposal_had_seen_is_stored_and_a_run_of_version_2_says_nothing_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    change(&journal, LEARNING);
    insert(&journal, vec![sampled(0, 0, 2, 4)], false);
    insert(&journal, vec![sampled(1, 0, 1, 5)], true);
    for trial in [1, 2] {
        finish(&journal, trial, completed(0.5));
    }
    journal.close();
    let proposals = || {
        let reader = Reader::open(dir.path()).unwrap();
        let mut all = reader.open_minibatches().unwrap();
        let take = |entry| {
            if let LogEntry::Minibatch(entry) = entry {
                all.push(entry.proposed);
            }
        };
        reader.for_each_entry(take).unwrap();
        all
    };
    let position = |sequence| HistoryPosition { sequence, trial: 9 };
    let found = proposals();
    assert_eq!(
        found
            .iter()
            .map(|proposed| (proposed.first_id, proposed.history, proposed.round))
            .collect::<Vec<_>>(),
        [
            (3, Some(position(5)), Some(2)),
            (1, Some(position(4)), None)
        ]
    );
    assert_eq!(found[1].decisions.len(), 2);
    let connection = rusqlite::Connection::open(dir.path().join("search.db")).unwrap();
    to_version_4(&connection);
    assert_eq!(proposals(), found, "version 4 is read as it is");
    connection.execute_batch(TO_VERSION_3).unwrap();
    assert!(
        Reader::open(dir.path())
            .unwrap()
            .has_rules_of_before()
            .unwrap()
    );
    assert_eq!(proposals(), found, "version 3 is read as it is");
    connection.execute_batch(TO_VERSION_2).unwrap();
    drop(connection);
    assert!(
        proposals()
            .iter()
            .all(|proposed| proposed.history.is_none())
    );
    let (journal, recovered) = open(dir.path());
    assert_eq!((recovered.last_trial, recovered.repeated), (3, 0));
    let version: i64 = rusqlite::Connection::open(dir.path().join("search.db"))
        .unwrap()
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .unwrap();
    assert_eq!(version, schema::VERSION);
    insert(&journal, vec![sampled(2, 0, 1, 6)], false);
    assert_eq!(
        proposals()
            .iter()
            .map(|proposed| proposed.history)
            .collect::<Vec<_>>(),
        [None, Some(position(6)), None]
    );
    journal.close();
    let (journal, recovered) = open(dir.path());
    assert_eq!((recovered.repeated, recovered.redrawn), (1, 2));
    journal.close();
}

#[test]
fn a_run_of_version_1_is_read_as_it_is_and_brought_up_to_date_when_it_is_continued() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    change(&journal, LEARNING);
    insert(&journal, vec![sampled(0, 0, 2, 0)], false);
    finish(&journal, 1, completed(0.5));
    journal.close();
    let connection = rusqlite::Connection::open(dir.path().join("search.db")).unwrap();
    to_version_4(&connection);
    let own = trials_of_4();
    let check = own.find("    CHECK ((controller").unwrap();
    let old = format!(
        "{}{}",
        &own[..check],
        &own[check..].split_once('\n').unwrap().1
    )
    .replace("slot),\n)", "slot))");
    let old = old
        .replace("    enqueued TEXT,\n", "")
        .lines()
        .filter(|line| !line.contains("trials_enqueued") && !line.contains("trials_finished"))
        .collect::<Vec<_>>()
        .join("\n");
    let old = ["controller", "minibatch", "slot"]
        .iter()
        .fold(old, |text, name| {
            text.replace(
                &format!("    {name} INTEGER,"),
                &format!("    {name} INTEGER NOT NULL,"),
            )
        });
    let columns = schema::COLUMNS_OF_1;
    let down = format!(
        "{TO_VERSION_3} DROP INDEX trials_by_status; DROP INDEX trials_by_reward; DROP INDEX trials_enqueued; ALTER TABLE trials RENAME TO new;
         {old} INSERT INTO trials SELECT {columns} FROM new; DROP TABLE new; {TO_VERSION_2} PRAGMA user_version = 1;"
    );
    connection.execute_batch(&down).unwrap();
    drop(connection);
    let rows = || Reader::open(dir.path()).unwrap().facts_after(0, 9).unwrap();
    let before = rows();
    assert_eq!(
        (
            before.len(),
            before[0].status.as_str(),
            before[0].enqueued.as_deref()
        ),
        (2, "completed", None)
    );
    let reader = Reader::open(dir.path()).unwrap();
    assert_eq!(
        (
            reader.top(9).unwrap().len(),
            reader.enqueued().unwrap().len()
        ),
        (1, 0)
    );
    let (journal, recovered) = open(dir.path());
    assert_eq!((recovered.sampled, recovered.open[0].trials[1].id), (2, 2));
    assert_eq!(rows(), before);
    assert_eq!(enqueue(&journal, &["late"]), 3);
    assert_eq!(
        finish(&journal, 2, completed(0.7))[0].rewards,
        [Some(0.5), Some(0.7)]
    );
    journal.close();
    open_with(dir.path(), &["late"]).0.close();
}

#[test]
fn a_run_of_version_4_is_read_and_continued_and_its_children_may_be_pruned() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    change(&journal, LEARNING);
    insert(&journal, vec![sampled(0, 0, 2, 0)], false);
    finish(&journal, 1, completed(0.5));
    journal.close();
    let connection = rusqlite::Connection::open(dir.path().join("search.db")).unwrap();
    to_version_4(&connection);
    drop(connection);
    let rows = || Reader::open(dir.path()).unwrap().facts_after(0, 9).unwrap();
    let before = rows();
    let reader = Reader::open(dir.path()).unwrap();
    assert!(reader.pruned_minibatches().unwrap().is_empty());
    assert_eq!(reader.open_minibatches().unwrap().len(), 1);
    drop(reader);
    let (journal, recovered) = open(dir.path());
    assert_eq!((rows(), recovered.completed), (before, 1));
    assert_eq!(recovered.open[0].pruning, None);
    let outcome = Outcome::Pruned {
        epoch: 1,
        reward: Some(0.25),
        metric: None,
        seconds: None,
    };
    assert_eq!(
        finish(&journal, 2, outcome)[0].rewards,
        [Some(0.5), Some(0.25)]
    );
    journal.close();
}

//! What a failed trial is worth: by its cause, in the transaction that gives its minibatch a sequence
//! number; and rewards that are far from the others.

use super::*;
use crate::child::{FailedReward, RewardScale};

const BY_CAUSE: FailureRule = FailureRule {
    reward: FailedReward::ByCause,
    scale: RewardScale::Any,
};

const BOUNDED: LearningSettings = LearningSettings {
    advantage_bound: Some(LearningSettings::ADVANTAGE_BOUND),
    ..LEARNING
};

fn failed_by(cause: Cause) -> Outcome {
    Outcome::Failed {
        cause,
        error: "no".into(),
    }
}

fn reward_of(dir: &Path, trial: u64) -> (String, Option<f64>) {
    let row = Reader::open(dir).unwrap().trial(trial).unwrap().unwrap();
    (row.status, row.reward)
}

#[test]
fn a_failure_of_its_own_is_worth_the_lowest_reward_so_far_once_its_minibatch_has_its_number() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    change(&journal, BOUNDED);
    // Nobody knows a lowest reward yet.
    insert(&journal, vec![sampled(0, 0, 2, 0)], false);
    finish_by(&journal, BY_CAUSE, 1, failed_by(Cause::Exited));
    let given = finish_by(&journal, BY_CAUSE, 2, failed_by(Cause::Protocol));
    assert_eq!(given[0].rewards, [None, None]);
    // The lowest of its own minibatch; the machine's failures are worth nothing.
    insert(&journal, vec![sampled(0, 1, 4, 0)], false);
    finish_by(&journal, BY_CAUSE, 3, failed_by(Cause::Diverged));
    assert_eq!(reward_of(dir.path(), 3), ("failed".into(), None));
    finish_by(&journal, BY_CAUSE, 4, failed_by(Cause::Killed));
    finish_by(&journal, BY_CAUSE, 5, completed(0.5));
    let given = finish_by(&journal, BY_CAUSE, 6, completed(0.75));
    assert_eq!(given[0].rewards, [Some(0.5), None, Some(0.5), Some(0.75)]);
    assert_eq!(reward_of(dir.path(), 3), ("failed".into(), Some(0.5)));
    assert_eq!(reward_of(dir.path(), 4), ("failed".into(), None));
    // That of earlier minibatches, also where the process is gone in between.
    insert(&journal, vec![sampled(0, 2, 2, 0)], false);
    finish_by(&journal, BY_CAUSE, 7, failed_by(Cause::Timeout));
    journal.close();
    let (journal, _) = open(dir.path());
    let given = finish_by(&journal, FailureRule::SKIP, 8, completed(0.875));
    assert_eq!(given[0].rewards, [Some(0.5), Some(0.875)]);
    assert_eq!(reward_of(dir.path(), 7), ("failed".into(), Some(0.5)));
    let table = |table: &str| -> u64 {
        let connection = rusqlite::Connection::open(dir.path().join("search.db")).unwrap();
        let sql = format!("SELECT count(*) FROM {table}");
        connection.query_row(&sql, [], |row| row.get(0)).unwrap()
    };
    assert_eq!(table("unrewarded"), 0);
    journal.close();
}

#[test]
fn an_outlier_is_no_measure_of_failures_and_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    change(&journal, BOUNDED);
    insert(&journal, vec![sampled(0, 0, 2, 0)], false);
    finish(&journal, 1, completed(0.0));
    finish(&journal, 2, completed(1.0));
    insert(&journal, vec![sampled(0, 1, 3, 0)], false);
    finish(&journal, 3, completed(1.0));
    finish_by(&journal, BY_CAUSE, 4, failed_by(Cause::Exited));
    let given = &finish(&journal, 5, completed(-1e300))[0];
    let baseline = given.baseline.unwrap();
    assert_eq!(given.scale, Some(1.0));
    assert_eq!(
        given.rewards,
        [Some(1.0), Some(baseline - 10.0), Some(-1e300)],
        "the trial keeps what its program said"
    );
    let cut = CutReward {
        trial: 5,
        reward: -1e300,
        counts_as: baseline - 10.0,
    };
    assert_eq!(given.cut, [cut]);
    let logged = |journal: Journal| {
        journal.close();
        let mut scales = Vec::new();
        let take = |entry| {
            if let LogEntry::Minibatch(entry) = entry {
                scales.push(entry.scale);
            }
        };
        Reader::open(dir.path())
            .unwrap()
            .for_each_entry(take)
            .unwrap();
        scales
    };
    assert_eq!(logged(journal), [Some(1.0), Some(1.0)]);
    // The averages are the same after a restart.
    let (journal, _) = open(dir.path());
    insert(&journal, vec![sampled(0, 2, 1, 0)], false);
    let given = &finish(&journal, 6, completed(0.5))[0];
    assert!(given.scale.unwrap() > 1.0 && given.scale.unwrap() < 10.0);
    assert!(given.baseline.unwrap() > -10.0);
    journal.close();
}

#[test]
fn accuracies_are_worth_0_at_once_and_an_enqueued_trial_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    let rule = FailureRule {
        scale: RewardScale::Accuracy {
            exponent: 3.0,
            has_cost: false,
        },
        ..BY_CAUSE
    };
    change(&journal, LEARNING);
    assert_eq!(enqueue(&journal, &["a"]), 1);
    finish_by(&journal, BY_CAUSE, 1, failed_by(Cause::Diverged));
    assert_eq!(reward_of(dir.path(), 1), ("failed".into(), None));
    insert(&journal, vec![sampled(0, 0, 2, 0)], false);
    finish_by(&journal, rule, 2, failed_by(Cause::Diverged));
    assert_eq!(reward_of(dir.path(), 2), ("failed".into(), Some(0.0)));
    let given = finish_by(&journal, rule, 3, failed_by(Cause::Device));
    assert_eq!(given[0].rewards, [Some(0.0), None]);
    journal.close();
}

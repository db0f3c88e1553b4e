//! What keeps two processes from one run, and a run from folders and file systems that are none of
//! its kind.

use super::super::lock::{acquire, acquire_by, is_held};
use super::super::*;
use rustix::io::Errno;
use std::cell::Cell;

#[test]
fn a_file_system_without_locks_is_named_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    for error in [Errno::NOLCK, Errno::NOSYS, Errno::OPNOTSUPP] {
        let refused = acquire_by(dir.path(), |_| Err(error)).unwrap_err();
        let said = refused.to_string();
        assert!(matches!(refused, JournalError::NoLocks { .. }), "{said}");
        assert!(
            said.contains(&std::io::Error::from(error).to_string())
                && said.contains("on a local disk")
                && said.contains("--run-dir"),
            "{said}"
        );
        if cfg!(target_os = "linux") {
            assert!(said.contains("mounted at"), "{said}");
        }
    }
}

#[test]
fn an_interrupted_call_and_a_lock_held_for_an_instant_are_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let calls = Cell::new(0);
    let lock = acquire_by(dir.path(), |_| {
        calls.set(calls.get() + 1);
        match calls.get() {
            1 | 3 => Err(Errno::INTR),
            2 | 4 => Err(Errno::WOULDBLOCK),
            _ => Ok(()),
        }
    });
    assert!(lock.is_ok() && calls.get() == 5);
    let other = acquire_by(dir.path(), |_| Err(Errno::IO)).unwrap_err();
    assert!(matches!(other, JournalError::Io { .. }), "{other}");
}

#[test]
fn a_search_waits_for_those_who_ask_and_not_for_one_who_holds_the_run() {
    let dir = tempfile::tempdir().unwrap();
    drop(acquire(dir.path()).unwrap());
    let asking = std::fs::File::open(dir.path().join("run.lock")).unwrap();
    rustix::fs::flock(&asking, rustix::fs::FlockOperation::LockShared).unwrap();
    let calls = Cell::new(0);
    let lock = acquire_by(dir.path(), |file| {
        calls.set(calls.get() + 1);
        // Longer than one who ends is waited for.
        if calls.get() == 100 {
            rustix::fs::flock(&asking, rustix::fs::FlockOperation::Unlock).unwrap();
        }
        rustix::fs::flock(file, rustix::fs::FlockOperation::NonBlockingLockExclusive)
    });
    assert!(lock.is_ok() && calls.get() == 100);
    let refused = acquire(dir.path()).unwrap_err();
    assert!(matches!(refused, JournalError::Locked { .. }), "{refused}");
}

#[test]
fn a_lock_is_held_until_it_is_dropped_and_asking_leaves_it_free() {
    let dir = tempfile::tempdir().unwrap();
    assert!(!is_held(dir.path()).unwrap(), "there is none");
    let lock = acquire(dir.path()).unwrap();
    assert!(is_held(dir.path()).unwrap());
    std::fs::write(dir.path().join("run.lock"), "").unwrap();
    let refused = acquire(dir.path()).unwrap_err().to_string();
    assert!(refused.contains("does not say which process"), "{refused}");
    drop(lock);
    assert!(!is_held(dir.path()).unwrap() && !is_held(dir.path()).unwrap());
    acquire(dir.path()).unwrap();
}

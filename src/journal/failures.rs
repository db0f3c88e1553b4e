//! What a run's failed trials have in common: how many there are, and which error is the commonest.
//! Must not know what is made of it.

use super::{JournalError, Reader};
use std::collections::HashMap;

/// The failed trials of a run in which none is completed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failures {
    pub failed: u64,
    /// The error that most of them have, as the first of them has it.
    pub error: String,
    /// How many have it; numbers in it may differ.
    pub times: u64,
    /// The first trial that has it.
    pub first: u64,
}

impl Reader {
    /// What is wrong with a run all of whose trials have failed; None: one is completed, or none
    /// has ended. Those that were sampled count, and those that try one again; of a run that has
    /// sampled no trial, the enqueued ones.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn only_failures(&self) -> Result<Option<Failures>, JournalError> {
        for of in [
            "(enqueued IS NULL AND confirms IS NULL)",
            "enqueued IS NOT NULL",
        ] {
            let any = |sql: &str| {
                let sql = format!("SELECT 1 FROM trials WHERE +{of} {sql} LIMIT 1");
                self.one(&sql, [], |_| Ok(())).map(|row| row.is_some())
            };
            if any("")? {
                return Ok(if any("AND status = 'completed'")? {
                    None
                } else {
                    self.commonest_error(of)?
                });
            }
        }
        Ok(None)
    }

    fn commonest_error(&self, of: &str) -> Result<Option<Failures>, JournalError> {
        let sql = format!(
            "SELECT id, coalesce(error, '') FROM trials WHERE status = 'failed' AND +{of} ORDER BY id"
        );
        let mut failed = 0;
        let mut errors: HashMap<String, Failures> = HashMap::new();
        self.each(&sql, [], |row| {
            failed += 1;
            let id = row.get(0)?;
            let error: String = row.get(1)?;
            errors
                .entry(without_numbers(&error))
                .or_insert(Failures {
                    failed: 0,
                    error,
                    times: 0,
                    first: id,
                })
                .times += 1;
            Ok(())
        })?;
        // Of two that are as common, the one that came first.
        let commonest = errors
            .into_values()
            .max_by_key(|found| (found.times, std::cmp::Reverse(found.first)));
        Ok(commonest.map(|commonest| Failures {
            failed,
            ..commonest
        }))
    }
}

/// Errors that differ in numbers alone (of a process, a line, an address) are the same.
fn without_numbers(error: &str) -> String {
    let mut same = String::with_capacity(error.len());
    for character in error.chars() {
        if !character.is_ascii_digit() {
            same.push(character);
        } else if !same.ends_with('#') {
            same.push('#');
        }
    }
    same
}

#[cfg(test)]
mod tests {
    use super::without_numbers;

    #[test]
    fn errors_that_differ_in_numbers_are_the_same() {
        let same = |one: &str, other: &str| without_numbers(one) == without_numbers(other);
        assert!(same(
            "process 12 left with exit code 3",
            "process 9871 left with exit code 3"
        ));
        assert!(!same("diverged", "too large"));
    }
}

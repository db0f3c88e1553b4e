//! Entries that arrive in any order, some of them twice, leave in the order of their sequence numbers,
//! each once. Pure; must not know what they are.

use std::collections::BTreeMap;

/// Entries that arrived before their turn.
pub struct InOrder<T> {
    last: u64,
    early: BTreeMap<u64, T>,
}

impl<T> InOrder<T> {
    /// The next entry is the one after `last`.
    pub fn after(last: u64) -> Self {
        Self {
            last,
            early: BTreeMap::new(),
        }
    }

    /// Inserts an entry; false: an entry with this number has left already.
    pub fn insert(&mut self, sequence: u64, entry: T) -> bool {
        let new = sequence > self.last;
        if new {
            self.early.insert(sequence, entry);
        }
        new
    }

    /// The next entry in order, if it has arrived.
    pub fn next(&mut self) -> Option<(u64, T)> {
        let entry = self.early.remove(&(self.last + 1))?;
        self.last += 1;
        Some((self.last, entry))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{AdamState, UpdateRule, UpdateSettings};

    const UPDATE: UpdateSettings = UpdateSettings {
        rule: UpdateRule::Adam { learning_rate: 0.1 },
        accumulate: 2,
    };

    /// Every order of these items.
    fn permutations(items: &[u64]) -> Vec<Vec<u64>> {
        if items.is_empty() {
            return vec![Vec::new()];
        }
        let mut all = Vec::new();
        for (at, first) in items.iter().enumerate() {
            let rest: Vec<u64> = items[..at]
                .iter()
                .chain(&items[at + 1..])
                .copied()
                .collect();
            all.extend(permutations(&rest).into_iter().map(|mut rest| {
                rest.insert(0, *first);
                rest
            }));
        }
        all
    }

    /// A shard's part of the protocol: gradients from entry 4 on, Adam with an accumulator.
    struct Shard {
        order: InOrder<f32>,
        state: AdamState,
    }

    impl Shard {
        fn at(state: AdamState) -> Self {
            Self {
                order: InOrder::after(state.sequence),
                state,
            }
        }

        fn push(&mut self, sequence: u64) {
            self.order.insert(sequence, gradient(sequence));
            while let Some((sequence, gradient)) = self.order.next() {
                self.state.push(sequence, &[gradient], &UPDATE);
            }
        }
    }

    fn gradient(sequence: u64) -> f32 {
        (sequence as f32).sin()
    }

    fn in_order(last: u64) -> AdamState {
        let mut shard = Shard::at(AdamState {
            sequence: 3,
            ..AdamState::new(vec![0.5])
        });
        (4..=last).for_each(|sequence| shard.push(sequence));
        shard.state
    }

    /// Exhaustive: all 5,040 orders of six gradients, one of which arrives twice, end in the same bits;
    /// none is lost and none is applied twice.
    #[test]
    fn every_interleaving_of_pushes_gives_the_same_state() {
        let expected = in_order(9);
        for twice in 4..=9 {
            for order in permutations(&[4, 5, 6, 7, 8, 9, twice]) {
                let mut shard = Shard::at(AdamState {
                    sequence: 3,
                    ..AdamState::new(vec![0.5])
                });
                order.iter().for_each(|sequence| shard.push(*sequence));
                assert_eq!(shard.state, expected, "{order:?}");
            }
        }
    }

    /// Exhaustive: the shard fails after any number of pushes in any order and is restarted at any
    /// entry of the log; the rest is pushed again, in any order, with or without entries that the
    /// restarted shard already contains.
    #[test]
    fn a_shard_that_fails_anywhere_is_restarted_to_the_same_state() {
        let expected = in_order(7);
        for order in permutations(&[4, 5, 6, 7]) {
            for failure in 0..=order.len() {
                for restarted_at in 3..=7 {
                    let mut shard = Shard::at(in_order(restarted_at));
                    // Pushes that were under way when it failed, and those that controllers
                    // repeat.
                    order[failure..]
                        .iter()
                        .chain(&order)
                        .for_each(|sequence| shard.push(*sequence));
                    assert_eq!(
                        shard.state, expected,
                        "{order:?}, failed after {failure}, restarted at {restarted_at}"
                    );
                }
            }
        }
    }
}

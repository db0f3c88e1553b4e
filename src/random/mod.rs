//! Counter-based random streams: every random number of a run is a function of the run's seed and
//! of counters. Must not know what the numbers are used for; keeps no state between calls.

#[cfg(test)]
mod cases;
#[cfg(test)]
pub use cases::cases;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A reproducible stream of random numbers (use it through `rand`'s traits).
pub type Stream = ChaCha8Rng;

/// What a stream is drawn for: two purposes never share numbers, so adding a draw to one leaves the
/// others as they were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Purpose {
    /// Initial parameters of the controller.
    ControllerParameters = 1,
    /// The decisions of one slot of a minibatch.
    Decisions = 2,
    /// The seed that a trial's child is trained with.
    ChildSeed = 3,
    /// Initial weights of a child network.
    ChildParameters = 4,
    /// The order of the examples in one epoch.
    Shuffle = 5,
    /// Crops and flips of one epoch.
    Augmentation = 6,
    /// Which examples are held out for validation.
    Split = 7,
    /// The built-in images.
    Drawing = 8,
    /// Which of several noisy rewards a table lookup takes.
    TableRepeat = 9,
    /// Jitter of restart delays.
    Backoff = 10,
    /// The linear reference classifier.
    Reference = 11,
    /// Dropout masks of a child.
    Dropout = 12,
    /// What a strategy draws beside decisions: candidates, and functions from its surrogate.
    Surrogate = 13,
    /// Resampled means of a comparison, and the trials of each tree of a forest.
    Bootstrap = 14,
}

/// The counters that name a stream. Unused counters stay 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Key {
    /// The run's seed, or a trial's.
    pub seed: u64,
    /// Controller replica, or epoch inside a child.
    pub controller: u64,
    /// The controller's minibatch, or an example's index inside a child.
    pub minibatch: u64,
    /// Position in the minibatch.
    pub slot: u32,
}

impl Key {
    /// A key that depends on a seed alone.
    pub fn seed(seed: u64) -> Self {
        Self {
            seed,
            ..Self::default()
        }
    }

    /// The keys of a minibatch's slots, in their order.
    pub fn of_minibatch(seed: u64, controller: u64, minibatch: u64, children: usize) -> Vec<Self> {
        (0..children as u32)
            .map(|slot| Self {
                seed,
                controller,
                minibatch,
                slot,
            })
            .collect()
    }

    /// The stream of this key for one purpose: the 256-bit ChaCha key is the counters themselves,
    /// so no two collide.
    pub fn stream(self, purpose: Purpose) -> Stream {
        let mut bytes = [0; 32];
        bytes[0..8].copy_from_slice(&self.seed.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.controller.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.minibatch.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.slot.to_le_bytes());
        bytes[28..32].copy_from_slice(&(purpose as u32).to_le_bytes());
        ChaCha8Rng::from_seed(bytes)
    }

    /// The seed of the child in this slot: below 2^63, so that it fits SQLite's integers and
    /// TOML's.
    pub fn child_seed(self) -> u64 {
        self.stream(Purpose::ChildSeed).next_u64() >> 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_differ_in_every_counter_and_purpose() {
        let base = Key {
            seed: 1,
            controller: 2,
            minibatch: 3,
            slot: 4,
        };
        let mut firsts = vec![
            base.stream(Purpose::Decisions).next_u64(),
            base.stream(Purpose::ChildSeed).next_u64(),
            Key { seed: 2, ..base }
                .stream(Purpose::Decisions)
                .next_u64(),
            Key {
                controller: 3,
                ..base
            }
            .stream(Purpose::Decisions)
            .next_u64(),
            Key {
                minibatch: 4,
                ..base
            }
            .stream(Purpose::Decisions)
            .next_u64(),
            Key { slot: 5, ..base }
                .stream(Purpose::Decisions)
                .next_u64(),
        ];
        assert_eq!(firsts[0], base.stream(Purpose::Decisions).next_u64());
        firsts.sort_unstable();
        firsts.dedup();
        assert_eq!(firsts.len(), 6);
    }
}

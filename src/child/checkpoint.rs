//! A child in training as bytes: the state of its training and the numbers of its network, with a
//! checksum, and a fingerprint of everything that its numbers depend on. Must not know where the
//! bytes are stored.

use super::{ChildSettings, Epoch, Task};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Opens every checkpoint; its last character counts the formats.
const MAGIC: &[u8; 8] = b"netwchk1";
const DIGEST: usize = 32;

/// The file of a child's checkpoint, in the trial's checkpoint directory.
pub const FILE_NAME: &str = "child.checkpoint";

/// SHA-256 of everything that a training's numbers depend on.
pub type Fingerprint = [u8; DIGEST];

/// How far the training of a child is, beside the numbers of its network.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TrainingState {
    /// Epochs that have ended.
    pub epochs: Vec<Epoch>,
    /// For each of them, the number that the reward is computed from.
    pub scores: Vec<f64>,
    /// Steps of the next epoch that are done.
    pub step: usize,
    /// The sum of their losses.
    pub loss: f64,
    /// Seconds of the whole training so far.
    pub seconds: f64,
    /// Seconds of the epoch that has not ended.
    pub epoch_seconds: f64,
}

/// The fingerprint of a task's training by these settings. `facts` are the evaluator's: its data,
/// and how it is prepared. Limits and retries change no number, and may change on the way.
pub fn fingerprint(settings: &ChildSettings, task: &Task, facts: &str) -> Fingerprint {
    let ChildSettings {
        max_seconds,
        attempts,
        failed_reward,
        checkpoint_seconds,
        ..
    } = ChildSettings::default();
    let settings = ChildSettings {
        max_seconds,
        checkpoint_seconds,
        attempts,
        failed_reward,
        ..settings.clone()
    };
    let all = (
        env!("CARGO_PKG_VERSION"),
        task.seed,
        &task.architecture,
        settings,
        facts,
    );
    Sha256::digest(serde_json::to_vec(&all).unwrap_or_default()).into()
}

/// The checkpoint: magic, checksum of all that follows, fingerprint, the state, the length of each
/// tensor, the numbers.
pub fn encode(fingerprint: &Fingerprint, state: &TrainingState, tensors: &[&mut [f32]]) -> Vec<u8> {
    let lengths: Vec<usize> = tensors.iter().map(|tensor| tensor.len()).collect();
    // Written to memory: nothing in it can fail.
    let header = postcard::to_stdvec(&(state, &lengths)).unwrap_or_default();
    let mut bytes = Vec::with_capacity(
        MAGIC.len() + 2 * DIGEST + header.len() + 4 * lengths.iter().sum::<usize>(),
    );
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&[0; DIGEST]);
    bytes.extend_from_slice(fingerprint);
    bytes.extend_from_slice(&header);
    for tensor in tensors {
        tensor
            .iter()
            .for_each(|number| bytes.extend_from_slice(&number.to_le_bytes()));
    }
    let (head, rest) = bytes.split_at_mut(MAGIC.len() + DIGEST);
    head[MAGIC.len()..].copy_from_slice(&Sha256::digest(rest));
    bytes
}

/// Reads a checkpoint: fills the tensors and returns the state of the training. The tensors are
/// changed only if all of it fits.
///
/// # Errors
/// Why it cannot be used, to follow "the checkpoint": it is torn, of another program, or of another
/// training.
pub fn decode(
    bytes: &[u8],
    fingerprint: &Fingerprint,
    tensors: &mut [&mut [f32]],
) -> Result<TrainingState, &'static str> {
    let rest = bytes
        .strip_prefix(MAGIC)
        .ok_or("is none of this program's")?;
    let (checksum, rest) = rest.split_at_checked(DIGEST).ok_or("is torn")?;
    if Sha256::digest(rest).as_slice() != checksum {
        return Err("is torn: its checksum does not fit");
    }
    let rest = rest
        .strip_prefix(fingerprint)
        .ok_or("is of another training: seed, network, data or settings differ")?;
    let ((state, lengths), rest): ((TrainingState, Vec<usize>), _) =
        postcard::take_from_bytes(rest).map_err(|_| "cannot be read by this program")?;
    let fits = tensors
        .iter()
        .map(|tensor| tensor.len())
        .eq(lengths.iter().copied())
        && rest.len() == 4 * lengths.iter().sum::<usize>();
    if !fits || state.scores.len() != state.epochs.len() {
        return Err("is of a network of another size");
    }
    let (numbers, _) = rest.as_chunks::<4>();
    let mut numbers = numbers.iter().map(|bytes| f32::from_le_bytes(*bytes));
    for tensor in tensors {
        tensor
            .iter_mut()
            .zip(&mut numbers)
            .for_each(|(value, number)| *value = number);
    }
    Ok(state)
}

/// How far the training is whose checkpoint begins with these bytes: epochs that have ended, steps
/// of the next one. None: it is no checkpoint of this program.
pub fn position(head: &[u8]) -> Option<(u64, u64)> {
    let state = head.strip_prefix(MAGIC)?.get(2 * DIGEST..)?;
    let (state, _): (TrainingState, _) = postcard::take_from_bytes(state).ok()?;
    Some((state.epochs.len() as u64, state.step as u64))
}

/// A checkpoint after this many epochs and steps.
#[cfg(test)]
pub fn at(epochs: usize, step: usize) -> Vec<u8> {
    let epoch = Epoch {
        epoch: 1,
        train_loss: None,
        metric: 0.5,
        seconds: 1.0,
    };
    let state = TrainingState {
        epochs: vec![epoch; epochs],
        scores: vec![0.5; epochs],
        step,
        ..TrainingState::default()
    };
    encode(&[7; DIGEST], &state, &[&mut [1.0; 100]])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::child::tests::{network, task};
    use crate::space::Network;
    use proptest::prelude::*;

    fn state() -> TrainingState {
        let epoch = Epoch {
            epoch: 1,
            train_loss: Some(0.7),
            metric: 0.5,
            seconds: 2.5,
        };
        TrainingState {
            epochs: vec![epoch],
            scores: vec![0.5],
            step: 3,
            loss: 1.25,
            seconds: 4.0,
            epoch_seconds: 1.5,
        }
    }

    #[test]
    fn the_position_is_read_from_the_beginning_alone() {
        let bytes = at(3, 17);
        assert_eq!(position(&bytes[..bytes.len() - 400]), Some((3, 17)));
        assert_eq!(position(&bytes[..20]), None);
        assert_eq!(position(b"none of ours"), None);
    }

    #[test]
    fn what_was_encoded_comes_back_bit_for_bit() {
        let mut weights = [1.0, -0.0, f32::MIN_POSITIVE];
        let mut velocity = [0.1];
        let bytes = encode(&[7; 32], &state(), &[&mut weights, &mut velocity, &mut []]);
        let mut other = [9.0; 3];
        let mut moving = [9.0];
        assert_eq!(
            decode(&bytes, &[7; 32], &mut [&mut other, &mut moving, &mut []]),
            Ok(state())
        );
        assert_eq!(
            (other.map(f32::to_bits), moving),
            (weights.map(f32::to_bits), velocity)
        );
    }

    #[test]
    fn another_training_and_another_size_are_told_and_change_nothing() {
        let bytes = encode(&[7; 32], &state(), &[&mut [1.0, 2.0]]);
        let mut tensor = [5.0, 6.0];
        for (fingerprint, part) in [([8; 32], "another training"), ([7; 32], "another size")] {
            let error = decode(&bytes, &fingerprint, &mut [&mut tensor, &mut [0.0]]).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
        assert!(
            decode(b"something else", &[7; 32], &mut [])
                .unwrap_err()
                .contains("this program")
        );
        assert_eq!(tensor, [5.0, 6.0]);
    }

    #[test]
    fn the_fingerprint_is_that_of_what_changes_numbers() {
        let settings = ChildSettings::default();
        let first = task(Network::Conv(network()), 1);
        let base = fingerprint(&settings, &first, "data");
        let with = |settings: ChildSettings| fingerprint(&settings, &first, "data");
        assert_eq!(
            base,
            with(ChildSettings {
                max_seconds: Some(9.0),
                attempts: 1,
                checkpoint_seconds: 1.0,
                ..settings.clone()
            })
        );
        assert_eq!(
            base,
            fingerprint(
                &settings,
                &Task {
                    attempt: 2,
                    ..first.clone()
                },
                "data"
            )
        );
        assert_ne!(
            base,
            with(ChildSettings {
                momentum: 0.8,
                ..settings.clone()
            })
        );
        assert_ne!(
            base,
            with(ChildSettings {
                epochs: 51,
                ..settings.clone()
            })
        );
        assert_ne!(base, fingerprint(&settings, &first, "other data"));
        assert_ne!(
            base,
            fingerprint(
                &settings,
                &Task {
                    seed: 2,
                    ..first.clone()
                },
                "data"
            )
        );
        let mut deeper = network();
        deeper.output = vec![2, 3];
        assert_ne!(
            base,
            fingerprint(&settings, &task(Network::Conv(deeper), 1), "data")
        );
    }

    proptest! {
        #![proptest_config(crate::random::cases(256))]

        #[test]
        fn a_checkpoint_that_is_cut_or_altered_anywhere_is_refused(position in 0_usize..1000, cut: bool) {
            let mut bytes = encode(&[7; 32], &state(), &[&mut [1.0; 40]]);
            let position = position % bytes.len();
            if cut { bytes.truncate(position) } else { bytes[position] ^= 0x10 }
            let mut tensor = [5.0; 40];
            prop_assert!(decode(&bytes, &[7; 32], &mut [&mut tensor]).is_err());
            prop_assert_eq!(tensor, [5.0; 40]);
        }
    }
}

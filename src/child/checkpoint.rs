//! A child in training as bytes: the state of its training, whose arithmetic it was computed by, and
//! the numbers of its network, with a checksum, and a fingerprint of everything that its numbers
//! depend on. Must not know where the bytes are stored.

use super::engine::Numerics;
use super::{ChildSettings, Epoch, Task};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Opens every checkpoint; its last character counts the formats.
const MAGIC: &[u8; 8] = b"netwchk2";
/// The first format: without numerics, and else the same. The kernels on the CPU wrote it, or candle.
const UNNAMED: &[u8; 8] = b"netwchk1";
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

/// The checkpoint: magic, checksum of all that follows, fingerprint, numerics, the state, the length
/// of each tensor, the numbers.
pub fn encode(
    fingerprint: &Fingerprint,
    numerics: &Numerics,
    state: &TrainingState,
    tensors: &[impl AsRef<[f32]>],
) -> Vec<u8> {
    let tensors = tensors.iter().map(AsRef::as_ref);
    let lengths: Vec<usize> = tensors.clone().map(<[f32]>::len).collect();
    // Written to memory: nothing in it can fail.
    let header = postcard::to_stdvec(&(numerics, state, &lengths)).unwrap_or_default();
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

/// Reads a checkpoint: the state of the training, and tensors of these lengths.
///
/// # Errors
/// Why it cannot be used, to follow "the checkpoint": it is torn, of another program, of another
/// training, or was computed by other numerics.
pub fn decode(
    bytes: &[u8],
    fingerprint: &Fingerprint,
    numerics: &Numerics,
    lengths: &[usize],
) -> Result<(TrainingState, Vec<Vec<f32>>), String> {
    let (named, rest) = match (bytes.strip_prefix(MAGIC), bytes.strip_prefix(UNNAMED)) {
        (Some(rest), _) => (true, rest),
        (None, Some(rest)) => (false, rest),
        (None, None) => return Err("is none of this program's".into()),
    };
    let (checksum, rest) = rest.split_at_checked(DIGEST).ok_or("is torn")?;
    if Sha256::digest(rest).as_slice() != checksum {
        return Err("is torn: its checksum does not fit".into());
    }
    let rest = rest
        .strip_prefix(fingerprint)
        .ok_or("is of another training: seed, network, data or settings differ")?;
    let header = "cannot be read by this program";
    let rest = if named {
        let (theirs, rest): (Numerics, _) = postcard::take_from_bytes(rest).map_err(|_| header)?;
        if theirs != *numerics {
            return Err(format!(
                "was computed by other numerics ({theirs}; here they are {numerics}), and would not give the same bits"
            ));
        }
        rest
    } else if numerics.engine == "cpu" {
        // The fingerprint tells the CPU from a GPU, and there was one engine for it.
        rest
    } else {
        return Err("is of an earlier version, which did not name its numerics".into());
    };
    let ((state, theirs), rest): ((TrainingState, Vec<usize>), _) =
        postcard::take_from_bytes(rest).map_err(|_| header)?;
    let fits = theirs == lengths && rest.len() == 4 * lengths.iter().sum::<usize>();
    if !fits || state.scores.len() != state.epochs.len() {
        return Err("is of a network of another size".into());
    }
    let (numbers, _) = rest.as_chunks::<4>();
    let mut numbers = numbers.iter().map(|bytes| f32::from_le_bytes(*bytes));
    let tensors = lengths
        .iter()
        .map(|&length| numbers.by_ref().take(length).collect())
        .collect();
    Ok((state, tensors))
}

/// How far the training is whose checkpoint begins with these bytes: epochs that have ended, steps
/// of the next one. None: it is no checkpoint of this program.
pub fn position(head: &[u8]) -> Option<(u64, u64)> {
    let state = |magic: &[u8]| head.strip_prefix(magic)?.get(2 * DIGEST..);
    let state = match state(MAGIC) {
        Some(rest) => postcard::take_from_bytes::<Numerics>(rest).ok()?.1,
        None => state(UNNAMED)?,
    };
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
    encode(&[7; DIGEST], &Numerics::cpu(1), &state, &[[1.0; 100]])
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

    /// A checkpoint of one tensor, and the same as the first format had it.
    fn both_formats(tensor: &[f32]) -> [Vec<u8>; 2] {
        let bytes = encode(&[7; 32], &Numerics::cpu(1), &state(), &[tensor]);
        let numerics = postcard::to_stdvec(&Numerics::cpu(1)).unwrap().len();
        let mut first = bytes.clone();
        first[..8].copy_from_slice(UNNAMED);
        first.drain(8 + 2 * DIGEST..8 + 2 * DIGEST + numerics);
        let checksum = Sha256::digest(&first[8 + DIGEST..]);
        first[8..8 + DIGEST].copy_from_slice(&checksum);
        [bytes, first]
    }

    #[test]
    fn what_was_encoded_comes_back_bit_for_bit() {
        let weights = vec![1.0, -0.0, f32::MIN_POSITIVE];
        let tensors = [weights, vec![0.1], vec![]];
        let bytes = encode(&[7; 32], &Numerics::cpu(1), &state(), &tensors);
        let (found, numbers) = decode(&bytes, &[7; 32], &Numerics::cpu(1), &[3, 1, 0]).unwrap();
        let bits = |tensors: &[Vec<f32>]| -> Vec<Vec<u32>> {
            let bits = |tensor: &Vec<f32>| tensor.iter().map(|number| number.to_bits()).collect();
            tensors.iter().map(bits).collect()
        };
        assert_eq!((found, bits(&numbers)), (state(), bits(&tensors)));
    }

    #[test]
    fn another_training_and_another_size_are_told() {
        let [bytes, _] = both_formats(&[1.0, 2.0]);
        for (fingerprint, lengths, part) in [
            ([8; 32], vec![2], "another training"),
            ([7; 32], vec![2, 1], "another size"),
            ([7; 32], vec![1], "another size"),
        ] {
            let error = decode(&bytes, &fingerprint, &Numerics::cpu(1), &lengths).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
        let error = decode(b"something else", &[7; 32], &Numerics::cpu(1), &[]).unwrap_err();
        assert!(error.contains("this program"), "{error}");
    }

    #[test]
    fn only_the_same_numerics_go_on_with_a_checkpoint() {
        let [bytes, _] = both_formats(&[1.0]);
        let own = Numerics::cpu(1);
        assert!(decode(&bytes, &[7; 32], &own, &[1]).is_ok());
        let others = [
            Numerics::cpu(2),
            Numerics::candle(),
            Numerics {
                instructions: "other".into(),
                ..own.clone()
            },
            Numerics {
                precision: "bf16".into(),
                ..own.clone()
            },
        ];
        for other in others {
            let error = decode(&bytes, &[7; 32], &other, &[1]).unwrap_err();
            assert!(
                error.contains(&own.to_string()) && error.contains(&other.to_string()),
                "{error}"
            );
        }
    }

    #[test]
    fn a_checkpoint_of_the_first_format_is_taken_on_the_cpu() {
        let [_, first] = both_formats(&[1.5]);
        assert_eq!(position(&first), Some((1, 3)));
        assert_eq!(
            decode(&first, &[7; 32], &Numerics::cpu(3), &[1]),
            Ok((state(), vec![vec![1.5]]))
        );
        let error = decode(&first, &[7; 32], &Numerics::candle(), &[1]).unwrap_err();
        assert!(error.contains("earlier version"), "{error}");
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
        fn a_checkpoint_that_is_cut_or_altered_anywhere_is_refused(position in 0_usize..1000, cut: bool, format in 0_usize..2) {
            let mut bytes = both_formats(&[1.0; 40])[format].clone();
            let position = position % bytes.len();
            if cut { bytes.truncate(position) } else { bytes[position] ^= 0x10 }
            prop_assert!(decode(&bytes, &[7; 32], &Numerics::cpu(1), &[40]).is_err());
        }
    }
}

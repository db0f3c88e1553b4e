//! Which examples are trained on and which are held out for the reward. Must not know what an
//! example is.

use super::{DataError, DataSettings, Dataset, HeldOut};
use crate::random::{Key, Purpose};
use rand::seq::SliceRandom;
use sha2::{Digest, Sha256};

/// Sizes that the paper uses (§4.1), taken where the set is large enough.
const TRAIN: usize = 45_000;
const VALIDATION: usize = 5_000;

/// Indices of the examples, each list ascending; no example is in both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    pub train: Vec<u32>,
    pub validation: Vec<u32>,
}

/// A split by content holds out about this share of the images where the settings name no sizes.
const VALIDATION_SHARE: f64 = 0.1;

/// Accuracies on fewer images differ by 10 points and more by chance alone.
const FEW: usize = 100;

impl Split {
    /// The split of a set: drawn, or by its images' contents, so that an image stays on its side
    /// when others are added.
    ///
    /// # Errors
    /// As `new`.
    pub fn of(settings: &DataSettings, dataset: &Dataset, seed: u64) -> Result<Self, DataError> {
        match &dataset.held_out {
            HeldOut::Drawn => Self::new(settings, dataset.labels.len(), seed),
            HeldOut::ByContent { hashes, validation } => {
                Self::by_content(settings, hashes, validation.as_deref(), seed)
            }
        }
    }

    /// Goes through the images in the order of their hashes (with the seed). With
    /// `data.validation_size` the first ones are held out, without it those whose hash lies in the
    /// first tenth of all hashes; of the rest, `data.train_size` or all are trained on. A set that
    /// says itself which images are for validation keeps that split.
    fn by_content(
        settings: &DataSettings,
        hashes: &[[u8; 32]],
        given: Option<&[bool]>,
        seed: u64,
    ) -> Result<Self, DataError> {
        let mut order: Vec<(u64, u32)> = hashes
            .iter()
            .zip(0..)
            .map(|(hash, index)| (rank_key(hash, seed), index))
            .collect();
        order.sort_unstable();
        let held_out = |rank: usize, key: u64, index: u32| match (given, settings.validation_size) {
            (Some(given), _) => given[index as usize],
            (None, Some(size)) => rank < size,
            (None, None) => (key as f64) < VALIDATION_SHARE * u64::MAX as f64,
        };
        let mut train = Vec::new();
        let mut validation = Vec::new();
        for (rank, (key, index)) in order.into_iter().enumerate() {
            if held_out(rank, key, index) {
                validation.push(index);
            } else {
                train.push(index);
            }
        }
        let sides = [
            (
                "training",
                "data.train_size",
                &mut train,
                settings.train_size,
            ),
            (
                "validation",
                "data.validation_size",
                &mut validation,
                settings.validation_size,
            ),
        ];
        for (side, key, part, size) in sides {
            match size {
                Some(size) if size > part.len() => {
                    let problem = format!(
                        "{size} images cannot be had: of the {} images, {} are there for this part",
                        hashes.len(),
                        part.len()
                    );
                    return Err(DataError::Setting { key, problem });
                }
                None if part.is_empty() => return Err(nothing_left(settings, hashes.len(), side)),
                _ => {}
            }
            part.truncate(size.unwrap_or(part.len()));
            part.sort_unstable();
        }
        Ok(Self { train, validation })
    }

    /// Everything is trained on, and nothing is held out.
    #[must_use]
    pub fn joined(&self) -> Self {
        let mut train = [self.train.as_slice(), &self.validation].concat();
        train.sort_unstable();
        Self {
            train,
            validation: Vec::new(),
        }
    }

    /// What makes accuracies on this split say little: one line each.
    pub fn warnings(&self, dataset: &Dataset) -> Vec<String> {
        let images = self.validation.len();
        let mut warnings = Vec::new();
        if images == 1 {
            warnings.push(format!(
                "the validation set has 1 image: accuracy is 0% or 100% there and says nothing about a network; {FEW} images and more tell \
                 networks apart (data.validation_size, or more images)"
            ));
        } else if images < FEW {
            let step = 100.0 / images as f64;
            // Two standard deviations where half of the answers are right.
            let chance = 100.0 / (images as f64).sqrt();
            warnings.push(format!(
                "the validation set has {images} images: accuracy moves in steps of {step:.1} points there, and differs by up to {chance:.0} \
                 points by chance alone; {FEW} images and more tell networks apart (data.validation_size, or more images)"
            ));
        }
        for (part, name) in [(&self.train, "training"), (&self.validation, "validation")] {
            let mut there = vec![false; dataset.class_names.len()];
            for &index in part {
                there[usize::from(dataset.labels[index as usize])] = true;
            }
            let missing: Vec<String> = there
                .iter()
                .zip(&dataset.class_names)
                .filter(|(there, _)| !**there)
                .map(|(_, name)| format!("\"{name}\""))
                .collect();
            if !missing.is_empty() {
                warnings.push(format!(
                    "no {name} image shows a class of these: {}",
                    missing.join(", ")
                ));
            }
        }
        warnings
    }

    /// Draws the split from the run's seed. Unset sizes: 45,000/5,000, or 90% / 10% where the set
    /// is smaller; where one is set, the other takes its default or what is left. The validation
    /// set is drawn first, so that it does not depend on the training size.
    ///
    /// # Errors
    /// The sizes do not fit the number of examples.
    pub fn new(settings: &DataSettings, examples: usize, seed: u64) -> Result<Self, DataError> {
        let (train, validation) = sizes(settings, examples)?;
        let mut order: Vec<u32> = (0..u32::try_from(examples).unwrap_or(u32::MAX)).collect();
        order.shuffle(&mut Key::seed(seed).stream(Purpose::Split));
        let mut held_out = order[..validation].to_vec();
        let mut trained = order[validation..validation + train].to_vec();
        held_out.sort_unstable();
        trained.sort_unstable();
        Ok(Self {
            train: trained,
            validation: held_out,
        })
    }
}

/// An image's key in the order of hashes: evenly distributed over all numbers.
fn rank_key(hash: &[u8; 32], seed: u64) -> u64 {
    let digest = Sha256::new()
        .chain_update(seed.to_le_bytes())
        .chain_update(hash)
        .finalize();
    digest
        .iter()
        .take(8)
        .fold(0, |key, byte| key << 8 | u64::from(*byte))
}

/// The error of a split that leaves a side without examples, where no key is set for that side:
/// nobody must be told that a key is wrong which he has never seen.
fn nothing_left(settings: &DataSettings, examples: usize, side: &'static str) -> DataError {
    match settings.validation_size {
        Some(size) if side == "training" => DataError::Setting {
            key: "data.validation_size",
            problem: format!("{size} of {examples} examples leave none for training"),
        },
        _ => DataError::Data(format!(
            "of {examples} examples, the automatic split (a tenth for validation) leaves none for {side}: \
             data.train_size and data.validation_size set another one, or use more examples"
        )),
    }
}

fn sizes(settings: &DataSettings, examples: usize) -> Result<(usize, usize), DataError> {
    let (default_train, default_validation) = if examples >= TRAIN + VALIDATION {
        (TRAIN, VALIDATION)
    } else {
        (examples - examples / 10, examples / 10)
    };
    let left = |taken: usize| examples.saturating_sub(taken);
    let (train, validation) = match (settings.train_size, settings.validation_size) {
        (None, None) => (default_train, default_validation),
        (Some(train), None) => (train, default_validation.min(left(train))),
        (None, Some(validation)) => (default_train.min(left(validation)), validation),
        (Some(train), Some(validation)) => (train, validation),
    };
    let sum = train.saturating_add(validation);
    if settings.train_size.is_none() && settings.validation_size.is_none() && validation == 0 {
        return Err(nothing_left(settings, examples, "validation"));
    }
    if sum > examples || train == 0 || validation == 0 {
        let key = if settings
            .validation_size
            .is_some_and(|size| size >= examples)
        {
            "data.validation_size"
        } else {
            "data.train_size"
        };
        let problem = format!(
            "{train} for training and {validation} for validation do not fit {examples} examples; both must be at least 1, together at most {examples}"
        );
        return Err(DataError::Setting { key, problem });
    }
    Ok((train, validation))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn settings(train: Option<usize>, validation: Option<usize>) -> DataSettings {
        DataSettings {
            train_size: train,
            validation_size: validation,
            ..DataSettings::default()
        }
    }

    #[test]
    fn unset_sizes_are_the_papers_or_ninety_and_ten_percent() {
        assert_eq!(
            sizes(&settings(None, None), 50_000).unwrap(),
            (45_000, 5_000)
        );
        assert_eq!(
            sizes(&settings(None, None), 20_000).unwrap(),
            (18_000, 2_000)
        );
        assert_eq!(
            sizes(&settings(Some(4_000), None), 20_000).unwrap(),
            (4_000, 2_000)
        );
        assert_eq!(
            sizes(&settings(None, Some(8_000)), 20_000).unwrap(),
            (12_000, 8_000)
        );
    }

    #[test]
    fn sizes_that_do_not_fit_are_refused_with_the_numbers() {
        let message = Split::new(&settings(Some(15_000), Some(6_000)), 20_000, 1)
            .unwrap_err()
            .to_string();
        assert!(
            message.contains("15000") && message.contains("6000") && message.contains("20000"),
            "{message}"
        );
        assert!(
            Split::new(&settings(None, Some(20_000)), 20_000, 1)
                .unwrap_err()
                .to_string()
                .starts_with("data.validation_size")
        );
    }

    #[test]
    fn a_joined_split_trains_on_what_was_held_out_and_on_nothing_that_was_left_out() {
        let split = Split::new(&settings(Some(30), Some(9)), 50, 4).unwrap();
        let joined = split.joined();
        assert_eq!((joined.train.len(), joined.validation.len()), (39, 0));
        assert!(joined.train.is_sorted());
        let both = split.train.iter().chain(&split.validation);
        assert!(both.into_iter().all(|index| joined.train.contains(index)));
        assert_eq!(joined.joined(), joined);
    }

    #[test]
    fn an_automatic_split_that_leaves_a_side_empty_names_no_key_that_nobody_set() {
        let automatic = "data: of 5 examples, the automatic split (a tenth for validation) leaves none for validation: \
                         data.train_size and data.validation_size set another one, or use more examples";
        let drawn = Split::new(&settings(None, None), 5, 1).unwrap_err();
        assert_eq!(drawn.to_string(), automatic);
        // None of these hashes lies in the first tenth, whatever the seed.
        let hashes: Vec<[u8; 32]> = (0..5).map(|index| [index; 32]).collect();
        let seed = (0..u64::MAX)
            .find(|&seed| {
                hashes
                    .iter()
                    .all(|hash| rank_key(hash, seed) as f64 > 0.1 * u64::MAX as f64)
            })
            .unwrap();
        let by_content = |settings| {
            Split::by_content(&settings, &hashes, None, seed)
                .unwrap_err()
                .to_string()
        };
        assert_eq!(by_content(settings(None, None)), automatic);
        assert_eq!(
            by_content(settings(None, Some(5))),
            "data.validation_size: 5 of 5 examples leave none for training"
        );
        assert_eq!(by_content(settings(Some(2), None)), automatic);
    }

    #[test]
    fn a_validation_set_that_says_nothing_is_said() {
        let shape = crate::space::ImageShape {
            channels: 1,
            height: 1,
            width: 1,
        };
        let labels: Vec<u8> = (0..200).map(|index| u8::from(index >= 2)).collect();
        let set = Dataset::new(
            shape,
            vec!["a".into(), "b".into()],
            vec![0; 200],
            labels,
            false,
        );
        let warnings = |validation: std::ops::Range<u32>| {
            let split = Split {
                train: (0..200)
                    .filter(|index| !validation.contains(index))
                    .collect(),
                validation: validation.collect(),
            };
            split.warnings(&set)
        };
        assert_eq!(
            warnings(0..1),
            [
                "the validation set has 1 image: accuracy is 0% or 100% there and says nothing about a network; 100 images and more tell \
                 networks apart (data.validation_size, or more images)",
                "no validation image shows a class of these: \"b\""
            ]
        );
        assert!(
            warnings(1..26)[0]
                .contains("steps of 4.0 points there, and differs by up to 20 points by chance")
        );
        assert_eq!(warnings(1..101), Vec::<String>::new());
        assert_eq!(
            warnings(0..120),
            ["no training image shows a class of these: \"a\""]
        );
    }

    proptest! {
        #![proptest_config(crate::random::cases(256))]

        #[test]
        fn parts_are_disjoint_and_validation_does_not_depend_on_the_training_size(
            examples in 20_usize..500, validation in 1_usize..10, a in 1_usize..10, b in 1_usize..10, seed: u64
        ) {
            let split = Split::new(&settings(Some(a), Some(validation)), examples, seed).unwrap();
            let other = Split::new(&settings(Some(b), Some(validation)), examples, seed).unwrap();
            prop_assert_eq!(&split.validation, &other.validation);
            prop_assert_eq!((split.train.len(), split.validation.len()), (a, validation));
            prop_assert!(split.train.iter().all(|index| !split.validation.contains(index) && (*index as usize) < examples));
        }
    }
}

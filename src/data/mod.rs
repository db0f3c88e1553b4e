//! Images and labels: where they come from, how they are split, and how a batch of them is
//! prepared; and texts. Must not know what is trained on them.

mod batches;
mod builtin;
mod cifar;
pub mod fetch;
mod folder;
mod input;
mod settings;
mod shapes;
mod split;
mod test_set;
pub mod text;

pub use batches::{Batches, Cut, WhiteningTable};
pub use folder::read_image;
pub use input::{ImageInput, Input, Normalisation, TextInput};
pub use settings::{DataKind, DataSettings, Flip, Whitening, WhiteningOrder};
pub use split::Split;
pub use test_set::{TestData, test_set, without_test_set};
pub use text::{Corpus, Unit};

use crate::space::ImageShape;
use sha2::{Digest, Sha256};
use std::path::PathBuf;

/// Images of one set, as bytes, `[count, channels, height, width]`, and their labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    pub shape: ImageShape,
    pub class_names: Vec<String>,
    pub images: Vec<u8>,
    pub labels: Vec<u8>,
    /// SHA-256 (hex) of shape, labels and images: a resumed run refuses other data.
    pub content: String,
    /// True where the program drew the images itself.
    pub synthetic: bool,
    /// What decides which images are held out for validation.
    pub held_out: HeldOut,
    /// What whoever starts a search on it should know of how it was read: one line each.
    pub notes: Vec<String>,
}

/// How it is decided which images of a set are held out for validation.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum HeldOut {
    /// Drawn from the run's seed.
    #[default]
    Drawn,
    /// By the images' contents: a split that stays when others are added.
    ByContent {
        /// SHA-256 of each image's file.
        hashes: Vec<[u8; 32]>,
        /// For each image, whether it is for validation; None: the set does not say so itself.
        validation: Option<Vec<bool>>,
    },
}

/// Data that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    #[error("{}: {problem}", path.display())]
    File { path: PathBuf, problem: String },
    #[error("{key}: {problem}")]
    Setting { key: &'static str, problem: String },
    /// Of the data as a whole, without a key that the user has set.
    #[error("data: {0}")]
    Data(String),
}

impl Dataset {
    /// A set with its hash.
    fn new(
        shape: ImageShape,
        class_names: Vec<String>,
        images: Vec<u8>,
        labels: Vec<u8>,
        synthetic: bool,
    ) -> Self {
        let mut hash = Sha256::new();
        for size in [shape.channels, shape.height, shape.width] {
            hash.update((size as u64).to_le_bytes());
        }
        hash.update(&labels);
        hash.update(&images);
        let content = hash
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Self {
            shape,
            class_names,
            images,
            labels,
            content,
            synthetic,
            held_out: HeldOut::Drawn,
            notes: Vec::new(),
        }
    }

    /// Bytes of one image.
    pub fn image_size(&self) -> usize {
        self.shape.channels * self.shape.height * self.shape.width
    }

    /// One image, `[channels, height, width]`.
    pub fn image(&self, index: u32) -> &[u8] {
        let size = self.image_size();
        &self.images[index as usize * size..(index as usize + 1) * size]
    }
}

/// The training set that the settings name; never the test set. Decodes images in the caller's
/// rayon pool.
///
/// # Errors
/// Names the file and byte, or the key, and what would be right.
pub fn load(settings: &DataSettings, seed: u64) -> Result<Dataset, DataError> {
    match (settings.kind, &settings.path) {
        (DataKind::Text, _) => Err(DataError::Setting {
            key: "data.kind",
            problem: "\"text\" holds no images: it trains recurrent cells".into(),
        }),
        (DataKind::Builtin, _) => builtin::draw(settings, seed),
        (DataKind::Cifar10, Some(path)) => cifar::CIFAR10.load(path.as_ref()),
        (DataKind::Cifar100, Some(path)) => cifar::CIFAR100.load(path.as_ref()),
        (DataKind::ImageFolder, Some(path)) => folder::load(path.as_ref(), settings.side()),
        (DataKind::ImageFolder, None) => Err(DataError::Setting {
            key: "data.path",
            problem: "must name the folder that holds one folder of images for each class".into(),
        }),
        (DataKind::Cifar10, None) => Err(DataError::Setting {
            key: "data.path",
            problem: "must name the folder of CIFAR-10's data_batch_*.bin files".into(),
        }),
        (DataKind::Cifar100, None) => Err(DataError::Setting {
            key: "data.path",
            problem: "must name the folder of CIFAR-100's train.bin".into(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fingerprint_is_that_of_shape_labels_and_images() {
        let set = |height: usize, images: &[u8], labels: &[u8]| {
            let shape = ImageShape {
                channels: 1,
                height,
                width: 2,
            };
            Dataset::new(
                shape,
                vec!["a".into()],
                images.to_vec(),
                labels.to_vec(),
                false,
            )
            .content
        };
        // hashlib.sha256(struct.pack("<QQQ", 1, 2, 2) + bytes([7]) + bytes([1, 2, 3,
        // 4])).hexdigest(): runs that stand rely on it.
        assert_eq!(
            set(2, &[1, 2, 3, 4], &[7]),
            "d353a25be4120eb27a89829eb274915e6ae0619181343626cf02a9c6ecbf5af9"
        );
        assert_ne!(set(2, &[1, 2, 3, 5], &[7]), set(2, &[1, 2, 3, 4], &[7]));
        assert_ne!(set(2, &[1, 2, 3, 4], &[6]), set(2, &[1, 2, 3, 4], &[7]));
        assert_ne!(set(1, &[1, 2, 3, 4], &[6, 6]), set(2, &[1, 2, 3, 4], &[6]));
    }
}

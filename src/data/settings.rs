//! The `[data]` section.
use super::text::Unit;
use serde::{Deserialize, Serialize};

/// Where the examples come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DataKind {
    /// Drawn by the program: synthetic.
    Builtin,
    /// CIFAR-10's official binary files.
    Cifar10,
    /// A training and a validation text.
    Text,
    /// The user's own images: a folder for each class, or `train/` and `val/` above them.
    #[serde(rename = "image-folder")]
    ImageFolder,
}

/// How pixel values are normalised (paper §4.1 says "whiten").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Whitening {
    /// Each image to zero mean and unit variance.
    Image,
    /// Each channel by the training set's mean and deviation.
    Channel,
}

/// `[data]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DataSettings {
    pub kind: DataKind,
    /// Folder of the data files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Side in pixels that the images of a folder are scaled to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<usize>,
    /// Unset: 45,000, or 90% where the set is smaller; of a text all tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub train_size: Option<usize>,
    /// Unset: 5,000, or 10% where the set is smaller; of a text all tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation_size: Option<usize>,
    /// Upsample, random crop and random horizontal flip of training images (paper §4.1).
    pub augment: bool,
    /// Size that training images are scaled to before the crop back to their own size.
    pub upsample: usize,
    pub whiten: Whitening,
    /// The training text; unset: the one file of `path` named `train.txt` or `*.train.txt`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub train_file: Option<String>,
    /// The validation text; unset: the one file of `path` named `valid.txt` or `*.valid.txt`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation_file: Option<String>,
    /// What a text's tokens are.
    pub unit: Unit,
    /// The most tokens of a text that have a place of their own; unset: every token of the training
    /// text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vocabulary: Option<usize>,
}

impl Default for DataSettings {
    fn default() -> Self {
        Self {
            kind: DataKind::Builtin,
            path: None,
            size: None,
            train_size: None,
            validation_size: None,
            augment: true,
            upsample: 36,
            whiten: Whitening::Image,
            train_file: None,
            validation_file: None,
            unit: Unit::Word,
            vocabulary: None,
        }
    }
}

impl DataSettings {
    /// Height and width of every image, in pixels.
    pub fn side(&self) -> usize {
        match self.kind {
            DataKind::ImageFolder => self.size.unwrap_or(SIDE),
            DataKind::Builtin | DataKind::Cifar10 | DataKind::Text => SIDE,
        }
    }

    /// What cannot work in this section, as far as it shows before the data are read: (key, what
    /// would be valid).
    pub fn problems(&self) -> Vec<(String, String)> {
        let has_path = self.path.as_deref().is_some_and(|path| !path.is_empty());
        let (is_folder, text) = (
            self.kind == DataKind::ImageFolder,
            self.kind == DataKind::Text,
        );
        let sides = SMALLEST_SIDE..=LARGEST_SIDE;
        let upsample = self.side()..=MOST_UPSAMPLED.max(2 * self.side());
        let smallest = format!(
            "must be {} (the images' own side: no scaling) to {}, for example {}",
            upsample.start(),
            upsample.end(),
            self.side() * 9 / 8
        );
        let (train_file, validation_file) =
            (self.train_file.as_deref(), self.validation_file.as_deref());
        let without =
            "has an effect with data.kind = \"text\" alone: set that, or leave this key out";
        let (images, images_alone) = (
            Self::default(),
            "has an effect on images alone: leave this key out",
        );
        let rules = [
            (
                "path",
                has_path || self.kind != DataKind::Cifar10,
                "data.kind = \"cifar10\" needs it: the folder of data_batch_1.bin, for example \"cifar-10-batches-bin\"",
            ),
            (
                "path",
                has_path || !text || (train_file.is_some() && validation_file.is_some()),
                "data.kind = \"text\" needs it: a folder with train.txt and valid.txt, for example \"ptb\" (or train_file and validation_file)",
            ),
            (
                "path",
                has_path || !is_folder,
                "data.kind = \"image-folder\" needs it: the folder that holds one folder of images for each class",
            ),
            (
                "path",
                !has_path || self.kind != DataKind::Builtin,
                "has no effect with data.kind = \"builtin\": set data.kind = \"cifar10\" or \"image-folder\", or leave this key out",
            ),
            (
                "size",
                !is_folder || self.size.is_some_and(|size| sides.contains(&size)),
                "data.kind = \"image-folder\" needs it: the side in pixels that every image is scaled to, 8 to 512, for example 32",
            ),
            (
                "size",
                is_folder || self.size.is_none(),
                "has an effect with data.kind = \"image-folder\" alone: set that, or leave this key out",
            ),
            (
                "train_size",
                self.train_size != Some(0),
                "must be 1 example or more, or left out for 45000 (90% of a smaller set)",
            ),
            (
                "validation_size",
                self.validation_size != Some(0),
                "must be 1 example or more, or left out for 5000 (10% of a smaller set)",
            ),
            (
                "upsample",
                upsample.contains(&self.upsample) || is_folder && !self.augment,
                smallest.as_str(),
            ),
            (
                "augment",
                !text || self.augment == images.augment,
                images_alone,
            ),
            (
                "upsample",
                !text || self.upsample == images.upsample,
                images_alone,
            ),
            (
                "whiten",
                !text || self.whiten == images.whiten,
                images_alone,
            ),
            ("train_file", text || train_file.is_none(), without),
            (
                "train_file",
                train_file != Some(""),
                "must name a file, or be left out",
            ),
            (
                "validation_file",
                text || validation_file.is_none(),
                without,
            ),
            (
                "validation_file",
                validation_file != Some(""),
                "must name a file, or be left out",
            ),
            ("unit", text || self.unit == Unit::Word, without),
            ("vocabulary", text || self.vocabulary.is_none(), without),
            (
                "vocabulary",
                self.vocabulary.is_none_or(|words| words >= 3),
                "must be 3 tokens (<eos>, <unk>, another) or more, or left out for all",
            ),
        ];
        rules
            .into_iter()
            .filter(|(_, holds, _)| !holds)
            .map(|(key, _, valid)| (key.to_owned(), valid.to_owned()))
            .collect()
    }
}

/// Side of the built-in images and CIFAR-10's.
const SIDE: usize = 32;
const SMALLEST_SIDE: usize = 8;
const LARGEST_SIDE: usize = 512;
const MOST_UPSAMPLED: usize = 256;

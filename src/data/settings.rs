//! The `[data]` section: each key's declaration stands on its field. Must not know where a value
//! was written.

use super::text::Unit;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use smart_default::SmartDefault;

/// Where the examples come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DataKind {
    /// Drawn by the program: synthetic.
    Builtin,
    /// CIFAR-10's official binary files.
    Cifar10,
    /// CIFAR-100's official binary files: the hundred fine labels.
    Cifar100,
    /// A training and a validation text.
    Text,
    /// The user's own images: a folder for each class, or `train/` and `val/` above them.
    #[serde(rename = "image-folder")]
    ImageFolder,
}

/// How pixel values are normalised (paper §4.1 says "whiten").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Whitening {
    /// Each image to zero mean and unit variance.
    Image,
    /// Each channel by the training set's mean and deviation.
    Channel,
}

/// When a training image is whitened: it matters where each image is whitened by itself and is
/// cropped from a larger one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WhiteningOrder {
    /// Before it is upsampled, cropped and flipped (paper §4.1).
    #[default]
    First,
    /// After that: the crop has zero mean and unit variance. Earlier versions did so.
    Last,
}

/// Which training images are mirrored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Flip {
    /// Each with probability 1/2, drawn anew in each epoch (paper §4.1).
    Random,
    /// In the first epoch as with "random", then each the other way round from epoch to epoch:
    /// two epochs show both sides of all images (Jordan 2024, arXiv 2404.00498).
    Alternating,
}

/// Side of the built-in images, CIFAR-10's and CIFAR-100's.
const SIDE: usize = 32;
const MIN_SIDE: usize = 8;
const MAX_SIDE: usize = 512;
const MAX_UPSAMPLED_SIDE: usize = 256;
const FILE: &str = "must name a file, or be left out";

/// `[data]`: read where children are trained here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema, SmartDefault)]
#[serde(default)]
pub struct DataSettings {
    /// The examples: drawn by the program, the binary files of CIFAR-10 or CIFAR-100, your own images,
    /// or a text.
    #[default(DataKind::Builtin)]
    #[schemars(extend("x-identity" = true))]
    pub kind: DataKind,
    /// Folder of the data files.
    #[schemars(extend("x-applies" = {"data.kind": ["cifar10", "cifar100", "image-folder", "text"]}))]
    pub path: Option<String>,
    /// Side in pixels that the images of a folder are scaled to.
    #[schemars(
        range(min = MIN_SIDE, max = MAX_SIDE),
        extend(
            "x-applies" = {"data.kind": ["image-folder"]},
            "x-identity" = "unless default",
            "x-valid" = folder_size(),
        ),
    )]
    pub size: Option<usize>,
    /// Training examples.
    #[schemars(
        range(min = 1),
        extend(
            "x-identity" = true,
            "x-unit" = "example",
            "x-unset" = "45000 (90% of a smaller set)",
        ),
    )]
    pub train_size: Option<usize>,
    /// Validation examples.
    #[schemars(
        range(min = 1),
        extend(
            "x-identity" = true,
            "x-unit" = "example",
            "x-unset" = "5000 (10% of a smaller set)",
        ),
    )]
    pub validation_size: Option<usize>,
    /// Upsample, random crop and random horizontal flip of training images (paper §4.1).
    #[default(true)]
    #[schemars(extend("x-applies" = images(), "x-live" = true))]
    pub augment: bool,
    /// Which training images are mirrored: each as drawn anew in every epoch, or every second
    /// epoch.
    #[default(Flip::Random)]
    #[schemars(
        extend(
            "x-default-fast" = "alternating",
            "x-applies" = augmented_images(),
            "x-live" = true,
        ),
    )]
    pub flip: Flip,
    /// Side that training images are scaled to before the crop.
    #[default = 36]
    #[schemars(extend("x-applies" = images(), "x-live" = true))]
    pub upsample: usize,
    /// Normalise each image by itself, or each channel over the training set.
    #[default(Whitening::Image)]
    #[schemars(extend("x-applies" = images(), "x-live" = true))]
    pub whiten: Whitening,
    /// Whiten each training image first, before it is upsampled, cropped and flipped (paper §4.1),
    /// or last.
    #[schemars(
        extend(
            "x-applies" = images(),
            "x-identity" = true,
            "x-unset" = "\"first\"; \"last\" in a run that began before this key existed",
        ),
    )]
    pub whiten_order: Option<WhiteningOrder>,
    /// The training text.
    #[schemars(
        length(min = 1),
        extend(
            "x-applies" = {"data.kind": ["text"]},
            "x-unset" = "train.txt or *.train.txt in data.path",
            "x-valid" = FILE,
        ),
    )]
    pub train_file: Option<String>,
    /// The validation text.
    #[schemars(
        length(min = 1),
        extend(
            "x-applies" = {"data.kind": ["text"]},
            "x-unset" = "valid.txt or *.valid.txt in data.path",
            "x-valid" = FILE,
        ),
    )]
    pub validation_file: Option<String>,
    /// The test text, which only the winner of `netwright retrain` is scored on.
    #[schemars(
        length(min = 1),
        extend(
            "x-applies" = {"data.kind": ["text"]},
            "x-unset" = "test.txt or *.test.txt in data.path, if there is one",
            "x-valid" = FILE,
        ),
    )]
    pub test_file: Option<String>,
    /// What a text's tokens are: words, or characters.
    #[default(Unit::Word)]
    #[schemars(extend("x-applies" = {"data.kind": ["text"]}))]
    pub unit: Unit,
    /// The most frequent tokens of a text that are kept, the others are `<unk>`.
    #[schemars(
        range(min = 3),
        extend(
            "x-applies" = {"data.kind": ["text"]},
            "x-unit" = "tokens (<eos>, <unk>, another)",
            "x-unset" = "all",
        ),
    )]
    pub vocabulary: Option<usize>,
}

/// Keys of images.
fn images() -> Value {
    json!({ "data.kind": ["builtin", "cifar10", "cifar100", "image-folder"] })
}

/// Keys of images that are cropped and flipped.
fn augmented_images() -> Value {
    json!({ "data.kind": ["builtin", "cifar10", "cifar100", "image-folder"], "data.augment": [true] })
}

fn folder_size() -> String {
    format!(
        "data.kind = \"image-folder\" needs it: the side in pixels that every image is scaled to, {MIN_SIDE} to {MAX_SIDE}, for example 32"
    )
}

impl DataSettings {
    /// Height and width of every image, in pixels.
    pub fn side(&self) -> usize {
        match self.kind {
            DataKind::ImageFolder => self.size.unwrap_or(SIDE),
            DataKind::Builtin | DataKind::Cifar10 | DataKind::Cifar100 | DataKind::Text => SIDE,
        }
    }

    /// What cannot work together among this section's keys, as far as it shows before the data are
    /// read: (key, what would be valid). Each value alone is as its declaration says.
    pub fn problems(&self) -> Vec<(String, String)> {
        let has_path = self.path.as_deref().is_some_and(|path| !path.is_empty());
        let has_files = self.train_file.is_some() && self.validation_file.is_some();
        let is_folder = self.kind == DataKind::ImageFolder;
        let upsampled = self.side()..=MAX_UPSAMPLED_SIDE.max(2 * self.side());
        let rules = [
            (
                "path",
                has_path || self.kind != DataKind::Cifar10,
                "data.kind = \"cifar10\" needs it: the folder of data_batch_1.bin, for example \"cifar-10-batches-bin\"".into(),
            ),
            (
                "path",
                has_path || self.kind != DataKind::Cifar100,
                "data.kind = \"cifar100\" needs it: the folder of train.bin, for example \"cifar-100-binary\"".into(),
            ),
            (
                "path",
                has_path || self.kind != DataKind::Text || has_files,
                "data.kind = \"text\" needs it: a folder with train.txt and valid.txt, for example \"ptb\" (or train_file and validation_file)".into(),
            ),
            (
                "path",
                has_path || !is_folder,
                "data.kind = \"image-folder\" needs it: the folder that holds one folder of images for each class".into(),
            ),
            ("size", self.size.is_some() || !is_folder, folder_size()),
            (
                "upsample",
                upsampled.contains(&self.upsample)
                    || self.kind == DataKind::Text
                    || is_folder && !self.augment,
                format!(
                    "must be {} (the images' own side: no scaling) to {}, for example {}",
                    upsampled.start(),
                    upsampled.end(),
                    self.side() * 9 / 8
                ),
            ),
        ];
        rules
            .into_iter()
            .filter(|(_, holds, _)| !holds)
            .map(|(key, _, valid)| (key.to_owned(), valid))
            .collect()
    }
}

//! The `[data]` section.
use serde::{Deserialize, Serialize};

/// Where the examples come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DataKind {
    /// Drawn by the program: synthetic.
    Builtin,
    /// CIFAR-10's official binary files.
    Cifar10,
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
    /// Unset: 45,000, or 90% where the set is smaller.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub train_size: Option<usize>,
    /// Unset: 5,000, or 10% where the set is smaller.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation_size: Option<usize>,
    /// Upsample, random crop and random horizontal flip of training images (paper §4.1).
    pub augment: bool,
    /// Size that training images are scaled to before the crop back to their own size.
    pub upsample: usize,
    pub whiten: Whitening,
}

impl Default for DataSettings {
    fn default() -> Self {
        Self {
            kind: DataKind::Builtin,
            path: None,
            train_size: None,
            validation_size: None,
            augment: true,
            upsample: 36,
            whiten: Whitening::Image,
        }
    }
}

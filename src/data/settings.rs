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

impl DataSettings {
    /// What cannot work in this section, as far as it shows before the data are read: (key, what would be valid).
    pub fn problems(&self) -> Vec<(String, String)> {
        let path = self.path.as_deref().unwrap_or_default();
        let (needs_path, has_path) = (self.kind == DataKind::Cifar10, !path.is_empty());
        let upsample = SIDE..=MOST_UPSAMPLED;
        let rules = [
            (
                "path",
                has_path || !needs_path,
                "data.kind = \"cifar10\" needs it: the folder of data_batch_1.bin, for example \"cifar-10-batches-bin\"",
            ),
            (
                "path",
                needs_path || !has_path,
                "has no effect with data.kind = \"builtin\": set data.kind = \"cifar10\", or leave this key out",
            ),
            ("train_size", self.train_size != Some(0), "must be 1 example or more, or left out for 45000 (90% of a smaller set)"),
            ("validation_size", self.validation_size != Some(0), "must be 1 example or more, or left out for 5000 (10% of a smaller set)"),
            ("upsample", upsample.contains(&self.upsample), "must be 32 (the images' own side: no scaling) to 256, for example 36"),
        ];
        rules.into_iter().filter(|(_, holds, _)| !holds).map(|(key, _, valid)| (key.to_owned(), valid.to_owned())).collect()
    }
}

/// Side of every image that can be read so far.
const SIDE: usize = 32;
const MOST_UPSAMPLED: usize = 256;

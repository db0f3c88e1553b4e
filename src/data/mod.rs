//! Images and labels: where they come from, how they are split, and how a batch of them is prepared.
//! Must not know what is trained on them.

mod settings;

pub use settings::{DataKind, DataSettings, Whitening};

use crate::space::ImageShape;

/// Images of one set, as bytes, `[count, channels, height, width]`, and their labels.
#[derive(Clone, Debug)]
pub struct Dataset {
    pub shape: ImageShape,
    pub class_names: Vec<String>,
    pub images: Vec<u8>,
    pub labels: Vec<u8>,
    /// SHA-256 (hex) of images and labels: a resumed run refuses other data.
    pub content: String,
    /// True where the program drew the images itself.
    pub synthetic: bool,
}

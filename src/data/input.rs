//! What becomes of an image, or of a token, before a network sees it: plain data that is kept with a
//! network's weights, so that they can be used without the set that it was trained on. Must not
//! know networks.

use super::batches::{shift_and_scale, statistics};
use super::{DataKind, Unit};
use crate::space::ImageShape;
use serde::{Deserialize, Serialize};

/// What a network reads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Input {
    Images(ImageInput),
    Text(TextInput),
}

/// Images of one size, each of one class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImageInput {
    pub shape: ImageShape,
    /// In the order of the logits.
    pub class_names: Vec<String>,
    pub normalisation: Normalisation,
    /// Where the training images came from.
    pub source: DataKind,
}

/// Tokens of a text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TextInput {
    pub unit: Unit,
    /// Position of `<eos>`, which stands before the first token and between two lines.
    pub end: u32,
    /// Each token's text, in the order of the logits.
    pub vocabulary: Vec<String>,
}

/// How pixel values from 0 to 255 are normalised (paper §4.1 says "whiten").
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "lowercase")]
pub enum Normalisation {
    /// Each image to zero mean and unit variance. One with less than this variance becomes zeros.
    Image { min_variance: f64 },
    /// Each channel: (value − mean) · scale.
    Channel { mean: Vec<f32>, scale: Vec<f32> },
}

impl Normalisation {
    /// Normalises one image, `[channels, height, width]`, in place; `plane` is height · width.
    pub fn apply(&self, image: &mut [f32], plane: usize) {
        match self {
            Self::Image { min_variance } => {
                let (mean, scale) = statistics(image, *min_variance);
                shift_and_scale(image, mean, scale);
            }
            Self::Channel { mean, scale } => {
                let statistics = mean.iter().zip(scale);
                for (values, (mean, scale)) in image.chunks_exact_mut(plane).zip(statistics) {
                    shift_and_scale(values, *mean, *scale);
                }
            }
        }
    }
}

impl ImageInput {
    /// Numbers of one image.
    pub fn image_len(&self) -> usize {
        self.shape.channels * self.shape.height * self.shape.width
    }

    /// Raw images, `[n, channels, height, width]`, as the network takes them.
    ///
    /// # Panics
    /// If both have not the same length.
    pub fn prepare(&self, images: &[u8], into: &mut [f32]) {
        assert_eq!(images.len(), into.len(), "as many numbers as bytes");
        let plane = self.shape.height * self.shape.width;
        let size = self.image_len();
        for (bytes, image) in images.chunks_exact(size).zip(into.chunks_exact_mut(size)) {
            image
                .iter_mut()
                .zip(bytes)
                .for_each(|(value, byte)| *value = f32::from(*byte));
            self.normalisation.apply(image, plane);
        }
    }
}

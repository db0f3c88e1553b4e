//! What a trained network scores on test data: counts, and the numbers that are computed from them.
//! Must not know where the data come from, nor who reads the result.

use serde::{Deserialize, Serialize};

/// The score of one network on a test set that nothing was chosen by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum TestResult {
    Images(ImageResult),
    Text(TextResult),
}

/// Of a network that classifies images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImageResult {
    pub images: u64,
    pub correct: u64,
    /// Share of the images that are classified wrongly.
    pub error: f64,
    /// In the order of the classes.
    pub classes: Vec<ClassResult>,
    /// `[class][answer]`: how many images of a class the network takes for which.
    pub confusion: Vec<Vec<u64>>,
}

/// Of the images of one class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassResult {
    pub name: String,
    pub images: u64,
    pub correct: u64,
    /// None: the test set shows no image of this class.
    pub accuracy: Option<f64>,
}

/// Of a language model.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TextResult {
    /// Tokens of the text, each predicted from all before it.
    pub tokens: u64,
    /// exp of the mean cross-entropy of a token, in nats.
    pub perplexity: f64,
    /// Where tokens are characters: the mean cross-entropy of one, in bits.
    pub bits_per_character: Option<f64>,
}

impl ImageResult {
    /// From how often each class was taken for which; `confusion` has a row and a column for each
    /// class.
    pub fn of(class_names: &[String], confusion: Vec<Vec<u64>>) -> Self {
        let classes: Vec<ClassResult> = class_names
            .iter()
            .zip(&confusion)
            .enumerate()
            .map(|(class, (name, answers))| {
                let images = answers.iter().sum();
                let correct = answers[class];
                ClassResult {
                    name: name.clone(),
                    images,
                    correct,
                    accuracy: (images > 0).then(|| correct as f64 / images as f64),
                }
            })
            .collect();
        let images: u64 = classes.iter().map(|class| class.images).sum();
        let correct: u64 = classes.iter().map(|class| class.correct).sum();
        Self {
            images,
            correct,
            error: (images - correct) as f64 / images.max(1) as f64,
            classes,
            confusion,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_counted_by_class_and_a_class_without_images_has_no_accuracy() {
        let names = ["a", "b", "c"].map(str::to_owned);
        let result = ImageResult::of(&names, vec![vec![3, 1, 0], vec![0, 4, 2], vec![0, 0, 0]]);
        assert_eq!((result.images, result.correct, result.error), (10, 7, 0.3));
        let accuracies: Vec<_> = result.classes.iter().map(|class| class.accuracy).collect();
        assert_eq!(accuracies, [Some(0.75), Some(4.0 / 6.0), None]);
    }
}

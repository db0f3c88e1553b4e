//! A folder that is written and read again.

use super::{folder, read};
use crate::child::{
    ImageResult, MetricUnit, NamedTensor, TestResult, TrainedNetwork, TrainingRecord,
    TrainingSummary, ValidationScores,
};
use crate::data::{DataKind, ImageInput, Input, Normalisation};
use crate::space::{Architecture, ConvLayer, ConvNetwork, Convolution, ImageShape, Network};
use std::path::Path;

fn trained() -> TrainedNetwork {
    let shape = ImageShape {
        channels: 3,
        height: 8,
        width: 8,
    };
    let layer = ConvLayer::new(
        Convolution {
            filter_height: 3,
            filter_width: 3,
            filters: 4,
            stride_height: 1,
            stride_width: 1,
        },
        &[],
    );
    let network = ConvNetwork::new(shape, 2, vec![layer]);
    let tensor = |name: &str, values: &[f32]| NamedTensor {
        name: name.into(),
        shape: vec![values.len()],
        values: values.to_vec(),
    };
    let record = TrainingRecord {
        version: 1,
        program: "0.1".into(),
        trial: 7,
        seed: 1,
        architecture: Architecture {
            version: 1,
            network: Network::Conv(network),
        },
        input: Input::Images(ImageInput {
            shape,
            class_names: vec!["cats".into(), "dogs".into()],
            normalisation: Normalisation::Image { min_variance: 1e-4 },
            source: DataKind::ImageFolder,
        }),
        batch_norm_epsilon: Some(1e-5),
        training: TrainingSummary {
            epochs: 50,
            validation: Some(ValidationScores {
                score: 0.8125,
                metric: 0.825,
                reward: 0.56,
            }),
            unit: MetricUnit::Accuracy,
            training_examples: 90,
            validation_examples: 10,
            content: "abc".into(),
            recipe: serde_json::from_str("{\"epochs\": 50, \"schedule\": \"cosine\"}").unwrap(),
        },
        test: None,
    };
    TrainedNetwork {
        record,
        tensors: vec![tensor("a.scale", &[0.1, -2.0]), tensor("b.bias", &[3.0])],
    }
}

fn write(to: &Path) -> Vec<String> {
    let files = folder(&trained(), "photos", "<svg/>".into()).unwrap();
    files
        .into_iter()
        .map(|(name, content)| {
            std::fs::write(to.join(name), content).unwrap();
            name.to_owned()
        })
        .collect()
}

#[test]
fn a_folder_has_what_the_hub_expects_and_comes_back_as_it_was() {
    let to = tempfile::tempdir().unwrap();
    let names = write(to.path());
    let expected = [
        "config.json",
        "model.safetensors",
        "model.py",
        "README.md",
        "architecture.svg",
    ];
    assert_eq!(names, expected);
    assert_eq!(read(to.path()).unwrap(), trained());
    let card = std::fs::read_to_string(to.path().join("README.md")).unwrap();
    for part in [
        "---\npipeline_tag: image-classification\n",
        "# photos, trial 7",
        "A convolutional network of 1 layer with 126 parameters.",
        "A folder of images: 90 for training, 10 for validation; 8 × 8 pixels, 2 classes (cats, dogs)",
        "| epochs | 50 |\n| schedule | cosine |\n| seed | 1 |",
        "| of these weights, after epoch 50 | 81.2% |",
        "82.5%",
        "No test data was read.",
    ] {
        assert!(card.contains(part), "{part} is not in\n{card}");
    }
}

#[test]
fn the_card_of_a_retrained_network_has_its_test_scores_and_no_validation() {
    let to = tempfile::tempdir().unwrap();
    let mut network = trained();
    network.record.training.validation = None;
    let names = ["cats", "dogs"].map(str::to_owned);
    let result = ImageResult::of(&names, vec![vec![3, 1], vec![0, 4]]);
    network.record.test = Some(TestResult::Images(result));
    for (name, content) in folder(&network, "photos", "<svg/>".into()).unwrap() {
        std::fs::write(to.path().join(name), content).unwrap();
    }
    assert_eq!(read(to.path()).unwrap(), network);
    let card = std::fs::read_to_string(to.path().join("README.md")).unwrap();
    for part in [
        "nothing was held out.\n\n| test data (8 images) | |\n|---|---|\n| error | 12.50% |\n| accuracy of class cats | 75.00% |",
        "The test data were read once",
    ] {
        assert!(card.contains(part), "{part} is not in\n{card}");
    }
    assert!(!card.contains("| validation"), "{card}");
}

#[test]
fn a_folder_that_cannot_be_used_is_named() {
    let to = tempfile::tempdir().unwrap();
    let problem = || {
        let text = read(to.path()).unwrap_err();
        text.replace(&to.path().display().to_string(), "DIR")
    };
    assert_eq!(
        problem(),
        "DIR: no config.json here; `netwright export RUN TRIAL --format torch FOLDER` writes such a folder"
    );
    write(to.path());
    let weights = to.path().join("model.safetensors");
    let bytes = std::fs::read(&weights).unwrap();
    std::fs::write(&weights, &bytes[..bytes.len() - 1]).unwrap();
    assert!(
        problem().starts_with("DIR/model.safetensors: is no safetensors file, or is damaged"),
        "{}",
        problem()
    );
    std::fs::write(to.path().join("config.json"), "{\"model_type\": \"bert\"}").unwrap();
    assert_eq!(
        problem(),
        "DIR/config.json: holds no network of netwright's: \"version\" is not there"
    );
}

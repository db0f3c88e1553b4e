//! The model card of an exported folder: what the network is, how it is used, on what and how it was
//! trained, and how good it is. Must not know files.

use crate::child::{MetricUnit, TestResult, TrainingRecord, ValidationScores};
use crate::data::{DataKind, Input};
use crate::space::Network;
use serde_json::Value;
use std::fmt::Write as _;

/// The card, in Markdown, as the Hugging Face Hub reads it. `title` is the run's name.
pub fn card(record: &TrainingRecord, title: &str) -> String {
    let mut text = String::new();
    let (task, commands) = match &record.input {
        Input::Images(_) => (
            "image-classification",
            "python model.py IMAGE...\nnetwright classify . IMAGE...",
        ),
        Input::Text(_) => ("text-generation", "python model.py \"the\" --tokens 50"),
    };
    // Writing to a String cannot fail, here and below.
    let _ = writeln!(
        text,
        "---\npipeline_tag: {task}\ntags:\n- neural-architecture-search\n- netwright\n---\n\n# {title}, trial {}\n\n\
         {} It was found by a neural architecture search, and trained, by netwright {}.\n\n\
         ![The network](architecture.svg)\n\n## Use\n\n```\n{commands}\n```\n",
        record.trial,
        network_text(record),
        record.program
    );
    let _ = writeln!(
        text,
        "`model.py` rebuilds the network, loads the weights strictly and does all that an input goes through before\n\
         the first layer. `config.json` describes network, input and training.\n\n## Data\n\n{}\n\n## Recipe\n",
        data_text(record)
    );
    text.push_str("| setting | value |\n|---|---|\n");
    for (key, value) in &record.training.recipe {
        let value = match value {
            Value::String(text) => text.clone(),
            value => value.to_string(),
        };
        let _ = writeln!(text, "| {} | {value} |", key.replace('_', " "));
    }
    let _ = writeln!(text, "| seed | {} |\n\n## Scores\n", record.seed);
    scores(&mut text, record);
    text
}

/// What it is, in one sentence.
fn network_text(record: &TrainingRecord) -> String {
    let with_size = record
        .architecture
        .size()
        .0
        .map_or_else(String::new, |count| format!(" with {count} parameters"));
    match &record.architecture.network {
        Network::Conv(network) => {
            let layers = match network.layers.len() {
                1 => "1 layer".to_owned(),
                count => format!("{count} layers"),
            };
            format!("A convolutional network of {layers}{with_size}.")
        }
        _ => format!("A language model{with_size} around a recurrent cell."),
    }
}

fn data_text(record: &TrainingRecord) -> String {
    let training = &record.training;
    let held_out = match training.validation_examples {
        0 => "none held out".to_owned(),
        count => format!("{count} for validation"),
    };
    let counts = format!("{} for training, {held_out}", training.training_examples);
    match &record.input {
        Input::Images(input) => {
            let source = match input.source {
                DataKind::Builtin => "Synthetic images, drawn by netwright",
                DataKind::Cifar10 => "CIFAR-10",
                DataKind::Cifar100 => "CIFAR-100",
                _ => "A folder of images",
            };
            let shape = input.shape;
            format!(
                "{source}: {counts}; {} × {} pixels, {} classes ({}). SHA-256 of the data: `{}`.",
                shape.height,
                shape.width,
                input.class_names.len(),
                some(&input.class_names),
                training.content
            )
        }
        Input::Text(input) => format!(
            "A text: {counts} (tokens), {} different. SHA-256 of the data: `{}`.",
            input.vocabulary.len(),
            training.content
        ),
    }
}

/// The first names, and how many follow.
fn some(names: &[String]) -> String {
    const SHOWN: usize = 20;
    let shown = names[..names.len().min(SHOWN)].join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

fn scores(text: &mut String, record: &TrainingRecord) {
    if let Some(scores) = record.training.validation {
        validation_scores(text, record, scores);
    } else {
        text.push_str(
            "Trained on training and validation data together: nothing was held out.\n\n",
        );
    }
    match &record.test {
        Some(result) => test_scores(text, result),
        None => text.push_str("No test data was read.\n"),
    }
}

/// On data that nothing was chosen by.
fn test_scores(text: &mut String, result: &TestResult) {
    let percent = |share: f64| format!("{:.2}%", 100.0 * share);
    match result {
        TestResult::Images(result) => {
            let _ = write!(
                text,
                "| test data ({} images) | |\n|---|---|\n| error | {} |\n",
                result.images,
                percent(result.error)
            );
            for class in &result.classes {
                let accuracy = class.accuracy.map_or_else(|| "no image".into(), percent);
                let _ = writeln!(text, "| accuracy of class {} | {accuracy} |", class.name);
            }
        }
        TestResult::Text(result) => {
            let _ = write!(
                text,
                "| test data ({} tokens; lower is better) | |\n|---|---|\n| perplexity | {:.3} |\n",
                result.tokens, result.perplexity
            );
            if let Some(bits) = result.bits_per_character {
                let _ = writeln!(text, "| bits per character | {bits:.4} |");
            }
        }
    }
    text.push_str(
        "\nThe test data were read once, for these weights alone: nothing was chosen by them.\n",
    );
}

fn validation_scores(text: &mut String, record: &TrainingRecord, scores: ValidationScores) {
    let training = &record.training;
    let name = training.unit.name();
    let better = match training.unit {
        MetricUnit::Perplexity | MetricUnit::BitsPerCharacter => " (lower is better)",
        MetricUnit::Accuracy | MetricUnit::Plain => "",
    };
    let _ = write!(
        text,
        "| validation {name}{better} | |\n|---|---|\n| of these weights, after epoch {} | {} |\n\
         | that the search was rewarded for: the best of its last epochs | {} |\n\n\
         The validation data decided which network was chosen, so these numbers flatter it.\n\n",
        training.epochs,
        training.unit.number(scores.score),
        training.unit.number(scores.metric)
    );
}

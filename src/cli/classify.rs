//! `netwright classify`: image files and what an exported network says of them. Changes nothing.

use super::{Failure, assembly, print, print_json};
use crate::child::{Classifier, softmax};
use crate::data::{Input, read_image};
use crate::export::torch;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

#[derive(clap::Args)]
pub struct ClassifyArgs {
    /// The folder that `netwright export RUN TRIAL --format torch FOLDER` has written
    pub model: PathBuf,
    /// PNG, JPEG or WebP files
    #[arg(required = true, value_name = "IMAGE")]
    pub images: Vec<PathBuf>,
    /// The probability and logit of every class
    #[arg(long)]
    pub json: bool,
}

/// Classes that are shown of each image.
const SHOWN: usize = 3;

/// One image's answer.
#[derive(Serialize)]
struct Answer<'a> {
    image: String,
    class: &'a str,
    probabilities: BTreeMap<&'a str, f64>,
    /// In the order of the model's classes.
    logits: &'a [f32],
}

pub fn run(args: ClassifyArgs) -> Result<(), Failure> {
    let trained = torch::read(&args.model).map_err(Failure::Input)?;
    let named = |problem: String| Failure::Input(format!("{}: {problem}", args.model.display()));
    if matches!(trained.record.input, Input::Text(_)) {
        return Err(named(
            "holds a language model, which classifies nothing; `python model.py` there samples a text from it".into(),
        ));
    }
    let pool = Arc::new(assembly::every_core("classify")?);
    let mut classifier = Classifier::new(&trained, &pool).map_err(named)?;
    let size = classifier.input().shape.height;
    let mut bytes = Vec::with_capacity(args.images.len() * classifier.input().image_len());
    for path in &args.images {
        let image = read_image(path, size).map_err(|error| Failure::Input(error.to_string()))?;
        bytes.extend_from_slice(&image);
    }
    let logits = classifier.logits(&bytes).map_err(Failure::Failed)?;
    let names = &classifier.input().class_names;
    let each = args.images.iter().zip(logits.chunks_exact(names.len()));
    if args.json {
        let answers: Vec<Answer> = each
            .map(|(path, logits)| {
                let shares = softmax(logits);
                Answer {
                    image: path.display().to_string(),
                    class: &names[ranked(&shares)[0]],
                    probabilities: names.iter().map(String::as_str).zip(shares).collect(),
                    logits,
                }
            })
            .collect();
        return print_json(&answers);
    }
    let mut text = String::new();
    for (path, logits) in each {
        let shares = softmax(logits);
        let best: Vec<String> = ranked(&shares)
            .into_iter()
            .take(SHOWN)
            .map(|class| format!("{} {:.1}%", names[class], 100.0 * shares[class]))
            .collect();
        let _ = writeln!(text, "{}: {}", path.display(), best.join(", "));
    }
    print(&text)
}

/// The classes, the most probable first; the first of equals before later ones.
fn ranked(shares: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..shares.len()).collect();
    order.sort_by(|&a, &b| shares[b].total_cmp(&shares[a]));
    order
}

//! What a retraining chose and came to, in words and tables. Must not decide anything.

use crate::child::{ImageResult, TestResult};
use crate::cli::retrained::score;
use crate::journal::{FinalEvaluation, TrialRow};
use crate::workload::{Recipes, Scoring, final_weights_file};
use comfy_table::{CellAlignment, Table, presets};
use std::fmt::Write as _;
use std::path::Path;

/// Classes up to which a confusion matrix fits a terminal.
const SHOWN_CLASSES: usize = 12;

/// What validation chose, in one line.
pub fn choice(chosen: &TrialRow, recipes: &Recipes, scoring: &Scoring) -> String {
    let metric = chosen.metric.unwrap_or_default();
    format!(
        "chosen: trial {}, validation {} {}{}",
        chosen.id,
        scoring.metric.name(),
        scoring.metric.number(metric),
        listed(&recipes.described(&chosen.decisions))
    )
}

/// `: network trial 12, learning_rate 0.05`
fn listed(chosen: &[(String, String)]) -> String {
    let chosen: Vec<String> = chosen
        .iter()
        .map(|(name, value)| format!("{name} {value}"))
        .collect();
    if chosen.is_empty() {
        String::new()
    } else {
        format!(": {}", chosen.join(", "))
    }
}

/// The whole result.
pub fn text(evaluation: &FinalEvaluation, run_dir: &Path) -> String {
    let FinalEvaluation {
        network,
        search_trial,
        chosen_trial,
        chosen,
        validation,
        unit,
        trial,
        epochs,
        training_examples,
        weights_sha256,
        test,
        test_set,
        ..
    } = evaluation;
    let mut text = String::new();
    // Writing to a String cannot fail, here and below.
    let _ = writeln!(
        text,
        "\nretrained: {network}{}\nchosen by validation: trial {chosen_trial} of this retraining, {} {}{}\n\
         final training: its trial {trial}, {epochs} epochs on {training_examples} examples, training and validation data together\n\
         final weights: {} (SHA-256 {weights_sha256})",
        search_trial.map_or("", |_| " of the search"),
        unit.name(),
        unit.number(*validation),
        listed(chosen),
        final_weights_file(run_dir).display()
    );
    let Some(test) = test else {
        let _ = writeln!(text, "no test set: {test_set}; nothing was tested");
        return text;
    };
    let _ = writeln!(
        text,
        "test set: {test_set}\n{}{}",
        score(test),
        counts(test)
    );
    if let TestResult::Images(result) = test {
        let _ = write!(text, "\n{}", by_class(result));
        if result.classes.len() <= SHOWN_CLASSES {
            let _ = write!(
                text,
                "\nimages of each class (row) by what the network takes them for (column):\n{}",
                confusion(result)
            );
        }
    }
    text
}

fn counts(test: &TestResult) -> String {
    match test {
        TestResult::Images(result) => {
            format!(" ({} of {} images right)", result.correct, result.images)
        }
        TestResult::Text(result) => match result.bits_per_character {
            Some(_) => format!(
                " (perplexity {:.3}, {} characters)",
                result.perplexity, result.tokens
            ),
            None => format!(" ({} tokens)", result.tokens),
        },
    }
}

fn by_class(result: &ImageResult) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY);
    table.set_header(["class", "images", "accuracy"]);
    for class in &result.classes {
        let accuracy = class.accuracy.map_or_else(
            || "-".to_owned(),
            |accuracy| format!("{:.1}%", 100.0 * accuracy),
        );
        table.add_row([class.name.clone(), class.images.to_string(), accuracy]);
    }
    to_the_right(&mut table);
    format!("{table}\n")
}

fn confusion(result: &ImageResult) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY);
    let names = result.classes.iter().map(|class| class.name.clone());
    table.set_header(std::iter::once(String::new()).chain(names));
    for (class, answers) in result.classes.iter().zip(&result.confusion) {
        let answers = answers.iter().map(u64::to_string);
        table.add_row(std::iter::once(class.name.clone()).chain(answers));
    }
    to_the_right(&mut table);
    format!("{table}\n")
}

/// Numbers stand below each other.
fn to_the_right(table: &mut Table) {
    let columns = table.column_iter_mut().skip(1);
    columns.for_each(|column| column.set_cell_alignment(CellAlignment::Right));
}

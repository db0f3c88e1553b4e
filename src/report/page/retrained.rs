//! What a retraining came to as HTML: the network and the recipe that validation chose, the score on
//! the test set, classes, confusions. Must not know how a network is retrained.

use super::super::html::escape;
use super::super::number::{grouped, metric_text};
use crate::child::{ImageResult, TestResult, TextResult, number_text};
use crate::journal::{FinalEvaluation, JournalError, Reader};
use std::path::Path;

/// With more classes the matrix is not shown, only the confusions that are most frequent.
const MATRIX_CLASSES: usize = 20;
const CONFUSIONS: usize = 20;

/// A retraining's folder and what it came to.
pub(super) type Retrained = (String, FinalEvaluation);

/// What the run in `dir` came to, if it is a retraining, and what those came to whose folders lie in
/// it, by name. One that cannot be read is left out: it is another run.
///
/// # Errors
/// When the run cannot be read.
pub(super) fn read(dir: &Path, reader: &Reader) -> Result<Vec<Retrained>, JournalError> {
    let own = reader.final_evaluation()?.map(|own| (".".to_owned(), own));
    let folders = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<String> = folders
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.starts_with("retrain-"))
        .collect();
    names.sort();
    let below = names.into_iter().filter_map(|name| {
        let evaluation =
            Reader::open(&dir.join(&name)).and_then(|reader| reader.final_evaluation());
        Some((name, evaluation.ok()??))
    });
    Ok(own.into_iter().chain(below).collect())
}

/// The section.
pub(super) fn html(retrained: &[Retrained]) -> String {
    let body = if retrained.is_empty() {
        "<p class=\"empty\">No network of this run was retrained, so nothing has read test data: all scores here are validation scores. \
         <code>netwright retrain RUN</code> does it.</p>"
            .into()
    } else {
        retrained.iter().map(one).collect::<String>()
    };
    format!(
        "<section class=\"card\" aria-labelledby=\"h-retraining\"><h2 id=\"h-retraining\">Retraining</h2>{body}</section>"
    )
}

fn one((folder, evaluation): &Retrained) -> String {
    let place = if folder == "." {
        String::new()
    } else {
        format!(", in <code>{}</code>", escape(folder))
    };
    let classes = match &evaluation.test {
        Some(TestResult::Images(result)) => by_class(result),
        _ => String::new(),
    };
    format!(
        "<h3>{}{place}</h3><dl class=\"figures\">{}</dl><p>{}</p><h4>How it was trained</h4>{}{classes}",
        escape(&evaluation.network),
        figures(evaluation),
        escape(&evaluation.test_set),
        recipe(evaluation)
    )
}

fn figures(evaluation: &FinalEvaluation) -> String {
    let unit = evaluation.unit;
    let mut figures = match &evaluation.test {
        Some(TestResult::Images(result)) => vec![
            (
                "Test error".to_owned(),
                format!("{:.2}%", 100.0 * result.error),
            ),
            ("Test images".to_owned(), grouped(result.images)),
        ],
        Some(TestResult::Text(TextResult {
            tokens,
            perplexity,
            bits_per_character,
        })) => {
            let bits = bits_per_character
                .map(|bits| ("Test bits per character".to_owned(), number_text(bits, 3)));
            let perplexity = ("Test perplexity".to_owned(), number_text(*perplexity, 2));
            let tokens = ("Test tokens".to_owned(), grouped(*tokens));
            bits.into_iter().chain([perplexity, tokens]).collect()
        }
        None => Vec::new(),
    };
    let validation = metric_text(unit, Some(evaluation.validation));
    figures.push((format!("Validation {}", unit.name()), validation));
    figures
        .iter()
        .map(|(name, value)| format!("<div><dt>{name}</dt><dd>{value}</dd></div>"))
        .collect()
}

/// What was chosen among several, and the final training.
fn recipe(evaluation: &FinalEvaluation) -> String {
    let chosen = evaluation
        .chosen
        .iter()
        .map(|(name, value)| (escape(name), escape(value)));
    let last = [
        ("Epochs", grouped(evaluation.epochs as u64)),
        (
            "Training examples",
            grouped(evaluation.training_examples as u64),
        ),
        (
            "Chosen by validation",
            format!("trial {}", grouped(evaluation.chosen_trial)),
        ),
        (
            "Final training",
            format!("trial {}", grouped(evaluation.trial)),
        ),
        (
            "SHA-256 of its weights",
            format!(
                "<code>{}…</code>",
                escape(
                    &evaluation
                        .weights_sha256
                        .chars()
                        .take(16)
                        .collect::<String>()
                )
            ),
        ),
    ];
    let last = last.map(|(name, value)| (name.to_owned(), value));
    let rows = chosen
        .chain(last)
        .map(|(name, value)| format!("<div><dt>{name}</dt><dd>{value}</dd></div>"));
    format!("<dl class=\"facts\">{}</dl>", rows.collect::<String>())
}

fn by_class(result: &ImageResult) -> String {
    let rows = result.classes.iter().map(|class| {
        let name = escape(&class.name);
        let (share, value) = class.accuracy.map_or_else(
            || (0.0, "no image".to_owned()),
            |accuracy| (accuracy, format!("{:.1}% of {}", 100.0 * accuracy, grouped(class.images))),
        );
        format!(
            "<p class=\"share\"><span>{name}</span><progress class=\"bar\" max=\"1\" value=\"{share:.3}\" aria-label=\"{name}\"></progress>\
             <span class=\"n\">{value}</span></p>"
        )
    });
    let accuracies = rows.collect::<String>();
    let confusions = if result.classes.len() <= MATRIX_CLASSES {
        matrix(result)
    } else {
        most_frequent(result)
    };
    format!(
        "<h4>Test accuracy by class</h4><div class=\"classes\">{accuracies}</div><h4>Confusions</h4>{confusions}"
    )
}

/// Rows are the images' classes, columns the network's answers.
fn matrix(result: &ImageResult) -> String {
    let names = result
        .classes
        .iter()
        .map(|class| format!("<th scope=\"col\">{}</th>", escape(&class.name)));
    let mut html = format!(
        "<div class=\"scroll\" tabindex=\"0\"><table class=\"confusion\"><thead><tr><th>class ↓ answer →</th>{}</tr></thead><tbody>",
        names.collect::<String>()
    );
    for (class, (row, answers)) in result.classes.iter().zip(&result.confusion).enumerate() {
        html += &format!("<tr><th scope=\"row\">{}</th>", escape(&row.name));
        for (answer, &count) in answers.iter().enumerate() {
            let heat = match count as f64 / row.images.max(1) as f64 {
                _ if class == answer => "right",
                share if share >= 0.2 => "heat-4",
                share if share >= 0.1 => "heat-3",
                share if share >= 0.05 => "heat-2",
                share if share >= 0.01 => "heat-1",
                _ => "",
            };
            html += &format!("<td class=\"{heat}\">{}</td>", grouped(count));
        }
        html += "</tr>";
    }
    html + "</tbody></table></div>"
}

fn most_frequent(result: &ImageResult) -> String {
    let mut all: Vec<(u64, usize, usize)> = (0..)
        .zip(&result.confusion)
        .flat_map(|(class, answers)| {
            (0..)
                .zip(answers)
                .map(move |(answer, &count)| (count, class, answer))
        })
        .filter(|&(count, class, answer)| count > 0 && class != answer)
        .collect();
    all.sort_by_key(|&(count, class, answer)| (std::cmp::Reverse(count), class, answer));
    let name = |class: usize| {
        let class = result.classes.get(class);
        class.map_or_else(String::new, |class| escape(&class.name))
    };
    let rows = all.iter().take(CONFUSIONS).map(|&(count, class, answer)| {
        format!(
            "<tr><th scope=\"row\">{}</th><td>{}</td><td class=\"n\">{}</td></tr>",
            name(class),
            name(answer),
            grouped(count)
        )
    });
    format!(
        "<table class=\"plain\"><thead><tr><th scope=\"col\">class</th><th scope=\"col\">answer</th><th scope=\"col\" class=\"n\">images</th></tr></thead><tbody>{}</tbody></table>",
        rows.collect::<String>()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::child::MetricUnit;

    fn images(classes: usize) -> FinalEvaluation {
        let answers = |class: usize| -> Vec<u64> {
            let count = |answer: usize| match answer {
                answer if answer == class => 90,
                answer if answer == (class + 1) % classes => 10,
                _ => 0,
            };
            (0..classes).map(count).collect()
        };
        let names: Vec<String> = (0..classes).map(|class| format!("<{class}>")).collect();
        let result = ImageResult::of(&names, (0..classes).map(answers).collect());
        FinalEvaluation {
            network: "trial 7".into(),
            search_trial: Some(7),
            chosen_trial: 3,
            chosen: vec![("learning rate".to_owned(), "0.05".to_owned())],
            validation: 0.9312,
            unit: MetricUnit::Accuracy,
            trial: 13,
            epochs: 300,
            training_examples: 50_000,
            weights_sha256: "0123456789abcdef0123456789abcdef".into(),
            test: Some(TestResult::Images(result)),
            test_set: "the 10,000 test images".into(),
        }
    }

    fn html_of(evaluation: FinalEvaluation) -> String {
        html(&[("retrain-7".into(), evaluation)])
    }

    #[test]
    fn a_test_score_is_told_with_its_classes_and_confusions() {
        let ten = html_of(images(10));
        for part in [
            "trial 7, in <code>retrain-7</code>",
            "<dt>Test error</dt><dd>10.00%",
            "<dt>Test images</dt><dd>1,000",
            "<dt>Validation accuracy</dt><dd>93.1%",
            "<dt>learning rate</dt><dd>0.05",
            "<dt>Epochs</dt><dd>300",
            "0123456789abcdef…",
            "90.0% of 100",
            "&lt;3&gt;",
        ] {
            assert!(ten.contains(part), "{part} is missing from {ten}");
        }
        assert_eq!(ten.matches("class=\"right\">90<").count(), 10);
        assert_eq!(ten.matches("class=\"heat-3\">10<").count(), 10);
        assert!(!ten.contains("<0>"), "a name of the user's is no markup");
    }

    #[test]
    fn of_many_classes_only_the_frequent_confusions_are_listed() {
        let hundred = html_of(images(100));
        assert!(!hundred.contains("class=\"confusion\""));
        assert_eq!(hundred.matches("<td class=\"n\">10<").count(), CONFUSIONS);
    }

    #[test]
    fn texts_have_perplexities_and_what_is_not_known_is_said() {
        let result = TextResult {
            tokens: 82_430,
            perplexity: 78.4,
            bits_per_character: None,
        };
        let text = FinalEvaluation {
            unit: MetricUnit::Perplexity,
            validation: 80.25,
            test: Some(TestResult::Text(result)),
            ..images(2)
        };
        let html_of_text = html_of(text.clone());
        assert!(html_of_text.contains("<dt>Test perplexity</dt><dd>78.40<"));
        assert!(html_of_text.contains("<dt>Validation perplexity</dt><dd>80.2<"));
        let none = FinalEvaluation {
            test: None,
            test_set: "there is no test text".into(),
            ..text
        };
        let none = html_of(none);
        assert!(none.contains("there is no test text") && !none.contains("<dt>Test "));
        assert!(html(&[]).contains("netwright retrain RUN"));
    }
}

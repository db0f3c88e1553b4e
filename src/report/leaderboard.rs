//! The leaderboard as a table, and an architecture in one line. Must not know where they are shown.

use super::number::grouped;
use crate::child::number_text;
use crate::journal::{Confirmed, FINAL_TRAINING, JournalError, Reader, TrialRow};
use crate::space::{Architecture, ConvNetwork, Network, Operation};
use crate::strategy::Again;
use crate::workload::Recipes;
use comfy_table::{CellAlignment, Table, presets};

/// Length of the longest one-line summary, in characters.
const MAX_SUMMARY: usize = 72;

/// A table of the `limit` best completed trials of a run, followed by the enqueued trials that are
/// not among them.
///
/// # Errors
/// When the run cannot be read.
pub fn leaderboard(reader: &Reader, limit: usize) -> Result<String, JournalError> {
    let mut rows = reader.top(limit)?;
    let leaders = rows.len();
    let mut below = Vec::new();
    let mut failed = String::new();
    for row in reader.enqueued()? {
        match row.status.as_str() {
            "completed" if !rows.iter().any(|leader| leader.id == row.id) => below.push(row),
            "failed" => {
                failed += &format!(
                    "{} (trial {}) failed: {}\n",
                    name(&row),
                    row.id,
                    row.error.as_deref().unwrap_or("")
                );
            }
            _ => {}
        }
    }
    below.sort_by(|a, b| {
        b.reward
            .unwrap_or(f64::MIN)
            .total_cmp(&a.reward.unwrap_or(f64::MIN))
    });
    rows.extend(below);
    if rows.is_empty() && failed.is_empty() {
        return nothing_to_list(reader);
    }
    Ok(format!("{}\n{failed}", table(reader, &rows, leaders)?))
}

/// The same table of the trials on the Pareto front, the cheapest first, each with what it costs.
///
/// # Errors
/// When the run cannot be read.
pub fn pareto_board(reader: &Reader, rows: &[TrialRow]) -> Result<String, JournalError> {
    if rows.is_empty() {
        return match reader.count("completed")? {
            0 => nothing_to_list(reader),
            _ => Ok("the networks of this run have no size, and child.cost is not set: there is nothing to weigh their metric against\n".into()),
        };
    }
    Ok(format!("{}\n", table(reader, rows, rows.len())?))
}

/// The first `leaders` rows have a rank.
fn table(reader: &Reader, rows: &[TrialRow], leaders: usize) -> Result<Table, JournalError> {
    let confirmed = reader.confirmed()?;
    let recipes = reader.retraining()?;
    // Without a cost in their reward it is their parameters, which stand there anyway.
    let has_cost = rows.iter().any(|row| row.cost.is_some());
    let header = [
        "rank",
        "trial",
        "confirmed",
        "reward",
        "metric",
        "cost",
        "parameters",
        "MFLOPs",
        "seconds",
        "architecture",
    ];
    let shown = |column: &usize| match header[*column] {
        "cost" => has_cost,
        "confirmed" => !confirmed.is_empty(),
        _ => true,
    };
    let columns: Vec<usize> = (0..header.len()).filter(shown).collect();
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY);
    table.set_header(columns.iter().map(|column| header[*column]));
    for (rank, row) in (1..).zip(rows) {
        let rank = (rank <= leaders).then_some(rank);
        let own = confirmed.iter().find(|network| network.trial == row.id);
        let cells = cells(rank, row, own, recipes.as_ref());
        table.add_row(columns.iter().map(|column| cells[*column].as_str()));
    }
    table
        .column_iter_mut()
        .take(columns.len() - 1)
        .for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    Ok(table)
}

/// The mean reward of a network's confirmations, and of how many it is: `0.9312 (4)`, or
/// `0.9312 (3 of 4)` where some have failed or not ended.
pub fn mean_of(confirmed: &Confirmed) -> String {
    let Confirmed {
        completed,
        confirmations,
        ..
    } = confirmed;
    let mean = confirmed
        .reward
        .map_or_else(|| "-".to_owned(), |reward| number_text(reward, 4));
    if completed == confirmations {
        format!("{mean} ({completed})")
    } else {
        format!("{mean} ({completed} of {confirmations})")
    }
}

/// Why there is no row: no trial is completed, or none was asked for.
fn nothing_to_list(reader: &Reader) -> Result<String, JournalError> {
    let completed = reader.count("completed")?;
    let failed = reader.count("failed")?;
    Ok(match (completed, failed) {
        (0, 0) => "no trial is completed yet\n".into(),
        (0, failed) => format!("no trial is completed yet; {failed} have failed\n"),
        (completed, _) => format!("{completed} trials are completed; -n 0 lists none of them\n"),
    })
}

/// The cells of a row of the leaderboard. A trial without a rank is there to compare with.
fn cells(
    rank: Option<usize>,
    row: &TrialRow,
    confirmed: Option<&Confirmed>,
    recipes: Option<&Recipes>,
) -> [String; 10] {
    let number = |value: Option<f64>, digits: usize| {
        value.map_or_else(|| "-".to_owned(), |value| number_text(value, digits))
    };
    [
        rank.map_or_else(|| "-".to_owned(), |rank| rank.to_string()),
        row.id.to_string(),
        confirmed.map_or_else(|| "-".to_owned(), mean_of),
        number(row.reward, 4),
        number(row.metric, 4),
        row.cost.map_or_else(|| "-".to_owned(), cost_text),
        row.parameters.map_or_else(|| "-".to_owned(), grouped),
        number(row.flops.map(|flops| flops as f64 / 1e6), 1),
        number(row.seconds, 1),
        format!("{}{}", label(row, recipes), summary(&row.architecture)),
    ]
}

/// A cost: whole where it counts something, in milliseconds with three digits.
pub(super) fn cost_text(cost: f64) -> String {
    if cost.fract() == 0.0 && cost < 1e15 {
        grouped(cost as u64)
    } else {
        number_text(cost, 3)
    }
}

/// The name of an enqueued architecture.
fn name(row: &TrialRow) -> &str {
    row.enqueued.as_deref().unwrap_or_default()
}

/// A label before the architecture of a trial that was not sampled, or is one of a retraining; empty
/// for other trials.
fn label(row: &TrialRow, recipes: Option<&Recipes>) -> String {
    let text = match (&row.enqueued, recipes) {
        (Some(name), Some(_)) => Some(name.clone()),
        (Some(name), None) => Some(format!("baseline {name}")),
        (None, Some(recipes)) => chosen(recipes, row),
        (None, None) => again(row.confirms, row.retry_of),
    };
    text.map_or_else(String::new, |text| format!("[{text}] "))
}

/// Network and recipe of a retraining's trial: `network trial 3, learning_rate 0.05`. None: there
/// was nothing to choose.
pub fn chosen(recipes: &Recipes, row: &TrialRow) -> Option<String> {
    let chosen = recipes.described(&row.decisions).into_iter();
    let chosen: Vec<String> = chosen
        .map(|(name, value)| format!("{name} {value}"))
        .collect();
    (!chosen.is_empty()).then(|| chosen.join(", "))
}

/// Which trial's network a trial evaluates again, in words.
pub fn again(confirms: Option<u64>, retry_of: Option<u64>) -> Option<String> {
    let again = Again { confirms, retry_of };
    (again.of() > 0).then(|| again.describe())
}

/// What proposed a trial, in words.
pub fn origin(row: &TrialRow) -> String {
    match (&row.enqueued, row.controller, row.minibatch, row.slot) {
        (Some(name), ..) if name == FINAL_TRAINING => {
            "final training, on training and validation data; its reward is that of the trial that was chosen".into()
        }
        (Some(name), ..) => format!("{name}: a baseline from [[enqueue]], not sampled"),
        (None, Some(controller), Some(minibatch), Some(slot)) => {
            format!("controller {controller}, minibatch {minibatch}, slot {slot}")
        }
        _ => match again(row.confirms, row.retry_of) {
            Some(text) => format!("{text}; not sampled"),
            None => "nobody".into(),
        },
    }
}

/// An architecture in one line: `3 layers: 3×5·24/2 ← image | 5×3·16 ← 1 | …`, or `op=conv lr=0.1`.
pub fn summary(architecture: &Architecture) -> String {
    let text = match &architecture.network {
        Network::Conv(network) => conv_summary(network),
        Network::Cell(network) => super::cell::summary(network),
        Network::Choices(choices) => {
            let values: Vec<String> = choices
                .values
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            values.join(" ")
        }
    };
    if text.chars().count() <= MAX_SUMMARY {
        return text;
    }
    text.chars().take(MAX_SUMMARY - 1).chain(['…']).collect()
}

fn conv_summary(network: &ConvNetwork) -> String {
    let layers = network.layers.iter().enumerate().map(|(index, layer)| {
        let follows_previous = layer.inputs == [index];
        let name = |input: &usize| {
            if *input == 0 {
                "image".to_owned()
            } else {
                input.to_string()
            }
        };
        let inputs: Vec<String> = layer.inputs.iter().map(name).collect();
        let from = if follows_previous {
            String::new()
        } else {
            format!(" ← {}", inputs.join(","))
        };
        format!("{}{from}", layer.operation)
    });
    let layers: Vec<String> = layers.collect();
    let rate = network
        .learning_rate
        .map_or_else(String::new, |rate| format!("lr {rate}, "));
    format!("{rate}{}: {}", depth(network), layers.join(" | "))
}

/// `39 layers, 13 poolings`: what scales images down is not counted among the layers, nor are sums
/// and ReLUs, nor batch normalisations where convolutions come without one; as in the names of
/// networks of the literature.
pub fn depth(network: &ConvNetwork) -> String {
    let count = |is: &dyn Fn(&Operation) -> bool| {
        network.layers.iter().filter(|l| is(&l.operation)).count()
    };
    let is_pooling = |operation: &Operation| {
        matches!(operation, Operation::MaxPool(_) | Operation::AveragePool(_))
    };
    let is_plain = |operation: &Operation| matches!(operation, Operation::PlainConvolution(_));
    let in_steps = count(&is_plain) > 0;
    let is_step = |operation: &Operation| match operation {
        Operation::Relu | Operation::Add => true,
        Operation::BatchNorm => in_steps,
        _ => false,
    };
    let poolings = count(&is_pooling);
    let layers = network.layers.len() - poolings - count(&is_step);
    match poolings {
        0 => format!("{layers} layers"),
        1 => format!("{layers} layers, 1 pooling"),
        _ => format!("{layers} layers, {poolings} poolings"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::{ConvLayer, Convolution, ImageShape, Pool};

    #[test]
    fn a_summary_names_filters_strides_and_what_is_not_a_chain() {
        let layer = |filters: usize, stride: usize, inputs: &[usize]| {
            ConvLayer::new(
                Convolution {
                    filter_height: 3,
                    filter_width: 5,
                    filters,
                    stride_height: stride,
                    stride_width: 1,
                },
                inputs,
            )
        };
        let image = ImageShape {
            channels: 3,
            height: 32,
            width: 32,
        };
        let network = ConvNetwork::new(
            image,
            10,
            vec![layer(8, 1, &[]), layer(16, 2, &[1]), layer(24, 1, &[1, 2])],
        );
        let architecture = Architecture {
            version: 1,
            network: Network::Conv(network),
        };
        assert_eq!(
            summary(&architecture),
            "3 layers: 3×5·8 | 3×5·16/2×1 | 3×5·24 ← 1,2"
        );
        let other = |operation: Operation, inputs: &[usize]| ConvLayer::new(operation, inputs);
        let average = Operation::AveragePool(Pool { size: 3, stride: 1 });
        let layers = vec![
            other(Operation::LocalContrast { window: 9 }, &[]),
            other(average, &[1]),
            other(Operation::BatchNorm, &[2]),
        ];
        let network = ConvNetwork {
            learning_rate: Some(0.05),
            ..ConvNetwork::new(image, 10, layers)
        };
        let architecture = Architecture {
            version: 1,
            network: Network::Conv(network),
        };
        assert_eq!(
            summary(&architecture),
            "lr 0.05, 2 layers, 1 pooling: lcn 9 | avg 3 | bn"
        );
    }
}

//! `netwright show`: one trial: its outcome, its learning curve and its network; or the
//! architecture in a file. Must not change anything.

use super::progress::duration;
use super::{Failure, architecture_file, export, print, print_json, reading};
use crate::child::number_text;
use crate::journal::{Confirmed, EpochRow, Reader, TrialRow};
use crate::report;
use crate::space::{Architecture, Network};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub struct ShowArgs {
    /// The run directory; or a file with an architecture's JSON, without a trial
    pub run: PathBuf,
    /// The trial's id
    pub trial: Option<u64>,
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
    /// The same as --format json
    #[arg(long)]
    pub json: bool,
}

/// How a trial is shown.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    Text,
    Json,
    Svg,
    /// The paper's configuration string: the tokens that describe the network, in one line
    String,
}

pub fn run(args: ShowArgs) -> Result<(), Failure> {
    let format = if args.json { Format::Json } else { args.format };
    let Some(id) = args.trial else {
        return file(&args.run, format);
    };
    let reader = Reader::open(&args.run).map_err(reading)?;
    let row = trial(&reader, &args.run, id)?;
    match format {
        Format::Text => {
            let epochs = reader.epochs(row.id).map_err(reading)?;
            let confirmed = reader.confirmed_trial(row.id).map_err(reading)?;
            let recipes = reader.retraining().map_err(reading)?;
            let recipe = recipes.and_then(|recipes| report::chosen(&recipes, &row));
            let weights = export::kept_weights(&args.run, &row);
            print(&text(&row, &epochs, confirmed.as_ref(), recipe, weights))
        }
        Format::Json => {
            let mut value =
                serde_json::to_value(&row).map_err(|error| Failure::Failed(error.to_string()))?;
            value["epochs"] = serde_json::json!(reader.epochs(row.id).map_err(reading)?);
            value["confirmed"] =
                serde_json::json!(reader.confirmed_trial(row.id).map_err(reading)?);
            value["weights"] = serde_json::json!(export::kept_weights(&args.run, &row));
            print_json(&value)
        }
        Format::Svg | Format::String => picture(&row.architecture, format),
    }
}

/// The architecture in a file, which is no trial's.
fn file(path: &Path, format: Format) -> Result<(), Failure> {
    if path.is_dir() {
        return Err(Failure::Input(format!(
            "{}: is a folder: name a trial of this run too, such as `netwright show {0} 1` (or a file with an architecture's JSON)",
            path.display()
        )));
    }
    let architecture = architecture_file::alone(path).map_err(Failure::Input)?;
    match format {
        Format::Text => {
            let (parameters, flops) = architecture.size();
            let mut text = String::new();
            let sizes = [("parameters", parameters), ("FLOPs", flops)];
            for (label, size) in sizes {
                if let Some(size) = size {
                    let _ = writeln!(text, "{label:<12}{size}");
                }
            }
            let _ = writeln!(text, "\n{}", report::text(&architecture));
            print(text.trim_start())
        }
        Format::Json => print_json(&architecture),
        Format::Svg | Format::String => picture(&architecture, format),
    }
}

/// The network alone, drawn or as a string.
fn picture(architecture: &Architecture, format: Format) -> Result<(), Failure> {
    match &architecture.network {
        _ if format == Format::String => {
            print(&format!("{}\n", report::configuration_string(architecture)))
        }
        Network::Conv(network) => print(&report::svg(network)),
        Network::Cell(network) => print(&report::cell_svg(network)),
        Network::Choices(_) => Err(Failure::Input(
            "only networks and cells can be drawn; use --format text".into(),
        )),
    }
}

/// One trial of the run in `dir`.
///
/// # Errors
/// There is none of this id: says which there are.
pub(super) fn trial(reader: &Reader, dir: &Path, id: u64) -> Result<TrialRow, Failure> {
    if let Some(row) = reader.trial(id).map_err(reading)? {
        return Ok(row);
    }
    let last = reader.last_trial().map_err(reading)?;
    let there = if last == 0 {
        "it has none yet".into()
    } else {
        format!("its trials are 1 to {last}")
    };
    Err(Failure::Input(format!(
        "{}: no trial {id}; {there}",
        dir.display()
    )))
}

/// `recipe`: of a retraining's trial; `weights`: the file that holds them.
fn text(
    row: &TrialRow,
    epochs: &[EpochRow],
    confirmed: Option<&Confirmed>,
    recipe: Option<String>,
    weights: Option<PathBuf>,
) -> String {
    let mut text = String::new();
    let mut line = |label: &str, value: String| {
        let _ = writeln!(text, "{label:<12}{value}");
    };
    line("trial", format!("{} ({})", row.id, report::origin(row)));
    line("status", row.status.clone());
    let mut optional =
        |label: &str, value: Option<String>| value.into_iter().for_each(|value| line(label, value));
    optional("recipe", recipe);
    optional("error", row.error.clone());
    optional(
        "reused",
        row.reused_from
            .map(|from| format!("the reward of trial {from}, which has the same network")),
    );
    optional("reward", row.reward.map(|value| number_text(value, 4)));
    optional(
        "confirmed",
        confirmed.map(|network| format!("mean reward {}", report::mean_of(network))),
    );
    optional("metric", row.metric.map(|value| number_text(value, 4)));
    optional("parameters", row.parameters.map(|value| value.to_string()));
    optional("FLOPs", row.flops.map(|value| value.to_string()));
    optional("seconds", row.seconds.map(duration));
    optional("device", row.device.clone());
    optional("seed", Some(row.seed.to_string()));
    optional("weights", weights.map(|path| path.display().to_string()));
    if !epochs.is_empty() {
        let _ = writeln!(text, "\nepoch  train loss  metric  seconds");
    }
    for epoch in epochs {
        let number = |value: Option<f64>, digits: usize| {
            value.map_or_else(|| "-".to_owned(), |value| number_text(value, digits))
        };
        let loss = number(epoch.train_loss, 4);
        let metric = number(epoch.metric, 4);
        let seconds = number(epoch.seconds, 1);
        let _ = writeln!(
            text,
            "{:>5}  {loss:>10}  {metric:>6}  {seconds:>7}",
            epoch.epoch
        );
    }
    let _ = writeln!(text, "\n{}", report::text(&row.architecture));
    text
}

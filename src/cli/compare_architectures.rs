//! `netwright compare-architectures`: trains the architectures of files, and cells of the
//! literature, by the recipe of a search, and shows them beside the best network that it found.
//! Changes nothing of the run.

use super::progress::duration;
use super::{ConfigArgs, Failure, architecture_file, assembly, print, print_json, reading};
use crate::actors::Stopwatch;
use crate::child::{Epoch, MetricUnit, Outcome, Progress, Task, number_text};
use crate::journal::Reader;
use crate::machine::{LaneSpec, memory_for_children};
use crate::random::Key;
use crate::settings::Settings;
use crate::space::{Architecture, Network};
use crate::workload::{LaneResources, Scoring, Workload};
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[derive(clap::Args)]
pub struct CompareArchitecturesArgs {
    /// The config file whose recipe trains them (left out: netwright.toml), and files with the JSON
    /// of an architecture (FILE.json)
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Set a key over the file and the environment, for example --set child.epochs=3
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// A cell to train: rnn, lstm, gru or nascell; may be repeated. Left out, where there is no
    /// FILE.json: all of them
    #[arg(long, value_name = "NAME")]
    pub cell: Vec<String>,
    /// The run whose best network stands beside them; unset: run.dir, else runs/<run.name>
    #[arg(long, value_name = "DIR")]
    pub run_dir: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// A network and how it did.
#[derive(Serialize)]
struct Row {
    name: String,
    /// The name again, of a network with a recurrent cell.
    #[serde(skip_serializing_if = "Option::is_none")]
    cell: Option<String>,
    hidden: Option<usize>,
    parameters: Option<u64>,
    flops: Option<u64>,
    metric: Option<f64>,
    reward: Option<f64>,
    /// Of the epochs, training and validation, for each image (or token) that was trained on.
    seconds_per_example: Option<f64>,
    seconds: Option<f64>,
    error: Option<String>,
}

impl Row {
    fn new(name: String, architecture: &Architecture) -> Self {
        let (parameters, flops) = architecture.size();
        let is_cell = matches!(architecture.network, Network::Cell(_));
        Self {
            cell: is_cell.then(|| name.clone()),
            name,
            hidden: hidden(architecture),
            parameters,
            flops,
            metric: None,
            reward: None,
            seconds_per_example: None,
            seconds: None,
            error: None,
        }
    }
}

pub fn run(args: CompareArchitecturesArgs) -> Result<(), Failure> {
    let (config, files) = split(args.files)?;
    let config = ConfigArgs {
        config,
        set: args.set,
    };
    let settings = config.load()?;
    let workload_settings = assembly::workload_settings(&settings);
    let all = workload_settings.literature();
    let cells = if files.is_empty() || !args.cell.is_empty() {
        chosen(&args.cell, all)?
    } else {
        Vec::new()
    };
    let workload = assembly::load_workload(&settings)?;
    let networks = networks(workload.as_ref(), cells, &files)?;
    let lanes = assembly::lanes(&settings)?;
    assembly::check_devices(workload.as_ref(), &lanes)?;
    let Some(lane) = lanes.into_iter().next() else {
        return Err(Failure::Failed("no device".into()));
    };
    let run_dir = settings.run_dir(args.run_dir.as_deref());
    let mut rows = best(&run_dir)?;
    if rows.is_empty() {
        note!("no search of this config has a result yet: the given networks stand alone");
    }
    note!("{}", workload.description());
    let scoring = workload_settings.scoring();
    let comparison = Comparison {
        settings: &settings,
        workload,
        lane,
        run_dir,
        scoring,
    };
    for (name, architecture) in networks {
        rows.push(comparison.train(name, architecture)?);
    }
    rows.sort_by(|a, b| {
        b.reward
            .unwrap_or(f64::MIN)
            .total_cmp(&a.reward.unwrap_or(f64::MIN))
    });
    if args.json {
        print_json(&rows)
    } else {
        print(&table(&rows, scoring.metric))
    }
}

/// The config, and the files of architectures: which end in `.json`.
fn split(files: Vec<PathBuf>) -> Result<(PathBuf, Vec<PathBuf>), Failure> {
    let is_architecture = |path: &PathBuf| {
        path.extension()
            .is_some_and(|it| it.eq_ignore_ascii_case("json"))
    };
    let (architectures, configs): (Vec<_>, Vec<_>) = files.into_iter().partition(is_architecture);
    match configs.as_slice() {
        [config] => Ok((config.clone(), architectures)),
        [] if Path::new(DEFAULT_CONFIG).exists() => Ok((DEFAULT_CONFIG.into(), architectures)),
        [] => Err(Failure::Input(format!(
            "no config: name the one whose recipe trains them, as in `netwright compare-architectures CONFIG A.json B.json`; {DEFAULT_CONFIG}, which stands for it, is not here"
        ))),
        [_, second, ..] => Err(Failure::Input(format!(
            "{}: a second config: all networks are trained by the recipe of one (the files of architectures end in .json)",
            second.display()
        ))),
    }
}

/// What `netwright init` writes.
const DEFAULT_CONFIG: &str = "netwright.toml";

/// The networks to train, each with its name: cells of the literature, and those of files.
fn networks(
    workload: &dyn Workload,
    cells: Vec<&str>,
    files: &[PathBuf],
) -> Result<Vec<(String, Architecture)>, Failure> {
    let cells = cells.into_iter().map(|name| {
        let network = workload.literature_network(name);
        network
            .map(|network| (name.to_owned(), network))
            .map_err(|error| Failure::Input(error.to_string()))
    });
    let files = files.iter().map(|file| {
        let (network, _) =
            architecture_file::adopted(file, workload.candidates()).map_err(Failure::Input)?;
        let name = file.file_stem().unwrap_or_default().to_string_lossy();
        Ok((name.into_owned(), network))
    });
    cells.chain(files).collect()
}

/// The cells to train: as asked for, else all that there are.
fn chosen(asked: &[String], all: &'static [&'static str]) -> Result<Vec<&'static str>, Failure> {
    if all.is_empty() {
        let text = "compare-architectures trains the networks of files: name some (`netwright init resnet-20` writes one); cells of the literature need no file, and a config with space.kind = \"cell\", data.kind = \"text\" and evaluator = \"train\"";
        return Err(Failure::Input(text.into()));
    }
    if asked.is_empty() {
        return Ok(all.to_vec());
    }
    let find = |name: &String| {
        all.iter()
            .copied()
            .find(|cell| cell == name)
            .ok_or_else(|| {
                Failure::Input(format!(
                    "--cell {name}: there is no such cell; there are {}",
                    all.join(", ")
                ))
            })
    };
    asked.iter().map(find).collect()
}

/// The best trial of a run, where there is one.
fn best(run: &Path) -> Result<Vec<Row>, Failure> {
    if !run.join("search.db").exists() {
        return Ok(Vec::new());
    }
    let row = Reader::open(run)
        .and_then(|reader| reader.best())
        .map_err(reading)?;
    Ok(row
        .into_iter()
        .map(|row| Row {
            metric: row.metric,
            reward: row.reward,
            seconds: row.seconds,
            ..Row::new(format!("trial {}", row.id), &row.architecture)
        })
        .collect())
}

/// Units of each layer, where the network is a language model.
fn hidden(architecture: &Architecture) -> Option<usize> {
    match &architecture.network {
        Network::Cell(cell) => cell.model.map(|model| model.hidden),
        _ => None,
    }
}

/// Trains one network after the other on one lane.
struct Comparison<'a> {
    settings: &'a Settings,
    workload: Arc<dyn Workload>,
    lane: LaneSpec,
    run_dir: PathBuf,
    scoring: Scoring,
}

impl Comparison<'_> {
    fn train(&self, name: String, architecture: Architecture) -> Result<Row, Failure> {
        let resources = LaneResources {
            lane: self.lane.clone(),
            memory_bytes: memory_for_children() as u64,
            run_dir: self.run_dir.clone(),
        };
        let mut evaluator = self
            .workload
            .evaluator(&resources)
            .map_err(|error| Failure::Failed(error.to_string()))?;
        let row = Row::new(name.clone(), &architecture);
        let task = Task {
            trial: 0,
            attempt: 0,
            seed: Key::seed(self.settings.run.seed).child_seed(),
            layers: 0,
            decisions: Vec::new(),
            architecture,
            pruning: None,
        };
        let mut progress = Lines {
            name,
            scoring: self.scoring,
            started: Stopwatch::start(),
            examples: 0,
            epochs_seconds: 0.0,
        };
        let outcome = evaluator.evaluate(&task, &mut progress);
        let row = Row {
            seconds: Some(progress.elapsed()),
            seconds_per_example: progress.seconds_per_example(),
            ..row
        };
        Ok(match outcome {
            Outcome::Completed { reward, metric, .. } => Row {
                metric: Some(metric),
                reward: Some(reward),
                ..row
            },
            Outcome::Failed { error, .. } => Row {
                error: Some(error),
                ..row
            },
            // Nothing stops or prunes it.
            Outcome::Stopped | Outcome::Pruned { .. } => row,
        })
    }
}

/// A line for each epoch.
struct Lines {
    name: String,
    scoring: Scoring,
    started: Stopwatch,
    /// That were trained on.
    examples: usize,
    epochs_seconds: f64,
}

impl Lines {
    fn seconds_per_example(&self) -> Option<f64> {
        let is_known = self.examples > 0 && self.epochs_seconds > 0.0;
        is_known.then(|| self.epochs_seconds / self.examples as f64)
    }
}

impl Progress for Lines {
    fn epoch(&mut self, epoch: Epoch) {
        self.epochs_seconds += epoch.seconds;
        let loss = epoch
            .train_loss
            .map_or_else(String::new, |loss| format!(" loss {loss:.4}"));
        note!(
            "{} epoch {}/{}{loss} {} ({})",
            self.name,
            epoch.epoch,
            self.scoring.epochs.unwrap_or_default(),
            self.scoring.metric.phrase(epoch.metric),
            duration(epoch.seconds)
        );
    }

    fn examples(&mut self, count: usize) {
        self.examples += count;
    }

    fn stop_requested(&self) -> bool {
        false
    }

    fn elapsed(&self) -> f64 {
        self.started.seconds()
    }
}

fn table(rows: &[Row], unit: MetricUnit) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY);
    let per_example = match unit {
        MetricUnit::Perplexity | MetricUnit::BitsPerCharacter => "per token",
        _ => "per image",
    };
    // Units of a layer are a language model's.
    let with_hidden = rows.iter().any(|row| row.hidden.is_some());
    let hidden_heading = with_hidden.then_some("hidden");
    let headings = ["network"]
        .into_iter()
        .chain(hidden_heading)
        .chain(["parameters", "FLOPs", "reward"])
        .chain([per_example, "validation", "time"]);
    table.set_header(headings);
    for row in rows {
        let or = |text: Option<String>| text.unwrap_or_else(|| "-".into());
        let metric = row
            .metric
            .map(|metric| unit.phrase(metric))
            .or_else(|| row.error.clone());
        let hidden = with_hidden.then(|| or(row.hidden.map(|hidden| hidden.to_string())));
        let cells = [row.name.clone()].into_iter().chain(hidden).chain([
            or(row.parameters.map(|count| count.to_string())),
            or(row.flops.map(|count| count.to_string())),
            or(row.reward.map(|reward| format!("{reward:.6}"))),
            or(row
                .seconds_per_example
                .map(|seconds| format!("{} ms", number_text(1e3 * seconds, 3)))),
            or(metric),
            or(row.seconds.map(duration)),
        ]);
        table.add_row(cells);
    }
    table
        .column_iter_mut()
        .skip(1)
        .take(if with_hidden { 5 } else { 4 })
        .for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    format!("{table}\n")
}

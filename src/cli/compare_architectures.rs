//! `netwright compare-architectures`: trains cells of the literature by the recipe of a search and shows them
//! beside the best cell that it found. Changes nothing of the run.

use super::progress::duration;
use super::{ConfigArgs, Failure, assembly, print, print_json, reading};
use crate::actors::Stopwatch;
use crate::child::{Epoch, MetricUnit, Outcome, Progress, Task};
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
    #[command(flatten)]
    pub config: ConfigArgs,
    /// A cell to train: rnn, lstm, gru or nascell; may be repeated. Left out: all of them
    #[arg(long, value_name = "NAME")]
    pub cell: Vec<String>,
    /// The run whose best cell stands beside them; unset: run.dir, else runs/<run.name>
    #[arg(long, value_name = "DIR")]
    pub run_dir: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// A cell and how it did.
#[derive(Serialize)]
struct Row {
    cell: String,
    hidden: Option<usize>,
    parameters: Option<u64>,
    metric: Option<f64>,
    reward: Option<f64>,
    seconds: Option<f64>,
    error: Option<String>,
}

pub fn run(args: CompareArchitecturesArgs) -> Result<(), Failure> {
    let settings = args.config.load()?;
    let workload_settings = assembly::workload_settings(&settings);
    let cells = chosen(&args.cell, workload_settings.literature())?;
    let workload = assembly::load_workload(&settings)?;
    let lanes = assembly::lanes(&settings)?;
    assembly::check_devices(workload.as_ref(), &lanes)?;
    let Some(lane) = lanes.into_iter().next() else {
        return Err(Failure::Failed("no device".into()));
    };
    let run_dir = settings.run_dir(args.run_dir.as_deref());
    let mut rows = best(&run_dir)?;
    if rows.is_empty() {
        note!("no search of this config has a result yet: the reference cells stand alone");
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
    for cell in cells {
        rows.push(comparison.train(cell)?);
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

/// The cells to train: as asked for, else all that there are.
fn chosen(asked: &[String], all: &'static [&'static str]) -> Result<Vec<&'static str>, Failure> {
    if all.is_empty() {
        let text = "compare-architectures trains recurrent cells: the config needs space.kind = \"cell\", data.kind = \"text\" and evaluator = \"train\"";
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
            cell: format!("trial {}", row.id),
            hidden: hidden(&row.architecture),
            parameters: row.parameters,
            metric: row.metric,
            reward: row.reward,
            seconds: row.seconds,
            error: None,
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

/// Trains one cell after the other on one lane.
struct Comparison<'a> {
    settings: &'a Settings,
    workload: Arc<dyn Workload>,
    lane: LaneSpec,
    run_dir: PathBuf,
    scoring: Scoring,
}

impl Comparison<'_> {
    fn train(&self, name: &str) -> Result<Row, Failure> {
        let resources = LaneResources {
            lane: self.lane.clone(),
            memory_bytes: memory_for_children() as u64,
            run_dir: self.run_dir.clone(),
        };
        let mut evaluator = self
            .workload
            .evaluator(&resources)
            .map_err(|error| Failure::Failed(error.to_string()))?;
        let architecture = self
            .workload
            .literature_network(name)
            .map_err(|error| Failure::Input(error.to_string()))?;
        let row = Row {
            cell: name.to_owned(),
            hidden: hidden(&architecture),
            parameters: architecture.size().0,
            metric: None,
            reward: None,
            seconds: None,
            error: None,
        };
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
        };
        let outcome = evaluator.evaluate(&task, &mut progress);
        let seconds = Some(progress.elapsed());
        Ok(match outcome {
            Outcome::Completed { reward, metric, .. } => Row {
                metric: Some(metric),
                reward: Some(reward),
                seconds,
                ..row
            },
            Outcome::Failed { error, .. } => Row {
                error: Some(error),
                seconds,
                ..row
            },
            // Nothing stops or prunes it.
            Outcome::Stopped | Outcome::Pruned { .. } => Row { seconds, ..row },
        })
    }
}

/// A line for each epoch.
struct Lines<'a> {
    name: &'a str,
    scoring: Scoring,
    started: Stopwatch,
}

impl Progress for Lines<'_> {
    fn epoch(&mut self, epoch: Epoch) {
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

    fn examples(&mut self, _count: usize) {}

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
    table.set_header([
        "cell",
        "hidden",
        "parameters",
        "reward",
        "validation",
        "time",
    ]);
    for row in rows {
        let or = |text: Option<String>| text.unwrap_or_else(|| "-".into());
        let metric = row
            .metric
            .map(|metric| unit.phrase(metric))
            .or_else(|| row.error.clone());
        table.add_row([
            row.cell.clone(),
            or(row.hidden.map(|hidden| hidden.to_string())),
            or(row.parameters.map(|count| count.to_string())),
            or(row.reward.map(|reward| format!("{reward:.6}"))),
            or(metric),
            or(row.seconds.map(duration)),
        ]);
    }
    table
        .column_iter_mut()
        .skip(1)
        .take(3)
        .for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    format!("{table}\n")
}

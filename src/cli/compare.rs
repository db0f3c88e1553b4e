//! `netwright compare`: trains cells of the literature by the recipe of a search and shows them
//! beside the best cell that it found. Changes nothing of the run.

use super::progress::{Units, duration};
use super::{ConfigArgs, Failure, language, print, print_json, reading};
use crate::child::language_model::{LanguageEvaluator, model};
use crate::child::{Epoch, Evaluator, EvaluatorKind, Outcome, Progress, Task};
use crate::data::{Corpus, DataKind};
use crate::journal::Reader;
use crate::machine::{LaneSpec, memory_bytes, resolve_lanes, thread_pool};
use crate::random::Key;
use crate::settings::Settings;
use crate::space::{Architecture, Cell, CellNetwork, Network};
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

#[derive(clap::Args)]
pub struct CompareArgs {
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

pub fn run(args: CompareArgs) -> Result<(), Failure> {
    let settings = args.config.load()?;
    if settings.child.evaluator != EvaluatorKind::Train || settings.data.kind != DataKind::Text {
        let text = "compare trains recurrent cells: the config needs space.kind = \"cell\", data.kind = \"text\" and evaluator = \"train\"";
        return Err(Failure::Input(text.into()));
    }
    let cells = cells(&args.cell)?;
    let (corpus, _) = language::load(&settings)?;
    let lanes = resolve_lanes(&settings.devices).map_err(Failure::Input)?;
    language::on_cpu(&lanes)?;
    let Some(lane) = lanes.into_iter().next() else {
        return Err(Failure::Failed("no device".into()));
    };
    let mut rows = best(&settings.run_dir(args.run_dir.as_deref()))?;
    if rows.is_empty() {
        eprintln!("no search of this config has a result yet: the reference cells stand alone");
    }
    eprintln!("data: {}", language::describe(&corpus));
    let units = language::units(&settings);
    let mut comparison = Comparison {
        settings: &settings,
        corpus,
        lane,
        units,
    };
    for (name, cell) in cells {
        rows.push(comparison.train(name, cell)?);
    }
    rows.sort_by(|a, b| {
        b.reward
            .unwrap_or(f64::MIN)
            .total_cmp(&a.reward.unwrap_or(f64::MIN))
    });
    if args.json {
        print_json(&rows)
    } else {
        print(&table(&rows, units))
    }
}

fn cells(names: &[String]) -> Result<Vec<(&str, Cell)>, Failure> {
    let named = |name: &str| {
        format!(
            "--cell {name}: there is no such cell; there are {}",
            Cell::NAMES.join(", ")
        )
    };
    let all: Vec<&str> = if names.is_empty() {
        Cell::NAMES.to_vec()
    } else {
        names.iter().map(String::as_str).collect()
    };
    all.into_iter()
        .map(|name| {
            Cell::named(name)
                .map(|cell| (name, cell))
                .ok_or_else(|| Failure::Input(named(name)))
        })
        .collect()
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
            hidden: match &row.architecture.network {
                Network::Cell(cell) => cell.model.map(|model| model.hidden),
                _ => None,
            },
            parameters: row.parameters,
            metric: row.metric,
            reward: row.reward,
            seconds: row.seconds,
            error: None,
        })
        .collect())
}

/// Trains one cell after the other on one lane.
struct Comparison<'a> {
    settings: &'a Settings,
    corpus: Arc<Corpus>,
    lane: LaneSpec,
    units: Units,
}

impl Comparison<'_> {
    fn train(&mut self, name: &str, cell: Cell) -> Result<Row, Failure> {
        let pool = Arc::new(thread_pool(&self.lane).map_err(Failure::Failed)?);
        let child = &self.settings.child;
        let model = model(child, &cell, self.corpus.vocabulary.len()).map_err(Failure::Input)?;
        let network = CellNetwork {
            cell,
            model: Some(model),
        };
        let parameters = network.size().map(|(parameters, _)| parameters);
        let architecture = Architecture {
            version: 1,
            network: Network::Cell(network),
        };
        let seed = Key::seed(self.settings.run.seed).child_seed();
        let task = Task {
            trial: 0,
            attempt: 0,
            seed,
            layers: 0,
            decisions: Vec::new(),
            architecture,
        };
        let mut evaluator = LanguageEvaluator::new(
            child.clone(),
            self.corpus.clone(),
            pool,
            Some(memory_bytes() as u64),
        );
        let mut progress = Lines {
            name,
            units: self.units,
            started: Instant::now(),
        };
        let outcome = evaluator.evaluate(&task, &mut progress);
        let seconds = Some(progress.elapsed());
        let row = Row {
            cell: name.to_owned(),
            hidden: Some(model.hidden),
            parameters,
            metric: None,
            reward: None,
            seconds,
            error: None,
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
            Outcome::Stopped => row,
        })
    }
}

/// A line for each epoch.
struct Lines<'a> {
    name: &'a str,
    units: Units,
    started: Instant,
}

impl Progress for Lines<'_> {
    fn epoch(&mut self, epoch: Epoch) {
        let loss = epoch
            .train_loss
            .map_or_else(String::new, |loss| format!(" loss {loss:.4}"));
        let (number, of, metric) = (
            epoch.epoch,
            self.units.epochs,
            self.units.metric(epoch.metric),
        );
        eprintln!(
            "{} epoch {number}/{of}{loss} {metric} ({})",
            self.name,
            duration(epoch.seconds)
        );
    }

    fn examples(&mut self, _count: usize) {}

    fn stop_requested(&self) -> bool {
        false
    }

    fn elapsed(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }
}

fn table(rows: &[Row], units: Units) -> String {
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
            .map(|metric| units.metric(metric))
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

//! `netwright search`: runs a search, or continues it. Wires the rooms together; must not hold
//! logic of its own.

use super::enqueue::Fit;
use super::log::{self, LogFormat};
use super::progress::{Bars, Metric, Nothing, PlainLines, Units, duration};
use super::reload::ConfigFile;
use super::{ConfigArgs, Failure, language, reading};
use crate::actors::{
    CheckpointFiles, End, EvaluatorFactory, Observer, Parts, ReportWriter, SearchSettings, prepare,
    search,
};
use crate::child::language_model::LanguageEvaluator;
use crate::child::{
    CommandEvaluator, CommandLane, EvaluatorKind, LimitedEvaluator, Limits, Table, TableEvaluator,
    TrainEvaluator, linear_accuracy, program_problem,
};
use crate::data::{Corpus, DataKind, Dataset, Split};
use crate::journal::{Enqueued, Journal, Reader, Recovered, set_aside};
use crate::machine::{
    LaneSpec, candle_device, cuda_uuids, inherited_gpus, memory_bytes, thread_pool, visible_gpus,
};
use crate::settings::Settings;
use crate::space::{ImageShape, Space};
use crate::telemetry::{Endpoint, LiveDevices, Metrics, Restored, RewardScale, Sampler};
use crate::{report, telemetry};
use indicatif::MultiProgress;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[derive(clap::Args)]
pub struct SearchArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Where the run lives; unset: run.dir, else runs/<run.name>
    #[arg(long, value_name = "DIR")]
    pub run_dir: Option<PathBuf>,
    /// How log lines look
    #[arg(long, value_enum, default_value_t)]
    pub log_format: LogFormat,
    /// Start anew: an existing run is moved aside, never deleted
    #[arg(long)]
    pub fresh: bool,
}

/// Where rewards come from, loaded and checked before anything starts.
pub(super) enum Source {
    Train {
        dataset: Arc<Dataset>,
        split: Arc<Split>,
    },
    Text {
        corpus: Arc<Corpus>,
    },
    Table {
        table: Arc<Table>,
        space: Arc<dyn Space>,
    },
    /// `run_dir` is absolute.
    Command {
        run_dir: PathBuf,
    },
}

pub fn run(args: SearchArgs) -> Result<(), Failure> {
    let bars = MultiProgress::new();
    let log = log::start(args.log_format, bars.clone());
    let settings = args.config.load()?;
    let run_dir = settings.run_dir(args.run_dir.as_deref());
    let (source, space) = load(&settings, &run_dir)?;
    let vocabulary = if let Source::Text { corpus } = &source {
        Some(corpus.vocabulary.len())
    } else {
        None
    };
    let fit = Fit {
        config: &args.config,
        settings: &settings,
        space: space.as_ref(),
        assumed_classes: None,
        vocabulary,
    };
    let enqueued = fit.entries()?;
    let source = Arc::new(source);
    let lanes = super::lanes(&settings)?;
    if matches!(*source, Source::Text { .. }) {
        language::on_cpu(&lanes)?;
    }
    let endpoint = Endpoint::bind(&settings.telemetry).map_err(Failure::Input)?;
    if args.fresh
        && let Some(aside) = set_aside(&run_dir).map_err(reading)?
    {
        say!("the earlier run is now {}", aside.display());
    }
    let (journal, recovered) = open(&settings, &source, &enqueued, &run_dir)?;
    log.open(&run_dir)
        .map_err(|error| Failure::Failed(format!("{}: {error}", run_dir.join("log").display())))?;
    announce(
        &settings,
        &source,
        &run_dir,
        &lanes,
        endpoint.as_ref(),
        &recovered,
    );

    let refused = |error: prometheus::Error| Failure::Failed(error.to_string());
    let metrics =
        Arc::new(Metrics::new(&settings.run.name, reward_scale(&settings)).map_err(refused)?);
    // Known to the first scrape, which may come before the lanes' actors have started.
    lanes
        .iter()
        .for_each(|lane| drop(metrics.lane(&lane.name, &lane.device)));
    metrics.children_reused_total.inc_by(recovered.reused);
    metrics.proposals_repeated_total.inc_by(recovered.repeated);
    let mut earlier = Restored {
        rewards: recovered.rewards.clone(),
        completed: recovered.children_completed,
        seconds: recovered.seconds.clone(),
        failed: recovered.causes.clone(),
        baseline: None,
        updates: recovered.sequenced,
        snapshot_at: recovered.snapshot_at,
    };
    let units = units(&settings);
    let observer: Box<dyn Observer> = match args.log_format {
        LogFormat::Json => Box::new(Nothing),
        LogFormat::Human if std::io::stderr().is_terminal() => Box::new(Bars::new(units, bars)),
        LogFormat::Human => Box::new(PlainLines::new(units)),
    };
    note_start(
        &journal,
        recovered.completed + recovered.failed,
        settings.run.trials,
    );
    let commits = metrics.clone();
    journal.observe_commits(move |seconds| commits.journal_commit_seconds.observe(seconds));
    let open = recovered
        .open
        .iter()
        .flat_map(|open| &open.trials)
        .chain(recovered.enqueued.iter().map(|(_, trial)| trial));
    let unfinished = open
        .filter(|trial| !trial.finished)
        .map(|trial| trial.id)
        .collect();
    let checkpoints = Arc::new(CheckpointFiles::open(&run_dir, &unfinished));
    let prepared = prepare(
        &search_settings(&settings),
        space,
        journal,
        recovered,
        enqueued,
    )
    .map_err(Failure::Failed)?;
    earlier.baseline = prepared.snapshot.baseline.value();
    metrics.restore(&earlier);
    let sampler =
        Arc::new(Sampler::new(&metrics, run_dir.clone(), &cuda_uuids()).map_err(refused)?);
    let devices = LiveDevices::new(metrics.clone(), sampler.clone());
    let page = Arc::new(report::Page::new(&run_dir).with_devices(devices));
    let (counted, served) = (metrics.clone(), page.clone());
    let routed = move |endpoint: Endpoint| {
        endpoint
            .with(telemetry::routes(counted.clone(), sampler.clone()))
            .with(report::routes(served.clone()))
    };
    let endpoint = endpoint.map(&routed);
    let parts = Parts {
        factory: factory(&settings, &source, &lanes),
        checkpoints,
        lanes,
        metrics,
        observer,
        attempts: settings.child.attempts,
        failed_reward: settings.child.failed_reward.reward(),
        max_seconds: settings.run.max_seconds,
        restart: settings.restart.clone(),
        reload: Some(Box::new(ConfigFile::new(
            args.config,
            source.clone(),
            settings.clone(),
            Box::new(routed),
        ))),
        serving: None,
        page: Some(page),
    };
    let scribe =
        ReportWriter::start(&run_dir).map_err(|error| Failure::Failed(error.to_string()))?;
    let end =
        search(prepared, parts, endpoint).map_err(|error| Failure::Failed(error.to_string()))?;
    scribe.finish();
    conclude(&settings, &source, &run_dir, end)
}

/// For work while no lane runs: every core is free (0 threads: one for each).
fn every_core(name: &str) -> LaneSpec {
    LaneSpec {
        device: "cpu".into(),
        name: name.into(),
        cores: Vec::new(),
        threads: 0,
    }
}

/// What the actors need of the settings.
pub(super) fn search_settings(settings: &Settings) -> SearchSettings {
    SearchSettings {
        seed: settings.run.seed,
        trials: settings.run.trials,
        reuse: settings.run.reuse,
        controller: settings.controller.clone(),
        parameter_server: settings.parameter_server.clone(),
    }
}

/// An event that the page reads: since when this process runs.
fn note_start(journal: &Journal, finished: u64, trials: u64) {
    journal.event(
        "start",
        &format!(
            "process {}; {finished} of {trials} trials are finished",
            std::process::id()
        ),
    );
}

/// Loads data or table, and builds the space.
fn load(settings: &Settings, run_dir: &Path) -> Result<(Source, Arc<dyn Space>), Failure> {
    let input = |error: String| Failure::Input(error);
    let build = |image: ImageShape, classes: usize| -> Arc<dyn Space> {
        settings.space.build(image, classes).into()
    };
    match settings.child.evaluator {
        EvaluatorKind::Train if settings.data.kind == DataKind::Text => {
            let (corpus, space) = language::load(settings)?;
            Ok((Source::Text { corpus }, space))
        }
        EvaluatorKind::Train => {
            let pool = thread_pool(&every_core("data")).map_err(Failure::Failed)?;
            let dataset = pool
                .install(|| crate::data::load(&settings.data, settings.run.seed))
                .map_err(|error| input(error.to_string()))?;
            let split = Split::of(&settings.data, &dataset, settings.run.seed)
                .map_err(|error| input(error.to_string()))?;
            let space = build(dataset.shape, dataset.class_names.len());
            Ok((
                Source::Train {
                    dataset: Arc::new(dataset),
                    split: Arc::new(split),
                },
                space,
            ))
        }
        EvaluatorKind::Table => {
            let space = build(
                ImageShape {
                    channels: 3,
                    height: 32,
                    width: 32,
                },
                10,
            );
            if space.layers(settings.run.trials.saturating_sub(1)) != space.layers(0) {
                return Err(input("space.layers_step: a table serves architectures of one depth; leave the schedule out".into()));
            }
            let table = Table::load(&settings.child.table, space.as_ref(), space.layers(0))
                .map_err(input)?;
            Ok((
                Source::Table {
                    table: Arc::new(table),
                    space: space.clone(),
                },
                space,
            ))
        }
        EvaluatorKind::Command => {
            let command = &settings.child.command;
            if let Some(problem) = program_problem(&command.argv) {
                return Err(input(format!("child.command.argv: {problem}")));
            }
            let [channels, height, width] = command.image[..] else {
                return Err(input(
                    "child.command.image: must be channels, height and width".into(),
                ));
            };
            let run_dir = std::path::absolute(run_dir)
                .map_err(|error| input(format!("{}: {error}", run_dir.display())))?;
            Ok((
                Source::Command { run_dir },
                build(
                    ImageShape {
                        channels,
                        height,
                        width,
                    },
                    command.classes,
                ),
            ))
        }
    }
}

fn open(
    settings: &Settings,
    source: &Source,
    enqueued: &[Enqueued],
    run_dir: &Path,
) -> Result<(Journal, Recovered), Failure> {
    let mut identity = settings.identity();
    let content = match source {
        Source::Train { dataset, .. } => Some(&dataset.content),
        Source::Text { corpus } => Some(&corpus.content),
        Source::Table { .. } | Source::Command { .. } => None,
    };
    if let (Some(content), Some(facts)) = (content, identity.as_object_mut()) {
        facts.insert("data content".into(), content.clone().into());
    }
    Journal::open(run_dir, &identity, enqueued, &settings.to_toml()).map_err(reading)
}

fn units(settings: &Settings) -> Units {
    match settings.child.evaluator {
        EvaluatorKind::Train if settings.data.kind == DataKind::Text => language::units(settings),
        EvaluatorKind::Train => Units {
            metric: Metric::Accuracy,
            epochs: settings.child.epochs,
        },
        EvaluatorKind::Table | EvaluatorKind::Command => Units {
            metric: Metric::Number,
            epochs: 0,
        },
    }
}

/// Where the rewards of this run lie.
fn reward_scale(settings: &Settings) -> RewardScale {
    match settings.child.evaluator {
        EvaluatorKind::Train if settings.data.kind == DataKind::Text => RewardScale::Perplexity {
            constant: settings.child.reward_constant,
            exponent: settings.child.reward_exponent,
        },
        EvaluatorKind::Train => RewardScale::Accuracy {
            exponent: settings.child.reward_exponent,
        },
        EvaluatorKind::Table | EvaluatorKind::Command => RewardScale::Any,
    }
}

/// Makes each lane's evaluator, on the lane's own thread: it leaves out what is larger than the
/// space's limits.
pub(super) fn factory(
    settings: &Settings,
    source: &Source,
    lanes: &[LaneSpec],
) -> EvaluatorFactory {
    let (limits, unlimited) = (
        Limits::new(&settings.space),
        unlimited(settings, source, lanes),
    );
    Arc::new(move |lane| Ok(Box::new(LimitedEvaluator::new(limits, unlimited(lane)?))))
}

fn unlimited(settings: &Settings, source: &Source, lanes: &[LaneSpec]) -> EvaluatorFactory {
    match source {
        Source::Table { table, space } => {
            let (table, space) = (table.clone(), space.clone());
            Arc::new(move |_| Ok(Box::new(TableEvaluator::new(table.clone(), space.clone()))))
        }
        Source::Text { corpus } => {
            let (child, corpus, memory) = (
                settings.child.clone(),
                corpus.clone(),
                memory_of_lane(lanes),
            );
            Arc::new(move |lane| {
                let pool = Arc::new(thread_pool(lane)?);
                Ok(Box::new(LanguageEvaluator::new(
                    child.clone(),
                    corpus.clone(),
                    pool,
                    Some(memory),
                )))
            })
        }
        Source::Command { run_dir } => {
            let (child, run_dir, inherited) =
                (settings.child.clone(), run_dir.clone(), inherited_gpus());
            Arc::new(move |lane| {
                let lane = CommandLane {
                    visible_gpus: visible_gpus(&lane.device, inherited.as_deref())?,
                    threads: lane.threads,
                };
                Ok(Box::new(CommandEvaluator::new(
                    &child,
                    run_dir.clone(),
                    lane,
                )))
            })
        }
        Source::Train { dataset, split } => {
            let (child, data, dataset, split) = (
                settings.child.clone(),
                settings.data.clone(),
                dataset.clone(),
                split.clone(),
            );
            let memory = memory_of_lane(lanes);
            Arc::new(move |lane| {
                let device = candle_device(lane)?;
                let pool = Arc::new(thread_pool(lane)?);
                Ok(Box::new(TrainEvaluator::new(
                    child.clone(),
                    dataset.clone(),
                    split.clone(),
                    &data,
                    device,
                    pool,
                    Some(memory),
                )))
            })
        }
    }
}

/// Bytes that a child may take.
fn memory_of_lane(lanes: &[LaneSpec]) -> u64 {
    (memory_bytes() / lanes.len().max(1)) as u64
}

/// What runs, where, and where to look.
fn announce(
    settings: &Settings,
    source: &Source,
    run_dir: &Path,
    lanes: &[LaneSpec],
    endpoint: Option<&Endpoint>,
    recovered: &Recovered,
) {
    say!(
        "netwright search \"{}\" in {}",
        settings.run.name,
        run_dir.display()
    );
    match source {
        Source::Train { dataset, split } => {
            let kind = if dataset.synthetic {
                "synthetic images, drawn by this program"
            } else {
                "images"
            };
            let (train, validation) = (split.train.len(), split.validation.len());
            say!(
                "data: {kind}; {train} for training, {validation} for validation, {} classes",
                dataset.class_names.len()
            );
        }
        Source::Text { corpus } => say!("data: {}", language::describe(corpus)),
        Source::Table { .. } => say!("rewards: {}", settings.child.table.path),
        Source::Command { .. } => say!("children: {}", settings.child.command.argv.join(" ")),
    }
    let devices: std::collections::BTreeSet<&str> =
        lanes.iter().map(|lane| lane.device.as_str()).collect();
    let devices: Vec<&str> = devices.into_iter().collect();
    say!(
        "devices: {}; {} children at a time",
        devices.join(", "),
        lanes.len()
    );
    if let Some(address) = endpoint.and_then(Endpoint::address) {
        say!("page: http://{address}/");
        say!("metrics: http://{address}/metrics");
    }
    if let Some(warning) = endpoint.and_then(Endpoint::warning) {
        tracing::warn!("{warning}");
    }
    let (entries, ended) = (
        &settings.enqueue,
        recovered
            .enqueued
            .iter()
            .filter(|(_, trial)| trial.finished)
            .count(),
    );
    if entries.len() > ended {
        let names: Vec<String> = (1..)
            .zip(entries)
            .map(|(place, entry)| entry.name(place))
            .collect();
        say!(
            "first, before sampling starts: {} (enqueued; {ended} of {} are evaluated)",
            names.join(", "),
            entries.len()
        );
    }
    let finished = recovered.completed + recovered.failed;
    if finished > 0 {
        say!(
            "continuing: {finished} of {} trials are finished",
            settings.run.trials
        );
    }
}

/// The end of a search: what was found, where it lies, and the exit code.
fn conclude(settings: &Settings, source: &Source, run_dir: &Path, end: End) -> Result<(), Failure> {
    let reader = Reader::open(run_dir).map_err(reading)?;
    super::print(&format!(
        "\n{}",
        report::leaderboard(&reader, 10).map_err(reading)?
    ))?;
    if end == End::Finished {
        reference(settings, source, &reader)?;
    }
    say!(
        "the run: {}   (netwright top {0} · netwright show {0} TRIAL)",
        run_dir.display()
    );
    let again = "the same command continues it";
    match end {
        End::Finished => Ok(()),
        End::TimeIsUp => {
            say!("stopped after run.max_seconds; {again}");
            Ok(())
        }
        End::Signal(number) => {
            say!("stopped by a signal, saved; {again}");
            Err(Failure::Signal(number))
        }
        End::Restart(reason) => Err(super::again::again(
            run_dir,
            &settings.restart.child_trainer,
            &reason,
        )),
        End::Failed(reason) => Err(Failure::Failed(format!(
            "{reason}; what was finished is saved, {again}"
        ))),
    }
}

/// What the best child is to be compared with: a linear classifier on the same images; or the
/// table's own report columns.
fn reference(settings: &Settings, source: &Source, reader: &Reader) -> Result<(), Failure> {
    let Some(best) = reader.best().map_err(reading)? else {
        return Ok(());
    };
    let units = units(settings);
    match source {
        Source::Train { dataset, split } => {
            let started = std::time::Instant::now();
            let pool = thread_pool(&every_core("reference")).map_err(Failure::Failed)?;
            let linear = linear_accuracy(dataset, split, &settings.data, settings.run.seed, &pool);
            let worst = reader
                .worst()
                .map_err(reading)?
                .and_then(|row| row.metric)
                .unwrap_or_default();
            say!(
                "validation accuracy: best child {}, worst {}; a linear classifier on the same images {} ({} to train)",
                units.metric(best.metric.unwrap_or_default()),
                units.metric(worst),
                units.metric(linear),
                duration(started.elapsed().as_secs_f64())
            );
            if dataset.synthetic {
                say!("(the images are synthetic: a demonstration, not a benchmark)");
            }
        }
        Source::Text { corpus } => {
            let worst = reader
                .worst()
                .map_err(reading)?
                .and_then(|row| row.metric)
                .unwrap_or_default();
            say!(
                "{}",
                language::reference(corpus, best.metric.unwrap_or_default(), worst)
            );
            say!("(netwright compare CONFIG trains rnn, lstm, gru and nascell by the same recipe)");
        }
        Source::Table { table, space } => {
            for (column, value) in table.report(space.as_ref(), space.layers(0), &best.decisions) {
                say!("best trial {}: {column} = {value}", best.id);
            }
        }
        Source::Command { .. } => {}
    }
    Ok(())
}

//! `netwright search`: runs a search, or continues it. Wires the rooms together; must not hold
//! logic of its own.

use super::announcement::Announced;
use super::export::weights_of;
use super::log::{self, LogFormat};
use super::progress::{Bars, Nothing, PlainLines, ProgressFormat};
use super::reload::{ConfigFile, Routes};
use super::{ConfigArgs, Failure, assembly, devices, enqueue, reading, warm_start};
use crate::actors::{
    Additions, ChildFiles, End, EventProgram, Observer, Parts, Reload, ReportWriter, RunEvent,
    prepare, search,
};
use crate::child::{adopt_orphans, end_programs, program_problem};
use crate::data::WhiteningOrder;
use crate::journal::{
    DATA_CONTENT, Enqueued, Journal, Reader, Recovered, WHITEN_ORDER, check_directory,
    fatal_signal_file, set_aside,
};
use crate::machine::{LaneSpec, cuda_uuids, ensure_open_files, fatal_signal};
use crate::settings::Settings;
use crate::strategy::confirmed_networks;
use crate::telemetry::{Endpoint, LiveDevices, Metrics, Restored, Sampler};
use crate::workload::{Scoring, Workload};
use crate::{report, telemetry};
use indicatif::MultiProgress;
use serde_json::{Map, Value};
use std::collections::BTreeSet;
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

/// A search whose input is read and checked; nothing of its run is touched yet. Also what
/// `netwright retrain` runs.
pub(super) struct Search {
    pub config: ConfigArgs,
    pub settings: Settings,
    pub run_dir: PathBuf,
    pub absolute_run_dir: PathBuf,
    pub workload: Arc<dyn Workload>,
    pub scoring: Scoring,
    pub lanes: Vec<LaneSpec>,
    /// The run was begun by a version whose rules it keeps.
    pub rules_of_before: bool,
    /// What may not change in the run's life, beside what settings and data say.
    pub facts: Map<String, Value>,
    /// A change of the config file is taken over while the search runs.
    pub follows_config: bool,
}

/// Files that a search has open: journal and its copy, log, report, page, metrics, the actors'
/// runtime and its signals, a few browsers. Without them actix would panic.
pub(super) const FILES: u64 = 44;

/// Of each lane: a checkpoint, or the pipes of a program.
pub(super) const FILES_OF_LANE: u64 = 6;

pub fn run(args: &SearchArgs) -> Result<(), Failure> {
    run_with(args, Vec::new())
}

/// Runs the search, or continues it, after these trials of it were added again.
pub fn run_with(args: &SearchArgs, retries: Vec<u64>) -> Result<(), Failure> {
    let bars = MultiProgress::new();
    let log = log::start(args.log_format, bars.clone());
    ensure_open_files(FILES).map_err(Failure::Failed)?;
    let (mut search, mut additions) = Search::load(args)?;
    additions.retries = retries;
    let endpoint = Endpoint::bind(&search.settings.telemetry)
        .map_err(|error| Failure::Input(error.to_string()))?;
    if args.fresh
        && let Some(aside) = set_aside(&search.run_dir, &search.config.config).map_err(reading)?
    {
        say!("the earlier run is now {}", aside.display());
    }
    search.keep_rules_of_before();
    let (journal, recovered) = search.open_run(&additions.enqueued)?;
    let log_problem = |error| {
        let folder = search.run_dir.join("log");
        Failure::Failed(format!("{}: {error}", folder.display()))
    };
    log.open(&search.run_dir).map_err(log_problem)?;
    search
        .announced()
        .start(endpoint.as_ref(), &recovered, &additions.enqueued);
    let observer = search.observer(args.log_format, bars);
    let ended = |end| search.announced().end(end);
    search.run(journal, recovered, additions, endpoint, observer, &ended)
}

impl Search {
    /// # Errors
    /// The config, the data or the devices that it names cannot be used.
    fn load(args: &SearchArgs) -> Result<(Self, Additions), Failure> {
        let mut settings = args.config.load()?;
        let run_dir = settings.run_dir(args.run_dir.as_deref());
        // Before the data is read, which may take long.
        check_directory(&run_dir, args.fresh).map_err(reading)?;
        let begun = if args.fresh {
            None
        } else {
            recorded_identity(&run_dir)
        };
        decide_whitening_order(&mut settings, begun.as_ref());
        let absolute_run_dir = std::path::absolute(&run_dir)
            .map_err(|error| Failure::Input(format!("{}: {error}", run_dir.display())))?;
        let workload = assembly::load_workload(&settings)?;
        let scoring = assembly::workload_settings(&settings).scoring();
        let mut copies = if args.fresh {
            Vec::new()
        } else {
            warm_start::copies(&run_dir)?
        };
        let candidates = workload.candidates();
        let enqueued = enqueue::entries(&args.config, &settings, candidates, &mut copies)?;
        let parameters = warm_start::parameters(&settings, &mut copies)?;
        let known = warm_start::known_trials(&settings, candidates, &mut copies)?;
        if let Some(problem) = program_problem(&settings.run.on_event) {
            return Err(Failure::Input(format!("run.on_event: {problem}")));
        }
        let lanes = assembly::lanes(&settings)?;
        assembly::check_devices(workload.as_ref(), &lanes)?;
        assembly::check_cost(&settings, &lanes)?;
        ensure_open_files(FILES + FILES_OF_LANE * lanes.len() as u64).map_err(Failure::Failed)?;
        let search = Self {
            config: args.config.clone(),
            settings,
            run_dir,
            absolute_run_dir,
            workload,
            scoring,
            lanes,
            rules_of_before: false,
            facts: Map::new(),
            follows_config: true,
        };
        let additions = Additions {
            enqueued,
            retries: Vec::new(),
            copies,
            parameters,
            known,
        };
        Ok((search, additions))
    }

    /// The rules of a run do not change in its life. A run that cannot be read is refused when it is
    /// opened.
    fn keep_rules_of_before(&mut self) {
        let read = Reader::open(&self.run_dir).and_then(|reader| reader.has_rules_of_before());
        self.rules_of_before = read.unwrap_or(false);
        if self.rules_of_before && self.config.keep_rules_of_before(&mut self.settings) {
            say!(
                "child.failed_reward: this run was begun when failed children taught nothing; it keeps \"skip\" until the key is set"
            );
        }
    }

    /// Makes the run, or takes it up, if it is one of these settings and this data.
    pub(super) fn open_run(&self, enqueued: &[Enqueued]) -> Result<(Journal, Recovered), Failure> {
        let mut identity = self.settings.identity();
        if let Some(facts) = identity.as_object_mut() {
            facts.extend(self.facts.clone());
            if let Some(content) = self.workload.content() {
                facts.insert(DATA_CONTENT.into(), content.into());
            }
        }
        let config = self.settings.to_toml();
        Journal::open(&self.run_dir, &identity, enqueued, &config).map_err(reading)
    }

    pub(super) fn announced(&self) -> Announced<'_> {
        Announced {
            command: "search",
            settings: &self.settings,
            workload: self.workload.as_ref(),
            run_dir: &self.run_dir,
            lanes: &self.lanes,
        }
    }

    pub(super) fn observer(&self, log_format: LogFormat, bars: MultiProgress) -> Box<dyn Observer> {
        let format = ProgressFormat::of(&self.scoring);
        match log_format {
            LogFormat::Json => Box::new(Nothing),
            LogFormat::Human if std::io::stderr().is_terminal() => {
                Box::new(Bars::new(format, bars))
            }
            LogFormat::Human => Box::new(PlainLines::new(format)),
        }
    }

    /// Until the search ends, and what is said then: `ended`.
    pub(super) fn run(
        &self,
        journal: Journal,
        recovered: Recovered,
        additions: Additions,
        endpoint: Option<Endpoint>,
        observer: Box<dyn Observer>,
        ended: &dyn Fn(End) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let metrics = self.metrics(&recovered)?;
        self.note_start(&journal, &recovered)?;
        let commits = metrics.clone();
        journal.observe_commits(move |seconds| commits.journal_commit_seconds.observe(seconds));
        let files = self.child_files(&unfinished(&recovered))?;
        let restored = restored(&recovered);
        let best = recovered.rewards.iter().copied().reduce(f64::max);
        let prepared = prepare(
            &assembly::search_settings(&self.settings, self.rules_of_before),
            self.workload.candidates().space.clone(),
            journal,
            recovered,
            additions,
        )
        .map_err(|error| Failure::Failed(error.to_string()))?;
        metrics.restore(&Restored {
            baseline: prepared.snapshot.averages.baseline(),
            ..restored
        });
        let (page, routes) = self.routes(&metrics)?;
        let endpoint = endpoint.map(&routes);
        let event_program = self.event_program()?;
        let observer = match &event_program {
            None => observer,
            Some(program) => program.observer(observer, best),
        };
        let parts = self.parts(metrics, observer, files, page, routes);
        let report = ReportWriter::start(&self.run_dir).map_err(failed)?;
        adopt_orphans();
        fatal_signal::mark_in(&fatal_signal_file(&self.absolute_run_dir));
        let end = search(prepared, parts, endpoint).map_err(failed);
        end_programs();
        let result = end.and_then(|end| {
            report.finish();
            self.tidy_up(&end, event_program.as_ref())?;
            ended(end)
        });
        if let Some(program) = event_program {
            program.finish(self.last_event(&result));
        }
        result
    }

    /// What is done once the search has ended, before anything is said.
    fn tidy_up(&self, end: &End, event_program: Option<&EventProgram>) -> Result<(), Failure> {
        if *end == End::Finished && self.settings.run.confirm > 0 {
            self.tidy_weights()?;
        }
        if let (End::Restart(_), Some(program)) = (end, event_program) {
            program.stop();
        }
        Ok(())
    }

    /// Events that the page and the report read: with which data, by which program and on which
    /// machine the run goes on, where that is not as before, and since when this process runs.
    fn note_start(&self, journal: &Journal, recovered: &Recovered) -> Result<(), Failure> {
        let reader = Reader::open(&self.run_dir).map_err(reading)?;
        for (kind, text) in [
            ("data", self.workload.description()),
            ("machine", devices::machine()),
        ] {
            if reader.last_event(kind).map_err(reading)?.as_ref() != Some(&text) {
                journal.event(kind, &text);
            }
        }
        let finished = recovered.finished();
        let trials = self.settings.run.trials;
        let process = std::process::id();
        journal.event(
            "start",
            &format!("process {process}; {finished} of {trials} trials are finished"),
        );
        Ok(())
    }

    fn event_program(&self) -> Result<Option<EventProgram>, Failure> {
        let run = &self.settings.run;
        if run.on_event.is_empty() {
            return Ok(None);
        }
        let program = EventProgram::start(run.on_event.clone(), &run.name, &self.absolute_run_dir);
        program.map(Some).map_err(failed)
    }

    /// What the user's program is told of the end; None: a signal ended the search, which the user
    /// knows.
    fn last_event(&self, result: &Result<(), Failure>) -> Option<(RunEvent, serde_json::Value)> {
        match result {
            Ok(()) => Some((RunEvent::End, self.found().unwrap_or_default())),
            Err(Failure::Signal(_)) => None,
            Err(failure) => {
                let facts = serde_json::json!({ "message": failure.to_string() });
                Some((RunEvent::Failure, facts))
            }
        }
    }

    /// The first trial by rank, and how many there are.
    fn found(&self) -> Option<serde_json::Value> {
        let reader = Reader::open(&self.run_dir).ok()?;
        let status = report::Status::read(&self.run_dir).ok()?;
        let best = reader.best().ok()??;
        let confirmed = reader.confirmed_trial(best.id).ok()?;
        Some(serde_json::json!({
            "trial": best.id,
            "reward": best.reward,
            "metric": best.metric,
            "confirmed": confirmed.and_then(|network| network.reward),
            "finished": status.finished(),
            "trials": self.settings.run.trials,
        }))
    }

    /// The files of children that an earlier process left, brought in line with the journal.
    fn child_files(&self, unfinished: &BTreeSet<u64>) -> Result<ChildFiles, Failure> {
        let run = &self.settings.run;
        let kept = run.keep_weights;
        let reader = Reader::open(&self.run_dir).map_err(reading)?;
        // Confirmed networks may rank first whatever comes. Those that are to be confirmed may
        // be more than are kept in the end.
        let confirmed = reader.confirmed().map_err(reading)?.into_iter();
        let confirmed = confirmed.filter(|network| network.reward.is_some());
        let confirmed: Vec<u64> = confirmed.map(|network| network.trial).take(kept).collect();
        let candidates = if kept == 0 {
            0
        } else {
            kept.max(confirmed_networks(run.confirm))
        };
        let limit = candidates + confirmed.len();
        let others = reader.best_trained(limit).map_err(reading)?.into_iter();
        let others = others.filter(|(_, trial)| !confirmed.contains(trial));
        let best = confirmed.iter().map(|trial| (f64::INFINITY, *trial));
        let best = best.chain(others);
        Ok(ChildFiles::open(&self.run_dir, limit, best, unfinished))
    }

    /// Of a search that has come to its end the weights stay that `run.keep_weights` asks for.
    fn tidy_weights(&self) -> Result<(), Failure> {
        let kept = self.settings.run.keep_weights;
        let reader = Reader::open(&self.run_dir).map_err(reading)?;
        let has_file = |trial: &u64| weights_of(&self.run_dir, *trial).is_file();
        let ranked = reader.ranked_trained(usize::MAX).map_err(reading)?;
        let best = ranked.into_iter().filter(has_file).take(kept);
        let best = best.map(|trial| (f64::INFINITY, trial));
        drop(ChildFiles::open(
            &self.run_dir,
            kept,
            best,
            &BTreeSet::new(),
        ));
        Ok(())
    }

    /// The registry of this run. Its lanes are known to the first scrape, which may come before
    /// their actors have started.
    fn metrics(&self, recovered: &Recovered) -> Result<Arc<Metrics>, Failure> {
        let metrics = Metrics::new(&self.settings.run.name, self.scoring.reward).map_err(failed)?;
        for lane in &self.lanes {
            metrics.lane(&lane.name, &lane.device);
        }
        metrics.children_reused_total.inc_by(recovered.reused);
        metrics
            .learning
            .proposals_repeated_total
            .inc_by(recovered.repeated);
        let redrawn = &metrics.learning.proposals_redrawn_total;
        redrawn.inc_by(recovered.redrawn);
        Ok(Arc::new(metrics))
    }

    /// The page of this run, and what gives an endpoint its routes.
    fn routes(&self, metrics: &Arc<Metrics>) -> Result<(Arc<report::Page>, Routes), Failure> {
        let sampler = Sampler::new(metrics, self.run_dir.clone(), &cuda_uuids()).map_err(failed)?;
        let sampler = Arc::new(sampler);
        let devices = LiveDevices::new(metrics.clone(), sampler.clone());
        let page = Arc::new(report::Page::new(&self.run_dir).with_devices(devices));
        let served = page.clone();
        let metrics = metrics.clone();
        let routes = move |endpoint: Endpoint| {
            endpoint
                .with(telemetry::routes(metrics.clone(), sampler.clone()))
                .with(report::routes(served.clone()))
        };
        Ok((page, Box::new(routes)))
    }

    /// What the Supervisor is made of.
    fn parts(
        &self,
        metrics: Arc<Metrics>,
        observer: Box<dyn Observer>,
        files: ChildFiles,
        page: Arc<report::Page>,
        routes: Routes,
    ) -> Parts {
        let config_file = ConfigFile::new(
            self.config.clone(),
            self.workload.clone(),
            self.settings.clone(),
            self.absolute_run_dir.clone(),
            routes,
            self.rules_of_before,
        );
        let settings = &self.settings;
        let factory = assembly::evaluator_factory(
            settings,
            self.workload.clone(),
            &self.lanes,
            self.absolute_run_dir.clone(),
        );
        Parts {
            factory,
            files,
            lanes: self.lanes.clone(),
            metrics,
            observer,
            attempts: settings.child.attempts,
            failed_reward: assembly::failure_rule(settings),
            max_seconds: settings.run.max_seconds,
            restart: settings.restart.clone(),
            reload: self
                .follows_config
                .then(|| Box::new(config_file) as Box<dyn Reload>),
            serving: None,
            page: Some(page),
        }
    }
}

/// What the run at this place was begun with; None: there is no run that can be read. What is wrong
/// with one is said when it is opened.
pub(super) fn recorded_identity(run_dir: &Path) -> Option<serde_json::Value> {
    Reader::open(run_dir).ok()?.identity().ok()
}

/// Where the settings leave it open: as the run was begun, and whitening first in a new one. A run
/// of before there was a choice whitens last.
pub(super) fn decide_whitening_order(settings: &mut Settings, begun: Option<&serde_json::Value>) {
    let recorded = |identity: &serde_json::Value| {
        let order = identity.get(WHITEN_ORDER).cloned();
        order.and_then(|order| serde_json::from_value(order).ok())
    };
    let order = begun.map_or(WhiteningOrder::First, |identity| {
        recorded(identity).unwrap_or(WhiteningOrder::Last)
    });
    settings.data.whiten_order.get_or_insert(order);
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::Failed(error.to_string())
}

/// Trials that run again: their checkpoints are kept.
fn unfinished(recovered: &Recovered) -> BTreeSet<u64> {
    recovered
        .open
        .iter()
        .flat_map(|minibatch| &minibatch.trials)
        .chain(recovered.enqueued.iter().map(|(_, trial)| trial))
        .chain(recovered.reevaluations.iter().map(|one| &one.trial))
        .filter(|trial| !trial.finished)
        .map(|trial| trial.id)
        .collect()
}

/// Where counters and histograms go on from.
fn restored(recovered: &Recovered) -> Restored {
    Restored {
        rewards: recovered.rewards.clone(),
        completed: recovered.children_completed,
        pruned: recovered.children_pruned,
        seconds: recovered.seconds.clone(),
        failed: recovered.causes.clone(),
        baseline: None,
        updates: recovered.sequenced,
        snapshot_at: recovered.snapshot_at,
    }
}

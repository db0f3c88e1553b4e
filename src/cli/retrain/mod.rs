//! `netwright retrain`: trains networks of a search again by a grid of recipes, then the one that
//! validation chose on training and validation data, and scores that on the test set (paper §4.1).
//! The first two are searches of their own kind. Must not know how a network is trained or scored.

mod outcome;
mod plan;

use super::announcement::Announced;
use super::log::{self, LogFile, LogFormat};
use super::progress::Nothing;
use super::retrained::{read_weights, sha256, trained};
use super::search::{FILES, FILES_OF_LANE, Search};
use super::{Failure, RESULT_ALONE, assembly, print, print_json, reading};
use crate::actors::{Additions, End, Observer, fault};
use crate::journal::{
    Enqueued, FINAL_TRAINING, FinalEvaluation, FinalWeights, Journal, Reader, SampledTrial, Stage,
    TrialRow, set_aside,
};
use crate::machine::{LaneSpec, end_at_once_on_interrupts, ensure_open_files};
use crate::random::Key;
use crate::report;
use crate::telemetry::Endpoint;
use crate::workload::{
    RetrainingSettings, RetrainingStage, TestSet, Workload, WorkloadSettings, final_weights_file,
    retraining,
};
use indicatif::MultiProgress;
use plan::Plan;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};

#[derive(clap::Args)]
pub struct RetrainArgs {
    /// The run of a search; with --architecture, a config file
    #[arg(value_name = "RUN")]
    pub run: PathBuf,
    /// Retrain this trial
    #[arg(long, value_name = "N")]
    pub trial: Option<u64>,
    /// Retrain the K best trials; validation chooses among them
    #[arg(long, value_name = "K", default_value_t = 1, conflicts_with = "trial", value_parser = count)]
    pub top: usize,
    /// Retrain the network in this JSON file, on the data of a config file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["trial", "top"])]
    pub architecture: Option<PathBuf>,
    /// Set a key over the settings of the search, for example --set 'retrain.learning_rate=[0.1,
    /// 0.05]'
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Where the retraining lives; unset: RUN/retrain-N, RUN/retrain-top-K, or the run directory of
    /// the config file with -retrain- and the name of FILE behind it
    #[arg(long, value_name = "DIR")]
    pub run_dir: Option<PathBuf>,
    /// How log lines look
    #[arg(long, value_enum, default_value_t)]
    pub log_format: LogFormat,
    /// Start anew: a retraining that is there is moved aside, never deleted
    #[arg(long)]
    pub fresh: bool,
    /// Print the result as JSON on standard output, and everything else on standard error
    #[arg(long)]
    pub json: bool,
}

/// `--top`
fn count(text: &str) -> Result<usize, String> {
    let count = text.parse().ok().filter(|count| *count > 0);
    count.ok_or_else(|| "must be a whole number of 1 or more".into())
}

/// Enqueued trials have seeds that no sampled one has.
const NO_CONTROLLER: u64 = u64::MAX;

pub fn run(args: RetrainArgs) -> Result<(), Failure> {
    RESULT_ALONE.store(args.json, Ordering::Relaxed);
    let bars = MultiProgress::new();
    let log = log::start(args.log_format, bars.clone());
    ensure_open_files(FILES).map_err(Failure::Failed)?;
    let plan = Plan::load(&args)?;
    let endpoint = Endpoint::bind(&plan.settings.telemetry)
        .map_err(|error| Failure::Input(error.to_string()))?;
    if args.fresh
        && let Some(aside) = set_aside(&plan.run_dir, &plan.config.config).map_err(reading)?
    {
        say!("the earlier retraining is now {}", aside.display());
    }
    let retraining = Retraining::new(plan, &args, log, bars, endpoint)?;
    let evaluation = retraining.go_on()?;
    // The report of the last search does not know the score yet.
    if let Err(error) = report::write_report(&retraining.plan.run_dir) {
        tracing::warn!("the report is not written: {error}");
    }
    if args.json {
        RESULT_ALONE.store(false, Ordering::Relaxed);
        return print_json(&evaluation);
    }
    print(&outcome::text(&evaluation, &retraining.plan.run_dir))
}

/// One retraining, whatever an earlier process has done of it.
struct Retraining {
    plan: Plan,
    absolute_run_dir: PathBuf,
    /// Those of the choice; the final training has one of all their cores.
    lanes: Vec<LaneSpec>,
    test_set: TestSet,
    endpoint: Option<Endpoint>,
    log: LogFile,
    log_format: LogFormat,
    bars: MultiProgress,
}

impl Retraining {
    fn new(
        plan: Plan,
        args: &RetrainArgs,
        log: LogFile,
        bars: MultiProgress,
        endpoint: Option<Endpoint>,
    ) -> Result<Self, Failure> {
        let input = |error: &dyn std::fmt::Display| Failure::Input(error.to_string());
        let lanes = assembly::lanes(&plan.settings)?;
        assembly::check_devices(plan.workload.as_ref(), &lanes)?;
        ensure_open_files(FILES + FILES_OF_LANE * lanes.len() as u64).map_err(Failure::Failed)?;
        let test_set = plan.workload.test_set().map_err(|error| input(&error))?;
        let absolute_run_dir = std::path::absolute(&plan.run_dir)
            .map_err(|error| input(&format!("{}: {error}", plan.run_dir.display())))?;
        Ok(Self {
            plan,
            absolute_run_dir,
            lanes,
            test_set,
            endpoint,
            log,
            log_format: args.log_format,
            bars,
        })
    }

    /// Stage after stage, to the end. What an earlier process has done is not done again.
    fn go_on(&self) -> Result<FinalEvaluation, Failure> {
        let mut begins = true;
        loop {
            let announces = std::mem::replace(&mut begins, false);
            match self.stage()? {
                Stage::Choice => self.choose(announces)?,
                Stage::NothingToChoose => return Err(self.nothing_to_choose()),
                Stage::Chosen(chosen) => {
                    fault::hold("retrain.chosen", chosen.id);
                    self.train_finally(&chosen, announces)?;
                }
                Stage::FinalFailed(last) => {
                    return Err(Failure::Failed(format!(
                        "the final training (trial {}) has failed: {}\nonce its cause is mended, --fresh starts anew",
                        last.id,
                        last.error.as_deref().unwrap_or("nobody knows why")
                    )));
                }
                Stage::Trained(chosen, last) => return self.evaluate(&chosen, &last),
                Stage::Evaluated(evaluation) => return self.evaluated(*evaluation),
            }
        }
    }

    /// How far the run has come; a new one is at its beginning.
    fn stage(&self) -> Result<Stage, Failure> {
        let dir = &self.plan.run_dir;
        if !dir.join("search.db").exists() {
            return Ok(Stage::Choice);
        }
        let trainings = self.plan.recipes.count() as u64;
        Reader::open(dir)
            .and_then(|reader| reader.stage(trainings))
            .map_err(reading)
    }

    /// The search that trains what this stage trains.
    fn search(&self, stage: RetrainingStage) -> Result<Search, Failure> {
        let Plan {
            config,
            settings,
            run_dir,
            recipes,
            workload,
            ..
        } = &self.plan;
        let workload_settings = WorkloadSettings {
            retraining: Some(RetrainingSettings {
                recipes: recipes.clone(),
                stage,
            }),
            ..assembly::workload_settings(settings)
        };
        let mut scoring = workload_settings.scoring();
        let mut lanes = self.lanes.clone();
        let is_final = stage != RetrainingStage::Choice;
        if is_final {
            scoring.epochs = recipes.lists.final_epochs.or(scoring.epochs);
            lanes = vec![joined(&self.lanes)];
        }
        let inner = workload.with_settings(&WorkloadSettings {
            trains_on_all: is_final,
            ..assembly::workload_settings(settings)
        });
        let workload = retraining(inner, &workload_settings)
            .map_err(|error| Failure::Failed(error.to_string()))?;
        Ok(Search {
            config: config.clone(),
            facts: plan::facts(settings, recipes),
            settings: settings.clone(),
            run_dir: run_dir.clone(),
            absolute_run_dir: self.absolute_run_dir.clone(),
            workload,
            scoring,
            lanes,
            rules_of_before: false,
            follows_config: false,
        })
    }

    /// Trains every network by every recipe.
    fn choose(&self, announces: bool) -> Result<(), Failure> {
        let search = self.search(RetrainingStage::Choice)?;
        self.train(&search, Vec::new(), announces)?;
        let reader = Reader::open(&self.plan.run_dir).map_err(reading)?;
        let board = crate::report::leaderboard(&reader, 10).map_err(reading)?;
        say!("\n{}", board.trim_end());
        Ok(())
    }

    /// All trainings have failed: says why.
    fn nothing_to_choose(&self) -> Failure {
        let all = || -> Result<(), Failure> {
            let search = self.search(RetrainingStage::Choice)?;
            let reader = Reader::open(&self.plan.run_dir).map_err(reading)?;
            announced(&search).success(&reader)
        };
        let none = "no training has come to its end".to_owned();
        all().err().unwrap_or(Failure::Failed(none))
    }

    /// Trains the network that was chosen by its recipe, on training and validation data.
    fn train_finally(&self, chosen: &TrialRow, announces: bool) -> Result<(), Failure> {
        let search = self.search(RetrainingStage::Final {
            reward: chosen.reward.unwrap_or_default(),
            metric: chosen.metric.unwrap_or_default(),
        })?;
        say!(
            "{}",
            outcome::choice(chosen, &self.plan.recipes, &search.scoring)
        );
        say!(
            "final training: {} epochs; {}",
            search.scoring.epochs.unwrap_or_default(),
            search.workload.description()
        );
        let last = self.final_training(chosen);
        self.train(&search, vec![last], announces)
    }

    /// The final training as a trial that no controller samples.
    fn final_training(&self, chosen: &TrialRow) -> Enqueued {
        let seed = Key {
            controller: NO_CONTROLLER,
            minibatch: 1,
            ..Key::seed(self.plan.settings.run.seed)
        };
        Enqueued {
            name: FINAL_TRAINING.into(),
            trial: SampledTrial {
                decisions: chosen.decisions.clone(),
                architecture: chosen.architecture.clone(),
                seed: seed.child_seed(),
                parameters: chosen.parameters,
                flops: chosen.flops,
            },
        }
    }

    /// Runs a search to its end.
    ///
    /// # Errors
    /// It ends for another reason: a signal, say.
    fn train(
        &self,
        search: &Search,
        enqueued: Vec<Enqueued>,
        announces: bool,
    ) -> Result<(), Failure> {
        let failed = |error: std::io::Error| Failure::Failed(error.to_string());
        let (journal, recovered) = search.open_run(&enqueued)?;
        if announces {
            self.open_log()?;
        }
        self.copy_search_weights();
        let endpoint = self.endpoint.as_ref().map(Endpoint::again).transpose();
        let endpoint = endpoint.map_err(failed)?;
        if announces {
            announced(search).start(endpoint.as_ref(), &recovered, &enqueued);
            self.announce();
        }
        let observer: Box<dyn Observer> = match self.log_format {
            LogFormat::Json => Box::new(Nothing),
            LogFormat::Human => search.observer(self.log_format, self.bars.clone()),
        };
        let additions = Additions {
            enqueued,
            ..Additions::default()
        };
        let ended = |end| match end {
            End::Finished => Ok(()),
            other => {
                announced(search).end(other)?;
                let text = "stopped before its end; the same command continues it";
                Err(Failure::Failed(text.into()))
            }
        };
        search.run(journal, recovered, additions, endpoint, observer, &ended)
    }

    fn open_log(&self) -> Result<(), Failure> {
        let dir = &self.plan.run_dir;
        let problem = |error| Failure::Failed(format!("{}: {error}", dir.join("log").display()));
        self.log.open(dir).map_err(problem)
    }

    /// What is trained, and what becomes of it.
    fn announce(&self) {
        let recipes = &self.plan.recipes;
        let names: Vec<&str> = recipes.networks.iter().map(|it| it.name.as_str()).collect();
        let trainings = recipes.count();
        say!(
            "networks: {}; recipes: {} ({trainings} trainings; validation chooses)",
            names.join(", "),
            trainings / recipes.networks.len().max(1)
        );
        match &self.test_set {
            TestSet::Present(set) => {
                say!("test set: {set}; it is read once, for the final weights alone");
            }
            TestSet::Absent(why) => {
                say!("no test set: {why}; the retraining ends with the final weights");
            }
        }
    }

    /// The weights that the search has kept of these trials may be displaced while it goes on.
    fn copy_search_weights(&self) {
        let folder = self.plan.run_dir.join("weights");
        for (trial, file) in &self.plan.search_weights {
            let copy = folder.join(format!("search-{trial}.safetensors"));
            if copy.exists() {
                continue;
            }
            let partial = copy.with_extension("partial");
            let copied = std::fs::create_dir_all(&folder)
                .and_then(|()| std::fs::copy(file, &partial))
                .and_then(|_| std::fs::rename(&partial, &copy));
            if let Err(error) = copied {
                tracing::warn!("{}: cannot be copied: {error}", file.display());
            }
        }
    }

    /// It has come to its end before. If there was no test set then, and is one now, it is read.
    fn evaluated(&self, evaluation: FinalEvaluation) -> Result<FinalEvaluation, Failure> {
        if evaluation.test.is_some() || matches!(self.test_set, TestSet::Absent(_)) {
            return Ok(evaluation);
        }
        let reader = Reader::open(&self.plan.run_dir).map_err(reading)?;
        let row = |trial| super::show::trial(&reader, &self.plan.run_dir, trial);
        self.evaluate(&row(evaluation.chosen_trial)?, &row(evaluation.trial)?)
    }

    /// Records the hash of the final weights, then scores them on the test set and records that.
    fn evaluate(&self, chosen: &TrialRow, last: &TrialRow) -> Result<FinalEvaluation, Failure> {
        let search = self.search(RetrainingStage::Final {
            reward: chosen.reward.unwrap_or_default(),
            metric: chosen.metric.unwrap_or_default(),
        })?;
        end_at_once_on_interrupts();
        let (journal, _) = search.open_run(&[self.final_training(chosen)])?;
        self.open_log()?;
        let evaluation = self.score(&search, &journal, chosen, last);
        journal.close();
        evaluation
    }

    fn score(
        &self,
        search: &Search,
        journal: &Journal,
        chosen: &TrialRow,
        last: &TrialRow,
    ) -> Result<FinalEvaluation, Failure> {
        let dir = &self.plan.run_dir;
        let (bytes, weights) = recorded_weights(journal, dir, last.id)?;
        fault::hold("retrain.hashed", last.id);
        let network = trained(dir, &bytes)?;
        let test = match &self.test_set {
            TestSet::Absent(_) => None,
            TestSet::Present(set) => {
                journal.event(
                    "test set",
                    &format!("{set} is read for the weights {}", weights.sha256),
                );
                let pool = Arc::new(assembly::every_core("test")?);
                let workload: &dyn Workload = search.workload.as_ref();
                let result = workload.test(&network, &pool);
                Some(result.map_err(|error| Failure::Input(error.to_string()))?)
            }
        };
        fault::hold("retrain.tested", last.id);
        let training = &network.record.training;
        let recipes = &self.plan.recipes;
        let (of, _) = recipes
            .chosen(&chosen.decisions)
            .map_err(|error| Failure::Failed(error.to_string()))?;
        let evaluation = FinalEvaluation {
            network: of.name.clone(),
            search_trial: of.trial,
            chosen_trial: chosen.id,
            chosen: recipes.described(&chosen.decisions),
            validation: chosen.metric.unwrap_or_default(),
            unit: search.scoring.metric,
            trial: last.id,
            epochs: training.epochs,
            training_examples: training.training_examples,
            weights_sha256: weights.sha256,
            test,
            test_set: match &self.test_set {
                TestSet::Present(text) | TestSet::Absent(text) => text.clone(),
            },
        };
        wait_for(|reply| journal.final_evaluation(&evaluation, reply))?;
        Ok(evaluation)
    }
}

/// The final weights, and their hash as it is recorded: now, or by an earlier process.
///
/// # Errors
/// The file is not there, or is not the one that was recorded.
fn recorded_weights(
    journal: &Journal,
    dir: &Path,
    trial: u64,
) -> Result<(Vec<u8>, FinalWeights), Failure> {
    let recorded = Reader::open(dir)
        .and_then(|reader| reader.final_weights())
        .map_err(reading)?;
    if let Some(weights) = recorded {
        let bytes = read_weights(dir, &weights.sha256)?;
        return Ok((bytes, weights));
    }
    let path = final_weights_file(dir);
    let bytes = std::fs::read(&path)
        .map_err(|error| Failure::Failed(format!("{}: {error}", path.display())))?;
    let weights = FinalWeights {
        trial,
        sha256: sha256(&bytes),
    };
    wait_for(|reply| journal.final_weights(&weights, reply))?;
    Ok((bytes, weights))
}

/// Blocks until the journal has committed.
fn wait_for(request: impl FnOnce(Box<dyn FnOnce(()) + Send>)) -> Result<(), Failure> {
    let (reply, answer) = mpsc::channel();
    request(Box::new(move |()| {
        let _ = reply.send(());
    }));
    answer
        .recv()
        .map_err(|_| Failure::Failed("the journal's writer is gone".into()))
}

fn announced(search: &Search) -> Announced<'_> {
    Announced {
        command: "retrain",
        ..search.announced()
    }
}

/// One lane with all that lanes of the first one's device have.
fn joined(lanes: &[LaneSpec]) -> LaneSpec {
    let mut all = lanes[0].clone();
    for lane in lanes[1..].iter().filter(|lane| lane.device == all.device) {
        all.threads += lane.threads;
        all.cores.extend(&lane.cores);
    }
    all.cores.sort_unstable();
    all.cores.dedup();
    all
}

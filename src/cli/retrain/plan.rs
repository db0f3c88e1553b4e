//! What is retrained, where and by which settings: from the command line, the search's run and its
//! settings, or from what an earlier start of the same retraining recorded. Reads the search's run
//! and changes nothing.

use super::RetrainArgs;
use crate::child::{EarlyStoppingSettings, EvaluatorKind};
use crate::cli::search::{decide_whitening_order, recorded_identity};
use crate::cli::{ConfigArgs, Failure, architecture_file, assembly, export, reading, show};
use crate::journal::{
    DATA_CONTENT, JournalError, Life, RETRAINING, Reader, TrialRow, check_directory,
};
use crate::settings::Settings;
use crate::space::{Architecture, Network, SpaceKind};
use crate::strategy::{ControllerSettings, StrategyName};
use crate::workload::{Candidates, Recipes, RetrainSettings, RetrainedNetwork, Workload, widened};
use serde_json::{Map, Value, json};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A grid of more than this is a slip of the pen.
const MAX_TRAININGS: usize = 10_000;

/// What the user names.
enum Source {
    Trial(u64),
    Top(usize),
    File(PathBuf),
}

/// A retraining whose input is read and checked; nothing of its run is touched yet.
pub struct Plan {
    /// Where the settings were read from.
    pub config: ConfigArgs,
    /// Those of the retraining's run.
    pub settings: Settings,
    pub run_dir: PathBuf,
    pub recipes: Recipes,
    /// The one that trains the networks, with its data.
    pub workload: Arc<dyn Workload>,
    /// Files of weights that the search has kept of these trials.
    pub search_weights: Vec<(u64, PathBuf)>,
}

impl Source {
    fn of(args: &RetrainArgs) -> Self {
        match (&args.architecture, args.trial) {
            (Some(file), _) => Self::File(file.clone()),
            (None, Some(trial)) => Self::Trial(trial),
            (None, None) => Self::Top(args.top),
        }
    }

    /// The search's run; None: the network comes from a file.
    fn search<'a>(&self, args: &'a RetrainArgs) -> Option<&'a Path> {
        match self {
            Self::File(_) => None,
            Self::Trial(_) | Self::Top(_) => Some(&args.run),
        }
    }

    /// Where the retraining lives, unless the user says so: below the search's run, or beside the
    /// run that the config file names.
    fn run_dir(&self, args: &RetrainArgs, settings: &Settings) -> PathBuf {
        match self {
            _ if let Some(dir) = &args.run_dir => dir.clone(),
            Self::Trial(trial) => args.run.join(format!("retrain-{trial}")),
            Self::Top(count) => args.run.join(format!("retrain-top-{count}")),
            Self::File(file) => {
                let run = settings.run_dir(None);
                let mut name = run.file_name().unwrap_or_default().to_owned();
                name.push("-retrain-");
                name.push(file.file_stem().unwrap_or_default());
                run.with_file_name(name)
            }
        }
    }
}

impl Plan {
    /// # Errors
    /// What the user named cannot be retrained: one message that says why, and what would be right.
    pub fn load(args: &RetrainArgs) -> Result<Self, Failure> {
        let source = Source::of(args);
        let search = source.search(args);
        if let Some(run) = search {
            refuse_retraining(run)?;
        }
        let own = search.map_or_else(|| args.run.clone(), |run| run.join("config.toml"));
        let mut config = ConfigArgs {
            config: own,
            set: args.set.clone(),
        };
        let mut settings = config.load()?;
        trains_networks(&settings)?;
        let run_dir = source.run_dir(args, &settings);
        check_directory(&run_dir, args.fresh).map_err(reading)?;
        let begun = if args.fresh { None } else { begun(&run_dir)? };
        if begun.is_some() {
            config.config = run_dir.join("config.toml");
            settings = config.load()?;
        }
        let begun_as = match &begun {
            Some(_) => recorded_identity(&run_dir),
            None => search.and_then(recorded_identity),
        };
        decide_whitening_order(&mut settings, begun_as.as_ref());
        let workload = assembly::load_workload(&settings)?;
        let recipes = if let Some(recipes) = begun {
            source.agrees_with(&recipes, &settings.retrain, workload.candidates(), &run_dir)?;
            same_settings(begun_as, &recipes, &settings, &run_dir)?;
            recipes
        } else {
            if let Some(search) = search {
                same_data(search, workload.as_ref())?;
            }
            let recipes = source.recipes(args, &settings, workload.candidates())?;
            settings = of_retraining(settings, &recipes, &run_dir);
            recipes
        };
        if let Some(search) = search {
            warn_of_live_search(search);
        }
        Ok(Self {
            search_weights: search.map_or_else(Vec::new, |run| kept(run, &recipes)),
            config,
            settings,
            run_dir,
            recipes,
            workload,
        })
    }
}

/// # Errors
/// The run is a retraining itself.
fn refuse_retraining(run: &Path) -> Result<(), Failure> {
    let reader = Reader::open(run).map_err(reading)?;
    if reader.retraining().map_err(reading)?.is_none() {
        return Ok(());
    }
    Err(Failure::Input(format!(
        "{}: is a retraining itself; name the search that it belongs to, and the trial",
        run.display()
    )))
}

/// # Errors
/// Children are not trained here.
fn trains_networks(settings: &Settings) -> Result<(), Failure> {
    let why = match settings.child.evaluator {
        EvaluatorKind::Train => return Ok(()),
        EvaluatorKind::Table => "a table looks rewards up, and there is no network to train again",
        EvaluatorKind::Command => {
            "a program of your own trains these networks, and it alone can train one again (netwright export RUN TRIAL --format json writes a network for it)"
        }
    };
    let word = match settings.child.evaluator {
        EvaluatorKind::Table => "table",
        _ => "command",
    };
    Err(Failure::Input(format!(
        "child.evaluator = \"{word}\": {why}; retrain is for searches with evaluator = \"train\""
    )))
}

/// What the retraining in this directory was begun with; None: there is none.
///
/// # Errors
/// It cannot be read, or is another run.
fn begun(run_dir: &Path) -> Result<Option<Recipes>, Failure> {
    let reader = match Reader::open(run_dir) {
        Ok(reader) => reader,
        Err(JournalError::NoRun { .. }) => return Ok(None),
        Err(error) => return Err(reading(error)),
    };
    match reader.retraining().map_err(reading)? {
        Some(recipes) => Ok(Some(recipes)),
        None => Err(Failure::Input(format!(
            "{}: is the run of a search, and no retraining; take another --run-dir",
            run_dir.display()
        ))),
    }
}

/// # Errors
/// The data are not those that the search was rewarded on.
fn same_data(search: &Path, workload: &dyn Workload) -> Result<(), Failure> {
    let identity = recorded_identity(search).unwrap_or_default();
    let recorded = identity.get(DATA_CONTENT).and_then(|value| value.as_str());
    match (recorded, workload.content()) {
        (Some(recorded), Some(content)) if recorded != content => Err(Failure::Input(format!(
            "{}: the data are not those of the search any more, so its networks cannot be compared on them; \
             retrain --architecture FILE CONFIG trains a network on other data",
            search.display()
        ))),
        _ => Ok(()),
    }
}

/// # Errors
/// The arguments ask for other recipes or settings than the retraining was begun with: it may have
/// come to its end, where nothing else would tell.
fn same_settings(
    begun_as: Option<Value>,
    recipes: &Recipes,
    settings: &Settings,
    run_dir: &Path,
) -> Result<(), Failure> {
    let refused = |other: &str| {
        Failure::Input(format!(
            "{}: this retraining was begun with other {other}; use those, another --run-dir, or --fresh (moves it aside)",
            run_dir.display()
        ))
    };
    if recipes.lists != settings.retrain {
        return Err(refused("recipes ([retrain] in its config.toml)"));
    }
    let begun = begun_as.unwrap_or_default();
    let now = facts(settings, recipes);
    let text = |value: Option<&Value>| value.map_or_else(|| "not set".to_owned(), Value::to_string);
    let changed: Vec<String> = now
        .iter()
        .filter(|(key, value)| begun.get(key.as_str()) != Some(*value))
        .map(|(key, value)| {
            let before = text(begun.get(key.as_str()));
            format!("  {key}: {before} in the run, {} now", text(Some(value)))
        })
        .collect();
    if changed.is_empty() {
        return Ok(());
    }
    Err(refused(&format!("settings:\n{}\n", changed.join("\n"))))
}

fn warn_of_live_search(search: &Path) {
    let life = Reader::open(search).and_then(|reader| reader.life());
    if matches!(life, Ok(Life::Running)) {
        tracing::warn!(
            "{}: the search is still running; both use the same devices, so each is slower, and memory may not suffice for both",
            search.display()
        );
    }
}

/// Files of weights that the search has kept of these networks.
fn kept(search: &Path, recipes: &Recipes) -> Vec<(u64, PathBuf)> {
    let Ok(reader) = Reader::open(search) else {
        return Vec::new();
    };
    let trials = recipes.networks.iter().filter_map(|network| network.trial);
    trials
        .filter_map(|trial| {
            let row = reader.trial(trial).ok()??;
            let file = export::weights_file(search, &row);
            file.is_file().then_some((trial, file))
        })
        .collect()
}

impl Source {
    /// # Errors
    /// A retraining of another network is there.
    fn agrees_with(
        &self,
        recipes: &Recipes,
        lists: &RetrainSettings,
        candidates: &Candidates,
        run_dir: &Path,
    ) -> Result<(), Failure> {
        let trains = |network: Option<RetrainedNetwork>| match network {
            None => true,
            Some(network) => recipes.networks == [network],
        };
        let agrees = match self {
            Self::Top(_) => recipes
                .networks
                .iter()
                .all(|network| network.trial.is_some()),
            Self::Trial(trial) => {
                let trials: Vec<_> = recipes.networks.iter().map(|it| it.trial).collect();
                trials == [Some(*trial)]
            }
            Self::File(file) => trains(Some(from_file(file, lists, candidates)?)),
        };
        if agrees {
            return Ok(());
        }
        let names: Vec<&str> = recipes.networks.iter().map(|it| it.name.as_str()).collect();
        Err(Failure::Input(format!(
            "{}: trains another network ({}); take another --run-dir, or --fresh (moves that retraining aside)",
            run_dir.display(),
            names.join(", ")
        )))
    }

    /// The networks and recipes of a new retraining.
    ///
    /// # Errors
    /// There is no such network, or it does not fit the data.
    fn recipes(
        &self,
        args: &RetrainArgs,
        settings: &Settings,
        candidates: &Candidates,
    ) -> Result<Recipes, Failure> {
        let lists = &settings.retrain;
        refuse_without_effect(settings)?;
        let networks = match self {
            Self::File(file) => vec![from_file(file, lists, candidates)?],
            Self::Trial(trial) => {
                let reader = Reader::open(&args.run).map_err(reading)?;
                let row = show::trial(&reader, &args.run, *trial)?;
                vec![from_trial(&args.run, row, lists, candidates)?]
            }
            Self::Top(count) => {
                let rows = best(&args.run, *count)?;
                let networks = rows.into_iter();
                networks
                    .map(|row| from_trial(&args.run, row, lists, candidates))
                    .collect::<Result<_, _>>()?
            }
        };
        let recipes = Recipes {
            networks,
            lists: lists.clone(),
        };
        let trainings = recipes.count();
        if trainings > MAX_TRAININGS {
            return Err(Failure::Input(format!(
                "retrain: these lists make {trainings} trainings ({} networks, each by every combination of one entry from each list); at most {MAX_TRAININGS} are possible",
                recipes.networks.len()
            )));
        }
        Ok(recipes)
    }
}

/// # Errors
/// A list is for the other kind of networks.
fn refuse_without_effect(settings: &Settings) -> Result<(), Failure> {
    let lists = &settings.retrain;
    let cells = settings.space.kind == SpaceKind::Cell;
    let keys = [
        ("weight_decay", !cells, lists.weight_decay.is_empty()),
        (
            "batch_norm_epsilon",
            !cells,
            lists.batch_norm_epsilon.is_empty(),
        ),
        ("widen", !cells, lists.widen == 0),
        ("init_scale", cells, lists.init_scale.is_empty()),
        ("dropouts", cells, lists.dropouts.is_empty()),
    ];
    match keys.iter().find(|(_, applies, unset)| !applies && !unset) {
        None => Ok(()),
        Some((key, ..)) => {
            let kind = if cells { "cell" } else { "conv" };
            Err(Failure::Input(format!(
                "retrain.{key}: has no effect with space.kind = \"{kind}\": leave it out"
            )))
        }
    }
}

/// The best trials of a search, each with a network of its own; fewer where there are fewer.
///
/// # Errors
/// None is completed.
fn best(run: &Path, count: usize) -> Result<Vec<TrialRow>, Failure> {
    let reader = Reader::open(run).map_err(reading)?;
    let mut limit = count;
    loop {
        let rows = reader.top(limit).map_err(reading)?;
        let is_all = rows.len() < limit;
        let mut seen = HashSet::new();
        let mut different = rows;
        different.retain(|row| seen.insert(row.architecture.fingerprint()));
        if different.is_empty() {
            return Err(Failure::Input(format!(
                "{}: no trial is completed yet, so there is none to train again",
                run.display()
            )));
        }
        if is_all && different.len() < count {
            say!(
                "{}: {} different networks are completed: these are retrained",
                run.display(),
                different.len()
            );
        }
        if is_all || different.len() >= count {
            different.truncate(count);
            return Ok(different);
        }
        limit = limit.saturating_mul(2);
    }
}

fn from_trial(
    run: &Path,
    row: TrialRow,
    lists: &RetrainSettings,
    candidates: &Candidates,
) -> Result<RetrainedNetwork, Failure> {
    let architecture = adopted(row.architecture, lists, candidates).map_err(|problem| {
        Failure::Input(format!("{}: trial {}: {problem}", run.display(), row.id))
    })?;
    Ok(RetrainedNetwork {
        name: format!("trial {}", row.id),
        trial: Some(row.id),
        architecture,
    })
}

fn from_file(
    file: &Path,
    lists: &RetrainSettings,
    candidates: &Candidates,
) -> Result<RetrainedNetwork, Failure> {
    let (architecture, _) = architecture_file::adopted(file, candidates).map_err(Failure::Input)?;
    let architecture = adopted(architecture, lists, candidates)
        .map_err(|problem| Failure::Input(format!("{}: {problem}", file.display())))?;
    let name = file.file_stem().unwrap_or_default();
    Ok(RetrainedNetwork {
        name: name.to_string_lossy().into_owned(),
        trial: None,
        architecture,
    })
}

/// The network as it is trained: as wide as the settings ask for, and one for these data.
fn adopted(
    architecture: Architecture,
    lists: &RetrainSettings,
    candidates: &Candidates,
) -> Result<Architecture, String> {
    if let Network::Choices(_) = architecture.network {
        return Err("is a list of choices, no network that is trained here".into());
    }
    let (architecture, _) = candidates
        .adopt(widened(architecture, lists.widen))
        .map_err(|error| error.to_string())?;
    Ok(architecture)
}

/// The settings of the retraining's run: those of the search, with a grid in place of its strategy.
/// Limits of a search (of its time, of its networks' size, of a child's time) are none of a
/// retraining's.
fn of_retraining(mut settings: Settings, recipes: &Recipes, run_dir: &Path) -> Settings {
    let trainings = recipes.count();
    let name = run_dir.file_name().unwrap_or_default().to_string_lossy();
    settings.run.name = format!("{} {name}", settings.run.name);
    settings.run.dir = None;
    settings.run.trials = trainings as u64;
    settings.run.max_seconds = None;
    settings.run.reuse = false;
    settings.run.confirm = 0;
    settings.run.on_event = Vec::new();
    settings.early_stopping = EarlyStoppingSettings::default();
    settings.enqueue = Vec::new();
    settings.space.max_parameters = None;
    settings.space.max_flops = None;
    // One minibatch holds all of them, so that no lane waits.
    settings.controller = ControllerSettings {
        strategy: StrategyName::GRID.into(),
        replicas: 1,
        children: trainings,
        synchronous: false,
        from_run: None,
        ..settings.controller
    };
    settings.child.max_seconds = None;
    settings.child.epochs = settings.retrain.epochs.unwrap_or(settings.child.epochs);
    settings
}

/// What else may not change in a retraining's life: the recipes, and by what they are trained, where
/// it is not the default. What is left out here changes no number.
pub fn facts(settings: &Settings, recipes: &Recipes) -> Map<String, Value> {
    let free = [
        "child.attempts",
        "child.checkpoint_seconds",
        "child.failed_reward",
        "child.max_seconds",
        "data.path",
        "data.test_file",
    ];
    let default = Settings::default().flat();
    let mut facts = settings.flat();
    facts.retain(|key, value| {
        let trains = key.starts_with("child.") || key.starts_with("data.");
        trains && !free.contains(&key.as_str()) && default.get(key) != Some(value)
    });
    facts.insert(RETRAINING.into(), json!(recipes));
    facts
}

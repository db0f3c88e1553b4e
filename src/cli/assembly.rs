//! From settings to what the other rooms take: the workload, the lanes, their evaluators. What
//! several subcommands and a config file that changes share; must not start anything.

use super::Failure;
use crate::actors::{EvaluatorFactory, SearchSettings};
use crate::child::{Cost, FailureRule, Goal, MetricUnit, Pruner};
use crate::machine::{
    DeviceUse, LaneSpec, ThreadPool, list_devices, memory_for_children, resolve_cpu_lanes,
    resolve_lanes, resolve_lanes_for_programs, thread_pool, usable_cores, why_no_gpu,
};
use crate::settings::Settings;
use crate::space::SizeLimits;
use crate::strategy::LearningSettings;
use crate::workload::{LaneResources, Workload, WorkloadSettings, limited_evaluator};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

/// What a workload is built from.
pub fn workload_settings(settings: &Settings) -> WorkloadSettings {
    WorkloadSettings {
        seed: settings.run.seed,
        trials: settings.run.trials,
        space: settings.space.clone(),
        child: settings.child.clone(),
        data: settings.data.clone(),
        precision: settings.devices.precision,
        retraining: None,
        trains_on_all: false,
    }
}

/// The workload, its data read and checked.
///
/// # Errors
/// The data, table or program that the settings name cannot be used.
pub fn load_workload(settings: &Settings) -> Result<Arc<dyn Workload>, Failure> {
    workload_settings(settings)
        .load(&every_core("data")?)
        .map_err(|error| Failure::Input(error.to_string()))
}

/// The lanes that children train on.
///
/// # Errors
/// `devices.use` names what this machine or this build does not have.
pub fn lanes(settings: &Settings) -> Result<Vec<LaneSpec>, Failure> {
    let workload = workload_settings(settings);
    let resolve = if workload.runs_programs() {
        resolve_lanes_for_programs
    } else if workload.trains_on_gpus() {
        resolve_lanes
    } else {
        resolve_cpu_lanes
    };
    resolve(&settings.devices).map_err(|error| Failure::Input(error.to_string()))
}

/// Why "auto" has taken the CPU for children that could be trained on a GPU.
pub fn why_on_cpu(settings: &Settings) -> Option<String> {
    let is_auto = settings.devices.use_ == DeviceUse::Auto;
    (is_auto && workload_settings(settings).trains_on_gpus())
        .then(why_no_gpu)
        .flatten()
}

/// # Errors
/// A lane's device is none that this workload's children can be evaluated on.
pub fn check_devices(workload: &dyn Workload, lanes: &[LaneSpec]) -> Result<(), Failure> {
    lanes
        .iter()
        .try_for_each(|lane| workload.check_device(&lane.device))
        .map_err(|error| Failure::Input(error.to_string()))
}

/// # Errors
/// Milliseconds are to be measured, and the lanes are on different devices, or this program trains
/// on a GPU, where it does not measure them.
pub fn check_cost(settings: &Settings, lanes: &[LaneSpec]) -> Result<(), Failure> {
    if settings.child.cost != Cost::Milliseconds {
        return Ok(());
    }
    if workload_settings(settings).trains_on_gpus()
        && let Some(lane) = lanes.iter().find(|lane| lane.device != "cpu")
    {
        return Err(Failure::Input(format!(
            "child.cost = \"milliseconds\": they are measured on the CPU alone, and a lane is on {}: set devices.use = [\"cpu\"]",
            lane.device
        )));
    }
    let devices = list_devices();
    let model = |lane: &LaneSpec| {
        let device = devices.iter().find(|device| device.device == lane.device);
        device.map_or_else(|| lane.device.clone(), |device| device.model.clone())
    };
    let models: BTreeSet<String> = lanes.iter().map(model).collect();
    if models.len() < 2 {
        return Ok(());
    }
    let models: Vec<String> = models.into_iter().collect();
    Err(Failure::Input(format!(
        "child.cost = \"milliseconds\": they are measured on the lane that trains a network, and these lanes are on different devices ({}): \
         set devices.use to devices of one kind",
        models.join(", ")
    )))
}

/// Makes each lane's evaluator, on the lane's own thread; the lanes share the machine's memory.
/// `run_dir` is absolute.
pub fn evaluator_factory(
    settings: &Settings,
    workload: Arc<dyn Workload>,
    lanes: &[LaneSpec],
    run_dir: PathBuf,
) -> EvaluatorFactory {
    let limits = SizeLimits::new(&settings.space);
    let memory_bytes = (memory_for_children() / lanes.len().max(1)) as u64;
    Arc::new(move |lane| {
        let resources = LaneResources {
            lane: lane.clone(),
            memory_bytes,
            run_dir: run_dir.clone(),
        };
        limited_evaluator(workload.as_ref(), limits, &resources).map_err(|error| error.to_string())
    })
}

/// What the actors need of the settings.
///
/// `rules_of_before`: the run goes on without a bound of advantages.
pub fn search_settings(settings: &Settings, rules_of_before: bool) -> SearchSettings {
    let scale = workload_settings(settings).scoring().reward;
    let bounded = !scale.is_bounded() && !rules_of_before;
    SearchSettings {
        advantage_bound: bounded.then_some(LearningSettings::ADVANTAGE_BOUND),
        seed: settings.run.seed,
        trials: settings.run.trials,
        confirm: settings.run.confirm,
        reuse: settings.run.reuse,
        pruner: pruner(settings),
        redraws: SizeLimits::new(&settings.space).is_some(),
        controller: settings.controller.clone(),
        parameter_server: settings.parameter_server.clone(),
    }
}

/// What ends children early; None: nothing.
fn pruner(settings: &Settings) -> Option<Pruner> {
    let scoring = workload_settings(settings).scoring();
    let goal = match scoring.metric {
        MetricUnit::Accuracy => Goal::Max,
        MetricUnit::Perplexity | MetricUnit::BitsPerCharacter => Goal::Min,
        MetricUnit::Plain => settings.early_stopping.goal,
    };
    settings.early_stopping.pruner(goal, scoring.epochs)
}

/// How a search values its failed children.
pub fn failure_rule(settings: &Settings) -> FailureRule {
    FailureRule {
        reward: settings.child.failed_reward,
        scale: workload_settings(settings).scoring().reward,
    }
}

/// A pool for work while no lane runs: every core is free.
///
/// # Errors
/// The system refuses the threads.
pub fn every_core(name: &str) -> Result<ThreadPool, Failure> {
    let lane = LaneSpec {
        device: "cpu".into(),
        name: name.into(),
        cores: Vec::new(),
        threads: usable_cores(),
    };
    thread_pool(&lane).map_err(|error| Failure::Failed(error.to_string()))
}

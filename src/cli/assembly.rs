//! From settings to what the other rooms take: the workload, the lanes, their evaluators. What
//! several subcommands and a config file that changes share; must not start anything.

use super::Failure;
use crate::actors::{EvaluatorFactory, SearchSettings};
use crate::child::{FailureRule, Limits};
use crate::machine::{
    LaneSpec, ThreadPool, memory_for_children, resolve_lanes, resolve_lanes_for_programs,
    thread_pool, usable_cores,
};
use crate::settings::Settings;
use crate::strategy::LearningSettings;
use crate::workload::{LaneResources, Workload, WorkloadSettings, limited_evaluator};
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
    let resolve = if workload_settings(settings).runs_programs() {
        resolve_lanes_for_programs
    } else {
        resolve_lanes
    };
    resolve(&settings.devices).map_err(|error| Failure::Input(error.to_string()))
}

/// # Errors
/// A lane's device is none that this workload's children can be evaluated on.
pub fn check_devices(workload: &dyn Workload, lanes: &[LaneSpec]) -> Result<(), Failure> {
    lanes
        .iter()
        .try_for_each(|lane| workload.check_device(&lane.device))
        .map_err(|error| Failure::Input(error.to_string()))
}

/// Makes each lane's evaluator, on the lane's own thread; the lanes share the machine's memory.
/// `run_dir` is absolute.
pub fn evaluator_factory(
    settings: &Settings,
    workload: Arc<dyn Workload>,
    lanes: &[LaneSpec],
    run_dir: PathBuf,
) -> EvaluatorFactory {
    let limits = Limits::new(&settings.space);
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
        controller: settings.controller.clone(),
        parameter_server: settings.parameter_server.clone(),
    }
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

//! Architectures that a program of the user's trains. Must not know what it does.

use super::{
    BestChild, Candidates, LaneResources, Reference, Scoring, Workload, WorkloadError,
    WorkloadSettings,
};
use crate::child::{
    CommandEvaluator, CommandLane, Evaluator, EvaluatorKind, MetricUnit, RewardScale,
    program_problem,
};
use crate::machine::{inherited_gpus, visible_gpus};
use crate::space::ImageShape;
use rayon::ThreadPool;
use std::sync::Arc;

/// `child.evaluator = "command"`.
pub struct UserCommand {
    settings: WorkloadSettings,
    candidates: Candidates,
}

impl Workload for UserCommand {
    fn is_meant_by(settings: &WorkloadSettings) -> bool {
        settings.child.evaluator == EvaluatorKind::Command
    }

    fn scoring(_: &WorkloadSettings) -> Scoring {
        Scoring {
            metric: MetricUnit::Plain,
            epochs: None,
            reward: RewardScale::Any,
        }
    }

    fn expected_candidates(settings: &WorkloadSettings) -> Candidates {
        let command = &settings.child.command;
        Candidates::of(settings.space.build(image(&command.image), command.classes))
    }

    fn runs_programs() -> bool {
        true
    }

    fn load(settings: &WorkloadSettings, _: &ThreadPool) -> Result<Self, WorkloadError> {
        if let Some(problem) = program_problem(&settings.child.command.argv) {
            return Err(WorkloadError::Program(problem));
        }
        Ok(Self {
            settings: settings.clone(),
            candidates: Self::expected_candidates(settings),
        })
    }

    fn with_settings(&self, settings: &WorkloadSettings) -> Arc<dyn Workload> {
        Arc::new(Self {
            settings: settings.clone(),
            candidates: self.candidates.clone(),
        })
    }

    fn candidates(&self) -> &Candidates {
        &self.candidates
    }

    /// The data are the program's own.
    fn content(&self) -> Option<&str> {
        None
    }

    fn description(&self) -> String {
        format!("children: {}", self.settings.child.command.argv.join(" "))
    }

    fn evaluator(&self, resources: &LaneResources) -> Result<Box<dyn Evaluator>, WorkloadError> {
        let LaneResources { lane, run_dir, .. } = resources;
        let lane = CommandLane {
            visible_gpus: visible_gpus(&lane.device, inherited_gpus().as_deref())?,
            threads: lane.threads,
        };
        Ok(Box::new(CommandEvaluator::new(
            &self.settings.child,
            run_dir.clone(),
            lane,
        )))
    }

    fn reference(&self, _: &BestChild, _: &ThreadPool) -> Reference {
        Reference::default()
    }
}

/// `child.command.image`: channels, height and width.
fn image(sizes: &[usize]) -> ImageShape {
    let size = |position: usize| sizes.get(position).copied().unwrap_or(1);
    ImageShape {
        channels: size(0),
        height: size(1),
        width: size(2),
    }
}

//! Networks of a search trained again (paper §4.1 and §4.2): every network by every recipe, then the
//! one that validation chose on training and validation data. A workload around the one that
//! trained the search's children. Must not know how these are trained.

mod final_weights;
mod recipes;
mod settings;
#[cfg(test)]
mod tests;

pub use final_weights::final_weights_file;
pub use recipes::{Recipe, Recipes, RetrainedNetwork};
pub use settings::RetrainSettings;

use super::{
    BestChild, Candidates, LaneResources, Reference, Scoring, TestSet, Workload, WorkloadError,
    WorkloadSettings,
};
use crate::child::{Cause, Evaluator, Outcome, Progress, Task, TestResult, TrainedNetwork};
use crate::space::{Architecture, Network, Space};
use final_weights::FinalProgress;
use rayon::ThreadPool;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Arc;

/// What a retraining does, as part of the settings that its workload is built from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RetrainingSettings {
    pub recipes: Recipes,
    pub stage: RetrainingStage,
}

/// What is being trained.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RetrainingStage {
    /// Every network by every recipe, on the training data: validation chooses.
    Choice,
    /// The one that was chosen, on training and validation data. Nothing is held out to score it
    /// on, so it keeps the reward and the metric that it was chosen by.
    Final { reward: f64, metric: f64 },
}

/// The workload of a retraining, around the one that trained the search's children, which has its
/// data.
///
/// # Errors
/// The settings say nothing of a retraining.
pub fn retraining(
    inner: Arc<dyn Workload>,
    settings: &WorkloadSettings,
) -> Result<Arc<dyn Workload>, WorkloadError> {
    Ok(Arc::new(Retraining::around(inner, settings)?))
}

/// See the module.
pub struct Retraining {
    settings: WorkloadSettings,
    recipes: Recipes,
    stage: RetrainingStage,
    inner: Arc<dyn Workload>,
    candidates: Candidates,
}

impl Retraining {
    /// `inner` has its data; `settings` are those of a retraining.
    fn around(
        inner: Arc<dyn Workload>,
        settings: &WorkloadSettings,
    ) -> Result<Self, WorkloadError> {
        let Some(RetrainingSettings { recipes, stage }) = settings.retraining.clone() else {
            return Err(WorkloadError::NoRetraining);
        };
        Ok(Self {
            settings: settings.clone(),
            candidates: candidates(recipes.clone()),
            recipes,
            stage,
            inner,
        })
    }
}

fn candidates(recipes: Recipes) -> Candidates {
    let space: Arc<dyn Space> = Arc::new(recipes.space());
    Candidates::of(space)
}

/// The settings of the workload that trains the networks.
fn inner_settings(settings: &WorkloadSettings) -> WorkloadSettings {
    let retraining = settings.retraining.as_ref();
    let is_final =
        |retraining: &RetrainingSettings| matches!(retraining.stage, RetrainingStage::Final { .. });
    WorkloadSettings {
        trains_on_all: retraining.is_some_and(is_final),
        retraining: None,
        ..settings.clone()
    }
}

impl Workload for Retraining {
    fn is_meant_by(settings: &WorkloadSettings) -> bool {
        settings.retraining.is_some()
    }

    fn scoring(settings: &WorkloadSettings) -> Scoring {
        inner_settings(settings).scoring()
    }

    fn expected_candidates(settings: &WorkloadSettings) -> Candidates {
        match &settings.retraining {
            Some(retraining) => candidates(retraining.recipes.clone()),
            None => inner_settings(settings).expected_candidates(),
        }
    }

    fn load(settings: &WorkloadSettings, pool: &ThreadPool) -> Result<Self, WorkloadError> {
        Self::around(inner_settings(settings).load(pool)?, settings)
    }

    fn with_settings(&self, settings: &WorkloadSettings) -> Arc<dyn Workload> {
        let inner = self.inner.with_settings(&inner_settings(settings));
        match Self::around(inner.clone(), settings) {
            Ok(retraining) => Arc::new(retraining),
            // Then they are settings of the workload inside.
            Err(_) => inner,
        }
    }

    fn candidates(&self) -> &Candidates {
        &self.candidates
    }

    fn content(&self) -> Option<&str> {
        self.inner.content()
    }

    fn description(&self) -> String {
        self.inner.description()
    }

    fn warnings(&self) -> Vec<String> {
        self.inner.warnings()
    }

    fn check_device(&self, device: &str) -> Result<(), WorkloadError> {
        self.inner.check_device(device)
    }

    fn evaluator(&self, resources: &LaneResources) -> Result<Box<dyn Evaluator>, WorkloadError> {
        // A device that cannot be had is reported now, not by each child.
        drop(self.inner.evaluator(resources)?);
        Ok(Box::new(RecipeEvaluator {
            settings: inner_settings(&self.settings),
            recipes: self.recipes.clone(),
            stage: self.stage,
            inner: self.inner.clone(),
            resources: resources.clone(),
        }))
    }

    fn reference(&self, _: &BestChild, _: &ThreadPool) -> Reference {
        Reference::default()
    }

    fn test_set(&self) -> Result<TestSet, WorkloadError> {
        self.inner.test_set()
    }

    fn test(
        &self,
        trained: &TrainedNetwork,
        pool: &Arc<ThreadPool>,
    ) -> Result<TestResult, WorkloadError> {
        self.inner.test(trained, pool)
    }
}

/// Trains each child by the recipe that its decisions name.
struct RecipeEvaluator {
    settings: WorkloadSettings,
    recipes: Recipes,
    stage: RetrainingStage,
    inner: Arc<dyn Workload>,
    resources: LaneResources,
}

impl RecipeEvaluator {
    /// An evaluator that trains by a recipe.
    fn evaluator(&self, recipe: &Recipe) -> Result<Box<dyn Evaluator>, WorkloadError> {
        let child = &self.settings.child;
        let epochs = match self.stage {
            RetrainingStage::Choice => child.epochs,
            RetrainingStage::Final { .. } => {
                self.recipes.lists.final_epochs.unwrap_or(child.epochs)
            }
        };
        let settings = WorkloadSettings {
            child: recipe.applied(child, epochs, child.epochs),
            ..self.settings.clone()
        };
        let workload = self.inner.with_settings(&settings);
        workload.evaluator(&self.resources)
    }

    fn run_dir(&self) -> &PathBuf {
        &self.resources.run_dir
    }
}

impl Evaluator for RecipeEvaluator {
    fn evaluate(&mut self, task: &Task, progress: &mut dyn Progress) -> Outcome {
        let failed = |cause, error: String| Outcome::Failed { cause, error };
        let recipe = match self.recipes.chosen(&task.decisions) {
            Ok((_, recipe)) => recipe,
            Err(error) => return failed(Cause::Unbuildable, error.to_string()),
        };
        let mut evaluator = match self.evaluator(&recipe) {
            Ok(evaluator) => evaluator,
            Err(error) => return failed(Cause::Error, error.to_string()),
        };
        let RetrainingStage::Final { reward, metric } = self.stage else {
            return evaluator.evaluate(task, progress);
        };
        let mut progress = FinalProgress::new(progress, self.run_dir());
        let outcome = evaluator.evaluate(task, &mut progress);
        match (outcome, progress.kept()) {
            (Outcome::Completed { seconds, .. }, Ok(())) => Outcome::Completed {
                reward,
                metric,
                seconds,
            },
            (Outcome::Completed { .. }, Err(error)) => failed(Cause::Error, error),
            (outcome, _) => outcome,
        }
    }
}

/// The network with `widen` more filters in every convolution; a cell stays as it is.
pub fn widened(architecture: Architecture, widen: usize) -> Architecture {
    match architecture.network {
        Network::Conv(network) if widen > 0 => Architecture {
            version: architecture.version,
            network: Network::Conv(network.widened(widen)),
        },
        network => Architecture {
            version: architecture.version,
            network,
        },
    }
}

//! What children are made of and scored by: one trait, one file a workload, and one line for each
//! in `WORKLOADS`. A workload is built from settings alone, so that another process builds the same
//! one. Must not know actors, the journal, telemetry, reports or the command line.

mod command;
mod error;
mod images;
mod retraining;
mod table;
#[cfg(test)]
mod tests;
mod text;

pub use error::WorkloadError;
pub use retraining::{
    Recipe, Recipes, RetrainSettings, RetrainedNetwork, RetrainingSettings, RetrainingStage,
    final_weights_file, retraining, widened,
};

use crate::child::{
    ChildSettings, Evaluator, LimitedEvaluator, MetricUnit, RewardScale, TestResult, TrainedNetwork,
};
use crate::data::{self, DataSettings, TestData};
use crate::machine::{LaneSpec, Precision};
use crate::space::{Architecture, Decision, SizeLimits, Space, SpaceSettings};
use rayon::ThreadPool;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Arc;

/// Every workload: exactly one of them is meant by any settings, but for a retraining, which stands
/// before the workload that it is around.
const WORKLOADS: &[Entry] = &[
    entry::<retraining::Retraining>(),
    entry::<images::Images>(),
    entry::<text::Text>(),
    entry::<table::RewardTable>(),
    entry::<command::UserCommand>(),
];

/// All that a workload is built from: plain data, so that it may cross to another process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct WorkloadSettings {
    /// `run.seed`: what is drawn of the data (a split, the built-in images) is drawn from it.
    pub seed: u64,
    /// `run.trials`: a table must serve the depths of all of them.
    pub trials: u64,
    pub space: SpaceSettings,
    pub child: ChildSettings,
    pub data: DataSettings,
    /// `devices.precision`
    pub precision: Precision,
    /// Networks of a search are trained again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retraining: Option<RetrainingSettings>,
    /// The validation examples are trained on as well; nothing is held out.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub trains_on_all: bool,
}

/// The data that nothing is chosen by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TestSet {
    /// What it is, in a few words. Nothing of it has been read.
    Present(String),
    /// Why there is none.
    Absent(String),
}

/// Whether there is a test set that belongs to these data, from names alone.
fn test_set(settings: &DataSettings) -> Result<TestSet, WorkloadError> {
    Ok(match data::test_set(settings)? {
        Some(test) => TestSet::Present(test.description()),
        None => TestSet::Absent(data::without_test_set(settings)),
    })
}

/// The test set, to be read now.
fn present_test_set(settings: &DataSettings) -> Result<TestData, WorkloadError> {
    data::test_set(settings)?.ok_or_else(|| WorkloadError::Test("it is not there any more".into()))
}

/// How children are scored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scoring {
    /// Of the metric that the reward is computed from.
    pub metric: MetricUnit,
    /// Epochs of each child; None: children have none, or nobody knows how many.
    pub epochs: Option<usize>,
    pub reward: RewardScale,
}

/// A lane, and what the child that it evaluates may use.
#[derive(Clone, Debug)]
pub struct LaneResources {
    pub lane: LaneSpec,
    /// This machine's memory for one child, in bytes.
    pub memory_bytes: u64,
    /// Where a program's log and checkpoints lie: absolute.
    pub run_dir: PathBuf,
}

/// The best child of a search.
#[derive(Clone, Copy, Debug)]
pub struct BestChild<'a> {
    pub trial: u64,
    pub decisions: &'a [Decision],
}

/// What the best child of a search is compared with at its end.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reference {
    pub model: Option<ReferenceModel>,
    /// Sentences that follow it.
    pub remarks: Vec<String>,
}

/// A simple model of the same data.
#[derive(Clone, Debug, PartialEq)]
pub struct ReferenceModel {
    /// What it is, to stand before its metric.
    pub name: &'static str,
    /// On the validation data, in the unit of the children's.
    pub metric: f64,
    /// None: it takes no training.
    pub training_seconds: Option<f64>,
}

/// What children are made of and scored by.
///
/// The functions without `self` answer from the settings alone, before any data are read.
pub trait Workload: Send + Sync {
    /// True if these settings mean this workload.
    fn is_meant_by(settings: &WorkloadSettings) -> bool
    where
        Self: Sized;

    fn scoring(settings: &WorkloadSettings) -> Scoring
    where
        Self: Sized;

    /// The candidates as far as they are known without the data: of images whose shape or classes
    /// only the data can tell, those of a usual set.
    fn expected_candidates(settings: &WorkloadSettings) -> Candidates
    where
        Self: Sized;

    /// True if children are programs of the user's, which bring their own CUDA.
    fn runs_programs() -> bool
    where
        Self: Sized,
    {
        false
    }

    /// True if children can be trained on GPUs by this program.
    fn trains_on_gpus() -> bool
    where
        Self: Sized,
    {
        false
    }

    /// Names of the networks of the literature that can be trained by the same recipe
    /// ([`Workload::literature_network`]).
    fn literature() -> &'static [&'static str]
    where
        Self: Sized,
    {
        &[]
    }

    /// Reads and checks the data; heavy work runs in `pool`.
    ///
    /// # Errors
    /// The user's input is wrong: names the key or file and what would be right.
    fn load(settings: &WorkloadSettings, pool: &ThreadPool) -> Result<Self, WorkloadError>
    where
        Self: Sized;

    /// The same data under other settings, such as a running search takes over.
    fn with_settings(&self, settings: &WorkloadSettings) -> Arc<dyn Workload>;

    fn candidates(&self) -> &Candidates;

    /// SHA-256 (hex) of what rewards are computed from, which may not change in a run's life; None:
    /// this program does not see it.
    fn content(&self) -> Option<&str>;

    /// What is trained on, or where rewards come from: one line.
    fn description(&self) -> String;

    /// What else to know of it before anything is evaluated: one line each.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }

    /// What makes its rewards say little: one line each.
    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }

    /// # Errors
    /// No child of this workload can be evaluated on such a device (`cpu`, `cuda:N`).
    fn check_device(&self, device: &str) -> Result<(), WorkloadError> {
        let _ = device;
        Ok(())
    }

    /// The evaluator of a lane, made on the lane's own thread.
    ///
    /// # Errors
    /// The device or its threads cannot be had.
    fn evaluator(&self, resources: &LaneResources) -> Result<Box<dyn Evaluator>, WorkloadError>;

    /// One of the networks named by [`Workload::literature`].
    ///
    /// # Errors
    /// There is no such network, or it cannot have the size that the settings ask for.
    fn literature_network(&self, name: &str) -> Result<Architecture, WorkloadError> {
        Err(WorkloadError::NoNetwork(name.to_owned()))
    }

    /// What to compare the best child with; heavy work runs in `pool`.
    fn reference(&self, best: &BestChild, pool: &ThreadPool) -> Reference;

    /// The test set, which only [`Workload::test`] reads.
    ///
    /// # Errors
    /// It is not clear which one is meant.
    fn test_set(&self) -> Result<TestSet, WorkloadError> {
        Ok(TestSet::Absent("this program does not see the data".into()))
    }

    /// Reads the test set and scores a trained network on it: in f32 on the CPU, in `pool`, whatever
    /// trained it.
    ///
    /// # Errors
    /// There is no test set, it cannot be read, or it does not fit the network.
    fn test(
        &self,
        trained: &TrainedNetwork,
        pool: &Arc<ThreadPool>,
    ) -> Result<TestResult, WorkloadError> {
        let _ = (trained, pool);
        Err(WorkloadError::Test("there is no test set".into()))
    }
}

/// An architecture as a workload evaluates it, and the decisions that describe it: empty where they
/// are not looked for ([`Space::adopt`]).
type Adopted = (Architecture, Vec<Decision>);

/// Fits an architecture that was written down elsewhere to a space.
type Adopt = dyn Fn(&dyn Space, Architecture) -> Result<Adopted, WorkloadError> + Send + Sync;

/// The architectures that a workload evaluates.
#[derive(Clone)]
pub struct Candidates {
    /// Those that a controller can describe.
    pub space: Arc<dyn Space>,
    adopt: Arc<Adopt>,
}

impl Candidates {
    /// Those of a space, and whatever else the space adopts.
    fn of(space: impl Into<Arc<dyn Space>>) -> Self {
        Self::adopting(space, |space, given| Ok(space.adopt(given)?))
    }

    /// Those of a space, and what `adopt` makes of others.
    fn adopting(
        space: impl Into<Arc<dyn Space>>,
        adopt: impl Fn(&dyn Space, Architecture) -> Result<Adopted, WorkloadError>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        Self {
            space: space.into(),
            adopt: Arc::new(adopt),
        }
    }

    /// An architecture that was written down elsewhere, as this workload evaluates it, and the
    /// decisions that describe it: empty where they are not looked for ([`Space::adopt`]).
    ///
    /// # Errors
    /// What does not fit, and what would.
    pub fn adopt(
        &self,
        given: Architecture,
    ) -> Result<(Architecture, Vec<Decision>), WorkloadError> {
        (self.adopt)(self.space.as_ref(), given)
    }
}

impl WorkloadSettings {
    fn entry(&self) -> &'static Entry {
        WORKLOADS
            .iter()
            .find(|entry| (entry.is_meant_by)(self))
            .expect("a test finds a workload for each evaluator and kind of data")
    }

    /// How children are scored.
    pub fn scoring(&self) -> Scoring {
        (self.entry().scoring)(self)
    }

    /// See [`Workload::expected_candidates`].
    pub fn expected_candidates(&self) -> Candidates {
        (self.entry().expected_candidates)(self)
    }

    /// See [`Workload::runs_programs`].
    pub fn runs_programs(&self) -> bool {
        (self.entry().runs_programs)()
    }

    /// See [`Workload::trains_on_gpus`].
    pub fn trains_on_gpus(&self) -> bool {
        (self.entry().trains_on_gpus)()
    }

    /// See [`Workload::literature`].
    pub fn literature(&self) -> &'static [&'static str] {
        (self.entry().literature)()
    }

    /// The workload that these settings mean, its data read and checked.
    ///
    /// # Errors
    /// As [`Workload::load`].
    pub fn load(&self, pool: &ThreadPool) -> Result<Arc<dyn Workload>, WorkloadError> {
        (self.entry().load)(self, pool)
    }
}

/// The evaluator of a search's lane: it leaves out what is larger than the space's limits.
///
/// # Errors
/// As [`Workload::evaluator`].
pub fn limited_evaluator(
    workload: &dyn Workload,
    limits: SizeLimits,
    resources: &LaneResources,
) -> Result<Box<dyn Evaluator>, WorkloadError> {
    let evaluator = workload.evaluator(resources)?;
    Ok(Box::new(LimitedEvaluator::new(limits, evaluator)))
}

/// A workload's functions without `self`.
struct Entry {
    is_meant_by: fn(&WorkloadSettings) -> bool,
    scoring: fn(&WorkloadSettings) -> Scoring,
    expected_candidates: fn(&WorkloadSettings) -> Candidates,
    runs_programs: fn() -> bool,
    trains_on_gpus: fn() -> bool,
    literature: fn() -> &'static [&'static str],
    load: Load,
}

/// See [`Workload::load`].
type Load = fn(&WorkloadSettings, &ThreadPool) -> Result<Arc<dyn Workload>, WorkloadError>;

const fn entry<W: Workload + 'static>() -> Entry {
    Entry {
        is_meant_by: W::is_meant_by,
        scoring: W::scoring,
        expected_candidates: W::expected_candidates,
        runs_programs: W::runs_programs,
        trains_on_gpus: W::trains_on_gpus,
        literature: W::literature,
        load: load::<W>,
    }
}

fn load<W: Workload + 'static>(
    settings: &WorkloadSettings,
    pool: &ThreadPool,
) -> Result<Arc<dyn Workload>, WorkloadError> {
    Ok(Arc::new(W::load(settings, pool)?))
}

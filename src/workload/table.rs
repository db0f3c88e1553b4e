//! Architectures whose rewards stand in a table. Must not know what the numbers mean.

use super::{
    BestChild, Candidates, LaneResources, Reference, Scoring, Workload, WorkloadError,
    WorkloadSettings,
};
use crate::child::{Evaluator, EvaluatorKind, MetricUnit, RewardScale, Table, TableEvaluator};
use crate::space::{ImageShape, SpaceKind};
use rayon::ThreadPool;
use std::sync::Arc;

/// CIFAR-10's: a table finds networks by their decisions, whatever the images are.
const IMAGE: ImageShape = ImageShape {
    channels: 3,
    height: 32,
    width: 32,
};
const CLASSES: usize = 10;

/// `child.evaluator = "table"`.
pub struct RewardTable {
    settings: WorkloadSettings,
    table: Arc<Table>,
    candidates: Candidates,
}

impl Workload for RewardTable {
    fn is_meant_by(settings: &WorkloadSettings) -> bool {
        settings.child.evaluator == EvaluatorKind::Table
    }

    fn scoring(_: &WorkloadSettings) -> Scoring {
        Scoring {
            metric: MetricUnit::Plain,
            epochs: None,
            reward: RewardScale::Any,
        }
    }

    fn expected_candidates(settings: &WorkloadSettings) -> Candidates {
        let space = settings.space.build(IMAGE, CLASSES);
        if settings.space.kind == SpaceKind::Choices {
            return Candidates::of(space);
        }
        Candidates::adopting(space, |space, given| {
            space.adopt(given)?;
            Err(WorkloadError::FileForTable)
        })
    }

    fn load(settings: &WorkloadSettings, _: &ThreadPool) -> Result<Self, WorkloadError> {
        let candidates = Self::expected_candidates(settings);
        let space = candidates.space.as_ref();
        if space.layers(settings.trials.saturating_sub(1)) != space.layers(0) {
            return Err(WorkloadError::Schedule);
        }
        let table = Table::load(&settings.child.table, space, space.layers(0))?;
        Ok(Self {
            settings: settings.clone(),
            table: Arc::new(table),
            candidates,
        })
    }

    fn with_settings(&self, settings: &WorkloadSettings) -> Arc<dyn Workload> {
        Arc::new(Self {
            settings: settings.clone(),
            table: self.table.clone(),
            candidates: self.candidates.clone(),
        })
    }

    fn candidates(&self) -> &Candidates {
        &self.candidates
    }

    fn content(&self) -> Option<&str> {
        Some(self.table.content())
    }

    fn description(&self) -> String {
        format!("rewards: {}", self.settings.child.table.path)
    }

    fn evaluator(&self, _: &LaneResources) -> Result<Box<dyn Evaluator>, WorkloadError> {
        let space = self.candidates.space.clone();
        Ok(Box::new(TableEvaluator::new(self.table.clone(), space)))
    }

    /// The report columns of the best architecture's row.
    fn reference(&self, best: &BestChild, _: &ThreadPool) -> Reference {
        let space = self.candidates.space.as_ref();
        let columns = self.table.report(space, space.layers(0), best.decisions);
        let remark = |(column, value): (String, String)| {
            format!("best trial {}: {column} = {value}", best.trial)
        };
        Reference {
            model: None,
            remarks: columns.into_iter().map(remark).collect(),
        }
    }
}

//! Convolutional networks trained on images (paper §4.1). Must not know how they are trained.

use super::{
    BestChild, Candidates, LaneResources, Reference, ReferenceModel, Scoring, TestSet, Workload,
    WorkloadError, WorkloadSettings,
};
use crate::child::{
    Classifier, Cost, Evaluator, EvaluatorKind, ImageResult, MetricUnit, RewardScale, TestResult,
    TrainEvaluator, TrainedNetwork, linear_accuracy,
};
use crate::data::{self, DataKind, Dataset, Split};
use crate::kernels::cuda;
use crate::machine::{LaneSpec, Precision, gpu_index, thread_pool};
use crate::space::{ImageShape, Network};
use candle_core::Device;
use rayon::ThreadPool;
use std::sync::Arc;
use std::time::Instant;

/// Classes of the usual sets: what is expected of images that nobody has looked at.
const USUAL_CLASSES: usize = 10;

/// Classes of CIFAR-100.
const FINE_CLASSES: usize = 100;

/// `child.evaluator = "train"` on images.
pub struct Images {
    settings: WorkloadSettings,
    dataset: Arc<Dataset>,
    split: Arc<Split>,
    candidates: Candidates,
}

/// As the kernels name it.
fn precision(settings: &WorkloadSettings) -> cuda::Precision {
    match settings.precision {
        Precision::Bf16 => cuda::Precision::Bf16,
        Precision::F32 => cuda::Precision::F32,
    }
}

impl Workload for Images {
    fn is_meant_by(settings: &WorkloadSettings) -> bool {
        settings.child.evaluator == EvaluatorKind::Train && settings.data.kind != DataKind::Text
    }

    fn scoring(settings: &WorkloadSettings) -> Scoring {
        Scoring {
            metric: MetricUnit::Accuracy,
            epochs: Some(settings.child.epochs),
            reward: RewardScale::Accuracy {
                exponent: settings.child.reward_exponent,
                has_cost: settings.child.cost != Cost::None,
            },
        }
    }

    fn trains_on_gpus() -> bool {
        true
    }

    fn expected_candidates(settings: &WorkloadSettings) -> Candidates {
        let side = settings.data.side();
        let image = ImageShape {
            channels: 3,
            height: side,
            width: side,
        };
        let classes = match settings.data.kind {
            DataKind::Cifar100 => FINE_CLASSES,
            DataKind::Builtin | DataKind::Cifar10 | DataKind::ImageFolder | DataKind::Text => {
                USUAL_CLASSES
            }
        };
        let space = settings.space.build(image, classes);
        if settings.data.kind != DataKind::ImageFolder {
            return Candidates::of(space);
        }
        // How many classes a folder has is not known yet, and no reason to refuse a network.
        Candidates::adopting(space, |space, mut given| {
            if let Network::Conv(network) = &mut given.network {
                network.classes = USUAL_CLASSES;
            }
            Ok(space.adopt(given)?)
        })
    }

    fn load(settings: &WorkloadSettings, pool: &ThreadPool) -> Result<Self, WorkloadError> {
        let dataset = pool.install(|| data::load(&settings.data, settings.seed))?;
        let split = Split::of(&settings.data, &dataset, settings.seed)?;
        let split = if settings.trains_on_all {
            split.joined()
        } else {
            split
        };
        let space = settings
            .space
            .build(dataset.shape, dataset.class_names.len());
        Ok(Self {
            settings: settings.clone(),
            dataset: Arc::new(dataset),
            split: Arc::new(split),
            candidates: Candidates::of(space),
        })
    }

    fn with_settings(&self, settings: &WorkloadSettings) -> Arc<dyn Workload> {
        Arc::new(Self {
            settings: settings.clone(),
            dataset: self.dataset.clone(),
            split: if settings.trains_on_all {
                Arc::new(self.split.joined())
            } else {
                self.split.clone()
            },
            candidates: self.candidates.clone(),
        })
    }

    fn candidates(&self) -> &Candidates {
        &self.candidates
    }

    fn content(&self) -> Option<&str> {
        Some(&self.dataset.content)
    }

    fn description(&self) -> String {
        let kind = if self.dataset.synthetic {
            "synthetic images, drawn by this program"
        } else {
            "images"
        };
        format!(
            "data: {kind}; {} for training, {} for validation, {} classes",
            self.split.train.len(),
            self.split.validation.len(),
            self.dataset.class_names.len()
        )
    }

    fn notes(&self) -> Vec<String> {
        self.dataset.notes.clone()
    }

    fn warnings(&self) -> Vec<String> {
        self.split.warnings(&self.dataset)
    }

    fn evaluator(&self, resources: &LaneResources) -> Result<Box<dyn Evaluator>, WorkloadError> {
        let pool = Arc::new(thread_pool(&resources.lane)?);
        let child = &self.settings.child;
        let evaluator = TrainEvaluator::new(
            child.clone(),
            self.dataset.clone(),
            self.split.clone(),
            &self.settings.data,
            Device::Cpu,
            pool,
            Some(resources.memory_bytes),
        );
        let evaluator = match gpu_index(&resources.lane.device) {
            None => evaluator,
            Some(number) => evaluator
                .on_gpu(number, precision(&self.settings), &self.settings.data)
                .map_err(|error| WorkloadError::Gpu(error.to_string()))?,
        };
        if child.cost != Cost::Milliseconds {
            return Ok(Box::new(evaluator));
        }
        let measured = LaneSpec {
            threads: child.cost_threads,
            ..resources.lane.clone()
        };
        let pool = Arc::new(thread_pool(&measured)?);
        Ok(Box::new(evaluator.measuring_with(pool)))
    }

    fn reference(&self, _: &BestChild, pool: &ThreadPool) -> Reference {
        let started = Instant::now();
        let WorkloadSettings { data, seed, .. } = &self.settings;
        let metric = linear_accuracy(&self.dataset, &self.split, data, *seed, pool);
        let model = ReferenceModel {
            name: "a linear classifier on the same images",
            metric,
            training_seconds: Some(started.elapsed().as_secs_f64()),
        };
        let mut remarks = Vec::new();
        if self.dataset.synthetic {
            remarks.push("(the images are synthetic: a demonstration, not a benchmark)".to_owned());
        }
        Reference {
            model: Some(model),
            remarks,
        }
    }

    fn test_set(&self) -> Result<TestSet, WorkloadError> {
        super::test_set(&self.settings.data)
    }

    fn test(
        &self,
        trained: &TrainedNetwork,
        pool: &Arc<ThreadPool>,
    ) -> Result<TestResult, WorkloadError> {
        let settings = &self.settings;
        let test = super::present_test_set(&settings.data)?;
        let names = &self.dataset.class_names;
        let images = pool.install(|| test.images(&settings.data, settings.seed, names))?;
        let classified = Classifier::new(trained, pool)
            .and_then(|mut classifier| classifier.confusion(&images))
            .map_err(WorkloadError::Test)?;
        Ok(TestResult::Images(ImageResult::of(names, classified)))
    }
}

//! Trains a convolutional child (paper §4.1): epochs of augmented batches, validation accuracy
//! after each, the reward at the end. A function of the task and the settings: must not know other
//! lanes, nor any clock but its caller's.

use super::convnet::{self, EngineError};
use super::device_engine::{DeviceEngine, Gpu, images_on};
use super::engine::{self, Engine};
use super::host_engine::{Host, HostEngine};
use super::training::{EarlyEnd, Training};
use super::weights::{Trained, recipe};
use super::{
    Cause, ChildSettings, Cost, CostFactor, Epoch, Evaluator, MetricUnit, Outcome, Progress, Task,
    latency, reward,
};
use crate::data::{Batches, DataSettings, Dataset, Flip, ImageInput, Input, Split};
use crate::kernels::cuda;
use crate::space::{ConvNetwork, ImageShape, Network};
use candle_core::Device;
use rayon::ThreadPool;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::rc::Rc;
use std::sync::Arc;

/// Keys of `[child]` that a convolutional child is trained by.
const RECIPE: &[&str] = &[
    "epochs",
    "batch_size",
    "learning_rate",
    "momentum",
    "weight_decay",
    "batch_norm_epsilon",
    "schedule",
];

/// Further keys, named where they are not as in the paper's recipe.
const BEYOND_THE_PAPER: &[&str] = &[
    "recipe",
    "label_smoothing",
    "decoupled_weight_decay",
    "weight_averaging",
];

/// A GPU that children are trained on, with the data set there.
struct OnGpu {
    device: Rc<cuda::Device>,
    images: Rc<cuda::DeviceImages>,
    precision: cuda::Precision,
}

/// The evaluator `child.evaluator = "train"` of one lane.
pub struct TrainEvaluator {
    settings: ChildSettings,
    dataset: Arc<Dataset>,
    split: Arc<Split>,
    batches: Batches,
    /// How images are prepared for evaluation.
    input: ImageInput,
    augment: bool,
    /// Other than the paper's.
    flip: Option<Flip>,
    device: Device,
    pool: Arc<ThreadPool>,
    /// What milliseconds are measured with.
    cost_pool: Arc<ThreadPool>,
    memory_limit_bytes: Option<u64>,
    /// Where children are trained, and the data set there; None: on the host's memory.
    gpu: Option<OnGpu>,
    /// What a child's numbers depend on beside task and settings: part of a checkpoint's
    /// fingerprint.
    facts: String,
}

impl TrainEvaluator {
    /// A lane's evaluator: on the CPU the kernels in `pool`, elsewhere candle's tensors. A child
    /// that would need more than `memory_limit_bytes` fails untrained; None: no limit.
    pub fn new(
        settings: ChildSettings,
        dataset: Arc<Dataset>,
        split: Arc<Split>,
        data: &DataSettings,
        device: Device,
        pool: Arc<ThreadPool>,
        memory_limit_bytes: Option<u64>,
    ) -> Self {
        let batches = Batches::new(&dataset, &split, data);
        let facts = facts(&dataset, &split, data, device.is_cpu());
        Self {
            settings,
            input: batches.input(&dataset, data),
            augment: data.augment,
            flip: Some(data.flip).filter(|flip| data.augment && *flip != Flip::Random),
            dataset,
            split,
            batches,
            device,
            cost_pool: pool.clone(),
            pool,
            memory_limit_bytes,
            gpu: None,
            facts,
        }
    }

    /// On the GPU `cuda:N`, with these settings of the data.
    ///
    /// # Errors
    /// The GPU cannot be used, or has no room for the data set.
    pub fn on_gpu(
        mut self,
        number: usize,
        precision: cuda::Precision,
        data: &DataSettings,
    ) -> Result<Self, EngineError> {
        let device = cuda::Device::open(number)?;
        let images = images_on(&device, &self.dataset, &self.batches)?;
        self.facts = facts(&self.dataset, &self.split, data, false);
        self.gpu = Some(OnGpu {
            device,
            images: Rc::new(images),
            precision,
        });
        Ok(self)
    }

    /// With a pool of its own to measure milliseconds with.
    #[must_use]
    pub fn measuring_with(self, cost_pool: Arc<ThreadPool>) -> Self {
        Self { cost_pool, ..self }
    }

    fn train(&self, task: &Task, progress: &mut dyn Progress) -> Result<Outcome, EarlyEnd> {
        let Network::Conv(network) = &task.architecture.network else {
            let error = "only convolutional networks (space.kind = \"conv\") can be trained; child.evaluator = \"table\" looks others up";
            return Err(EarlyEnd::Failed(Cause::Unbuildable, error.into()));
        };
        self.fits_data(network)?;
        let mut child = self.engine(network, task.seed)?;
        let mut training =
            Training::begin(&self.settings, task, &self.facts, child.as_mut(), progress)?;
        engine::train(child.as_mut(), &mut training)?;
        let (metric, reward) = reward(
            training.scores(),
            self.settings.reward_window,
            self.settings.reward_exponent,
        );
        let reward = reward * self.cost_factor(network, child.as_mut(), &mut training)?;
        Ok(training.outcome(metric, reward, |last| {
            self.file(task, child.as_mut(), last, (metric, reward))
        }))
    }

    /// A child before its first step.
    fn engine<'a>(
        &'a self,
        network: &ConvNetwork,
        seed: u64,
    ) -> Result<Box<dyn Engine + 'a>, EngineError> {
        if let Some(OnGpu {
            device,
            images,
            precision,
        }) = &self.gpu
        {
            let gpu = Gpu {
                settings: &self.settings,
                dataset: &self.dataset,
                split: &self.split,
                batches: &self.batches,
                device,
                images,
                precision: *precision,
            };
            return Ok(Box::new(DeviceEngine::new(gpu, network, seed)?));
        }
        let host = Host {
            settings: &self.settings,
            dataset: &self.dataset,
            split: &self.split,
            batches: &self.batches,
            device: &self.device,
            pool: &self.pool,
            memory_limit_bytes: self.memory_limit_bytes,
        };
        Ok(Box::new(HostEngine::new(host, network, seed)?))
    }

    /// What the network's cost makes of its reward.
    fn cost_factor(
        &self,
        network: &ConvNetwork,
        child: &mut dyn Engine,
        training: &mut Training,
    ) -> Result<f64, EarlyEnd> {
        let Some(factor) = CostFactor::new(&self.settings) else {
            return Ok(1.0);
        };
        let cost = match factor.cost {
            Cost::None => return Ok(1.0),
            Cost::Parameters => network.parameters() as f64,
            Cost::Flops => network.flops() as f64,
            Cost::Milliseconds => self.milliseconds(network, child, training)?,
        };
        training.cost(cost);
        Ok(factor.of(cost))
    }

    /// Measured on the first validation images.
    fn milliseconds(
        &self,
        network: &ConvNetwork,
        child: &mut dyn Engine,
        training: &mut Training,
    ) -> Result<f64, EarlyEnd> {
        let size = self.settings.cost_batch;
        let mut passes = convnet::passes(
            network,
            size,
            self.settings.batch_norm_epsilon,
            &self.device,
            &self.cost_pool,
            self.memory_limit_bytes,
        )?;
        let image = network.image;
        let mut images = vec![0.0; size * image.channels * image.height * image.width];
        let mut labels = vec![0; size];
        let mut logits = vec![0.0; size * network.classes];
        let validation = self.split.validation.iter().copied();
        let indices: Vec<u32> = validation.cycle().take(size).collect();
        let (batches, dataset) = (&self.batches, &self.dataset);
        self.pool
            .install(|| batches.evaluation(dataset, &indices, &mut images, &mut labels));
        let mut batch = latency::Batch {
            images: &images,
            logits: &mut logits,
            size,
        };
        let weights = child.weights()?;
        let [(_, parameters), (_, running)] = weights.as_slice() else {
            unreachable!("a convolutional child has parameters and running statistics");
        };
        latency::milliseconds(passes.as_mut(), parameters, running, &mut batch, training)
    }

    /// The trained network as a file.
    fn file(
        &self,
        task: &Task,
        engine: &mut dyn Engine,
        last_epoch: &Epoch,
        (metric, reward): (f64, f64),
    ) -> Result<Vec<u8>, String> {
        let mut recipe = recipe(&self.settings, RECIPE);
        recipe.extend(changed(&self.settings, BEYOND_THE_PAPER));
        if let Some(flip) = self.flip {
            recipe.insert("flip".into(), serde_json::json!(flip));
        }
        // A network may bring its own.
        if let Network::Conv(network) = &task.architecture.network {
            let rate = network.learning_rate.unwrap_or(self.settings.learning_rate);
            recipe.insert("learning_rate".into(), rate.into());
        }
        recipe.insert("augment".into(), self.augment.into());
        let weights = engine.weights().map_err(|end| end.to_string())?;
        let tensors: Vec<_> = weights
            .iter()
            .map(|(slots, numbers)| (*slots, &**numbers))
            .collect();
        let trained = Trained {
            task,
            network: task.architecture.network.clone(),
            input: Input::Images(self.input.clone()),
            batch_norm_epsilon: Some(self.settings.batch_norm_epsilon),
            last_epoch,
            metric,
            reward,
            unit: MetricUnit::Accuracy,
            training_examples: self.split.train.len(),
            validation_examples: self.split.validation.len(),
            content: &self.dataset.content,
            recipe,
            tensors: &tensors,
        };
        trained.file()
    }

    /// A network for other images or classes than the data's cannot be trained on them.
    fn fits_data(&self, network: &ConvNetwork) -> Result<(), EarlyEnd> {
        let shape = self.dataset.shape;
        let classes = self.dataset.class_names.len();
        if network.image == shape && network.classes == classes {
            return Ok(());
        }
        let error = format!(
            "the network is for {} images of {} classes, the data holds {} images of {classes}",
            size(network.image),
            network.classes,
            size(shape)
        );
        Err(EarlyEnd::Failed(Cause::Unbuildable, error))
    }
}

impl Evaluator for TrainEvaluator {
    fn evaluate(&mut self, task: &Task, progress: &mut dyn Progress) -> Outcome {
        self.train(task, progress).unwrap_or_else(Outcome::from)
    }
}

impl From<EngineError> for EarlyEnd {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Unbuildable(text) => Self::Failed(Cause::Unbuildable, text),
            EngineError::Memory(text) => Self::Failed(Cause::OutOfMemory, text),
            EngineError::DeviceFull(text) => Self::Failed(Cause::DeviceFull, text),
            EngineError::Device(text) => Self::Failed(
                if super::device::is_lost(&text) {
                    Cause::Device
                } else {
                    Cause::Error
                },
                text,
            ),
        }
    }
}

/// Those of these settings that are not at their default.
fn changed(settings: &ChildSettings, keys: &[&str]) -> Map<String, Value> {
    let usual = recipe(&ChildSettings::default(), keys);
    let mut own = recipe(settings, keys);
    own.retain(|key, value| keys.contains(&key.as_str()) && usual.get(key) != Some(value));
    own
}

/// The data, its split, how it is prepared, and the engine, in one text.
fn facts(dataset: &Dataset, split: &Split, data: &DataSettings, on_cpu: bool) -> String {
    let mut hash = Sha256::new();
    for part in [&split.train, &split.validation] {
        hash.update((part.len() as u64).to_le_bytes());
        part.iter()
            .for_each(|index| hash.update(index.to_le_bytes()));
    }
    // The folder of the files changes no number.
    let data = DataSettings {
        path: None,
        ..data.clone()
    };
    format!(
        "{} {:?} {data:?} {on_cpu}",
        dataset.content,
        hash.finalize()
    )
}

fn size(shape: ImageShape) -> String {
    format!("{}×{}×{}", shape.channels, shape.height, shape.width)
}

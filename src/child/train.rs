//! Trains a convolutional child (paper §4.1): epochs of augmented batches, validation accuracy
//! after each, the reward at the end. A function of the task and the settings: must not know other
//! lanes, nor any clock but its caller's.

use super::convnet::{self, Engine, EngineError, initial_parameters, initial_running};
use super::schedule::Moment;
use super::training::{EarlyEnd, Training};
use super::weight_average::WeightAverage;
use super::weights::{Trained, recipe};
use super::{
    Cause, ChildSettings, Cost, CostFactor, Epoch, Evaluator, MetricUnit, Outcome, Progress, Sgd,
    Task, latency, reward,
};
use crate::data::{Batches, DataSettings, Dataset, Flip, ImageInput, Input, Split};
use crate::space::{ConvNetwork, ImageShape, Network};
use candle_core::Device;
use rayon::ThreadPool;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
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
    /// What a child's numbers depend on beside task and settings: part of a checkpoint's
    /// fingerprint.
    facts: String,
}

/// A child in training: its parameters and everything that a step needs.
struct Child<'a> {
    evaluator: &'a TrainEvaluator,
    seed: u64,
    /// Of the first epoch.
    learning_rate: f64,
    engine: Box<dyn Engine>,
    sgd: Sgd,
    parameters: Vec<f32>,
    /// Running means and variances of batch normalisation.
    running: Vec<f32>,
    /// What is validated and kept in their place.
    average: Option<WeightAverage>,
    gradient: Vec<f32>,
    /// One batch, `[batch, channels, height, width]`, its labels `[batch]` and logits `[batch,
    /// classes]`.
    images: Vec<f32>,
    labels: Vec<u8>,
    logits: Vec<f32>,
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
        let facts = facts(&dataset, &split, data, &device);
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
            facts,
        }
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
        let mut child = Child::new(self, network, task.seed)?;
        let mut training = Training::begin(
            &self.settings,
            task,
            &self.facts,
            &mut child.tensors(),
            progress,
        );
        while let Some(epoch) = training.next_epoch() {
            let train_loss = child.epoch(epoch, &mut training)?;
            let accuracy = child.validate(epoch, &mut training)?;
            training.epoch_ended(train_loss, accuracy, accuracy, &child.tensors());
        }
        let (metric, reward) = reward(
            training.scores(),
            self.settings.reward_window,
            self.settings.reward_exponent,
        );
        let reward = reward * self.cost_factor(network, &child, &mut training)?;
        Ok(training.outcome(metric, reward, |last| {
            child.file(task, last, metric, reward)
        }))
    }

    /// What the network's cost makes of its reward.
    fn cost_factor(
        &self,
        network: &ConvNetwork,
        child: &Child,
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
        child: &Child,
        training: &mut Training,
    ) -> Result<f64, EarlyEnd> {
        let size = self.settings.cost_batch;
        let mut engine = convnet::engine(
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
        self.pool.install(|| {
            self.batches
                .evaluation(&self.dataset, &indices, &mut images, &mut labels);
        });
        let mut batch = latency::Batch {
            images: &images,
            logits: &mut logits,
            size,
        };
        latency::milliseconds(
            engine.as_mut(),
            &child.parameters,
            &child.running,
            &mut batch,
            training,
        )
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

impl<'a> Child<'a> {
    fn new(
        evaluator: &'a TrainEvaluator,
        network: &ConvNetwork,
        seed: u64,
    ) -> Result<Self, EngineError> {
        let TrainEvaluator {
            settings,
            split,
            device,
            pool,
            memory_limit_bytes,
            ..
        } = evaluator;
        let largest = split.train.len().max(split.validation.len());
        let batch = settings.batch_size.clamp(1, largest.max(1));
        let age = settings.weight_averaging;
        // The average, and its place in a checkpoint.
        let averages = if age > 0.0 {
            2 * size_of::<f32>() as u64 * network.parameters()
        } else {
            0
        };
        let mut engine = convnet::engine(
            network,
            batch,
            settings.batch_norm_epsilon,
            device,
            pool,
            memory_limit_bytes.map(|limit| limit.saturating_sub(averages)),
        )?;
        engine.set_label_smoothing(settings.label_smoothing);
        let parameters = initial_parameters(engine.parameters(), seed);
        let running = initial_running(engine.running());
        let image = network.image;
        Ok(Self {
            evaluator,
            seed,
            learning_rate: network.learning_rate.unwrap_or(settings.learning_rate),
            sgd: Sgd::new(parameters.len(), settings.momentum, settings.weight_decay)
                .with_decoupled_decay(settings.decoupled_weight_decay),
            average: (age > 0.0).then(|| WeightAverage::new(age, &parameters, &running)),
            running,
            gradient: vec![0.0; parameters.len()],
            images: vec![0.0; batch * image.channels * image.height * image.width],
            labels: vec![0; batch],
            logits: vec![0.0; batch * network.classes],
            parameters,
            engine,
        })
    }

    /// Everything that a step changes: what a checkpoint holds.
    fn tensors(&mut self) -> Vec<&mut [f32]> {
        let trained = [&mut self.parameters, self.sgd.velocity(), &mut self.running];
        let average = self.average.iter_mut().flat_map(WeightAverage::tensors);
        trained.into_iter().chain(average).collect()
    }

    /// The trained network as a file.
    fn file(
        &self,
        task: &Task,
        last_epoch: &Epoch,
        metric: f64,
        reward: f64,
    ) -> Result<Vec<u8>, String> {
        let evaluator = self.evaluator;
        let mut recipe = recipe(&evaluator.settings, RECIPE);
        recipe.extend(changed(&evaluator.settings, BEYOND_THE_PAPER));
        if let Some(flip) = evaluator.flip {
            recipe.insert("flip".into(), serde_json::json!(flip));
        }
        // A network may bring its own.
        recipe.insert("learning_rate".into(), self.learning_rate.into());
        recipe.insert("augment".into(), evaluator.augment.into());
        let (parameters, running) =
            evaluated(self.average.as_ref(), &self.parameters, &self.running);
        let trained = Trained {
            task,
            network: task.architecture.network.clone(),
            input: Input::Images(evaluator.input.clone()),
            batch_norm_epsilon: Some(evaluator.settings.batch_norm_epsilon),
            last_epoch,
            metric,
            reward,
            unit: MetricUnit::Accuracy,
            training_examples: evaluator.split.train.len(),
            validation_examples: evaluator.split.validation.len(),
            content: &evaluator.dataset.content,
            recipe,
            tensors: &[
                (self.engine.parameters(), parameters),
                (self.engine.running(), running),
            ],
        };
        trained.file()
    }

    /// Trains the steps of an epoch (counted from 0) that are not done yet. Returns the mean loss
    /// of an image over the whole epoch.
    fn epoch(&mut self, epoch: usize, training: &mut Training) -> Result<f64, EarlyEnd> {
        let evaluator = self.evaluator;
        let order = evaluator.batches.shuffled(self.seed, epoch + 1);
        let steps = order.len().div_ceil(self.labels.len());
        for (step, indices) in order
            .chunks(self.labels.len())
            .enumerate()
            .skip(training.steps_done())
        {
            training.between_steps(&self.tensors())?;
            let moment = Moment {
                step,
                steps,
                epoch,
                epochs: evaluator.settings.epochs,
            };
            let loss = self.step(indices, moment)?;
            let Some(loss) = loss else {
                let error = format!(
                    "training diverged in epoch {} of {}, step {}: the loss or a weight is no longer finite",
                    epoch + 1,
                    evaluator.settings.epochs,
                    step + 1
                );
                return Err(EarlyEnd::Failed(Cause::Diverged, error));
            };
            training.step_done(loss * indices.len() as f64, indices.len());
        }
        Ok(training.summed_loss() / order.len().max(1) as f64)
    }

    /// One step on a batch. Returns its mean loss; None: that or a parameter is not finite.
    fn step(&mut self, indices: &[u32], moment: Moment) -> Result<Option<f64>, EngineError> {
        let pixels = self.images.len() / self.labels.len();
        let images = &mut self.images[..indices.len() * pixels];
        let labels = &mut self.labels[..indices.len()];
        let TrainEvaluator {
            settings,
            batches,
            dataset,
            pool,
            ..
        } = self.evaluator;
        let epoch = moment.epoch + 1;
        pool.install(|| batches.training(dataset, indices, self.seed, epoch, images, labels));
        let loss = self.engine.train_step(
            &self.parameters,
            &mut self.running,
            images,
            labels,
            &mut self.gradient,
        )?;
        let rate = settings.learning_rate_at(self.learning_rate, moment);
        let finite = self.sgd.step(&mut self.parameters, &self.gradient, rate);
        if let Some(average) = &mut self.average {
            let done = moment.epoch * moment.steps + moment.step + 1;
            average.add(done, &self.parameters, &self.running);
        }
        Ok((finite && loss.is_finite()).then_some(f64::from(loss)))
    }

    /// Accuracy on the validation images; NaN where there are none.
    fn validate(&mut self, epoch: usize, training: &mut Training) -> Result<f64, EarlyEnd> {
        let evaluator = self.evaluator;
        let validation = &evaluator.split.validation;
        if validation.is_empty() {
            return Ok(f64::NAN);
        }
        let batch = self.labels.len();
        let pixels = self.images.len() / batch;
        let classes = self.logits.len() / batch;
        let mut correct = 0;
        for indices in validation.chunks(batch) {
            training.between_steps(&self.tensors())?;
            let images = &mut self.images[..indices.len() * pixels];
            let labels = &mut self.labels[..indices.len()];
            let logits = &mut self.logits[..indices.len() * classes];
            evaluator.pool.install(|| {
                evaluator
                    .batches
                    .evaluation(&evaluator.dataset, indices, images, labels);
            });
            let (parameters, running) =
                evaluated(self.average.as_ref(), &self.parameters, &self.running);
            self.engine.logits(parameters, running, images, logits)?;
            if logits.iter().any(|logit| !logit.is_finite()) {
                let error = format!(
                    "training diverged in epoch {} of {}: the predictions on the validation images are not finite",
                    epoch + 1,
                    evaluator.settings.epochs
                );
                return Err(EarlyEnd::Failed(Cause::Diverged, error));
            }
            correct += logits
                .chunks_exact(classes)
                .zip(&*labels)
                .filter(|(logits, label)| argmax(logits) == usize::from(**label))
                .count();
            training.heartbeat();
        }
        Ok(correct as f64 / validation.len().max(1) as f64)
    }
}

/// The weights that a child is judged by: the average of its weights if there is one.
fn evaluated<'a>(
    average: Option<&'a WeightAverage>,
    parameters: &'a [f32],
    running: &'a [f32],
) -> (&'a [f32], &'a [f32]) {
    match average {
        Some(average) => (average.parameters(), average.running()),
        None => (parameters, running),
    }
}

/// Those of these settings that are not at their default.
fn changed(settings: &ChildSettings, keys: &[&str]) -> Map<String, Value> {
    let usual = recipe(&ChildSettings::default(), keys);
    let mut own = recipe(settings, keys);
    own.retain(|key, value| keys.contains(&key.as_str()) && usual.get(key) != Some(value));
    own
}

/// Index of the largest number, the first of equals.
pub(super) fn argmax(numbers: &[f32]) -> usize {
    (1..numbers.len()).fold(0, |best, index| {
        if numbers[index] > numbers[best] {
            index
        } else {
            best
        }
    })
}

/// The data, its split, how it is prepared, and the engine, in one text.
fn facts(dataset: &Dataset, split: &Split, data: &DataSettings, device: &Device) -> String {
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
        "{} {:?} {data:?} {}",
        dataset.content,
        hash.finalize(),
        device.is_cpu()
    )
}

fn size(shape: ImageShape) -> String {
    format!("{}×{}×{}", shape.channels, shape.height, shape.width)
}

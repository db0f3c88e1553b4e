//! A convolutional child whose parameters, optimiser and images are in the host's memory, batch by
//! batch: on the CPU, or through candle on a GPU. Must not know rewards, checkpoints' bytes, nor
//! how a pass is computed.

use super::convnet::{self, EngineError, Passes, initial_parameters, initial_running};
use super::engine::{Engine, Evaluation, Numerics, Place, Steps, Weights, trained_lengths};
use super::schedule::Moment;
use super::training::EarlyEnd;
use super::weight_average::WeightAverage;
use super::{Cause, ChildSettings, Sgd};
use crate::data::{Batches, Dataset, Split};
use crate::space::ConvNetwork;
use candle_core::Device;
use rayon::ThreadPool;
use std::borrow::Cow;
use std::sync::Arc;

/// What children are trained on, and with.
pub struct Host<'a> {
    pub settings: &'a ChildSettings,
    pub dataset: &'a Dataset,
    pub split: &'a Split,
    pub batches: &'a Batches,
    pub device: &'a Device,
    pub pool: &'a Arc<ThreadPool>,
    pub memory_limit_bytes: Option<u64>,
}

/// A child in training: its parameters and everything that a step needs.
pub struct HostEngine<'a> {
    host: Host<'a>,
    seed: u64,
    /// Of the first epoch.
    learning_rate: f64,
    passes: Box<dyn Passes>,
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
    place: Place,
    /// The epoch's images, in the order of its steps.
    order: Vec<u32>,
    /// Validation images that are evaluated, and how many of them are right.
    validated: usize,
    correct: usize,
}

impl<'a> HostEngine<'a> {
    /// A child before its first step.
    ///
    /// # Errors
    /// No network can be built from the architecture, or it would need too much memory.
    pub fn new(host: Host<'a>, network: &ConvNetwork, seed: u64) -> Result<Self, EngineError> {
        let settings = host.settings;
        let largest = host.split.train.len().max(host.split.validation.len());
        let batch = settings.batch_size.clamp(1, largest.max(1));
        let age = settings.weight_averaging;
        // The average, and its place in a checkpoint.
        let averages = if age > 0.0 {
            2 * size_of::<f32>() as u64 * network.parameters()
        } else {
            0
        };
        let mut passes = convnet::passes(
            network,
            batch,
            settings.batch_norm_epsilon,
            host.device,
            host.pool,
            host.memory_limit_bytes
                .map(|limit| limit.saturating_sub(averages)),
        )?;
        passes.set_label_smoothing(settings.label_smoothing);
        let parameters = initial_parameters(passes.parameters(), seed);
        let running = initial_running(passes.running());
        let image = network.image;
        Ok(Self {
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
            passes,
            place: Place::default(),
            order: host.batches.shuffled(seed, 1),
            validated: 0,
            correct: 0,
            host,
        })
    }

    /// The beginning of an epoch, or a place in it.
    fn go_to(&mut self, place: Place) {
        self.place = place;
        self.order = self.host.batches.shuffled(self.seed, place.epoch + 1);
        self.validated = 0;
        self.correct = 0;
    }

    /// One step on a batch. Returns its mean loss; None: that or a parameter is not finite.
    fn step(&mut self, indices: &[u32]) -> Result<Option<f64>, EngineError> {
        let steps = self.epoch_steps();
        let pixels = self.images.len() / self.labels.len();
        let images = &mut self.images[..indices.len() * pixels];
        let labels = &mut self.labels[..indices.len()];
        let Host {
            settings,
            batches,
            dataset,
            pool,
            ..
        } = self.host;
        let moment = Moment {
            step: self.place.step,
            steps,
            epoch: self.place.epoch,
            epochs: settings.epochs,
        };
        let epoch = moment.epoch + 1;
        pool.install(|| batches.training(dataset, indices, self.seed, epoch, images, labels));
        let loss = self.passes.train_step(
            &self.parameters,
            &mut self.running,
            images,
            &self.labels[..indices.len()],
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

    /// Counts what the network says rightly of the next batch of validation images.
    fn validate(&mut self, indices: &[u32]) -> Result<(), EarlyEnd> {
        let batch = self.labels.len();
        let pixels = self.images.len() / batch;
        let classes = self.logits.len() / batch;
        let images = &mut self.images[..indices.len() * pixels];
        let labels = &mut self.labels[..indices.len()];
        let logits = &mut self.logits[..indices.len() * classes];
        let host = &self.host;
        host.pool.install(|| {
            host.batches
                .evaluation(host.dataset, indices, images, labels);
        });
        let (parameters, running) =
            evaluated(self.average.as_ref(), &self.parameters, &self.running);
        self.passes.logits(parameters, running, images, logits)?;
        if logits.iter().any(|logit| !logit.is_finite()) {
            return Err(diverged_in_validation(host.settings, self.place));
        }
        self.correct += logits
            .chunks_exact(classes)
            .zip(&*labels)
            .filter(|(logits, label)| argmax(logits) == usize::from(**label))
            .count();
        Ok(())
    }
}

impl Engine for HostEngine<'_> {
    fn numerics(&self) -> Numerics {
        if self.host.device.is_cpu() {
            Numerics::cpu(self.host.pool.current_num_threads())
        } else {
            Numerics::candle()
        }
    }

    fn place(&self) -> Place {
        self.place
    }

    fn epoch_steps(&self) -> usize {
        self.order.len().div_ceil(self.labels.len())
    }

    fn epoch_losses(&self) -> usize {
        self.order.len()
    }

    fn train(&mut self) -> Result<Steps, EarlyEnd> {
        let batch = self.labels.len();
        let mut rest = self.order.chunks(batch).skip(self.place.step);
        let indices = rest.next().unwrap_or_default().to_vec();
        let loss = self
            .step(&indices)?
            .ok_or_else(|| diverged(self.host.settings, self.place))?;
        self.place.step += 1;
        Ok(Steps {
            count: 1,
            loss: loss * indices.len() as f64,
            examples: indices.len(),
        })
    }

    fn evaluate(&mut self) -> Result<Option<Evaluation>, EarlyEnd> {
        let validation = &self.host.split.validation;
        let count = validation.len();
        let next = (self.validated + self.labels.len()).min(count);
        if next > self.validated {
            self.validate(&validation[self.validated..next])?;
            self.validated = next;
        }
        if next < count {
            return Ok(None);
        }
        let evaluation = Evaluation::of_predictions(self.correct, count);
        self.go_to(self.place.next_epoch());
        Ok(Some(evaluation))
    }

    fn tensor_lengths(&self) -> Vec<usize> {
        let averages = self.average.is_some();
        trained_lengths(self.parameters.len(), self.running.len(), averages)
    }

    fn tensors(&mut self) -> Result<Vec<Cow<'_, [f32]>>, EarlyEnd> {
        let trained = [&self.parameters, &*self.sgd.velocity(), &self.running];
        let average = self
            .average
            .iter()
            .flat_map(|average| [average.parameters(), average.running()]);
        Ok(trained
            .into_iter()
            .chain(average)
            .map(Cow::Borrowed)
            .collect())
    }

    fn resume(&mut self, place: Place, tensors: &[Vec<f32>]) -> Result<(), EarlyEnd> {
        self.go_to(place);
        let trained = [&mut self.parameters, self.sgd.velocity(), &mut self.running];
        let average = self.average.iter_mut().flat_map(WeightAverage::tensors);
        for (own, taken) in trained.into_iter().chain(average).zip(tensors) {
            own.copy_from_slice(taken);
        }
        Ok(())
    }

    fn weights(&mut self) -> Result<Vec<Weights<'_>>, EarlyEnd> {
        let (parameters, running) =
            evaluated(self.average.as_ref(), &self.parameters, &self.running);
        Ok(vec![
            (self.passes.parameters(), Cow::Borrowed(parameters)),
            (self.passes.running(), Cow::Borrowed(running)),
        ])
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

/// The step at this place is not finite.
pub(super) fn diverged(settings: &ChildSettings, place: Place) -> EarlyEnd {
    let error = format!(
        "training diverged in epoch {} of {}, step {}: the loss or a weight is no longer finite",
        place.epoch + 1,
        settings.epochs,
        place.step + 1
    );
    EarlyEnd::Failed(Cause::Diverged, error)
}

/// The logits of validation images are not finite.
pub(super) fn diverged_in_validation(settings: &ChildSettings, place: Place) -> EarlyEnd {
    let error = format!(
        "training diverged in epoch {} of {}: the predictions on the validation images are not finite",
        place.epoch + 1,
        settings.epochs
    );
    EarlyEnd::Failed(Cause::Diverged, error)
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

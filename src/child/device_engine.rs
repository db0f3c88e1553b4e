//! A convolutional child that lives on a GPU: parameters, optimiser, data set and augmentation are
//! there, and the host says which steps to take. Must not know rewards, checkpoints' bytes, nor the
//! kernels.

use super::ChildSettings;
use super::convnet::{EngineError, initial_parameters, initial_running, spec_with};
use super::engine::{Engine, Evaluation, Numerics, Place, Steps, Weights, trained_lengths};
use super::host_engine::{diverged, diverged_in_validation};
use super::schedule::Moment;
use super::training::EarlyEnd;
use super::weight_average;
use crate::data::{Batches, Dataset, Split, WhiteningTable};
use crate::kernels::cuda::{
    Crop, CudaError, Device, DeviceImages, DeviceNetwork, ImageTables, Job, Position, Precision,
    State, WhitenedBy,
};
use crate::space::ConvNetwork;
use std::borrow::Cow;
use std::rc::Rc;

/// Steps that are queued before the host looks again whether to stop.
const QUEUED: usize = 32;

/// What children are trained on, and with.
pub struct Gpu<'a> {
    pub settings: &'a ChildSettings,
    pub dataset: &'a Dataset,
    pub split: &'a Split,
    pub batches: &'a Batches,
    pub device: &'a Rc<Device>,
    /// The data set, there.
    pub images: &'a Rc<DeviceImages>,
    pub precision: Precision,
}

/// A child in training on a GPU.
pub struct DeviceEngine<'a> {
    gpu: Gpu<'a>,
    seed: u64,
    /// Of the first epoch.
    learning_rate: f64,
    job: Job,
    network: DeviceNetwork,
    place: Place,
    /// The epoch whose images and rates are on the device.
    prepared: Option<usize>,
    /// Batches that are evaluated, and the images among them that are right.
    validated: usize,
    correct: usize,
}

/// Copies a data set to a device as its images are prepared for training.
///
/// # Errors
/// The device has no room for it.
pub fn images_on(
    device: &Rc<Device>,
    dataset: &Dataset,
    batches: &Batches,
) -> Result<DeviceImages, EngineError> {
    let shape = dataset.shape;
    let positions = |own: &[(usize, f32)]| -> Vec<Position> {
        let position = |&(left, share): &(usize, f32)| Position {
            left: left as i32,
            share,
        };
        own.iter().map(position).collect()
    };
    let whole = |size: usize| -> Vec<(usize, f32)> { (0..size).map(|left| (left, 0.0)).collect() };
    let [rows, columns] = batches.upsampling().map_or_else(
        || {
            [
                positions(&whole(shape.height)),
                positions(&whole(shape.width)),
            ]
        },
        |axes| axes.map(positions),
    );
    let pairs =
        |of: Vec<(f32, f32)>| -> Vec<[f32; 2]> { of.into_iter().map(<[f32; 2]>::from).collect() };
    let tables = ImageTables {
        images: &dataset.images,
        labels: &dataset.labels,
        rows,
        columns,
        height: shape.height,
        width: shape.width,
        whitening: match batches.whitening(dataset) {
            WhiteningTable::Channels(channels) => WhitenedBy::Channels(pairs(channels)),
            WhiteningTable::Images(images) => WhitenedBy::Images(pairs(images)),
            WhiteningTable::Cropped => WhitenedBy::Itself,
        },
    };
    Ok(DeviceImages::new(device, &tables)?)
}

impl<'a> DeviceEngine<'a> {
    /// A child before its first step.
    ///
    /// # Errors
    /// No network can be built from the architecture, or the device has no room for it.
    pub fn new(gpu: Gpu<'a>, network: &ConvNetwork, seed: u64) -> Result<Self, EngineError> {
        let settings = gpu.settings;
        let spec = spec_with(network, settings.batch_norm_epsilon)?;
        let largest = gpu.split.train.len().max(gpu.split.validation.len());
        let job = Job {
            precision: gpu.precision,
            batch: settings.batch_size.clamp(1, largest.max(1)),
            train: gpu.split.train.len(),
            validation: gpu.split.validation.len(),
            momentum: settings.momentum,
            weight_decay: settings.weight_decay,
            decoupled_weight_decay: settings.decoupled_weight_decay,
            label_smoothing: settings.label_smoothing,
            averages: settings.weight_averaging > 0.0,
        };
        let trained = DeviceNetwork::new(gpu.device, Some(gpu.images), &spec, job)?;
        let parameters = initial_parameters(trained.parameters(), seed);
        let running = initial_running(trained.running());
        trained.set_state(&State {
            velocity: vec![0.0; parameters.len()],
            average: job.averages.then(|| [parameters.clone(), running.clone()]),
            parameters,
            running,
        })?;
        let validation: Vec<Crop> = gpu.split.validation.iter().map(whole).collect();
        trained.set_validation(&validation)?;
        Ok(Self {
            seed,
            learning_rate: network.learning_rate.unwrap_or(settings.learning_rate),
            job,
            network: trained,
            place: Place::default(),
            prepared: None,
            validated: 0,
            correct: 0,
            gpu,
        })
    }

    fn go_to(&mut self, place: Place) {
        self.place = place;
        self.validated = 0;
        self.correct = 0;
    }

    /// Uploads what the epoch's steps read.
    fn prepare(&mut self) -> Result<(), CudaError> {
        let epoch = self.place.epoch;
        if self.prepared == Some(epoch) {
            return Ok(());
        }
        let Gpu {
            settings,
            dataset,
            batches,
            ..
        } = self.gpu;
        let order = batches.shuffled(self.seed, epoch + 1);
        let crops: Vec<Crop> = order
            .iter()
            .map(|&index| {
                let cut = batches.cut(dataset.shape, index, self.seed, epoch + 1);
                Crop {
                    image: index,
                    top: cut.top as u16,
                    left: cut.left as u16,
                    flip: u16::from(cut.flipped),
                    unused: 0,
                }
            })
            .collect();
        let steps = self.job.steps();
        let moments = (0..steps).map(|step| Moment {
            step,
            steps,
            epoch,
            epochs: settings.epochs,
        });
        let rates: Vec<f32> = moments
            .clone()
            .map(|moment| settings.learning_rate_at(self.learning_rate, moment) as f32)
            .collect();
        let age = settings.weight_averaging;
        let shares: Vec<f32> = moments
            .filter(|_| self.job.averages)
            .map(|moment| weight_average::share(age, moment.epoch * steps + moment.step + 1))
            .collect();
        self.network.set_epoch(&crops, &rates, &shares)?;
        self.prepared = Some(epoch);
        Ok(())
    }
}

/// An image as it is.
fn whole(index: &u32) -> Crop {
    Crop {
        image: *index,
        ..Crop::default()
    }
}

/// How many of `count` come next, up to the next multiple of what is queued: so that a child that
/// goes on from a checkpoint adds up the same losses in the same groups.
fn next_piece(done: usize, count: usize) -> usize {
    let end = (done + 1).next_multiple_of(QUEUED);
    end.min(count) - done
}

impl Engine for DeviceEngine<'_> {
    fn numerics(&self) -> Numerics {
        Numerics {
            engine: "cuda".into(),
            precision: self.gpu.precision.name().into(),
            instructions: self.gpu.device.capability(),
            threads: 1,
        }
    }

    fn place(&self) -> Place {
        self.place
    }

    fn epoch_steps(&self) -> usize {
        self.job.steps()
    }

    fn epoch_losses(&self) -> usize {
        self.job.train
    }

    fn train(&mut self) -> Result<Steps, EarlyEnd> {
        self.prepare()?;
        let first = self.place.step;
        let count = next_piece(first, self.job.steps());
        let progress = self.network.train(first, count)?;
        if progress.first_bad_step != u32::MAX {
            // Counted from 1 in the epoch.
            let step = (progress.first_bad_step as usize).saturating_sub(1);
            let place = Place { step, ..self.place };
            return Err(diverged(self.gpu.settings, place));
        }
        self.place.step += count;
        let images = |steps: usize| (steps * self.job.batch).min(self.job.train);
        Ok(Steps {
            count,
            loss: progress.loss,
            examples: images(first + count) - images(first),
        })
    }

    fn evaluate(&mut self) -> Result<Option<Evaluation>, EarlyEnd> {
        let count = self.job.validation;
        let batches = count.div_ceil(self.job.batch);
        if self.validated < batches {
            let piece = next_piece(self.validated, batches);
            let progress = self.network.evaluate(self.validated, piece)?;
            if progress.not_finite > 0 {
                return Err(diverged_in_validation(self.gpu.settings, self.place));
            }
            self.correct += progress.correct as usize;
            self.validated += piece;
        }
        if self.validated < batches {
            return Ok(None);
        }
        let evaluation = Evaluation::of_predictions(self.correct, count);
        self.go_to(self.place.next_epoch());
        Ok(Some(evaluation))
    }

    fn tensor_lengths(&self) -> Vec<usize> {
        let sizes = self.network.sizes();
        trained_lengths(sizes.parameters, sizes.running, sizes.averages)
    }

    fn tensors(&mut self) -> Result<Vec<Cow<'_, [f32]>>, EarlyEnd> {
        let state = self.network.state()?;
        let trained = [state.parameters, state.velocity, state.running];
        let average = state.average.into_iter().flatten();
        Ok(trained.into_iter().chain(average).map(Cow::Owned).collect())
    }

    fn resume(&mut self, place: Place, tensors: &[Vec<f32>]) -> Result<(), EarlyEnd> {
        self.go_to(place);
        let mut tensors = tensors.iter().cloned();
        let mut next = || tensors.next().unwrap_or_default();
        let state = State {
            parameters: next(),
            velocity: next(),
            running: next(),
            average: self.job.averages.then(|| [next(), next()]),
        };
        Ok(self.network.set_state(&state)?)
    }

    fn weights(&mut self) -> Result<Vec<Weights<'_>>, EarlyEnd> {
        let state = self.network.state()?;
        let [parameters, running] = state.average.unwrap_or([state.parameters, state.running]);
        Ok(vec![
            (self.network.parameters(), Cow::Owned(parameters)),
            (self.network.running(), Cow::Owned(running)),
        ])
    }
}

impl From<CudaError> for EarlyEnd {
    fn from(error: CudaError) -> Self {
        EngineError::from(error).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_end_at_the_same_steps_wherever_a_child_goes_on() {
        assert_eq!(next_piece(0, 100), 32);
        assert_eq!(next_piece(5, 100), 27);
        assert_eq!(next_piece(32, 100), 32);
        assert_eq!(next_piece(96, 100), 4);
        assert_eq!(next_piece(0, 7), 7);
    }
}

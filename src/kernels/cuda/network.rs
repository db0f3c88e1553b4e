//! A convolutional network in training on a device: it takes steps and evaluates, and gives its
//! numbers when asked. Must not know epochs' order, schedules or rewards.

use super::device::{CudaError, Device, Launch, Memory};
use super::images::DeviceImages;
use super::launches;
use super::layout::{Address, Crop, Precision, Progress};
use super::plan::{Job, Plan};
use crate::kernels::{KernelError, NetworkSpec, ParameterSlot};
use std::rc::Rc;

/// Why a network cannot be trained on a device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    #[error(transparent)]
    Network(#[from] KernelError),
    #[error(transparent)]
    Device(#[from] CudaError),
}

/// All numbers that steps change.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    pub parameters: Vec<f32>,
    pub velocity: Vec<f32>,
    pub running: Vec<f32>,
    /// Averages of parameters and running statistics.
    pub average: Option<[Vec<f32>; 2]>,
}

/// How many numbers those are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateSizes {
    pub parameters: usize,
    pub running: usize,
    pub averages: bool,
}

/// A network in training.
pub struct DeviceNetwork {
    device: Rc<Device>,
    /// Its launches read it.
    _data: Option<Rc<DeviceImages>>,
    plan: Plan,
    memory: Memory,
    /// Of whole batches, and of the last one of an epoch if that is smaller.
    training: Batches,
    evaluation: Batches,
    packing: Vec<Launch>,
}

/// The launches of batches.
struct Batches {
    size: usize,
    images: usize,
    whole: Vec<Launch>,
    last: Vec<Launch>,
}

impl Batches {
    fn new(size: usize, images: usize, launches: impl Fn(usize) -> Vec<Launch>) -> Self {
        let rest = images % size;
        Self {
            size,
            images,
            whole: launches(size),
            last: if rest == 0 {
                Vec::new()
            } else {
                launches(rest)
            },
        }
    }

    /// The launches on a batch, by its number from 0.
    fn of(&self, batch: usize) -> &[Launch] {
        if (batch + 1) * self.size <= self.images {
            &self.whole
        } else {
            &self.last
        }
    }
}

impl DeviceNetwork {
    /// Bytes of the device's memory that the network takes beside the data set.
    ///
    /// # Errors
    /// The description contradicts itself, or its sizes cannot be counted.
    pub fn bytes(spec: &NetworkSpec, job: Job) -> Result<u64, KernelError> {
        Ok(Plan::new(spec, job, 0)?.bytes())
    }

    /// A network at rest, all of whose numbers are 0, to be trained on a data set.
    ///
    /// # Errors
    /// It has no room, or what the driver says.
    pub fn new(
        device: &Rc<Device>,
        data: Option<&Rc<DeviceImages>>,
        spec: &NetworkSpec,
        job: Job,
    ) -> Result<Self, NetworkError> {
        let bytes = usize::try_from(Self::bytes(spec, job)?).unwrap_or(usize::MAX);
        let memory = device.allocate(bytes)?;
        let mut plan = Plan::new(spec, job, memory.address())?;
        for (address, bytes) in plan.take_constants() {
            memory.upload(address, &bytes)?;
        }
        device.synchronise()?;
        let none = |_| Vec::new();
        let (training, evaluation) = match data {
            None => (
                Batches::new(job.batch, job.train, none),
                Batches::new(job.batch, job.validation, none),
            ),
            Some(data) => (
                Batches::new(job.batch, job.train, |images| {
                    launches::training(&plan, data, images)
                }),
                Batches::new(job.batch, job.validation, |images| {
                    launches::evaluation(&plan, data, images)
                }),
            ),
        };
        Ok(Self {
            device: device.clone(),
            _data: data.cloned(),
            packing: launches::packing(&plan),
            plan,
            memory,
            training,
            evaluation,
        })
    }

    pub fn device(&self) -> &Rc<Device> {
        &self.device
    }

    /// The trained tensors, in order of their offsets and without gaps.
    pub fn parameters(&self) -> &[ParameterSlot] {
        &self.plan.sizes.parameters
    }

    /// Means and variances for evaluation, likewise.
    pub fn running(&self) -> &[ParameterSlot] {
        &self.plan.sizes.running
    }

    pub fn sizes(&self) -> StateSizes {
        StateSizes {
            parameters: self.plan.sizes.parameter_count,
            running: self.plan.sizes.running_count,
            averages: self.plan.job.averages,
        }
    }

    /// # Errors
    /// What the driver says.
    pub fn state(&self) -> Result<State, CudaError> {
        let StateSizes {
            parameters,
            running,
            averages,
        } = self.sizes();
        let read = |address, count| self.memory.download::<f32>(address, count);
        Ok(State {
            parameters: read(self.plan.parameters, parameters)?,
            velocity: read(self.plan.velocity, parameters)?,
            running: read(self.plan.running, running)?,
            average: if averages {
                Some([
                    read(self.plan.average, parameters)?,
                    read(self.plan.average_running, running)?,
                ])
            } else {
                None
            },
        })
    }

    /// # Errors
    /// What the driver says.
    pub fn set_state(&self, state: &State) -> Result<(), CudaError> {
        let plan = &self.plan;
        let write = |address, numbers: &[f32]| self.memory.upload(address, numbers);
        write(plan.parameters, &state.parameters)?;
        write(plan.velocity, &state.velocity)?;
        write(plan.running, &state.running)?;
        if let (Some([parameters, running]), true) = (&state.average, plan.job.averages) {
            write(plan.average, parameters)?;
            write(plan.average_running, running)?;
        }
        self.pack()
    }

    /// Puts the parameters where tensor cores read them.
    fn pack(&self) -> Result<(), CudaError> {
        self.launch(&self.packing)?;
        self.device.synchronise()
    }

    /// What an epoch is made of: the images in their order, and for each step the learning rate and
    /// how far the average moves.
    ///
    /// # Errors
    /// What the driver says.
    pub fn set_epoch(
        &self,
        crops: &[Crop],
        rates: &[f32],
        shares: &[f32],
    ) -> Result<(), CudaError> {
        self.memory.upload(self.plan.crops, crops)?;
        self.memory.upload(self.plan.rates, rates)?;
        if self.plan.job.averages {
            self.memory.upload(self.plan.shares, shares)?;
        }
        self.device.synchronise()
    }

    /// The images that are evaluated.
    ///
    /// # Errors
    /// What the driver says.
    pub fn set_validation(&self, crops: &[Crop]) -> Result<(), CudaError> {
        self.memory.upload(self.plan.validation_crops, crops)?;
        self.device.synchronise()
    }

    /// Takes so many steps of the epoch, from this one on.
    ///
    /// # Errors
    /// What the driver says.
    pub fn train(&self, first: usize, count: usize) -> Result<Progress, CudaError> {
        self.run(&self.training, first, count)
    }

    /// Evaluates so many batches, from this one on: with the averages, if there are some.
    ///
    /// # Errors
    /// What the driver says.
    pub fn evaluate(&self, first: usize, count: usize) -> Result<Progress, CudaError> {
        if !self.plan.job.averages {
            return self.run(&self.evaluation, first, count);
        }
        let Plan {
            parameters,
            running,
            average,
            average_running,
            aside,
            aside_running,
            ref sizes,
            ..
        } = self.plan;
        let move_all = |moves: [(Address, Address, usize); 2]| -> Result<(), CudaError> {
            for (to, from, count) in moves {
                self.memory.copy(to, from, count * size_of::<f32>())?;
            }
            Ok(())
        };
        let [count_parameters, count_running] = [sizes.parameter_count, sizes.running_count];
        move_all([
            (aside, parameters, count_parameters),
            (aside_running, running, count_running),
        ])?;
        move_all([
            (parameters, average, count_parameters),
            (running, average_running, count_running),
        ])?;
        self.launch(&self.packing)?;
        let progress = self.run(&self.evaluation, first, count)?;
        move_all([
            (parameters, aside, count_parameters),
            (running, aside_running, count_running),
        ])?;
        self.launch(&self.packing)?;
        Ok(progress)
    }

    fn run(&self, batches: &Batches, first: usize, count: usize) -> Result<Progress, CudaError> {
        self.begin(first)?;
        for batch in first..first + count {
            self.launch(batches.of(batch))?;
        }
        Ok(self.memory.download(self.plan.progress, 1)?[0])
    }

    fn begin(&self, step: usize) -> Result<(), CudaError> {
        let start = Progress {
            step: step as u32,
            first_bad_step: u32::MAX,
            ..Progress::default()
        };
        self.memory.upload(self.plan.progress, &[start])
    }

    fn launch(&self, launches: &[Launch]) -> Result<(), CudaError> {
        for launch in launches {
            // SAFETY: the launches' arguments are addresses of the plan, within the network's memory,
            // and of the data set; both are held by this network, and the kernels know their sizes.
            unsafe { self.device.launch(launch) }?;
        }
        Ok(())
    }

    /// The mean loss of a batch and its gradient; the running statistics are moved. `images` are
    /// `[n, channels, height, width]`.
    ///
    /// # Errors
    /// What the driver says.
    pub fn gradient(&self, images: &[f32], labels: &[u8]) -> Result<(f32, Vec<f32>), CudaError> {
        self.put(images, labels)?;
        self.begin(0)?;
        self.launch(&launches::gradient(&self.plan, labels.len()))?;
        let progress: Progress = self.memory.download(self.plan.progress, 1)?[0];
        let loss = progress.loss / labels.len() as f64;
        let count = self.plan.sizes.parameter_count;
        Ok((
            loss as f32,
            self.memory.download(self.plan.gradient, count)?,
        ))
    }

    /// Logits `[n, classes]` of images as above.
    ///
    /// # Errors
    /// What the driver says.
    pub fn logits(&self, images: &[f32]) -> Result<Vec<f32>, CudaError> {
        let sizes = &self.plan.sizes;
        let count = images.len() / (sizes.channels * sizes.height * sizes.width);
        self.put(images, &vec![0; count])?;
        self.launch(&launches::logits(&self.plan, count))?;
        self.memory
            .download(self.plan.logits, count * sizes.classes)
    }

    /// Puts whitened images where the first layer reads them.
    fn put(&self, images: &[f32], labels: &[u8]) -> Result<(), CudaError> {
        let state = &self.plan.states[0];
        let area = state.height * state.width;
        let mut columns = vec![0.0_f32; labels.len() * area * state.padded];
        for (image, out) in images
            .chunks_exact(state.channels * area)
            .zip(columns.chunks_exact_mut(area * state.padded))
        {
            for (channel, plane) in image.chunks_exact(area).enumerate() {
                for (value, pixel) in plane.iter().zip(out.chunks_exact_mut(state.padded)) {
                    pixel[channel] = *value;
                }
            }
        }
        match self.plan.job.precision {
            Precision::F32 => self.memory.upload(state.y, &columns)?,
            Precision::Bf16 => {
                let rounded: Vec<u16> = columns.into_iter().map(bf16).collect();
                self.memory.upload(state.y, &rounded)?;
            }
        }
        self.memory.upload(self.plan.labels, labels)?;
        self.device.synchronise()
    }
}

/// The bits of the nearest bf16, of two the even one.
fn bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

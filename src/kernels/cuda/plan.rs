//! Plans a convolutional network on a device: sizes, buffers, and where each parameter lies. Must
//! not know the order of launches.

use super::arena::Arena;
use super::layout::{
    Address, CONTRAST_PLANES, Crop, Head, Norm, POOL_PIECES, Part, Precision, Progress,
};
use super::packing::{Fast, FastWeights, Places};
use super::tiles::Packing;
use crate::kernels::convnet::{LayerPlan, Plan as Sizes, local_contrast_weights};
use crate::kernels::{KernelError, NetworkSpec, OperationSpec};

/// Channels of a column.
const COLUMN: usize = 8;
/// Columns of a tile of filters at most.
const TILE_COLUMNS: usize = 8;
/// Blocks count themselves, one counter a tile of filters.
const COUNTERS: usize = 4096;

/// How a network is trained on a device.
#[derive(Clone, Copy, Debug)]
pub struct Job {
    pub precision: Precision,
    /// The largest number of images in a step.
    pub batch: usize,
    /// Images of an epoch, and of an evaluation.
    pub train: usize,
    pub validation: usize,
    pub momentum: f64,
    pub weight_decay: f64,
    /// Whether weights decay beside the gradient (Loshchilov & Hutter 2019).
    pub decoupled_weight_decay: bool,
    /// Share of each target that is spread evenly over all classes.
    pub label_smoothing: f64,
    /// Whether a running average of the weights is what is evaluated.
    pub averages: bool,
}

impl Job {
    pub fn steps(&self) -> usize {
        self.train.div_ceil(self.batch)
    }
}

/// Where the numbers of a layer (or of the image) lie.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    pub channels: usize,
    pub height: usize,
    pub width: usize,
    /// Channels with those that fill up columns.
    pub padded: usize,
    /// Tiles of channels that a convolution gives at a time, and columns of each.
    pub tiles: usize,
    pub columns: usize,
    /// For each padded channel the real one, or -1.
    pub real: Vec<i32>,
    pub real_at: Address,
    /// [images][height][width][padded], before normalisation and ReLU.
    pub y: Address,
    pub gradient: Address,
    /// The gradient from readers without filters; 0: there are none.
    pub extra: Address,
    pub winner: Address,
    /// Whether readers apply `norm`, and whether its numbers come from the batch.
    pub is_applied: bool,
    pub normalises: bool,
    pub floor: f32,
    pub norm: Norm,
    /// Whether the output depends on it.
    pub live: bool,
    /// Layers with filters that read it, from 0.
    pub readers: Vec<usize>,
    /// Where its pixels' gradient from the head begins; 0: it is not in the output.
    pub head: Address,
}

/// The buffers of a local contrast normalisation.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Contrast {
    pub rows: Address,
    pub columns: Address,
    pub deviations: Address,
    pub planes: Address,
    pub input_gradient: Address,
}

/// The buffers of a layer.
#[derive(Clone, Debug, Default)]
pub(super) struct LayerBuffers {
    /// What it reads.
    pub parts: Vec<Part>,
    pub parts_at: Address,
    /// What its output's gradient is computed from.
    pub readers_at: Address,
    pub contrast: Contrast,
    /// Of a sum, for each part: the sum's channels among its own, and the other way round.
    pub sums: Vec<(Address, Address)>,
    /// None: the plain kernels do it.
    pub forward: Option<Fast>,
    pub backward: Option<Fast>,
    pub weights: Option<FastWeights>,
}

/// A network's buffers.
pub(super) struct Plan {
    pub job: Job,
    pub sizes: Sizes,
    /// The image's, then each layer's.
    pub states: Vec<State>,
    pub layers: Vec<LayerBuffers>,
    pub parameters: Address,
    pub velocity: Address,
    pub gradient: Address,
    pub running: Address,
    /// Averages of the two, and where the weights are meanwhile; 0 without averages.
    pub average: Address,
    pub average_running: Address,
    pub aside: Address,
    pub aside_running: Address,
    pub progress: Address,
    /// Of each step of an epoch: learning rate, and how far the average moves.
    pub rates: Address,
    pub shares: Address,
    pub crops: Address,
    pub validation_crops: Address,
    pub head: Head,
    pub labels: Address,
    pub logits: Address,
    /// For images in preparation.
    pub room: Address,
    /// Weights as the tensor cores read them, in bf16, and for each parameter its two places there;
    /// 0: nothing is packed.
    pub packed: Address,
    pub packed_at: [Address; 2],
    /// Sums of the splits of a weight gradient.
    pub partial: Address,
    pub counters: Address,
    pub(super) packing: Places,
    pub(super) arena: Arena,
}

impl Plan {
    /// The buffers of a network, from this address on.
    ///
    /// # Errors
    /// The description contradicts itself, or a kernel cannot count so far.
    pub fn new(spec: &NetworkSpec, job: Job, first: Address) -> Result<Self, KernelError> {
        let sizes = Sizes::new(spec, job.batch)?.fused();
        check_counts(&sizes)?;
        let mut arena = Arena::at(first);
        let parameters = arena.room::<f32>(sizes.parameter_count);
        let running = arena.room::<f32>(sizes.running_count);
        let averages = |count: usize| if job.averages { count } else { 0 };
        let mut plan = Self {
            states: Vec::new(),
            layers: Vec::new(),
            parameters,
            running,
            velocity: arena.room::<f32>(sizes.parameter_count),
            gradient: arena.room::<f32>(sizes.parameter_count),
            average: arena.room::<f32>(averages(sizes.parameter_count)),
            average_running: arena.room::<f32>(averages(sizes.running_count)),
            aside: arena.room::<f32>(averages(sizes.parameter_count)),
            aside_running: arena.room::<f32>(averages(sizes.running_count)),
            progress: arena.room::<Progress>(1),
            rates: arena.room::<f32>(job.steps()),
            shares: arena.room::<f32>(averages(job.steps())),
            crops: arena.room::<Crop>(job.train),
            validation_crops: arena.room::<Crop>(job.validation),
            labels: arena.room::<u8>(job.batch),
            logits: arena.room::<f32>(job.batch * sizes.classes),
            room: arena.room::<f32>(job.batch * sizes.channels * sizes.height * sizes.width),
            head: Head::default(),
            packed: 0,
            packed_at: [0; 2],
            partial: 0,
            counters: arena.room::<u32>(COUNTERS),
            packing: Places {
                forward: vec![-1; sizes.parameter_count],
                backward: vec![-1; sizes.parameter_count],
                count: 0,
            },
            job,
            sizes,
            arena,
        };
        plan.plan_states();
        plan.plan_buffers();
        plan.plan_head();
        plan.plan_layers();
        Ok(plan)
    }

    pub fn bytes(&self) -> u64 {
        self.arena.bytes()
    }

    /// What has to be written before the first step.
    pub fn take_constants(&mut self) -> Vec<(Address, Vec<u8>)> {
        std::mem::replace(&mut self.arena, Arena::at(0)).into_constants()
    }

    fn plan_states(&mut self) {
        let Sizes {
            channels,
            height,
            width,
            ..
        } = self.sizes;
        let image = State {
            channels,
            height,
            width,
            floor: f32::NEG_INFINITY,
            ..State::default()
        };
        self.states.push(padded(image, self.job.precision));
        for layer in &self.sizes.layers {
            let g = layer.geometry;
            let mut real = Vec::new();
            let is_concatenation =
                !layer.operation.convolves() && layer.operation != OperationSpec::Add;
            for part in layer.parts.iter().filter(|_| is_concatenation) {
                let own = &self.states[part.source].real;
                real.extend(
                    own.iter()
                        .map(|&r| if r < 0 { -1 } else { r + part.first as i32 }),
                );
            }
            let state = State {
                channels: g.filters,
                height: g.out_height(),
                width: g.out_width(),
                real,
                is_applied: layer.normalises || layer.rectifies,
                normalises: layer.normalises,
                floor: if layer.rectifies {
                    0.0
                } else {
                    f32::NEG_INFINITY
                },
                ..State::default()
            };
            self.states.push(padded(state, self.job.precision));
        }
        for part in &self.sizes.head {
            self.states[part.source].live = true;
        }
        for (index, layer) in self.sizes.layers.iter().enumerate().rev() {
            if !self.states[index + 1].live {
                continue;
            }
            for part in &layer.parts {
                self.states[part.source].live = true;
                if layer.operation.convolves() {
                    self.states[part.source].readers.push(index);
                }
            }
        }
    }

    fn plan_buffers(&mut self) {
        let batch = self.job.batch;
        for index in 0..self.states.len() {
            let state = &mut self.states[index];
            let numbers = batch * state.height * state.width * state.padded;
            state.real_at = self.arena.constant(&state.real);
            if index > 0 && self.sizes.layers[index - 1].absorbed {
                continue;
            }
            state.y = numbers_room(&mut self.arena, self.job.precision, numbers);
            let Some(layer) = index.checked_sub(1).map(|index| &self.sizes.layers[index]) else {
                continue;
            };
            state.gradient = numbers_room(&mut self.arena, self.job.precision, numbers);
            if matches!(layer.operation, OperationSpec::MaxPooling { .. }) {
                // Two bytes each.
                state.winner = self.arena.room::<u8>(2 * numbers);
            }
            if state.is_applied {
                state.norm = norm_of(
                    &mut self.arena,
                    state,
                    layer,
                    [self.parameters, self.gradient, self.running],
                    self.sizes.batch_norm_epsilon,
                );
            }
        }
        for (index, layer) in self.sizes.layers.iter().enumerate() {
            if layer.operation.convolves() || !self.states[index + 1].live {
                continue;
            }
            for part in layer.parts.iter().filter(|part| part.source > 0) {
                let state = &mut self.states[part.source];
                if state.extra == 0 {
                    let numbers = batch * state.height * state.width * state.padded;
                    state.extra = numbers_room(&mut self.arena, self.job.precision, numbers);
                }
            }
        }
    }

    fn plan_layers(&mut self) {
        for index in 0..self.sizes.layers.len() {
            let buffers = self.plan_forward(index);
            self.layers.push(buffers);
        }
        for index in 0..self.layers.len() {
            self.plan_backward(index);
        }
        let partial = (0..self.layers.len())
            .filter_map(|index| self.plan_weights(index))
            .max();
        self.partial = self.arena.room::<f32>(partial.unwrap_or(0));
        if self.packing.count > 0 {
            self.packed = self.arena.room::<u16>(self.packing.count);
            let Places {
                forward, backward, ..
            } = &self.packing;
            self.packed_at = [forward, backward].map(|places| self.arena.constant(places));
        }
    }

    fn plan_forward(&mut self, index: usize) -> LayerBuffers {
        let layer = self.sizes.layers[index].clone();
        let mut parts: Vec<Part> = layer
            .parts
            .iter()
            .map(|part| {
                let mut reading = self.reading(part.source);
                if layer.operation.convolves() {
                    filter(&mut reading, &layer, part.first, self.parameters);
                }
                reading
            })
            .collect();
        let mut buffers = LayerBuffers::default();
        if self.is_fast() && layer.operation.convolves() {
            buffers.forward = self.fast(&mut parts, index + 1);
        }
        if let Some(fast) = buffers.forward {
            self.place_forward(&layer, &parts, fast);
        }
        buffers.parts_at = self.arena.constant(&parts);
        buffers.parts = parts;
        if let OperationSpec::LocalContrast { window } = layer.operation {
            buffers.contrast = self.contrast(index + 1, window);
        }
        if layer.operation == OperationSpec::Add {
            let sums = layer.parts.iter().map(|part| {
                let of = matched(&self.states[index + 1].real, &self.states[part.source].real);
                let to = matched(&self.states[part.source].real, &self.states[index + 1].real);
                (self.arena.constant(&of), self.arena.constant(&to))
            });
            buffers.sums = sums.collect();
        }
        buffers
    }

    /// The gradient of layer `index`'s output from its readers with filters.
    fn plan_backward(&mut self, index: usize) {
        let state = &self.states[index + 1];
        let readers = state.readers.clone();
        // The fast kernel takes the statistics of what it masks.
        let can_be_fast = self.is_fast() && state.live && (state.normalises || !state.is_applied);
        let mut parts: Vec<Part> = readers
            .iter()
            .filter_map(|&reader| self.reader(reader, index + 1))
            .collect();
        let mut backward = None;
        if can_be_fast {
            backward = self.fast(&mut parts, index + 1);
        }
        if let Some(fast) = backward {
            for (at, &reader) in readers.iter().enumerate() {
                let packing = Packing::new(&parts, at, fast.cut.columns);
                self.place_backward(index + 1, reader, fast.first, packing);
            }
        }
        self.layers[index].backward = backward;
        self.layers[index].readers_at = self.arena.constant(&parts);
    }

    fn contrast(&mut self, index: usize, window: usize) -> Contrast {
        let batch = self.job.batch;
        let state = &self.states[index];
        let area = state.height * state.width;
        let numbers = batch * area * state.padded;
        let rows = window_weights(state.height, window);
        let columns = window_weights(state.width, window);
        Contrast {
            rows: self.arena.constant(&rows),
            columns: self.arena.constant(&columns),
            deviations: self.arena.room::<f32>(batch * (area + 1)),
            planes: self.arena.room::<f32>(batch * CONTRAST_PLANES * area),
            input_gradient: numbers_room(&mut self.arena, self.job.precision, numbers),
        }
    }

    /// A source as a layer without filters reads it.
    pub fn reading(&self, source: usize) -> Part {
        let state = &self.states[source];
        Part {
            x: state.y,
            k0: state.norm.slope,
            k1: state.norm.offset,
            floor: state.floor,
            channels: state.padded as i32,
            height: state.height as i32,
            width: state.width as i32,
            filter_height: 1,
            filter_width: 1,
            stride_height: 1,
            stride_width: 1,
            dilation_height: 1,
            dilation_width: 1,
            block: 1,
            real: state.real_at,
            ..Part::default()
        }
    }

    /// The gradient of what a layer with filters computes, behind which its normalisation is.
    pub fn gradient_of(&self, index: usize) -> Part {
        let state = &self.states[index];
        let norm = if state.normalises {
            state.norm
        } else {
            Norm::default()
        };
        Part {
            x: state.gradient,
            y: state.y,
            k0: norm.gradient0,
            k1: norm.gradient1,
            k2: norm.gradient2,
            ..self.reading(index)
        }
    }

    /// What reaches a state from a layer with filters that reads it.
    fn reader(&self, reader: usize, source: usize) -> Option<Part> {
        let layer = &self.sizes.layers[reader];
        let at = layer.parts.iter().position(|part| part.source == source)?;
        let forward = self.layers[reader].parts[at];
        Some(Part {
            filter_height: forward.filter_height,
            filter_width: forward.filter_width,
            pad_height: forward.filter_height - 1 - forward.pad_height,
            pad_width: forward.filter_width - 1 - forward.pad_width,
            dilation_height: forward.stride_height,
            dilation_width: forward.stride_width,
            weight: forward.weight,
            weight_filter: forward.weight_channel,
            weight_channel: forward.weight_filter,
            ..self.gradient_of(reader + 1)
        })
    }

    fn plan_head(&mut self) {
        let batch = self.job.batch;
        let mut parts = Vec::new();
        let mut real = Vec::new();
        for part in &self.sizes.head {
            parts.push(self.reading(part.source));
            let own = &self.states[part.source].real;
            real.extend(
                own.iter()
                    .map(|&r| if r < 0 { -1 } else { r + part.first as i32 }),
            );
        }
        let channels = real.len();
        let at = |base: Address, offset: usize| base + 4 * offset as u64;
        let sizes = &self.sizes;
        self.head = Head {
            parts: self.arena.constant(&parts),
            part_count: parts.len() as i32,
            images: batch as i32,
            classes: sizes.classes as i32,
            channels: channels as i32,
            real_channels: sizes.head_channels as i32,
            real: self.arena.constant(&real),
            area: (sizes.head_height * sizes.head_width) as f32,
            pooled: self.arena.room::<f32>(batch * POOL_PIECES * channels),
            weight: at(self.parameters, sizes.classifier_weight),
            bias: at(self.parameters, sizes.classifier_bias),
            weight_gradient: at(self.gradient, sizes.classifier_weight),
            bias_gradient: at(self.gradient, sizes.classifier_bias),
            labels: self.labels,
            features: self.arena.room::<f32>(batch * channels),
            logit_gradient: self.arena.room::<f32>(batch * sizes.classes),
            losses: self.arena.room::<f32>(batch),
            gradient: self.arena.room::<f32>(batch * channels),
            logits: 0,
            smoothing: self.job.label_smoothing as f32,
            progress: self.progress,
        };
        let mut first = 0;
        for part in &self.sizes.head {
            let state = &mut self.states[part.source];
            state.head = at(self.head.gradient, first);
            first += state.padded;
        }
    }
}

/// Room for numbers of a layer.
fn numbers_room(arena: &mut Arena, precision: Precision, count: usize) -> Address {
    arena.room::<u8>(count.saturating_mul(precision.bytes()))
}

/// Fills its channels up to whole columns, and those of bf16 up to whole tiles of filters.
fn padded(mut state: State, precision: Precision) -> State {
    if state.real.is_empty() {
        state.real = (0..state.channels as i32).collect();
    }
    let columns = state.real.len().div_ceil(COLUMN).max(1);
    (state.tiles, state.columns) = match precision {
        Precision::F32 => (1, columns),
        Precision::Bf16 => {
            let tiles = columns.div_ceil(TILE_COLUMNS);
            (tiles, columns.div_ceil(tiles))
        }
    };
    state.padded = state.tiles * state.columns * COLUMN;
    state.real.resize(state.padded, -1);
    state
}

/// For each of these channels where the same real channel is among the others, or -1.
fn matched(channels: &[i32], others: &[i32]) -> Vec<i32> {
    let place = |real: &i32| others.iter().position(|other| other == real && *real >= 0);
    channels
        .iter()
        .map(|real| place(real).map_or(-1, |place| place as i32))
        .collect()
}

/// A part's filters: those of all channels from `first` on.
fn filter(reading: &mut Part, layer: &LayerPlan, first: usize, parameters: Address) {
    let g = layer.geometry;
    let taps = g.filter_height * g.filter_width;
    reading.filter_height = g.filter_height as i32;
    reading.filter_width = g.filter_width as i32;
    reading.pad_height = g.pad_height() as i32;
    reading.pad_width = g.pad_width() as i32;
    reading.stride_height = g.stride_height as i32;
    reading.stride_width = g.stride_width as i32;
    reading.weight = parameters + 4 * (layer.weight + first * taps) as u64;
    reading.weight_filter = g.taps() as i32;
    reading.weight_channel = taps as i32;
}

/// The coefficients of a state: of a layer that normalises, room for them; of a ReLU alone, those
/// that change nothing.
fn norm_of(
    arena: &mut Arena,
    state: &State,
    layer: &LayerPlan,
    [parameters, gradient, running]: [Address; 3],
    epsilon: f64,
) -> Norm {
    let count = state.padded;
    let at = |base: Address, offset: usize| base + 4 * offset as u64;
    if !state.normalises {
        let ones = arena.constant(&vec![1.0_f32; count]);
        let zeros = arena.constant(&vec![0.0_f32; count]);
        return Norm {
            slope: ones,
            offset: zeros,
            mean: zeros,
            inverse: ones,
            gradient0: ones,
            gradient1: zeros,
            gradient2: zeros,
            real: state.real_at,
            channels: count as i32,
            ..Norm::default()
        };
    }
    let mut room = || arena.room::<f32>(count);
    Norm {
        slope: room(),
        offset: room(),
        mean: room(),
        inverse: room(),
        gradient0: room(),
        gradient1: room(),
        gradient2: room(),
        scale: at(parameters, layer.scale),
        shift: at(parameters, layer.shift),
        scale_gradient: at(gradient, layer.scale),
        shift_gradient: at(gradient, layer.shift),
        running_mean: at(running, layer.mean),
        running_variance: at(running, layer.variance),
        real: state.real_at,
        channels: count as i32,
        count: 0.0,
        epsilon: epsilon as f32,
    }
}

/// `[size, window]`: the weights of what each position's window sees, 0 outside.
fn window_weights(size: usize, window: usize) -> Vec<f32> {
    let mut table = vec![0.0; size * window];
    for at in 0..size {
        for (from, weight) in local_contrast_weights(size, window, at) {
            table[at * window + from + (window - 1) / 2 - at] = weight;
        }
    }
    table
}

/// Kernels count parameters, and the classifier's products, in 32 bits, and tiles of filters by
/// their counters.
fn check_counts(sizes: &Sizes) -> Result<(), KernelError> {
    let widest = sizes
        .layers
        .iter()
        .map(|layer| layer.geometry.filters)
        .max();
    if widest.unwrap_or(0) > COUNTERS * TILE_COLUMNS {
        return Err(KernelError::TooLarge(format!(
            "{} channels are more than the kernels for GPUs can count",
            widest.unwrap_or(0)
        )));
    }
    let most = i32::MAX as usize / 16;
    let classifier = sizes
        .head_channels
        .saturating_mul(COLUMN * sizes.classes.max(1));
    if sizes.parameter_count <= most && classifier <= most {
        return Ok(());
    }
    Err(KernelError::TooLarge(format!(
        "{} parameters are more than the kernels for GPUs can count ({most})",
        sizes.parameter_count
    )))
}

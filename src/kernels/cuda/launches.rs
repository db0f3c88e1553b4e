//! The launches of a training step and of an evaluation, in their order. Must not know how sizes are
//! chosen, nor when steps are taken.

use super::device::Launch;
use super::images::DeviceImages;
use super::layout::{
    Address, Average, Contrast, Conv, CopyPart, Head, Images, Norm, POOL_PIECES, PlainConv,
    PlainWeights, Pool, Precision, Reduction, Statistics, Sum, THREADS, Update, WeightGradient,
};
use super::packing::{Fast, FastWeights};
use super::plan::Plan;
use super::tiles;
use crate::kernels::OperationSpec;
use crate::kernels::convnet::LayerPlan;

/// Numbers of a column.
const COLUMN: usize = 8;
/// Shared memory for a double a thread; for eight of them, and the sums.
const DOUBLES: usize = THREADS * size_of::<f64>();
const EIGHT_DOUBLES: usize = (THREADS + 1) * 8 * size_of::<f64>();

/// A kernel that exists in both precisions.
macro_rules! named {
    ($launches:ident, $kernel:ident) => {
        match $launches.plan.job.precision {
            Precision::Bf16 => concat!(stringify!($kernel), "_bf16"),
            Precision::F32 => concat!(stringify!($kernel), "_f32"),
        }
    };
}

/// Kernels on tensor cores by columns of filters: of 128 pixels, of twice as many; forward passes,
/// then gradients, then the weights' gradient.
macro_rules! row {
    ($columns:literal) => {
        [
            concat!("conv_forward_", $columns, "_1"),
            concat!("conv_forward_", $columns, "_2"),
            concat!("conv_gradient_", $columns, "_1"),
            concat!("conv_gradient_", $columns, "_2"),
            concat!("weight_gradient_", $columns),
        ]
    };
}
const ON_TENSOR_CORES: [[&str; 5]; 8] = [
    row!(1),
    row!(2),
    row!(3),
    row!(4),
    row!(5),
    row!(6),
    row!(7),
    row!(8),
];

/// Sums of splits that a block adds up, four numbers each (`SPLIT_LANES` of weight_gradient.cuh).
const SPLIT_LANES: usize = 16;

/// The launches on a batch of so many images.
pub(super) struct Launches<'a> {
    plan: &'a Plan,
    images: usize,
    list: Vec<Launch>,
    /// States whose `extra` has been written.
    extra: Vec<bool>,
}

/// A training step: images of the data set, forward, backward, and the parameters move.
pub(super) fn training(plan: &Plan, data: &DeviceImages, images: usize) -> Vec<Launch> {
    let mut launches = Launches::new(plan, images);
    launches.load(data, plan.crops, data.training);
    launches.forward(true);
    launches.backward();
    launches.update();
    launches.list
}

/// An evaluation: images of the data set, forward with the running statistics, and the count of
/// those that are right.
pub(super) fn evaluation(plan: &Plan, data: &DeviceImages, images: usize) -> Vec<Launch> {
    let mut launches = Launches::new(plan, images);
    launches.load(data, plan.validation_crops, data.whole);
    launches.forward(false);
    let head = launches.head(false);
    launches
        .list
        .push(Launch::new(named!(launches, judge), (1, 1, 1), 0, head));
    launches.list
}

/// Packs parameters that came from elsewhere; nothing where nothing is packed.
pub(super) fn packing(plan: &Plan) -> Vec<Launch> {
    let mut launches = Launches::new(plan, 1);
    if plan.packed > 0 {
        let update = launches.moved();
        let count = plan.sizes.parameter_count;
        launches.push(Launch::each("pack_all_parameters", count, update));
    }
    launches.list
}

/// Loss and gradient of images that are there already.
pub(super) fn gradient(plan: &Plan, images: usize) -> Vec<Launch> {
    let mut launches = Launches::new(plan, images);
    launches.forward(true);
    launches.backward();
    launches.list
}

/// Logits of images that are there already.
pub(super) fn logits(plan: &Plan, images: usize) -> Vec<Launch> {
    let mut launches = Launches::new(plan, images);
    launches.forward(false);
    launches.list
}

impl<'a> Launches<'a> {
    fn new(plan: &'a Plan, images: usize) -> Self {
        Self {
            plan,
            images,
            list: Vec::new(),
            extra: vec![false; plan.states.len()],
        }
    }

    fn push(&mut self, launch: Launch) {
        self.list.push(launch);
    }

    fn load(&mut self, data: &DeviceImages, crops: Address, [rows, columns]: [Address; 2]) {
        let Plan { sizes, states, .. } = self.plan;
        let images = Images {
            dataset: data.images,
            dataset_labels: data.labels,
            channels: sizes.channels as i32,
            height: sizes.height as i32,
            width: sizes.width as i32,
            rows,
            columns,
            crops,
            progress: self.plan.progress,
            batch: self.plan.job.batch as i32,
            images: self.images as i32,
            statistics: data.channel_statistics,
            image_statistics: data.image_statistics,
            out: states[0].y,
            out_channels: states[0].padded as i32,
            labels: self.plan.labels,
            room: self.plan.room,
        };
        let grid = (self.images, 1, 1);
        self.push(Launch::new(
            named!(self, load_images),
            grid,
            DOUBLES,
            images,
        ));
    }

    fn forward(&mut self, training: bool) {
        for index in 0..self.plan.layers.len() {
            let layer = &self.plan.sizes.layers[index];
            if layer.absorbed {
                continue;
            }
            let state = &self.plan.states[index + 1];
            if state.normalises && !training {
                let norm = self.norm(index + 1);
                self.push(Launch::each("use_running_statistics", state.padded, norm));
            }
            if let Some(fast) = self.plan.layers[index].forward {
                self.fast_forward(index, fast, training);
                continue;
            }
            self.forward_layer(index, layer);
            if state.normalises && training {
                self.statistics(index + 1, false);
            }
        }
        let head = self.head(training);
        let shared = THREADS * 8 * size_of::<f32>();
        let pieces = (self.images, POOL_PIECES, 1);
        self.push(Launch::new(named!(self, pool_head), pieces, shared, head));
        let shared = self.plan.sizes.classes * 2 * size_of::<f32>();
        self.push(Launch::new(
            named!(self, classify),
            (self.images, 1, 1),
            shared,
            head,
        ));
    }

    fn forward_layer(&mut self, index: usize, layer: &LayerPlan) {
        match layer.operation {
            OperationSpec::Convolution { .. } | OperationSpec::PlainConvolution { .. } => {
                let buffers = &self.plan.layers[index];
                let conv = PlainConv {
                    parts: buffers.parts_at,
                    part_count: buffers.parts.len() as i32,
                    out: self.plan.states[index + 1].y,
                    ..self.plain_conv(index)
                };
                self.push(Launch::each(
                    named!(self, convolve_plain),
                    self.numbers(index + 1),
                    conv,
                ));
            }
            OperationSpec::LocalContrast { window } => {
                let contrast = self.contrast(index, window);
                let grid = (self.images, 1, 1);
                self.push(Launch::new(named!(self, contrast), grid, DOUBLES, contrast));
            }
            OperationSpec::BatchNorm | OperationSpec::Relu => self.each_part(index, |of, at| {
                let count = of.pixels(index + 1) * of.part_columns(index, at);
                Launch::each(named!(of, copy), count, of.copy(index, at))
            }),
            OperationSpec::MaxPooling { size, stride }
            | OperationSpec::AveragePooling { size, stride } => self.each_part(index, |of, at| {
                let count = of.pixels(index + 1) * of.part_columns(index, at);
                let pool = of.pool(index, at, size, stride);
                Launch::each(named!(of, pool), count, pool)
            }),
            OperationSpec::Add => self.each_part(index, |of, at| {
                let count = of.numbers(index + 1) / COLUMN;
                Launch::each(named!(of, sum), count, of.sum(index, at))
            }),
        }
    }

    fn backward(&mut self) {
        let head = self.head(true);
        let count = (head.channels.max(1) * head.classes) as usize;
        self.push(Launch::each(named!(self, head_weights), count, head));
        for index in (0..self.plan.layers.len()).rev() {
            let layer = &self.plan.sizes.layers[index];
            if layer.absorbed || !self.plan.states[index + 1].live {
                continue;
            }
            if let Some(fast) = self.plan.layers[index].backward {
                self.fast_gradient(index, fast);
            } else {
                self.output_gradient(index);
                if self.plan.states[index + 1].normalises {
                    self.statistics(index + 1, true);
                }
            }
            self.backward_layer(index, layer);
        }
    }

    /// The gradient of what a layer computes.
    fn output_gradient(&mut self, index: usize) {
        let state = &self.plan.states[index + 1];
        let conv = PlainConv {
            parts: self.plan.layers[index].readers_at,
            part_count: state.readers.len() as i32,
            out: state.gradient,
            normalised: i32::from(state.is_applied),
            floor: state.floor,
            y: state.y,
            extra: self.extra_of(index + 1),
            head: state.head,
            head_channels: self.plan.head.channels,
            norm: self.norm(index + 1),
            ..self.plain_conv(index)
        };
        self.push(Launch::each(
            named!(self, gradient_plain),
            self.numbers(index + 1),
            conv,
        ));
    }

    /// What a plain convolution and its gradient have in common: the shape of a layer's output.
    fn plain_conv(&self, index: usize) -> PlainConv {
        let state = &self.plan.states[index + 1];
        PlainConv {
            images: self.images as i32,
            height: state.height as i32,
            width: state.width as i32,
            out_channels: state.padded as i32,
            real: state.real_at,
            ..PlainConv::default()
        }
    }

    /// Where a gradient lies that pooling and the like have added up for a state; 0: nowhere.
    fn extra_of(&self, state: usize) -> Address {
        if self.extra[state] {
            self.plan.states[state].extra
        } else {
            0
        }
    }

    fn backward_layer(&mut self, index: usize, layer: &LayerPlan) {
        match layer.operation {
            OperationSpec::Convolution { .. } | OperationSpec::PlainConvolution { .. } => {
                self.weights(index);
            }
            OperationSpec::LocalContrast { window } => {
                let contrast = self.contrast(index, window);
                let grid = (self.images, 1, 1);
                self.push(Launch::new(
                    named!(self, contrast_gradient),
                    grid,
                    DOUBLES,
                    contrast,
                ));
                // The gradient of the concatenation is handed on as a pooling of size 1 would.
                let gradient = contrast.input_gradient;
                self.each_source(index, |of, at, count| {
                    let mut pool = of.pool(index, at, 1, 1);
                    (pool.average, pool.gradient) = (1, gradient);
                    Launch::each(named!(of, pool_gradient), count, pool)
                });
            }
            OperationSpec::BatchNorm | OperationSpec::Relu => {
                self.each_source(index, |of, at, count| {
                    Launch::each(named!(of, copy_gradient), count, of.copy(index, at))
                });
            }
            OperationSpec::MaxPooling { size, stride }
            | OperationSpec::AveragePooling { size, stride } => {
                self.each_source(index, |of, at, count| {
                    let pool = of.pool(index, at, size, stride);
                    Launch::each(named!(of, pool_gradient), count, pool)
                });
            }
            OperationSpec::Add => self.each_source(index, |of, at, count| {
                Launch::each(named!(of, sum_gradient), count, of.sum(index, at))
            }),
        }
    }

    fn fast_forward(&mut self, index: usize, fast: Fast, training: bool) {
        let conv = Conv {
            parts: self.plan.layers[index].parts_at,
            part_count: self.plan.layers[index].parts.len() as i32,
            out: self.plan.states[index + 1].y,
            training: i32::from(training && self.plan.states[index + 1].normalises),
            ..self.conv(index, fast)
        };
        self.push_fast(fast, 0, &conv);
    }

    fn fast_gradient(&mut self, index: usize, fast: Fast) {
        let state = &self.plan.states[index + 1];
        let conv = Conv {
            parts: self.plan.layers[index].readers_at,
            part_count: state.readers.len() as i32,
            out: state.gradient,
            normalised: i32::from(state.is_applied),
            floor: state.floor,
            y: state.y,
            extra: self.extra_of(index + 1),
            head: state.head,
            head_channels: self.plan.head.channels,
            ..self.conv(index, fast)
        };
        self.push_fast(fast, 2, &conv);
    }

    fn conv(&self, index: usize, fast: Fast) -> Conv {
        Conv {
            tiling: tiles::with_images(fast.cut.tiling, self.images),
            weight: self.plan.packed + 2 * fast.first as u64,
            weight_tile: fast.weight_tile as i64,
            group: fast.cut.group as i32,
            out_channels: self.plan.states[index + 1].padded as i32,
            moments: fast.moments,
            counters: self.plan.counters,
            norm: self.norm(index + 1),
            ..Conv::default()
        }
    }

    fn push_fast(&mut self, fast: Fast, first: usize, conv: &Conv) {
        let kernels = ON_TENSOR_CORES[fast.cut.columns - 1];
        let kernel = kernels[first + fast.cut.multiple - 1];
        let filters = conv.out_channels as usize / COLUMN / fast.cut.columns;
        let grid = (tiles::tiles(&conv.tiling), filters, 1);
        self.push(Launch::new(kernel, grid, fast.cut.shared_bytes, *conv));
    }

    fn fast_weights(&mut self, index: usize, fast: FastWeights) {
        let state = &self.plan.states[index + 1];
        let weights = WeightGradient {
            parts: self.plan.layers[index].parts_at,
            groups: fast.groups_at,
            gradient: self.plan.gradient_of(index + 1),
            tiling: tiles::with_images(fast.tiling, self.images),
            splits: fast.splits as i32,
            partial: self.plan.partial,
            partial_split: fast.size as i64,
            partial_tile: fast.tile as i64,
        };
        let reduction = Reduction {
            partial: self.plan.partial,
            splits: fast.splits as i32,
            size: fast.size as i64,
            parameter: fast.parameter,
            gradient: self.plan.gradient,
        };
        let kernel = ON_TENSOR_CORES[state.columns - 1][4];
        let grid = (fast.groups, fast.splits, state.tiles);
        self.push(Launch::new(kernel, grid, fast.shared_bytes, weights));
        let blocks = (fast.size / 4).div_ceil(SPLIT_LANES);
        let shared = THREADS * 4 * size_of::<f32>();
        self.push(Launch::new("add_splits", (blocks, 1, 1), shared, reduction));
    }

    fn weights(&mut self, index: usize) {
        if let Some(fast) = self.plan.layers[index].weights {
            return self.fast_weights(index, fast);
        }
        let state = &self.plan.states[index + 1];
        for &part in &self.plan.layers[index].parts {
            let weights = PlainWeights {
                part,
                gradient: self.plan.gradient_of(index + 1),
                images: self.images as i32,
                out: self.plan.gradient + (part.weight - self.plan.parameters),
            };
            let taps = part.filter_height * part.filter_width;
            let count = (taps * part.channels) as usize * state.padded;
            self.push(Launch::each(named!(self, weights_plain), count, weights));
        }
    }

    /// How parameters are moved, and where they are packed.
    fn moved(&self) -> Update {
        let Plan {
            job,
            sizes,
            progress,
            ..
        } = self.plan;
        let decay = job.weight_decay as f32;
        let (decay, decoupled) = if job.decoupled_weight_decay {
            (0.0, decay)
        } else {
            (decay, 0.0)
        };
        Update {
            parameters: self.plan.parameters,
            velocity: self.plan.velocity,
            gradient: self.plan.gradient,
            count: sizes.parameter_count as i64,
            momentum: job.momentum as f32,
            decay,
            decoupled,
            rates: self.plan.rates,
            packed: self.plan.packed,
            forward: self.plan.packed_at[0],
            backward: self.plan.packed_at[1],
            progress: *progress,
        }
    }

    fn update(&mut self) {
        let Plan {
            job,
            sizes,
            progress,
            ..
        } = self.plan;
        let update = self.moved();
        self.push(Launch::each(
            "update_parameters",
            sizes.parameter_count,
            update,
        ));
        if !job.averages {
            return;
        }
        for (values, average, count) in [
            (
                self.plan.parameters,
                self.plan.average,
                sizes.parameter_count,
            ),
            (
                self.plan.running,
                self.plan.average_running,
                sizes.running_count,
            ),
        ] {
            let moved = Average {
                values,
                average,
                count: count as i64,
                shares: self.plan.shares,
                progress: *progress,
            };
            self.push(Launch::each("average_parameters", count.max(1), moved));
        }
    }

    fn statistics(&mut self, index: usize, of_gradient: bool) {
        let state = &self.plan.states[index];
        let statistics = Statistics {
            y: state.y,
            gradient: if of_gradient { state.gradient } else { 0 },
            pixels: self.pixels(index) as i64,
            channels: state.padded as i32,
            norm: self.norm(index),
        };
        let kernel = if of_gradient {
            named!(self, gradient_statistics)
        } else {
            named!(self, statistics)
        };
        let grid = (state.padded / COLUMN, 1, 1);
        self.push(Launch::new(kernel, grid, EIGHT_DOUBLES, statistics));
    }

    /// One launch for each part of a layer's input.
    fn each_part(&mut self, index: usize, launch: impl Fn(&Self, usize) -> Launch) {
        for at in 0..self.plan.layers[index].parts.len() {
            let launch = launch(self, at);
            self.push(launch);
        }
    }

    /// One launch for each part whose source takes a gradient: a thread for each of so many columns.
    fn each_source(&mut self, index: usize, launch: impl Fn(&Self, usize, usize) -> Launch) {
        for at in 0..self.plan.layers[index].parts.len() {
            let source = self.plan.sizes.layers[index].parts[at].source;
            if source > 0 {
                let launch = launch(self, at, self.numbers(source) / COLUMN);
                self.push(launch);
                self.extra[source] = true;
            }
        }
    }

    fn pixels(&self, state: usize) -> usize {
        let state = &self.plan.states[state];
        self.images * state.height * state.width
    }

    fn numbers(&self, state: usize) -> usize {
        self.pixels(state) * self.plan.states[state].padded
    }

    fn part_columns(&self, index: usize, at: usize) -> usize {
        self.plan.layers[index].parts[at].channels as usize / COLUMN
    }

    /// Of a batch of so many images.
    fn norm(&self, state: usize) -> Norm {
        Norm {
            count: self.pixels(state) as f32,
            ..self.plan.states[state].norm
        }
    }

    fn head(&self, training: bool) -> Head {
        Head {
            images: self.images as i32,
            logits: if training { 0 } else { self.plan.logits },
            ..self.plan.head
        }
    }

    /// Where a part's channels begin in the padded concatenation, and the buffer for its source's
    /// gradient, and whether something is in that already.
    fn place(&self, index: usize, at: usize) -> (i32, Address, i32) {
        let before = &self.plan.layers[index].parts[..at];
        let first = before.iter().map(|part| part.channels).sum();
        let source = self.plan.sizes.layers[index].parts[at].source;
        let written = i32::from(self.extra[source]);
        (first, self.plan.states[source].extra, written)
    }

    fn pool(&self, index: usize, at: usize, size: usize, stride: usize) -> Pool {
        let layer = &self.plan.sizes.layers[index];
        let state = &self.plan.states[index + 1];
        let (first_channel, extra, accumulate) = self.place(index, at);
        let average = matches!(layer.operation, OperationSpec::AveragePooling { .. });
        Pool {
            part: self.plan.layers[index].parts[at],
            images: self.images as i32,
            height: layer.geometry.height as i32,
            width: layer.geometry.width as i32,
            out_height: state.height as i32,
            out_width: state.width as i32,
            size: size as i32,
            stride: stride as i32,
            average: i32::from(average),
            out: state.y,
            out_channels: state.padded as i32,
            first_channel,
            winner: state.winner,
            gradient: state.gradient,
            extra,
            accumulate,
        }
    }

    fn copy(&self, index: usize, at: usize) -> CopyPart {
        let state = &self.plan.states[index + 1];
        let (first_channel, extra, accumulate) = self.place(index, at);
        CopyPart {
            part: self.plan.layers[index].parts[at],
            images: self.images as i32,
            height: state.height as i32,
            width: state.width as i32,
            out: state.y,
            out_channels: state.padded as i32,
            first_channel,
            gradient: state.gradient,
            norm: self.norm(index + 1),
            extra,
            accumulate,
        }
    }

    fn sum(&self, index: usize, at: usize) -> Sum {
        let state = &self.plan.states[index + 1];
        let buffers = &self.plan.layers[index];
        let (_, extra, accumulate) = self.place(index, at);
        let (channels_of, channels_to) = buffers.sums[at];
        Sum {
            part: buffers.parts[at],
            channels_of,
            channels_to,
            images: self.images as i32,
            height: state.height as i32,
            width: state.width as i32,
            out: state.y,
            out_channels: state.padded as i32,
            add: i32::from(at > 0),
            gradient: state.gradient,
            extra,
            accumulate,
        }
    }

    fn contrast(&self, index: usize, window: usize) -> Contrast {
        let state = &self.plan.states[index + 1];
        let buffers = &self.plan.layers[index];
        let own = buffers.contrast;
        Contrast {
            parts: buffers.parts_at,
            part_count: buffers.parts.len() as i32,
            images: self.images as i32,
            height: state.height as i32,
            width: state.width as i32,
            window: window as i32,
            rows: own.rows,
            columns: own.columns,
            out: state.y,
            out_channels: state.padded as i32,
            real: state.real_at,
            real_channels: state.channels as i32,
            deviations: own.deviations,
            planes: own.planes,
            gradient: state.gradient,
            input_gradient: own.input_gradient,
        }
    }
}

//! Layers without filters inside a network: pooling, local contrast normalisation, sums, and what
//! batch normalisation or ReLU alone work on. They read their inputs as convolutions do, from the
//! arena, one channel's plane at a time. Knows nothing of parameters: batch normalisation and ReLU
//! are applied where the output is read.

use super::convolution::Source;
use super::local_contrast::{self, ChannelGradient, Lane, LocalContrast, upstream_at};
use super::pack::{Norm, PackGradient, PackInput, UpstreamGradient, Window};
use super::pooling::Pooling;
use super::spec::{Geometry, LayerPlan, OperationSpec, Part};
use crate::kernels::memory::Buffer;
use crate::kernels::memory::LANES;
use crate::kernels::simd::{Isa, Kernel, PointerKernel, Vector};
use std::ops::Range;

/// Tasks of one group that there are at most, where channels do not depend on each other.
const TASKS: usize = 8;

/// A layer that works on planes.
#[derive(Clone, Debug)]
pub struct Planes {
    geometry: Geometry,
    parts: Vec<Part>,
    operation: PlaneOperation,
}

#[derive(Clone, Debug)]
enum PlaneOperation {
    Maximum(Pooling),
    Average(Pooling),
    LocalContrast(LocalContrast),
    /// The input as it is: all that is done to it is done where it is read.
    Copy,
    Sum,
}

/// One task: a range of channels of one group of images, and the memory to work in.
pub struct Task<'a> {
    pub isa: Isa,
    pub group: usize,
    pub channels: Range<usize>,
    pub sources: &'a [Source<'a>],
    pub mask: &'a [f32; LANES],
    /// As long as `Planes::scratch` says.
    pub scratch: &'a mut Buffer,
}

/// What the backward pass reads of the layer's own output: its planes from the first group on, the
/// gradient that reaches them, what is applied to them where they are read, and what local contrast
/// normalisation saved.
pub struct LayerOutput<'a> {
    pub y: *const f32,
    pub upstream: UpstreamGradient,
    pub norm: &'a Norm,
    pub saved: *const f32,
}

impl Planes {
    /// None for a convolution, and for what another layer absorbs.
    pub fn new(layer: &LayerPlan) -> Option<Self> {
        if layer.absorbed {
            return None;
        }
        let g = layer.geometry;
        let pooling = Pooling {
            height: g.height,
            width: g.width,
            kernel_height: g.filter_height,
            kernel_width: g.filter_width,
            stride_height: g.stride_height,
            stride_width: g.stride_width,
        };
        let operation = match layer.operation {
            OperationSpec::Convolution { .. } | OperationSpec::PlainConvolution { .. } => {
                return None;
            }
            OperationSpec::MaxPooling { .. } => PlaneOperation::Maximum(pooling),
            OperationSpec::AveragePooling { .. } => PlaneOperation::Average(pooling),
            OperationSpec::LocalContrast { window } => {
                PlaneOperation::LocalContrast(LocalContrast::new(g.height, g.width, window))
            }
            OperationSpec::BatchNorm | OperationSpec::Relu => PlaneOperation::Copy,
            OperationSpec::Add => PlaneOperation::Sum,
        };
        Some(Self {
            geometry: g,
            parts: layer.parts.clone(),
            operation,
        })
    }

    fn area(&self) -> usize {
        self.geometry.height * self.geometry.width
    }

    fn out_area(&self) -> usize {
        self.geometry.out_height() * self.geometry.out_width()
    }

    /// The ranges of channels that the tasks of a group take.
    pub fn tasks(&self) -> usize {
        let channels = self.geometry.channels;
        if matches!(self.operation, PlaneOperation::LocalContrast(_)) {
            1
        } else {
            channels.div_ceil(channels.div_ceil(TASKS))
        }
    }

    pub fn range(&self, task: usize) -> Range<usize> {
        let step = self.geometry.channels.div_ceil(self.tasks());
        task * step..((task + 1) * step).min(self.geometry.channels)
    }

    /// Numbers of a thread's scratch memory.
    pub fn scratch(&self) -> usize {
        self.area()
            * LANES
            * if matches!(self.operation, PlaneOperation::LocalContrast(_)) {
                local_contrast::PLANES
            } else {
                2
            }
    }

    /// Numbers that a group keeps for the backward pass.
    pub fn saved_len(&self) -> usize {
        if let PlaneOperation::LocalContrast(window) = &self.operation {
            window.saved_len() * LANES
        } else {
            0
        }
    }

    /// Writes the task's channels of `y` [groups][channels][out pixels], as they are before
    /// normalisation and ReLU.
    ///
    /// # Safety
    /// Sources, `y` and `saved` have room for the task's group, and no other thread touches its
    /// channels of `y` nor its group's `saved`.
    pub unsafe fn forward(&self, task: &mut Task<'_>, y: *mut f32, saved: *mut f32) {
        let area = self.area();
        let out_area = self.out_area();
        for channel in task.channels.clone() {
            // SAFETY: the caller vouches for sources, `y` and `saved` of the task's group, of which
            // no other thread touches these channels; scratch has a plane for an input
            // (`scratch`).
            unsafe {
                let to = y.add((task.group * self.geometry.channels + channel) * out_area * LANES);
                match &self.operation {
                    PlaneOperation::Maximum(pooling) | PlaneOperation::Average(pooling) => {
                        let plane = task.scratch.as_mut_ptr();
                        self.read(task, self.part(channel), channel, plane);
                        let from = lanes(plane, area);
                        let to = lanes_mut(to, out_area);
                        task.isa.run(Pool {
                            pooling,
                            maximum: matches!(self.operation, PlaneOperation::Maximum(_)),
                            from,
                            to,
                        });
                    }
                    PlaneOperation::LocalContrast(_) | PlaneOperation::Copy => {
                        self.read(task, self.part(channel), channel, to);
                    }
                    PlaneOperation::Sum => self.sum(task, channel, to),
                }
            }
        }
        if let PlaneOperation::LocalContrast(window) = &self.operation {
            let numbers = self.geometry.channels * area;
            // SAFETY: the only task of its group.
            unsafe {
                let y = lanes_mut(y.add(task.group * numbers * LANES), numbers);
                let saved = lanes_mut(saved.add(task.group * self.saved_len()), window.saved_len());
                let planes = lanes_mut(task.scratch.as_mut_ptr(), local_contrast::PLANES * area);
                task.isa.run(local_contrast::Forward {
                    window,
                    y,
                    saved,
                    planes,
                });
            }
        }
    }

    /// Adds (or first writes) the gradients of the task's channels to those of the sources.
    ///
    /// # Safety
    /// As `forward`; and no other thread touches the sources' gradients of these channels.
    pub unsafe fn backward(&self, task: &mut Task<'_>, own: &LayerOutput<'_>) {
        let area = self.area();
        // SAFETY: the caller vouches for the layer's output and its gradient, what it saved, and
        // the sources; scratch has as many planes as `scratch` says.
        unsafe {
            let own = self.of_group(own, task.group);
            if let PlaneOperation::LocalContrast(window) = &self.operation {
                let planes = lanes_mut(task.scratch.as_mut_ptr(), local_contrast::PLANES * area);
                task.isa.run_pointers(local_contrast::Backward {
                    window,
                    y: lanes(own.y, self.geometry.channels * area),
                    saved: lanes(own.saved, window.saved_len()),
                    upstream: own.upstream,
                    planes,
                });
            }
            for channel in task.channels.clone() {
                let gradient = self.channel_gradient(task, &own, channel);
                self.send(task, channel, lanes(gradient, area));
            }
        }
    }

    /// The layer's output from this group on.
    ///
    /// # Safety
    /// The output has this group.
    unsafe fn of_group<'a>(&self, own: &LayerOutput<'a>, group: usize) -> LayerOutput<'a> {
        let first = group * self.geometry.channels;
        let numbers = self.out_area() * LANES;
        // SAFETY: the caller's.
        unsafe {
            LayerOutput {
                y: own.y.add(first * numbers),
                upstream: own.upstream.skip(first, numbers),
                norm: own.norm,
                saved: own.saved.add(group * self.saved_len()),
            }
        }
    }

    /// Writes the gradient of one channel of the concatenated input to a plane of the scratch
    /// memory; returns that plane. `own` is that of the task's group.
    ///
    /// # Safety
    /// As `backward`; local contrast normalisation has left its planes in the scratch memory.
    unsafe fn channel_gradient(
        &self,
        task: &mut Task<'_>,
        own: &LayerOutput<'_>,
        channel: usize,
    ) -> *const f32 {
        let area = self.area();
        let first = task.scratch.as_mut_ptr();
        // SAFETY: the caller's; scratch has as many planes as `scratch` says.
        unsafe {
            let values = own.y.add(channel * self.out_area() * LANES);
            match &self.operation {
                PlaneOperation::Maximum(pooling) | PlaneOperation::Average(pooling) => {
                    let second = first.add(area * LANES);
                    self.read(task, self.part(channel), channel, first);
                    task.isa.run_pointers(PoolGradient {
                        pooling,
                        maximum: matches!(self.operation, PlaneOperation::Maximum(_)),
                        from: lanes(first, area),
                        channel,
                        upstream: own.upstream,
                        to: lanes_mut(second, area),
                    });
                    second
                }
                PlaneOperation::Copy | PlaneOperation::Sum => {
                    let Geometry { height, width, .. } = self.geometry;
                    task.isa.run_pointers(PackGradient {
                        y: values,
                        upstream: own.upstream.skip(channel, area * LANES),
                        channels: 1,
                        window: whole(height, width, height, width),
                        norm: own.norm,
                        norm_first: channel,
                        mask: task.mask,
                        to: first,
                    });
                    first
                }
                PlaneOperation::LocalContrast(window) => {
                    let to = first.add(5 * area * LANES);
                    task.isa.run_pointers(ChannelGradient {
                        channel,
                        channels: self.geometry.channels,
                        y: lanes(values, area),
                        saved: lanes(own.saved, window.saved_len()),
                        upstream: own.upstream,
                        planes: lanes(first, 5 * area),
                        to: lanes_mut(to, area),
                    });
                    to
                }
            }
        }
    }

    /// The first input (from 0) that has this channel: the only one in a concatenation.
    fn part(&self, channel: usize) -> usize {
        self.holders(channel).next().unwrap_or(0)
    }

    /// The inputs (from 0) that have this channel.
    fn holders(&self, channel: usize) -> impl Iterator<Item = usize> {
        (0..self.parts.len()).filter(move |&index| {
            let part = &self.parts[index];
            (part.first..part.first + part.channels).contains(&channel)
        })
    }

    /// Copies input `index`'s part of one channel to a plane at `to`: the activations of the layer
    /// that it comes from, and zeros where that layer is smaller.
    ///
    /// # Safety
    /// The sources have this group, and `to` has room for a plane.
    unsafe fn read(&self, task: &Task<'_>, index: usize, channel: usize, to: *mut f32) {
        let part = &self.parts[index];
        let source = &task.sources[index];
        let own = channel - part.first;
        let window = whole(
            self.geometry.height,
            self.geometry.width,
            part.height,
            part.width,
        );
        // SAFETY: the caller vouches for source and target.
        unsafe {
            let from = source
                .values
                .add((task.group * part.channels + own) * part.height * part.width * LANES);
            task.isa.run_pointers(PackInput {
                from,
                channels: 1,
                window,
                norm: source.norm,
                norm_first: own,
                mask: task.mask,
                to,
            });
        }
    }

    /// Writes the sum of one channel of the inputs to a plane at `to`.
    ///
    /// # Safety
    /// As `read`; scratch has a plane.
    unsafe fn sum(&self, task: &mut Task<'_>, channel: usize, to: *mut f32) {
        let plane = task.scratch.as_mut_ptr();
        let mut holders = self.holders(channel);
        // SAFETY: the caller's.
        unsafe {
            self.read(task, holders.next().unwrap_or(0), channel, to);
            for index in holders {
                self.read(task, index, channel, plane);
                task.isa.run(AddTo {
                    from: lanes(plane, self.area()),
                    to: lanes_mut(to, self.area()),
                });
            }
        }
    }

    /// Adds a channel's gradient to those of the layers that the channel comes from.
    ///
    /// # Safety
    /// As `backward`.
    unsafe fn send(&self, task: &Task<'_>, channel: usize, plane: &[Lane]) {
        for index in self.holders(channel) {
            // SAFETY: the caller's.
            unsafe { self.send_to(task, index, channel, plane) }
        }
    }

    /// The same for one of the inputs; the image has no gradient.
    ///
    /// # Safety
    /// As `backward`.
    unsafe fn send_to(&self, task: &Task<'_>, index: usize, channel: usize, plane: &[Lane]) {
        let part = &self.parts[index];
        let Some((gradient, adds)) = task.sources[index].gradient else {
            return;
        };
        let area = part.height * part.width;
        // SAFETY: the caller vouches for the source's gradient.
        let to = unsafe {
            lanes_mut(
                gradient.add((task.group * part.channels + channel - part.first) * area * LANES),
                area,
            )
        };
        for (to, from) in to
            .chunks_exact_mut(part.width)
            .zip(plane.chunks_exact(self.geometry.width))
        {
            for (to, from) in to.iter_mut().zip(from) {
                *to = if adds {
                    std::array::from_fn(|lane| to[lane] + from[lane])
                } else {
                    *from
                };
            }
        }
    }
}

/// A window that shows a plane at the top left of one of `rows` × `columns`.
fn whole(rows: usize, columns: usize, height: usize, width: usize) -> Window {
    Window {
        first_row: 0,
        rows,
        pad: 0,
        columns,
        height,
        width,
        to_channel: 0,
    }
}

/// # Safety
/// `count` readable groups at `from`, for as long as the result lives.
unsafe fn lanes<'a>(from: *const f32, count: usize) -> &'a [Lane] {
    // SAFETY: the caller's; a Lane is LANES numbers without padding.
    unsafe { std::slice::from_raw_parts(from.cast(), count) }
}

/// # Safety
/// `count` groups at `to` that nobody else touches for as long as the result lives.
unsafe fn lanes_mut<'a>(to: *mut f32, count: usize) -> &'a mut [Lane] {
    // SAFETY: the caller's; a Lane is LANES numbers without padding.
    unsafe { std::slice::from_raw_parts_mut(to.cast(), count) }
}

/// Adds one plane to another.
struct AddTo<'a> {
    from: &'a [Lane],
    to: &'a mut [Lane],
}

impl Kernel for AddTo<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        for (to, from) in self.to.iter_mut().zip(self.from) {
            (0..LANES).for_each(|lane| to[lane] += from[lane]);
        }
    }
}

/// Pools one plane.
struct Pool<'a> {
    pooling: &'a Pooling,
    maximum: bool,
    from: &'a [Lane],
    to: &'a mut [Lane],
}

impl Kernel for Pool<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        for (i, to) in self.to.iter_mut().enumerate() {
            let window = || self.pooling.pixels(i).map(|pixel| &self.from[pixel]);
            *to = if self.maximum {
                window().fold([f32::NEG_INFINITY; LANES], |best, x| {
                    std::array::from_fn(|lane| {
                        if x[lane] > best[lane] {
                            x[lane]
                        } else {
                            best[lane]
                        }
                    })
                })
            } else {
                let count = window().count() as f32;
                let sum: Lane = window().fold([0.0; LANES], |sum, x| {
                    std::array::from_fn(|lane| sum[lane] + x[lane])
                });
                sum.map(|sum| sum / count)
            };
        }
    }
}

/// The gradient of `Pool`'s input. A maximum's goes to the first of the window's largest pixels.
///
/// Valid: `upstream` holds the pooled planes.
struct PoolGradient<'a> {
    pooling: &'a Pooling,
    maximum: bool,
    from: &'a [Lane],
    channel: usize,
    upstream: UpstreamGradient,
    to: &'a mut [Lane],
}

impl PointerKernel for PoolGradient<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let Self {
            pooling, from, to, ..
        } = self;
        let pixels = pooling.out_height() * pooling.out_width();
        to.fill([0.0; LANES]);
        for i in 0..pixels {
            // SAFETY: the maker vouches for the gradient of each channel's pixels.
            let d = unsafe { upstream_at(self.upstream, self.channel, pixels, i) };
            if self.maximum {
                let mut best = [f32::NEG_INFINITY; LANES];
                let mut at = [None; LANES];
                for pixel in pooling.pixels(i) {
                    for lane in 0..LANES {
                        if from[pixel][lane] > best[lane] {
                            (best[lane], at[lane]) = (from[pixel][lane], Some(pixel));
                        }
                    }
                }
                for lane in 0..LANES {
                    if let Some(pixel) = at[lane] {
                        to[pixel][lane] += d[lane];
                    }
                }
            } else {
                let share = 1.0 / pooling.pixels(i).count() as f32;
                for pixel in pooling.pixels(i) {
                    (0..LANES).for_each(|lane| to[pixel][lane] += d[lane] * share);
                }
            }
        }
    }
}

//! A convolutional network that trains on the CPU: one training step, and logits for evaluation, on
//! plain slices. Knows nothing of schedules, optimisers or data sets.

use super::arena::{Arena, LayerState};
use super::convolution::{ForwardTarget, Output, PassInput, Source};
use super::head::{self, Classifier};
use super::norm::{self, Piece};
use super::pack::{GradientMoments, IntoLanes, Moments, PooledSums, UpstreamGradient, mask};
use super::planes::{LayerOutput, Task};
use super::spec::{LayerPlan, NetworkSpec, Part, Plan};
use crate::kernels::memory::LANES;
use crate::kernels::memory::{Buffer, Shared};
use crate::kernels::simd::Isa;
use crate::kernels::{KernelError, ParameterSlot};
use rayon::prelude::*;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A network's plan and its working memory. Parameters, running statistics and images belong to the
/// caller.
pub struct ConvNet {
    plan: Plan,
    arena: Arena,
    batch: usize,
    isa: Isa,
    pool: Arc<rayon::ThreadPool>,
}

/// Batch statistics, or those of the batches before.
enum Statistics<'a> {
    Batch(&'a mut [f32]),
    Running(&'a [f32]),
}

impl ConvNet {
    /// `batch`: the largest number of images in a step. The arithmetic runs in `pool` alone, and
    /// gives the same bits for any number of threads.
    pub fn new(
        spec: &NetworkSpec,
        batch: usize,
        pool: Arc<rayon::ThreadPool>,
    ) -> Result<Self, KernelError> {
        Self::with_isa(spec, batch, pool, Isa::detect())
    }

    /// As `new`, with an instruction set other than the best.
    pub fn with_isa(
        spec: &NetworkSpec,
        batch: usize,
        pool: Arc<rayon::ThreadPool>,
        isa: Isa,
    ) -> Result<Self, KernelError> {
        let plan = Plan::new(spec, batch)?;
        let arena = Arena::new(&plan, batch, pool.current_num_threads());
        Ok(Self {
            plan,
            arena,
            batch,
            isa,
            pool,
        })
    }

    /// The packed parameters, in order: each layer's weight, scale and shift, then the classifier's
    /// weight and bias.
    pub fn parameters(&self) -> &[ParameterSlot] {
        &self.plan.parameters
    }

    /// Length of the packed parameters.
    pub fn parameter_count(&self) -> usize {
        self.plan.parameter_count
    }

    /// The packed running statistics (initially mean 0, variance 1).
    pub fn running(&self) -> &[ParameterSlot] {
        &self.plan.running
    }

    /// Length of the packed running statistics.
    pub fn running_count(&self) -> usize {
        self.plan.running_count
    }

    /// Bytes of working memory.
    pub fn memory_bytes(&self) -> usize {
        self.arena.bytes()
    }

    /// Bytes of working memory that `new` would take with one thread; `usize::MAX` where `new`
    /// would refuse.
    pub fn estimate_bytes(spec: &NetworkSpec, batch: usize) -> usize {
        Plan::new(spec, batch).map_or(usize::MAX, |plan| Arena::estimate(&plan, batch))
    }

    /// One training step without its update. `images` [n, channels, height, width], `labels` `[n]`,
    /// n at least 1 and at most `batch`. Returns the mean cross-entropy; writes its gradient;
    /// updates the running statistics (momentum 0.1, unbiased variance).
    ///
    /// # Panics
    /// If a slice has not the length that the network says.
    pub fn train_step(
        &mut self,
        parameters: &[f32],
        running: &mut [f32],
        images: &[f32],
        labels: &[u8],
        gradient: &mut [f32],
    ) -> f32 {
        let n = labels.len();
        assert!(
            (1..=self.batch).contains(&n),
            "{n} images in a step, 1 to {} planned",
            self.batch
        );
        assert_eq!(images.len(), n * self.image_len(), "numbers in {n} images");
        assert_eq!(
            gradient.len(),
            self.plan.parameter_count,
            "numbers in the gradient"
        );
        self.check(parameters, running);
        let pool = Arc::clone(&self.pool);
        pool.install(|| {
            self.forward(parameters, Statistics::Batch(running), images, n);
            let mut logits = vec![0.0; n * self.plan.classes];
            let features = self.features(n);
            self.classifier(parameters).logits(&features, &mut logits);
            let mut dlogits = vec![0.0; logits.len()];
            let loss = head::cross_entropy(&logits, labels, &mut dlogits);
            self.classify_backward(parameters, &features, &dlogits, gradient);
            self.backward(parameters, n, gradient);
            loss
        })
    }

    /// Logits [n, classes] with running statistics; n may exceed `batch`.
    ///
    /// # Panics
    /// If a slice has not the length that the network says.
    pub fn logits(&mut self, parameters: &[f32], running: &[f32], images: &[f32], out: &mut [f32]) {
        let n = images.len() / self.image_len();
        assert_eq!(images.len(), n * self.image_len(), "numbers in {n} images");
        assert_eq!(out.len(), n * self.plan.classes, "logits of {n} images");
        self.check(parameters, running);
        let pool = Arc::clone(&self.pool);
        pool.install(|| {
            let chunk = self.batch * self.image_len();
            for (images, out) in images
                .chunks(chunk)
                .zip(out.chunks_mut(self.batch * self.plan.classes))
            {
                let n = images.len() / self.image_len();
                self.forward(parameters, Statistics::Running(running), images, n);
                self.classifier(parameters).logits(&self.features(n), out);
            }
        });
    }

    fn check(&self, parameters: &[f32], running: &[f32]) {
        assert_eq!(
            parameters.len(),
            self.plan.parameter_count,
            "numbers in the parameters"
        );
        assert_eq!(
            running.len(),
            self.plan.running_count,
            "numbers in the running statistics"
        );
    }

    fn image_len(&self) -> usize {
        self.plan.channels * self.plan.height * self.plan.width
    }

    fn classifier<'a>(&self, parameters: &'a [f32]) -> Classifier<'a> {
        let weights = self.plan.classes * self.plan.head_channels;
        Classifier {
            weight: &parameters[self.plan.classifier_weight..][..weights],
            bias: &parameters[self.plan.classifier_bias..],
        }
    }

    fn forward(
        &mut self,
        parameters: &[f32],
        mut statistics: Statistics<'_>,
        images: &[f32],
        n: usize,
    ) {
        self.load_images(images, n);
        for index in 0..self.plan.layers.len() {
            self.forward_layer(index, parameters, &mut statistics, n);
        }
    }

    /// Sorts [n][numbers] into [groups][numbers][LANES]; lanes without an image are zeros.
    fn load_images(&mut self, images: &[f32], n: usize) {
        let numbers = self.image_len();
        let isa = self.isa;
        let groups = self
            .arena
            .images
            .as_mut_slice()
            .par_chunks_mut(numbers * LANES);
        groups
            .zip(images.par_chunks(numbers * LANES))
            .take(n.div_ceil(LANES))
            .for_each(|(group, images)| {
                if images.len() < group.len() {
                    group.fill(0.0);
                }
                isa.run(IntoLanes {
                    images,
                    numbers,
                    to: group,
                });
            });
    }

    fn forward_layer(
        &mut self,
        index: usize,
        parameters: &[f32],
        statistics: &mut Statistics<'_>,
        n: usize,
    ) {
        let batch = matches!(statistics, Statistics::Batch(_));
        // Pixels of each piece that moments were taken of, in one group.
        let pieces = match &self.arena.layers[index].conv {
            Some(_) => self.forward_conv(index, parameters, batch, n),
            None => self.forward_planes(index, batch, n),
        };
        let layer = &self.plan.layers[index];
        if !layer.operation.normalises() {
            return;
        }
        let filters = layer.geometry.filters;
        let state = &mut self.arena.layers[index];
        let scale = &parameters[layer.scale..][..filters];
        let shift = &parameters[layer.shift..][..filters];
        match statistics {
            Statistics::Running(running) => {
                let variance = &running[layer.variance..][..filters];
                norm::from_running(
                    &running[layer.mean..][..filters],
                    variance,
                    scale,
                    shift,
                    &mut state.norm,
                );
            }
            Statistics::Batch(running) => {
                let blocks = pieces.len();
                let moments = self
                    .arena
                    .moments
                    .as_slice()
                    .chunks(filters * 2 * LANES)
                    .take(n.div_ceil(LANES) * blocks)
                    .enumerate();
                let pieces: Vec<_> = moments
                    .map(|(task, moments)| Piece {
                        moments,
                        lanes: lanes(n, task / blocks),
                        pixels: pieces[task % blocks],
                    })
                    .collect();
                let (mean, variance) =
                    running[layer.mean..layer.variance + filters].split_at_mut(filters);
                norm::from_batch(&pieces, scale, shift, &mut state.norm, (mean, variance));
            }
        }
    }

    /// Convolves into the layer's `y`; with `batch`, notes moments. Returns the pixels of each
    /// block.
    fn forward_conv(
        &mut self,
        index: usize,
        parameters: &[f32],
        batch: bool,
        n: usize,
    ) -> Vec<usize> {
        let layer = &self.plan.layers[index];
        let (before, rest) = self.arena.layers.split_at_mut(index);
        let state = &mut rest[0];
        let Some(conv) = &state.conv else {
            return Vec::new();
        };
        conv.pack_weights(weights(layer, parameters), self.arena.packed.as_mut_slice());
        let packed = self.arena.packed.as_slice();
        // SAFETY: inputs are only read; each task writes its own rows of y and its own moments.
        let shared = unsafe {
            let sources = sources(&layer.parts, before, &self.arena.images, |_| None);
            Shared::new((
                sources,
                state.y.as_mut_ptr(),
                self.arena.moments.as_mut_ptr(),
            ))
        };
        let isa = self.isa;
        let scratch = &self.arena.scratch;
        (0..conv.forward_tasks(n))
            .into_par_iter()
            .with_max_len(1)
            .for_each(|task| {
                let (sources, y, moments) = shared.get();
                let mut scratch = thread_scratch(scratch);
                // SAFETY: the arena's tensors have room for every group.
                unsafe {
                    let input = PassInput {
                        isa,
                        images: n,
                        sources,
                    };
                    let target = ForwardTarget {
                        y: *y,
                        moments: batch.then_some(*moments),
                    };
                    conv.forward(input, task, packed, &mut scratch, target);
                }
            });
        let blocks = conv.forward_blocks();
        (0..blocks).map(|block| conv.block_pixels(block)).collect()
    }

    /// The same for a layer without filters; moments are taken where it normalises.
    fn forward_planes(&mut self, index: usize, batch: bool, n: usize) -> Vec<usize> {
        let layer = &self.plan.layers[index];
        let (before, rest) = self.arena.layers.split_at_mut(index);
        let state = &mut rest[0];
        let Some(planes) = &state.planes else {
            return Vec::new();
        };
        // SAFETY: inputs are only read; each task writes its own channels of y, what its group
        // keeps, and its group's moments.
        let shared = unsafe {
            let sources = sources(&layer.parts, before, &self.arena.images, |_| None);
            Shared::new((
                sources,
                state.y.as_mut_ptr(),
                state.saved.as_mut_ptr(),
                self.arena.moments.as_mut_ptr(),
            ))
        };
        let isa = self.isa;
        let scratch = &self.arena.planes;
        let tasks = planes.tasks();
        let channels = layer.geometry.filters;
        let pixels = layer.geometry.out_height() * layer.geometry.out_width();
        (0..n.div_ceil(LANES) * tasks)
            .into_par_iter()
            .with_max_len(1)
            .for_each(|task| {
                let (sources, y, saved, moments) = shared.get();
                let mut scratch = thread_scratch(scratch);
                let group = task / tasks;
                let range = planes.range(task % tasks);
                let mut task = Task {
                    isa,
                    group,
                    channels: range.clone(),
                    sources,
                    mask: &mask(n, group),
                    scratch: &mut scratch,
                };
                // SAFETY: the arena's tensors have room for every group.
                unsafe {
                    planes.forward(&mut task, *y, *saved);
                    if batch && layer.operation.normalises() {
                        let first = group * channels + range.start;
                        let y = y.add(first * pixels * LANES);
                        let out = moments.add(first * 2 * LANES);
                        isa.run_pointers(Moments {
                            y,
                            y_channel: pixels * LANES,
                            channels: range.len(),
                            pixels,
                            out,
                        });
                    }
                }
            });
        vec![pixels]
    }

    /// Globally pooled outputs [n, channels].
    fn features(&mut self, n: usize) -> Vec<f32> {
        let channels = self.plan.head_channels;
        let area = self.plan.head_height * self.plan.head_width;
        let mut features = vec![0.0; n * channels];
        let plan = &self.plan;
        let arena = &self.arena;
        let isa = self.isa;
        features
            .par_chunks_mut(channels * LANES)
            .enumerate()
            .for_each(|(group, features)| {
                for part in &plan.head {
                    let pixels = part.height * part.width;
                    let (y, norm) = match part.source {
                        0 => (arena.images.as_ptr(), None),
                        i => (
                            arena.layers[i - 1].y.as_ptr(),
                            arena.layers[i - 1].reading(),
                        ),
                    };
                    let mut sums = vec![0.0; part.channels * LANES];
                    // SAFETY: `y` is the arena's tensor of this part and has room for every group.
                    unsafe {
                        let y = y.add(group * part.channels * pixels * LANES);
                        isa.run_pointers(PooledSums {
                            y,
                            norm,
                            channels: part.channels,
                            pixels,
                            out: sums.as_mut_ptr(),
                        });
                    }
                    for (lane, features) in features.chunks_mut(channels).enumerate() {
                        for (channel, feature) in features[part.first..][..part.channels]
                            .iter_mut()
                            .enumerate()
                        {
                            *feature = sums[channel * LANES + lane] / area as f32;
                        }
                    }
                }
            });
        features
    }

    /// The classifier's own gradients, and what reaches each pixel of the outputs.
    fn classify_backward(
        &mut self,
        parameters: &[f32],
        features: &[f32],
        dlogits: &[f32],
        gradient: &mut [f32],
    ) {
        let channels = self.plan.head_channels;
        let area = self.plan.head_height * self.plan.head_width;
        let classifier = self.classifier(parameters);
        let mut dfeatures = vec![0.0; features.len()];
        let (dweight, dbias) =
            gradient[self.plan.classifier_weight..].split_at_mut(classifier.weight.len());
        classifier.gradients(features, dlogits, dweight, dbias, &mut dfeatures);
        for part in self.plan.head.iter().filter(|p| p.source > 0) {
            let Some(pixels) = &mut self.arena.layers[part.source - 1].head else {
                continue;
            };
            let pixels = pixels.as_mut_slice();
            pixels.fill(0.0);
            for (image, dfeatures) in dfeatures.chunks(channels).enumerate() {
                for (channel, &d) in dfeatures[part.first..][..part.channels].iter().enumerate() {
                    pixels[(image / LANES * part.channels + channel) * LANES + image % LANES] =
                        d / area as f32;
                }
            }
        }
    }

    fn backward(&mut self, parameters: &[f32], n: usize, gradient: &mut [f32]) {
        for index in (0..self.plan.layers.len()).rev() {
            let layer = &self.plan.layers[index];
            if !self.arena.layers[index].live {
                // Nothing that the classifier sees depends on it.
                gradient[layer.parameters.clone()].fill(0.0);
                continue;
            }
            if layer.operation.normalises() {
                self.backward_norm(index, n, gradient);
            }
            match &self.arena.layers[index].conv {
                Some(_) => self.backward_conv(index, parameters, n, gradient),
                None => self.backward_planes(index, n),
            }
        }
    }

    fn upstream(&self, index: usize) -> UpstreamGradient {
        let state = &self.arena.layers[index];
        UpstreamGradient {
            convolutions: state
                .gradient
                .map(|slot| self.arena.gradients[slot].as_ptr()),
            head: state
                .head
                .as_ref()
                .map(crate::kernels::memory::Buffer::as_ptr),
        }
    }

    /// Gradients of scale and shift, and the coefficients for the gradient of the convolution's
    /// output.
    fn backward_norm(&mut self, index: usize, n: usize, gradient: &mut [f32]) {
        let layer = &self.plan.layers[index];
        let g = &layer.geometry;
        let filters = g.filters;
        let pixels = g.out_height() * g.out_width();
        let state = &self.arena.layers[index];
        let isa = self.isa;
        let norm = &state.norm;
        // SAFETY: the tensors are only read; of the moments, each task writes its own.
        let shared = unsafe {
            Shared::new((
                state.y.as_ptr(),
                self.upstream(index),
                self.arena.moments.as_mut_ptr(),
            ))
        };
        (0..n.div_ceil(LANES))
            .into_par_iter()
            .with_max_len(1)
            .for_each(|group| {
                let &(y, upstream, moments) = shared.get();
                // SAFETY: the arena's tensors have room for every group.
                unsafe {
                    let y = y.add(group * filters * pixels * LANES);
                    let upstream = upstream.skip(group * filters, pixels * LANES);
                    let out = moments.add(group * filters * 2 * LANES);
                    isa.run_pointers(GradientMoments {
                        y,
                        upstream,
                        norm,
                        channels: filters,
                        pixels,
                        out,
                    });
                }
            });
        let pieces = self
            .arena
            .moments
            .as_slice()
            .chunks(filters * 2 * LANES)
            .take(n.div_ceil(LANES))
            .enumerate();
        let pieces: Vec<_> = pieces
            .map(|(group, moments)| Piece {
                moments,
                lanes: lanes(n, group),
                pixels,
            })
            .collect();
        let (dscale, dshift) = gradient[layer.scale..layer.shift + filters].split_at_mut(filters);
        norm::gradients(&pieces, &mut self.arena.layers[index].norm, dscale, dshift);
    }

    /// Gradient of the weights, and what reaches the inputs.
    fn backward_conv(&mut self, index: usize, parameters: &[f32], n: usize, gradient: &mut [f32]) {
        let layer = &self.plan.layers[index];
        let targets: Vec<*mut f32> = self
            .arena
            .gradients
            .iter_mut()
            .map(Buffer::as_mut_ptr)
            .collect();
        let upstream = self.upstream(index);
        let layers = &self.arena.layers;
        let isa = self.isa;
        let scratch = &self.arena.scratch;
        let state = &layers[index];
        let Some(conv) = &state.conv else { return };
        conv.flip_weights(weights(layer, parameters), self.arena.packed.as_mut_slice());
        let packed = self.arena.packed.as_slice();
        let sources = sources(&layer.parts, layers, &self.arena.images, |source| {
            target(&layers[source - 1], &targets, index)
        });
        // SAFETY: tasks read the tensors, and each writes the rows of the inputs' gradients that
        // belong to its own output rows.
        let shared = unsafe {
            Shared::new((
                sources,
                Output {
                    y: state.y.as_ptr(),
                    upstream,
                    norm: &state.norm,
                },
            ))
        };
        let len = conv.weight_len();
        let tasks = conv.backward_tasks(n);
        let private = &mut self.arena.weight_gradients.as_mut_slice()[..tasks * len];
        private
            .par_chunks_mut(len)
            .with_max_len(1)
            .enumerate()
            .for_each(|(task, dw)| {
                let mut scratch = thread_scratch(scratch);
                let (sources, output) = shared.get();
                dw.fill(0.0);
                // SAFETY: the arena's tensors have room for every group.
                unsafe {
                    let input = PassInput {
                        isa,
                        images: n,
                        sources,
                    };
                    conv.backward(input, task, output, packed, &mut scratch, dw);
                }
            });
        reduce(private, &mut gradient[layer.weight..][..len]);
    }

    /// What reaches the inputs of a layer without filters.
    fn backward_planes(&mut self, index: usize, n: usize) {
        let targets: Vec<*mut f32> = self
            .arena
            .gradients
            .iter_mut()
            .map(Buffer::as_mut_ptr)
            .collect();
        let upstream = self.upstream(index);
        let layers = &self.arena.layers;
        let isa = self.isa;
        let scratch = &self.arena.planes;
        let state = &layers[index];
        let Some(planes) = &state.planes else { return };
        let parts = &self.plan.layers[index].parts;
        let sources = sources(parts, layers, &self.arena.images, |source| {
            target(&layers[source - 1], &targets, index)
        });
        // SAFETY: tasks read the tensors, and each writes its own channels of the inputs'
        // gradients.
        let shared = unsafe {
            Shared::new((
                sources,
                LayerOutput {
                    y: state.y.as_ptr(),
                    upstream,
                    norm: &state.norm,
                    saved: state.saved.as_ptr(),
                },
            ))
        };
        let tasks = planes.tasks();
        (0..n.div_ceil(LANES) * tasks)
            .into_par_iter()
            .with_max_len(1)
            .for_each(|task| {
                let (sources, output) = shared.get();
                let mut scratch = thread_scratch(scratch);
                let group = task / tasks;
                let range = planes.range(task % tasks);
                let mut task = Task {
                    isa,
                    group,
                    channels: range,
                    sources,
                    mask: &mask(n, group),
                    scratch: &mut scratch,
                };
                // SAFETY: the arena's tensors have room for every group.
                unsafe { planes.backward(&mut task, output) }
            });
    }
}

/// Where the gradient of an input of layer `reader` goes, and whether something is there already.
fn target(input: &LayerState, targets: &[*mut f32], reader: usize) -> Option<(*mut f32, bool)> {
    Some((targets[input.gradient?], input.last_reader != Some(reader)))
}

/// A layer's inputs as they lie in the arena.
fn sources<'a>(
    parts: &[Part],
    layers: &'a [LayerState],
    images: &Buffer,
    gradient: impl Fn(usize) -> Option<(*mut f32, bool)>,
) -> Vec<Source<'a>> {
    let source = |part: &Part| match part.source {
        0 => Source {
            values: images.as_ptr(),
            norm: None,
            gradient: None,
        },
        i => Source {
            values: layers[i - 1].y.as_ptr(),
            norm: layers[i - 1].reading(),
            gradient: gradient(i),
        },
    };
    parts.iter().map(source).collect()
}

fn weights<'a>(layer: &LayerPlan, parameters: &'a [f32]) -> &'a [f32] {
    &parameters[layer.weight..][..layer.geometry.filters * layer.geometry.taps()]
}

/// Lanes of a group that hold an image.
fn lanes(n: usize, group: usize) -> usize {
    (n - group * LANES).min(LANES)
}

/// This thread's scratch memory; never waited for, but by threads outside the pool.
fn thread_scratch<T>(scratch: &[Mutex<T>]) -> MutexGuard<'_, T> {
    let thread = rayon::current_thread_index().unwrap_or(0) % scratch.len();
    scratch[thread]
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
}

/// Sums the tasks' gradients in order of the tasks.
fn reduce(private: &[f32], to: &mut [f32]) {
    const CHUNK: usize = 4096;
    let len = to.len();
    to.par_chunks_mut(CHUNK)
        .enumerate()
        .for_each(|(chunk, to)| {
            let mut sums = [0.0f64; CHUNK];
            for task in private.chunks(len) {
                for (sum, &value) in sums.iter_mut().zip(&task[chunk * CHUNK..][..to.len()]) {
                    *sum += f64::from(value);
                }
            }
            for (to, sum) in to.iter_mut().zip(sums) {
                *to = sum as f32;
            }
        });
}

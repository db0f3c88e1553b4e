//! A convolutional network that trains on the CPU: one training step, and logits for evaluation, on
//! plain slices; its layers run in `forward` and `backward`. Knows nothing of schedules, optimisers
//! or data sets.

mod backward;
mod forward;

use super::arena::{Arena, LayerState};
use super::convolution::Source;
use super::head::{self, Classifier};
use super::pack::{IntoLanes, PooledSums};
use super::spec::{LayerPlan, NetworkSpec, Part, Plan};
use crate::kernels::memory::{Buffer, LANES};
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
    label_smoothing: f64,
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
        let plan = Plan::new(spec, batch)?.fused();
        let arena = Arena::new(&plan, batch, pool.current_num_threads());
        Ok(Self {
            plan,
            arena,
            batch,
            isa,
            pool,
            label_smoothing: 0.0,
        })
    }

    /// The share of each training target that is spread evenly over all classes, 0 at first.
    pub fn set_label_smoothing(&mut self, share: f64) {
        self.label_smoothing = share;
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
        Plan::new(spec, batch).map_or(usize::MAX, |plan| Arena::estimate(&plan.fused(), batch))
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
            let loss = head::cross_entropy(&logits, labels, self.label_smoothing, &mut dlogits);
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

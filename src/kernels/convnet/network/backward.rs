//! The backward pass of a network, from the last layer to the first: gradients of the layers'
//! parameters, and what reaches their inputs. Knows nothing of the classifier's own gradients.

use super::{ConvNet, lanes, sources, thread_scratch, weights};
use crate::kernels::convnet::arena::LayerState;
use crate::kernels::convnet::convolution::{Output, PassInput};
use crate::kernels::convnet::norm::{self, Piece};
use crate::kernels::convnet::pack::{GradientMoments, UpstreamGradient, mask};
use crate::kernels::convnet::planes::{LayerOutput, Task};
use crate::kernels::memory::{Buffer, LANES, Shared};
use rayon::prelude::*;

impl ConvNet {
    /// From what reaches the outputs' pixels, the gradients of every layer's parameters.
    pub(super) fn backward(&mut self, parameters: &[f32], n: usize, gradient: &mut [f32]) {
        for index in (0..self.plan.layers.len()).rev() {
            let layer = &self.plan.layers[index];
            if !self.arena.layers[index].live {
                // Nothing that the classifier sees depends on it, or the layer that absorbed it is
                // still to come.
                gradient[layer.parameters.clone()].fill(0.0);
                continue;
            }
            if layer.normalises {
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

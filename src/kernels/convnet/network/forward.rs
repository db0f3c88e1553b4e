//! The forward pass of a network, layer after layer: what each task computes, and how its layer is
//! normalised. Knows nothing of the classifier or of gradients.

use super::{ConvNet, Statistics, lanes, sources, thread_scratch, weights};
use crate::kernels::convnet::convolution::{ForwardTarget, PassInput};
use crate::kernels::convnet::norm::{self, Piece};
use crate::kernels::convnet::pack::{Moments, mask};
use crate::kernels::convnet::planes::Task;
use crate::kernels::memory::{LANES, Shared};
use rayon::prelude::*;

impl ConvNet {
    /// Runs n images through every layer, into the arena.
    pub(super) fn forward(
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

    fn forward_layer(
        &mut self,
        index: usize,
        parameters: &[f32],
        statistics: &mut Statistics<'_>,
        n: usize,
    ) {
        let layer = &self.plan.layers[index];
        if layer.absorbed {
            return;
        }
        let batch = layer.normalises && matches!(statistics, Statistics::Batch(_));
        // Pixels of each piece that moments were taken of, in one group.
        let pieces = match &self.arena.layers[index].conv {
            Some(_) => self.forward_conv(index, parameters, batch, n),
            None => self.forward_planes(index, batch, n),
        };
        let layer = &self.plan.layers[index];
        if !layer.normalises {
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

    /// The same for a layer without filters.
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
                    if batch {
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
}

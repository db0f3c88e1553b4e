//! The backward pass of one chunk of one group: packed gradients to inputs, and with packed inputs
//! to weights. Knows of blocks alone, not of other threads' work.

use super::{Convolution, GroupInput, Output, PassInput, Scratch, mask, nth, positions, ranges};
use crate::kernels::convnet::convolution::direct::{Sweep, WeightSweep};
use crate::kernels::convnet::pack::{PackGradient, Window};
use crate::kernels::convnet::winograd::weight_tiles::{TileProducts, ToTaps};
use crate::kernels::convnet::winograd::{Axis, Evaluation, point_step};
use crate::kernels::memory::Buffer;
use crate::kernels::memory::LANES;
use crate::kernels::simd::Isa;
use std::ops::Range;

/// Output rows and filters whose gradient is packed at once.
struct GradientBlock {
    filters: Range<usize>,
    /// Which block of filters it is.
    index: usize,
    rows: Range<usize>,
}

/// Inputs and gradients that were packed for the same output rows.
struct PackedBlock<'a> {
    inputs: &'a [f32],
    channels: Range<usize>,
    gradients: &'a [f32],
    filters: Range<usize>,
    /// Output rows.
    rows: usize,
}

impl Convolution {
    /// One of the `backward_tasks`: adds to the weights' gradient `dw` [filters, channels, filter
    /// height, filter width], and writes (or adds) its part of the sources' gradients. `flipped`
    /// are the weights of `flip_weights`.
    ///
    /// # Safety
    /// The input's sources, their gradients and `output` are whole tensors with a group for each of
    /// the images; no other thread works on the same task meanwhile.
    pub unsafe fn backward(
        &self,
        input: PassInput<'_>,
        task: usize,
        output: &Output<'_>,
        flipped: &[f32],
        scratch: &mut Scratch,
        dw: &mut [f32],
    ) {
        let chunks = self.backward_chunks();
        assert_eq!(dw.len(), self.weight_len(), "one number for each weight");
        // SAFETY: the caller vouches for the tensors and for this task's part of them.
        unsafe {
            if let Some(small) = &self.small {
                self.backward_pixels(small, (input, task), output, flipped, scratch, dw);
                return;
            }
            let input = GroupInput {
                isa: input.isa,
                group: task / chunks,
                sources: input.sources,
                mask: &mask(input.images, task / chunks),
            };
            self.backward_chunk(input, task % chunks, output, flipped, scratch, dw);
        }
    }

    /// One chunk of one group. It writes the gradients of the input rows below its output rows
    /// times the stride.
    ///
    /// # Safety
    /// As `backward`.
    unsafe fn backward_chunk(
        &self,
        input: GroupInput<'_>,
        chunk: usize,
        output: &Output<'_>,
        flipped: &[f32],
        scratch: &mut Scratch,
        dw: &mut [f32],
    ) {
        let g = &self.geometry;
        scratch.sums.as_mut_slice()[..self.sums_len()].fill(0.0);
        let all_blocks = g.out_height().div_ceil(self.backward.rows);
        for block in nth(all_blocks, self.chunk, chunk) {
            let rows = nth(g.out_height(), self.backward.rows, block);
            for (index, filters) in ranges(g.filters, self.backward.filters).enumerate() {
                let block = GradientBlock {
                    filters,
                    index,
                    rows: rows.clone(),
                };
                let gradients = scratch.gradients.as_mut_slice();
                let tiles = &mut scratch.tiles;
                // SAFETY: rows and filters are within the geometry of tensors for which the caller
                // vouches.
                unsafe {
                    self.pack_gradient(input, output, &block, gradients);
                    self.sweep_inputs(input, &block, flipped, gradients, tiles);
                    self.weight_gradients(input, &block, scratch, dw);
                }
            }
        }
        if let Some(axes) = self.axes {
            self.points_to_taps(input.isa, axes, scratch.sums.as_slice(), dw);
        }
    }

    /// Adds what a packed block of gradients makes of the weights' gradient: to `dw`, or with tiles
    /// to the sums at the points.
    ///
    /// # Safety
    /// As `pack_input`.
    unsafe fn weight_gradients(
        &self,
        input: GroupInput<'_>,
        block: &GradientBlock,
        scratch: &mut Scratch,
        dw: &mut [f32],
    ) {
        let rows = &block.rows;
        for channels in ranges(self.geometry.channels, self.backward.channels) {
            let shape = self.input_shape(rows.len(), &self.backward);
            let inputs = scratch.inputs.as_mut_slice();
            // SAFETY: the caller vouches for the sources.
            unsafe { self.pack_input(input, channels.clone(), rows.start, shape, inputs) };
            let packed = PackedBlock {
                inputs,
                channels,
                gradients: scratch.gradients.as_slice(),
                filters: block.filters.clone(),
                rows: rows.len(),
            };
            let sums = &mut scratch.sums.as_mut_slice()[..self.sums_len()];
            match self.axes {
                Some(axes) => {
                    self.multiply_tiles(input.isa, axes, &packed, &mut scratch.tiles, sums);
                }
                None => self.sweep_weights(input.isa, &packed, dw),
            }
        }
    }

    /// Adds the sums at the points to the weights' gradient.
    fn points_to_taps(&self, isa: Isa, axes: (Axis, Axis), sums: &[f32], dw: &mut [f32]) {
        let g = &self.geometry;
        assert_eq!(dw.len(), self.weight_len(), "one number for each weight");
        assert!(sums.len() >= self.sums_len(), "all sums");
        // SAFETY: `sums` and `dw` have as many numbers as filters and channels ask for (asserted).
        unsafe {
            isa.run_pointers(ToTaps {
                axes,
                evaluations: &[axes.0.evaluation(), axes.1.evaluation()],
                sums: sums.as_ptr(),
                filters: g.filters,
                channels: g.channels,
                row: g.channels.next_multiple_of(LANES),
                to: dw.as_mut_ptr(),
            });
        }
    }

    /// The weights' gradient at the points, from one packed block.
    fn multiply_tiles(
        &self,
        isa: Isa,
        axes: (Axis, Axis),
        block: &PackedBlock<'_>,
        points: &mut Buffer,
        sums: &mut [f32],
    ) {
        let channels = &block.channels;
        let filters = &block.filters;
        let g = &self.geometry;
        let row = g.channels.next_multiple_of(LANES);
        let across = g.out_width().div_ceil(axes.1.outputs());
        let capacity = self.backward_tiles(self.backward.rows);
        // SAFETY: both blocks were packed as far as tiles reach, the gradient's interior behind its
        // halo; `points` has room for both (`tile_scratch`), `sums` for all filters and channels.
        unsafe {
            let to = points.as_mut_ptr();
            let inputs = Evaluation {
                source: block.inputs.as_ptr(),
                source_channel: self.input_channel(self.backward.rows),
                source_row: self.input_columns() * LANES,
                channels: channels.len(),
                across,
                axes,
                capacity,
                to: to.add(self.values(0) * point_step(self.backward.filters, capacity)),
            };
            let gradients = Evaluation {
                source: block
                    .gradients
                    .as_ptr()
                    .add((self.halo[0].0 * self.gradient_columns() + self.halo[1].0) * LANES),
                source_channel: self.gradient_channel(self.backward.rows),
                source_row: self.gradient_columns() * LANES,
                channels: filters.len(),
                to,
                ..inputs
            };
            isa.run_pointers(TileProducts {
                inputs,
                gradients,
                tiles: self.backward_tiles(block.rows),
                channel_offsets: &self.taps[..channels.len()],
                sums: sums.as_mut_ptr().add(filters.start * row + channels.start),
                sums_point: g.filters * row,
                sums_row: row,
                gradients_done: channels.start > 0,
            });
        }
    }

    /// Packs the gradient of a block of the output.
    ///
    /// # Safety
    /// `output` is a whole tensor that has this group.
    unsafe fn pack_gradient(
        &self,
        input: GroupInput<'_>,
        output: &Output<'_>,
        block: &GradientBlock,
        to: &mut [f32],
    ) {
        let filters = &block.filters;
        let rows = &block.rows;
        let g = &self.geometry;
        let plane = g.out_height() * g.out_width() * LANES;
        let channel = input.group * g.filters + filters.start;
        assert!(
            filters.len() * self.gradient_channel(self.backward.rows) <= to.len(),
            "scratch memory is as large as the largest block"
        );
        // SAFETY: filters lie in the output tensor, which the caller vouches for, and in the block
        // (asserted).
        unsafe {
            input.isa.run_pointers(PackGradient {
                y: output.y.add(channel * plane),
                upstream: output.upstream.skip(channel, plane),
                channels: filters.len(),
                window: Window {
                    first_row: rows.start.cast_signed() - self.halo[0].0.cast_signed(),
                    rows: self.gradient_rows(rows.len()),
                    pad: self.halo[1].0,
                    columns: self.gradient_columns(),
                    height: g.out_height(),
                    width: g.out_width(),
                    to_channel: self.gradient_channel(self.backward.rows),
                },
                norm: output.norm,
                norm_first: filters.start,
                mask: input.mask,
                to: to.as_mut_ptr(),
            });
        }
    }

    /// Gradients of the inputs from the packed gradient of output rows `rows`: those of input rows
    /// `rows` · stride.
    ///
    /// # Safety
    /// The sources' gradients are whole tensors that have this group, and no other thread touches
    /// these rows of them meanwhile.
    unsafe fn sweep_inputs(
        &self,
        input: GroupInput<'_>,
        block: &GradientBlock,
        flipped: &[f32],
        gradients: &[f32],
        tiles: &mut Buffer,
    ) {
        let filters = &block.filters;
        let rows = &block.rows;
        let g = &self.geometry;
        let combinations = self.phases[0].len() * self.phases[1].len();
        for (index, (part, source)) in self.parts.iter().zip(input.sources).enumerate() {
            let Some((out, accumulate)) = source.gradient else {
                continue;
            };
            let plane = part.height * part.width * LANES;
            for (i, vertical) in self.phases[0].iter().enumerate() {
                let sub_rows = positions(part.height, g.stride_height, vertical.first)
                    .min(rows.end)
                    .saturating_sub(rows.start);
                for (j, horizontal) in self.phases[1].iter().enumerate() {
                    let columns = positions(part.width, g.stride_width, horizontal.first);
                    if sub_rows == 0 || columns == 0 {
                        continue;
                    }
                    let weights = self.flipped[(block.index * self.parts.len() + index)
                        * combinations
                        + i * self.phases[1].len()
                        + j];
                    let source_row = self.halo[0].0.strict_add_signed(vertical.offset);
                    let source_column = self.halo[1].0.strict_add_signed(horizontal.offset);
                    let row = rows.start * g.stride_height + vertical.first;
                    // SAFETY: rows and columns of this phase that lie within the part
                    // (`positions`), of a tensor that the caller vouches for; the halos are as wide
                    // as the phases reach.
                    unsafe {
                        let sweep = Sweep {
                            source: gradients.as_ptr().add(
                                (source_row * self.gradient_columns() + source_column) * LANES,
                            ),
                            source_channel: self.gradient_channel(self.backward.rows),
                            source_row: self.gradient_columns() * LANES,
                            step_row: self.gradient_columns() * LANES,
                            step_column: LANES,
                            channels: filters.len(),
                            taps_height: vertical.taps,
                            taps_width: horizontal.taps,
                            weights: flipped.as_ptr().add(weights),
                            out: out.add(
                                input.group * part.channels * plane
                                    + (row * part.width + horizontal.first) * LANES,
                            ),
                            out_channel: plane,
                            out_row: g.stride_height * part.width * LANES,
                            out_column: g.stride_width * LANES,
                            filters: part.channels,
                            rows: sub_rows,
                            columns,
                            accumulate: accumulate || block.index > 0,
                        };
                        self.sweep(input.isa, sweep, tiles);
                    }
                }
            }
        }
    }

    /// The weights' gradient from one packed block.
    fn sweep_weights(&self, isa: Isa, block: &PackedBlock<'_>, dw: &mut [f32]) {
        let channels = &block.channels;
        let filters = &block.filters;
        let g = &self.geometry;
        let area = g.filter_height * g.filter_width;
        assert_eq!(dw.len(), self.weight_len(), "one number for each weight");
        // SAFETY: both blocks were packed for these rows; the interior of the gradient's starts
        // behind its halo.
        unsafe {
            isa.run_pointers(WeightSweep {
                source: block.inputs.as_ptr(),
                taps: &self.taps[..channels.len() * area],
                step_row: g.stride_height * self.input_columns() * LANES,
                step_column: g.stride_width * LANES,
                gradient: block
                    .gradients
                    .as_ptr()
                    .add((self.halo[0].0 * self.gradient_columns() + self.halo[1].0) * LANES),
                gradient_channel: self.gradient_channel(self.backward.rows),
                gradient_row: self.gradient_columns() * LANES,
                filters: filters.len(),
                rows: block.rows,
                columns: g.out_width(),
                out: dw
                    .as_mut_ptr()
                    .add(filters.start * g.taps() + channels.start * area),
                out_filter: g.taps(),
            });
        }
    }
}

//! The backward pass of one chunk of one group: packed gradients to inputs, and with packed inputs
//! to weights. Knows of blocks alone, not of other threads' work.

use super::{Convolution, Output, Scratch, Source, nth, positions, ranges};
use crate::kernels::convnet::convolution::direct::{Sweep, WeightSweep};
use crate::kernels::convnet::pack::{PackGradient, Window};
use crate::kernels::convnet::winograd::weight_tiles::{TileProducts, ToTaps};
use crate::kernels::convnet::winograd::{Axis, Evaluation, point_step};
use crate::kernels::memory::Buffer;
use crate::kernels::memory::LANES;
use crate::kernels::simd::Isa;
use std::ops::Range;

impl Convolution {
    /// One chunk of one group: adds to the weights' gradient `dw`, and writes (or adds) the
    /// sources' gradients.
    ///
    /// # Safety
    /// As `forward`; `output` and the sources' gradients are whole tensors too, and no other thread
    /// touches what this chunk writes of the latter: input rows below its output rows times the
    /// stride.
    #[allow(
        clippy::too_many_arguments,
        reason = "one call site each; a struct would only rename them"
    )]
    pub unsafe fn backward(
        &self,
        isa: Isa,
        group: usize,
        chunk: usize,
        sources: &[Source<'_>],
        output: &Output<'_>,
        mask: &[f32; LANES],
        flipped: &[f32],
        scratch: &mut Scratch,
        dw: &mut [f32],
    ) {
        let g = &self.geometry;
        let (inputs, gradients, tiles) = (
            scratch.inputs.as_mut_slice(),
            scratch.gradients.as_mut_slice(),
            &mut scratch.tiles,
        );
        let sums = &mut scratch.sums.as_mut_slice()[..self.sums_len()];
        sums.fill(0.0);
        let blocks = nth(
            g.out_height().div_ceil(self.backward.rows),
            self.chunk,
            chunk,
        );
        for rows in blocks.map(|block| nth(g.out_height(), self.backward.rows, block)) {
            for (index, filters) in ranges(g.filters, self.backward.filters).enumerate() {
                // SAFETY: as the caller vouches; rows and filters are within the geometry.
                unsafe {
                    self.pack_gradient(
                        isa,
                        group,
                        output,
                        mask,
                        filters.clone(),
                        rows.clone(),
                        gradients,
                    );
                    self.sweep_inputs(
                        isa,
                        group,
                        sources,
                        index,
                        filters.clone(),
                        rows.clone(),
                        flipped,
                        (gradients, tiles),
                    );
                    for channels in ranges(g.channels, self.backward.channels) {
                        let shape = (
                            self.input_rows(rows.len()),
                            self.input_columns(),
                            self.input_channel(self.backward.rows),
                        );
                        self.pack_input(
                            isa,
                            group,
                            sources,
                            mask,
                            channels.clone(),
                            rows.start,
                            shape,
                            inputs,
                        );
                        let (filters, packed) = (filters.clone(), (&*inputs, &*gradients));
                        match self.axes {
                            Some(axes) => self.multiply_tiles(
                                isa,
                                axes,
                                (channels, filters),
                                rows.len(),
                                packed,
                                tiles,
                                sums,
                            ),
                            None => {
                                self.sweep_weights(isa, channels, filters, rows.len(), packed, dw);
                            }
                        }
                    }
                }
            }
        }
        if let Some(axes) = self.axes {
            let (row, evaluations) = (
                g.channels.next_multiple_of(LANES),
                &[axes.0.evaluation(), axes.1.evaluation()],
            );
            let (filters, channels, to) = (g.filters, g.channels, dw.as_mut_ptr());
            assert_eq!(dw.len(), self.weight_len(), "one number for each weight");
            // SAFETY: `sums` has `sums_len` numbers, `dw` one for each weight (asserted).
            unsafe {
                isa.run_pointers(ToTaps {
                    axes,
                    evaluations,
                    sums: sums.as_ptr(),
                    filters,
                    channels,
                    row,
                    to,
                });
            }
        }
    }

    /// The weights' gradient at the points, from one packed block.
    #[allow(clippy::too_many_arguments, reason = "as `backward`")]
    pub(super) unsafe fn multiply_tiles(
        &self,
        isa: Isa,
        axes: (Axis, Axis),
        (channels, filters): (Range<usize>, Range<usize>),
        rows: usize,
        (inputs, gradients): (&[f32], &[f32]),
        points: &mut Buffer,
        sums: &mut [f32],
    ) {
        let g = &self.geometry;
        let row = g.channels.next_multiple_of(LANES);
        let across = g.out_width().div_ceil(axes.1.outputs());
        let capacity = self.backward_tiles(self.backward.rows);
        // SAFETY: both blocks were packed as far as tiles reach, the gradient's interior behind its
        // halo; `points` has room for both (`tile_scratch`), `sums` for all filters and channels.
        unsafe {
            let to = points.as_mut_ptr();
            let inputs = Evaluation {
                source: inputs.as_ptr(),
                source_channel: self.input_channel(self.backward.rows),
                source_row: self.input_columns() * LANES,
                channels: channels.len(),
                across,
                axes,
                capacity,
                to: to.add(self.values(0) * point_step(self.backward.filters, capacity)),
            };
            let gradients = Evaluation {
                source: gradients
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
                tiles: self.backward_tiles(rows),
                channel_offsets: &self.taps[..channels.len()],
                sums: sums.as_mut_ptr().add(filters.start * row + channels.start),
                sums_point: g.filters * row,
                sums_row: row,
                gradients_done: channels.start > 0,
            });
        }
    }

    #[allow(clippy::too_many_arguments, reason = "as `backward`")]
    pub(super) unsafe fn pack_gradient(
        &self,
        isa: Isa,
        group: usize,
        output: &Output<'_>,
        mask: &[f32; LANES],
        filters: Range<usize>,
        rows: Range<usize>,
        to: &mut [f32],
    ) {
        let g = &self.geometry;
        let plane = g.out_height() * g.out_width() * LANES;
        let channel = group * g.filters + filters.start;
        assert!(
            filters.len() * self.gradient_channel(self.backward.rows) <= to.len(),
            "scratch memory is as large as the largest block"
        );
        // SAFETY: filters lie in the output tensor, which the caller vouches for, and in the block
        // (asserted).
        unsafe {
            isa.run_pointers(PackGradient {
                y: output.y.add(channel * plane),
                arriving: output.arriving.skip(channel, plane),
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
                mask,
                to: to.as_mut_ptr(),
            });
        }
    }

    /// Gradients of the inputs from the packed gradient of output rows `rows`: those of input rows
    /// `rows` · stride.
    #[allow(clippy::too_many_arguments, reason = "as `backward`")]
    pub(super) unsafe fn sweep_inputs(
        &self,
        isa: Isa,
        group: usize,
        sources: &[Source<'_>],
        filter_block: usize,
        filters: Range<usize>,
        rows: Range<usize>,
        flipped: &[f32],
        (gradients, tiles): (&[f32], &mut Buffer),
    ) {
        let g = &self.geometry;
        let combinations = self.phases[0].len() * self.phases[1].len();
        for (index, (part, source)) in self.parts.iter().zip(sources).enumerate() {
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
                    let weights = self.flipped[(filter_block * self.parts.len() + index)
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
                                group * part.channels * plane
                                    + (row * part.width + horizontal.first) * LANES,
                            ),
                            out_channel: plane,
                            out_row: g.stride_height * part.width * LANES,
                            out_column: g.stride_width * LANES,
                            filters: part.channels,
                            rows: sub_rows,
                            columns,
                            accumulate: accumulate || filter_block > 0,
                        };
                        self.sweep(isa, sweep, tiles);
                    }
                }
            }
        }
    }

    #[allow(clippy::too_many_arguments, reason = "as `backward`")]
    pub(super) unsafe fn sweep_weights(
        &self,
        isa: Isa,
        channels: Range<usize>,
        filters: Range<usize>,
        rows: usize,
        (inputs, gradients): (&[f32], &[f32]),
        dw: &mut [f32],
    ) {
        let g = &self.geometry;
        let area = g.filter_height * g.filter_width;
        assert_eq!(dw.len(), self.weight_len(), "one number for each weight");
        // SAFETY: both blocks were packed for these rows; the interior of the gradient's starts
        // behind its halo.
        unsafe {
            isa.run_pointers(WeightSweep {
                source: inputs.as_ptr(),
                taps: &self.taps[..channels.len() * area],
                step_row: g.stride_height * self.input_columns() * LANES,
                step_column: g.stride_width * LANES,
                gradient: gradients
                    .as_ptr()
                    .add((self.halo[0].0 * self.gradient_columns() + self.halo[1].0) * LANES),
                gradient_channel: self.gradient_channel(self.backward.rows),
                gradient_row: self.gradient_columns() * LANES,
                filters: filters.len(),
                rows,
                columns: g.out_width(),
                out: dw
                    .as_mut_ptr()
                    .add(filters.start * g.taps() + channels.start * area),
                out_filter: g.taps(),
            });
        }
    }
}

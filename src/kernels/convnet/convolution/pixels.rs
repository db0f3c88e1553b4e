//! Both passes over small pictures: which numbers are packed, and what is swept over them. Knows of
//! spans of groups alone, not of other threads' work.

use super::small::{PixelProducts, PixelSweep, Small};
use super::{BlockShape, Convolution, ForwardTarget, GroupInput, Output, PassInput, Scratch, mask};
use crate::kernels::convnet::pack::{Moments, PackGradient, Turn, Window};
use crate::kernels::memory::LANES;
use std::ops::Range;

/// A picture in its own memory, of one channel.
fn whole(height: usize, width: usize) -> Window {
    Window {
        first_row: 0,
        rows: height,
        pad: 0,
        columns: width,
        height,
        width,
        to_channel: height * width * LANES,
    }
}

impl Convolution {
    /// The groups of a task.
    fn groups_of(&self, input: &PassInput<'_>, task: usize) -> Range<usize> {
        let span = self.span();
        task * span..((task + 1) * span).min(input.images.div_ceil(LANES))
    }

    /// `forward` of a small picture.
    ///
    /// # Safety
    /// As there.
    pub(super) unsafe fn forward_pixels(
        &self,
        small: &Small,
        input: PassInput<'_>,
        task: usize,
        weights: &[f32],
        scratch: &mut Scratch,
        target: ForwardTarget,
    ) {
        let g = &self.geometry;
        let groups = self.groups_of(&input, task);
        let plane = g.height * g.width * LANES;
        let out_plane = g.out_height() * g.out_width() * LANES;
        for (index, group) in groups.clone().enumerate() {
            let to = &mut scratch.inputs.as_mut_slice()[index * g.channels * plane..];
            // SAFETY: the caller vouches for the sources.
            unsafe { self.pack_picture(input, group, 0..g.channels, to) };
        }
        // SAFETY: all groups' pictures were packed; the caller vouches for their part of y and of
        // the moments.
        unsafe {
            let y = target.y.add(groups.start * g.filters * out_plane);
            input.isa.run_pointers(PixelSweep {
                source: scratch.inputs.as_ptr(),
                source_group: g.channels * plane,
                source_channel: plane,
                channels: g.channels,
                weights: weights.as_ptr(),
                taps: g.filter_height * g.filter_width,
                links: &small.outputs,
                link_columns: g.out_width(),
                out: y,
                out_group: g.filters * out_plane,
                out_channel: out_plane,
                rows: g.out_height(),
                columns: g.out_width(),
                filters: g.filters,
                groups: groups.len(),
                accumulate: false,
            });
            if let Some(out) = target.moments {
                input.isa.run_pointers(Moments {
                    y,
                    y_channel: out_plane,
                    channels: groups.len() * g.filters,
                    pixels: g.out_height() * g.out_width(),
                    out: out.add(groups.start * g.filters * 2 * LANES),
                });
            }
        }
    }

    /// `backward` of a small picture.
    ///
    /// # Safety
    /// As there.
    pub(super) unsafe fn backward_pixels(
        &self,
        small: &Small,
        (input, task): (PassInput<'_>, usize),
        output: &Output<'_>,
        flipped: &[f32],
        scratch: &mut Scratch,
        dw: &mut [f32],
    ) {
        let g = &self.geometry;
        let groups = self.groups_of(&input, task);
        // SAFETY: the caller vouches for all tensors; what is swept over was packed.
        unsafe {
            self.pack_picture_gradients(input, &groups, output, scratch);
            self.sweep_pixels(small, input, &groups, flipped, scratch);
            for first in (0..g.channels).step_by(LANES) {
                let channels = first..(first + LANES).min(g.channels);
                self.multiply_pixels(small, (input, &groups), channels, scratch, dw);
            }
        }
    }

    /// Packs some channels of one group: [channels][pixels][LANES].
    ///
    /// # Safety
    /// The input's sources are whole tensors that have this group.
    unsafe fn pack_picture(
        &self,
        input: PassInput<'_>,
        group: usize,
        channels: Range<usize>,
        to: &mut [f32],
    ) {
        let g = &self.geometry;
        let input = GroupInput {
            isa: input.isa,
            group,
            sources: input.sources,
            mask: &mask(input.images, group),
        };
        let shape = BlockShape {
            rows: g.height,
            columns: g.width,
            channel: g.height * g.width * LANES,
        };
        // SAFETY: the caller vouches for the sources.
        unsafe { self.pack_window(input, channels, (0, 0), shape, to) }
    }

    /// Packs the gradients of the output, [groups][filters][pixels][LANES], and turns them:
    /// [groups][pixels][images][filters, up to whole vectors].
    ///
    /// # Safety
    /// `output` is a whole tensor that has these groups.
    unsafe fn pack_picture_gradients(
        &self,
        input: PassInput<'_>,
        groups: &Range<usize>,
        output: &Output<'_>,
        scratch: &mut Scratch,
    ) {
        let g = &self.geometry;
        let plane = g.out_height() * g.out_width() * LANES;
        let row = g.filters.next_multiple_of(LANES);
        for (index, group) in groups.clone().enumerate() {
            let first = group * g.filters;
            // SAFETY: the caller vouches for the output, and there is room for whole vectors of
            // filters of each group (`gradient_scratch`).
            unsafe {
                let to = scratch.gradients.as_mut_ptr().add(index * row * plane);
                input.isa.run_pointers(PackGradient {
                    y: output.y.add(first * plane),
                    upstream: output.upstream.skip(first, plane),
                    channels: g.filters,
                    window: whole(g.out_height(), g.out_width()),
                    norm: output.norm,
                    norm_first: 0,
                    mask: &mask(input.images, group),
                    to,
                });
                for filter in (0..row).step_by(LANES) {
                    input.isa.run_pointers(Turn {
                        source: to.add(filter * plane),
                        source_channel: plane,
                        source_row: g.out_width() * LANES,
                        rows: g.out_height(),
                        columns: g.out_width(),
                        to: scratch.tiles.as_mut_ptr().add(index * row * plane + filter),
                        to_row: row,
                    });
                }
            }
        }
    }

    /// Gradients of the inputs from those of the output.
    ///
    /// # Safety
    /// The groups' gradients were packed; the sources' gradients are whole tensors, and no other
    /// thread touches these groups of them meanwhile.
    unsafe fn sweep_pixels(
        &self,
        small: &Small,
        input: PassInput<'_>,
        groups: &Range<usize>,
        flipped: &[f32],
        scratch: &Scratch,
    ) {
        let g = &self.geometry;
        let plane = g.out_height() * g.out_width() * LANES;
        for ((part, source), &weights) in self.parts.iter().zip(input.sources).zip(&self.flipped) {
            let Some((out, accumulate)) = source.gradient else {
                continue;
            };
            let out_plane = part.height * part.width * LANES;
            // SAFETY: the part's pixels are among those that are linked, and the caller vouches
            // for its tensor.
            unsafe {
                input.isa.run_pointers(PixelSweep {
                    source: scratch.gradients.as_ptr(),
                    source_group: g.filters.next_multiple_of(LANES) * plane,
                    source_channel: plane,
                    channels: g.filters,
                    weights: flipped.as_ptr().add(weights),
                    taps: g.filter_height * g.filter_width,
                    links: &small.inputs,
                    link_columns: g.width,
                    out: out.add(groups.start * part.channels * out_plane),
                    out_group: part.channels * out_plane,
                    out_channel: out_plane,
                    rows: part.height,
                    columns: part.width,
                    filters: part.channels,
                    groups: groups.len(),
                    accumulate,
                });
            }
        }
    }

    /// The weights' gradient of some channels, LANES at most.
    ///
    /// # Safety
    /// The groups' gradients were packed and turned; the sources are whole tensors.
    unsafe fn multiply_pixels(
        &self,
        small: &Small,
        (input, groups): (PassInput<'_>, &Range<usize>),
        channels: Range<usize>,
        scratch: &mut Scratch,
        dw: &mut [f32],
    ) {
        let g = &self.geometry;
        let plane = g.height * g.width * LANES;
        let row = g.filters.next_multiple_of(LANES);
        let area = g.filter_height * g.filter_width;
        for (index, group) in groups.clone().enumerate() {
            // SAFETY: the caller vouches for the sources; there is room for LANES channels of a
            // picture, and for the turned ones of each group (`input_scratch`, `turned_scratch`).
            unsafe {
                let to = scratch.inputs.as_mut_slice();
                self.pack_picture(input, group, channels.clone(), to);
                input.isa.run_pointers(Turn {
                    source: scratch.inputs.as_ptr(),
                    source_channel: plane,
                    source_row: g.width * LANES,
                    rows: g.height,
                    columns: g.width,
                    to: scratch.turned.as_mut_ptr().add(index * plane * LANES),
                    to_row: LANES,
                });
            }
        }
        // SAFETY: both sides were turned; `dw` has a number for each filter, channel and tap
        // (`backward`).
        unsafe {
            input.isa.run_pointers(PixelProducts {
                gradients: scratch.tiles.as_ptr(),
                gradients_group: row * g.out_height() * g.out_width() * LANES,
                gradients_row: row,
                inputs: scratch.turned.as_ptr(),
                inputs_group: plane * LANES,
                groups: groups.len(),
                links: &small.taps,
                taps: area,
                filters: g.filters,
                channels: channels.len(),
                to: dw.as_mut_ptr().add(channels.start * area),
                to_filter: g.taps(),
            });
        }
    }
}

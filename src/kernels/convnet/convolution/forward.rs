//! The forward pass of one block of one group: pack, sweep, moments. Knows of blocks alone, not of
//! other threads' work.

use super::{
    BlockShape, Convolution, ForwardTarget, GroupInput, PassInput, Scratch, mask, nth, ranges,
};
use crate::kernels::convnet::convolution::direct::Sweep;
use crate::kernels::convnet::pack::{Moments, PackInput, Window};
use crate::kernels::convnet::winograd::TileSweep;
use crate::kernels::memory::Buffer;
use crate::kernels::memory::LANES;
use crate::kernels::simd::Isa;
use std::ops::Range;

impl Convolution {
    /// One of the `forward_tasks`: its part of y, and of the moments per lane. `weights` are those
    /// of `pack_weights`.
    ///
    /// # Safety
    /// The input's sources and `target`'s are whole tensors with a group for each of the images; no
    /// other thread works on the same task meanwhile.
    pub unsafe fn forward(
        &self,
        input: PassInput<'_>,
        task: usize,
        weights: &[f32],
        scratch: &mut Scratch,
        target: ForwardTarget,
    ) {
        let blocks = self.forward_blocks();
        // SAFETY: the caller vouches for the tensors and for this task's part of them.
        unsafe {
            if let Some(small) = &self.small {
                self.forward_pixels(small, input, task, weights, scratch, target);
                return;
            }
            let input = GroupInput {
                isa: input.isa,
                group: task / blocks,
                sources: input.sources,
                mask: &mask(input.images, task / blocks),
            };
            self.forward_block(input, task % blocks, weights, scratch, target);
        }
    }

    /// One block of output rows of one group.
    ///
    /// # Safety
    /// As `forward`.
    unsafe fn forward_block(
        &self,
        input: GroupInput<'_>,
        block: usize,
        weights: &[f32],
        scratch: &mut Scratch,
        target: ForwardTarget,
    ) {
        let g = &self.geometry;
        let rows = nth(g.out_height(), self.forward.rows, block);
        let plane = g.out_height() * g.out_width() * LANES;
        // SAFETY: the block lies within its group of y, for which the caller vouches; the sweeps
        // read packed rows, of which `Scratch::new` has made room for the largest block, and write
        // rows of the block.
        unsafe {
            let y = target
                .y
                .add(input.group * g.filters * plane + rows.start * g.out_width() * LANES);
            for channels in ranges(g.channels, self.forward.channels) {
                let to = scratch.inputs.as_mut_slice();
                let shape = self.input_shape(rows.len(), &self.forward);
                self.pack_input(input, channels.clone(), rows.start, shape, to);
                let sweep = Sweep {
                    source: to.as_ptr(),
                    source_channel: shape.channel,
                    source_row: shape.columns * LANES,
                    step_row: g.stride_height * shape.columns * LANES,
                    step_column: g.stride_width * LANES,
                    channels: channels.len(),
                    taps_height: g.filter_height,
                    taps_width: g.filter_width,
                    weights: weights[channels.start * self.packed_channel()..].as_ptr(),
                    out: y,
                    out_channel: plane,
                    out_row: g.out_width() * LANES,
                    out_column: LANES,
                    filters: g.filters,
                    rows: rows.len(),
                    columns: g.out_width(),
                    accumulate: channels.start > 0,
                };
                self.sweep(input.isa, sweep, &mut scratch.tiles);
            }
            if let Some(out) = target.moments {
                let task = input.group * self.forward_blocks() + block;
                input.isa.run_pointers(Moments {
                    y,
                    y_channel: plane,
                    channels: g.filters,
                    pixels: rows.len() * g.out_width(),
                    out: out.add(task * g.filters * 2 * LANES),
                });
            }
        }
    }

    /// Runs a sweep, by tiles where that is less work.
    ///
    /// # Safety
    /// As `Sweep` and `TileSweep` say.
    pub(super) unsafe fn sweep(&self, isa: Isa, sweep: Sweep, tiles: &mut Buffer) {
        // SAFETY: the caller vouches; blocks were packed as far as tiles reach, and `tiles` is as
        // large as the largest needs.
        unsafe {
            match self.axes {
                Some(axes) => isa.run_pointers(TileSweep {
                    sweep,
                    axes,
                    scratch: tiles.as_mut_ptr(),
                }),
                None => isa.run_pointers(sweep),
            }
        }
    }

    /// Packs `channels` of the concatenation from the first row on that output row `row` reads, as
    /// `shape` says.
    ///
    /// # Safety
    /// The input's sources are whole tensors that have this group.
    pub(super) unsafe fn pack_input(
        &self,
        input: GroupInput<'_>,
        channels: Range<usize>,
        row: usize,
        shape: BlockShape,
        to: &mut [f32],
    ) {
        let g = &self.geometry;
        let first = (row * g.stride_height).cast_signed() - g.pad_height().cast_signed();
        // SAFETY: the caller vouches for the sources.
        unsafe { self.pack_window(input, channels, (first, g.pad_width()), shape, to) }
    }

    /// Packs `channels` of the concatenation from row `first` on, behind `pad` columns of zeros.
    ///
    /// # Safety
    /// As `pack_input`.
    pub(super) unsafe fn pack_window(
        &self,
        input: GroupInput<'_>,
        channels: Range<usize>,
        (first, pad): (isize, usize),
        shape: BlockShape,
        to: &mut [f32],
    ) {
        assert!(
            channels.len() * shape.channel <= to.len(),
            "scratch memory is as large as the largest block"
        );
        for (part, source) in self.parts.iter().zip(input.sources) {
            let start = channels.start.max(part.first);
            let end = channels.end.min(part.first + part.channels);
            if start >= end {
                continue;
            }
            let plane = part.height * part.width * LANES;
            let skip = start - part.first;
            // SAFETY: channels start..end lie in this part, whose tensor the caller vouches for,
            // and in the block (asserted).
            unsafe {
                input.isa.run_pointers(PackInput {
                    from: source
                        .values
                        .add((input.group * part.channels + skip) * plane),
                    channels: end - start,
                    window: Window {
                        first_row: first,
                        rows: shape.rows,
                        pad,
                        columns: shape.columns,
                        height: part.height,
                        width: part.width,
                        to_channel: shape.channel,
                    },
                    norm: source.norm,
                    norm_first: skip,
                    mask: input.mask,
                    to: to
                        .as_mut_ptr()
                        .add((start - channels.start) * shape.channel),
                });
            }
        }
    }
}

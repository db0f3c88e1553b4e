//! Both passes by tiles of remainders: which numbers are packed, and what is multiplied. Knows of
//! one task's groups and rows alone, not of other threads' work.

use super::kernels::{BankProducts, DepthProducts, TurnBank};
use super::{BANK, Phased, Tiles, pairs};
use crate::kernels::convnet::convolution::{
    BlockShape, Convolution, ForwardTarget, GroupInput, Output, PassInput, Scratch, mask, nth,
    positions as remaining, ranges,
};
use crate::kernels::convnet::pack::{Fill, Moments, PackGradient, Window};
use crate::kernels::convnet::winograd::lines::{FromPoints, ToPoints};
use crate::kernels::convnet::winograd::{Evaluation, Interpolation, point_step};
use crate::kernels::memory::LANES;
use crate::kernels::simd::TILE_FILTERS;
use std::ops::Range;

/// Output rows of some groups.
struct Block {
    groups: Range<usize>,
    rows: Range<usize>,
}

impl Convolution {
    /// The groups and the block of rows of a task that is one of `blocks` of its groups.
    fn task(
        &self,
        phased: &Phased,
        images: usize,
        task: usize,
        blocks: usize,
    ) -> (Range<usize>, usize) {
        let first = task / blocks * phased.span;
        let groups = first..(first + phased.span).min(images.div_ceil(LANES));
        (groups, task % blocks)
    }

    /// `forward` by tiles of remainders.
    ///
    /// # Safety
    /// As there.
    pub(in super::super) unsafe fn forward_phased(
        &self,
        phased: &Phased,
        input: PassInput<'_>,
        task: usize,
        weights: &[f32],
        scratch: &mut Scratch,
        target: ForwardTarget,
    ) {
        let g = &self.geometry;
        let blocks = self.forward_blocks();
        let (groups, index) = self.task(phased, input.images, task, blocks);
        let block = Block {
            rows: nth(g.out_height(), self.forward.rows, index),
            groups,
        };
        let tiles = phased.outputs(block.rows.len());
        let width = tiles.count() * block.groups.len() * LANES;
        let points = scratch.tiles.as_mut_ptr();
        let sums_point = point_step(g.filters.next_multiple_of(TILE_FILTERS), width / LANES);
        // SAFETY: the caller vouches for the tensors; the scratch memory has room for the points of
        // a block of channels and of all filters (`tile_scratch`), and `weights` for each block.
        unsafe {
            let sums = points.add(
                tiles.points() * point_step(phased.rows_at_points(phased.channels), width / LANES),
            );
            for channels in ranges(g.channels, phased.channels) {
                let evaluations =
                    self.pack_remainders(phased, input, &block, channels.clone(), scratch);
                let rows = channels.len() * phased.remainders();
                input.isa.run_pointers(ToPoints {
                    tiles: tiles.count(),
                    evaluations: &evaluations,
                    spread: false,
                });
                input.isa.run_pointers(BankProducts {
                    points: tiles.points(),
                    source: points,
                    source_point: point_step(phased.rows_at_points(channels.len()), width / LANES),
                    channels: rows,
                    weights: weights[channels.start * phased.channel_weights()..].as_ptr(),
                    weights_point: rows * phased.bank_filters(),
                    out: sums,
                    out_point: sums_point,
                    filters: g.filters,
                    width,
                    accumulate: channels.start > 0,
                });
            }
            let plane = g.out_height() * g.out_width() * LANES;
            for (i, group) in block.groups.clone().enumerate() {
                let y = target
                    .y
                    .add(group * g.filters * plane + block.rows.start * g.out_width() * LANES);
                input.isa.run_pointers(FromPoints(Interpolation {
                    axes: tiles.axes,
                    from: sums.add(i * tiles.count() * LANES),
                    from_filter: width,
                    from_point: sums_point,
                    filters: g.filters,
                    across: tiles.across,
                    first: 0,
                    count: tiles.count(),
                    out: y,
                    out_filter: plane,
                    out_row: g.out_width() * LANES,
                    out_column: LANES,
                    rows: block.rows.len(),
                    columns: g.out_width(),
                    accumulate: false,
                }));
                if let Some(out) = target.moments {
                    input.isa.run_pointers(Moments {
                        y,
                        y_channel: plane,
                        channels: g.filters,
                        pixels: block.rows.len() * g.out_width(),
                        out: out.add((group * blocks + index) * g.filters * 2 * LANES),
                    });
                }
            }
        }
    }

    /// Packs some channels of a block's input, and says how each remainder's tiles are evaluated:
    /// to the beginning of `scratch.tiles`, [points][remainders][channels][tiles of all groups].
    ///
    /// # Safety
    /// The input's sources are whole tensors that have these groups.
    unsafe fn pack_remainders(
        &self,
        phased: &Phased,
        input: PassInput<'_>,
        block: &Block,
        channels: Range<usize>,
        scratch: &mut Scratch,
    ) -> Vec<Evaluation> {
        let [vertical, horizontal] = &phased.lines;
        let tiles = phased.outputs(block.rows.len());
        let rows = block.rows.len();
        let shape = BlockShape {
            rows: vertical.input(rows),
            columns: horizontal.input(self.geometry.out_width()),
            channel: phased.input_channel(rows),
        };
        let positions = tiles.count() * block.groups.len();
        for (i, group) in block.groups.clone().enumerate() {
            let group = GroupInput {
                isa: input.isa,
                group,
                sources: input.sources,
                mask: &mask(input.images, group),
            };
            let to = &mut scratch.inputs.as_mut_slice()[i * channels.len() * shape.channel..];
            // SAFETY: the caller vouches for the sources.
            unsafe { self.pack_input(group, channels.clone(), block.rows.start, shape, to) };
        }
        let evaluation = |(i, (index, (row, column))): (usize, (usize, (usize, usize)))| {
            let from = i * channels.len() * shape.channel + (row * shape.columns + column) * LANES;
            let to = (index * channels.len() * positions + i * tiles.count()) * LANES;
            Evaluation {
                // Both are followed within the packed block, and within the points, for which there
                // is room (`input_scratch`, `tile_scratch`).
                source: scratch.inputs.as_ptr().wrapping_add(from),
                source_channel: shape.channel,
                source_row: vertical.stride * shape.columns * LANES,
                source_column: horizontal.stride * LANES,
                channels: channels.len(),
                across: tiles.across,
                axes: tiles.axes,
                capacity: positions,
                to: scratch.tiles.as_mut_ptr().wrapping_add(to),
                to_point: point_step(phased.rows_at_points(channels.len()), positions),
            }
        };
        let remainders = pairs(vertical.remainders(), horizontal.remainders()).enumerate();
        (0..block.groups.len())
            .flat_map(|i| remainders.clone().map(move |remainder| (i, remainder)))
            .map(evaluation)
            .collect()
    }

    /// `backward` by tiles of remainders.
    ///
    /// # Safety
    /// As there.
    pub(in super::super) unsafe fn backward_phased(
        &self,
        phased: &Phased,
        (input, task): (PassInput<'_>, usize),
        output: &Output<'_>,
        flipped: &[f32],
        scratch: &mut Scratch,
        dw: &mut [f32],
    ) {
        let g = &self.geometry;
        let (groups, chunk) = self.task(phased, input.images, task, self.backward_chunks());
        let blocks = g.out_height().div_ceil(self.backward.rows);
        for (done, index) in nth(blocks, self.chunk, chunk).enumerate() {
            let block = Block {
                rows: nth(g.out_height(), self.backward.rows, index),
                groups: groups.clone(),
            };
            // SAFETY: rows and groups are within the geometry of tensors for which the caller
            // vouches.
            unsafe {
                self.pack_output_gradients(phased, input, &block, output, scratch);
                self.input_gradients(phased, input, &block, flipped, scratch);
                self.weight_sums(phased, input, &block, done > 0, scratch);
            }
        }
        let sums = &scratch.sums.as_slice()[..phased.sums_len()];
        phased.points_to_taps(input.isa, sums, dw);
    }

    /// Packs the gradients of a block of the output: [groups][filters][rows][columns][LANES].
    ///
    /// # Safety
    /// `output` is a whole tensor that has these groups.
    unsafe fn pack_output_gradients(
        &self,
        phased: &Phased,
        input: PassInput<'_>,
        block: &Block,
        output: &Output<'_>,
        scratch: &mut Scratch,
    ) {
        let g = &self.geometry;
        let [vertical, horizontal] = &phased.lines;
        let plane = g.out_height() * g.out_width() * LANES;
        let rows = block.rows.len();
        for (i, group) in block.groups.clone().enumerate() {
            let first = group * g.filters;
            // SAFETY: the caller vouches for the output; there is room for the gradients of all
            // groups (`gradient_scratch`).
            unsafe {
                input.isa.run_pointers(PackGradient {
                    y: output.y.add(first * plane),
                    upstream: output.upstream.skip(first, plane),
                    channels: g.filters,
                    window: Window {
                        first_row: block.rows.start.cast_signed() - vertical.before.cast_signed(),
                        rows: vertical.gradient(rows),
                        pad: horizontal.before,
                        columns: horizontal.gradient(g.out_width()),
                        height: g.out_height(),
                        width: g.out_width(),
                        to_channel: phased.gradient_channel(rows),
                    },
                    norm: output.norm,
                    norm_first: 0,
                    mask: &mask(input.images, group),
                    to: scratch
                        .gradients
                        .as_mut_ptr()
                        .add(i * g.filters * phased.gradient_channel(rows)),
                });
            }
        }
    }

    /// How the packed gradients of some filters are brought to the points, `skip` rows and columns
    /// into the block: [points][filters][tiles of all groups] at `to`.
    ///
    /// # Safety
    /// The filters of the groups were packed, and `to` has room.
    unsafe fn gradient_tiles(
        phased: &Phased,
        block: &Block,
        (tiles, skip): (Tiles, (usize, usize)),
        (filters, room): (Range<usize>, usize),
        gradients: *const f32,
        to: *mut f32,
    ) -> Vec<Evaluation> {
        let g = &phased.geometry;
        let columns = phased.lines[1].gradient(g.out_width());
        let channel = phased.gradient_channel(block.rows.len());
        let positions = tiles.count() * block.groups.len();
        let group = |i: usize| {
            let first = (i * g.filters + filters.start) * channel;
            Evaluation {
                // SAFETY: the caller's.
                source: unsafe { gradients.add(first + (skip.0 * columns + skip.1) * LANES) },
                source_channel: channel,
                source_row: columns * LANES,
                source_column: LANES,
                channels: filters.len(),
                across: tiles.across,
                axes: tiles.axes,
                capacity: positions,
                // SAFETY: the caller's.
                to: unsafe { to.add(i * tiles.count() * LANES) },
                to_point: point_step(room, positions),
            }
        };
        (0..block.groups.len()).map(group).collect()
    }

    /// Gradients of the inputs from the packed gradients of a block of the output.
    ///
    /// # Safety
    /// They were packed; the sources' gradients are whole tensors, and no other thread touches the
    /// rows of them that stand for the block's.
    unsafe fn input_gradients(
        &self,
        phased: &Phased,
        input: PassInput<'_>,
        block: &Block,
        flipped: &[f32],
        scratch: &mut Scratch,
    ) {
        if input.sources.iter().all(|source| source.gradient.is_none()) {
            return;
        }
        let g = &self.geometry;
        let tiles = phased.inputs(block.rows.len());
        let positions = tiles.count() * block.groups.len();
        let filters = g.filters.next_multiple_of(TILE_FILTERS);
        let points = scratch.tiles.as_mut_ptr();
        // SAFETY: the gradients were packed; the scratch memory has room for their points and for
        // those of a bank (`tile_scratch`); the caller vouches for the sources' gradients.
        unsafe {
            let evaluations = Self::gradient_tiles(
                phased,
                block,
                (tiles, (0, 0)),
                (0..g.filters, filters),
                scratch.gradients.as_ptr(),
                points,
            );
            input.isa.run_pointers(ToPoints {
                tiles: tiles.count(),
                evaluations: &evaluations,
                spread: false,
            });
            let sums = points.add(tiles.points() * point_step(filters, positions));
            for (index, weights) in phased.parts.iter().enumerate() {
                let Some((out, accumulate)) = input.sources[index].gradient else {
                    continue;
                };
                let to = PartGradient {
                    index,
                    out,
                    accumulate,
                };
                if !accumulate {
                    self.fill_untouched(phased, input, block, &to);
                }
                self.part_gradients(
                    phased,
                    (input, block),
                    &to,
                    flipped[*weights..].as_ptr(),
                    (points, sums),
                );
            }
        }
    }

    /// One part's gradients, from the output's at the points.
    ///
    /// # Safety
    /// As `input_gradients`; `weights` are the part's, `points` holds the gradients of all filters,
    /// and `sums` has room for a bank.
    unsafe fn part_gradients(
        &self,
        phased: &Phased,
        (input, block): (PassInput<'_>, &Block),
        to: &PartGradient,
        mut weights: *const f32,
        (points, sums): (*const f32, *mut f32),
    ) {
        let g = &self.geometry;
        let part = &self.parts[to.index];
        let tiles = phased.inputs(block.rows.len());
        let positions = tiles.count() * block.groups.len();
        let plane = part.height * part.width * LANES;
        let taken = phased.taken().collect::<Vec<_>>();
        let banks = ranges(part.channels, BANK)
            .flat_map(|channels| taken.iter().map(move |pair| (channels.clone(), *pair)));
        for (channels, (vertical, horizontal)) in banks {
            let rows = positions_within(part.height, g.stride_height, vertical.first, &block.rows);
            let columns = remaining(part.width, g.stride_width, horizontal.first);
            let row = block.rows.start * g.stride_height + vertical.first;
            let outputs = block
                .groups
                .clone()
                .enumerate()
                .map(|(i, group)| Interpolation {
                    axes: tiles.axes,
                    from: sums.wrapping_add(i * tiles.count() * LANES),
                    from_filter: positions * LANES,
                    from_point: point_step(BANK, positions),
                    filters: channels.len(),
                    across: tiles.across,
                    first: 0,
                    count: tiles.count(),
                    // Followed for rows and columns that there are alone.
                    out: to.out.wrapping_add(
                        (group * part.channels + channels.start) * plane
                            + (row * part.width + horizontal.first) * LANES,
                    ),
                    out_filter: plane,
                    out_row: g.stride_height * part.width * LANES,
                    out_column: g.stride_width * LANES,
                    rows,
                    columns,
                    accumulate: to.accumulate,
                });
            // SAFETY: the caller vouches for points, weights and sums; rows and columns of this
            // remainder lie within the part.
            unsafe {
                if rows > 0 && columns > 0 {
                    input.isa.run_pointers(BankProducts {
                        points: tiles.points(),
                        source: points,
                        source_point: point_step(
                            g.filters.next_multiple_of(TILE_FILTERS),
                            positions,
                        ),
                        channels: g.filters,
                        weights,
                        weights_point: g.filters * BANK,
                        out: sums,
                        out_point: point_step(BANK, positions),
                        filters: channels.len(),
                        width: positions * LANES,
                        accumulate: false,
                    });
                    for outputs in outputs {
                        input.isa.run_pointers(FromPoints(outputs));
                    }
                }
                weights = weights.add(phased.bank_len());
            }
        }
    }

    /// Zeros for rows and columns of a part that no tap meets.
    ///
    /// # Safety
    /// As `input_gradients`.
    unsafe fn fill_untouched(
        &self,
        phased: &Phased,
        input: PassInput<'_>,
        block: &Block,
        to: &PartGradient,
    ) {
        let g = &self.geometry;
        let part = &self.parts[to.index];
        let plane = part.height * part.width * LANES;
        let [rows, columns] = &phased.lines;
        for vertical in &rows.phases {
            for horizontal in columns
                .phases
                .iter()
                .filter(|h| vertical.taps == 0 || h.taps == 0)
            {
                let row = block.rows.start * g.stride_height + vertical.first;
                for group in block.groups.clone() {
                    // SAFETY: rows and columns of this remainder lie within the part.
                    unsafe {
                        input.isa.run_pointers(Fill {
                            to: to.out.wrapping_add(
                                group * part.channels * plane
                                    + (row * part.width + horizontal.first) * LANES,
                            ),
                            channels: part.channels,
                            to_channel: plane,
                            rows: positions_within(
                                part.height,
                                g.stride_height,
                                vertical.first,
                                &block.rows,
                            ),
                            to_row: g.stride_height * part.width * LANES,
                            columns: remaining(part.width, g.stride_width, horizontal.first),
                            to_column: g.stride_width * LANES,
                        });
                    }
                }
            }
        }
    }

    /// Adds what a block makes of the weights' gradient at the points to `scratch.sums`, or first
    /// writes it: [channel block][points][remainders][channels][filters].
    ///
    /// # Safety
    /// The block's gradients were packed; the sources are whole tensors that have these groups.
    unsafe fn weight_sums(
        &self,
        phased: &Phased,
        input: PassInput<'_>,
        block: &Block,
        accumulate: bool,
        scratch: &mut Scratch,
    ) {
        let g = &self.geometry;
        let tiles = phased.outputs(block.rows.len());
        let positions = tiles.count() * block.groups.len();
        let row = phased.bank_filters();
        let skip = (phased.lines[0].before, phased.lines[1].before);
        // SAFETY: the gradients were packed; the scratch memory has room for points of a bank, of a
        // block of channels, and for all turned gradients; the caller vouches for the sources.
        unsafe {
            for filters in ranges(g.filters, BANK) {
                let evaluations = Self::gradient_tiles(
                    phased,
                    block,
                    (tiles, skip),
                    (filters.clone(), BANK),
                    scratch.gradients.as_ptr(),
                    scratch.tiles.as_mut_ptr(),
                );
                input.isa.run_pointers(ToPoints {
                    tiles: tiles.count(),
                    evaluations: &evaluations,
                    spread: true,
                });
                input.isa.run_pointers(TurnBank {
                    points: tiles.points(),
                    from: scratch.tiles.as_ptr(),
                    from_point: point_step(BANK, positions),
                    tiles: positions,
                    to: scratch.turned.as_mut_ptr().add(filters.start),
                    to_row: row,
                });
            }
            for channels in ranges(g.channels, phased.channels) {
                let evaluations =
                    self.pack_remainders(phased, input, block, channels.clone(), scratch);
                input.isa.run_pointers(ToPoints {
                    tiles: tiles.count(),
                    evaluations: &evaluations,
                    spread: false,
                });
                input.isa.run_pointers(DepthProducts {
                    points: tiles.points(),
                    gradients: scratch.turned.as_ptr(),
                    row,
                    filters: g.filters,
                    inputs: scratch.tiles.as_ptr(),
                    inputs_point: point_step(phased.rows_at_points(channels.len()), positions),
                    channels: channels.len() * phased.remainders(),
                    depth: positions * LANES,
                    sums: scratch
                        .sums
                        .as_mut_ptr()
                        .add(channels.start * phased.channel_weights()),
                    accumulate,
                });
            }
        }
    }
}

/// Where one part's gradient goes.
struct PartGradient {
    /// Which part it is.
    index: usize,
    out: *mut f32,
    /// Something is there already.
    accumulate: bool,
}

/// How many input rows of this remainder stand for `rows` of the output.
fn positions_within(size: usize, stride: usize, first: usize, rows: &Range<usize>) -> usize {
    remaining(size, stride, first)
        .min(rows.end)
        .saturating_sub(rows.start)
}

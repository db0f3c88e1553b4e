//! A convolution over the concatenation of its inputs, for groups of images: blocks that fit the second-level cache are packed
//! (see `pack`) and swept over (see `sweep`). Forward, and backward to weights and inputs at once.
//! Knows nothing of networks; normalisation reaches it as something that packing applies.

use super::memory::Buffer;
use super::pack::{Arriving, Moments, Norm, PackGradient, PackInput, Window};
use super::simd::{Isa, TILE_FILTERS};
use super::spec::{Geometry, LANES, Part};
use super::sweep::{Sweep, WeightSweep};
use super::weight_tiles::{TileProducts, ToTaps};
use super::winograd::{self, Axis, Evaluation, TileSweep};
use std::ops::Range;

/// Bytes of packed rows that one sweep works on: what stays in a second-level cache beside weights and results.
const BLOCK_BYTES: usize = 448 << 10;

/// Bytes of gradients at their points that a backward pass by tiles works on.
const POINTS_BYTES: usize = 3 << 20;

/// Tasks of a pass that there are at least, where the image has rows enough: work for as many threads.
const TASKS: usize = 8;

/// How a convolution is cut up. Depends on sizes alone, never on the number of threads: so neither do the results.
#[derive(Clone, Debug)]
pub struct Convolution {
    pub geometry: Geometry,
    pub parts: Vec<Part>,
    forward: Blocks,
    backward: Blocks,
    /// Set where tiles take fewer products than filters.
    axes: Option<(Axis, Axis)>,
    /// Where in a packed input block each weight's first factor lies; with tiles, where each channel's points do.
    taps: Vec<usize>,
    phases: [Vec<Phase>; 2],
    /// Rows (columns) of packed gradient before and after those of the block.
    halo: [(usize, usize); 2],
    /// Where the flipped weights of [filter block][part][row phase][column phase] begin.
    flipped: Vec<usize>,
    flipped_len: usize,
    /// Row blocks of one backward task.
    chunk: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Blocks {
    channels: usize,
    filters: usize,
    rows: usize,
}

/// Input rows (or columns) of equal remainder modulo the stride: their gradient is a convolution of stride 1 with some of the taps.
#[derive(Clone, Copy, Debug)]
struct Phase {
    first: usize,
    first_tap: usize,
    taps: usize,
    /// The last tap's output position, relative to the input position over the stride.
    offset: isize,
}

/// A thread's own memory: packed inputs, packed gradients, tiles at their points.
pub struct Scratch {
    pub inputs: Buffer,
    pub gradients: Buffer,
    pub tiles: Buffer,
    /// Gradients of weights at the points.
    pub sums: Buffer,
}

impl Scratch {
    /// Enough for each of `convolutions`.
    pub fn new(convolutions: &[Convolution]) -> Self {
        let [inputs, gradients, tiles, sums] = Self::sizes(convolutions).map(Buffer::new);
        Self { inputs, gradients, tiles, sums }
    }

    /// Numbers of each buffer.
    pub fn sizes(convolutions: &[Convolution]) -> [usize; 4] {
        let most = |f: &dyn Fn(&Convolution) -> usize| convolutions.iter().map(f).max().unwrap_or(0);
        [
            most(&Convolution::input_scratch),
            most(&Convolution::gradient_scratch),
            most(&Convolution::tile_scratch),
            most(&Convolution::sums_len),
        ]
    }

    pub fn bytes(&self) -> usize {
        self.inputs.bytes() + self.gradients.bytes() + self.tiles.bytes() + self.sums.bytes()
    }
}

/// One input as it lies in memory: [groups][channels][height][width][LANES].
#[derive(Clone, Copy)]
pub struct Source<'a> {
    pub values: *const f32,
    pub norm: Option<&'a Norm>,
    /// Where its gradient goes, and whether something is there already.
    pub gradient: Option<(*mut f32, bool)>,
}

/// What the backward pass reads of the convolution's own output.
pub struct Output<'a> {
    pub y: *const f32,
    pub arriving: Arriving,
    pub norm: &'a Norm,
}

impl Convolution {
    /// `groups`: the largest number of groups at once.
    pub fn new(geometry: Geometry, parts: Vec<Part>, groups: usize) -> Self {
        let g = geometry;
        let phases = [phases(g.filter_height, g.stride_height, g.pad_height()), phases(g.filter_width, g.stride_width, g.pad_width())];
        let halo = [halo(&phases[0]), halo(&phases[1])];
        let axes = tiles(&g);
        let step = axes.map_or(1, |(vertical, _)| vertical.outputs());
        let most_rows = g.out_height().div_ceil(TASKS.div_ceil(groups)).next_multiple_of(step);
        let least_rows = most_rows.min(g.filter_height.max(4).next_multiple_of(step));
        let mut this = Self {
            geometry,
            parts,
            forward: Blocks::default(),
            backward: Blocks::default(),
            axes,
            taps: Vec::new(),
            phases,
            halo,
            flipped: Vec::new(),
            flipped_len: 0,
            chunk: 1,
        };
        let choose = |bytes: &dyn Fn(&Blocks) -> usize| Blocks::choose(&g, (least_rows, most_rows, step), |b| bytes(b) * size_of::<f32>());
        this.forward = choose(&|b| b.channels * this.input_channel(b.rows));
        this.backward = match axes {
            None => choose(&|b| b.channels * this.input_channel(b.rows) + b.filters * this.gradient_channel(b.rows)),
            Some(axes) => Blocks::for_tiles(&g, axes, most_rows),
        };
        let backward = this.backward;
        this.taps = this.tap_offsets();
        this.place_flipped();
        let private = (64 << 20) / (this.weight_len() * size_of::<f32>()).max(1);
        let chunks = TASKS.min(private).max(1).div_ceil(groups).max(1);
        this.chunk = g.out_height().div_ceil(backward.rows).div_ceil(chunks);
        this
    }

    pub fn weight_len(&self) -> usize {
        self.geometry.filters * self.geometry.taps()
    }

    fn input_scratch(&self) -> usize {
        (self.forward.channels * self.input_channel(self.forward.rows)).max(self.backward.channels * self.input_channel(self.backward.rows))
    }

    fn gradient_scratch(&self) -> usize {
        self.backward.filters * self.gradient_channel(self.backward.rows)
    }

    fn tile_scratch(&self) -> usize {
        let Some(axes) = self.axes else { return 0 };
        let parts = self.parts.iter().map(|part| winograd::scratch(axes, self.backward.filters, part.channels));
        let products = self.values(0) * self.backward_tiles(self.backward.rows) * LANES * (self.backward.channels + self.backward.filters);
        parts.fold(winograd::scratch(axes, self.forward.channels, self.geometry.filters).max(products), usize::max)
    }

    /// Tiles of a backward block of `rows` rows.
    fn backward_tiles(&self, rows: usize) -> usize {
        let count = |(vertical, horizontal): (Axis, Axis)| {
            rows.div_ceil(vertical.outputs()) * self.geometry.out_width().div_ceil(horizontal.outputs())
        };
        self.axes.map_or(0, count)
    }

    /// Numbers of the weights' gradient at the points: [points][filters][channels, up to whole vectors].
    fn sums_len(&self) -> usize {
        self.axes.map_or(0, |_| self.values(0) * self.geometry.filters * self.geometry.channels.next_multiple_of(LANES))
    }

    /// Row blocks of the forward pass of one group: with the groups, its tasks.
    pub fn forward_blocks(&self) -> usize {
        self.geometry.out_height().div_ceil(self.forward.rows)
    }

    /// Pixels of each output channel in a forward block.
    pub fn block_pixels(&self, block: usize) -> usize {
        nth(self.geometry.out_height(), self.forward.rows, block).len() * self.geometry.out_width()
    }

    /// Parts that the backward pass of one group is cut into.
    pub fn backward_chunks(&self) -> usize {
        self.geometry.out_height().div_ceil(self.backward.rows).div_ceil(self.chunk)
    }

    /// Rows of packed input for `rows` rows of output: as far as whole tiles reach.
    fn input_rows(&self, rows: usize) -> usize {
        input_rows(&self.geometry, self.axes.map_or(rows, |(axis, _)| rows.next_multiple_of(axis.outputs())))
    }

    fn input_columns(&self) -> usize {
        let columns = self.geometry.out_width();
        let whole = self.axes.map_or(columns, |(_, axis)| columns.next_multiple_of(axis.outputs()));
        input_columns(&self.geometry) + (whole - columns)
    }

    fn input_channel(&self, rows: usize) -> usize {
        self.input_rows(rows) * self.input_columns() * LANES
    }

    fn gradient_rows(&self, rows: usize) -> usize {
        self.axes.map_or(rows, |(axis, _)| rows.next_multiple_of(axis.outputs())) + self.halo[0].0 + self.halo[0].1
    }

    fn gradient_columns(&self) -> usize {
        let columns = self.geometry.out_width();
        self.axes.map_or(columns, |(_, axis)| columns.next_multiple_of(axis.outputs())) + self.halo[1].0 + self.halo[1].1
    }

    fn gradient_channel(&self, rows: usize) -> usize {
        self.gradient_rows(rows) * self.gradient_columns() * LANES
    }

    fn tap_offsets(&self) -> Vec<usize> {
        let g = &self.geometry;
        if self.axes.is_some() {
            let step = self.backward_tiles(self.backward.rows) * LANES;
            return (0..self.backward.channels).map(|c| c * step).collect();
        }
        let mut taps = Vec::with_capacity(self.backward.channels * g.filter_height * g.filter_width);
        for c in 0..self.backward.channels {
            for ky in 0..g.filter_height {
                for kx in 0..g.filter_width {
                    taps.push(c * self.input_channel(self.backward.rows) + (ky * self.input_columns() + kx) * LANES);
                }
            }
        }
        taps
    }

    fn place_flipped(&mut self) {
        let mut at = 0;
        for filters in ranges(self.geometry.filters, self.backward.filters) {
            for part in &self.parts {
                for rows in &self.phases[0] {
                    for columns in &self.phases[1] {
                        self.flipped.push(at);
                        at += part.channels.next_multiple_of(TILE_FILTERS) * filters.len() * self.values(rows.taps * columns.taps);
                    }
                }
            }
        }
        self.flipped_len = at;
    }

    /// Numbers that stand for `taps` taps of a filter: they, or its values at the points of a tile.
    fn values(&self, taps: usize) -> usize {
        self.axes.map_or(taps, |(vertical, horizontal)| vertical.points() * horizontal.points())
    }

    /// Numbers that `pack_weights` makes of one channel.
    fn packed_channel(&self) -> usize {
        self.geometry.filters.next_multiple_of(TILE_FILTERS) * self.values(self.geometry.filter_height * self.geometry.filter_width)
    }

    /// Length of `pack_weights`' result.
    pub fn packed_len(&self) -> usize {
        self.packed_channel() * self.geometry.channels
    }

    /// Length of `flip_weights`' result.
    pub fn flipped_len(&self) -> usize {
        self.flipped_len
    }

    /// Weights in the order in which the forward sweeps read them: [channel block][filters / 4][channel][ky][kx][4],
    /// or with tiles [channel block][point][filters / 4][channel][4].
    pub fn pack_weights(&self, weights: &[f32], to: &mut [f32]) {
        let g = &self.geometry;
        let area = g.filter_height * g.filter_width;
        let mut at = 0;
        for channels in ranges(g.channels, self.forward.channels) {
            if let Some(axes) = self.axes {
                let to = &mut to[channels.start * self.packed_channel()..];
                let weight = |f, c, ky, kx| weights[weight_index(g, f, channels.start + c, ky, kx)];
                winograd::transform_weights(axes, g.filters, channels.len(), weight, to);
                continue;
            }
            for first in (0..g.filters).step_by(TILE_FILTERS) {
                for i in channels.start * area..channels.end * area {
                    for f in first..first + TILE_FILTERS {
                        to[at] = if f < g.filters { weights[f * g.taps() + i] } else { 0.0 };
                        at += 1;
                    }
                }
            }
        }
    }

    /// Flipped weights in the order in which the backward sweeps read them:
    /// [filter block][part][row phase][column phase][channels / 4][filter][ky][kx][4], or with tiles
    /// [filter block][part][point][channels / 4][filter][4].
    pub fn flip_weights(&self, weights: &[f32], to: &mut [f32]) {
        let mut at = 0;
        for filters in ranges(self.geometry.filters, self.backward.filters) {
            for part in &self.parts {
                if let Some(axes) = self.axes {
                    let g = &self.geometry;
                    let weight = |c, f, ky, kx| {
                        let (ky, kx) = (g.filter_height - 1 - ky, g.filter_width - 1 - kx);
                        weights[weight_index(g, filters.start + f, part.first + c, ky, kx)]
                    };
                    winograd::transform_weights(axes, part.channels, filters.len(), weight, &mut to[at..]);
                    at += part.channels.next_multiple_of(TILE_FILTERS) * filters.len() * self.values(0);
                    continue;
                }
                for rows in &self.phases[0] {
                    for columns in &self.phases[1] {
                        at = self.flip_phase(weights, to, at, filters.clone(), part, (rows, columns));
                    }
                }
            }
        }
    }

    fn flip_phase(
        &self,
        weights: &[f32],
        to: &mut [f32],
        mut at: usize,
        filters: Range<usize>,
        part: &Part,
        phase: (&Phase, &Phase),
    ) -> usize {
        let g = &self.geometry;
        for first in (0..part.channels).step_by(TILE_FILTERS) {
            for f in filters.clone() {
                for ky in (0..phase.0.taps).rev().map(|j| phase.0.first_tap + j * g.stride_height) {
                    for kx in (0..phase.1.taps).rev().map(|j| phase.1.first_tap + j * g.stride_width) {
                        for c in first..first + TILE_FILTERS {
                            to[at] = if c < part.channels { weights[weight_index(g, f, part.first + c, ky, kx)] } else { 0.0 };
                            at += 1;
                        }
                    }
                }
            }
        }
        at
    }

    /// One block of output rows of one group: y, and its moments per lane ([filters][2][LANES]).
    ///
    /// # Safety
    /// `sources` (one a part), `y` and `moments` point to whole tensors with at least `group` + 1 groups (`moments`: this
    /// task's own piece); no other thread touches this block of y meanwhile.
    #[allow(clippy::too_many_arguments, reason = "one call site each; a struct would only rename them")]
    pub unsafe fn forward(
        &self,
        isa: Isa,
        group: usize,
        block: usize,
        sources: &[Source<'_>],
        mask: &[f32; LANES],
        weights: &[f32],
        scratch: &mut Scratch,
        y: *mut f32,
        moments: Option<*mut f32>,
    ) {
        let g = &self.geometry;
        let rows = nth(g.out_height(), self.forward.rows, block);
        let plane = g.out_height() * g.out_width() * LANES;
        // SAFETY: within the tensors that the caller vouches for, and the scratch memory (`Scratch::new`).
        unsafe {
            let y = y.add(group * g.filters * plane + rows.start * g.out_width() * LANES);
            for channels in ranges(g.channels, self.forward.channels) {
                let to = scratch.inputs.as_mut_slice();
                let shape = (self.input_rows(rows.len()), self.input_columns(), self.input_channel(self.forward.rows));
                self.pack_input(isa, group, sources, mask, channels.clone(), rows.start, shape, to);
                let sweep = Sweep {
                    source: to.as_ptr(),
                    source_channel: shape.2,
                    source_row: shape.1 * LANES,
                    step_row: g.stride_height * shape.1 * LANES,
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
                self.sweep(isa, sweep, &mut scratch.tiles);
            }
            if let Some(out) = moments {
                isa.run(Moments { y, y_channel: plane, channels: g.filters, pixels: rows.len() * g.out_width(), out });
            }
        }
    }

    /// Runs a sweep, by tiles where that is less work.
    ///
    /// # Safety
    /// As `Sweep` and `TileSweep` say.
    unsafe fn sweep(&self, isa: Isa, sweep: Sweep, tiles: &mut Buffer) {
        // SAFETY: the caller vouches; blocks were packed as far as tiles reach, and `tiles` is as large as the largest needs.
        unsafe {
            match self.axes {
                Some(axes) => isa.run(TileSweep { sweep, axes, scratch: tiles.as_mut_ptr() }),
                None => isa.run(sweep),
            }
        }
    }

    /// Packs `channels` of the concatenation from the first row on that output row `row` reads: as many rows and columns as
    /// `shape` says, and as many numbers from one channel to the next.
    #[allow(clippy::too_many_arguments, reason = "as `forward`")]
    unsafe fn pack_input(
        &self,
        isa: Isa,
        group: usize,
        sources: &[Source<'_>],
        mask: &[f32; LANES],
        channels: Range<usize>,
        row: usize,
        (rows, columns, to_channel): (usize, usize, usize),
        to: &mut [f32],
    ) {
        let g = &self.geometry;
        assert!(channels.len() * to_channel <= to.len(), "scratch memory is as large as the largest block");
        for (part, source) in self.parts.iter().zip(sources) {
            let (start, end) = (channels.start.max(part.first), channels.end.min(part.first + part.channels));
            if start >= end {
                continue;
            }
            let plane = part.height * part.width * LANES;
            let skip = start - part.first;
            // SAFETY: channels start..end lie in this part, whose tensor the caller vouches for, and in the block (asserted).
            unsafe {
                isa.run(PackInput {
                    from: source.values.add((group * part.channels + skip) * plane),
                    channels: end - start,
                    window: Window {
                        first_row: (row * g.stride_height).cast_signed() - g.pad_height().cast_signed(),
                        rows,
                        pad: g.pad_width(),
                        columns,
                        height: part.height,
                        width: part.width,
                        to_channel,
                    },
                    norm: source.norm,
                    norm_first: skip,
                    mask,
                    to: to.as_mut_ptr().add((start - channels.start) * to_channel),
                });
            }
        }
    }

    /// One chunk of one group: adds to the weights' gradient `dw`, and writes (or adds) the sources' gradients.
    ///
    /// # Safety
    /// As `forward`; `output` and the sources' gradients are whole tensors too, and no other thread touches what this chunk
    /// writes of the latter: input rows below its output rows times the stride.
    #[allow(clippy::too_many_arguments, reason = "one call site each; a struct would only rename them")]
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
        let (inputs, gradients, tiles) = (scratch.inputs.as_mut_slice(), scratch.gradients.as_mut_slice(), &mut scratch.tiles);
        let sums = &mut scratch.sums.as_mut_slice()[..self.sums_len()];
        sums.fill(0.0);
        let blocks = nth(g.out_height().div_ceil(self.backward.rows), self.chunk, chunk);
        for rows in blocks.map(|block| nth(g.out_height(), self.backward.rows, block)) {
            for (index, filters) in ranges(g.filters, self.backward.filters).enumerate() {
                // SAFETY: as the caller vouches; rows and filters are within the geometry.
                unsafe {
                    self.pack_gradient(isa, group, output, mask, filters.clone(), rows.clone(), gradients);
                    self.sweep_inputs(isa, group, sources, index, filters.clone(), rows.clone(), flipped, (gradients, tiles));
                    for channels in ranges(g.channels, self.backward.channels) {
                        let shape = (self.input_rows(rows.len()), self.input_columns(), self.input_channel(self.backward.rows));
                        self.pack_input(isa, group, sources, mask, channels.clone(), rows.start, shape, inputs);
                        let (filters, packed) = (filters.clone(), (&*inputs, &*gradients));
                        match self.axes {
                            Some(axes) => self.multiply_tiles(isa, axes, (channels, filters), rows.len(), packed, tiles, sums),
                            None => self.sweep_weights(isa, channels, filters, rows.len(), packed, dw),
                        }
                    }
                }
            }
        }
        if let Some(axes) = self.axes {
            let (row, evaluations) = (g.channels.next_multiple_of(LANES), &[axes.0.evaluation(), axes.1.evaluation()]);
            let (filters, channels, to) = (g.filters, g.channels, dw.as_mut_ptr());
            assert_eq!(dw.len(), self.weight_len(), "one number for each weight");
            // SAFETY: `sums` has `sums_len` numbers, `dw` one for each weight (asserted).
            unsafe { isa.run(ToTaps { axes, evaluations, sums: sums.as_ptr(), filters, channels, row, to }) }
        }
    }

    /// The weights' gradient at the points, from one packed block.
    #[allow(clippy::too_many_arguments, reason = "as `backward`")]
    unsafe fn multiply_tiles(
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
        // SAFETY: both blocks were packed as far as tiles reach, the gradient's interior behind its halo; `points` has room for
        // both (`tile_scratch`), `sums` for all filters and channels.
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
                to: to.add(self.values(0) * capacity * LANES * self.backward.filters),
            };
            let gradients = Evaluation {
                source: gradients.as_ptr().add((self.halo[0].0 * self.gradient_columns() + self.halo[1].0) * LANES),
                source_channel: self.gradient_channel(self.backward.rows),
                source_row: self.gradient_columns() * LANES,
                channels: filters.len(),
                to,
                ..inputs
            };
            isa.run(TileProducts {
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
    unsafe fn pack_gradient(
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
        assert!(filters.len() * self.gradient_channel(self.backward.rows) <= to.len(), "scratch memory is as large as the largest block");
        // SAFETY: filters lie in the output tensor, which the caller vouches for, and in the block (asserted).
        unsafe {
            isa.run(PackGradient {
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

    /// Gradients of the inputs from the packed gradient of output rows `rows`: those of input rows `rows` · stride.
    #[allow(clippy::too_many_arguments, reason = "as `backward`")]
    unsafe fn sweep_inputs(
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
            let Some((out, accumulate)) = source.gradient else { continue };
            let plane = part.height * part.width * LANES;
            for (i, vertical) in self.phases[0].iter().enumerate() {
                let sub_rows = positions(part.height, g.stride_height, vertical.first).min(rows.end).saturating_sub(rows.start);
                for (j, horizontal) in self.phases[1].iter().enumerate() {
                    let columns = positions(part.width, g.stride_width, horizontal.first);
                    if sub_rows == 0 || columns == 0 {
                        continue;
                    }
                    let weights = self.flipped[(filter_block * self.parts.len() + index) * combinations + i * self.phases[1].len() + j];
                    let source_row = self.halo[0].0.strict_add_signed(vertical.offset);
                    let source_column = self.halo[1].0.strict_add_signed(horizontal.offset);
                    let row = rows.start * g.stride_height + vertical.first;
                    // SAFETY: rows and columns of this phase that lie within the part (`positions`), of a tensor that the
                    // caller vouches for; the halos are as wide as the phases reach.
                    unsafe {
                        let sweep = Sweep {
                            source: gradients.as_ptr().add((source_row * self.gradient_columns() + source_column) * LANES),
                            source_channel: self.gradient_channel(self.backward.rows),
                            source_row: self.gradient_columns() * LANES,
                            step_row: self.gradient_columns() * LANES,
                            step_column: LANES,
                            channels: filters.len(),
                            taps_height: vertical.taps,
                            taps_width: horizontal.taps,
                            weights: flipped.as_ptr().add(weights),
                            out: out.add(group * part.channels * plane + (row * part.width + horizontal.first) * LANES),
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
    unsafe fn sweep_weights(
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
        // SAFETY: both blocks were packed for these rows; the interior of the gradient's starts behind its halo.
        unsafe {
            isa.run(WeightSweep {
                source: inputs.as_ptr(),
                taps: &self.taps[..channels.len() * area],
                step_row: g.stride_height * self.input_columns() * LANES,
                step_column: g.stride_width * LANES,
                gradient: gradients.as_ptr().add((self.halo[0].0 * self.gradient_columns() + self.halo[1].0) * LANES),
                gradient_channel: self.gradient_channel(self.backward.rows),
                gradient_row: self.gradient_columns() * LANES,
                filters: filters.len(),
                rows,
                columns: g.out_width(),
                out: dw.as_mut_ptr().add(filters.start * g.taps() + channels.start * area),
                out_filter: g.taps(),
            });
        }
    }
}

impl Blocks {
    /// For a backward pass by tiles: all filters (up to 64) and few channels at once, so that the gradient is transformed once;
    /// as many tiles as keep it in a third-level cache, for long sums.
    fn for_tiles(g: &Geometry, (vertical, horizontal): (Axis, Axis), most_rows: usize) -> Self {
        let balanced = |total: usize, most: usize| total.div_ceil(total.div_ceil(most));
        let filters = balanced(g.filters, 64);
        let bytes = vertical.points() * horizontal.points() * filters * LANES * size_of::<f32>();
        let tiles = (POINTS_BYTES / bytes).clamp(16, 64);
        let across = g.out_width().div_ceil(horizontal.outputs());
        let rows = most_rows.min(tiles.div_ceil(across) * vertical.outputs());
        Self { channels: balanced(g.channels, 16), filters, rows }
    }

    /// The largest blocks within `BLOCK_BYTES`: rather fewer channels at once than fewer than the least rows.
    fn choose(g: &Geometry, (least_rows, most_rows, step): (usize, usize, usize), bytes: impl Fn(&Self) -> usize) -> Self {
        let mut pieces = 1;
        loop {
            let mut blocks = Self { channels: g.channels.div_ceil(pieces), filters: g.filters.div_ceil(pieces), rows: most_rows };
            while bytes(&blocks) > BLOCK_BYTES && blocks.rows > least_rows {
                blocks.rows -= step;
            }
            if bytes(&blocks) <= BLOCK_BYTES || blocks.channels.max(blocks.filters) <= TILE_FILTERS {
                return blocks;
            }
            pieces += 1;
        }
    }
}

/// The tiles for a convolution that has less to do with them than without.
fn tiles(g: &Geometry) -> Option<(Axis, Axis)> {
    let axes = (Axis::for_taps(g.filter_height)?, Axis::for_taps(g.filter_width)?);
    let worthwhile = axes != (Axis::One, Axis::One) && g.channels.min(g.filters) >= 8;
    (worthwhile && g.stride_height == 1 && g.stride_width == 1).then_some(axes)
}

/// Where a weight lies in [filters, channels, filter height, filter width].
fn weight_index(g: &Geometry, filter: usize, channel: usize, ky: usize, kx: usize) -> usize {
    ((filter * g.channels + channel) * g.filter_height + ky) * g.filter_width + kx
}

/// Rows of input that `rows` rows of output read.
fn input_rows(g: &Geometry, rows: usize) -> usize {
    (rows - 1) * g.stride_height + g.filter_height
}

/// Columns of input that a row of output reads.
fn input_columns(g: &Geometry) -> usize {
    (g.out_width() - 1) * g.stride_width + g.filter_width
}

/// `0..total` in steps of `step`.
fn ranges(total: usize, step: usize) -> impl Iterator<Item = Range<usize>> {
    (0..total.div_ceil(step)).map(move |i| nth(total, step, i))
}

fn nth(total: usize, step: usize, index: usize) -> Range<usize> {
    index * step..((index + 1) * step).min(total)
}

/// How many of `0..size` are `first` modulo `stride`.
fn positions(size: usize, stride: usize, first: usize) -> usize {
    size.saturating_sub(first).div_ceil(stride)
}

/// The phases of one axis.
fn phases(filter: usize, stride: usize, pad: usize) -> Vec<Phase> {
    (0..stride)
        .map(|first| {
            let first_tap = (first + pad) % stride;
            let taps = positions(filter, stride, first_tap);
            // Input position first + stride · i meets tap first_tap + stride · j at output position i + (first + pad - first_tap) / stride - j.
            let offset = ((first + pad - first_tap.min(first + pad)) / stride).cast_signed() - taps.cast_signed() + 1;
            Phase { first, first_tap, taps, offset: if taps == 0 { 0 } else { offset } }
        })
        .collect()
}

/// How far the phases reach before and behind a block.
fn halo(phases: &[Phase]) -> (usize, usize) {
    let before = phases.iter().map(|p| p.offset.min(0).unsigned_abs()).max().unwrap_or(0);
    let behind = phases.iter().map(|p| p.offset + p.taps.cast_signed() - 1).max().unwrap_or(0);
    (before, behind.max(0).unsigned_abs())
}

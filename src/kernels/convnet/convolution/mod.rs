//! A convolution over the concatenation of its inputs, for groups of images: blocks that fit the
//! second-level cache are packed (see `pack`) and swept over (see `sweep`). Forward, and backward
//! to weights and inputs at once. Knows nothing of networks; normalisation reaches it as something
//! that packing applies. Here: how the work is cut up.

mod backward;
pub mod direct;
mod forward;
mod pixels;
mod small;
mod weights;

use crate::kernels::convnet::pack::{Norm, UpstreamGradient, mask};
use crate::kernels::convnet::spec::{Geometry, Part};
use crate::kernels::convnet::winograd::{self, Axis};
use crate::kernels::memory::Buffer;
use crate::kernels::memory::LANES;
use crate::kernels::simd::{Isa, TILE_FILTERS};
use small::Small;
use std::ops::Range;

/// Bytes of packed rows that one sweep works on: what stays in a second-level cache beside weights
/// and results.
const BLOCK_BYTES: usize = 448 << 10;

/// Bytes of gradients at their points that a backward pass by tiles works on.
const POINTS_BYTES: usize = 3 << 20;

/// Tasks of a pass that there are at least, where the image has rows enough: work for as many
/// threads.
const TASKS: usize = 8;

/// How a convolution is cut up. Depends on sizes alone, never on the number of threads: so neither
/// do the results.
#[derive(Clone, Debug)]
pub struct Convolution {
    pub geometry: Geometry,
    pub parts: Vec<Part>,
    forward: Blocks,
    backward: Blocks,
    /// Set where the pictures are so small that pixels are taken one by one.
    small: Option<Small>,
    /// Set where tiles take fewer products than filters.
    axes: Option<(Axis, Axis)>,
    /// Where in a packed input block each weight's first factor lies; with tiles, where each
    /// channel's points do.
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

/// A packed block: rows and columns, and numbers from one channel to the next.
#[derive(Clone, Copy)]
struct BlockShape {
    rows: usize,
    columns: usize,
    channel: usize,
}

/// Input rows (or columns) of equal remainder modulo the stride: their gradient is a convolution of
/// stride 1 with some of the taps.
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
    /// Packed channels turned, for the gradient of the weights of small pictures.
    pub turned: Buffer,
    /// Gradients of weights at the points.
    pub sums: Buffer,
}

impl Scratch {
    /// Enough for each of `convolutions`.
    pub fn new(convolutions: &[Convolution]) -> Self {
        let [inputs, gradients, tiles, turned, sums] = Self::sizes(convolutions).map(Buffer::new);
        Self {
            inputs,
            gradients,
            tiles,
            turned,
            sums,
        }
    }

    /// Numbers of each buffer.
    pub fn sizes(convolutions: &[Convolution]) -> [usize; 5] {
        let largest =
            |f: &dyn Fn(&Convolution) -> usize| convolutions.iter().map(f).max().unwrap_or(0);
        [
            largest(&Convolution::input_scratch),
            largest(&Convolution::gradient_scratch),
            largest(&Convolution::tile_scratch),
            largest(&Convolution::turned_scratch),
            largest(&Convolution::sums_len),
        ]
    }

    pub fn bytes(&self) -> usize {
        let buffers = [&self.inputs, &self.gradients, &self.tiles, &self.turned];
        buffers.into_iter().map(Buffer::bytes).sum::<usize>() + self.sums.bytes()
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

/// What a pass reads.
#[derive(Clone, Copy)]
pub struct PassInput<'a> {
    pub isa: Isa,
    /// How many there are.
    pub images: usize,
    /// One for each part.
    pub sources: &'a [Source<'a>],
}

/// What a pass reads of one group of images.
#[derive(Clone, Copy)]
struct GroupInput<'a> {
    isa: Isa,
    group: usize,
    /// One for each part.
    sources: &'a [Source<'a>],
    /// 1 for each lane that holds an image, else 0.
    mask: &'a [f32; LANES],
}

/// Where the forward pass writes.
#[derive(Clone, Copy)]
pub struct ForwardTarget {
    /// The whole output tensor.
    pub y: *mut f32,
    /// Moments of all blocks, [groups][blocks][filters][2][LANES]; None: they are not wanted.
    pub moments: Option<*mut f32>,
}

/// What the backward pass reads of the convolution's own output.
pub struct Output<'a> {
    pub y: *const f32,
    pub upstream: UpstreamGradient,
    pub norm: &'a Norm,
}

impl Convolution {
    /// `groups`: the largest number of groups at once.
    pub fn new(geometry: Geometry, parts: Vec<Part>, groups: usize) -> Self {
        let g = geometry;
        let phases = [
            phases(g.filter_height, g.stride_height, g.pad_height()),
            phases(g.filter_width, g.stride_width, g.pad_width()),
        ];
        let halo = [halo(&phases[0]), halo(&phases[1])];
        let small = Small::new(&g, groups);
        let axes = small.is_none().then(|| tiles(&g)).flatten();
        let step = axes.map_or(1, |(vertical, _)| vertical.outputs());
        let max_rows = g
            .out_height()
            .div_ceil(TASKS.div_ceil(groups))
            .next_multiple_of(step);
        let min_rows = max_rows.min(g.filter_height.max(4).next_multiple_of(step));
        let mut this = Self {
            geometry,
            parts,
            forward: Blocks::default(),
            backward: Blocks::default(),
            small,
            axes,
            taps: Vec::new(),
            phases,
            halo,
            flipped: Vec::new(),
            flipped_len: 0,
            chunk: 1,
        };
        if this.small.is_some() {
            return this.of_whole_pictures();
        }
        let choose = |bytes: &dyn Fn(&Blocks) -> usize| {
            Blocks::choose(&g, (min_rows, max_rows, step), |b| {
                bytes(b) * size_of::<f32>()
            })
        };
        this.forward = choose(&|b| b.channels * this.input_channel(b.rows));
        this.backward = match axes {
            None => choose(&|b| {
                b.channels * this.input_channel(b.rows) + b.filters * this.gradient_channel(b.rows)
            }),
            Some(axes) => Blocks::for_tiles(&g, axes, max_rows),
        };
        let backward = this.backward;
        this.taps = this.tap_offsets();
        this.place_flipped();
        let private = (64 << 20) / (this.weight_len() * size_of::<f32>()).max(1);
        let chunks = TASKS.min(private).max(1).div_ceil(groups).max(1);
        this.chunk = g.out_height().div_ceil(backward.rows).div_ceil(chunks);
        this
    }

    /// Cut up into spans of groups alone.
    fn of_whole_pictures(mut self) -> Self {
        let g = self.geometry;
        let blocks = Blocks {
            channels: g.channels,
            filters: g.filters,
            rows: g.out_height(),
        };
        self.forward = blocks;
        self.backward = blocks;
        for part in &self.parts {
            self.flipped.push(self.flipped_len);
            let values = g.filters * g.filter_height * g.filter_width;
            self.flipped_len += part.channels.next_multiple_of(TILE_FILTERS) * values;
        }
        self
    }

    /// Groups that a task takes.
    fn span(&self) -> usize {
        self.small.as_ref().map_or(1, |small| small.span)
    }

    /// Tasks of a forward pass over so many images.
    pub fn forward_tasks(&self, images: usize) -> usize {
        images.div_ceil(LANES).div_ceil(self.span()) * self.forward_blocks()
    }

    /// Tasks of a backward pass over so many images.
    pub fn backward_tasks(&self, images: usize) -> usize {
        images.div_ceil(LANES).div_ceil(self.span()) * self.backward_chunks()
    }

    pub fn weight_len(&self) -> usize {
        self.geometry.filters * self.geometry.taps()
    }

    fn input_scratch(&self) -> usize {
        let g = &self.geometry;
        if let Some(small) = &self.small {
            let plane = g.height * g.width * LANES;
            return plane * (g.channels * small.span).max(LANES);
        }
        (self.forward.channels * self.input_channel(self.forward.rows))
            .max(self.backward.channels * self.input_channel(self.backward.rows))
    }

    fn gradient_scratch(&self) -> usize {
        let g = &self.geometry;
        if let Some(small) = &self.small {
            let plane = g.out_height() * g.out_width() * LANES;
            return plane * g.filters.next_multiple_of(LANES) * small.span;
        }
        self.backward.filters * self.gradient_channel(self.backward.rows)
    }

    fn turned_scratch(&self) -> usize {
        self.small.as_ref().map_or(0, |small| {
            self.geometry.height * self.geometry.width * LANES * LANES * small.span
        })
    }

    fn tile_scratch(&self) -> usize {
        if self.small.is_some() {
            // The gradients, turned.
            return self.gradient_scratch();
        }
        let Some(axes) = self.axes else { return 0 };
        let parts = self
            .parts
            .iter()
            .map(|part| winograd::scratch(axes, self.backward.filters, part.channels));
        let at_points = |rows| {
            self.values(0) * winograd::point_step(rows, self.backward_tiles(self.backward.rows))
        };
        let products = at_points(self.backward.channels) + at_points(self.backward.filters);
        parts.fold(
            winograd::scratch(axes, self.forward.channels, self.geometry.filters).max(products),
            usize::max,
        )
    }

    /// Tiles of a backward block of `rows` rows.
    fn backward_tiles(&self, rows: usize) -> usize {
        let count = |(vertical, horizontal): (Axis, Axis)| {
            rows.div_ceil(vertical.outputs())
                * self.geometry.out_width().div_ceil(horizontal.outputs())
        };
        self.axes.map_or(0, count)
    }

    /// Numbers of the weights' gradient at the points: [points][filters][channels, up to whole
    /// vectors].
    fn sums_len(&self) -> usize {
        self.axes.map_or(0, |_| {
            self.values(0) * self.geometry.filters * self.geometry.channels.next_multiple_of(LANES)
        })
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
    fn backward_chunks(&self) -> usize {
        self.geometry
            .out_height()
            .div_ceil(self.backward.rows)
            .div_ceil(self.chunk)
    }

    /// Rows of packed input for `rows` rows of output: as far as whole tiles reach.
    fn input_rows(&self, rows: usize) -> usize {
        input_rows(
            &self.geometry,
            self.axes
                .map_or(rows, |(axis, _)| rows.next_multiple_of(axis.outputs())),
        )
    }

    fn input_columns(&self) -> usize {
        let columns = self.geometry.out_width();
        let whole = self.axes.map_or(columns, |(_, axis)| {
            columns.next_multiple_of(axis.outputs())
        });
        input_columns(&self.geometry) + (whole - columns)
    }

    fn input_channel(&self, rows: usize) -> usize {
        self.input_rows(rows) * self.input_columns() * LANES
    }

    fn gradient_rows(&self, rows: usize) -> usize {
        self.axes
            .map_or(rows, |(axis, _)| rows.next_multiple_of(axis.outputs()))
            + self.halo[0].0
            + self.halo[0].1
    }

    fn gradient_columns(&self) -> usize {
        let columns = self.geometry.out_width();
        self.axes.map_or(columns, |(_, axis)| {
            columns.next_multiple_of(axis.outputs())
        }) + self.halo[1].0
            + self.halo[1].1
    }

    fn gradient_channel(&self, rows: usize) -> usize {
        self.gradient_rows(rows) * self.gradient_columns() * LANES
    }

    /// The block of input that `rows` rows of output read, in memory for `blocks`.
    fn input_shape(&self, rows: usize, blocks: &Blocks) -> BlockShape {
        BlockShape {
            rows: self.input_rows(rows),
            columns: self.input_columns(),
            channel: self.input_channel(blocks.rows),
        }
    }

    fn tap_offsets(&self) -> Vec<usize> {
        let g = &self.geometry;
        if self.axes.is_some() {
            let step = self.backward_tiles(self.backward.rows) * LANES;
            return (0..self.backward.channels).map(|c| c * step).collect();
        }
        let mut taps =
            Vec::with_capacity(self.backward.channels * g.filter_height * g.filter_width);
        for c in 0..self.backward.channels {
            for ky in 0..g.filter_height {
                for kx in 0..g.filter_width {
                    taps.push(
                        c * self.input_channel(self.backward.rows)
                            + (ky * self.input_columns() + kx) * LANES,
                    );
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
                        at += part.channels.next_multiple_of(TILE_FILTERS)
                            * filters.len()
                            * self.values(rows.taps * columns.taps);
                    }
                }
            }
        }
        self.flipped_len = at;
    }

    /// Numbers that stand for `taps` taps of a filter: they, or its values at the points of a tile.
    fn values(&self, taps: usize) -> usize {
        self.axes.map_or(taps, |(vertical, horizontal)| {
            vertical.points() * horizontal.points()
        })
    }

    /// Numbers that `pack_weights` makes of one channel.
    fn packed_channel(&self) -> usize {
        self.geometry.filters.next_multiple_of(TILE_FILTERS)
            * self.values(self.geometry.filter_height * self.geometry.filter_width)
    }

    /// Length of `pack_weights`' result.
    pub fn packed_len(&self) -> usize {
        self.packed_channel() * self.geometry.channels
    }

    /// Length of `flip_weights`' result.
    pub fn flipped_len(&self) -> usize {
        self.flipped_len
    }
}

impl Blocks {
    /// For a backward pass by tiles: all filters (up to 64) and few channels at once, so that the
    /// gradient is transformed once; as many tiles as keep it in a third-level cache, for long
    /// sums.
    fn for_tiles(g: &Geometry, (vertical, horizontal): (Axis, Axis), max_rows: usize) -> Self {
        let balanced = |total: usize, max: usize| total.div_ceil(total.div_ceil(max));
        let filters = balanced(g.filters, 64);
        let bytes = vertical.points() * horizontal.points() * filters * LANES * size_of::<f32>();
        let tiles = (POINTS_BYTES / bytes).clamp(16, 64);
        let across = g.out_width().div_ceil(horizontal.outputs());
        let rows = max_rows.min(tiles.div_ceil(across) * vertical.outputs());
        Self {
            channels: balanced(g.channels, 16),
            filters,
            rows,
        }
    }

    /// The largest blocks within `BLOCK_BYTES`: rather fewer channels at once than fewer than the
    /// least rows.
    fn choose(
        g: &Geometry,
        (min_rows, max_rows, step): (usize, usize, usize),
        bytes: impl Fn(&Self) -> usize,
    ) -> Self {
        let mut pieces = 1;
        loop {
            let mut blocks = Self {
                channels: g.channels.div_ceil(pieces),
                filters: g.filters.div_ceil(pieces),
                rows: max_rows,
            };
            while bytes(&blocks) > BLOCK_BYTES && blocks.rows > min_rows {
                blocks.rows -= step;
            }
            if bytes(&blocks) <= BLOCK_BYTES || blocks.channels.max(blocks.filters) <= TILE_FILTERS
            {
                return blocks;
            }
            pieces += 1;
        }
    }
}

/// The tiles for a convolution that has less to do with them than without.
fn tiles(g: &Geometry) -> Option<(Axis, Axis)> {
    let axes = (
        Axis::for_taps(g.filter_height)?,
        Axis::for_taps(g.filter_width)?,
    );
    // What is transformed costs too, and a picture smaller than a tile wastes the rest of it.
    let tiles =
        |size: usize, axis: Axis| size.div_ceil(axis.outputs()).saturating_mul(axis.points());
    let products = tiles(g.out_height(), axes.0).saturating_mul(tiles(g.out_width(), axes.1));
    let taps = g.filter_height * g.filter_width * g.out_height() * g.out_width();
    let worthwhile = products <= taps / 4 * 3 && g.channels.min(g.filters) >= 8;
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
            // Input position first + stride · i meets tap first_tap + stride · j at output position
            // i + (first + pad - first_tap) / stride - j.
            let offset = ((first + pad - first_tap.min(first + pad)) / stride).cast_signed()
                - taps.cast_signed()
                + 1;
            Phase {
                first,
                first_tap,
                taps,
                offset: if taps == 0 { 0 } else { offset },
            }
        })
        .collect()
}

/// How far the phases reach before and behind a block.
fn halo(phases: &[Phase]) -> (usize, usize) {
    let before = phases
        .iter()
        .map(|p| p.offset.min(0).unsigned_abs())
        .max()
        .unwrap_or(0);
    let behind = phases
        .iter()
        .map(|p| p.offset + p.taps.cast_signed() - 1)
        .max()
        .unwrap_or(0);
    (before, behind.max(0).unsigned_abs())
}

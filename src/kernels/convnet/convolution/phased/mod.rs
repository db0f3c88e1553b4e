//! Convolutions by tiles whatever their stride: rows (and columns) of equal remainder modulo the
//! stride are channels of their own, and over these the convolution has a stride of 1 and filters
//! of as many taps as one remainder meets. All remainders' products are summed at the points, so
//! that what is interpolated is as little as with a stride of 1. Here: how the work is cut up.
//! Knows sizes alone.

mod kernels;
mod passes;
mod weights;

use super::{Phase, halo, phases};
use crate::kernels::convnet::spec::{Geometry, Part};
use crate::kernels::convnet::winograd::{Axis, point_step};
use crate::kernels::memory::LANES;
use crate::kernels::simd::TILE_FILTERS;

/// Bytes of one point's numbers of a block of channels: what stays in a first-level cache beside
/// the weights, while every filter is multiplied with them.
const POINT_BYTES: usize = 24 << 10;

/// Bytes of all points of a block of tiles: what stays in a second-level cache.
const POINTS_BYTES: usize = 1536 << 10;

/// Channels that a block of tiles is counted with where its size is chosen.
const CHANNELS: usize = 96;

/// Tiles of a block: at least, where there are as many, and at most.
const TILES: (usize, usize) = (4, 24);

/// Filters (or channels) whose weights stand side by side at a point.
const BANK: usize = LANES;

/// Steps of a register tile's second side that a block of channels is measured by.
const WIDTH: usize = 6;

/// One axis of a convolution.
#[derive(Clone, Debug)]
struct Line {
    stride: usize,
    filter: usize,
    /// Tiles of the output.
    outputs: Axis,
    /// Tiles of the input's gradient, of one remainder.
    inputs: Axis,
    /// Rows of the output's gradient that a row of the input's reads before its own.
    before: usize,
    /// Input rows of equal remainder, as they are met from the output.
    phases: Vec<Phase>,
}

impl Line {
    /// None where there are no tiles for as many taps.
    fn new(filter: usize, stride: usize, pad: usize) -> Option<Self> {
        let phases = phases(filter, stride, pad);
        let (before, behind) = halo(&phases);
        Some(Self {
            stride,
            filter,
            outputs: Axis::for_taps(filter.div_ceil(stride))?,
            inputs: Axis::for_taps(before + behind + 1)?,
            before,
            phases,
        })
    }

    /// Remainders that a tap meets.
    fn remainders(&self) -> usize {
        self.stride.min(self.filter)
    }

    /// Rows of a block are a multiple of this.
    fn step(&self) -> usize {
        self.outputs.outputs().max(self.inputs.outputs())
    }

    /// Packed rows of the input for `rows` rows of output, up to whole tiles.
    fn input(&self, rows: usize) -> usize {
        let rows = rows.next_multiple_of(self.outputs.outputs());
        self.stride * (rows + self.outputs.taps() - 1)
    }

    /// Packed rows of the gradient for `rows` rows of output, up to whole tiles of both kinds.
    fn gradient(&self, rows: usize) -> usize {
        let inputs = rows.next_multiple_of(self.inputs.outputs()) + self.inputs.taps() - 1;
        inputs.max(self.before + rows.next_multiple_of(self.outputs.outputs()))
    }
}

/// How a convolution is cut up into tiles.
#[derive(Clone, Debug)]
pub struct Phased {
    lines: [Line; 2],
    /// Groups of one task.
    pub span: usize,
    /// Output rows of a block.
    pub rows: usize,
    /// Channels whose points are there at once.
    channels: usize,
    geometry: Geometry,
    /// Where the gradient's weights of each part begin.
    parts: Vec<usize>,
    parts_len: usize,
}

/// Tiles of some rows of output.
#[derive(Clone, Copy)]
struct Tiles {
    axes: (Axis, Axis),
    down: usize,
    across: usize,
}

impl Tiles {
    fn count(self) -> usize {
        self.down * self.across
    }

    fn points(self) -> usize {
        self.axes.0.points() * self.axes.1.points()
    }
}

/// Remainders of both axes, those of the second one next to each other.
fn pairs(first: usize, second: usize) -> impl Iterator<Item = (usize, usize)> + Clone {
    (0..first * second).map(move |i| (i / second, i % second))
}

impl Phased {
    /// `groups` at most at once. None where there are no tiles for as many taps.
    pub fn new(g: &Geometry, parts: &[Part], groups: usize) -> Option<Self> {
        let lines = [
            Line::new(g.filter_height, g.stride_height, g.pad_height())?,
            Line::new(g.filter_width, g.stride_width, g.pad_width())?,
        ];
        let mut this = Self {
            lines,
            span: 1,
            rows: g.out_height(),
            channels: g.channels,
            geometry: *g,
            parts: Vec::new(),
            parts_len: 0,
        };
        this.cut(groups);
        for part in parts {
            this.parts.push(this.parts_len);
            this.parts_len += part.channels.next_multiple_of(BANK) * this.part_filter();
        }
        Some(this)
    }

    /// Products of one channel and one filter.
    pub fn products(&self) -> usize {
        let tiles = self.outputs(self.geometry.out_height());
        self.remainders() * tiles.points() * tiles.count()
    }

    /// Channels, of which each remainder counts.
    pub fn channels_at_points(&self) -> usize {
        self.geometry.channels * self.remainders()
    }

    fn cut(&mut self, groups: usize) {
        let g = self.geometry;
        let step = self.lines[0].step();
        let all = self.outputs(g.out_height());
        let bytes = all.points() * (g.filters + CHANNELS) * LANES * size_of::<f32>();
        let most = (POINTS_BYTES / bytes).clamp(TILES.0, TILES.1);
        let across = all.across * step / self.lines[0].outputs.outputs();
        let least = step * TILES.0.div_ceil(across);
        let shared = g.out_height().div_ceil(super::TASKS.div_ceil(groups));
        self.rows = (step * (most / across).max(1))
            .min(shared.next_multiple_of(step).max(least))
            .min(g.out_height().next_multiple_of(step));
        if all.count() < TILES.0 {
            let span = TILES.0.div_ceil(all.count());
            self.span = span.min(groups.div_ceil(2)).max(1);
        }
        let side = (self.outputs(self.rows.min(g.out_height())).count() * self.span).min(WIDTH);
        let most = POINT_BYTES / (side * LANES * size_of::<f32>()) / self.remainders();
        let blocks = g.channels.div_ceil(most.max(1));
        self.channels = g.channels.div_ceil(blocks);
    }

    /// Remainders that taps meet: so many channels stand for one.
    fn remainders(&self) -> usize {
        self.lines[0].remainders() * self.lines[1].remainders()
    }

    /// Tiles of `rows` rows of output.
    fn outputs(&self, rows: usize) -> Tiles {
        let axes = (self.lines[0].outputs, self.lines[1].outputs);
        Tiles {
            axes,
            down: rows.div_ceil(axes.0.outputs()),
            across: self.geometry.out_width().div_ceil(axes.1.outputs()),
        }
    }

    /// Tiles of the input's gradient, of each remainder, for `rows` rows of output.
    fn inputs(&self, rows: usize) -> Tiles {
        let axes = (self.lines[0].inputs, self.lines[1].inputs);
        Tiles {
            axes,
            down: rows.div_ceil(axes.0.outputs()),
            across: self.geometry.out_width().div_ceil(axes.1.outputs()),
        }
    }

    /// Filters, up to whole banks.
    fn bank_filters(&self) -> usize {
        self.geometry.filters.next_multiple_of(BANK)
    }

    /// Weights that one channel of the input becomes.
    fn channel_weights(&self) -> usize {
        self.remainders() * self.outputs(1).points() * self.bank_filters()
    }

    /// Weights of the gradient that one channel of a part becomes.
    fn part_filter(&self) -> usize {
        let taken = |line: &Line| line.phases.iter().filter(|phase| phase.taps > 0).count();
        let remainders = taken(&self.lines[0]) * taken(&self.lines[1]);
        remainders * self.inputs(1).points() * self.geometry.filters
    }

    /// Length of `pack_weights`' result.
    pub fn packed_len(&self) -> usize {
        self.geometry.channels * self.channel_weights()
    }

    /// Length of `flip_weights`' result.
    pub fn flipped_len(&self) -> usize {
        self.parts_len
    }

    /// Numbers of a packed channel of the input, and of the gradient.
    fn input_channel(&self, rows: usize) -> usize {
        self.lines[0].input(rows) * self.lines[1].input(self.geometry.out_width()) * LANES
    }

    fn gradient_channel(&self, rows: usize) -> usize {
        self.lines[0].gradient(rows) * self.lines[1].gradient(self.geometry.out_width()) * LANES
    }

    /// Numbers of scratch memory for packed inputs.
    pub fn input_scratch(&self) -> usize {
        self.span * self.channels * self.input_channel(self.rows)
    }

    /// For packed gradients.
    pub fn gradient_scratch(&self) -> usize {
        self.span * self.geometry.filters * self.gradient_channel(self.rows)
    }

    /// Channels of a block as the points count them, up to whole register tiles.
    fn rows_at_points(&self, channels: usize) -> usize {
        (channels * self.remainders()).next_multiple_of(TILE_FILTERS)
    }

    /// For points.
    pub fn tile_scratch(&self) -> usize {
        let outputs = self.outputs(self.rows);
        let inputs = self.inputs(self.rows);
        let filters = self.geometry.filters.next_multiple_of(TILE_FILTERS);
        let at = |tiles: Tiles, rows| tiles.points() * point_step(rows, tiles.count() * self.span);
        let channels = at(outputs, self.rows_at_points(self.channels));
        let forward = channels + at(outputs, filters);
        let backward = at(inputs, filters) + at(inputs, BANK);
        forward.max(backward).max(channels + at(outputs, BANK))
    }

    /// For the outputs' gradients at the points, turned: [points][tiles and images][filters].
    pub fn turned_scratch(&self) -> usize {
        let outputs = self.outputs(self.rows);
        outputs.points() * outputs.count() * self.span * LANES * self.bank_filters()
    }

    /// For the gradient of the weights at the points.
    pub fn sums_len(&self) -> usize {
        self.packed_len()
    }
}

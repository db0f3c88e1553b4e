//! Weights of `phased` at the points, in the orders in which its products read them, and back to
//! taps. Sixteen filters (or channels) are a vector. Knows no tiles.

use super::{BANK, Line, Phased, pairs};
use crate::kernels::convnet::convolution::{Phase, ranges};
use crate::kernels::convnet::spec::Part;
use crate::kernels::convnet::winograd::Axis;
use crate::kernels::memory::LANES;
use crate::kernels::simd::{Isa, Kernel, Vector};

/// Most taps and points of an axis.
const TAPS: usize = 7;
const POINTS: usize = 8;

/// What each tap counts for at each point, of both axes.
type Evaluations = [Vec<Vec<f32>>; 2];

fn evaluations(axes: (Axis, Axis)) -> Evaluations {
    [axes.0.evaluation(), axes.1.evaluation()]
}

/// Where a filter's taps lie behind its first weight, [rows][columns] of one remainder's filter;
/// None where that has no tap.
type Offsets = Vec<Option<usize>>;

/// Of the taps that output rows and columns meet.
fn outputs_offsets(lines: &[Line; 2], remainder: (usize, usize)) -> Offsets {
    let tap = |line: &Line, remainder: usize, q: usize| {
        Some(q * line.stride + remainder).filter(|&tap| tap < line.filter)
    };
    pairs(lines[0].outputs.taps(), lines[1].outputs.taps())
        .map(|(y, x)| {
            let row = tap(&lines[0], remainder.0, y)?;
            Some(row * lines[1].filter + tap(&lines[1], remainder.1, x)?)
        })
        .collect()
}

/// Of the taps that input rows and columns of one remainder meet, the last one first.
fn inputs_offsets(lines: &[Line; 2], phases: (&Phase, &Phase)) -> Offsets {
    let tap = |line: &Line, phase: &Phase, position: usize| {
        // The last tap stands `phase.offset` behind the input's own position.
        let last = line.before.strict_add_signed(phase.offset);
        let j = (last + phase.taps).checked_sub(position + 1)?;
        (j < phase.taps).then_some(phase.first_tap + j * line.stride)
    };
    pairs(lines[0].inputs.taps(), lines[1].inputs.taps())
        .map(|(y, x)| {
            let row = tap(&lines[0], phases.0, y)?;
            Some(row * lines[1].filter + tap(&lines[1], phases.1, x)?)
        })
        .collect()
}

impl Phased {
    /// The taps of every remainder, as output rows and columns meet them.
    fn outputs_taps(&self) -> Vec<Offsets> {
        pairs(self.lines[0].remainders(), self.lines[1].remainders())
            .map(|remainder| outputs_offsets(&self.lines, remainder))
            .collect()
    }

    /// Weights as the forward products read them: [channel block][points][filters /
    /// 16][remainders][channels][16].
    pub fn pack_weights(&self, isa: Isa, weights: &[f32], to: &mut [f32]) {
        let g = &self.geometry;
        let evaluations = evaluations(self.outputs(1).axes);
        let area = g.filter_height * g.filter_width;
        let remainders = self.outputs_taps();
        for channels in ranges(g.channels, self.channels) {
            let rows = channels.len() * self.remainders();
            for filters in ranges(g.filters, BANK) {
                let at = channels.start * self.channel_weights() + filters.start * rows;
                isa.run(ToPoints {
                    evaluations: &evaluations,
                    remainders: &remainders,
                    area,
                    weights: &weights[filters.start * g.taps() + channels.start * area..],
                    lanes: filters.len(),
                    lane_step: g.taps(),
                    items: channels.len(),
                    item_step: area,
                    to: &mut to[at..],
                    to_point: rows * self.bank_filters(),
                    to_remainder: channels.len() * BANK,
                });
            }
        }
    }

    /// Weights as the products of the input's gradient read them: [part][channels /
    /// 16][remainders that have taps][points][filters][16].
    pub fn flip_weights(&self, isa: Isa, parts: &[Part], weights: &[f32], to: &mut [f32]) {
        let g = &self.geometry;
        let evaluations = evaluations(self.inputs(1).axes);
        let area = g.filter_height * g.filter_width;
        let remainders: Vec<Offsets> = self
            .taken()
            .map(|phases| inputs_offsets(&self.lines, phases))
            .collect();
        for (part, &first) in parts.iter().zip(&self.parts) {
            for channels in ranges(part.channels, BANK) {
                let at = first + channels.start / BANK * remainders.len() * self.bank_len();
                isa.run(ToPoints {
                    evaluations: &evaluations,
                    remainders: &remainders,
                    area,
                    weights: &weights[(part.first + channels.start) * area..],
                    lanes: channels.len(),
                    lane_step: area,
                    items: g.filters,
                    item_step: g.taps(),
                    to: &mut to[at..],
                    to_point: g.filters * BANK,
                    to_remainder: self.bank_len(),
                });
            }
        }
    }

    /// Numbers of one bank of the gradient's weights.
    pub(super) fn bank_len(&self) -> usize {
        self.inputs(1).points() * self.geometry.filters * BANK
    }

    /// Pairs of remainders that have taps.
    pub(super) fn taken(&self) -> impl Iterator<Item = (&Phase, &Phase)> {
        let [rows, columns] = &self.lines;
        rows.phases
            .iter()
            .flat_map(|row| columns.phases.iter().map(move |column| (row, column)))
            .filter(|(row, column)| row.taps > 0 && column.taps > 0)
    }

    /// Adds sums at the points, [channel block][points][remainders][channels][filters], to the
    /// gradient of the weights.
    pub(super) fn points_to_taps(&self, isa: Isa, sums: &[f32], dw: &mut [f32]) {
        let g = &self.geometry;
        let evaluations = evaluations(self.outputs(1).axes);
        let area = g.filter_height * g.filter_width;
        let remainders = self.outputs_taps();
        for channels in ranges(g.channels, self.channels) {
            let rows = channels.len() * self.remainders();
            for filters in ranges(g.filters, BANK) {
                let at = channels.start * self.channel_weights() + filters.start;
                isa.run(ToTaps {
                    evaluations: &evaluations,
                    remainders: &remainders,
                    area,
                    sums: &sums[at..],
                    sums_point: rows * self.bank_filters(),
                    sums_remainder: channels.len() * self.bank_filters(),
                    sums_item: self.bank_filters(),
                    items: channels.len(),
                    item_step: area,
                    lanes: filters.len(),
                    lane_step: g.taps(),
                    to: &mut dw[filters.start * g.taps() + channels.start * area..],
                });
            }
        }
    }
}

/// Up to 16 lanes' filters at the points: `to` [points of `to_point` numbers] of [remainders of
/// `to_remainder` numbers][items][16], zeros for lanes that there are not.
struct ToPoints<'a> {
    evaluations: &'a Evaluations,
    remainders: &'a [Offsets],
    /// Taps of a filter.
    area: usize,
    weights: &'a [f32],
    lanes: usize,
    lane_step: usize,
    items: usize,
    item_step: usize,
    to: &'a mut [f32],
    to_point: usize,
    to_remainder: usize,
}

impl Kernel for ToPoints<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(mut self) {
        // One filter of each lane, [taps][lanes]: read in the order in which they stand.
        let mut taps = vec![[0.0; LANES]; self.area];
        for item in 0..self.items {
            for lane in 0..self.lanes {
                let from = &self.weights[item * self.item_step + lane * self.lane_step..];
                for (to, from) in taps.iter_mut().zip(from) {
                    to[lane] = *from;
                }
            }
            for remainder in 0..self.remainders.len() {
                for lane in (0..LANES).step_by(V::WIDTH) {
                    let to = remainder * self.to_remainder + item * BANK + lane;
                    self.remainder::<V>(&taps, remainder, lane, to);
                }
            }
        }
    }
}

impl ToPoints<'_> {
    #[inline(always)]
    fn remainder<V: Vector>(
        &mut self,
        taps: &[[f32; LANES]],
        remainder: usize,
        lane: usize,
        to: usize,
    ) {
        let [vertical, horizontal] = self.evaluations;
        let wide = horizontal[0].len();
        let mut across = [[V::splat(0.0); POINTS]; TAPS];
        let rows = self.remainders[remainder].chunks_exact(wide);
        for (offsets, across) in rows.zip(&mut across) {
            for (kx, offset) in offsets.iter().enumerate() {
                let Some(offset) = *offset else { continue };
                let tap = V::first_of(&taps[offset][lane..]);
                for (to, by) in across.iter_mut().zip(horizontal) {
                    *to = tap.mul_add(V::splat(by[kx]), *to);
                }
            }
        }
        for (py, by) in vertical.iter().enumerate() {
            for px in 0..horizontal.len() {
                let mut sum = V::splat(0.0);
                for (row, &by) in across.iter().zip(by) {
                    sum = row[px].mul_add(V::splat(by), sum);
                }
                sum.write(&mut self.to[to + (py * horizontal.len() + px) * self.to_point..]);
            }
        }
    }
}

/// Sums at the points, [points of `sums_point` numbers] of [remainders of `sums_remainder`
/// numbers][items of `sums_item`][lanes], back to taps, which are added to `to`.
struct ToTaps<'a> {
    evaluations: &'a Evaluations,
    remainders: &'a [Offsets],
    /// Taps of a filter.
    area: usize,
    sums: &'a [f32],
    sums_point: usize,
    sums_remainder: usize,
    sums_item: usize,
    items: usize,
    item_step: usize,
    lanes: usize,
    lane_step: usize,
    to: &'a mut [f32],
}

impl Kernel for ToTaps<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        // One filter of each lane, [taps][lanes]: every tap belongs to one remainder.
        let mut taps = vec![[0.0; LANES]; self.area];
        for item in 0..self.items {
            for remainder in 0..self.remainders.len() {
                for lane in (0..self.lanes).step_by(V::WIDTH) {
                    let from = remainder * self.sums_remainder + item * self.sums_item + lane;
                    self.remainder::<V>(&mut taps, remainder, lane, from);
                }
            }
            for lane in 0..self.lanes {
                let to = &mut self.to[item * self.item_step + lane * self.lane_step..];
                for (to, from) in to.iter_mut().zip(&taps) {
                    *to += from[lane];
                }
            }
        }
    }
}

impl ToTaps<'_> {
    #[inline(always)]
    fn remainder<V: Vector>(
        &self,
        taps: &mut [[f32; LANES]],
        remainder: usize,
        lane: usize,
        from: usize,
    ) {
        let [vertical, horizontal] = self.evaluations;
        let wide = horizontal[0].len();
        let mut across = [[V::splat(0.0); TAPS]; POINTS];
        for (py, across) in across.iter_mut().enumerate().take(vertical.len()) {
            for (px, by) in horizontal.iter().enumerate() {
                let at = from + (py * horizontal.len() + px) * self.sums_point;
                let sum = V::first_of(&self.sums[at..]);
                for (to, &by) in across.iter_mut().zip(by) {
                    *to = sum.mul_add(V::splat(by), *to);
                }
            }
        }
        for (i, offset) in self.remainders[remainder].iter().enumerate() {
            let Some(offset) = *offset else { continue };
            let mut tap = V::splat(0.0);
            for (across, by) in across.iter().zip(vertical) {
                tap = across[i % wide].mul_add(V::splat(by[i / wide]), tap);
            }
            tap.write(&mut taps[offset][lane..]);
        }
    }
}

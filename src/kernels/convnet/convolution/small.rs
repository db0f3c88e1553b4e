//! Convolutions of small pictures: for each pixel only the taps that meet another one, several
//! groups of images side by side in a register tile, and the weights' gradient as a sum over pixels
//! and images. Knows packed pictures alone.

use crate::kernels::convnet::spec::Geometry;
use crate::kernels::memory::LANES;
use crate::kernels::simd::{PointerKernel, TILE_FILTERS, Vector};

/// Most pixels of an output and of an input.
const OUTPUT: usize = 16;
const INPUT: usize = 64;

/// Groups that one task takes, at most: a register tile's second side.
const SPAN: usize = 4;

/// Bytes of packed inputs that a task may hold.
const BYTES: usize = 2 << 20;

/// Vectors of a source that stay in the first-level cache while all pixels are swept over.
const CACHED: usize = 512;

/// Pairs of places, sorted by a third.
#[derive(Clone, Debug, Default)]
pub struct Links {
    ends: Vec<usize>,
    pairs: Vec<(u32, u32)>,
}

impl Links {
    /// Those of `count` places, of links (place, (one, other)).
    fn new(count: usize, links: impl Iterator<Item = (usize, (usize, usize))>) -> Self {
        let mut sorted = vec![Vec::new(); count];
        for (place, (one, other)) in links {
            sorted[place].push((one as u32, other as u32));
        }
        let mut end = 0;
        Self {
            ends: sorted
                .iter()
                .map(|pairs| {
                    end += pairs.len();
                    end
                })
                .collect(),
            pairs: sorted.concat(),
        }
    }

    fn of(&self, place: usize) -> &[(u32, u32)] {
        let start = if place == 0 { 0 } else { self.ends[place - 1] };
        &self.pairs[start..self.ends[place]]
    }
}

/// Which pixels of a small picture meet through which taps.
#[derive(Clone, Debug)]
pub struct Small {
    /// Groups of one task.
    pub span: usize,
    /// Of each output pixel: taps, and the input pixels under them.
    pub outputs: Links,
    /// Of each input pixel: taps, and the output pixels that they give to.
    pub inputs: Links,
    /// Of each tap: output and input pixels.
    pub taps: Links,
}

impl Small {
    /// For a picture that is small enough; `groups` at most at once.
    pub fn new(g: &Geometry, groups: usize) -> Option<Self> {
        let span = groups.div_ceil(2).clamp(2, SPAN).min(groups);
        let inputs = g.height.saturating_mul(g.width);
        let outputs = g.out_height() * g.out_width();
        let bytes = g
            .channels
            .saturating_mul(span * inputs.min(INPUT) * LANES * size_of::<f32>());
        if outputs > OUTPUT || inputs > INPUT || bytes > BYTES {
            return None;
        }
        let mut links = Vec::new();
        for y in 0..g.out_height() {
            for x in 0..g.out_width() {
                for (ky, row) in met(
                    y * g.stride_height,
                    g.pad_height(),
                    g.filter_height,
                    g.height,
                ) {
                    for (kx, column) in
                        met(x * g.stride_width, g.pad_width(), g.filter_width, g.width)
                    {
                        links.push((
                            ky * g.filter_width + kx,
                            y * g.out_width() + x,
                            row * g.width + column,
                        ));
                    }
                }
            }
        }
        let links = || links.iter().copied();
        let area = g.filter_height * g.filter_width;
        Some(Self {
            span,
            outputs: Links::new(outputs, links().map(|(tap, o, i)| (o, (tap, i)))),
            inputs: Links::new(inputs, links().map(|(tap, o, i)| (i, (tap, o)))),
            taps: Links::new(area, links().map(|(tap, o, i)| (tap, (o, i)))),
        })
    }
}

/// Taps of a filter that begins `pad` before `start`, and the positions below `size` under them.
fn met(start: usize, pad: usize, taps: usize, size: usize) -> impl Iterator<Item = (usize, usize)> {
    let first = pad.saturating_sub(start);
    let last = taps.min((size + pad).saturating_sub(start));
    (first..last.max(first)).map(move |tap| (tap, start + tap - pad))
}

/// out[group][f][pixel] (+)= Σ over c and the pixel's links of weights[f][c][tap] ·
/// source[group][c][other pixel].
///
/// Valid: `source` and `out` reach every element that this formula names, `LANES` numbers each;
/// `weights` holds [filters / 4 rounded up][channels][`taps`][4]; nobody else touches what `out`
/// names meanwhile.
pub struct PixelSweep<'a> {
    pub source: *const f32,
    pub source_group: usize,
    pub source_channel: usize,
    pub channels: usize,
    pub weights: *const f32,
    pub taps: usize,
    pub links: &'a Links,
    /// Columns of the picture whose pixels are linked.
    pub link_columns: usize,
    pub out: *mut f32,
    pub out_group: usize,
    pub out_channel: usize,
    pub rows: usize,
    pub columns: usize,
    pub filters: usize,
    pub groups: usize,
    /// Add to `out` instead of overwriting it.
    pub accumulate: bool,
}

impl PointerKernel for PixelSweep<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let channels = (CACHED * LANES / (self.source_channel * self.groups)).max(1);
        let tiles = self.groups.div_ceil(V::TILE);
        for block in 0..self.filters.div_ceil(TILE_FILTERS) {
            for first in (0..self.channels.max(1)).step_by(channels) {
                let count = channels.min(self.channels - first);
                for pixel in 0..self.rows * self.columns {
                    let mut group = 0;
                    for tile in 0..tiles {
                        let size = (self.groups - group).div_ceil(tiles - tile);
                        let at = At {
                            block,
                            channels: (first, count),
                            pixel,
                            group,
                        };
                        // SAFETY: block, channels, pixel and groups are below those for which the
                        // maker vouches.
                        unsafe {
                            match size {
                                1 => self.tile::<V, 1>(at),
                                2 => self.tile::<V, 2>(at),
                                3 => self.tile::<V, 3>(at),
                                _ => self.tile::<V, 4>(at),
                            }
                        }
                        group += size;
                    }
                }
            }
        }
    }
}

/// A register tile's place: four filters, some channels, a pixel and the first of its groups.
#[derive(Clone, Copy)]
struct At {
    block: usize,
    channels: (usize, usize),
    pixel: usize,
    group: usize,
}

impl PixelSweep<'_> {
    /// Four filters by T groups.
    ///
    /// # Safety
    /// They are within the sizes for which the maker vouches.
    #[inline(always)]
    unsafe fn tile<V: Vector, const T: usize>(&self, at: At) {
        let (y, x) = (at.pixel / self.columns, at.pixel % self.columns);
        let links = self.links.of(y * self.link_columns + x);
        let (channel, count) = at.channels;
        let filter = at.block * TILE_FILTERS;
        for lane in (0..LANES).step_by(V::WIDTH) {
            // SAFETY: the maker vouches for sources, weights and outputs of these.
            unsafe {
                let mut source = self
                    .source
                    .add(at.group * self.source_group + channel * self.source_channel + lane);
                let mut weights = self
                    .weights
                    .add((at.block * self.channels + channel) * self.taps * TILE_FILTERS);
                let mut sums = [[V::splat(0.0); T]; TILE_FILTERS];
                for _ in 0..count {
                    for &(tap, pixel) in links {
                        V::scale_add(
                            &mut sums,
                            source.add(pixel as usize * LANES),
                            self.source_group,
                            weights.add(tap as usize * TILE_FILTERS),
                            1,
                        );
                    }
                    source = source.wrapping_add(self.source_channel);
                    weights = weights.wrapping_add(self.taps * TILE_FILTERS);
                }
                let out = self.out.add(
                    at.group * self.out_group + filter * self.out_channel + at.pixel * LANES + lane,
                );
                for (f, row) in sums.iter().enumerate().take(self.filters - filter) {
                    for (t, sum) in row.iter().enumerate() {
                        let to = out.add(f * self.out_channel + t * self.out_group);
                        if self.accumulate || channel > 0 {
                            V::load(to).add(*sum)
                        } else {
                            *sum
                        }
                        .store(to);
                    }
                }
            }
        }
    }
}

/// to[f][c][tap] += Σ over the tap's links, groups and images of gradients[group][output
/// pixel][image][f] · inputs[group][input pixel][image][c].
///
/// Valid: `gradients` and `inputs` hold rows of whole vectors of filters, and of LANES channels;
/// `to` has a number for each filter, channel and tap; nobody else touches it meanwhile.
pub struct PixelProducts<'a> {
    pub gradients: *const f32,
    pub gradients_group: usize,
    /// Numbers of an image's row.
    pub gradients_row: usize,
    pub inputs: *const f32,
    pub inputs_group: usize,
    pub groups: usize,
    pub links: &'a Links,
    pub taps: usize,
    pub filters: usize,
    pub channels: usize,
    pub to: *mut f32,
    pub to_filter: usize,
}

impl PointerKernel for PixelProducts<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let vectors = self.filters.div_ceil(V::WIDTH);
        let tiles = vectors.div_ceil(V::TILE);
        for channel in (0..self.channels).step_by(TILE_FILTERS) {
            for tap in 0..self.taps {
                let mut vector = 0;
                for tile in 0..tiles {
                    let size = (vectors - vector).div_ceil(tiles - tile);
                    let filter = vector * V::WIDTH;
                    // SAFETY: channel, tap and vectors are below the sizes for which the maker
                    // vouches.
                    unsafe {
                        match size {
                            1 => self.tile::<V, 1>(channel, tap, filter),
                            2 => self.tile::<V, 2>(channel, tap, filter),
                            3 => self.tile::<V, 3>(channel, tap, filter),
                            4 => self.tile::<V, 4>(channel, tap, filter),
                            5 => self.tile::<V, 5>(channel, tap, filter),
                            _ => self.tile::<V, 6>(channel, tap, filter),
                        }
                    }
                    vector += size;
                }
            }
        }
    }
}

impl PixelProducts<'_> {
    /// Four channels by T registers of filters.
    ///
    /// # Safety
    /// They are within the sizes for which the maker vouches.
    #[inline(always)]
    unsafe fn tile<V: Vector, const T: usize>(&self, channel: usize, tap: usize, filter: usize) {
        let mut sums = [[V::splat(0.0); T]; TILE_FILTERS];
        for group in 0..self.groups {
            for &(output, input) in self.links.of(tap) {
                // SAFETY: the maker vouches for the rows of LANES images of each pixel.
                unsafe {
                    let mut gradients = self.gradients.add(
                        group * self.gradients_group
                            + output as usize * LANES * self.gradients_row
                            + filter,
                    );
                    let mut inputs = self
                        .inputs
                        .add(group * self.inputs_group + input as usize * LANES * LANES + channel);
                    for _ in 0..LANES {
                        V::scale_add(&mut sums, gradients, V::WIDTH, inputs, 1);
                        gradients = gradients.wrapping_add(self.gradients_row);
                        inputs = inputs.wrapping_add(LANES);
                    }
                }
            }
        }
        let channels = TILE_FILTERS.min(self.channels - channel);
        for (c, row) in sums.iter().enumerate().take(channels) {
            for (t, sum) in row.iter().enumerate() {
                let first = filter + t * V::WIDTH;
                let count = V::WIDTH.min(self.filters.saturating_sub(first));
                for (f, number) in sum.numbers().iter().enumerate().take(count) {
                    // SAFETY: the maker vouches for a number of each filter, channel and tap.
                    unsafe {
                        *self
                            .to
                            .add((first + f) * self.to_filter + (channel + c) * self.taps + tap) +=
                            number;
                    }
                }
            }
        }
    }
}

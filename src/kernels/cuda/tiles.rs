//! How a convolution on tensor cores is cut: into tiles of pixels, blocks of columns that are in
//! shared memory together, and groups of weights; and where that puts each weight. By sizes alone, so
//! that the same network is always cut alike. Must not know buffers.

use super::layout::{ChunkGroup, Part, THREADS, Tiling};

/// Most shared memory of a block: that of compute capability 8.6; two such blocks fit on 8.0 and
/// 9.0.
const SHARED_LIMIT: usize = 99 * 1024;
const WARPS: usize = THREADS / 32;
/// Shared memory that a patch takes at most, where it can be cut.
const PATCH_LIMIT: usize = 48 * 1024;
/// From so many blocks on, larger tiles fill the machine.
const ENOUGH_BLOCKS: usize = 200;

/// Pixels of a tile of a weight's gradient, and chunks that a block of threads has registers for.
const GRADIENT_PIXELS: usize = 256;
const GROUP_CHUNKS: usize = 64;
/// Blocks that a sum over pixels is split among: the multiprocessors of the largest machine. On each
/// machine the same, for the splits decide the sum's bits.
const BLOCKS: usize = 132;

/// One convolution, or the gradient of a layer's output, cut into tiles.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    pub tiling: Tiling,
    /// Columns of filters of a tile, and how many times 128 pixels.
    pub columns: usize,
    pub multiple: usize,
    /// Chunks of weights that are in shared memory at a time.
    pub group: usize,
    pub shared_bytes: usize,
}

/// The gradient of a convolution's weights, cut into splits of its pixels.
#[derive(Clone, Debug)]
pub(super) struct WeightCut {
    pub tiling: Tiling,
    pub groups: Vec<ChunkGroup>,
    pub splits: usize,
    pub shared_bytes: usize,
}

/// A layer's picture and how its channels are put into tiles of filters.
#[derive(Clone, Copy, Debug)]
pub(super) struct Picture {
    pub images: usize,
    pub height: usize,
    pub width: usize,
    /// Tiles of filters, and the columns of each.
    pub tiles: usize,
    pub columns: usize,
}

/// Tiles of a batch.
pub(super) fn tiles(t: &Tiling) -> usize {
    (t.across * t.down * div_ceil(t.images, t.tile_images)) as usize
}

fn div_ceil(a: i32, b: i32) -> i32 {
    (a + b - 1) / b
}

/// The same tiles for a smaller batch.
pub(super) fn with_images(t: Tiling, images: usize) -> Tiling {
    Tiling {
        images: images as i32,
        ..t
    }
}

/// The cut of a convolution that reads these parts, whose `block` it decides; None: a tile of it has
/// no room in shared memory.
pub(super) fn cut(parts: &mut [Part], out: Picture) -> Option<Cut> {
    for multiple in [2, 1] {
        let (filter, stride) = largest(parts);
        let tiling = choose(out, 128 * multiple, filter, stride);
        let fits = cut_columns(&tiling, parts, out.columns, multiple);
        if let Some((group, shared_bytes)) = fits
            && (multiple == 1 || tiles(&tiling) * out.tiles >= ENOUGH_BLOCKS)
        {
            return Some(Cut {
                tiling,
                columns: out.columns,
                multiple,
                group,
                shared_bytes,
            });
        }
    }
    None
}

/// Largest filter and stride of the parts: height, width.
fn largest(parts: &[Part]) -> ([i32; 2], [i32; 2]) {
    let most = |of: fn(&Part) -> i32| parts.iter().map(of).max().unwrap_or(1);
    (
        [most(|p| p.filter_height), most(|p| p.filter_width)],
        [most(|p| p.stride_height), most(|p| p.stride_width)],
    )
}

/// The tile of so many pixels that reads least.
fn choose(
    out: Picture,
    pixels: usize,
    [filter_height, filter_width]: [i32; 2],
    [stride_height, stride_width]: [i32; 2],
) -> Tiling {
    let log_pixels = pixels.ilog2() as i32;
    let mut best = (f64::INFINITY, Tiling::default());
    for log_width in 0..=log_pixels.min(5) {
        for log_height in 0..=log_pixels - log_width {
            let t = Tiling {
                images: out.images as i32,
                height: out.height as i32,
                width: out.width as i32,
                log_width,
                log_height,
                tile_images: 1 << (log_pixels - log_width - log_height),
                across: div_ceil(out.width as i32, 1 << log_width),
                down: div_ceil(out.height as i32, 1 << log_height),
            };
            let rows = ((1 << log_height) - 1) * stride_height + filter_height;
            let columns = ((1 << log_width) - 1) * stride_width + filter_width;
            let patch = f64::from(t.tile_images) * f64::from(rows) * f64::from(columns);
            // Narrow tiles read pieces of lines.
            let narrow = if log_width < 3 { 1.3 } else { 1.0 };
            let cost = tiles(&t) as f64 * (4.0 * pixels as f64 + patch) * narrow;
            if cost < best.0 {
                best = (cost, t);
            }
        }
    }
    best.1
}

/// Bytes of what a tile reads of a part, of so many columns of channels.
fn patch_bytes(t: &Tiling, part: &Part, columns: usize) -> usize {
    let rows = ((1 << t.log_height) - 1) * part.stride_height + part.filter_height;
    let line = ((1 << t.log_width) - 1) * part.stride_width + part.filter_width;
    ((t.tile_images * rows * line) | 1) as usize * 16 * columns
}

/// Columns of a part's channels.
fn columns_of(part: &Part) -> usize {
    part.channels as usize / 8
}

fn taps_of(part: &Part) -> usize {
    (part.filter_height * part.filter_width) as usize
}

/// Cuts the parts into blocks of columns: the size of a group of weights, and the shared memory.
fn cut_columns(
    t: &Tiling,
    parts: &mut [Part],
    columns: usize,
    multiple: usize,
) -> Option<(usize, usize)> {
    let filters = columns * 8;
    let mut patch = 0;
    let mut most_chunks = 2;
    for part in parts {
        let all = columns_of(part);
        let one = patch_bytes(t, part, 1);
        if one > SHARED_LIMIT - 6 * 1024 {
            return None;
        }
        let most = all.min(PATCH_LIMIT / one).clamp(1, THREADS);
        let block = all.div_ceil(all.div_ceil(most));
        part.block = block as i32;
        patch = patch.max(one * block);
        most_chunks = most_chunks.max(block * taps_of(part) + 1);
    }
    let room = (SHARED_LIMIT - 64).checked_sub(patch)?;
    let group = (room / (filters * 16 + 4)).min(most_chunks) / 2 * 2;
    if group < 2 {
        return None;
    }
    let loop_bytes = (group * 4).next_multiple_of(16) + group * filters * 16 + patch;
    let shared_bytes = loop_bytes.max(epilogue_bytes(columns, multiple));
    (shared_bytes <= SHARED_LIMIT).then_some((group, shared_bytes))
}

/// As `epilogue_bytes` of conv.cuh.
fn epilogue_bytes(columns: usize, multiple: usize) -> usize {
    multiple * 16 * WARPS * (columns * 8 + 8) * 2 + 2 * (THREADS / columns) * columns * 8 * 4 + 16
}

/// Chunks of a part's weights: each block's are made even.
pub(super) fn chunks_of(part: &Part) -> usize {
    let (all, block) = (columns_of(part), part.block as usize);
    let even = |columns: usize| (columns * taps_of(part)).next_multiple_of(2);
    all / block * even(block) + even(all % block)
}

/// Where weights of a part stand among the packed ones: [tiles of filters][parts][blocks of
/// columns][chunks][filters of a tile][8].
#[derive(Clone, Copy, Debug)]
pub(super) struct Packing {
    /// Chunks of a tile of filters, and of the parts before this one.
    total: usize,
    before: usize,
    block: usize,
    taps: usize,
    /// Filters of a tile.
    filters: usize,
}

impl Packing {
    pub fn new(parts: &[Part], index: usize, columns: usize) -> Self {
        Self {
            total: parts.iter().map(chunks_of).sum(),
            before: parts[..index].iter().map(chunks_of).sum(),
            block: parts[index].block as usize,
            taps: taps_of(&parts[index]),
            filters: columns * 8,
        }
    }

    /// `out` and `channel` are padded channels.
    pub fn position(&self, out: usize, channel: usize, tap: usize) -> usize {
        let whole = (self.block * self.taps).next_multiple_of(2);
        let column = channel / 8;
        let chunk =
            self.before + column / self.block * whole + column % self.block * self.taps + tap;
        ((out / self.filters * self.total + chunk) * self.filters + out % self.filters) * 8
            + channel % 8
    }
}

/// Packed numbers of a tile of filters.
pub(super) fn tile_numbers(parts: &[Part], columns: usize) -> usize {
    parts.iter().map(chunks_of).sum::<usize>() * columns * 8 * 8
}

/// The cut of a weight gradient; None: it has no room in shared memory. `parts` are cut as the
/// forward pass reads them, `gradient` is the layer's.
pub(super) fn cut_weights(parts: &[Part], gradient: &Part, out: Picture) -> Option<WeightCut> {
    let (filter, stride) = largest(parts);
    let tiling = choose(out, GRADIENT_PIXELS, filter, stride);
    let own = patch_bytes(&tiling, gradient, out.columns);
    let mut groups = Vec::new();
    let mut base = 0;
    for (index, part) in parts.iter().enumerate() {
        let room = SHARED_LIMIT.checked_sub(own)?;
        let fit = room / patch_bytes(&tiling, part, 1);
        if fit < 1 {
            return None;
        }
        let (all, block) = (columns_of(part), part.block as usize);
        for first in (0..all).step_by(block) {
            let count = block.min(all - first);
            let place = [index, first, count, base];
            group_chunks(&mut groups, place, taps_of(part), fit.min(THREADS));
            base += (count * taps_of(part)).next_multiple_of(2);
        }
    }
    let most = groups
        .iter()
        .map(|group| patch_bytes(&tiling, &parts[group.part as usize], 1) * group.columns as usize)
        .max()?;
    let blocks = BLOCKS / (groups.len() * out.tiles);
    Some(WeightCut {
        tiling,
        splits: blocks.min(tiles(&tiling)).max(1),
        shared_bytes: own + most,
        groups,
    })
}

/// Cuts a block of columns into groups of chunks that a block of threads has room for, in its
/// registers and, with `fit` columns, in shared memory.
fn group_chunks(
    groups: &mut Vec<ChunkGroup>,
    [part, first, count, base]: [usize; 4],
    taps: usize,
    fit: usize,
) {
    let all = count * taps;
    let most = GROUP_CHUNKS.min(taps.max((fit - 1) * taps + 1));
    let each = all.div_ceil(all.div_ceil(most));
    let mut chunk = 0;
    while chunk < all {
        let column = chunk / taps;
        let here = each.min(all - chunk).min((column + fit) * taps - chunk);
        let columns = (chunk + here - 1) / taps - column + 1;
        groups.push(ChunkGroup {
            part: part as i32,
            first_column: (first + column) as i32,
            columns: columns as i32,
            first_chunk: (chunk % taps) as i32,
            chunks: here as i32,
            weight_chunk: (base + chunk) as i32,
        });
        chunk += here;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn part(channels: usize, filter: [usize; 2], stride: usize) -> Part {
        Part {
            channels: channels.next_multiple_of(8) as i32,
            filter_height: filter[0] as i32,
            filter_width: filter[1] as i32,
            stride_height: stride as i32,
            stride_width: stride as i32,
            ..Part::default()
        }
    }

    proptest! {
        #![proptest_config(crate::random::cases(200))]

        /// Whatever is cut covers all of it once, within the limits that the kernels have.
        #[test]
        fn every_chunk_is_in_one_group_and_every_weight_has_a_place_of_its_own(
            channels in prop::collection::vec(1_usize..200, 1..4),
            filter in (1_usize..8, 1_usize..8),
            stride in 1_usize..4,
            side in 1_usize..40,
            filters in 1_usize..130,
            images in 1_usize..70,
        ) {
            let columns = filters.div_ceil(8);
            let tiles_of_filters = columns.div_ceil(8);
            let out = Picture {
                images,
                height: side,
                width: side,
                tiles: tiles_of_filters,
                columns: columns.div_ceil(tiles_of_filters),
            };
            let mut parts: Vec<Part> = channels
                .iter()
                .map(|&count| part(count, filter.into(), stride))
                .collect();
            let Some(cut) = cut(&mut parts, out) else {
                return Ok(());
            };
            prop_assert!(cut.shared_bytes <= SHARED_LIMIT && cut.group % 2 == 0);
            prop_assert!((1..=8).contains(&cut.columns));
            let size = tile_numbers(&parts, out.columns) * out.tiles;
            let mut seen = vec![false; size];
            for index in 0..parts.len() {
                let packing = Packing::new(&parts, index, out.columns);
                for filter in 0..out.tiles * out.columns * 8 {
                    for channel in 0..parts[index].channels as usize {
                        for tap in 0..taps_of(&parts[index]) {
                            let at = packing.position(filter, channel, tap);
                            prop_assert!(!std::mem::replace(&mut seen[at], true));
                        }
                    }
                }
            }
            let gradient = part(out.columns * 8, [1, 1], 1);
            let Some(weights) = cut_weights(&parts, &gradient, out) else {
                return Ok(());
            };
            prop_assert!(weights.shared_bytes <= SHARED_LIMIT);
            let chunks: i32 = weights.groups.iter().map(|group| group.chunks).sum();
            let all: usize = parts.iter().map(|part| columns_of(part) * taps_of(part)).sum();
            prop_assert_eq!(chunks as usize, all);
        }
    }
}

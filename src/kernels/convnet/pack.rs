//! Copies rows of a tensor into a block that the sweeps read: borders become zeros, and batch
//! normalisation with ReLU (forward) or their gradient (backward) are applied on the way, so that
//! neither is ever stored. Knows nothing of filters.

use super::norm::EPSILON;
use crate::kernels::memory::LANES;
use crate::kernels::simd::{Kernel, PointerKernel, Vector};

/// 1 for each lane of a group that holds one of `images`, else 0.
pub fn mask(images: usize, group: usize) -> [f32; LANES] {
    std::array::from_fn(|lane| {
        if group * LANES + lane < images {
            1.0
        } else {
            0.0
        }
    })
}

/// Sorts up to `LANES` images, [images][`numbers`], to [`numbers`][LANES].
pub struct IntoLanes<'a> {
    pub images: &'a [f32],
    pub numbers: usize,
    pub to: &'a mut [f32],
}

impl Kernel for IntoLanes<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        let Self {
            images,
            numbers,
            to,
        } = self;
        let count = images.len() / numbers;
        assert!(count <= LANES && to.len() >= numbers * LANES, "one group");
        let blocks = if count == LANES {
            numbers / V::WIDTH
        } else {
            0
        };
        for first in (0..blocks * V::WIDTH).step_by(V::WIDTH) {
            for image in (0..LANES).step_by(V::WIDTH) {
                let from = &images[image * numbers + first..];
                let to = &mut to[first * LANES + image..];
                // SAFETY: all LANES images have numbers first..first + WIDTH, and so has the group
                // (asserted).
                unsafe { V::turn(from.as_ptr(), numbers, to.as_mut_ptr(), LANES) }
            }
        }
        for (lane, image) in images.chunks_exact(numbers).enumerate() {
            for (number, &value) in image.iter().enumerate().skip(blocks * V::WIDTH) {
                to[number * LANES + lane] = value;
            }
        }
    }
}

/// `LANES` channels of packed rows, turned: [rows][columns][images], in rows of channels.
///
/// Valid: `source` holds as many rows and columns of LANES channels, LANES numbers each; `to` has
/// room.
pub struct Turn {
    pub source: *const f32,
    pub source_channel: usize,
    pub source_row: usize,
    pub rows: usize,
    pub columns: usize,
    pub to: *mut f32,
    /// From one image to the next.
    pub to_row: usize,
}

impl PointerKernel for Turn {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        for pixel in 0..self.rows * self.columns {
            let (y, x) = (pixel / self.columns, pixel % self.columns);
            for channel in (0..LANES).step_by(V::WIDTH) {
                for image in (0..LANES).step_by(V::WIDTH) {
                    // SAFETY: the maker vouches for LANES numbers of LANES channels at each pixel.
                    unsafe {
                        let from = self.source.add(
                            channel * self.source_channel + y * self.source_row + x * LANES + image,
                        );
                        let to = self.to.add((pixel * LANES + image) * self.to_row + channel);
                        V::turn(from, self.source_channel, to, self.to_row);
                    }
                }
            }
        }
    }
}

/// What batch normalisation does to one layer's channels. `activation = max(floor, (y - mean) ·
/// slope + shift)`.
#[derive(Clone, Debug)]
pub struct Norm {
    pub mean: Vec<f32>,
    /// 1 / sqrt(variance + eps)
    pub inverse: Vec<f64>,
    /// scale / sqrt(variance + eps)
    pub slope: Vec<f32>,
    pub shift: Vec<f32>,
    /// 0 with a ReLU, minus infinity without.
    pub floor: f32,
    /// Mean gradient behind the ReLU.
    pub gradient_mean: Vec<f32>,
    /// Mean of gradient · (y - mean), over variance + eps.
    pub gradient_slope: Vec<f32>,
    /// Added to a variance before its root.
    pub epsilon: f64,
}

impl Norm {
    /// For `channels` channels; all coefficients 0 until they are set.
    pub fn new(channels: usize) -> Self {
        let zeros = || vec![0.0; channels];
        Self {
            mean: zeros(),
            inverse: vec![0.0; channels],
            slope: zeros(),
            shift: zeros(),
            floor: 0.0,
            gradient_mean: zeros(),
            gradient_slope: zeros(),
            epsilon: EPSILON,
        }
    }
}

/// The window of a padded block: which rows and columns of the tensor it shows.
#[derive(Clone, Copy)]
pub struct Window {
    /// The tensor's row in the block's first row; negative above the tensor.
    pub first_row: isize,
    pub rows: usize,
    /// Columns of zeros at the left.
    pub pad: usize,
    pub columns: usize,
    /// Of the tensor.
    pub height: usize,
    pub width: usize,
    /// Numbers from one channel of the block to the next.
    pub to_channel: usize,
}

impl Window {
    /// Calls `copy(offset in the tensor's plane, offset in the block's plane, columns)` for rows
    /// within the tensor and writes zeros everywhere else.
    ///
    /// # Safety
    /// `to` points to `rows` · `columns` writable groups.
    #[inline(always)]
    unsafe fn each_row<V: Vector>(&self, to: *mut f32, mut copy: impl FnMut(usize, usize, usize)) {
        let width = self.width.min(self.columns.saturating_sub(self.pad));
        let pad = self.pad.min(self.columns);
        for r in 0..self.rows {
            let start = r * self.columns * LANES;
            let inside = self
                .first_row
                .checked_add_unsigned(r)
                .and_then(|y| usize::try_from(y).ok())
                .filter(|&y| y < self.height);
            // SAFETY: the caller vouches for `rows` · `columns` groups at `to`.
            unsafe {
                if let Some(y) = inside {
                    zero::<V>(to.add(start), pad);
                    copy(y * self.width * LANES, start + pad * LANES, width);
                    zero::<V>(
                        to.add(start + (pad + width) * LANES),
                        self.columns - pad - width,
                    );
                } else {
                    zero::<V>(to.add(start), self.columns);
                }
            }
        }
    }
}

/// # Safety
/// `to` points to so many writable groups.
#[inline(always)]
unsafe fn zero<V: Vector>(to: *mut f32, groups: usize) {
    for i in (0..groups * LANES).step_by(V::WIDTH) {
        // SAFETY: the caller vouches for that many groups.
        unsafe { V::splat(0.0).store(to.add(i)) }
    }
}

/// Packs `channels` planes of one group, normalised and rectified where `norm` is given.
///
/// Valid: `from` holds `channels` planes of height · width groups; `to` has room for the window in
/// each channel; `norm`'s slices, counted from `norm_first`, and `mask` (LANES numbers: 1 for an
/// image, 0 for a lane without one) are long enough.
pub struct PackInput<'a> {
    pub from: *const f32,
    pub channels: usize,
    pub window: Window,
    pub norm: Option<&'a Norm>,
    pub norm_first: usize,
    pub mask: &'a [f32; LANES],
    pub to: *mut f32,
}

impl PointerKernel for PackInput<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let plane = self.window.height * self.window.width * LANES;
        for c in 0..self.channels {
            // SAFETY: the maker vouches for plane c and its place in the block; the window's rows
            // and columns lie within both.
            unsafe {
                let from = self.from.add(c * plane);
                let to = self.to.add(c * self.window.to_channel);
                match self.norm {
                    None => self.window.each_row::<V>(to, |i, o, columns| {
                        for x in (0..columns * LANES).step_by(V::WIDTH) {
                            V::load(from.add(i + x)).store(to.add(o + x));
                        }
                    }),
                    Some(norm) => {
                        let rectify = Rectify::<V>::new(norm, self.norm_first + c);
                        self.window.each_row::<V>(to, |i, o, columns| {
                            for lane in (0..LANES).step_by(V::WIDTH) {
                                let mask = V::load(self.mask.as_ptr().add(lane));
                                for x in 0..columns {
                                    let at = x * LANES + lane;
                                    rectify
                                        .apply(V::load(from.add(i + at)))
                                        .mul(mask)
                                        .store(to.add(o + at));
                                }
                            }
                        });
                    }
                }
            }
        }
    }
}

/// Batch normalisation and ReLU of one channel.
#[derive(Clone, Copy)]
struct Rectify<V> {
    mean: V,
    slope: V,
    shift: V,
    floor: V,
}

impl<V: Vector> Rectify<V> {
    #[inline(always)]
    fn new(norm: &Norm, channel: usize) -> Self {
        Self {
            mean: V::splat(norm.mean[channel]),
            slope: V::splat(norm.slope[channel]),
            shift: V::splat(norm.shift[channel]),
            floor: V::splat(norm.floor),
        }
    }

    /// Before the ReLU. Subtracting first keeps a pixel equal to the mean at exactly `shift`.
    #[inline(always)]
    fn linear(self, y: V) -> V {
        y.sub(self.mean).mul_add(self.slope, self.shift)
    }

    #[inline(always)]
    fn apply(self, y: V) -> V {
        self.linear(y).max(self.floor)
    }

    /// `gradient` where `apply` lets it pass, elsewhere 0.
    #[inline(always)]
    fn passed(self, gradient: V, y: V) -> V {
        gradient.where_positive(self.linear(y).sub(self.floor))
    }
}

/// The gradient that reaches one layer's activations: from the convolutions that read it, and from
/// the classifier, where it is the same for all pixels.
///
/// Valid: `convolutions` (if any) holds as many planes as `y`, `head` (if any) a group for each of
/// them.
#[derive(Clone, Copy)]
pub struct UpstreamGradient {
    pub convolutions: Option<*const f32>,
    pub head: Option<*const f32>,
}

impl UpstreamGradient {
    /// From `channel` on, where a plane has `plane` numbers.
    pub fn skip(self, channel: usize, plane: usize) -> Self {
        // The results are only read where the unskipped pointers were valid.
        Self {
            convolutions: self.convolutions.map(|p| p.wrapping_add(channel * plane)),
            head: self.head.map(|p| p.wrapping_add(channel * LANES)),
        }
    }

    /// At `at` numbers from the first plane's beginning; `head` is what the classifier adds.
    ///
    /// # Safety
    /// The planes have a vector there.
    #[inline(always)]
    unsafe fn load<V: Vector>(self, at: usize, head: V) -> V {
        match self.convolutions {
            // SAFETY: the caller vouches for a vector there.
            Some(planes) => unsafe { V::load(planes.add(at)) }.add(head),
            None => head,
        }
    }

    /// What the classifier adds to each pixel of the first plane, from lane `at` on.
    ///
    /// # Safety
    /// The type's contract holds, and `at` is below LANES.
    #[inline(always)]
    unsafe fn head<V: Vector>(self, at: usize) -> V {
        match self.head {
            // SAFETY: the caller vouches for a group of the plane.
            Some(group) => unsafe { V::load(group.add(at)) },
            None => V::splat(0.0),
        }
    }
}

/// Packs the gradient with respect to a convolution's output: that of batch normalisation and ReLU,
/// computed on the way.
///
/// Valid: as `PackInput`, with `y` for `from`, and `upstream` for the same planes.
pub struct PackGradient<'a> {
    pub y: *const f32,
    pub upstream: UpstreamGradient,
    pub channels: usize,
    pub window: Window,
    pub norm: &'a Norm,
    pub norm_first: usize,
    pub mask: &'a [f32; LANES],
    pub to: *mut f32,
}

impl PointerKernel for PackGradient<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let plane = self.window.height * self.window.width * LANES;
        for c in 0..self.channels {
            // SAFETY: the maker vouches for plane c of y and of its gradient, and for its place in
            // the block; the window's rows and columns lie within them.
            unsafe {
                let channel = self.norm_first + c;
                let y = self.y.add(c * plane);
                let upstream = self.upstream.skip(c, plane);
                let to = self.to.add(c * self.window.to_channel);
                let rectify = Rectify::<V>::new(self.norm, channel);
                let mean = V::splat(self.norm.gradient_mean[channel]);
                let slope = V::splat(-self.norm.gradient_slope[channel]);
                self.window.each_row::<V>(to, |i, o, columns| {
                    for lane in (0..LANES).step_by(V::WIDTH) {
                        let factor = V::load(self.mask.as_ptr().add(lane)).mul(rectify.slope);
                        let head = upstream.head::<V>(lane);
                        for x in 0..columns {
                            let at = x * LANES + lane;
                            let value = V::load(y.add(i + at));
                            let gradient = rectify.passed(upstream.load(i + at, head), value);
                            let centred =
                                value.sub(rectify.mean).mul_add(slope, gradient.sub(mean));
                            centred.mul(factor).store(to.add(o + at));
                        }
                    }
                });
            }
        }
    }
}

/// Σ y and Σ (y - lane's mean)² of each lane over `pixels` groups, for each channel:
/// out[channel][2][LANES].
///
/// Valid: `y` holds `pixels` groups at each of `channels` steps of `y_channel`; `out` has room.
pub struct Moments {
    pub y: *const f32,
    pub y_channel: usize,
    pub channels: usize,
    pub pixels: usize,
    pub out: *mut f32,
}

impl PointerKernel for Moments {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        for c in 0..self.channels {
            for lane in (0..LANES).step_by(V::WIDTH) {
                // SAFETY: the maker vouches for `pixels` groups of channel c, and for its moments.
                unsafe {
                    let y = self.y.add(c * self.y_channel + lane);
                    let sum = chunked::<V, 1>(self.pixels, |i| [V::load(y.add(i))])[0];
                    let mean = sum.mul(V::splat(1.0 / self.pixels as f32));
                    let squares = chunked::<V, 1>(self.pixels, |i| {
                        let d = V::load(y.add(i)).sub(mean);
                        [d.mul(d)]
                    })[0];
                    let out = self.out.add(c * 2 * LANES + lane);
                    sum.store(out);
                    squares.store(out.add(LANES));
                }
            }
        }
    }
}

/// Σ gradient and Σ gradient · (y - mean) of each lane over `pixels` groups, behind the ReLU:
/// out[channel][2][LANES].
///
/// Valid: `y` and `upstream` hold `channels` planes of `pixels` groups; `out` has room.
pub struct GradientMoments<'a> {
    pub y: *const f32,
    pub upstream: UpstreamGradient,
    pub norm: &'a Norm,
    pub channels: usize,
    pub pixels: usize,
    pub out: *mut f32,
}

impl PointerKernel for GradientMoments<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let plane = self.pixels * LANES;
        for c in 0..self.channels {
            for lane in (0..LANES).step_by(V::WIDTH) {
                // SAFETY: the maker vouches for plane c of y and of its gradient, and for its
                // moments.
                unsafe {
                    let y = self.y.add(c * plane);
                    let upstream = self.upstream.skip(c, plane);
                    let head = upstream.head::<V>(lane);
                    let rectify = Rectify::<V>::new(self.norm, c);
                    let sums = chunked::<V, 2>(self.pixels, |i| {
                        let value = V::load(y.add(i + lane));
                        let gradient = rectify.passed(upstream.load(i + lane, head), value);
                        [gradient, gradient.mul(value.sub(rectify.mean))]
                    });
                    let out = self.out.add(c * 2 * LANES + lane);
                    sums[0].store(out);
                    sums[1].store(out.add(LANES));
                }
            }
        }
    }
}

/// Σ activation of each lane over `pixels` groups: out[channel][LANES].
///
/// Valid: `y` holds `channels` planes of `pixels` groups; `norm`, if given, as many channels; `out`
/// has room.
pub struct PooledSums<'a> {
    pub y: *const f32,
    pub norm: Option<&'a Norm>,
    pub channels: usize,
    pub pixels: usize,
    pub out: *mut f32,
}

impl PointerKernel for PooledSums<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        for c in 0..self.channels {
            for lane in (0..LANES).step_by(V::WIDTH) {
                // SAFETY: the maker vouches for plane c and for its sums.
                unsafe {
                    let y = self.y.add(c * self.pixels * LANES + lane);
                    let sum = match self.norm {
                        None => chunked::<V, 1>(self.pixels, |i| [V::load(y.add(i))])[0],
                        Some(norm) => {
                            let rectify = Rectify::<V>::new(norm, c);
                            chunked::<V, 1>(self.pixels, |i| [rectify.apply(V::load(y.add(i)))])[0]
                        }
                    };
                    sum.store(self.out.add(c * LANES + lane));
                }
            }
        }
    }
}

/// Sums `f` over the offsets of `pixels` groups, in chunks, so that rounding errors do not grow
/// with the picture.
#[inline(always)]
fn chunked<V: Vector, const N: usize>(pixels: usize, mut f: impl FnMut(usize) -> [V; N]) -> [V; N] {
    const CHUNK: usize = 32;
    let mut total = [V::splat(0.0); N];
    for start in (0..pixels).step_by(CHUNK) {
        // Two running sums each: additions wait less for each other.
        let mut sums = [[V::splat(0.0); N]; 2];
        for i in start..(start + CHUNK).min(pixels) {
            let values = f(i * LANES);
            for (sum, value) in sums[i & 1].iter_mut().zip(values) {
                *sum = sum.add(value);
            }
        }
        for (n, total) in total.iter_mut().enumerate() {
            *total = total.add(sums[0][n].add(sums[1][n]));
        }
    }
    total
}

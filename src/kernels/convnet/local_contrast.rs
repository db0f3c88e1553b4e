//! Local contrast normalisation, forward and backward, for groups of images: one image a lane.
//! Knows nothing of networks.
//!
//! Jarrett, Kavukcuoglu, Ranzato and LeCun (2009): with a window w that sums to 1 over its pixels
//! and all C channels, `v_i(p) = x_i(p) − Σ_{j,q} w(q)·x_j(p+q)` (subtractive), `σ(p) = √(Σ_{j,q}
//! w(q)·v_j(p+q)² + ε)`, `c` = the mean of σ over the image's pixels, `y_i(p) = v_i(p) / max(c,
//! σ(p))` (divisive). What they leave open: w is a Gaussian whose standard deviation is a quarter
//! of its side; at the border only pixels inside the image count, and w is scaled to sum to 1 over
//! them; ε = 1e-5, as in batch normalisation, keeps flat pictures finite. There is nothing to
//! train.

use super::pack::UpstreamGradient;
use crate::kernels::memory::LANES;
use crate::kernels::simd::{Kernel, PointerKernel, Vector};

/// Under the root.
pub const EPSILON: f32 = 1e-5;

/// One number of each image of a group.
pub type Lane = [f32; LANES];

/// Planes of scratch memory that `forward` and `backward` need, each a `Lane` for each pixel.
pub const PLANES: usize = 6;

/// The window over pictures of one size. Both of its passes (along columns, along rows) sum to 1 at
/// every pixel.
#[derive(Clone, Debug)]
pub struct LocalContrast {
    height: usize,
    width: usize,
    rows: Axis,
    columns: Axis,
}

/// For each position of one direction: positions in its window, and their weights; and the same
/// seen from what is in windows.
#[derive(Clone, Debug)]
struct Axis {
    taps: Vec<Vec<(usize, f32)>>,
    transposed: Vec<Vec<(usize, f32)>>,
}

impl Axis {
    fn new(size: usize, window: usize) -> Self {
        let taps: Vec<Vec<(usize, f32)>> = (0..size).map(|at| weights(size, window, at)).collect();
        let mut transposed = vec![Vec::new(); size];
        for (at, taps) in taps.iter().enumerate() {
            taps.iter()
                .for_each(|&(from, weight)| transposed[from].push((at, weight)));
        }
        Self { taps, transposed }
    }
}

/// The pixels along one direction that the window at `at` sees, and their weights, which sum to 1.
pub fn weights(size: usize, window: usize, at: usize) -> Vec<(usize, f32)> {
    let radius = (window - 1) / 2;
    let deviation = window as f64 / 4.0;
    let inside = at.saturating_sub(radius)..(at + window - radius).min(size);
    let weight = |from: usize| (-0.5 * ((from as f64 - at as f64) / deviation).powi(2)).exp();
    let sum: f64 = inside.clone().map(weight).sum();
    inside
        .map(|from| (from, (weight(from) / sum) as f32))
        .collect()
}

impl LocalContrast {
    pub fn new(height: usize, width: usize, window: usize) -> Self {
        Self {
            height,
            width,
            rows: Axis::new(height, window),
            columns: Axis::new(width, window),
        }
    }

    pub fn area(&self) -> usize {
        self.height * self.width
    }

    /// `Lane`s that a group keeps for the backward pass: σ of each pixel, and c.
    pub fn saved_len(&self) -> usize {
        self.area() + 1
    }

    #[inline(always)]
    fn blur(&self, from: &[Lane], middle: &mut [Lane], to: &mut [Lane]) {
        pass(&self.columns.taps, self.width, 1, from, middle);
        pass(&self.rows.taps, self.height, self.width, middle, to);
    }

    /// The transpose of `blur`.
    #[inline(always)]
    fn blur_transposed(&self, from: &[Lane], middle: &mut [Lane], to: &mut [Lane]) {
        pass(&self.rows.transposed, self.height, self.width, from, middle);
        pass(&self.columns.transposed, self.width, 1, middle, to);
    }
}

/// Weighted sums along one direction: positions lie `step` apart, lines of them side by side.
#[inline(always)]
fn pass(taps: &[Vec<(usize, f32)>], length: usize, step: usize, from: &[Lane], to: &mut [Lane]) {
    for (pixel, to) in to.iter_mut().enumerate() {
        let at = pixel / step % length;
        let line = pixel - at * step;
        let mut sum = [0.0; LANES];
        for &(other, weight) in &taps[at] {
            let values = &from[line + other * step];
            (0..LANES).for_each(|lane| sum[lane] += weight * values[lane]);
        }
        *to = sum;
    }
}

#[inline(always)]
fn each(f: impl FnMut(usize) -> f32) -> Lane {
    std::array::from_fn(f)
}

/// Normalises a group's channels in place: `y` `[channels, area]`, `saved` as `LocalContrast::saved_len`
/// says, `planes` `[PLANES, area]`.
pub struct Forward<'a> {
    pub window: &'a LocalContrast,
    pub y: &'a mut [Lane],
    pub saved: &'a mut [Lane],
    pub planes: &'a mut [Lane],
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        let Self {
            window,
            y,
            saved,
            planes,
        } = self;
        let area = window.area();
        let share = area as f32 / y.len() as f32;
        let (sums, rest) = planes.split_at_mut(area);
        let (middle, rest) = rest.split_at_mut(area);
        let blurred = &mut rest[..area];
        sums.fill([0.0; LANES]);
        for channel in y.chunks_exact(area) {
            sums.iter_mut()
                .zip(channel)
                .for_each(|(sum, x)| *sum = each(|lane| sum[lane] + x[lane] * share));
        }
        window.blur(sums, middle, blurred);
        sums.fill([0.0; LANES]);
        for channel in y.chunks_exact_mut(area) {
            for ((v, mean), sum) in channel.iter_mut().zip(&*blurred).zip(&mut *sums) {
                *v = each(|lane| v[lane] - mean[lane]);
                *sum = each(|lane| sum[lane] + v[lane] * v[lane] * share);
            }
        }
        window.blur(sums, middle, blurred);
        let mut mean = [0.0; LANES];
        for (deviation, square) in saved.iter_mut().zip(&*blurred) {
            *deviation = each(|lane| (square[lane] + EPSILON).sqrt());
            mean = each(|lane| mean[lane] + deviation[lane] / area as f32);
        }
        saved[area] = mean;
        sums.iter_mut()
            .zip(&*saved)
            .for_each(|(inverse, deviation)| {
                *inverse = each(|lane| 1.0 / deviation[lane].max(mean[lane]));
            });
        for channel in y.chunks_exact_mut(area) {
            channel
                .iter_mut()
                .zip(&*sums)
                .for_each(|(y, inverse)| *y = each(|lane| y[lane] * inverse[lane]));
        }
    }
}

/// Prepares the gradient of `Forward`'s input: what `Gradient::channel` needs of all channels
/// together is left in `planes`.
///
/// Valid: `upstream` holds the planes of `y`'s channels.
pub struct Backward<'a> {
    pub window: &'a LocalContrast,
    pub y: &'a [Lane],
    pub saved: &'a [Lane],
    pub upstream: UpstreamGradient,
    pub planes: &'a mut [Lane],
}

/// What reaches a pixel of a channel, in `pixels` pixels.
///
/// # Safety
/// As `UpstreamGradient` says.
#[inline(always)]
pub unsafe fn upstream_at(
    upstream: UpstreamGradient,
    channel: usize,
    pixels: usize,
    pixel: usize,
) -> Lane {
    // SAFETY: the caller vouches for the planes; a Lane has an f32's alignment.
    unsafe {
        let spread = upstream.head.map_or([0.0; LANES], |head| {
            *head.add(channel * LANES).cast::<Lane>()
        });
        let own = upstream.convolutions.map_or([0.0; LANES], |from| {
            *from.add((channel * pixels + pixel) * LANES).cast::<Lane>()
        });
        each(|lane| spread[lane] + own[lane])
    }
}

impl PointerKernel for Backward<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let Self {
            window,
            y,
            saved,
            upstream,
            planes,
        } = self;
        let area = window.area();
        let share = area as f32 / y.len() as f32;
        let (along, rest) = planes.split_at_mut(area);
        let (gradients, rest) = rest.split_at_mut(area);
        let (outputs, rest) = rest.split_at_mut(area);
        let (middle, rest) = rest.split_at_mut(area);
        let squares = &mut rest[..area];
        [&mut *along, &mut *gradients, &mut *outputs]
            .into_iter()
            .for_each(|plane| plane.fill([0.0; LANES]));
        for (channel, values) in y.chunks_exact(area).enumerate() {
            for (pixel, y) in values.iter().enumerate() {
                // SAFETY: the maker vouches for the gradient of each channel's pixels.
                let d = unsafe { upstream_at(upstream, channel, area, pixel) };
                along[pixel] = each(|lane| along[pixel][lane] + d[lane] * y[lane]);
                gradients[pixel] = each(|lane| gradients[pixel][lane] + d[lane]);
                outputs[pixel] = each(|lane| outputs[pixel][lane] + y[lane]);
            }
        }
        let mean = saved[area];
        // From here `along` is the gradient of σ: its own where σ is the larger, and its share of
        // what c receives elsewhere.
        let mut spread = [0.0; LANES];
        for (d, deviation) in along.iter_mut().zip(saved) {
            let divisor = each(|lane| deviation[lane].max(mean[lane]));
            let own = |lane: usize| deviation[lane] > mean[lane];
            let total = each(|lane| -d[lane] / divisor[lane]);
            spread = each(|lane| {
                spread[lane]
                    + if own(lane) {
                        0.0
                    } else {
                        total[lane] / area as f32
                    }
            });
            *d = each(|lane| if own(lane) { total[lane] } else { 0.0 });
        }
        along.iter_mut().zip(saved).for_each(|(d, deviation)| {
            *d = each(|lane| (d[lane] + spread[lane]) / (2.0 * deviation[lane]));
        });
        window.blur_transposed(along, middle, squares);
        for (pixel, d) in along.iter_mut().enumerate() {
            let gradient = &gradients[pixel];
            let output = &outputs[pixel];
            let square = &squares[pixel];
            let divisor = each(|lane| saved[pixel][lane].max(mean[lane]));
            *d = each(|lane| {
                -(gradient[lane] / divisor[lane]
                    + 2.0 * output[lane] * divisor[lane] * square[lane] * share)
            });
        }
        window.blur_transposed(along, middle, gradients);
    }
}

/// The gradient of one channel's input, after `Backward`, into `to`.
///
/// Valid: as `Backward`; `y` is the channel's plane.
pub struct ChannelGradient<'a> {
    pub channel: usize,
    pub channels: usize,
    pub y: &'a [Lane],
    pub saved: &'a [Lane],
    pub upstream: UpstreamGradient,
    /// As `Backward` left them.
    pub planes: &'a [Lane],
    pub to: &'a mut [Lane],
}

impl PointerKernel for ChannelGradient<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let area = self.y.len();
        let share = 1.0 / self.channels as f32;
        let means = &self.planes[area..2 * area];
        let squares = &self.planes[4 * area..5 * area];
        for (pixel, to) in self.to.iter_mut().enumerate() {
            // SAFETY: the maker vouches for the gradient of each channel's pixels.
            let d = unsafe { upstream_at(self.upstream, self.channel, area, pixel) };
            let divisor = each(|lane| self.saved[pixel][lane].max(self.saved[area][lane]));
            let y = &self.y[pixel];
            let square = &squares[pixel];
            let mean = &means[pixel];
            *to = each(|lane| {
                d[lane] / divisor[lane]
                    + 2.0 * y[lane] * divisor[lane] * square[lane] * share
                    + mean[lane] * share
            });
        }
    }
}

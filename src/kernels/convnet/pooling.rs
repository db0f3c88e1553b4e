//! Max and average pooling with any kernel and stride, forward and backward, on plain slices [n,
//! channels, height, width]. Knows nothing of vector lanes: pooling is rare and bound by memory.

use crate::kernels::KernelError;
use rayon::prelude::*;

/// Sizes of one pooling. Padded as convolutions are: (kernel - 1) / 2 above and left, ceil(n /
/// stride) outputs; pixels outside do not count, neither for a maximum nor in an average's divisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pooling {
    pub height: usize,
    pub width: usize,
    pub kernel_height: usize,
    pub kernel_width: usize,
    pub stride_height: usize,
    pub stride_width: usize,
}

impl Pooling {
    /// Refuses sizes of 0. (Every output sees at least the pixel at its own position.)
    pub fn check(&self) -> Result<(), KernelError> {
        let axes = [
            (
                "height",
                self.height,
                self.kernel_height,
                self.stride_height,
            ),
            ("width", self.width, self.kernel_width, self.stride_width),
        ];
        for (name, size, kernel, stride) in axes {
            if size == 0 || kernel == 0 || stride == 0 {
                return Err(KernelError::Invalid(format!(
                    "pooling: {name} {size}, kernel {kernel}, stride {stride}; none may be 0"
                )));
            }
        }
        Ok(())
    }

    pub fn out_height(&self) -> usize {
        self.height.div_ceil(self.stride_height)
    }

    pub fn out_width(&self) -> usize {
        self.width.div_ceil(self.stride_width)
    }

    /// The pixels of the plane that output `i` sees, as rows and columns.
    fn window(&self, i: usize) -> (std::ops::Range<usize>, std::ops::Range<usize>) {
        let axis = |o: usize, kernel: usize, stride: usize, size: usize| {
            let end = o * stride + kernel - (kernel - 1) / 2;
            end.saturating_sub(kernel)..end.min(size)
        };
        let y = i / self.out_width();
        let x = i % self.out_width();
        let rows = axis(y, self.kernel_height, self.stride_height, self.height);
        (
            rows,
            axis(x, self.kernel_width, self.stride_width, self.width),
        )
    }

    /// The pixels that output `i` sees, row by row.
    pub(super) fn pixels(&self, i: usize) -> impl Iterator<Item = usize> + Clone {
        let (rows, columns) = self.window(i);
        let width = self.width;
        rows.flat_map(move |y| columns.clone().map(move |x| y * width + x))
    }

    /// The first of a window's largest pixels.
    fn largest(&self, plane: &[f32], i: usize) -> Option<usize> {
        self.pixels(i).reduce(|best, next| {
            if plane[next] > plane[best] {
                next
            } else {
                best
            }
        })
    }

    fn each_plane(
        &self,
        from: &[f32],
        to: &mut [f32],
        sizes: (usize, usize),
        f: impl Fn(&[f32], &mut [f32]) + Sync,
    ) {
        assert_eq!(
            from.len() / sizes.0 * sizes.1,
            to.len(),
            "as many planes in as out"
        );
        from.par_chunks(sizes.0)
            .zip(to.par_chunks_mut(sizes.1))
            .for_each(|(from, to)| f(from, to));
    }

    fn sizes(&self) -> (usize, usize) {
        (
            self.height * self.width,
            self.out_height() * self.out_width(),
        )
    }

    /// Maxima [n, channels, out height, out width].
    pub fn max(&self, x: &[f32], y: &mut [f32]) {
        self.each_plane(x, y, self.sizes(), |x, y| {
            for (i, y) in y.iter_mut().enumerate() {
                *y = self.largest(x, i).map_or(0.0, |at| x[at]);
            }
        });
    }

    /// Gradient of `max`: each output's goes to the first of its largest pixels.
    pub fn max_gradient(&self, x: &[f32], dy: &[f32], dx: &mut [f32]) {
        let (area, out_area) = self.sizes();
        assert_eq!(x.len(), dx.len(), "a gradient for each pixel");
        dx.par_chunks_mut(area)
            .zip(x.par_chunks(area))
            .zip(dy.par_chunks(out_area))
            .for_each(|((dx, x), dy)| {
                dx.fill(0.0);
                for (i, d) in dy.iter().enumerate() {
                    if let Some(at) = self.largest(x, i) {
                        dx[at] += d;
                    }
                }
            });
    }

    /// Averages [n, channels, out height, out width].
    pub fn average(&self, x: &[f32], y: &mut [f32]) {
        self.each_plane(x, y, self.sizes(), |x, y| {
            for (i, y) in y.iter_mut().enumerate() {
                *y = self.pixels(i).map(|at| x[at]).sum::<f32>()
                    / self.pixels(i).count().max(1) as f32;
            }
        });
    }

    /// Gradient of `average`.
    pub fn average_gradient(&self, dy: &[f32], dx: &mut [f32]) {
        let (area, out_area) = self.sizes();
        self.each_plane(dy, dx, (out_area, area), |dy, dx| {
            dx.fill(0.0);
            for (i, d) in dy.iter().enumerate() {
                let share = d / self.pixels(i).count().max(1) as f32;
                self.pixels(i).for_each(|at| dx[at] += share);
            }
        });
    }
}

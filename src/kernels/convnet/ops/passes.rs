//! One convolution with its tensors: passes by a route of the caller's choice, on the calling
//! thread, as often as wanted. For tests of every route, and to measure which is the fastest. Knows
//! nothing of networks.

use super::{expect, group, ungroup};
use crate::kernels::KernelError;
use crate::kernels::convnet::convolution::{
    Convolution, ForwardTarget, Output, PassInput, Route, Scratch, Source,
};
use crate::kernels::convnet::pack::{Norm, UpstreamGradient};
use crate::kernels::convnet::spec::{Geometry, Part};
use crate::kernels::memory::{Buffer, LANES};
use crate::kernels::simd::Isa;

/// A convolution of `n` images and its gradients.
pub struct Passes {
    isa: Isa,
    n: usize,
    conv: Convolution,
    x: Buffer,
    y: Buffer,
    dx: Buffer,
    dy: Buffer,
    dw: Vec<f32>,
    weights: Vec<f32>,
    packed: Buffer,
    flipped: Buffer,
    scratch: Scratch,
    norm: Norm,
    ones: Buffer,
}

impl Passes {
    /// `x` [n, channels, height, width], `w` [filters, channels, filter height, filter width], and
    /// what reaches the output, `dy` [n, filters, output height, output width]. `route`: None is
    /// the one that networks take.
    ///
    /// # Errors
    /// Sizes of 0, or slices that do not have the geometry's lengths.
    pub fn new(
        isa: Isa,
        route: Option<Route>,
        (g, n): (&Geometry, usize),
        x: &[f32],
        w: &[f32],
        dy: &[f32],
    ) -> Result<Self, KernelError> {
        g.check(n)?;
        let parts = vec![Part {
            source: 0,
            channels: g.channels,
            height: g.height,
            width: g.width,
            first: 0,
        }];
        let groups = n.div_ceil(LANES);
        let route = route.unwrap_or_else(|| Route::choose(g, groups, isa));
        let conv = Convolution::by_route(*g, parts, groups, isa, route);
        let numbers = g.channels * g.height * g.width;
        let out_numbers = g.filters * g.out_height() * g.out_width();
        expect("x", x.len(), n * numbers)?;
        expect("w", w.len(), conv.weight_len())?;
        expect("dy", dy.len(), n * out_numbers)?;
        let images = n.next_multiple_of(LANES);
        // A normalisation that changes nothing, at values that the ReLU lets pass.
        let mut ones = Buffer::new(images * out_numbers);
        ones.as_mut_slice().fill(1.0);
        Ok(Self {
            isa,
            n,
            x: group(x, numbers),
            y: Buffer::new(images * out_numbers),
            dx: Buffer::new(images * numbers),
            dy: group(dy, out_numbers),
            dw: vec![0.0; conv.weight_len()],
            weights: w.to_vec(),
            packed: Buffer::new(conv.packed_len()),
            flipped: Buffer::new(conv.flipped_len()),
            scratch: Scratch::new(std::slice::from_ref(&conv)),
            norm: Norm {
                slope: vec![1.0; g.filters],
                ..Norm::new(g.filters)
            },
            ones,
            conv,
        })
    }

    /// The route that is taken: directly, where the one that was asked for is none for these sizes.
    pub fn route(&self) -> Route {
        self.conv.route()
    }

    /// Bytes of a thread's own memory and of the weights as the passes read them.
    pub fn bytes(&self) -> usize {
        self.scratch.bytes() + self.packed.bytes() + self.flipped.bytes()
    }

    /// The forward pass, weights packed first.
    pub fn forward(&mut self) {
        self.conv
            .pack_weights(&self.weights, self.packed.as_mut_slice());
        let sources = [Source {
            values: self.x.as_ptr(),
            norm: None,
            gradient: None,
        }];
        for task in 0..self.conv.forward_tasks(self.n) {
            let packed = self.packed.as_slice();
            // SAFETY: x and y have room for every group, and this is the only thread.
            unsafe {
                let input = PassInput {
                    isa: self.isa,
                    images: self.n,
                    sources: &sources,
                };
                let target = ForwardTarget {
                    y: self.y.as_mut_ptr(),
                    moments: None,
                };
                self.conv
                    .forward(input, task, packed, &mut self.scratch, target);
            }
        }
    }

    /// The backward pass, weights packed first: to the weights, and `to_inputs` as well.
    pub fn backward(&mut self, to_inputs: bool) {
        self.conv
            .flip_weights(&self.weights, self.flipped.as_mut_slice());
        self.dw.fill(0.0);
        let output = Output {
            y: self.ones.as_ptr(),
            upstream: UpstreamGradient {
                convolutions: Some(self.dy.as_ptr()),
                head: None,
            },
            norm: &self.norm,
        };
        let sources = [Source {
            values: self.x.as_ptr(),
            norm: None,
            gradient: to_inputs.then_some((self.dx.as_mut_ptr(), false)),
        }];
        for task in 0..self.conv.backward_tasks(self.n) {
            let flipped = self.flipped.as_slice();
            // SAFETY: all tensors have room for every group, and this is the only thread.
            unsafe {
                let input = PassInput {
                    isa: self.isa,
                    images: self.n,
                    sources: &sources,
                };
                self.conv.backward(
                    input,
                    task,
                    &output,
                    flipped,
                    &mut self.scratch,
                    &mut self.dw,
                );
            }
        }
    }

    /// The output of the last forward pass, [n, filters, output height, output width].
    pub fn y(&self) -> Vec<f32> {
        let g = &self.conv.geometry;
        ungroup(&self.y, self.n, g.filters * g.out_height() * g.out_width())
    }

    /// The input's gradient of the last backward pass, as the input.
    pub fn dx(&self) -> Vec<f32> {
        let g = &self.conv.geometry;
        ungroup(&self.dx, self.n, g.channels * g.height * g.width)
    }

    /// The weights' gradient of the last backward pass, as the weights.
    pub fn dw(&self) -> &[f32] {
        &self.dw
    }
}

//! Single operations on plain slices [n, channels, height, width]: the pieces of a training step,
//! one at a time, for tests and for tensors outside a `ConvNet`. Convolution and normalisation run
//! on the calling thread and sort images into lanes and back, which a network does once; pooling
//! runs on the caller's rayon pool. Knows nothing of networks.

mod normalisation;
mod pools;

pub use crate::kernels::convnet::head::cross_entropy;
pub use normalisation::{
    NormGradients, Normalised, norm_relu, norm_relu_gradients, norm_relu_running,
};
pub use pools::{
    average_pool, average_pool_gradient, global_average, global_average_gradient, max_pool,
    max_pool_gradient,
};

use crate::kernels::KernelError;
use crate::kernels::convnet::convolution::{
    Convolution, ForwardTarget, Output, PassInput, Scratch, Source,
};
use crate::kernels::convnet::pack::{Norm, UpstreamGradient};
use crate::kernels::convnet::spec::{Geometry, Part};
use crate::kernels::memory::Buffer;
use crate::kernels::memory::LANES;
use crate::kernels::simd::Isa;

/// Images sorted into lanes: [n][numbers] to [groups][numbers][LANES].
fn group(images: &[f32], numbers: usize) -> Buffer {
    let mut groups = Buffer::new((images.len() / numbers).next_multiple_of(LANES) * numbers);
    for (i, image) in images.chunks(numbers).enumerate() {
        let to = groups.as_mut_slice()[i / LANES * LANES * numbers + i % LANES..]
            .iter_mut()
            .step_by(LANES);
        to.zip(image).for_each(|(to, from)| *to = *from);
    }
    groups
}

/// The inverse of `group`.
fn ungroup(groups: &Buffer, n: usize, numbers: usize) -> Vec<f32> {
    let from = |i: usize| {
        groups.as_slice()[i / LANES * LANES * numbers + i % LANES..]
            .iter()
            .step_by(LANES)
            .take(numbers)
    };
    (0..n).flat_map(from).copied().collect()
}

fn expect(what: &str, len: usize, expected: usize) -> Result<(), KernelError> {
    if len == expected {
        Ok(())
    } else {
        Err(KernelError::Invalid(format!(
            "{what} has {len} numbers; {expected} were expected"
        )))
    }
}

fn whole(g: &Geometry, n: usize) -> Result<Convolution, KernelError> {
    g.check(n)?;
    let part = Part {
        source: 0,
        channels: g.channels,
        height: g.height,
        width: g.width,
        first: 0,
    };
    Ok(Convolution::new(*g, vec![part], n.div_ceil(LANES)))
}

/// Convolution of `n` images `x` with `w` [filters, channels, filter height, filter width].
pub fn convolution(
    isa: Isa,
    g: &Geometry,
    n: usize,
    x: &[f32],
    w: &[f32],
) -> Result<Vec<f32>, KernelError> {
    let conv = whole(g, n)?;
    expect("x", x.len(), n * g.channels * g.height * g.width)?;
    expect("w", w.len(), conv.weight_len())?;
    let mut packed = Buffer::new(conv.packed_len());
    conv.pack_weights(w, packed.as_mut_slice());
    let numbers = g.filters * g.out_height() * g.out_width();
    let x = group(x, g.channels * g.height * g.width);
    let mut y = Buffer::new(n.next_multiple_of(LANES) * numbers);
    let mut scratch = Scratch::new(std::slice::from_ref(&conv));
    let sources = [Source {
        values: x.as_ptr(),
        norm: None,
        gradient: None,
    }];
    for task in 0..conv.forward_tasks(n) {
        let packed = packed.as_slice();
        // SAFETY: x and y have room for every group, and this is the only thread.
        unsafe {
            let input = PassInput {
                isa,
                images: n,
                sources: &sources,
            };
            let target = ForwardTarget {
                y: y.as_mut_ptr(),
                moments: None,
            };
            conv.forward(input, task, packed, &mut scratch, target);
        }
    }
    Ok(ungroup(&y, n, numbers))
}

/// Gradients of `convolution` with respect to `x` and `w`.
pub fn convolution_gradients(
    isa: Isa,
    g: &Geometry,
    n: usize,
    x: &[f32],
    w: &[f32],
    dy: &[f32],
) -> Result<(Vec<f32>, Vec<f32>), KernelError> {
    let conv = whole(g, n)?;
    let numbers = g.channels * g.height * g.width;
    let out_numbers = g.filters * g.out_height() * g.out_width();
    expect("x", x.len(), n * numbers)?;
    expect("w", w.len(), conv.weight_len())?;
    expect("dy", dy.len(), n * out_numbers)?;
    let mut flipped = Buffer::new(conv.flipped_len());
    conv.flip_weights(w, flipped.as_mut_slice());
    let x = group(x, numbers);
    let dy = group(dy, out_numbers);
    let mut dx = Buffer::new(n.next_multiple_of(LANES) * numbers);
    // A normalisation that changes nothing, at values that the ReLU lets pass.
    let norm = Norm {
        slope: vec![1.0; g.filters],
        ..Norm::new(g.filters)
    };
    let mut y = Buffer::new(n.next_multiple_of(LANES) * out_numbers);
    y.as_mut_slice().fill(1.0);
    let output = Output {
        y: y.as_ptr(),
        upstream: UpstreamGradient {
            convolutions: Some(dy.as_ptr()),
            head: None,
        },
        norm: &norm,
    };
    let sources = [Source {
        values: x.as_ptr(),
        norm: None,
        gradient: Some((dx.as_mut_ptr(), false)),
    }];
    let mut scratch = Scratch::new(std::slice::from_ref(&conv));
    let mut dw = vec![0.0; conv.weight_len()];
    for task in 0..conv.backward_tasks(n) {
        let flipped = flipped.as_slice();
        // SAFETY: all tensors have room for every group, and this is the only thread.
        unsafe {
            let input = PassInput {
                isa,
                images: n,
                sources: &sources,
            };
            conv.backward(input, task, &output, flipped, &mut scratch, &mut dw);
        }
    }
    Ok((ungroup(&dx, n, numbers), dw))
}

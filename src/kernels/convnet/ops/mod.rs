//! Single operations on plain slices [n, channels, height, width]: the pieces of a training step,
//! one at a time, for tests and for tensors outside a `ConvNet`. Convolution and normalisation run
//! on the calling thread and sort images into lanes and back, which a network does once; pooling
//! runs on the caller's rayon pool. Knows nothing of networks.

mod normalisation;
mod passes;
mod pools;

pub use crate::kernels::convnet::convolution::Route;
pub use crate::kernels::convnet::head::cross_entropy;
pub use normalisation::{
    NormGradients, Normalised, norm_relu, norm_relu_gradients, norm_relu_running,
};
pub use passes::Passes;
pub use pools::{
    average_pool, average_pool_gradient, global_average, global_average_gradient, max_pool,
    max_pool_gradient,
};

use crate::kernels::KernelError;
use crate::kernels::convnet::spec::Geometry;
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

/// Convolution of `n` images `x` with `w` [filters, channels, filter height, filter width].
pub fn convolution(
    isa: Isa,
    g: &Geometry,
    n: usize,
    x: &[f32],
    w: &[f32],
) -> Result<Vec<f32>, KernelError> {
    g.check(n)?;
    expect("x", x.len(), n * g.channels * g.height * g.width)?;
    expect("w", w.len(), g.filters * g.taps())?;
    let dy = vec![0.0; n * g.filters * g.out_height() * g.out_width()];
    let mut passes = Passes::new(isa, None, (g, n), x, w, &dy)?;
    passes.forward();
    Ok(passes.y())
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
    let mut passes = Passes::new(isa, None, (g, n), x, w, dy)?;
    passes.backward(true);
    Ok((passes.dx(), passes.dw().to_vec()))
}

//! Single operations on plain slices [n, channels, height, width]: the pieces of a training step, one at a time, for tests and
//! for tensors outside a `ConvNet`. They run on the calling thread and sort images into lanes and back, which a network does once.

use super::conv::{Convolution, Output, Scratch, Source};
use super::memory::Buffer;
use super::norm::{self, Piece};
use super::pack::{Arriving, GradientMoments, Moments, Norm, PackGradient, PackInput, Window};
use super::simd::Isa;
use super::spec::{Geometry, KernelError, LANES, Part};

/// Images sorted into lanes: [n][numbers] to [groups][numbers][LANES].
fn group(images: &[f32], numbers: usize) -> Buffer {
    let mut groups = Buffer::new((images.len() / numbers).next_multiple_of(LANES) * numbers);
    for (i, image) in images.chunks(numbers).enumerate() {
        let to = groups.as_mut_slice()[i / LANES * LANES * numbers + i % LANES..].iter_mut().step_by(LANES);
        to.zip(image).for_each(|(to, from)| *to = *from);
    }
    groups
}

/// The inverse of `group`.
fn ungroup(groups: &Buffer, n: usize, numbers: usize) -> Vec<f32> {
    let from = |i: usize| groups.as_slice()[i / LANES * LANES * numbers + i % LANES..].iter().step_by(LANES).take(numbers);
    (0..n).flat_map(from).copied().collect()
}

fn mask(n: usize, group: usize) -> [f32; LANES] {
    std::array::from_fn(|lane| if group * LANES + lane < n { 1.0 } else { 0.0 })
}

fn expect(what: &str, len: usize, expected: usize) -> Result<(), KernelError> {
    if len == expected { Ok(()) } else { Err(KernelError::Invalid(format!("{what} has {len} numbers; {expected} were expected"))) }
}

fn whole(g: &Geometry, n: usize) -> Result<Convolution, KernelError> {
    g.check(n)?;
    let part = Part { source: 0, channels: g.channels, height: g.height, width: g.width, first: 0 };
    Ok(Convolution::new(*g, vec![part], n.div_ceil(LANES)))
}

/// Convolution of `n` images `x` with `w` [filters, channels, filter height, filter width].
pub fn convolution(isa: Isa, g: &Geometry, n: usize, x: &[f32], w: &[f32]) -> Result<Vec<f32>, KernelError> {
    let conv = whole(g, n)?;
    expect("x", x.len(), n * g.channels * g.height * g.width)?;
    expect("w", w.len(), conv.weight_len())?;
    let mut packed = Buffer::new(conv.packed_len());
    conv.pack_weights(w, packed.as_mut_slice());
    let numbers = g.filters * g.out_height() * g.out_width();
    let (x, mut y) = (group(x, g.channels * g.height * g.width), Buffer::new(n.next_multiple_of(LANES) * numbers));
    let mut scratch = Scratch::new(std::slice::from_ref(&conv));
    let sources = [Source { values: x.as_ptr(), norm: None, gradient: None }];
    for group in 0..n.div_ceil(LANES) {
        for block in 0..conv.forward_blocks() {
            let packed = packed.as_slice();
            // SAFETY: x and y have room for every group, and this is the only thread.
            unsafe { conv.forward(isa, group, block, &sources, &mask(n, group), packed, &mut scratch, y.as_mut_ptr(), None) }
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
    let (numbers, out_numbers) = (g.channels * g.height * g.width, g.filters * g.out_height() * g.out_width());
    expect("x", x.len(), n * numbers)?;
    expect("w", w.len(), conv.weight_len())?;
    expect("dy", dy.len(), n * out_numbers)?;
    let mut flipped = Buffer::new(conv.flipped_len());
    conv.flip_weights(w, flipped.as_mut_slice());
    let (x, dy) = (group(x, numbers), group(dy, out_numbers));
    let mut dx = Buffer::new(n.next_multiple_of(LANES) * numbers);
    // A normalisation that changes nothing, at values that the ReLU lets pass.
    let norm = Norm { slope: vec![1.0; g.filters], ..Norm::new(g.filters) };
    let mut y = Buffer::new(n.next_multiple_of(LANES) * out_numbers);
    y.as_mut_slice().fill(1.0);
    let output = Output { y: y.as_ptr(), arriving: Arriving { convolutions: Some(dy.as_ptr()), head: None }, norm: &norm };
    let sources = [Source { values: x.as_ptr(), norm: None, gradient: Some((dx.as_mut_ptr(), false)) }];
    let mut scratch = Scratch::new(std::slice::from_ref(&conv));
    let mut dw = vec![0.0; conv.weight_len()];
    for group in 0..n.div_ceil(LANES) {
        for chunk in 0..conv.backward_chunks() {
            let flipped = flipped.as_slice();
            // SAFETY: all tensors have room for every group, and this is the only thread.
            unsafe { conv.backward(isa, group, chunk, &sources, &output, &mask(n, group), flipped, &mut scratch, &mut dw) }
        }
    }
    Ok((ungroup(&dx, n, numbers), dw))
}

/// What `norm_relu` keeps for its gradient.
pub struct Normalised {
    n: usize,
    area: usize,
    y: Buffer,
    norm: Norm,
}

/// Batch normalisation with batch statistics, then ReLU: `y` [n, channels, area]. Updates the running mean and variance.
pub fn norm_relu(
    isa: Isa,
    area: usize,
    y: &[f32],
    scale: &[f32],
    shift: &[f32],
    running: (&mut [f32], &mut [f32]),
) -> Result<(Vec<f32>, Normalised), KernelError> {
    let channels = scale.len();
    let n = y.len().checked_div(channels * area).unwrap_or(0);
    expect("y", y.len(), n.max(1) * channels.max(1) * area.max(1))?;
    expect("shift", shift.len(), channels)?;
    expect("running mean", running.0.len(), channels)?;
    expect("running variance", running.1.len(), channels)?;
    let y = group(y, channels * area);
    let groups = n.div_ceil(LANES);
    let mut moments = Buffer::new(groups * channels * 2 * LANES);
    // SAFETY: y has all groups' planes, one after the other, and `moments` a piece for each.
    unsafe {
        isa.run(Moments { y: y.as_ptr(), y_channel: area * LANES, channels: groups * channels, pixels: area, out: moments.as_mut_ptr() })
    };
    let mut norm = Norm::new(channels);
    norm::from_batch(&pieces(&moments, channels, n, area), scale, shift, &mut norm, running);
    let mut activation = Buffer::new(y.as_slice().len());
    for group in 0..groups {
        let at = group * channels * area * LANES;
        // SAFETY: both buffers have this group's planes.
        unsafe {
            let (from, to) = (y.as_ptr().add(at), activation.as_mut_ptr().add(at));
            let window = plain_window(area);
            isa.run(PackInput { from, channels, window, norm: Some(&norm), norm_first: 0, mask: &mask(n, group), to });
        }
    }
    Ok((ungroup(&activation, n, channels * area), Normalised { n, area, y, norm }))
}

/// A window that shows a plane as it is, in one row.
fn plain_window(area: usize) -> Window {
    Window { first_row: 0, rows: 1, pad: 0, columns: area, height: 1, width: area, to_channel: area * LANES }
}

fn pieces(moments: &Buffer, channels: usize, n: usize, pixels: usize) -> Vec<Piece<'_>> {
    let groups = moments.as_slice().chunks(channels * 2 * LANES).enumerate();
    groups.map(|(group, moments)| Piece { moments, lanes: (n - group * LANES).min(LANES), pixels }).collect()
}

/// Gradients of `norm_relu`.
pub struct NormGradients {
    pub y: Vec<f32>,
    pub scale: Vec<f32>,
    pub shift: Vec<f32>,
}

/// Gradients of `norm_relu` with respect to y, scale and shift.
pub fn norm_relu_gradients(isa: Isa, mut kept: Normalised, da: &[f32]) -> Result<NormGradients, KernelError> {
    let (n, area, channels) = (kept.n, kept.area, kept.norm.shift.len());
    expect("da", da.len(), n * channels * area)?;
    let (da, groups) = (group(da, channels * area), n.div_ceil(LANES));
    let arriving = Arriving { convolutions: Some(da.as_ptr()), head: None };
    let mut moments = Buffer::new(groups * channels * 2 * LANES);
    let mut dy = Buffer::new(da.as_slice().len());
    for group in 0..groups {
        // SAFETY: y and da have this group's planes, and `moments` its piece.
        unsafe {
            let (y, arriving) = (kept.y.as_ptr().add(group * channels * area * LANES), arriving.skip(group * channels, area * LANES));
            let out = moments.as_mut_ptr().add(group * channels * 2 * LANES);
            isa.run(GradientMoments { y, arriving, norm: &kept.norm, channels, pixels: area, out });
        }
    }
    let (mut dscale, mut dshift) = (vec![0.0; channels], vec![0.0; channels]);
    norm::gradients(&pieces(&moments, channels, n, area), &mut kept.norm, &mut dscale, &mut dshift);
    for group in 0..groups {
        let at = group * channels * area * LANES;
        let (window, arriving) = (plain_window(area), arriving.skip(group * channels, area * LANES));
        // SAFETY: all three buffers have this group's planes.
        unsafe {
            let (y, to) = (kept.y.as_ptr().add(at), dy.as_mut_ptr().add(at));
            isa.run(PackGradient { y, arriving, channels, window, norm: &kept.norm, norm_first: 0, mask: &mask(n, group), to });
        }
    }
    Ok(NormGradients { y: ungroup(&dy, n, channels * area), scale: dscale, shift: dshift })
}

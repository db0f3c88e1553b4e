//! The working memory of a network: every tensor that a step needs, allocated once.
//! Knows nothing of the arithmetic; decides only which tensors may share memory.

use super::convolution::{Convolution, Scratch};
use super::pack::Norm;
use super::planes::Planes;
use super::spec::{LayerPlan, Plan};
use crate::kernels::memory::Buffer;
use crate::kernels::memory::LANES;
use std::sync::{Mutex, PoisonError};

pub struct Arena {
    /// [groups][channels][height][width][LANES]
    pub images: Buffer,
    pub layers: Vec<LayerState>,
    /// Gradients of activations; layers whose gradients are needed at different times share one.
    pub gradients: Vec<Buffer>,
    /// One layer's weights, in the order in which they are read.
    pub packed: Buffer,
    /// Each backward task's own sum.
    pub weight_gradients: Buffer,
    /// Each task's moments: [tasks][filters][2][LANES].
    pub moments: Buffer,
    /// One for each thread.
    pub scratch: Vec<Mutex<Scratch>>,
    /// One for each thread, for layers without filters.
    pub planes: Vec<Mutex<Buffer>>,
}

/// One layer's cut and its tensors.
pub struct LayerState {
    /// None: it has no filters, `planes` works on it.
    pub conv: Option<Convolution>,
    pub planes: Option<Planes>,
    /// What the layer computes before any normalisation: [groups][filters][height][width][LANES].
    /// Activations are computed from it when read.
    pub y: Buffer,
    pub norm: Norm,
    /// Whether readers apply `norm` to `y`.
    pub transforms: bool,
    /// What `planes` keeps for the backward pass.
    pub saved: Buffer,
    /// Gradient from the classifier, the same for all pixels: [groups][filters][LANES].
    pub head: Option<Buffer>,
    /// Which of `Arena::gradients` collects what the convolutions that read this layer send back.
    pub gradient: Option<usize>,
    /// The last layer (from 0) that reads this one and is live: the first to send a gradient back.
    pub last_reader: Option<usize>,
    /// Whether the classifier's output depends on it.
    pub live: bool,
}

impl LayerState {
    /// What a reader applies to `y`.
    pub fn reading(&self) -> Option<&Norm> {
        self.transforms.then_some(&self.norm)
    }
}

/// Lengths of all buffers.
struct Sizes {
    convs: Vec<Option<Convolution>>,
    planes: Vec<Option<Planes>>,
    live: Vec<bool>,
    in_head: Vec<bool>,
    last_reader: Vec<Option<usize>>,
    slots: Vec<Option<usize>>,
    images: usize,
    outputs: Vec<usize>,
    heads: Vec<usize>,
    gradients: Vec<usize>,
    packed: usize,
    weight_gradients: usize,
    moments: usize,
    /// Of a thread, for layers without filters.
    scratch_planes: usize,
    saved: Vec<usize>,
}

impl Arena {
    pub fn new(plan: &Plan, batch: usize, threads: usize) -> Self {
        let sizes = Sizes::new(plan, batch);
        let layer = |(index, conv): (usize, Option<Convolution>)| LayerState {
            y: Buffer::new(sizes.outputs[index]),
            norm: Sizes::norm(plan, index),
            transforms: plan.layers[index].normalises || plan.layers[index].rectifies,
            planes: sizes.planes[index].clone(),
            saved: Buffer::new(sizes.saved[index]),
            head: sizes.in_head[index].then(|| Buffer::new(sizes.heads[index])),
            gradient: sizes.slots[index],
            last_reader: sizes.last_reader[index],
            live: sizes.live[index],
            conv,
        };
        let filters: Vec<Convolution> = sizes.convs.iter().flatten().cloned().collect();
        let scratch = || Mutex::new(Scratch::new(&filters));
        Self {
            images: Buffer::new(sizes.images),
            gradients: sizes.gradients.iter().map(|&n| Buffer::new(n)).collect(),
            packed: Buffer::new(sizes.packed),
            weight_gradients: Buffer::new(sizes.weight_gradients),
            moments: Buffer::new(sizes.moments),
            scratch: (0..threads.max(1)).map(|_| scratch()).collect(),
            planes: (0..threads.max(1))
                .map(|_| Mutex::new(Buffer::new(sizes.scratch_planes)))
                .collect(),
            layers: sizes.convs.iter().cloned().enumerate().map(layer).collect(),
        }
    }

    /// Bytes that `new` takes with one thread.
    pub fn estimate(plan: &Plan, batch: usize) -> usize {
        let s = Sizes::new(plan, batch);
        let heads: usize = s
            .heads
            .iter()
            .zip(&s.in_head)
            .map(|(n, &used)| if used { *n } else { 0 })
            .sum();
        let filters: Vec<Convolution> = s.convs.iter().flatten().cloned().collect();
        let scratch = Scratch::sizes(&filters).iter().sum::<usize>() + s.scratch_planes;
        let one = s.images + s.packed + s.weight_gradients + s.moments + scratch + heads;
        let numbers = [
            s.outputs.iter().sum(),
            s.gradients.iter().sum(),
            s.saved.iter().sum(),
        ]
        .into_iter()
        .fold(one, usize::saturating_add);
        numbers.saturating_mul(size_of::<f32>())
    }

    pub fn bytes(&self) -> usize {
        let layers = self
            .layers
            .iter()
            .map(|l| l.y.bytes() + l.saved.bytes() + l.head.as_ref().map_or(0, Buffer::bytes));
        let planes = self
            .planes
            .iter()
            .map(|p| p.lock().unwrap_or_else(PoisonError::into_inner).bytes());
        let scratch = self
            .scratch
            .iter()
            .map(|s| s.lock().unwrap_or_else(PoisonError::into_inner).bytes());
        let whole = [
            &self.images,
            &self.packed,
            &self.weight_gradients,
            &self.moments,
        ]
        .into_iter()
        .chain(&self.gradients);
        layers
            .chain(scratch)
            .chain(planes)
            .chain(whole.map(Buffer::bytes))
            .sum()
    }
}

impl Sizes {
    fn new(plan: &Plan, batch: usize) -> Self {
        let groups = batch.div_ceil(LANES);
        let planes: Vec<_> = plan.layers.iter().map(Planes::new).collect();
        let conv = |l: &LayerPlan| {
            l.operation
                .convolves()
                .then(|| Convolution::new(l.geometry, l.parts.clone(), groups))
        };
        let convs: Vec<_> = plan.layers.iter().map(conv).collect();
        let in_head: Vec<_> = (1..=convs.len())
            .map(|i| plan.head.iter().any(|p| p.source == i))
            .collect();
        let (live, last_reader) = readers(plan, &in_head);
        let outputs: Vec<_> = plan
            .layers
            .iter()
            .map(|l| {
                if l.absorbed {
                    0
                } else {
                    groups * plane(l) * l.geometry.filters
                }
            })
            .collect();
        let (slots, gradients) = share(plan, &live, &last_reader, &outputs);
        let largest =
            |f: &dyn Fn(&Convolution) -> usize| convs.iter().flatten().map(f).max().unwrap_or(0);
        let channels = plan
            .layers
            .iter()
            .map(|l| l.geometry.filters)
            .max()
            .unwrap_or(0);
        Self {
            images: groups * LANES * plan.channels * plan.height * plan.width,
            heads: plan
                .layers
                .iter()
                .map(|l| groups * LANES * l.geometry.filters)
                .collect(),
            packed: largest(&|c| c.packed_len().max(c.flipped_len())),
            weight_gradients: largest(&|c| c.backward_tasks(batch) * c.weight_len()),
            moments: largest(&|c| groups * c.forward_blocks() * c.geometry.filters * 2 * LANES)
                .max(groups * channels * 2 * LANES),
            scratch_planes: planes
                .iter()
                .flatten()
                .map(Planes::scratch)
                .max()
                .unwrap_or(0),
            saved: planes
                .iter()
                .map(|p| p.as_ref().map_or(0, |p| groups * p.saved_len()))
                .collect(),
            planes,
            convs,
            live,
            in_head,
            last_reader,
            slots,
            outputs,
            gradients,
        }
    }
}

impl Sizes {
    /// What readers apply to a layer's `y`: its coefficients come with each batch where it is
    /// normalised, and change nothing where it is not.
    fn norm(plan: &Plan, index: usize) -> Norm {
        let layer = &plan.layers[index];
        let norm = Norm::new(layer.geometry.filters);
        let slope = if layer.normalises { 0.0 } else { 1.0 };
        Norm {
            epsilon: plan.batch_norm_epsilon,
            floor: if layer.rectifies {
                0.0
            } else {
                f32::NEG_INFINITY
            },
            slope: vec![slope; layer.geometry.filters],
            ..norm
        }
    }
}

/// Numbers of one channel of a layer's output, for one group.
fn plane(layer: &LayerPlan) -> usize {
    layer.geometry.out_height() * layer.geometry.out_width() * LANES
}

/// Which layers the classifier depends on, and the last live reader of each.
fn readers(plan: &Plan, in_head: &[bool]) -> (Vec<bool>, Vec<Option<usize>>) {
    let mut live = in_head.to_vec();
    let mut last_reader = vec![None; live.len()];
    for (index, layer) in plan.layers.iter().enumerate().rev() {
        if !live[index] {
            continue;
        }
        for part in layer.parts.iter().filter(|p| p.source > 0) {
            live[part.source - 1] = true;
            last_reader[part.source - 1].get_or_insert(index);
        }
    }
    (live, last_reader)
}

/// Gives each layer that a live layer reads a gradient buffer, from its last reader's turn until
/// its own; returns the buffers' lengths too.
fn share(
    plan: &Plan,
    live: &[bool],
    last_reader: &[Option<usize>],
    outputs: &[usize],
) -> (Vec<Option<usize>>, Vec<usize>) {
    let mut slots = vec![None; live.len()];
    let mut lengths: Vec<usize> = Vec::new();
    let mut free: Vec<usize> = Vec::new();
    for (index, layer) in plan.layers.iter().enumerate().rev() {
        for part in layer.parts.iter().filter(|p| p.source > 0) {
            let source = part.source - 1;
            if last_reader[source] != Some(index) {
                continue;
            }
            let slot = free.pop().unwrap_or_else(|| {
                lengths.push(0);
                lengths.len() - 1
            });
            lengths[slot] = lengths[slot].max(outputs[source]);
            slots[source] = Some(slot);
        }
        free.extend(slots[index]);
    }
    (slots, lengths)
}

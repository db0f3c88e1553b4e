//! The language model as a function of its packed parameters: loss and gradient of a window of
//! text, and the loss alone. Must not know optimisers, epochs, or where tokens and masks come from.

use super::masks::{DropoutMasks, apply};
use crate::kernels::{
    CellLayer, CellProgram, CellShape, Embedding, KernelError, Layout, Masks, ParameterSlot,
    Softmax, SoftmaxGradient,
};
use crate::space::LanguageModel;
use rayon::ThreadPool;
use std::ops::Range;
use std::sync::Arc;

/// The sizes that a network is built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    pub model: LanguageModel,
    /// Sequences side by side.
    pub batch: usize,
    /// The largest number of steps in a window.
    pub steps: usize,
}

/// Embedding, layers of a cell, softmax. All parameters are one packed vector, laid out as
/// `parameters` says: the embedding (unless the softmax's matrix serves as one), the layers, the
/// softmax. Tokens and targets are `[steps, batch]`.
pub struct Network {
    sizes: Sizes,
    pool: Arc<ThreadPool>,
    embedding: Embedding,
    softmax: Softmax,
    layers: Vec<CellLayer>,
    slots: Vec<ParameterSlot>,
    places: Places,
    /// Numbers of one layer's state `[states, batch, hidden]`.
    state: usize,
    /// The input of each layer and the output of the last, `[steps, batch, hidden]`.
    values: Vec<Vec<f32>>,
    /// Gradients of a layer's output and of its input, likewise.
    gradients: [Vec<f32>; 2],
    /// Words whose rows of the embedding's gradient are not zeros, ascending.
    touched: Vec<u32>,
}

/// Where tensors lie in the packed parameters.
struct Places {
    embedding: Range<usize>,
    layers: Vec<Range<usize>>,
    /// Weight, and bias after it.
    softmax: Range<usize>,
}

/// Lays the tensors one behind the other: the embedding (if it has a matrix of its own), the layers,
/// the softmax.
fn pack(model: &LanguageModel, layers: &[CellLayer]) -> (Vec<ParameterSlot>, Places) {
    let LanguageModel {
        vocabulary: words,
        hidden,
        shared_embeddings,
        ..
    } = *model;
    let mut slots = Vec::new();
    let mut end = 0;
    let mut add = |name: String, shape: Vec<usize>| {
        let slot = ParameterSlot {
            name,
            shape,
            offset: end,
        };
        let place = end..end + slot.len();
        end = place.end;
        slots.push(slot);
        place
    };
    let own = (!shared_embeddings).then(|| add("embedding".into(), vec![words, hidden]));
    let mut layer_places = Vec::with_capacity(layers.len());
    for (layer, number) in layers.iter().zip(1..) {
        let places: Vec<_> = layer
            .parameters()
            .iter()
            .map(|slot| add(format!("layer{number}.{}", slot.name), slot.shape.clone()))
            .collect();
        layer_places.push(
            places.first().map_or(0, |place| place.start)
                ..places.last().map_or(0, |place| place.end),
        );
    }
    let weight = add("softmax.weight".into(), vec![hidden, words]);
    let bias = add("softmax.bias".into(), vec![words]);
    let softmax = weight.start..bias.end;
    let places = Places {
        embedding: own.unwrap_or(weight),
        layers: layer_places,
        softmax,
    };
    (slots, places)
}

impl Network {
    /// A network that computes in `pool` alone.
    ///
    /// # Errors
    /// The program or a size is impossible.
    pub fn new(
        program: &CellProgram,
        sizes: Sizes,
        pool: &Arc<ThreadPool>,
    ) -> Result<Self, KernelError> {
        let LanguageModel {
            vocabulary: words,
            hidden,
            layers,
            shared_embeddings,
        } = sizes.model;
        let shape = CellShape {
            input: hidden,
            hidden,
            batch: sizes.batch,
            steps: sizes.steps,
        };
        let layers: Vec<CellLayer> = (0..layers)
            .map(|_| CellLayer::new(program, shape, Arc::clone(pool)))
            .collect::<Result<_, _>>()?;
        let softmax = Softmax::new(hidden, words)?;
        let (slots, places) = pack(&sizes.model, &layers);
        let layout = if shared_embeddings {
            Layout::Columns
        } else {
            Layout::Rows
        };
        let embedding = Embedding {
            words,
            hidden,
            layout,
        };
        let window = vec![0.0; sizes.steps * sizes.batch * hidden];
        Ok(Self {
            sizes,
            pool: Arc::clone(pool),
            embedding,
            softmax,
            state: program.states() * sizes.batch * hidden,
            values: vec![window.clone(); layers.len() + 1],
            gradients: [window.clone(), window],
            touched: Vec::new(),
            layers,
            slots,
            places,
        })
    }

    /// The trained tensors, in order of their offsets and without gaps.
    pub fn parameters(&self) -> &[ParameterSlot] {
        &self.slots
    }

    /// The sizes that it was built for.
    pub fn sizes(&self) -> Sizes {
        self.sizes
    }

    /// Numbers in the packed parameters.
    pub fn parameter_count(&self) -> usize {
        self.places.softmax.end
    }

    /// The state before the first token: `[layers, states, batch, hidden]`, zeros.
    pub fn start(&self) -> Vec<f32> {
        vec![0.0; self.state * self.layers.len()]
    }

    /// Sets the state of one sequence to that before the first token.
    pub fn restart(&self, state: &mut [f32], sequence: usize) {
        let hidden = self.sizes.model.hidden;
        state
            .chunks_mut(self.sizes.batch * hidden)
            .for_each(|rows| rows[sequence * hidden..][..hidden].fill(0.0));
    }

    /// Where the embedding's own gradient lies and which of its rows `[hidden]` may differ from
    /// zero; None: any number may.
    pub fn sparse_rows(&self) -> Option<(Range<usize>, &[u32])> {
        (self.embedding.layout == Layout::Rows)
            .then(|| (self.places.embedding.clone(), self.touched.as_slice()))
    }

    /// The sum of the window's cross-entropies, in nats, and the gradient of (that sum / batch):
    /// summed over the steps, averaged over the sequences (Zaremba et al. 2014). `state` becomes
    /// the state after the window. `gradient` must be the one of the last call, as it was left, or
    /// zeros.
    pub fn train(
        &mut self,
        parameters: &[f32],
        (tokens, targets): (&[u32], &[u32]),
        masks: &DropoutMasks,
        state: &mut [f32],
        gradient: &mut [f32],
    ) -> f64 {
        let hidden = self.sizes.model.hidden;
        let count = tokens.len() * hidden;
        let table = &parameters[self.places.embedding.clone()];
        self.embedding.look_up(
            table,
            tokens,
            masks.words.as_deref(),
            &mut self.values[0][..count],
        );
        for (index, layer) in self.layers.iter_mut().enumerate() {
            let (before, after) = self.values.split_at_mut(index + 1);
            let masks = Masks {
                input: masks.inputs[index].as_deref(),
                recurrent: masks.recurrent[index].as_deref(),
            };
            let state = &mut state[index * self.state..][..self.state];
            let own = &parameters[self.places.layers[index].clone()];
            layer.forward(
                own,
                &before[index][..count],
                masks,
                state,
                &mut after[0][..count],
            );
        }
        let features = &mut self.values[self.layers.len()][..count];
        apply(masks.output.as_ref(), features);
        let [d_out, d_in] = &mut self.gradients;
        let own = self.places.softmax.clone();
        let d_softmax = SoftmaxGradient {
            parameters: &mut gradient[own.clone()],
            features: &mut d_out[..count],
        };
        let softmax = &mut self.softmax;
        let scale = 1.0 / self.sizes.batch as f32;
        let loss = self
            .pool
            .install(|| softmax.train(&parameters[own], features, targets, scale, d_softmax));
        apply(masks.output.as_ref(), &mut d_out[..count]);
        for (layer, place) in self.layers.iter_mut().zip(&self.places.layers).rev() {
            layer.backward(
                &parameters[place.clone()],
                &d_out[..count],
                &mut gradient[place.clone()],
                &mut d_in[..count],
            );
            std::mem::swap(d_out, d_in);
        }
        self.scatter(tokens, masks.words.as_deref(), gradient, count);
        loss
    }

    /// The gradient of the embedding, from that of the first layer's input.
    fn scatter(
        &mut self,
        tokens: &[u32],
        factors: Option<&[f32]>,
        gradient: &mut [f32],
        count: usize,
    ) {
        let hidden = self.sizes.model.hidden;
        let gradient = &mut gradient[self.places.embedding.clone()];
        if self.embedding.layout == Layout::Rows {
            self.touched
                .iter()
                .for_each(|&word| gradient[word as usize * hidden..][..hidden].fill(0.0));
            self.touched.clear();
            self.touched.extend_from_slice(tokens);
            self.touched.sort_unstable();
            self.touched.dedup();
        }
        self.embedding
            .scatter(gradient, tokens, factors, &self.gradients[0][..count]);
    }

    /// The sum of the cross-entropies, in nats, of the targets that are words (`kernels::SKIPPED`
    /// is none), without dropout. `state` becomes the state after the tokens: as many steps as the
    /// network was built for, or fewer.
    pub fn evaluate(
        &mut self,
        parameters: &[f32],
        tokens: &[u32],
        targets: &[u32],
        state: &mut [f32],
    ) -> f64 {
        let count = tokens.len() * self.sizes.model.hidden;
        let table = &parameters[self.places.embedding.clone()];
        self.embedding
            .look_up(table, tokens, None, &mut self.values[0][..count]);
        for (index, layer) in self.layers.iter_mut().enumerate() {
            let (before, after) = self.values.split_at_mut(index + 1);
            let state = &mut state[index * self.state..][..self.state];
            let own = &parameters[self.places.layers[index].clone()];
            layer.evaluate(own, &before[index][..count], state, &mut after[0][..count]);
        }
        let own = &parameters[self.places.softmax.clone()];
        let softmax = &mut self.softmax;
        let features = &self.values[self.layers.len()][..count];
        self.pool.install(|| softmax.loss(own, features, targets))
    }
}

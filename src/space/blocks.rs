//! From predictions to layers: blocks of equal layers, and pooling at fixed positions. Must not
//! know decisions.
//!
//! Inside a block the layers are fully connected: each takes what the block takes and every earlier
//! layer of its block. Whatever takes a block takes its last layer. With blocks of one layer these
//! are the paper's rules, unchanged.
//!
//! Whatever crosses a pooling position is pooled there. A layer behind the position, and the
//! classifier, read an output (or the image) from before it through 2×2 max pooling of stride 2,
//! once for each position in between. So images shrink for all layers that follow, and no skip
//! connection brings a larger one back (which the padding of rule 3 would otherwise do).

use super::{ConvLayer, Operation, Pool};

/// A predicted operation, and the predictions (from 1, ascending) that feed it; empty: the image
/// does.
pub(super) type Prediction = (Operation, Vec<usize>);

/// Pooling at fixed positions.
const POOLING: Operation = Operation::MaxPool(Pool { size: 2, stride: 2 });

/// The layers of a network. `pool_after` ascends and counts predicted layers, from 1; positions at
/// the end of the network or beyond are ignored.
pub(super) fn graph(
    predictions: &[Prediction],
    block: usize,
    pool_after: &[usize],
) -> Vec<ConvLayer> {
    let layers = blocks(predictions, block);
    let positions: Vec<usize> = pool_after
        .iter()
        .copied()
        .filter(|position| *position < layers.len())
        .collect();
    if positions.is_empty() {
        layers
    } else {
        pooled(layers, &positions)
    }
}

fn blocks(predictions: &[Prediction], block: usize) -> Vec<ConvLayer> {
    let mut layers = Vec::with_capacity(predictions.len() * block);
    for (operation, earlier) in predictions {
        let first = layers.len() + 1;
        let from: Vec<usize> = if earlier.is_empty() {
            vec![0]
        } else {
            earlier.iter().map(|number| number * block).collect()
        };
        for layer in first..first + block {
            let inputs: Vec<usize> = from.iter().copied().chain(first..layer).collect();
            layers.push(ConvLayer {
                operation: operation.clone(),
                inputs,
            });
        }
    }
    layers
}

/// The layers with their poolings between them.
struct Pooled<'a> {
    positions: &'a [usize],
    layers: Vec<ConvLayer>,
    /// For the image and each predicted layer: its own number, then those of its pooled versions,
    /// as far as they are needed.
    versions: Vec<Vec<usize>>,
}

fn pooled(layers: Vec<ConvLayer>, positions: &[usize]) -> Vec<ConvLayer> {
    let mut taken = vec![false; layers.len() + 1];
    layers
        .iter()
        .flat_map(|layer| &layer.inputs)
        .for_each(|&input| taken[input] = true);
    let mut whole = Pooled {
        positions,
        layers: Vec::new(),
        versions: vec![vec![0]],
    };
    for layer in layers {
        let reader = whole.versions.len();
        let inputs = layer
            .inputs
            .iter()
            .map(|&input| whole.version_for(input, reader))
            .collect();
        whole.layers.push(ConvLayer {
            operation: layer.operation,
            inputs,
        });
        whole.versions.push(vec![whole.layers.len()]);
    }
    // Loose ends reach the classifier through every position behind them (rule 2 finds them: no
    // layer takes the last version).
    let classifier = whole.versions.len();
    for loose in (1..classifier).filter(|layer| !taken[*layer]) {
        whole.version_for(loose, classifier);
    }
    whole.layers
}

impl Pooled<'_> {
    /// The layer that `reader` takes in place of `source`: pooled once for each position between
    /// the two. Adds the poolings that are not there yet.
    fn version_for(&mut self, source: usize, reader: usize) -> usize {
        let crossed = self
            .positions
            .iter()
            .filter(|&position| (source..reader).contains(position))
            .count();
        while self.versions[source].len() <= crossed {
            let last = self.versions[source].last().copied().unwrap_or(0);
            self.layers.push(ConvLayer::new(POOLING, &[last]));
            self.versions[source].push(self.layers.len());
        }
        self.versions[source][crossed]
    }
}

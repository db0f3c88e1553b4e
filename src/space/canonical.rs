//! The canonical order of a convolutional network's layers: two descriptions of the same graph become the same data.
//! Must not know how layers are sampled or trained.
//!
//! Layers are coloured by what they are, refined by the colours of what feeds them and of what they feed until nothing changes
//! (Weisfeiler–Leman); depth comes first in the colour, so the order is topological. Ties that remain are broken by trying each
//! tied layer as the first of them and keeping the smallest description. Layers with the same inputs and consumers are
//! interchangeable and are never tried twice.

use super::ConvLayer;
use std::collections::BTreeMap;

/// Descriptions tried at most before ties are broken in the order given. Reached only by large graphs of layers that are all alike
/// yet not interchangeable; two renumberings of such a graph may then be told apart although they are the same.
const TRIES: usize = 4_000;

/// What the layers become: their order, with inputs renumbered and ascending, and the output list.
pub(super) fn canonical(layers: &[ConvLayer], output: &[usize]) -> (Vec<ConvLayer>, Vec<usize>) {
    let graph = Graph::new(layers, output);
    let mut best = None;
    let mut tries = TRIES;
    graph.search(graph.refine(graph.first_colours()), &mut tries, &mut best);
    // The search always reaches at least one complete order.
    best.unwrap_or_else(|| (layers.to_vec(), output.to_vec()))
}

type Description = (Vec<ConvLayer>, Vec<usize>);

struct Graph<'a> {
    layers: &'a [ConvLayer],
    output: &'a [usize],
    /// For each layer (from 0): the layers (from 0) that take it.
    consumers: Vec<Vec<usize>>,
}

impl<'a> Graph<'a> {
    fn new(layers: &'a [ConvLayer], output: &'a [usize]) -> Self {
        let mut consumers = vec![Vec::new(); layers.len()];
        for (index, layer) in layers.iter().enumerate() {
            for &input in layer.inputs.iter().filter(|input| **input > 0) {
                consumers[input - 1].push(index);
            }
        }
        Self { layers, output, consumers }
    }

    fn first_colours(&self) -> Vec<usize> {
        let mut depth = vec![0; self.layers.len()];
        for (index, layer) in self.layers.iter().enumerate() {
            depth[index] = 1 + layer.inputs.iter().map(|&input| if input == 0 { 0 } else { depth[input - 1] }).max().unwrap_or(0);
        }
        let key = |index: usize| {
            let layer = &self.layers[index];
            let own = (layer.filter_height, layer.filter_width, layer.filters, layer.stride_height, layer.stride_width);
            (depth[index], own, layer.inputs.contains(&0), self.output.contains(&(index + 1)))
        };
        rank((0..self.layers.len()).map(key))
    }

    fn refine(&self, mut colours: Vec<usize>) -> Vec<usize> {
        loop {
            let classes = count(&colours);
            let sorted = |mut colours: Vec<usize>| {
                colours.sort_unstable();
                colours
            };
            let key = |index: usize| {
                let inputs = self.layers[index].inputs.iter().filter(|input| **input > 0).map(|&input| colours[input - 1]);
                let consumers = self.consumers[index].iter().map(|&consumer| colours[consumer]);
                (colours[index], sorted(inputs.collect()), sorted(consumers.collect()))
            };
            colours = rank((0..self.layers.len()).map(key));
            if count(&colours) == classes {
                return colours;
            }
        }
    }

    /// Keeps in `best` the smallest description of all that the ties allow.
    fn search(&self, colours: Vec<usize>, tries: &mut usize, best: &mut Option<Description>) {
        let mut members: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (index, &colour) in colours.iter().enumerate() {
            members.entry(colour).or_default().push(index);
        }
        let Some((&colour, tied)) = members.iter().find(|(_, tied)| tied.len() > 1) else {
            *tries = tries.saturating_sub(1);
            let description = self.describe(&colours);
            if best.as_ref().is_none_or(|best| description < *best) {
                *best = Some(description);
            }
            return;
        };
        let one_is_enough = self.interchangeable(tied);
        for &first in tied {
            // Doubling makes room for the one that is set before the others of its class.
            let split = colours.iter().enumerate().map(|(index, &other)| 2 * other + usize::from(other == colour && index != first));
            self.search(self.refine(rank(split)), tries, best);
            if one_is_enough || *tries == 0 {
                break;
            }
        }
    }

    fn interchangeable(&self, tied: &[usize]) -> bool {
        tied.windows(2)
            .all(|pair| self.layers[pair[0]].inputs == self.layers[pair[1]].inputs && self.consumers[pair[0]] == self.consumers[pair[1]])
    }

    /// The description under a complete order: `place[i]` is the new place (from 0) of layer i.
    fn describe(&self, place: &[usize]) -> Description {
        let renumber = |numbers: &[usize]| {
            let mut renumbered: Vec<usize> = numbers.iter().map(|&number| if number == 0 { 0 } else { place[number - 1] + 1 }).collect();
            renumbered.sort_unstable();
            renumbered
        };
        let mut order: Vec<usize> = (0..place.len()).collect();
        order.sort_unstable_by_key(|&index| place[index]);
        let layers =
            order.into_iter().map(|index| ConvLayer { inputs: renumber(&self.layers[index].inputs), ..self.layers[index].clone() });
        (layers.collect(), renumber(self.output))
    }
}

/// Replaces each key by its rank among the different ones.
fn rank<K: Ord>(keys: impl Iterator<Item = K>) -> Vec<usize> {
    let keys: Vec<K> = keys.collect();
    let mut different: Vec<&K> = keys.iter().collect();
    different.sort_unstable();
    different.dedup();
    keys.iter().map(|key| different.partition_point(|other| *other < key)).collect()
}

fn count(colours: &[usize]) -> usize {
    colours.iter().max().map_or(0, |highest| highest + 1)
}

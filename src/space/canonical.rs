//! The canonical order of a convolutional network's layers: two descriptions of the same graph
//! become the same data. Must not know how layers are sampled or trained.
//!
//! Layers are coloured by what they are, refined by the colours of what feeds them and of what they
//! feed until nothing changes (Weisfeiler–Leman); depth comes first in the colour, so the order is
//! topological. Ties that remain are broken by trying each tied layer as the first of them and
//! keeping the smallest description. Two kinds of tied layers are tried once only: twins (same
//! inputs, same consumers), and layers whose first complete order reads the same as an earlier
//! one's: a symmetry of the graph then maps one to the other.

use super::ConvLayer;
use std::collections::BTreeMap;

/// At most this many complete orders are tried. Only large graphs of equal layers reach the limit,
/// where symmetries do not explain the ties; two numberings of such a graph may then count as
/// different networks although they are one.
const TRIES: usize = 1_000;

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
        Self {
            layers,
            output,
            consumers,
        }
    }

    /// Colours before any refinement: a layer's depth, its operation, and whether it takes the image
    /// or goes to the classifier.
    fn first_colours(&self) -> Vec<usize> {
        let mut depth = vec![0; self.layers.len()];
        for (index, layer) in self.layers.iter().enumerate() {
            depth[index] = 1 + layer
                .inputs
                .iter()
                .map(|&input| if input == 0 { 0 } else { depth[input - 1] })
                .max()
                .unwrap_or(0);
        }
        let key = |index: usize| {
            let layer = &self.layers[index];
            (
                depth[index],
                &layer.operation,
                layer.inputs.contains(&0),
                self.output.contains(&(index + 1)),
            )
        };
        rank((0..self.layers.len()).map(key))
    }

    /// Splits colours by those of each layer's inputs and consumers until none splits any more.
    fn refine(&self, mut colours: Vec<usize>) -> Vec<usize> {
        loop {
            let classes = count(&colours);
            let sorted = |mut colours: Vec<usize>| {
                colours.sort_unstable();
                colours
            };
            let key = |index: usize| {
                let inputs = self.layers[index]
                    .inputs
                    .iter()
                    .filter(|input| **input > 0)
                    .map(|&input| colours[input - 1]);
                let consumers = self.consumers[index]
                    .iter()
                    .map(|&consumer| colours[consumer]);
                (
                    colours[index],
                    sorted(inputs.collect()),
                    sorted(consumers.collect()),
                )
            };
            colours = rank((0..self.layers.len()).map(key));
            if count(&colours) == classes {
                return colours;
            }
        }
    }

    /// Keeps in `best` the smallest description of all that the ties allow; returns the first one
    /// met.
    fn search(
        &self,
        mut colours: Vec<usize>,
        tries: &mut usize,
        best: &mut Option<Description>,
    ) -> Description {
        let tied = loop {
            let Some(tied) = first_tie(&colours) else {
                *tries = tries.saturating_sub(1);
                let description = self.describe(&colours);
                if best.as_ref().is_none_or(|best| description < *best) {
                    *best = Some(description.clone());
                }
                return description;
            };
            if !self.all_twins(&tied) {
                break tied;
            }
            // Any order of twins reads the same: no branches.
            colours = self.refine(place_first(&colours, &tied));
        };
        let mut tried: Vec<usize> = Vec::new();
        let mut firsts: Vec<Description> = Vec::new();
        for &layer in &tied {
            if tried.iter().any(|&other| self.all_twins(&[other, layer])) {
                continue;
            }
            let refined = self.refine(place_first(&colours, &[layer]));
            if !firsts.is_empty() {
                *tries = tries.saturating_sub(1);
                if firsts.contains(&self.first_description(refined.clone())) {
                    continue;
                }
            }
            tried.push(layer);
            firsts.push(self.search(refined, tries, best));
            if *tries == 0 {
                break;
            }
        }
        firsts.swap_remove(0)
    }

    /// What `search` meets first from here.
    fn first_description(&self, mut colours: Vec<usize>) -> Description {
        while let Some(tied) = first_tie(&colours) {
            let first = if self.all_twins(&tied) {
                tied.as_slice()
            } else {
                &tied[..1]
            };
            colours = self.refine(place_first(&colours, first));
        }
        self.describe(&colours)
    }

    /// True for layers of one colour that can be exchanged without changing anything.
    fn all_twins(&self, tied: &[usize]) -> bool {
        tied.windows(2).all(|pair| {
            self.layers[pair[0]].inputs == self.layers[pair[1]].inputs
                && self.consumers[pair[0]] == self.consumers[pair[1]]
        })
    }

    /// The description under a complete order: `position[i]` is the new position (from 0) of layer
    /// i.
    fn describe(&self, position: &[usize]) -> Description {
        let renumber = |numbers: &[usize]| {
            let mut renumbered: Vec<usize> = numbers
                .iter()
                .map(|&number| {
                    if number == 0 {
                        0
                    } else {
                        position[number - 1] + 1
                    }
                })
                .collect();
            renumbered.sort_unstable();
            renumbered
        };
        let mut order: Vec<usize> = (0..position.len()).collect();
        order.sort_unstable_by_key(|&index| position[index]);
        let layers = order.into_iter().map(|index| {
            let layer = &self.layers[index];
            ConvLayer {
                operation: layer.operation.clone(),
                inputs: renumber(&layer.inputs),
            }
        });
        (layers.collect(), renumber(self.output))
    }
}

/// The layers of the lowest colour that several share.
fn first_tie(colours: &[usize]) -> Option<Vec<usize>> {
    let mut members: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (index, &colour) in colours.iter().enumerate() {
        members.entry(colour).or_default().push(index);
    }
    members.into_values().find(|tied| tied.len() > 1)
}

/// New colours that put `first`, in this order, before the others of their colour.
fn place_first(colours: &[usize], first: &[usize]) -> Vec<usize> {
    let position: BTreeMap<usize, usize> = first
        .iter()
        .enumerate()
        .map(|(position, &layer)| (layer, position))
        .collect();
    rank(
        colours
            .iter()
            .enumerate()
            .map(|(index, &colour)| (colour, position.get(&index).copied().unwrap_or(first.len()))),
    )
}

/// Replaces each key by its rank among the different ones.
fn rank<K: Ord>(keys: impl Iterator<Item = K>) -> Vec<usize> {
    let keys: Vec<K> = keys.collect();
    let mut different: Vec<&K> = keys.iter().collect();
    different.sort_unstable();
    different.dedup();
    keys.iter()
        .map(|key| different.partition_point(|other| *other < key))
        .collect()
}

fn count(colours: &[usize]) -> usize {
    colours.iter().max().map_or(0, |highest| highest + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::Convolution;
    use std::collections::BTreeSet;

    fn plain(inputs: &[usize]) -> ConvLayer {
        ConvLayer::new(
            Convolution {
                filter_height: 3,
                filter_width: 3,
                filters: 8,
                stride_height: 1,
                stride_width: 1,
            },
            inputs,
        )
    }

    fn loose_ends(layers: &[ConvLayer]) -> Vec<usize> {
        (1..=layers.len())
            .filter(|number| !layers.iter().any(|layer| layer.inputs.contains(number)))
            .collect()
    }

    /// Every graph of `count` layers that are all alike: each of them takes any earlier ones, or
    /// the image.
    fn graphs(count: usize) -> impl Iterator<Item = Vec<ConvLayer>> {
        (0_usize..1 << (count * (count + 1) / 2)).map(move |bits| {
            let layer = |index: usize| {
                let own = bits >> (index * (index + 1) / 2);
                let inputs: Vec<usize> =
                    (0..=index).filter(|input| own >> input & 1 == 1).collect();
                plain(if inputs.is_empty() { &[0] } else { &inputs })
            };
            (0..count).map(layer).collect()
        })
    }

    /// The smallest of all descriptions whose order is topological, by trying every order. `order`
    /// holds layers from 0.
    fn by_every_order(graph: &Graph, order: &mut Vec<usize>) -> Option<Description> {
        if order.len() == graph.layers.len() {
            let position = |index| order.iter().position(|other| *other == index).unwrap();
            return Some(graph.describe(&(0..order.len()).map(position).collect::<Vec<_>>()));
        }
        let mut smallest: Option<Description> = None;
        for (index, layer) in graph.layers.iter().enumerate() {
            if !order.contains(&index)
                && layer
                    .inputs
                    .iter()
                    .all(|&input| input == 0 || order.contains(&(input - 1)))
            {
                order.push(index);
                smallest = smallest
                    .into_iter()
                    .chain(by_every_order(graph, order))
                    .min();
                order.pop();
            }
        }
        smallest
    }

    #[test]
    fn small_graphs_become_the_same_data_exactly_if_they_are_isomorphic() {
        for count in 1..=5 {
            let mut pairs = BTreeSet::new();
            for layers in graphs(count) {
                let output = loose_ends(&layers);
                let truth = by_every_order(&Graph::new(&layers, &output), &mut Vec::new()).unwrap();
                pairs.insert((canonical(&layers, &output), truth));
            }
            let ours: BTreeSet<_> = pairs.iter().map(|pair| &pair.0).collect();
            let truths: BTreeSet<_> = pairs.iter().map(|pair| &pair.1).collect();
            // A bijection: no class of isomorphic graphs is split, no two are merged.
            assert_eq!(
                (ours.len(), truths.len()),
                (pairs.len(), pairs.len()),
                "{count} layers"
            );
        }
    }

    /// The canonical description, and how many tries it took.
    fn tried(layers: &[ConvLayer]) -> (Description, usize) {
        let output = loose_ends(layers);
        let mut tries = TRIES;
        let mut best = None;
        let graph = Graph::new(layers, &output);
        graph.search(graph.refine(graph.first_colours()), &mut tries, &mut best);
        (best.unwrap(), TRIES - tries)
    }

    #[test]
    fn symmetric_graphs_take_few_tries() {
        // Twelve separate chains of three like layers, numbered in two ways: 12! orders of the
        // chains read the same.
        let by_chain: Vec<ConvLayer> = (0..36)
            .map(|index| plain(&[if index % 3 == 0 { 0 } else { index }]))
            .collect();
        let by_depth: Vec<ConvLayer> = (0..36_usize)
            .map(|index| plain(&[(index + 1).saturating_sub(12)]))
            .collect();
        let ((one, tries), (other, _)) = (tried(&by_chain), tried(&by_depth));
        assert_eq!(one, other);
        assert!(tries < 100, "{tries} tries");
    }

    /// Rings of these sizes: layers that take the image, and above them as many that take two
    /// neighbours each.
    fn rings(sizes: &[usize]) -> Vec<ConvLayer> {
        let lower = sizes.iter().sum();
        let mut layers = vec![plain(&[0]); lower];
        let mut start = 1;
        for size in sizes {
            layers.extend((0..*size).map(|position| {
                let mut inputs = [start + position, start + (position + 1) % size];
                inputs.sort_unstable();
                plain(&inputs)
            }));
            start += size;
        }
        layers
    }

    #[test]
    fn layers_that_no_colour_tells_apart_are_ordered_by_the_smallest_description() {
        let (one, tries) = tried(&rings(&[3, 4, 5]));
        for sizes in [[3, 5, 4], [4, 3, 5], [4, 5, 3], [5, 3, 4], [5, 4, 3]] {
            assert_eq!(tried(&rings(&sizes)).0, one, "{sizes:?}");
        }
        assert_ne!(tried(&rings(&[6, 6])).0, tried(&rings(&[12])).0);
        assert_ne!(tried(&rings(&[4, 4, 4])).0, one);
        assert!(tries < TRIES / 2, "{tries} tries");
    }
}

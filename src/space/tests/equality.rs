//! Two architectures are equal if and only if they are the same network.

use super::*;
use proptest::prelude::*;
use rand::RngExt;
use rand::seq::SliceRandom;

/// A random graph of few kinds of layers, so that symmetries and ties are common.
fn random_layers(seed: u64, layers: usize) -> Vec<ConvLayer> {
    let mut stream = crate::random::Key::seed(seed).stream(crate::random::Purpose::Decisions);
    let mut one = |index: usize| {
        let inputs: Vec<usize> = (0..=index)
            .filter(|_| stream.random_range(0..3) == 0)
            .collect();
        let size = 2 + stream.random_range(0..2);
        match stream.random_range(0..11) {
            0 => ConvLayer::new(Operation::MaxPool(Pool { size, stride: 2 }), &inputs),
            1 => ConvLayer::new(Operation::AveragePool(Pool { size, stride: 2 }), &inputs),
            2 => ConvLayer::new(
                Operation::LocalContrast {
                    window: 2 * size + 1,
                },
                &inputs,
            ),
            3 => ConvLayer::new(Operation::BatchNorm, &inputs),
            4 => ConvLayer::new(Operation::Relu, &inputs),
            5 => ConvLayer::new(Operation::Add, &inputs),
            kind => {
                let layer = layer(
                    (3, 1 + 2 * stream.random_range(0..2)),
                    8,
                    (1, stream.random_range(1..3)),
                    &inputs,
                );
                match layer.operation {
                    Operation::Convolution(sizes) if kind == 6 => {
                        ConvLayer::new(Operation::PlainConvolution(sizes), &inputs)
                    }
                    _ => layer,
                }
            }
        }
    };
    (0..layers).map(&mut one).collect()
}

/// The same graph with its layers in another topological order.
fn renumbered(layers: &[ConvLayer], seed: u64) -> Vec<ConvLayer> {
    let mut stream = crate::random::Key::seed(seed).stream(crate::random::Purpose::Shuffle);
    let mut position = vec![0; layers.len() + 1];
    let mut left: Vec<usize> = (1..=layers.len()).collect();
    let mut order = Vec::new();
    while !left.is_empty() {
        left.shuffle(&mut stream);
        let ready = |layer: &usize| {
            layers[layer - 1]
                .inputs
                .iter()
                .all(|input| *input == 0 || position[*input] > 0)
        };
        let next = left.iter().position(ready).unwrap();
        order.push(left.swap_remove(next));
        position[order[order.len() - 1]] = order.len();
    }
    let moved = |old: &usize| {
        let mut inputs: Vec<usize> = layers[old - 1]
            .inputs
            .iter()
            .map(|input| position[*input])
            .collect();
        inputs.shuffle(&mut stream);
        ConvLayer {
            operation: layers[old - 1].operation.clone(),
            inputs,
        }
    };
    order.iter().map(moved).collect()
}

proptest! {
    #![proptest_config(crate::random::cases(256))]

    #[test]
    fn renumbering_changes_nothing(seed: u64, shuffle: u64, layers in 1_usize..12) {
        let graph = random_layers(seed, layers);
        prop_assert_eq!(network(renumbered(&graph, shuffle)), network(graph));
    }

    #[test]
    fn every_change_makes_another_network(seed: u64, layers in 2_usize..9, which in 0_usize..9, what in 0_usize..5) {
        let graph = random_layers(seed, layers);
        let mut changed = graph.clone();
        let target = &mut changed[which % layers].operation;
        *target = match (target.clone(), what) {
            (Operation::Convolution(conv), 0) => Convolution { filter_height: conv.filter_height + 2, ..conv }.into(),
            (Operation::Convolution(conv), 1) => Convolution { filter_width: conv.filter_width + 2, ..conv }.into(),
            (Operation::Convolution(conv), 2) => Convolution { filters: conv.filters + 1, ..conv }.into(),
            (Operation::Convolution(conv), 3) => Convolution { stride_height: conv.stride_height + 1, ..conv }.into(),
            (Operation::Convolution(conv), _) => Convolution { stride_width: conv.stride_width + 1, ..conv }.into(),
            (Operation::MaxPool(pool), 0 | 1) => Operation::MaxPool(Pool { size: pool.size + 1, ..pool }),
            (Operation::MaxPool(pool), 2) => Operation::MaxPool(Pool { stride: pool.stride + 1, ..pool }),
            (Operation::MaxPool(pool), _) => Operation::AveragePool(pool),
            (Operation::AveragePool(pool), _) => Operation::MaxPool(pool),
            (Operation::LocalContrast { window }, 0 | 1) => Operation::LocalContrast { window: window + 2 },
            (Operation::LocalContrast { .. } | Operation::Relu | Operation::Add, _) => Operation::BatchNorm,
            (Operation::BatchNorm, 0 | 1) => Operation::LocalContrast { window: 9 },
            (Operation::BatchNorm, _) => Operation::Relu,
            (Operation::PlainConvolution(conv), 0) => Operation::PlainConvolution(Convolution { filters: conv.filters + 1, ..conv }),
            (Operation::PlainConvolution(conv), 1) => Operation::PlainConvolution(Convolution { stride_width: conv.stride_width + 1, ..conv }),
            (Operation::PlainConvolution(conv), _) => conv.into(),
        };
        prop_assert_ne!(network(changed), network(graph));
    }

    #[test]
    fn json_brings_back_the_same(seed: u64, layers in 1_usize..9) {
        let architecture = Architecture { version: 1, network: Network::Conv(network(random_layers(seed, layers))) };
        let text = serde_json::to_string(&architecture).unwrap();
        prop_assert_eq!(serde_json::from_str::<Architecture>(&text).unwrap(), architecture);
    }

    #[test]
    fn the_canonical_order_is_one_that_can_be_built(seed: u64, layers in 1_usize..12) {
        let network = network(random_layers(seed, layers));
        for (index, layer) in network.layers.iter().enumerate() {
            prop_assert!(!layer.inputs.is_empty() && layer.inputs.is_sorted() && layer.inputs.iter().all(|input| *input <= index));
        }
        let consumed = |layer: &usize| network.layers.iter().any(|other| other.inputs.contains(layer));
        prop_assert_eq!((1..=layers).filter(|layer| !consumed(layer)).collect::<Vec<_>>(), network.output);
    }
}

#[test]
fn a_shared_layer_is_not_two_like_it() {
    let plain = |inputs: &[usize]| layer((3, 3), 8, (1, 1), inputs);
    let shared = network(vec![plain(&[]), plain(&[]), plain(&[1]), plain(&[1])]);
    let apart = network(vec![plain(&[]), plain(&[]), plain(&[1]), plain(&[2])]);
    assert_ne!(shared, apart);
}

#[test]
fn many_layers_that_are_all_alike_are_ordered_without_trying_every_order() {
    let plain = |inputs: &[usize]| layer((3, 3), 8, (1, 1), inputs);
    let mut layers: Vec<ConvLayer> = (0..20).map(|_| plain(&[])).collect();
    layers.extend((0..20).map(|index| plain(&[index + 1, (index + 1) % 20 + 1])));
    // That this ends shows it: all orders would take for ever.
    assert_eq!(network(renumbered(&layers, 3)).layers.len(), 40);
}

#[test]
fn a_chain_is_the_same_network_however_it_was_described() {
    let settings = SpaceSettings {
        layers: 3,
        skip_connections: SkipConnections::None,
        ..SpaceSettings::default()
    };
    let chain = [[1, 2, 0], [0, 3, 1], [2, 2, 2]]
        .concat()
        .into_iter()
        .map(Decision::Choice)
        .collect::<Vec<_>>();
    let mut with_skips = Vec::new();
    for (index, choices) in chain.chunks(3).enumerate() {
        with_skips.extend_from_slice(choices);
        with_skips.push(Decision::Skips(
            (0..index)
                .map(|earlier| u8::from(earlier + 1 == index))
                .collect(),
        ));
    }
    let predicted = SpaceSettings {
        skip_connections: SkipConnections::Predicted,
        ..settings.clone()
    };
    assert_eq!(
        conv(&settings).build(3, &chain),
        conv(&predicted).build(3, &with_skips)
    );
}

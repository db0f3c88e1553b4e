//! Types of layers, blocks, pooling positions, widening, the learning rate; and the JSON of all of
//! them.

use super::spaces::list;
use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

const ALL: [LayerType; 5] = [
    LayerType::Conv,
    LayerType::MaxPool,
    LayerType::AvgPool,
    LayerType::Lcn,
    LayerType::BatchNorm,
];

fn choice(option: usize) -> Decision {
    Decision::Choice(option)
}

/// Small enough to be gone through: 2 × 2 convolutions, 2 poolings of each kind, 2 windows, and
/// batch normalisation.
fn typed() -> SpaceSettings {
    SpaceSettings {
        layer_types: ALL.to_vec(),
        filter_height: vec![3],
        filter_width: vec![1, 3],
        filters: vec![8, 16],
        pool_size: vec![2, 3],
        pool_stride: vec![2],
        lcn_window: vec![5, 9],
        learning_rates: vec![0.1, 0.01],
        ..SpaceSettings::default()
    }
}

/// Every list of a space, in order.
fn all(space: &dyn Space, layers: usize) -> Vec<Vec<Decision>> {
    let mut whole = Vec::new();
    let mut open = vec![Vec::new()];
    while let Some(list) = open.pop() {
        let longer = |decision: Decision| list.iter().cloned().chain([decision]).collect();
        match space.next(layers, &list) {
            Next::Done => whole.push(list),
            Next::Choose { kind } => open.extend(
                (0..space.kinds()[kind].options.len()).map(|option| longer(choice(option))),
            ),
            Next::Anchor { earlier } => {
                open.extend((0..1_usize << earlier).map(|bits| {
                    longer(Decision::Skips(
                        (0..earlier)
                            .map(|position| (bits >> position & 1) as u8)
                            .collect(),
                    ))
                }));
            }
        }
    }
    whole
}

#[test]
fn each_type_decides_its_own_sizes_alone() {
    let space = conv(&typed());
    let names: Vec<&str> = space
        .kinds()
        .iter()
        .map(|kind| kind.name.as_str())
        .collect();
    assert_eq!(
        names,
        [
            "layer_type",
            "filter_width",
            "filters",
            "pool_size",
            "lcn_window",
            "learning_rate"
        ]
    );
    let after = |list: &[Decision]| match space.next(2, list) {
        Next::Choose { kind } => names[kind].to_owned(),
        Next::Anchor { earlier } => format!("anchor {earlier}"),
        Next::Done => "done".to_owned(),
    };
    let mut decisions = Vec::new();
    let mut seen = Vec::new();
    let anchors = [Decision::Skips(vec![]), Decision::Skips(vec![1])];
    for decision in [
        choice(1),
        choice(1),
        anchors[0].clone(),
        choice(0),
        choice(0),
        choice(1),
        anchors[1].clone(),
        choice(1),
    ] {
        seen.push(after(&decisions));
        decisions.push(decision);
    }
    assert_eq!(
        seen,
        [
            "layer_type",
            "pool_size",
            "anchor 0",
            "layer_type",
            "filter_width",
            "filters",
            "anchor 1",
            "learning_rate"
        ]
    );
    assert_eq!(after(&decisions), "done");
    assert_eq!(after(&[choice(4)]), "anchor 0");
    assert_eq!(after(&[choice(3)]), "lcn_window");
    let network = built(space.as_ref(), 2, &decisions);
    assert_eq!(network.learning_rate, Some(0.01));
    let pool = ConvLayer::new(Operation::MaxPool(Pool { size: 3, stride: 2 }), &[0]);
    assert_eq!(network.layers, [pool, layer((3, 1), 16, (1, 1), &[1])]);
    let described = space.describe(2, &decisions);
    let text = |name: &str| {
        described
            .iter()
            .find(|(other, _)| other == name)
            .map(|(_, value)| value.as_str())
    };
    assert_eq!(
        (
            text("layer 1 type"),
            text("layer 1 pool size"),
            text("layer 1 filters")
        ),
        (Some("max_pool"), Some("3"), Some(""))
    );
    assert_eq!(
        (
            text("layer 2 type"),
            text("layer 2 filters"),
            text("learning rate")
        ),
        (Some("conv"), Some("16"), Some("0.01"))
    );
}

#[test]
fn sizes_are_counted_and_every_list_is_another_network_or_known_twin() {
    let space = conv(&typed());
    let lists = all(space.as_ref(), 2);
    // (4 + 2 + 2 + 2 + 1)² layers, one skip, two rates.
    assert_eq!(lists.len(), 11 * 11 * 2 * 2);
    assert!((space.log10_size(2) - (lists.len() as f64).log10()).abs() < 1e-9);
    let names: BTreeSet<Vec<String>> = lists
        .iter()
        .map(|list| {
            space
                .describe(2, list)
                .into_iter()
                .map(|(name, _)| name)
                .collect()
        })
        .collect();
    assert_eq!(names.len(), 1, "columns are the same for every list");
    let networks: BTreeSet<String> = lists
        .iter()
        .map(|list| serde_json::to_string(&space.build(2, list).unwrap()).unwrap())
        .collect();
    // Two layers side by side are the same network in either order: 11 · 10 / 2 pairs for each
    // rate.
    assert_eq!(networks.len(), lists.len() - 2 * 55);
}

#[test]
fn lists_that_do_not_fit_name_the_position_of_the_type_they_have() {
    let space = conv(&typed());
    let problem = |list: &[Decision]| space.build(1, list).unwrap_err().to_string();
    let anchor = Decision::Skips(vec![]);
    assert_eq!(
        problem(&[choice(5)]),
        "decision 1: layer 1: layer_type must be the number of an option (0 for conv, 1 for max_pool, 2 for avg_pool, 3 for lcn, 4 for batch_norm), not 5"
    );
    assert_eq!(
        problem(&[choice(1), choice(2)]),
        "decision 2: layer 1: pool_size must be the number of an option (0 for 2, 1 for 3), not 2"
    );
    assert_eq!(
        problem(&[choice(4), choice(0)]),
        "decision 2: the anchor point of layer 1 must be [], for none is before it, not 0"
    );
    assert_eq!(
        problem(&[choice(4), anchor.clone()]),
        "decision 3: the list ends here, and the network lacks learning_rate"
    );
    assert_eq!(
        problem(&[choice(4)]),
        "decision 2: the list ends here, and layer 1 lacks an anchor point"
    );
    assert_eq!(
        problem(&[choice(4), anchor, choice(0), choice(0)]),
        "decision 4: the network is complete before this decision"
    );
}

#[test]
fn two_rates_are_two_networks() {
    let network = network(vec![layer((3, 3), 8, (1, 1), &[])]);
    let at = |rate| ConvNetwork {
        learning_rate: rate,
        ..network.clone()
    };
    assert_ne!(at(Some(0.1)), at(Some(0.2)));
    assert_ne!(at(Some(0.1)), at(None));
    let text = serde_json::to_string(&Architecture {
        version: 1,
        network: Network::Conv(at(Some(0.1))),
    })
    .unwrap();
    assert!(
        text.contains("\"classes\":10,\"learning_rate\":0.1,\"layers\""),
        "{text}"
    );
    assert_eq!(
        serde_json::from_str::<Architecture>(&text).unwrap().network,
        Network::Conv(at(Some(0.1)))
    );
}

#[test]
fn a_block_is_fully_connected_and_read_at_its_last_layer() {
    let settings = SpaceSettings {
        layers: 6,
        block: 3,
        filter_height: vec![3],
        filter_width: vec![3],
        filters: vec![8, 16],
        ..SpaceSettings::default()
    };
    let space = conv(&settings);
    let one = |bit| {
        [
            choice(0),
            Decision::Skips(vec![]),
            choice(1),
            Decision::Skips(vec![bit]),
        ]
    };
    let plain = |filters, inputs: &[usize]| layer((3, 3), filters, (1, 1), inputs);
    let first = [plain(8, &[0]), plain(8, &[0, 1]), plain(8, &[0, 1, 2])];
    let chained = [plain(16, &[3]), plain(16, &[3, 4]), plain(16, &[3, 4, 5])];
    assert_eq!(
        built(space.as_ref(), 6, &one(1)),
        network([first.to_vec(), chained.to_vec()].concat())
    );
    // Nobody takes the first block: its last layer goes to the classifier, and the second block
    // takes the image.
    let apart = [plain(16, &[0]), plain(16, &[0, 4]), plain(16, &[0, 4, 5])];
    let network = built(space.as_ref(), 6, &one(0));
    assert_eq!(
        network,
        super::network([first.to_vec(), apart.to_vec()].concat())
    );
    assert_eq!(network.output_shape().channels, 24);
    assert!((space.log10_size(6) - (2.0_f64 * 2.0 * 2.0).log10()).abs() < 1e-9);
    assert_eq!(
        space.describe(6, &one(1))[1],
        ("block 2 filters".into(), "16".into())
    );
    assert_eq!(
        SpaceSettings {
            skip_connections: SkipConnections::All,
            ..settings
        }
        .build(IMAGE, 10)
        .kinds()
        .len(),
        1
    );
}

#[test]
fn what_crosses_a_position_is_pooled_there() {
    let settings = SpaceSettings {
        layers: 4,
        pool_after: vec![2, 3],
        filter_height: vec![3],
        filter_width: vec![3],
        ..SpaceSettings::default()
    };
    let space = conv(&settings);
    let skips = |bits: &[u8]| Decision::Skips(bits.to_vec());
    // Layer 2 takes the image, 3 takes 1 and 2, 4 takes the image.
    let decisions = [
        choice(0),
        skips(&[]),
        choice(1),
        skips(&[0]),
        choice(2),
        skips(&[1, 1]),
        choice(3),
        skips(&[0, 0, 0]),
    ];
    let network = built(space.as_ref(), 4, &decisions);
    let pool =
        |input: usize| ConvLayer::new(Operation::MaxPool(Pool { size: 2, stride: 2 }), &[input]);
    let plain = |filters, inputs: &[usize]| layer((3, 3), filters, (1, 1), inputs);
    let expected = vec![
        plain(24, &[0]),
        plain(36, &[0]),
        pool(1),
        pool(2),
        plain(48, &[3, 4]),
        pool(0),
        pool(6),
        plain(64, &[7]),
        // Layer 3 is a loose end before position 3.
        pool(5),
    ];
    assert_eq!(network, super::network(expected));
    let side = |filters: usize| {
        let of = |layer: &ConvLayer| matches!(layer.operation, Operation::Convolution(conv) if conv.filters == filters);
        network.shapes()[network.layers.iter().position(of).unwrap()].height
    };
    assert_eq!([24, 36, 48, 64].map(side), [32, 32, 16, 8]);
    assert_eq!(
        network.output_shape(),
        ImageShape {
            channels: 48 + 64,
            height: 8,
            width: 8
        }
    );
    // A position that the depth does not reach is none.
    let shallow = built(space.as_ref(), 2, &decisions[..4]);
    assert_eq!(shallow.layers.len(), 2);
}

proptest! {
    #![proptest_config(crate::random::cases(256))]

    #[test]
    fn after_a_position_nothing_is_larger_and_nothing_else_changes(
        numbers in prop::collection::vec(0_usize..100, 1..60), blocks in 2_usize..5, block in 1_usize..4,
    ) {
        let layers = blocks * block;
        let settings = SpaceSettings { layers, block, filters: vec![2, 4, 8], ..SpaceSettings::default() };
        let space = conv(&settings);
        let decisions = list(space.as_ref(), layers, &numbers);
        let plain = built(space.as_ref(), layers, &decisions);
        let pooled = built(conv(&SpaceSettings { pool_after: vec![layers / 2], ..settings }).as_ref(), layers, &decisions);
        let added = pooled.layers.len() - plain.layers.len();
        prop_assert!(added >= 1);
        prop_assert_eq!(pooled.parameters(), plain.parameters());
        prop_assert!(pooled.flops() < plain.flops());
        prop_assert_eq!(pooled.output_shape(), ImageShape { height: 16, width: 16, ..plain.output_shape() });
        // No padding is left to do: whatever is concatenated has one size.
        for layer in &pooled.layers {
            let side = |input: &usize| if *input == 0 { 32 } else { pooled.shapes()[input - 1].height };
            prop_assert!(layer.inputs.iter().all(|input| side(input) == side(&layer.inputs[0])));
        }
    }

    #[test]
    fn widening_adds_filters_and_nothing_else(numbers in prop::collection::vec(0_usize..100, 1..60), layers in 1_usize..6, more in 1_usize..50) {
        let settings = SpaceSettings { layer_types: ALL.to_vec(), ..SpaceSettings::default() };
        let space = conv(&settings);
        let decisions = list(space.as_ref(), layers, &numbers);
        let narrow = built(space.as_ref(), layers, &decisions);
        let wide = built(conv(&SpaceSettings { widen: more, ..settings }).as_ref(), layers, &decisions);
        let widened = narrow.layers.into_iter().map(|layer| ConvLayer { operation: layer.operation.widened(more), ..layer }).collect();
        prop_assert_eq!(&wide, &super::network(widened));
        let filters = |layer: &ConvLayer| if let Operation::Convolution(conv) = layer.operation { conv.filters } else { usize::MAX };
        prop_assert!(wide.layers.iter().all(|layer| filters(layer) >= 24 + more));
    }
}

fn plain() -> Operation {
    Operation::PlainConvolution(Convolution {
        filter_height: 3,
        filter_width: 1,
        filters: 4,
        stride_height: 2,
        stride_width: 1,
    })
}

#[test]
fn a_sum_is_as_large_as_its_largest_input_and_a_sum_of_one_is_a_relu() {
    let layers = vec![
        layer((3, 3), 8, (2, 1), &[]),
        ConvLayer::new(plain(), &[1]),
        ConvLayer::new(Operation::Add, &[0, 1, 2]),
        ConvLayer::new(Operation::Add, &[3]),
    ];
    let network = network(layers);
    let shape = ImageShape {
        channels: 8,
        height: 32,
        width: 32,
    };
    assert_eq!(
        (network.input_shapes()[2], network.shapes()[2]),
        (shape, shape)
    );
    assert_eq!(network.layers[3].operation, Operation::Relu);
    // The second convolution has no scale and shift.
    let parameters = 3 * 9 * 8 + 2 * 8 + 8 * 3 * 4 + 9 * 10;
    assert_eq!(network.parameters(), parameters);
}

#[test]
fn sums_and_single_steps_can_be_sampled() {
    let types = [LayerType::PlainConv, LayerType::Relu, LayerType::Add];
    let space = conv(&SpaceSettings {
        layer_types: types.to_vec(),
        filter_height: vec![3],
        filter_width: vec![3],
        filters: vec![8, 16],
        ..SpaceSettings::default()
    });
    let none = |earlier| Decision::Skips(vec![0; earlier]);
    // A convolution, a ReLU, the sum of both, and a sum of nothing.
    let decisions = [
        choice(0),
        choice(1),
        none(0),
        choice(1),
        Decision::Skips(vec![1]),
        choice(2),
        Decision::Skips(vec![1, 1]),
        choice(2),
        none(3),
    ];
    let network = built(space.as_ref(), 4, &decisions);
    let operations = network
        .layers
        .iter()
        .map(|layer| layer.operation.to_string());
    let mut operations: Vec<String> = operations.collect();
    operations.sort();
    assert_eq!(operations, ["add", "plain 3×3·16", "relu", "relu"]);
    assert!((space.log10_size(1) - 4_f64.log10()).abs() < 1e-9);
}

#[test]
fn the_json_names_types_and_old_json_is_read() {
    let layers = vec![
        ConvLayer::new(Operation::MaxPool(Pool { size: 3, stride: 2 }), &[]),
        ConvLayer::new(Operation::AveragePool(Pool { size: 2, stride: 1 }), &[1]),
        ConvLayer::new(Operation::LocalContrast { window: 9 }, &[2]),
        ConvLayer::new(Operation::BatchNorm, &[3]),
        layer((3, 5), 8, (1, 2), &[4]),
        ConvLayer::new(plain(), &[5]),
        ConvLayer::new(Operation::Relu, &[6]),
        ConvLayer::new(Operation::Add, &[0, 7]),
    ];
    let network = network(layers);
    let text = serde_json::to_string(&network.layers).unwrap();
    assert_eq!(
        text,
        "[{\"type\":\"max_pool\",\"size\":3,\"stride\":2,\"inputs\":[0]},{\"type\":\"avg_pool\",\"size\":2,\"stride\":1,\"inputs\":[1]},\
         {\"type\":\"lcn\",\"window\":9,\"inputs\":[2]},{\"type\":\"batch_norm\",\"inputs\":[3]},\
         {\"filter_height\":3,\"filter_width\":5,\"filters\":8,\"stride_height\":1,\"stride_width\":2,\"inputs\":[4]},\
         {\"type\":\"plain_conv\",\"filter_height\":3,\"filter_width\":1,\"filters\":4,\"stride_height\":2,\"stride_width\":1,\"inputs\":[5]},\
         {\"type\":\"relu\",\"inputs\":[6]},{\"type\":\"add\",\"inputs\":[0,7]}]"
    );
    assert_eq!(
        serde_json::from_str::<Vec<ConvLayer>>(&text).unwrap(),
        network.layers
    );
    let read =
        |text: &str| serde_json::from_str::<ConvLayer>(text).map_err(|error| error.to_string());
    let full = "\"filter_height\":3,\"filter_width\":5,\"filters\":8,\"stride_height\":1,\"stride_width\":2,\"inputs\":[4]";
    assert_eq!(
        read(&format!("{{\"type\":\"conv\",{full}}}")).unwrap(),
        network.layers[4]
    );
    assert_eq!(
        read("{\"type\":\"max_pool\",\"size\":2,\"inputs\":[0]}").unwrap_err(),
        "a layer of type max_pool needs stride"
    );
    assert_eq!(
        read("{\"type\":\"lcn\",\"window\":9,\"size\":2,\"inputs\":[0]}").unwrap_err(),
        "a layer of type lcn has no size"
    );
    assert_eq!(
        read("{\"type\":\"plain_conv\",\"filters\":2,\"inputs\":[0]}").unwrap_err(),
        "a layer of type plain_conv needs filter_height"
    );
    assert_eq!(
        read("{\"type\":\"add\",\"filters\":2,\"inputs\":[0, 1]}").unwrap_err(),
        "a layer of type add has no filters"
    );
    assert!(
        read("{\"type\":\"pool\",\"inputs\":[0]}")
            .unwrap_err()
            .contains("max_pool")
    );
}

#[test]
fn impossible_layers_are_found() {
    let keys = |settings: SpaceSettings| {
        settings
            .problems()
            .into_iter()
            .map(|(key, _)| key)
            .collect::<Vec<_>>()
    };
    let default = SpaceSettings::default;
    assert_eq!(keys(typed()), Vec::<String>::new());
    assert_eq!(
        keys(SpaceSettings {
            block: 4,
            ..default()
        }),
        ["layers"]
    );
    assert_eq!(
        keys(SpaceSettings {
            block: 2,
            layers_step: 1,
            layers_max: Some(9),
            ..default()
        }),
        ["layers_step", "layers_max"]
    );
    assert_eq!(
        keys(SpaceSettings {
            pool_after: vec![6],
            ..default()
        }),
        ["pool_after"]
    );
    assert_eq!(
        keys(SpaceSettings {
            pool_after: vec![3, 3],
            ..default()
        }),
        ["pool_after"]
    );
    assert_eq!(
        keys(SpaceSettings {
            pool_after: vec![7],
            layers_step: 2,
            ..default()
        }),
        Vec::<String>::new()
    );
    let fixed = SpaceSettings {
        layer_types: vec![LayerType::BatchNorm],
        skip_connections: SkipConnections::None,
        ..default()
    };
    assert_eq!(keys(fixed), ["kind"]);
}

#[test]
fn a_survey_holds_the_extremes() {
    let settings = SpaceSettings {
        layers: 3,
        stride_height: vec![1, 2],
        ..SpaceSettings::default()
    };
    let found = survey(conv(&settings).as_ref(), 3).unwrap();
    let plain =
        |size, filters, stride, inputs: &[usize]| layer((size, size), filters, (stride, 1), inputs);
    let largest = network(vec![
        plain(7, 64, 1, &[]),
        plain(7, 64, 1, &[1]),
        plain(7, 64, 1, &[1, 2]),
    ]);
    let smallest = network(vec![
        plain(1, 24, 2, &[]),
        plain(1, 24, 2, &[]),
        plain(1, 24, 2, &[]),
    ]);
    assert_eq!(found.largest, (largest.parameters(), largest.flops()));
    assert_eq!(found.smallest, (smallest.parameters(), smallest.flops()));
    assert!(
        (found.smallest.0..found.largest.0).contains(&found.median.0) && found.drawn.len() == 200
    );
    let choices: SpaceSettings =
        toml::from_str("kind = \"choices\"\n[[decision]]\nname = \"a\"\noptions = [1, 2]\n")
            .unwrap();
    assert_eq!(survey(choices.build(IMAGE, 10).as_ref(), 0), None);
}

//! The spaces: which decision comes next, the paper's rules, sizes, the depth schedule, the JSON.

use super::*;
use proptest::prelude::*;

/// Any finished list of a space, from numbers that are taken modulo what can be chosen.
pub(super) fn list(space: &dyn Space, layers: usize, numbers: &[usize]) -> Vec<Decision> {
    let mut decisions = Vec::new();
    let mut numbers = numbers.iter().copied().cycle();
    loop {
        match space.next(layers, &decisions) {
            Next::Done => return decisions,
            Next::Choose { kind } => {
                decisions.push(Decision::Choice(
                    numbers.next().unwrap_or(0) % space.kinds()[kind].options.len(),
                ));
            }
            Next::Anchor { earlier } => {
                decisions.push(Decision::Skips(
                    (0..earlier)
                        .map(|_| (numbers.next().unwrap_or(0) % 2) as u8)
                        .collect(),
                ));
            }
        }
    }
}

/// Parameters and FLOPs by the definition, one pixel and one tap at a time.
fn counted(network: &ConvNetwork) -> (u64, u64) {
    let mut shapes = vec![network.image];
    let mut parameters = 0;
    let mut flops = 0;
    let joined = |adds: bool, inputs: &[usize], shapes: &[ImageShape]| {
        let of = |size: fn(&ImageShape) -> usize| {
            inputs
                .iter()
                .map(|input| size(&shapes[*input]))
                .collect::<Vec<_>>()
        };
        let (heights, widths) = (of(|shape| shape.height), of(|shape| shape.width));
        let channels = of(|shape| shape.channels).into_iter();
        (
            if adds {
                channels.max().unwrap()
            } else {
                channels.sum::<usize>()
            },
            heights.into_iter().max().unwrap(),
            widths.into_iter().max().unwrap(),
        )
    };
    for layer in &network.layers {
        let adds = layer.operation == Operation::Add;
        let (channels, height, width) = joined(adds, &layer.inputs, &shapes);
        let (filters, down, right) = match &layer.operation {
            Operation::Convolution(conv) | Operation::PlainConvolution(conv) => {
                (conv.filters, conv.stride_height, conv.stride_width)
            }
            Operation::MaxPool(pool) | Operation::AveragePool(pool) => {
                (channels, pool.stride, pool.stride)
            }
            _ => (channels, 1, 1),
        };
        let output = ImageShape {
            channels: filters,
            height: (0..height).step_by(down).count(),
            width: (0..width).step_by(right).count(),
        };
        match &layer.operation {
            Operation::Convolution(conv) | Operation::PlainConvolution(conv) => {
                let one_filter = channels * conv.filter_height * conv.filter_width;
                parameters += one_filter * filters;
                if let Operation::Convolution(_) = layer.operation {
                    parameters += filters + filters;
                }
                flops += 2 * one_filter * output.channels * output.height * output.width;
            }
            Operation::BatchNorm => parameters += channels + channels,
            _ => {}
        }
        shapes.push(output);
    }
    let (channels, ..) = joined(false, &network.output, &shapes);
    (
        (parameters + channels * network.classes + network.classes) as u64,
        (flops + 2 * channels * network.classes) as u64,
    )
}

proptest! {
    #![proptest_config(crate::random::cases(256))]

    #[test]
    fn every_list_builds_and_its_sizes_are_exact(numbers in prop::collection::vec(0_usize..100, 1..60), layers in 1_usize..7, skip in 0..3) {
        let skip_connections = [SkipConnections::None, SkipConnections::Predicted, SkipConnections::All][skip as usize];
        let settings =
            SpaceSettings { skip_connections, stride_height: vec![1, 2, 3], stride_width: vec![1, 3], ..SpaceSettings::default() };
        let space = conv(&settings);
        let decisions = list(space.as_ref(), layers, &numbers);
        let network = built(space.as_ref(), layers, &decisions);
        prop_assert_eq!(network.layers.len(), layers);
        prop_assert_eq!((network.parameters(), network.flops()), counted(&network));
        let skips = if skip == 1 { layers * (layers - 1) / 2 } else { 0 };
        prop_assert_eq!(space.describe(layers, &decisions).len(), 5 * layers + skips);
    }
}

proptest! {
    #![proptest_config(crate::random::cases(256))]

    #[test]
    fn sizes_are_exact_with_every_type_of_layer(numbers in prop::collection::vec(0_usize..100, 1..60), layers in 1_usize..7) {
        let types = ["conv", "max_pool", "avg_pool", "lcn", "batch_norm", "plain_conv", "relu", "add"];
        let layer_types = types.map(|name| serde_json::from_value(name.into()).unwrap()).to_vec();
        let space = conv(&SpaceSettings { layer_types, stride_height: vec![1, 2], ..SpaceSettings::default() });
        let network = built(space.as_ref(), layers, &list(space.as_ref(), layers, &numbers));
        prop_assert_eq!((network.parameters(), network.flops()), counted(&network));
        // A sum of one input is no sum.
        prop_assert!(network.layers.iter().all(|layer| layer.operation != Operation::Add || layer.inputs.len() > 1));
    }
}

#[test]
fn decisions_come_in_the_papers_order() {
    let settings = SpaceSettings {
        stride_height: vec![1, 2],
        stride_width: vec![1, 2],
        ..SpaceSettings::default()
    };
    let space = conv(&settings);
    let names: Vec<&str> = space
        .kinds()
        .iter()
        .map(|kind| kind.name.as_str())
        .collect();
    assert_eq!(
        names,
        [
            "filter_height",
            "filter_width",
            "stride_height",
            "stride_width",
            "filters"
        ]
    );
    let mut decisions = vec![Decision::Choice(0); 5];
    assert_eq!(space.next(2, &decisions), Next::Anchor { earlier: 0 });
    decisions.push(Decision::Skips(vec![]));
    decisions.extend(vec![Decision::Choice(1); 5]);
    assert_eq!(space.next(2, &decisions), Next::Anchor { earlier: 1 });
    decisions.push(Decision::Skips(vec![1]));
    assert_eq!(space.next(2, &decisions), Next::Done);
    let described = space.describe(2, &decisions);
    assert_eq!(described[5], ("layer 2 filter height".into(), "3".into()));
    assert_eq!(described[10], ("layer 2 skip 1".into(), "1".into()));
}

#[test]
fn the_rules_against_compilation_failures_hold() {
    let settings = SpaceSettings {
        filters: vec![8, 16],
        filter_height: vec![3],
        filter_width: vec![3],
        ..SpaceSettings::default()
    };
    let space = conv(&settings);
    let choice = Decision::Choice;
    // Layer 2 takes nobody: the image. Layer 3 takes layer 1. Layers 2 and 3 are loose ends: both
    // go to the classifier.
    let decisions = [
        choice(0),
        Decision::Skips(vec![]),
        choice(1),
        Decision::Skips(vec![0]),
        choice(0),
        Decision::Skips(vec![1, 0]),
    ];
    let network = built(space.as_ref(), 3, &decisions);
    let expected = super::network(vec![
        layer((3, 3), 8, (1, 1), &[0]),
        layer((3, 3), 16, (1, 1), &[0]),
        layer((3, 3), 8, (1, 1), &[1]),
    ]);
    assert_eq!(network, expected);
    assert_eq!(network.output.len(), 2);
    assert_eq!(network.output_shape().channels, 24);
}

#[test]
fn smaller_inputs_are_padded_to_the_largest() {
    let network = network(vec![
        layer((3, 3), 4, (2, 3), &[0]),
        layer((1, 1), 5, (1, 1), &[0]),
        layer((3, 3), 6, (2, 2), &[1, 2]),
    ]);
    let last = network
        .layers
        .iter()
        .position(|layer| layer.inputs == [1, 2])
        .unwrap();
    assert_eq!(
        network.input_shapes()[last],
        ImageShape {
            channels: 9,
            height: 32,
            width: 32
        }
    );
    assert_eq!(
        network.shapes()[last],
        ImageShape {
            channels: 6,
            height: 16,
            width: 16
        }
    );
}

#[test]
fn lists_that_do_not_fit_name_the_position() {
    let space = conv(&SpaceSettings {
        layers: 1,
        ..SpaceSettings::default()
    });
    let choice = Decision::Choice;
    let position = |list: &[Decision]| space.build(1, list).unwrap_err().position;
    assert_eq!(
        position(&[choice(0), choice(4), choice(0), Decision::Skips(vec![])]),
        2
    );
    assert_eq!(
        position(&[choice(0), choice(0), choice(0), Decision::Skips(vec![1])]),
        4
    );
    assert_eq!(position(&[choice(0), choice(0)]), 3);
}

#[test]
fn depth_follows_the_schedule() {
    let settings = SpaceSettings {
        layers: 6,
        layers_step: 2,
        layers_every: 1600,
        layers_max: Some(9),
        ..SpaceSettings::default()
    };
    let space = conv(&settings);
    assert_eq!(
        [0, 1599, 1600, 3199, 3200, 99_999].map(|sampled| space.layers(sampled)),
        [6, 6, 8, 8, 9, 9]
    );
}

#[test]
fn sizes_of_spaces_are_counted() {
    let space = conv(&SpaceSettings::default());
    // 64 choices a layer, 15 skips between 6 layers.
    assert!((space.log10_size(6) - (6.0 * 64_f64.log10() + 15.0 * 2_f64.log10())).abs() < 1e-9);
}

#[test]
fn the_json_is_stable() {
    let architecture = Architecture {
        version: 1,
        network: Network::Conv(network(vec![layer((3, 5), 8, (1, 2), &[])])),
    };
    assert_eq!(
        serde_json::to_string(&architecture).unwrap(),
        "{\"version\":1,\"kind\":\"conv\",\"image\":{\"channels\":3,\"height\":32,\"width\":32},\"classes\":10,\
         \"layers\":[{\"filter_height\":3,\"filter_width\":5,\"filters\":8,\"stride_height\":1,\"stride_width\":2,\"inputs\":[0]}],\
         \"output\":[1]}"
    );
}

fn choices() -> SpaceSettings {
    let text = "kind = \"choices\"\n[[decision]]\nname = \"op\"\noptions = [\"conv\", \"pool\"]\n[[decision]]\nname = \"fixed\"\noptions = [7]\n\
                [[decision]]\nname = \"rate\"\noptions = [0.1, 1, true]\n";
    toml::from_str(text).unwrap()
}

#[test]
fn a_users_space_keeps_the_types_of_its_options() {
    let space = choices().build(IMAGE, 10);
    let architecture = space
        .build(0, &[Decision::Choice(1), Decision::Choice(0)])
        .unwrap();
    assert_eq!(
        serde_json::to_string(&architecture).unwrap(),
        "{\"version\":1,\"kind\":\"choices\",\"values\":{\"fixed\":7,\"op\":\"pool\",\"rate\":0.1}}"
    );
    assert_eq!(
        space.kinds()[1].options,
        [
            OptionValue::Float(0.1),
            OptionValue::Integer(1),
            OptionValue::Boolean(true)
        ]
    );
    assert!((10_f64.powf(space.log10_size(0)) - 6.0).abs() < 1e-9);
    assert_eq!(
        space
            .build(0, &[Decision::Choice(0), Decision::Choice(3)])
            .unwrap_err()
            .position,
        2
    );
}

#[test]
fn what_is_impossible_is_found_and_what_is_fine_is_not() {
    assert_eq!(SpaceSettings::default().problems(), vec![]);
    assert_eq!(choices().problems(), vec![]);
    let keys = |settings: SpaceSettings| {
        settings
            .problems()
            .into_iter()
            .map(|(key, _)| key)
            .collect::<Vec<_>>()
    };
    let default = SpaceSettings::default;
    assert_eq!(
        keys(SpaceSettings {
            layers_max: Some(3),
            ..default()
        }),
        ["layers_max"]
    );
    assert_eq!(
        keys(SpaceSettings {
            decision: vec![],
            ..choices()
        }),
        ["decision"]
    );
    let mut twice = choices();
    twice.decision[1].name = "op".into();
    twice.decision[2].options.push(OptionValue::Float(f64::NAN));
    assert_eq!(keys(twice), ["decision[2].name", "decision[3].options"]);
}

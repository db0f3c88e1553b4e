//! Architectures from elsewhere: a space takes its own back unchanged, takes networks that it could
//! not describe, and says what is wrong with the others.

use super::*;
use serde_json::{Value, json};

fn cells(base: usize) -> Box<dyn Space> {
    SpaceSettings {
        kind: SpaceKind::Cell,
        base,
        ..SpaceSettings::default()
    }
    .build(IMAGE, 10)
}

fn choices() -> Box<dyn Space> {
    let text = "kind = 'choices'\n[[decision]]\nname = 'op'\noptions = ['conv', 'pool']\n[[decision]]\nname = 'kernel'\noptions = [1, 3]\n\
                when = { op = 'conv' }\n[[decision]]\nname = 'bias'\noptions = [true]\n";
    toml::from_str::<SpaceSettings>(text)
        .unwrap()
        .build(IMAGE, 10)
}

fn adopt(space: &dyn Space, json: &Value) -> Result<(Architecture, Vec<Decision>), String> {
    let given = serde_json::from_value(json.clone()).map_err(|error| error.to_string())?;
    space.adopt(given).map_err(|error| error.to_string())
}

/// The list that takes the last option, and every earlier layer, everywhere.
fn list(space: &dyn Space, layers: usize) -> Vec<Decision> {
    let mut list = Vec::new();
    loop {
        match space.next(layers, &list) {
            Next::Choose { kind } => {
                list.push(Decision::Choice(space.kinds()[kind].options.len() - 1));
            }
            Next::Anchor { earlier } => list.push(Decision::Skips(vec![1; earlier])),
            Next::Done => return list,
        }
    }
}

#[test]
fn what_a_space_builds_it_adopts_unchanged() {
    for (space, described) in [
        (conv(&SpaceSettings::default()), false),
        (cells(4), false),
        (choices(), true),
    ] {
        let list = list(space.as_ref(), 3);
        let built = space.build(3, &list).unwrap();
        let (adopted, decisions) = space.adopt(built.clone()).unwrap();
        assert_eq!(adopted, built);
        assert_eq!(decisions, if described { list } else { Vec::new() });
    }
}

fn layer_json(inputs: &[usize], more: &Value) -> Value {
    let mut layer = json!({ "filter_height": 3, "filter_width": 3, "filters": 8, "stride_height": 1, "stride_width": 1, "inputs": inputs });
    for (name, value) in more.as_object().unwrap() {
        layer[name] = value.clone();
    }
    layer
}

fn network_json(layers: &[Value], output: &[usize]) -> Value {
    let image = json!({ "channels": 3, "height": 32, "width": 32 });
    json!({ "version": 1, "kind": "conv", "image": image, "classes": 10, "layers": layers, "output": output })
}

#[test]
fn a_network_need_not_be_one_of_the_space_and_becomes_canonical() {
    // 4 filters, a pooling and strides are none of the space's; the two layers on the image stand
    // in another order than ours.
    let plain = |inputs: &[usize]| layer_json(inputs, &json!({ "filters": 4, "stride_width": 2 }));
    let pool = json!({ "type": "max_pool", "size": 2, "stride": 2, "inputs": [2, 1] });
    let space = conv(&SpaceSettings::default());
    let one = adopt(
        space.as_ref(),
        &network_json(
            &[layer_json(&[0], &json!({})), plain(&[]), pool.clone()],
            &[3],
        ),
    )
    .unwrap();
    let other = adopt(
        space.as_ref(),
        &network_json(&[plain(&[0]), layer_json(&[0], &json!({})), pool], &[3]),
    )
    .unwrap();
    assert_eq!(one, other);
    let cell = adopt(
        cells(8).as_ref(),
        &json!({ "version": 1, "kind": "cell", "reference": "lstm" }),
    )
    .unwrap();
    assert!(matches!(
        cell.0.network,
        Network::Cell(CellNetwork {
            cell: Cell::Reference { .. },
            ..
        })
    ));
}

#[test]
fn a_shortcut_may_leave_out_pixels() {
    let pool = json!({ "type": "max_pool", "size": 1, "stride": 2, "inputs": [0] });
    let space = conv(&SpaceSettings::default());
    assert!(adopt(space.as_ref(), &network_json(&[pool], &[1])).is_ok());
}

#[test]
fn what_does_not_fit_is_named() {
    let (conv_space, one) = (conv(&SpaceSettings::default()), |more: Value| {
        network_json(&[layer_json(&[0], &more)], &[1])
    });
    let with = |name: &str, value: Value| {
        let mut network = one(json!({}));
        network[name] = value;
        network
    };
    let small = with("image", json!({ "channels": 3, "height": 28, "width": 32 }));
    let two = |inputs: &[usize], output: &[usize]| {
        network_json(
            &[layer_json(&[0], &json!({})), layer_json(inputs, &json!({}))],
            output,
        )
    };
    let pool = json!({ "type": "avg_pool", "size": 1, "stride": 1, "inputs": [0] });
    let sum = json!({ "type": "add", "inputs": [0] });
    for (network, problem) in [
        (
            small,
            "image: it is for images of 3 × 28 × 32 (channels × height × width), and those of this search have 3 × 32 × 32",
        ),
        (
            with("classes", json!(7)),
            "classes: it tells 7 classes apart, and this search has 10",
        ),
        (
            with("layers", json!([])),
            "layers: it has 0; a network has 1 to 1000",
        ),
        (
            one(json!({ "filter_height": 4 })),
            "layer 1: filter_height = 4: must be odd, 1 to 31",
        ),
        (
            one(json!({ "stride_width": 0 })),
            "layer 1: stride_width = 0: must be 1 to 8",
        ),
        (
            network_json(&[pool], &[1]),
            "layer 1: size = 1: must be 2 to 31",
        ),
        (
            network_json(&[sum], &[1]),
            "layer 1: inputs = [0]: a layer of type add needs two or more",
        ),
        (
            two(&[2], &[1]),
            "layer 2: inputs = [2]: must be different earlier layers, 0 for the image",
        ),
        (
            two(&[0, 0], &[1]),
            "layer 2: inputs = [0, 0]: must be different earlier layers, 0 for the image",
        ),
        (
            two(&[0], &[2]),
            "output = [2]: must be [1, 2], the layers that no other takes: all of them go to the classifier",
        ),
        (
            with("learning_rate", json!(-1.0)),
            "learning_rate: must be above 0, for example 0.1",
        ),
        (
            json!({ "version": 1, "kind": "choices", "values": {} }),
            "it is of kind \"choices\", and space.kind is \"conv\"",
        ),
    ] {
        assert_eq!(adopt(conv_space.as_ref(), &network).unwrap_err(), problem);
    }
    let rates = conv(&SpaceSettings {
        learning_rates: vec![0.1, 0.2],
        ..SpaceSettings::default()
    });
    assert!(
        adopt(rates.as_ref(), &one(json!({})))
            .unwrap_err()
            .starts_with("learning_rate: must be there")
    );
    for (values, problem) in [
        (
            json!({ "op": "pool", "bias": true, "kernle": 3 }),
            "values.kernle: there is no such decision; there are op, kernel, bias",
        ),
        (
            json!({ "op": "pool", "bias": true, "kernel": 3 }),
            "values.kernel: must not be there, for its condition (when) does not hold",
        ),
        (
            json!({ "op": "conv", "bias": true }),
            "values.kernel: must be there, one of 1, 3",
        ),
        (
            json!({ "op": "conv", "bias": true, "kernel": 5 }),
            "values.kernel = 5: must be one of 1, 3",
        ),
    ] {
        assert_eq!(
            adopt(
                choices().as_ref(),
                &json!({ "version": 1, "kind": "choices", "values": values })
            )
            .unwrap_err(),
            problem
        );
    }
}

//! Turns an Architecture into the specification that the engines build. Must not know how they
//! compute.

use crate::kernels::{BATCH_NORM_EPSILON, LayerSpec, NetworkSpec, OperationSpec};
use crate::space::{ConvNetwork, Operation};

/// The network to build, with the usual epsilon of batch normalisation: a training recipe may have
/// another one.
///
/// # Errors
/// One sentence: why no network can be built from it. A space's own architectures never fail here;
/// a hand-written one may.
pub fn network_spec(network: &ConvNetwork) -> Result<NetworkSpec, String> {
    let image = network.image;
    if image.channels == 0 || image.height == 0 || image.width == 0 {
        return Err(format!(
            "the image is empty: {}×{}×{}",
            image.channels, image.height, image.width
        ));
    }
    if !(2..=256).contains(&network.classes) {
        return Err(format!(
            "{} classes: 2 to 256 are possible",
            network.classes
        ));
    }
    if network.layers.is_empty() {
        return Err("it has no layers".into());
    }
    for (index, layer) in network.layers.iter().enumerate() {
        let number = index + 1;
        if let Some(problem) = impossible(&layer.operation) {
            return Err(format!("layer {number} has {problem}"));
        }
        if !ascending(&layer.inputs, 0..number) {
            return Err(format!(
                "layer {number} takes {:?}: inputs ascend, from 0 (the image) to {index}",
                layer.inputs
            ));
        }
    }
    if !ascending(&network.output, 1..network.layers.len() + 1) {
        return Err(format!(
            "the classifier takes {:?}: layers ascend, from 1 to {}",
            network.output,
            network.layers.len()
        ));
    }
    let layers = network.layers.iter().map(|layer| LayerSpec {
        operation: operation(&layer.operation),
        inputs: layer.inputs.clone(),
    });
    Ok(NetworkSpec {
        channels: image.channels,
        height: image.height,
        width: image.width,
        classes: network.classes,
        batch_norm_epsilon: BATCH_NORM_EPSILON,
        layers: layers.collect(),
        output: network.output.clone(),
    })
}

/// Sizes that no layer can have.
fn impossible(operation: &Operation) -> Option<&'static str> {
    match operation {
        Operation::Convolution(conv) | Operation::PlainConvolution(conv) => {
            let sizes = [
                conv.filter_height,
                conv.filter_width,
                conv.filters,
                conv.stride_height,
                conv.stride_width,
            ];
            sizes
                .contains(&0)
                .then_some("a filter size, filter count or stride of 0")
        }
        Operation::MaxPool(pool) | Operation::AveragePool(pool) => [pool.size, pool.stride]
            .contains(&0)
            .then_some("a window or stride of 0"),
        Operation::LocalContrast { window } => (*window == 0).then_some("a window of 0"),
        Operation::BatchNorm | Operation::Relu | Operation::Add => None,
    }
}

fn operation(operation: &Operation) -> OperationSpec {
    match *operation {
        Operation::Convolution(conv) => OperationSpec::Convolution {
            filter_height: conv.filter_height,
            filter_width: conv.filter_width,
            filters: conv.filters,
            stride_height: conv.stride_height,
            stride_width: conv.stride_width,
        },
        Operation::MaxPool(pool) => OperationSpec::MaxPooling {
            size: pool.size,
            stride: pool.stride,
        },
        Operation::AveragePool(pool) => OperationSpec::AveragePooling {
            size: pool.size,
            stride: pool.stride,
        },
        Operation::LocalContrast { window } => OperationSpec::LocalContrast { window },
        Operation::BatchNorm => OperationSpec::BatchNorm,
        Operation::PlainConvolution(conv) => OperationSpec::PlainConvolution {
            filter_height: conv.filter_height,
            filter_width: conv.filter_width,
            filters: conv.filters,
            stride_height: conv.stride_height,
            stride_width: conv.stride_width,
        },
        Operation::Relu => OperationSpec::Relu,
        Operation::Add => OperationSpec::Add,
    }
}

/// At least one number, each larger than the one before, all in `range`.
fn ascending(numbers: &[usize], range: std::ops::Range<usize>) -> bool {
    !numbers.is_empty()
        && numbers.is_sorted_by(|a, b| a < b)
        && numbers.iter().all(|number| range.contains(number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::{ConvLayer, Convolution, ImageShape, Pool};

    fn layer(inputs: &[usize]) -> ConvLayer {
        ConvLayer::new(
            Convolution {
                filter_height: 3,
                filter_width: 1,
                filters: 4,
                stride_height: 1,
                stride_width: 2,
            },
            inputs,
        )
    }

    fn network() -> ConvNetwork {
        let image = ImageShape {
            channels: 3,
            height: 8,
            width: 9,
        };
        ConvNetwork {
            image,
            classes: 10,
            learning_rate: None,
            layers: vec![layer(&[0]), layer(&[0, 1])],
            output: vec![2],
        }
    }

    #[test]
    fn carries_every_number_over() {
        let spec = network_spec(&network()).unwrap();
        assert_eq!(
            (spec.channels, spec.height, spec.width, spec.classes),
            (3, 8, 9, 10)
        );
        let layer = &spec.layers[1];
        let same = OperationSpec::Convolution {
            filter_height: 3,
            filter_width: 1,
            filters: 4,
            stride_height: 1,
            stride_width: 2,
        };
        assert_eq!(layer.operation, same);
        assert_eq!(
            (layer.inputs.as_slice(), spec.output.as_slice()),
            ([0, 1].as_slice(), [2].as_slice())
        );
    }

    #[test]
    fn refuses_what_cannot_be_built() {
        type Damage = fn(&mut ConvNetwork);
        fn conv(layer: &mut ConvLayer) -> &mut Convolution {
            let Operation::Convolution(conv) = &mut layer.operation else {
                panic!("no convolution")
            };
            conv
        }
        let cases: [(Damage, &str); 11] = [
            (|n| n.image.width = 0, "image"),
            (|n| n.classes = 1, "classes"),
            (|n| n.layers.clear(), "no layers"),
            (|n| conv(&mut n.layers[0]).filters = 0, "layer 1"),
            (|n| conv(&mut n.layers[1]).stride_height = 0, "layer 2"),
            (
                |n| n.layers[0].operation = Operation::MaxPool(Pool { size: 2, stride: 0 }),
                "layer 1",
            ),
            (
                |n| n.layers[1].operation = Operation::LocalContrast { window: 0 },
                "layer 2",
            ),
            (|n| n.layers[1].inputs = vec![2], "layer 2"),
            (|n| n.layers[1].inputs = vec![1, 1], "layer 2"),
            (|n| n.layers[0].inputs.clear(), "layer 1"),
            (|n| n.output = vec![0, 2], "classifier"),
        ];
        for (damage, word) in cases {
            let mut damaged = network();
            damage(&mut damaged);
            let error = network_spec(&damaged).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
    }
}

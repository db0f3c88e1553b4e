//! Architectures that no list of decisions described: whether a convolutional one is a network at
//! all, and one for these images. Must not know where it was written.

use super::settings::{MAX_FILTER_SIZE, MAX_FILTERS, MAX_LAYERS, MAX_STRIDE};
use super::{ConvLayer, ConvNetwork, Convolution, ImageShape, Network, Operation, Pool};

/// Why a network of another kind than this is refused.
pub(super) fn other_kind(given: &Network, searched: &str) -> String {
    format!(
        "it is of kind \"{}\", and space.kind is \"{searched}\"",
        given.kind()
    )
}

/// The network in canonical order. Any layers that can be trained will do, whether or not the space
/// could describe them.
///
/// # Errors
/// One sentence: what is wrong, and what would be right.
pub(super) fn conv(
    given: ConvNetwork,
    image: ImageShape,
    classes: usize,
) -> Result<ConvNetwork, String> {
    let text =
        |shape: ImageShape| format!("{} × {} × {}", shape.channels, shape.height, shape.width);
    if given.image != image {
        let own = text(given.image);
        let wanted = text(image);
        return Err(format!(
            "image: it is for images of {own} (channels × height × width), and those of this search have {wanted}"
        ));
    }
    if given.classes != classes {
        return Err(format!(
            "classes: it tells {} classes apart, and this search has {classes}",
            given.classes
        ));
    }
    if !(1..=MAX_LAYERS).contains(&given.layers.len()) {
        return Err(format!(
            "layers: it has {}; a network has 1 to {MAX_LAYERS}",
            given.layers.len()
        ));
    }
    for (number, layer) in (1..).zip(&given.layers) {
        check(number, layer).map_err(|problem| format!("layer {number}: {problem}"))?;
    }
    let taken = |layer: &usize| {
        given
            .layers
            .iter()
            .any(|other| other.inputs.contains(layer))
    };
    let loose: Vec<usize> = (1..=given.layers.len())
        .filter(|layer| !taken(layer))
        .collect();
    let mut output = given.output;
    output.sort_unstable();
    if output != loose {
        return Err(format!(
            "output = {output:?}: must be {loose:?}, the layers that no other takes: all of them go to the classifier"
        ));
    }
    if given
        .learning_rate
        .is_some_and(|rate| !rate.is_finite() || rate <= 0.0)
    {
        return Err("learning_rate: must be above 0, for example 0.1".into());
    }
    Ok(ConvNetwork {
        learning_rate: given.learning_rate,
        ..ConvNetwork::new(image, classes, given.layers)
    })
}

/// Layer `number`, from 1, by itself.
fn check(number: usize, layer: &ConvLayer) -> Result<(), String> {
    let earlier = layer.inputs.iter().all(|&input| input < number);
    let different = layer
        .inputs
        .iter()
        .enumerate()
        .all(|(place, input)| !layer.inputs[..place].contains(input));
    if !earlier || !different {
        return Err(format!(
            "inputs = {:?}: must be different earlier layers, 0 for the image",
            layer.inputs
        ));
    }
    let odd = |name: &str, size: usize, least: usize| {
        if (least..=MAX_FILTER_SIZE).contains(&size) && size % 2 == 1 {
            Ok(())
        } else {
            Err(format!(
                "{name} = {size}: must be odd, {least} to {MAX_FILTER_SIZE}"
            ))
        }
    };
    let within = |name: &str, size: usize, least: usize, most: usize| {
        if (least..=most).contains(&size) {
            Ok(())
        } else {
            Err(format!("{name} = {size}: must be {least} to {most}"))
        }
    };
    match layer.operation {
        Operation::Convolution(Convolution {
            filter_height,
            filter_width,
            filters,
            stride_height,
            stride_width,
        }) => {
            odd("filter_height", filter_height, 1)?;
            odd("filter_width", filter_width, 1)?;
            within("filters", filters, 1, MAX_FILTERS)?;
            within("stride_height", stride_height, 1, MAX_STRIDE)?;
            within("stride_width", stride_width, 1, MAX_STRIDE)
        }
        Operation::MaxPool(Pool { size, stride })
        | Operation::AveragePool(Pool { size, stride }) => {
            within("size", size, 2, MAX_FILTER_SIZE)?;
            within("stride", stride, 1, MAX_STRIDE)
        }
        Operation::LocalContrast { window } => odd("window", window, 3),
        Operation::BatchNorm => Ok(()),
    }
}

//! An architecture as a drawing (SVG) and as text. Pure; must not know of runs.

use crate::space::{Architecture, ConvNetwork, ImageShape, Network, Operation};
use std::fmt::Write as _;

/// Sizes of the drawing, in SVG units.
const BOX: (usize, usize) = (250, 34);
const STEP: usize = 62;
const TOP: usize = 16;
/// How far a skip connection bows to the right for each layer that it passes, and at most.
const SKIP_BOW: usize = 18;
const MAX_SKIP_BOW: usize = 170;

/// Draws the network as a column of boxes through which data flows down. Connections to the next
/// box are straight, skip connections bow to the right.
pub fn svg(network: &ConvNetwork) -> String {
    let layers = network.layers.len();
    let width = BOX.0 + MAX_SKIP_BOW + 40;
    let height = TOP * 2 + (layers + 1) * STEP + BOX.1;
    let mut svg = String::new();
    // Writing to a String cannot fail, here and below.
    let _ = writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" role=\"img\" \
         aria-label=\"network of {}\">\n<style>\n\
         text {{ font: 13px system-ui, sans-serif; fill: #1b1f24; text-anchor: middle }}\n\
         text.small {{ font-size: 11px; fill: #59636e }}\n\
         rect {{ fill: #eef3fb; stroke: #4c78b8 }} rect.end {{ fill: #f3f3f3; stroke: #8a8a8a }}\n\
         path {{ fill: none; stroke: #4c78b8; stroke-width: 1.4 }} path.skip {{ stroke: #c2703d }} marker path {{ fill: #59636e; stroke: none }}\n\
         @media (prefers-color-scheme: dark) {{ text {{ fill: #e6edf3 }} text.small {{ fill: #9198a1 }} rect {{ fill: #1c2a3f }} \
         rect.end {{ fill: #2a2a2a }} }}\n</style>\n\
         <defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" orient=\"auto\">\
         <path d=\"M0 0 L8 4 L0 8 z\"/></marker></defs>",
        super::leaderboard::depth(network)
    );
    for (index, layer) in network.layers.iter().enumerate() {
        layer
            .inputs
            .iter()
            .for_each(|&input| edge(&mut svg, input, index + 1));
    }
    network
        .output
        .iter()
        .for_each(|&input| edge(&mut svg, input, layers + 1));
    let image = network.image;
    node(&mut svg, 0, "end", "image", &shape_text(image));
    for (index, (layer, shape)) in network.layers.iter().zip(network.shapes()).enumerate() {
        let title = format!("{}: {}", index + 1, operation_text(&layer.operation));
        node(&mut svg, index + 1, "layer", &title, &shape_text(shape));
    }
    let pooled = network.output_shape();
    node(
        &mut svg,
        layers + 1,
        "end",
        &format!("pool, classify: {} classes", network.classes),
        &shape_text(pooled),
    );
    svg.push_str("</svg>\n");
    svg
}

/// An operation in words.
fn operation_text(operation: &Operation) -> String {
    let stride = |height: usize, width: usize| {
        if (height, width) == (1, 1) {
            String::new()
        } else {
            format!(", stride {height}×{width}")
        }
    };
    match operation {
        Operation::Convolution(conv) | Operation::PlainConvolution(conv) => {
            let stride = stride(conv.stride_height, conv.stride_width);
            let plain = match operation {
                Operation::PlainConvolution(_) => ", plain",
                _ => "",
            };
            format!(
                "{}×{}, {} filters{stride}{plain}",
                conv.filter_height, conv.filter_width, conv.filters
            )
        }
        Operation::MaxPool(pool) => format!(
            "max pool {0}×{0}{1}",
            pool.size,
            stride(pool.stride, pool.stride)
        ),
        Operation::AveragePool(pool) => format!(
            "average pool {0}×{0}{1}",
            pool.size,
            stride(pool.stride, pool.stride)
        ),
        Operation::LocalContrast { window } => format!("local contrast {window}×{window}"),
        Operation::BatchNorm => "batch norm".into(),
        Operation::Relu => "ReLU".into(),
        Operation::Add => "add, ReLU".into(),
    }
}

/// A shape as `channels×height×width`.
fn shape_text(shape: ImageShape) -> String {
    format!("{}×{}×{}", shape.channels, shape.height, shape.width)
}

/// Appends the box of a layer in row `row`.
fn node(svg: &mut String, row: usize, class: &str, title: &str, shape: &str) {
    let x = 20;
    let y = TOP + row * STEP;
    let _ = writeln!(
        svg,
        "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{}\" height=\"{}\" rx=\"6\"/>\
         <text x=\"{middle}\" y=\"{}\">{title}</text><text class=\"small\" x=\"{middle}\" y=\"{}\">{shape}</text>",
        BOX.0,
        BOX.1,
        y + 15,
        y + 29,
        middle = x + BOX.0 / 2
    );
}

/// Appends the connection between two rows.
fn edge(svg: &mut String, from: usize, to: usize) {
    let x = 20 + BOX.0 / 2;
    let start = TOP + from * STEP + BOX.1;
    let end = TOP + to * STEP;
    let _ = if to == from + 1 {
        writeln!(
            svg,
            "<path d=\"M{x} {start} L{x} {end}\" marker-end=\"url(#tip)\"/>"
        )
    } else {
        let side = 20 + BOX.0;
        let bow = side + (SKIP_BOW * (to - from)).min(MAX_SKIP_BOW);
        let start = start - BOX.1 / 2 + 6;
        let end = end + BOX.1 / 2 - 6;
        writeln!(
            svg,
            "<path class=\"skip\" d=\"M{side} {start} C{bow} {start} {bow} {end} {side} {end}\" marker-end=\"url(#tip)\"/>"
        )
    };
}

/// The architecture as text: a table of layers with output shapes, parameters and inputs, the
/// equations of a cell, or the values of the user's decisions.
pub fn text(architecture: &Architecture) -> String {
    match &architecture.network {
        Network::Conv(network) => conv_text(network),
        Network::Cell(network) => super::cell::text(network),
        Network::Choices(choices) => choices
            .values
            .iter()
            .map(|(name, value)| format!("{name} = {value}\n"))
            .collect(),
    }
}

fn conv_text(network: &ConvNetwork) -> String {
    let mut text = String::new();
    if let Some(rate) = network.learning_rate {
        let _ = writeln!(text, "learning rate {rate}");
    }
    // The longest operation keeps a space before the output.
    let operations = network
        .layers
        .iter()
        .map(|layer| operation_text(&layer.operation).chars().count() + 1);
    let width = operations.max().unwrap_or(0).max(27);
    let _ = writeln!(
        text,
        "{:>5}  {:<width$}{:<14}{:>11}  inputs",
        "layer", "operation", "output", "parameters"
    );
    let layers = network
        .layers
        .iter()
        .zip(network.input_shapes())
        .zip(network.shapes());
    for (index, ((layer, input), output)) in layers.enumerate() {
        let operation = operation_text(&layer.operation);
        let parameters = layer.operation.parameters(input);
        let name = |input: &usize| {
            if *input == 0 {
                "image".to_owned()
            } else {
                input.to_string()
            }
        };
        let inputs: Vec<String> = layer.inputs.iter().map(name).collect();
        let _ = writeln!(
            text,
            "{:>5}  {operation:<width$}{:<14}{parameters:>11}  {}",
            index + 1,
            shape_text(output),
            inputs.join(", ")
        );
    }
    let pooled = network.output_shape();
    let parameters = (pooled.channels + 1) * network.classes;
    let outputs: Vec<String> = network.output.iter().map(ToString::to_string).collect();
    let _ = writeln!(
        text,
        "{:>5}  {:<width$}{:<14}{parameters:>11}  {}",
        "end",
        "pool and classify",
        network.classes,
        outputs.join(", ")
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::{ConvLayer, Convolution, Pool};

    fn network() -> ConvNetwork {
        let sizes = Convolution {
            filter_height: 3,
            filter_width: 5,
            filters: 8,
            stride_height: 2,
            stride_width: 1,
        };
        let layer = |inputs: &[usize]| ConvLayer::new(sizes, inputs);
        let image = ImageShape {
            channels: 3,
            height: 32,
            width: 32,
        };
        let pool = ConvLayer::new(Operation::MaxPool(Pool { size: 3, stride: 2 }), &[1, 2]);
        ConvNetwork::new(
            image,
            10,
            vec![
                layer(&[]),
                layer(&[1]),
                pool,
                ConvLayer::new(Operation::BatchNorm, &[3]),
            ],
        )
    }

    #[test]
    fn a_drawing_has_every_layer_and_every_connection() {
        let svg = svg(&network());
        assert_eq!(svg.matches("<rect").count(), 4 + 2);
        assert_eq!(svg.matches("marker-end").count(), 6);
        assert_eq!(svg.matches("class=\"skip\"").count(), 1);
        assert!(
            svg.contains("3: max pool 3×3, stride 2×2") && svg.contains("4: batch norm"),
            "{svg}"
        );
    }

    #[test]
    fn a_long_operation_is_apart_from_its_output() {
        let sizes = Convolution {
            filter_height: 7,
            filter_width: 7,
            filters: 216,
            stride_height: 2,
            stride_width: 2,
        };
        let mut network = network();
        network.layers[0] = ConvLayer::new(sizes, &[]);
        let text = text(&Architecture {
            version: 1,
            network: Network::Conv(network),
        });
        assert!(text.contains("7×7, 216 filters, stride 2×2 216×"), "{text}");
    }

    #[test]
    fn the_text_adds_up_to_the_networks_parameters() {
        let network = network();
        let architecture = Architecture {
            version: 1,
            network: Network::Conv(network.clone()),
        };
        let column = |line: &str| {
            line.chars()
                .skip(48)
                .take(11)
                .collect::<String>()
                .trim()
                .parse::<u64>()
                .ok()
        };
        let sum: u64 = text(&architecture).lines().filter_map(column).sum();
        assert_eq!(sum, network.parameters());
    }
}

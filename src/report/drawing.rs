//! A convolutional network as a drawing (SVG), in the manner of the paper's figure 7, and any
//! architecture as text. Pure; must not know of runs.

use super::svg::{Anchor, Direction, Drawing, SMALL, TEXT, text_width};
use crate::space::{Architecture, ConvNetwork, ImageShape, Network, Operation};
use std::fmt::Write as _;

/// Heights of a box and of a row, in SVG units.
const BOX: f64 = 28.0;
const ROW: f64 = 46.0;

/// Where the operation begins in a box, after the layer's number; the room around the texts.
const INDENT: f64 = 34.0;
const PADDING: f64 = 12.0;
const SMALLEST_BOX: f64 = 260.0;

/// How far a skip connection bows for each row that it passes, and how far the longest may: with
/// both sides in use, the drawing is less than 1,200 pixels wide.
const BOW: f64 = 16.0;
const MAX_BOW: f64 = 400.0;

/// Colours of skip connections that the style has; layers take turns.
const COLOURS: usize = 6;

/// From so many skip connections on, their sides are not chosen by crossings: nobody can follow
/// them all, and comparing each with each would take long.
const MANY_SKIPS: usize = 2_000;

/// A box of the drawing.
struct Row {
    class: &'static str,
    /// The layer, from 1; None of what is no layer.
    number: Option<usize>,
    title: String,
    output: String,
    /// The rows whose outputs it takes.
    inputs: Vec<usize>,
}

/// A connection between rows that are no neighbours.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Skip {
    from: usize,
    to: usize,
}

impl Skip {
    fn span(self) -> usize {
        self.to - self.from
    }

    /// Whether two on the same side cross: one begins inside of the other and ends outside.
    fn crosses(self, other: Self) -> bool {
        let ends_outside = |a: Self, b: Self| a.from < b.from && b.from < a.to && a.to < b.to;
        ends_outside(self, other) || ends_outside(other, self)
    }
}

/// Draws the network as a column of boxes through which data flows down, each with its operation
/// and the shape of its output. Connections to the next box are straight, each skip connection is
/// one arc in its source's colour. Outputs that no layer takes meet in one concatenation before the
/// classifier.
pub fn svg(network: &ConvNetwork) -> String {
    let rows = rows(network);
    let width = box_width(&rows);
    let loose = concatenation(network);
    let mut drawing = Drawing::new();
    draw_skips(&mut drawing, &rows, width, loose);
    for (index, row) in rows.iter().enumerate() {
        if index > 0 && row.inputs.contains(&(index - 1)) {
            let (from, to) = (top(index - 1) + BOX, top(index));
            drawing.line("next", (width / 2.0, from), (width / 2.0, to - 5.0));
            drawing.tip("tip", (width / 2.0, to), Direction::Down);
        }
        draw_box(&mut drawing, row, top(index), width);
    }
    drawing.finish(&format!(
        "network of {}",
        super::leaderboard::depth(network)
    ))
}

fn top(row: usize) -> f64 {
    row as f64 * ROW
}

/// The row of the concatenation before the classifier; None: a single output is loose.
fn concatenation(network: &ConvNetwork) -> Option<usize> {
    (network.output.len() > 1).then_some(network.layers.len() + 1)
}

/// The boxes from the image to the classifier; layer i is row i.
fn rows(network: &ConvNetwork) -> Vec<Row> {
    let end = |title: &str, output: String, inputs: Vec<usize>| Row {
        class: "end",
        number: None,
        title: title.into(),
        output,
        inputs,
    };
    let mut rows = vec![end("image", shape_text(network.image), Vec::new())];
    for (layer, shape) in network.layers.iter().zip(network.shapes()) {
        rows.push(Row {
            class: operation_class(&layer.operation),
            number: Some(rows.len()),
            title: operation_text(&layer.operation),
            output: shape_text(shape),
            inputs: layer.inputs.clone(),
        });
    }
    let mut last = network.output.clone();
    if let Some(row) = concatenation(network) {
        rows.push(Row {
            class: "join",
            ..end(
                "concatenate",
                shape_text(network.output_shape()),
                std::mem::replace(&mut last, vec![row]),
            )
        });
    }
    let classes = format!("{} classes", network.classes);
    rows.push(end("average over pixels, softmax", classes, last));
    rows
}

/// The colour of an operation's box.
fn operation_class(operation: &Operation) -> &'static str {
    match operation {
        Operation::Convolution(_) | Operation::PlainConvolution(_) => "conv",
        Operation::MaxPool(_) | Operation::AveragePool(_) => "pool",
        Operation::LocalContrast { .. } | Operation::BatchNorm | Operation::Relu => "norm",
        Operation::Add => "join",
    }
}

/// So wide that operation and output stand side by side in every box.
fn box_width(rows: &[Row]) -> f64 {
    let widest = |texts: &mut dyn Iterator<Item = f64>| texts.fold(0.0, f64::max);
    let titles = widest(&mut rows.iter().map(|row| text_width(&row.title, TEXT)));
    let outputs = widest(&mut rows.iter().map(|row| text_width(&row.output, SMALL)));
    (INDENT + titles + 2.0 * PADDING + outputs)
        .max(SMALLEST_BOX)
        .ceil()
}

fn draw_box(drawing: &mut Drawing, row: &Row, top: f64, width: f64) {
    let inputs = match row.inputs.as_slice() {
        [] | [_] => String::new(),
        inputs => format!("takes {}", names(inputs).join(", ")),
    };
    drawing.rect(row.class, (0.0, top), (width, BOX), 5.0, &inputs);
    let baseline = top + BOX / 2.0 + 4.5;
    let end = (INDENT - 8.0, baseline);
    if let Some(number) = row.number {
        drawing.text("small", SMALL, Anchor::End, end, &number.to_string());
    }
    let start = (INDENT, baseline);
    drawing.text("label", TEXT, Anchor::Start, start, &row.title);
    let end = (width - PADDING, baseline);
    drawing.text("small", SMALL, Anchor::End, end, &row.output);
}

/// Draws the connections between rows that are no neighbours. They leave a box at its lower half
/// and enter one at its upper half.
fn draw_skips(drawing: &mut Drawing, rows: &[Row], width: f64, loose: Option<usize>) {
    let skips: Vec<Skip> = (0..)
        .zip(rows)
        .flat_map(|(to, row)| row.inputs.iter().map(move |&from| Skip { from, to }))
        .filter(|skip| skip.span() > 1)
        .collect();
    let longest = skips.iter().map(|skip| skip.span()).max().unwrap_or(1);
    let bow = BOW.min(MAX_BOW / longest as f64);
    for (skip, is_right) in skips.iter().zip(on_the_right(&skips)) {
        let (edge, outwards, direction) = if is_right {
            (width, 1.0, Direction::Left)
        } else {
            (0.0, -1.0, Direction::Right)
        };
        let class = if loose == Some(skip.to) {
            "arc loose".into()
        } else {
            format!("arc from-{}", skip.from % COLOURS)
        };
        let title = format!("{} → {}", name(skip.from), rows[skip.to].name());
        let middle = |row: usize| top(row) + BOX / 2.0;
        let end = (edge, middle(skip.to) - 6.0);
        drawing.arc(
            &class,
            (edge, middle(skip.from) + 6.0),
            (end.0 + outwards * 5.0, end.1),
            outwards * bow * skip.span() as f64,
            &title,
        );
        drawing.tip("tip", end, direction);
    }
}

/// On which side each skip connection bows: the short ones first, each where it crosses fewer of
/// those before it; to the right if that is no matter.
fn on_the_right(skips: &[Skip]) -> Vec<bool> {
    if skips.len() > MANY_SKIPS {
        return skips.iter().map(|skip| skip.from % 2 == 0).collect();
    }
    let mut order: Vec<usize> = (0..skips.len()).collect();
    order.sort_by_key(|&index| (skips[index].span(), skips[index].from));
    let mut sides = vec![true; skips.len()];
    for (done, &index) in order.iter().enumerate() {
        let crossings = |right: bool| {
            let before = order[..done].iter().filter(|&&other| sides[other] == right);
            before
                .filter(|&&other| skips[index].crosses(skips[other]))
                .count()
        };
        sides[index] = crossings(true) <= crossings(false);
    }
    sides
}

impl Row {
    /// What others call it: a layer by its number.
    fn name(&self) -> String {
        self.number
            .map_or_else(|| self.title.clone(), |number| number.to_string())
    }
}

/// The image, or a layer by its number.
fn name(row: usize) -> String {
    if row == 0 {
        "image".into()
    } else {
        row.to_string()
    }
}

fn names(rows: &[usize]) -> Vec<String> {
    rows.iter().map(|&row| name(row)).collect()
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
    // Writing to a String cannot fail, here and below.
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
        let _ = writeln!(
            text,
            "{:>5}  {operation:<width$}{:<14}{parameters:>11}  {}",
            index + 1,
            shape_text(output),
            names(&layer.inputs).join(", ")
        );
    }
    let pooled = network.output_shape();
    let parameters = (pooled.channels + 1) * network.classes;
    let _ = writeln!(
        text,
        "{:>5}  {:<width$}{:<14}{parameters:>11}  {}",
        "end",
        "pool and classify",
        network.classes,
        names(&network.output).join(", ")
    );
    text
}

#[cfg(test)]
mod tests {
    use super::super::svg::legible::assert_legible;
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

    /// So many layers of 3x5 filters, each taking what `inputs` says of it (from 1).
    fn network_of(layers: usize, inputs: impl Fn(usize) -> Vec<usize>) -> ConvNetwork {
        let layers = (1..=layers).map(|layer| {
            let sizes = Convolution {
                filter_height: 7,
                filter_width: 5,
                filters: 48,
                stride_height: 1 + usize::from(layer % 13 == 0),
                stride_width: 1,
            };
            let operation = match layer % 13 {
                5 => Operation::MaxPool(Pool { size: 3, stride: 2 }),
                9 => Operation::LocalContrast { window: 9 },
                11 => Operation::BatchNorm,
                _ => sizes.into(),
            };
            ConvLayer::new(operation, &inputs(layer))
        });
        ConvNetwork::new(
            ImageShape {
                channels: 3,
                height: 128,
                width: 128,
            },
            100,
            layers.collect(),
        )
    }

    #[test]
    fn a_drawing_has_every_layer_and_every_connection() {
        let svg = svg(&network());
        // Image, four layers, classifier and the paper that they are on.
        assert_eq!(svg.matches("<rect").count(), 4 + 2 + 1);
        assert_eq!(svg.matches("class=\"next\"").count(), 5);
        assert_eq!(svg.matches("class=\"arc from-").count(), 1);
        assert!(
            svg.contains(">3<")
                && svg.contains(">max pool 3×3, stride 2×2<")
                && svg.contains(">3×5, 8 filters, stride 2×1<")
                && svg.contains(">batch norm<"),
            "{svg}"
        );
    }

    #[test]
    fn loose_outputs_meet_in_one_concatenation() {
        let loose = svg(&network_of(4, |layer| match layer {
            3 => vec![1],
            4 => vec![2, 3],
            _ => vec![layer - 1],
        }));
        assert!(!loose.contains("concatenate"), "one output alone: {loose}");
        let loose = svg(&network_of(4, |_| Vec::new()));
        assert_eq!(loose.matches(">concatenate<").count(), 1);
        // The last one is just above it.
        assert_eq!(loose.matches("class=\"arc loose\"").count(), 3);
        assert_eq!(loose.matches("class=\"arc from-0\"").count(), 3);
        assert!(
            loose.contains(">192×128×128<") && loose.contains("<title>takes 1, 2, 3, 4</title>"),
            "{loose}"
        );
    }

    #[test]
    fn drawings_of_any_depth_and_any_connections_can_be_read() {
        for layers in [1, 6, 39, 120] {
            let all = svg(&network_of(layers, |layer| (0..layer).collect()));
            let skips = layers * (layers - 1) / 2;
            assert_eq!(all.matches("class=\"arc ").count(), skips);
            for drawing in [
                all,
                svg(&network_of(layers, |layer| vec![layer - 1])),
                svg(&network_of(layers, |layer| vec![layer / 2])),
                svg(&network_of(layers, |_| Vec::new())),
            ] {
                assert_legible(&drawing);
            }
        }
    }

    #[test]
    fn skip_connections_avoid_each_other_on_two_sides() {
        let skip = |from: usize, to: usize| Skip { from, to };
        // Nested, or one after the other: all on the right.
        let apart = [skip(0, 6), skip(1, 3), skip(3, 5)];
        assert_eq!(on_the_right(&apart), [true; 3]);
        assert_eq!(
            on_the_right(&[skip(0, 2), skip(1, 3), skip(2, 4)]),
            [true, false, true]
        );
        let many: Vec<Skip> = (0..80)
            .flat_map(|from| (from + 2..80).map(move |to| skip(from, to)))
            .collect();
        assert_eq!(on_the_right(&many).len(), many.len());
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

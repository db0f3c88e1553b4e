//! A convolutional network as a graph of ONNX operators: from raw images to logits, with whitening
//! inside. Must not know how the network was trained.

use super::graph::{Axis, Graph, float, int, ints};
use super::proto::tensor_proto::DataType;
use crate::child::TrainedNetwork;
use crate::data::{ImageInput, Normalisation};
use crate::kernels::{LOCAL_CONTRAST_EPSILON, local_contrast_weights};
use crate::space::{ConvLayer, ConvNetwork, Convolution, ImageShape, Operation, Pool};

/// The graph of a trained network.
///
/// # Errors
/// One sentence: a tensor that the network needs is not there, or has another shape.
pub fn graph(
    trained: &TrainedNetwork,
    network: &ConvNetwork,
    input: &ImageInput,
) -> Result<Graph, String> {
    let mut builder = Builder {
        graph: Graph::new("netwright"),
        trained,
        epsilon: trained
            .record
            .batch_norm_epsilon
            .ok_or("batch_norm_epsilon is not there")? as f32,
        values: Vec::new(),
    };
    let image = builder.image(input);
    builder.values.push((image, network.image));
    for (layer, number) in network.layers.iter().zip(1..) {
        let value = builder.layer(number, layer)?;
        builder.values.push(value);
    }
    builder.classifier(network)?;
    Ok(builder.graph)
}

struct Builder<'a> {
    graph: Graph,
    trained: &'a TrainedNetwork,
    /// Of batch normalisation.
    epsilon: f32,
    /// The whitened image and each layer's output: name and shape.
    values: Vec<(String, ImageShape)>,
}

/// Pixels of padding before and behind along one direction, as all operations of a child have them:
/// (window − 1) / 2 before, ceil(size / stride) outputs.
fn padding(size: usize, window: usize, stride: usize) -> (usize, usize) {
    let before = (window - 1) / 2;
    let last = (size.div_ceil(stride) - 1) * stride;
    (before, (last + window).saturating_sub(size + before))
}

/// Explicit padding, window and strides of one layer. Directions: height, width.
fn window(
    input: ImageShape,
    window: [usize; 2],
    strides: [usize; 2],
) -> Vec<super::proto::AttributeProto> {
    let (top, bottom) = padding(input.height, window[0], strides[0]);
    let (left, right) = padding(input.width, window[1], strides[1]);
    vec![
        ints("kernel_shape", &window),
        ints("pads", &[top, left, bottom, right]),
        ints("strides", &strides),
    ]
}

impl Builder<'_> {
    /// The input, and what becomes of it before the first layer.
    fn image(&mut self, input: &ImageInput) -> String {
        let ImageShape {
            channels,
            height,
            width,
        } = input.shape;
        let shape = [channels, height, width].map(Axis::Fixed);
        let [channels_axis, height, width] = shape;
        let graph = &mut self.graph;
        let image = graph.input(
            "image",
            DataType::Uint8,
            &[Axis::Named("batch"), channels_axis, height, width],
            "raw images [batch, channels, height, width], red first, 0 to 255",
        );
        let to_float = int("to", i64::from(i32::from(DataType::Float)));
        let x = graph.node("Cast", "image.float", &[&image], vec![to_float]);
        match &input.normalisation {
            Normalisation::Image { min_variance } => self.whiten(&x, *min_variance),
            Normalisation::Channel { mean, scale } => {
                let shape = [1, channels, 1, 1];
                let mean = graph.floats("image.mean", &shape, mean);
                let scale = graph.floats("image.scale", &shape, scale);
                let centred = graph.node("Sub", "image.centred", &[&x, &mean], vec![]);
                graph.node("Mul", "image.whitened", &[&centred, &scale], vec![])
            }
        }
    }

    /// Each image to zero mean and unit variance; one of nearly one colour to zeros.
    fn whiten(&mut self, x: &str, min_variance: f64) -> String {
        let graph = &mut self.graph;
        let axes = graph.integers("image.axes", &[1, 2, 3]);
        let zero = graph.floats("zero", &[], &[0.0]);
        let smallest = graph.floats("image.smallest_variance", &[], &[min_variance as f32]);
        let mean = graph.node("ReduceMean", "image.mean", &[x, &axes], vec![]);
        let centred = graph.node("Sub", "image.centred", &[x, &mean], vec![]);
        let squares = graph.node("Mul", "image.squares", &[&centred, &centred], vec![]);
        let variance = graph.node("ReduceMean", "image.variance", &[&squares, &axes], vec![]);
        let is_flat = graph.node("Less", "image.is_flat", &[&variance, &smallest], vec![]);
        let deviation = graph.node("Sqrt", "image.deviation", &[&variance], vec![]);
        let inverse = graph.node("Reciprocal", "image.inverse", &[&deviation], vec![]);
        let scale = graph.node("Where", "image.scale", &[&is_flat, &zero, &inverse], vec![]);
        graph.node("Mul", "image.whitened", &[&centred, &scale], vec![])
    }

    /// What an operation takes of these values: their concatenation or their sum, in which smaller
    /// ones are padded with zeros at the bottom and the right, and in a sum behind their channels.
    fn join(
        &mut self,
        name: &str,
        operation: &Operation,
        inputs: &[usize],
    ) -> (String, ImageShape) {
        let parts: Vec<_> = inputs
            .iter()
            .map(|&input| self.values[input].clone())
            .collect();
        let shape = operation.input(parts.iter().map(|(_, shape)| *shape));
        let adds = *operation == Operation::Add;
        let mut names = Vec::with_capacity(parts.len());
        for (source, (value, part)) in inputs.iter().zip(parts) {
            let channels = if adds {
                shape.channels - part.channels
            } else {
                0
            };
            let missing = [
                channels,
                shape.height - part.height,
                shape.width - part.width,
            ];
            if missing == [0, 0, 0] {
                names.push(value);
                continue;
            }
            let [behind, bottom, right] = missing.map(|count| count as i64);
            let pads = [0, 0, 0, 0, 0, behind, bottom, right];
            let pads = self.graph.integers(&format!("{name}.pads{source}"), &pads);
            let padded = format!("{name}.padded{source}");
            names.push(self.graph.node("Pad", &padded, &[&value, &pads], vec![]));
        }
        if let [only] = names.as_slice() {
            return (only.clone(), shape);
        }
        let joined = format!("{name}.input");
        if adds {
            return (self.sum(&joined, &names), shape);
        }
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let axis = vec![int("axis", 1)];
        (self.graph.node("Concat", &joined, &names, axis), shape)
    }

    /// Sums two values or more, in order.
    fn sum(&mut self, name: &str, values: &[String]) -> String {
        let mut sum = values[0].clone();
        for (number, value) in values.iter().enumerate().skip(1) {
            let partial = if number + 1 == values.len() {
                name.to_owned()
            } else {
                format!("{name}{number}")
            };
            sum = self.graph.node("Add", &partial, &[&sum, value], vec![]);
        }
        sum
    }

    /// A layer, counted from 1: its output and the shape of that.
    fn layer(&mut self, number: usize, layer: &ConvLayer) -> Result<(String, ImageShape), String> {
        let name = format!("layer{number}");
        let (input, shape) = self.join(&name, &layer.operation, &layer.inputs);
        let output = match &layer.operation {
            Operation::Convolution(conv) => {
                let output = format!("{name}.convolution");
                let output = self.convolution(&name, &output, &input, shape, *conv)?;
                let normalised = format!("{name}.normalised");
                let normalised = self.normalise(&name, &normalised, &output, conv.filters)?;
                self.graph.node("Relu", &name, &[&normalised], vec![])
            }
            Operation::MaxPool(pool) => self.pool("MaxPool", &name, &input, shape, *pool),
            Operation::AveragePool(pool) => self.pool("AveragePool", &name, &input, shape, *pool),
            Operation::LocalContrast { window } => {
                self.local_contrast(&name, &input, shape, *window)
            }
            Operation::BatchNorm => self.normalise(&name, &name, &input, shape.channels)?,
            Operation::PlainConvolution(conv) => {
                self.convolution(&name, &name, &input, shape, *conv)?
            }
            Operation::Relu | Operation::Add => self.graph.node("Relu", &name, &[&input], vec![]),
        };
        Ok((output, layer.operation.output(shape)))
    }

    /// A layer's convolution alone, as `output`.
    fn convolution(
        &mut self,
        layer: &str,
        output: &str,
        input: &str,
        shape: ImageShape,
        conv: Convolution,
    ) -> Result<String, String> {
        let filter = [conv.filter_height, conv.filter_width];
        let sizes = [conv.filters, shape.channels, filter[0], filter[1]];
        let weight = self.tensor(&format!("{layer}.weight"), &sizes)?;
        let attributes = window(shape, filter, [conv.stride_height, conv.stride_width]);
        Ok(self
            .graph
            .node("Conv", output, &[input, &weight], attributes))
    }

    /// Batch normalisation by the running statistics of a layer.
    fn normalise(
        &mut self,
        layer: &str,
        output: &str,
        input: &str,
        channels: usize,
    ) -> Result<String, String> {
        let names = ["scale", "shift", "running_mean", "running_variance"];
        let [scale, shift, mean, variance] =
            names.map(|name| self.tensor(&format!("{layer}.{name}"), &[channels]));
        let (scale, shift, mean, variance) = (scale?, shift?, mean?, variance?);
        let inputs: [&str; 5] = [input, &scale, &shift, &mean, &variance];
        let epsilon = vec![float("epsilon", self.epsilon)];
        Ok(self
            .graph
            .node("BatchNormalization", output, &inputs, epsilon))
    }

    /// Pixels outside the image do not count: ONNX's maximum pads with −∞, and its mean leaves the
    /// padding out.
    fn pool(
        &mut self,
        operator: &str,
        name: &str,
        input: &str,
        shape: ImageShape,
        pool: Pool,
    ) -> String {
        let mut attributes = window(shape, [pool.size; 2], [pool.stride; 2]);
        if operator == "AveragePool" {
            attributes.push(int("count_include_pad", 0));
        }
        self.graph.node(operator, name, &[input], attributes)
    }

    /// The Gaussian window is separable, so that a blurred plane is R · plane · Cᵀ, with a constant
    /// matrix for each direction. See `kernels::LocalContrast` for the formula.
    fn local_contrast(
        &mut self,
        name: &str,
        input: &str,
        shape: ImageShape,
        window: usize,
    ) -> String {
        let rows = matrix(shape.height, window, false);
        let columns = matrix(shape.width, window, true);
        let graph = &mut self.graph;
        let rows = graph.floats(&format!("{name}.rows"), &[shape.height; 2], &rows);
        let columns = graph.floats(&format!("{name}.columns"), &[shape.width; 2], &columns);
        let over_channels = graph.integers("over_channels", &[1]);
        let over_pixels = graph.integers("over_pixels", &[2, 3]);
        let epsilon = graph.floats("local_contrast.epsilon", &[], &[LOCAL_CONTRAST_EPSILON]);
        let mut node = |operator: &str, part: &str, inputs: &[&str]| {
            graph.node(operator, &format!("{name}.{part}"), inputs, vec![])
        };
        let mean = node("ReduceMean", "channel_mean", &[input, &over_channels]);
        let mean = node("MatMul", "mean_along_columns", &[&rows, &mean]);
        let mean = node("MatMul", "mean", &[&mean, &columns]);
        let centred = node("Sub", "centred", &[input, &mean]);
        let squares = node("Mul", "squares", &[&centred, &centred]);
        let variance = node(
            "ReduceMean",
            "channel_variance",
            &[&squares, &over_channels],
        );
        let variance = node("MatMul", "variance_along_columns", &[&rows, &variance]);
        let variance = node("MatMul", "variance", &[&variance, &columns]);
        let variance = node("Add", "variance_and_epsilon", &[&variance, &epsilon]);
        let deviation = node("Sqrt", "deviation", &[&variance]);
        let usual = node("ReduceMean", "usual_deviation", &[&deviation, &over_pixels]);
        let divisor = node("Max", "divisor", &[&deviation, &usual]);
        graph.node("Div", name, &[&centred, &divisor], vec![])
    }

    /// Global average pooling of the concatenated outputs, and the linear classifier.
    fn classifier(&mut self, network: &ConvNetwork) -> Result<(), String> {
        // A ReLU's input is what it reads, concatenated; none follows here.
        let (input, shape) = self.join("classifier", &Operation::Relu, &network.output);
        let sizes = [network.classes, shape.channels];
        let weight = self.tensor("classifier.weight", &sizes)?;
        let bias = self.tensor("classifier.bias", &[network.classes])?;
        let graph = &mut self.graph;
        let pooled = graph.node("GlobalAveragePool", "classifier.pooled", &[&input], vec![]);
        let axis = vec![int("axis", 1)];
        let features = graph.node("Flatten", "classifier.features", &[&pooled], axis);
        let transposed = vec![int("transB", 1)];
        graph.node("Gemm", "logits", &[&features, &weight, &bias], transposed);
        let shape = [Axis::Named("batch"), Axis::Fixed(network.classes)];
        graph.output(
            "logits",
            &shape,
            "one number for each class, before softmax",
        );
        Ok(())
    }

    /// A tensor of the trained network as a constant of the graph.
    fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<String, String> {
        let values = self.trained.tensor(name, shape)?;
        Ok(self.graph.floats(name, shape, values))
    }
}

/// The weights of a window at each position of one direction, `[position, pixel]`, or transposed.
fn matrix(size: usize, window: usize, is_transposed: bool) -> Vec<f32> {
    let mut matrix = vec![0.0; size * size];
    for at in 0..size {
        for (from, weight) in local_contrast_weights(size, window, at) {
            let place = if is_transposed {
                from * size + at
            } else {
                at * size + from
            };
            matrix[place] = weight;
        }
    }
    matrix
}

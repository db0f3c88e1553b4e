//! Evaluates a model as ONNX's reference describes the operators, number by number in f64. It knows
//! the operators that this program writes and no others.

use super::super::proto::{
    AttributeProto, ModelProto, NodeProto, TensorProto, tensor_proto::DataType,
};
use prost::Message;
use std::collections::HashMap;

/// A value: whole numbers and booleans are numbers too.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    pub shape: Vec<usize>,
    pub numbers: Vec<f64>,
}

impl Value {
    pub fn new(shape: &[usize], numbers: impl IntoIterator<Item = f64>) -> Self {
        let numbers: Vec<f64> = numbers.into_iter().collect();
        assert_eq!(shape.iter().product::<usize>(), numbers.len(), "{shape:?}");
        Self {
            shape: shape.to_vec(),
            numbers,
        }
    }

    fn of(tensor: &TensorProto) -> Self {
        let shape: Vec<usize> = tensor.dims.iter().map(|&size| size as usize).collect();
        let bytes = tensor.raw_data();
        let numbers: Vec<f64> = match DataType::try_from(tensor.data_type()).unwrap() {
            DataType::Float => bytes
                .as_chunks::<4>()
                .0
                .iter()
                .map(|&bytes| f64::from(f32::from_le_bytes(bytes)))
                .collect(),
            DataType::Int64 => bytes
                .as_chunks::<8>()
                .0
                .iter()
                .map(|&bytes| i64::from_le_bytes(bytes) as f64)
                .collect(),
            other => panic!("a constant of {other:?}"),
        };
        Self::new(&shape, numbers)
    }

    fn integers(&self) -> Vec<usize> {
        self.numbers.iter().map(|&number| number as usize).collect()
    }

    fn map(&self, f: impl Fn(f64) -> f64) -> Self {
        Self::new(&self.shape, self.numbers.iter().map(|&number| f(number)))
    }

    /// Where element `index` of an array of this shape lies in this value, which is broadcast.
    fn broadcast(&self, shape: &[usize], index: usize) -> f64 {
        let mut rest = index;
        let mut place = 0;
        let mut stride = 1;
        for axis in (0..shape.len()).rev() {
            let position = rest % shape[axis];
            rest /= shape[axis];
            let missing = shape.len() - self.shape.len();
            if axis >= missing && self.shape[axis - missing] > 1 {
                place += position * stride;
            }
            if axis >= missing {
                stride *= self.shape[axis - missing];
            }
        }
        self.numbers[place]
    }

    fn zip(&self, other: &Self, f: impl Fn(f64, f64) -> f64) -> Self {
        let shape = broadcast_shape(&self.shape, &other.shape);
        let count: usize = shape.iter().product();
        Self::new(
            &shape,
            (0..count).map(|index| {
                f(
                    self.broadcast(&shape, index),
                    other.broadcast(&shape, index),
                )
            }),
        )
    }
}

fn broadcast_shape(a: &[usize], b: &[usize]) -> Vec<usize> {
    let rank = a.len().max(b.len());
    let size = |shape: &[usize], axis: usize| {
        (axis + shape.len())
            .checked_sub(rank)
            .map_or(1, |axis| shape[axis])
    };
    (0..rank)
        .map(|axis| {
            let (a, b) = (size(a, axis), size(b, axis));
            assert!(a == b || a == 1 || b == 1, "{a} and {b} do not fit");
            a.max(b)
        })
        .collect()
}

/// The model's outputs, by name, for these inputs. Checks that names are unique, that every value is
/// made before it is used, and that inputs and outputs have the shapes that are declared.
pub fn run(model: &[u8], inputs: &[(&str, Value)]) -> HashMap<String, Value> {
    let model = ModelProto::decode(model).unwrap();
    let graph = model.graph.unwrap();
    let mut values: HashMap<String, Value> = HashMap::new();
    let define = |values: &mut HashMap<String, Value>, name: &str, value: Value| {
        assert!(
            values.insert(name.to_owned(), value).is_none(),
            "{name} twice"
        );
    };
    for tensor in &graph.initializer {
        define(&mut values, tensor.name(), Value::of(tensor));
    }
    assert_eq!(graph.input.len(), inputs.len());
    for (name, value) in inputs {
        assert!(
            graph.input.iter().any(|input| input.name() == *name),
            "{name}"
        );
        define(&mut values, name, value.clone());
    }
    for node in &graph.node {
        let operands: Vec<&Value> = node
            .input
            .iter()
            .map(|name| {
                values
                    .get(name)
                    .unwrap_or_else(|| panic!("{name} is not there"))
            })
            .collect();
        let results = evaluate(node, &operands);
        assert_eq!(results.len(), node.output.len());
        for (name, value) in node.output.iter().zip(results) {
            define(&mut values, name, value);
        }
    }
    let output = |name: &str| (name.to_owned(), values[name].clone());
    graph
        .output
        .iter()
        .map(|value| output(value.name()))
        .collect()
}

fn attribute<'a>(node: &'a NodeProto, name: &str) -> Option<&'a AttributeProto> {
    node.attribute
        .iter()
        .find(|attribute| attribute.name() == name)
}

fn sizes<const N: usize>(node: &NodeProto, name: &str) -> [usize; N] {
    let ints = &attribute(node, name)
        .unwrap_or_else(|| panic!("{name}"))
        .ints;
    let sizes: Vec<usize> = ints.iter().map(|&size| size as usize).collect();
    sizes.try_into().unwrap()
}

fn evaluate(node: &NodeProto, x: &[&Value]) -> Vec<Value> {
    let one = match node.op_type() {
        "Cast" => x[0].clone(),
        "Add" => x[0].zip(x[1], |a, b| a + b),
        "Sub" => x[0].zip(x[1], |a, b| a - b),
        "Mul" => x[0].zip(x[1], |a, b| a * b),
        "Div" => x[0].zip(x[1], |a, b| a / b),
        "Max" => x[0].zip(x[1], f64::max),
        "Less" => x[0].zip(x[1], |a, b| f64::from(u8::from(a < b))),
        "Where" => {
            // Not by arithmetic: what is not chosen may be infinite.
            let shape = broadcast_shape(&broadcast_shape(&x[0].shape, &x[1].shape), &x[2].shape);
            let count: usize = shape.iter().product();
            let choose = |index| {
                let which = if x[0].broadcast(&shape, index) == 0.0 {
                    2
                } else {
                    1
                };
                x[which].broadcast(&shape, index)
            };
            Value::new(&shape, (0..count).map(choose))
        }
        "Sqrt" => x[0].map(f64::sqrt),
        "Reciprocal" => x[0].map(|a| 1.0 / a),
        "Relu" => x[0].map(|a| a.max(0.0)),
        "Tanh" => x[0].map(f64::tanh),
        "Sigmoid" => x[0].map(|a| 1.0 / (1.0 + (-a).exp())),
        "Sin" => x[0].map(f64::sin),
        "ReduceMean" => reduce_mean(x[0], &x[1].integers()),
        "GlobalAveragePool" => reduce_mean(x[0], &[2, 3]),
        "MatMul" => mat_mul(x[0], x[1]),
        "Gemm" => gemm(x, attribute(node, "transB").is_some_and(|bit| bit.i() == 1)),
        "Flatten" => Value::new(
            &[x[0].shape[0], x[0].shape[1..].iter().product()],
            x[0].numbers.clone(),
        ),
        "Transpose" => transpose(x[0]),
        "Concat" => concat(x, attribute(node, "axis").unwrap().i() as usize),
        "Unsqueeze" => {
            assert_eq!(x[1].integers(), [0]);
            Value::new(
                &[&[1], x[0].shape.as_slice()].concat(),
                x[0].numbers.clone(),
            )
        }
        "Gather" => gather(
            x[0],
            x[1],
            attribute(node, "axis").map_or(0, |axis| axis.i() as usize),
        ),
        "Split" => return split(node, x[0]),
        "Pad" => pad(x[0], &x[1].integers(), 0.0),
        "BatchNormalization" => batch_norm(x, f64::from(attribute(node, "epsilon").unwrap().f())),
        "Conv" => conv(node, x[0], x[1]),
        "MaxPool" => windows(node, x[0], |values| {
            values.iter().copied().fold(f64::NEG_INFINITY, f64::max)
        }),
        "AveragePool" => {
            assert_eq!(attribute(node, "count_include_pad").unwrap().i(), 0);
            windows(node, x[0], |values| {
                values.iter().sum::<f64>() / values.len() as f64
            })
        }
        other => panic!("no operator {other}"),
    };
    vec![one]
}

/// Axes are kept, with size 1.
fn reduce_mean(x: &Value, axes: &[usize]) -> Value {
    let shape: Vec<usize> = (0..x.shape.len())
        .map(|axis| {
            if axes.contains(&axis) {
                1
            } else {
                x.shape[axis]
            }
        })
        .collect();
    let mut sums = vec![0.0; shape.iter().product()];
    let places = Value::new(&shape, (0..sums.len()).map(|place| place as f64));
    for (index, number) in x.numbers.iter().enumerate() {
        sums[places.broadcast(&x.shape, index) as usize] += number;
    }
    let count = (x.numbers.len() / sums.len()) as f64;
    Value::new(&shape, sums.into_iter().map(|sum| sum / count))
}

/// Of the last two axes; one side may be a single matrix.
fn mat_mul(a: &Value, b: &Value) -> Value {
    let [m, k] = a.shape[a.shape.len() - 2..] else {
        panic!("no matrix")
    };
    let n = b.shape[b.shape.len() - 1];
    let stacked = if a.shape.len() > b.shape.len() { a } else { b };
    let stack = &stacked.shape[..stacked.shape.len() - 2];
    let mut numbers = Vec::new();
    for index in 0..stack.iter().product::<usize>() {
        let part = |value: &Value, size: usize| {
            let first = if value.numbers.len() == size {
                0
            } else {
                index * size
            };
            value.numbers[first..][..size].to_vec()
        };
        let (a, b) = (part(a, m * k), part(b, k * n));
        for row in 0..m {
            for column in 0..n {
                numbers.push((0..k).map(|i| a[row * k + i] * b[i * n + column]).sum());
            }
        }
    }
    Value::new(&[stack, &[m, n]].concat(), numbers)
}

fn transpose(x: &Value) -> Value {
    let [rows, columns] = x.shape[..] else {
        panic!("no matrix")
    };
    let number = |index: usize| x.numbers[index % rows * columns + index / rows];
    Value::new(&[columns, rows], (0..rows * columns).map(number))
}

fn gemm(x: &[&Value], is_transposed: bool) -> Value {
    let product = if is_transposed {
        mat_mul(x[0], &transpose(x[1]))
    } else {
        mat_mul(x[0], x[1])
    };
    x.get(2)
        .map_or(product.clone(), |bias| product.zip(bias, |a, b| a + b))
}

fn concat(parts: &[&Value], axis: usize) -> Value {
    let mut shape = parts[0].shape.clone();
    shape[axis] = parts.iter().map(|part| part.shape[axis]).sum();
    let outer: usize = shape[..axis].iter().product();
    let mut numbers = Vec::new();
    for index in 0..outer {
        for part in parts {
            let size = part.numbers.len() / outer;
            numbers.extend_from_slice(&part.numbers[index * size..][..size]);
        }
    }
    Value::new(&shape, numbers)
}

fn gather(x: &Value, positions: &Value, axis: usize) -> Value {
    let outer: usize = x.shape[..axis].iter().product();
    let inner: usize = x.shape[axis + 1..].iter().product();
    let mut numbers = Vec::new();
    for index in 0..outer {
        for position in positions.integers() {
            assert!(position < x.shape[axis]);
            let first = (index * x.shape[axis] + position) * inner;
            numbers.extend_from_slice(&x.numbers[first..][..inner]);
        }
    }
    let shape = [&x.shape[..axis], &positions.shape, &x.shape[axis + 1..]].concat();
    Value::new(&shape, numbers)
}

/// Along axis 1 of a matrix, in equal parts.
fn split(node: &NodeProto, x: &Value) -> Vec<Value> {
    let count = attribute(node, "num_outputs").unwrap().i() as usize;
    let [rows, columns] = x.shape[..] else {
        panic!("no matrix")
    };
    let size = columns / count;
    let part = |part: usize| {
        let row = |row: usize| &x.numbers[row * columns + part * size..][..size];
        Value::new(&[rows, size], (0..rows).flat_map(row).copied())
    };
    (0..count).map(part).collect()
}

/// Pads four axes: `pads` has all beginnings, then all ends.
fn pad(x: &Value, pads: &[usize], with: f64) -> Value {
    let shape: Vec<usize> = (0..4)
        .map(|axis| pads[axis] + x.shape[axis] + pads[axis + 4])
        .collect();
    let number = |index: usize| {
        let mut rest = index;
        let mut place = 0;
        let mut stride = 1;
        for axis in (0..4).rev() {
            let position = rest % shape[axis];
            rest /= shape[axis];
            let Some(inside) = position
                .checked_sub(pads[axis])
                .filter(|at| *at < x.shape[axis])
            else {
                return with;
            };
            place += inside * stride;
            stride *= x.shape[axis];
        }
        x.numbers[place]
    };
    Value::new(&shape, (0..shape.iter().product()).map(number))
}

fn batch_norm(x: &[&Value], epsilon: f64) -> Value {
    let plane = x[0].shape[2] * x[0].shape[3];
    let channels = x[0].shape[1];
    let number = |(index, number): (usize, &f64)| {
        let channel = index / plane % channels;
        let [scale, shift, mean, variance] = [1, 2, 3, 4].map(|input| x[input].numbers[channel]);
        (number - mean) / (variance + epsilon).sqrt() * scale + shift
    };
    Value::new(&x[0].shape, x[0].numbers.iter().enumerate().map(number))
}

/// Padding (top, left, bottom, right), window, strides and output size of a node over images.
struct Windows {
    pads: [usize; 4],
    window: [usize; 2],
    strides: [usize; 2],
    out: [usize; 2],
}

impl Windows {
    fn of(node: &NodeProto, x: &Value) -> Self {
        let pads = sizes(node, "pads");
        let window = sizes(node, "kernel_shape");
        let strides = sizes(node, "strides");
        let out = [0, 1].map(|axis| {
            let padded = x.shape[2 + axis] + pads[axis] + pads[axis + 2];
            // As ONNX's own implementations ask for.
            assert!(pads[axis] < window[axis] && pads[axis + 2] < window[axis]);
            (padded - window[axis]) / strides[axis] + 1
        });
        Self {
            pads,
            window,
            strides,
            out,
        }
    }

    /// Offsets in a plane of the window of output `at`, each with its place in the window.
    fn taps(&self, x: &Value, at: usize) -> Vec<(usize, usize)> {
        let corner = [
            at / self.out[1] * self.strides[0],
            at % self.out[1] * self.strides[1],
        ];
        let mut taps = Vec::new();
        for row in 0..self.window[0] {
            for column in 0..self.window[1] {
                let y = (corner[0] + row).checked_sub(self.pads[0]);
                let x_at = (corner[1] + column).checked_sub(self.pads[1]);
                if let (Some(y), Some(x_at)) = (y, x_at)
                    && y < x.shape[2]
                    && x_at < x.shape[3]
                {
                    taps.push((y * x.shape[3] + x_at, row * self.window[1] + column));
                }
            }
        }
        taps
    }
}

fn windows(node: &NodeProto, x: &Value, f: impl Fn(&[f64]) -> f64) -> Value {
    let windows = Windows::of(node, x);
    let [height, width] = windows.out;
    let mut numbers = Vec::new();
    for plane in x.numbers.chunks(x.shape[2] * x.shape[3]) {
        for at in 0..height * width {
            let values: Vec<f64> = windows
                .taps(x, at)
                .into_iter()
                .map(|(offset, _)| plane[offset])
                .collect();
            numbers.push(f(&values));
        }
    }
    Value::new(&[x.shape[0], x.shape[1], height, width], numbers)
}

fn conv(node: &NodeProto, x: &Value, weight: &Value) -> Value {
    let windows = Windows::of(node, x);
    let [height, width] = windows.out;
    let [filters, channels] = [weight.shape[0], weight.shape[1]];
    let plane = x.shape[2] * x.shape[3];
    let window = weight.shape[2] * weight.shape[3];
    let taps: Vec<_> = (0..height * width).map(|at| windows.taps(x, at)).collect();
    let mut numbers = Vec::new();
    for image in x.numbers.chunks(channels * plane) {
        for filter in weight.numbers.chunks(channels * window).take(filters) {
            for taps in &taps {
                let mut sum = 0.0;
                for channel in 0..channels {
                    for (offset, place) in taps {
                        sum += image[channel * plane + offset] * filter[channel * window + place];
                    }
                }
                numbers.push(sum);
            }
        }
    }
    Value::new(&[x.shape[0], filters, height, width], numbers)
}

//! Builds a graph of ONNX operators, node by node. Must not know what the graph computes.

use super::proto::{
    AttributeProto, GraphProto, NodeProto, TensorProto, TensorShapeProto, TypeProto,
    ValueInfoProto, attribute_proto::AttributeType, tensor_proto::DataType, tensor_shape_proto,
    type_proto,
};

/// One axis of an input or output.
#[derive(Clone, Copy, Debug)]
pub enum Axis<'a> {
    Fixed(usize),
    /// Any size, the same wherever this name stands.
    Named(&'a str),
}

/// A graph under construction. A value is known by its name; a node's name is that of what it
/// makes.
#[derive(Default)]
pub struct Graph {
    proto: GraphProto,
}

impl Graph {
    pub fn new(name: &str) -> Self {
        Self {
            proto: GraphProto {
                name: Some(name.to_owned()),
                ..GraphProto::default()
            },
        }
    }

    pub fn finish(self) -> GraphProto {
        self.proto
    }

    /// What the graph is given; its name.
    pub fn input(&mut self, name: &str, data: DataType, shape: &[Axis], text: &str) -> String {
        self.proto.input.push(value(name, data, shape, text));
        name.to_owned()
    }

    /// Declares that a value is a result of the graph.
    pub fn output(&mut self, name: &str, shape: &[Axis], text: &str) {
        self.proto
            .output
            .push(value(name, DataType::Float, shape, text));
    }

    /// A constant tensor; its name.
    pub fn floats(&mut self, name: &str, shape: &[usize], values: &[f32]) -> String {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes());
        self.constant(name, DataType::Float, shape, bytes.collect())
    }

    /// A constant vector of whole numbers; its name.
    pub fn integers(&mut self, name: &str, values: &[i64]) -> String {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes());
        self.constant(name, DataType::Int64, &[values.len()], bytes.collect())
    }

    /// A constant whole number without axes; its name.
    pub fn integer(&mut self, name: &str, value: i64) -> String {
        self.constant(name, DataType::Int64, &[], value.to_le_bytes().to_vec())
    }

    /// A constant is there once, whoever asks for it again.
    fn constant(&mut self, name: &str, data: DataType, shape: &[usize], bytes: Vec<u8>) -> String {
        let known = |tensor: &TensorProto| tensor.name.as_deref() == Some(name);
        if !self.proto.initializer.iter().any(known) {
            self.proto.initializer.push(TensorProto {
                dims: shape.iter().map(|&size| size as i64).collect(),
                data_type: Some(data.into()),
                name: Some(name.to_owned()),
                raw_data: Some(bytes),
            });
        }
        name.to_owned()
    }

    /// A node with one result; the name of that.
    pub fn node(
        &mut self,
        operator: &str,
        name: &str,
        inputs: &[&str],
        attributes: Vec<AttributeProto>,
    ) -> String {
        self.nodes(operator, name, inputs, &[name], attributes);
        name.to_owned()
    }

    /// A node with these results.
    pub fn nodes(
        &mut self,
        operator: &str,
        name: &str,
        inputs: &[&str],
        outputs: &[&str],
        attributes: Vec<AttributeProto>,
    ) {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        self.proto.node.push(NodeProto {
            input: owned(inputs),
            output: owned(outputs),
            name: Some(name.to_owned()),
            op_type: Some(operator.to_owned()),
            attribute: attributes,
        });
    }
}

pub fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        f: Some(value),
        r#type: Some(AttributeType::Float.into()),
        ..AttributeProto::default()
    }
}

pub fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        i: Some(value),
        r#type: Some(AttributeType::Int.into()),
        ..AttributeProto::default()
    }
}

pub fn ints(name: &str, values: &[usize]) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        ints: values.iter().map(|&value| value as i64).collect(),
        r#type: Some(AttributeType::Ints.into()),
        ..AttributeProto::default()
    }
}

fn value(name: &str, data: DataType, shape: &[Axis], text: &str) -> ValueInfoProto {
    use tensor_shape_proto::{Dimension, dimension::Value};
    let axis = |axis: &Axis| Dimension {
        value: Some(match *axis {
            Axis::Fixed(size) => Value::DimValue(size as i64),
            Axis::Named(name) => Value::DimParam(name.to_owned()),
        }),
    };
    let tensor = type_proto::Tensor {
        elem_type: Some(data.into()),
        shape: Some(TensorShapeProto {
            dim: shape.iter().map(axis).collect(),
        }),
    };
    ValueInfoProto {
        name: Some(name.to_owned()),
        r#type: Some(TypeProto {
            value: Some(type_proto::Value::TensorType(tensor)),
        }),
        doc_string: Some(text.to_owned()),
    }
}

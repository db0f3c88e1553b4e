//! One step of a recurrent language model as a graph of ONNX operators: a token and the states
//! before it in, the logits of the next token and the states after it out. Must not know how the
//! model was trained.

use super::graph::{Axis, Graph, int};
use super::proto::tensor_proto::DataType;
use crate::child::{TrainedNetwork, cell_program};
use crate::kernels::{CellProgram, Op};
use crate::space::{CellNetwork, LanguageModel};

/// The graph of a trained model.
///
/// # Errors
/// One sentence: a tensor that the model needs is not there, or has another shape.
pub fn graph(trained: &TrainedNetwork, cell: &CellNetwork) -> Result<Graph, String> {
    let program = cell_program(&cell.cell).map_err(|error| error.to_string())?;
    let model = cell
        .model
        .ok_or("the sizes of the model around the cell are not known")?;
    let mut builder = Builder {
        graph: Graph::new("netwright"),
        trained,
        program,
        model,
    };
    let mut x = builder.inputs()?;
    let mut states = Vec::with_capacity(model.layers);
    for layer in 0..model.layers {
        let after = builder.layer(layer, &x)?;
        x.clone_from(&after[0]);
        states.push(after);
    }
    builder.outputs(&x, &states)?;
    Ok(builder.graph)
}

struct Builder<'a> {
    graph: Graph,
    trained: &'a TrainedNetwork,
    program: CellProgram,
    model: LanguageModel,
}

impl Builder<'_> {
    fn state_shape(&self) -> [Axis<'static>; 4] {
        [
            Axis::Fixed(self.model.layers),
            Axis::Fixed(self.program.states()),
            Axis::Named("batch"),
            Axis::Fixed(self.model.hidden),
        ]
    }

    /// Declares the inputs; the token's vector, `[batch, hidden]`.
    fn inputs(&mut self) -> Result<String, String> {
        let LanguageModel {
            vocabulary,
            hidden,
            shared_embeddings,
            ..
        } = self.model;
        let batch = [Axis::Named("batch")];
        let text = "position of each token in the vocabulary; before the first one stands <eos>";
        let token = self.graph.input("token", DataType::Int64, &batch, text);
        let text = "states before this token [layers, states, batch, hidden], h first; zeros at the beginning";
        let shape = self.state_shape();
        self.graph.input("state", DataType::Float, &shape, text);
        if shared_embeddings {
            let table = self.tensor("softmax.weight", &[hidden, vocabulary])?;
            let axis = vec![int("axis", 1)];
            let columns = self
                .graph
                .node("Gather", "embedding.columns", &[&table, &token], axis);
            Ok(self
                .graph
                .node("Transpose", "embedding.vector", &[&columns], vec![]))
        } else {
            let table = self.tensor("embedding", &[vocabulary, hidden])?;
            Ok(self
                .graph
                .node("Gather", "embedding.vector", &[&table, &token], vec![]))
        }
    }

    /// The states of a layer (from 0) before the step, each `[batch, hidden]`.
    fn states(&mut self, layer: usize) -> Vec<String> {
        let position = self
            .graph
            .integer(&format!("position{layer}"), layer as i64);
        let own = format!("layer{}.state", layer + 1);
        let own = self
            .graph
            .node("Gather", &own, &["state", &position], vec![]);
        let mut states = Vec::with_capacity(self.program.states());
        for state in 0..self.program.states() {
            let position = self
                .graph
                .integer(&format!("position{state}"), state as i64);
            let name = format!("layer{}.state{state}", layer + 1);
            states.push(self.graph.node("Gather", &name, &[&own, &position], vec![]));
        }
        states
    }

    /// The products of all gates, `[batch, hidden]` each: W x + b, or R h + b.
    fn products(
        &mut self,
        layer: &str,
        which: &str,
        x: &str,
        has_bias: bool,
    ) -> Result<Vec<String>, String> {
        let hidden = self.model.hidden;
        let gates = self.program.gates;
        let name = format!("{layer}.{which}_weight");
        let values = self.trained.tensor(&name, &[gates, hidden, hidden])?;
        let weight = self.graph.floats(&name, &[gates * hidden, hidden], values);
        let mut inputs = vec![x.to_owned(), weight];
        if has_bias {
            let name = format!("{layer}.{which}_bias");
            let values = self.trained.tensor(&name, &[gates, hidden])?;
            inputs.push(self.graph.floats(&name, &[gates * hidden], values));
        }
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        let product = format!("{layer}.{which}");
        let transposed = vec![int("transB", 1)];
        let product = self.graph.node("Gemm", &product, &inputs, transposed);
        if gates == 1 {
            return Ok(vec![product]);
        }
        let parts: Vec<String> = (0..gates)
            .map(|gate| format!("{layer}.{which}.gate{gate}"))
            .collect();
        let names: Vec<&str> = parts.iter().map(String::as_str).collect();
        let attributes = vec![int("axis", 1), int("num_outputs", gates as i64)];
        let name = format!("{layer}.{which}.gates");
        self.graph
            .nodes("Split", &name, &[&product], &names, attributes);
        Ok(parts)
    }

    /// One step of a layer (from 0): its states after it, h first.
    fn layer(&mut self, index: usize, x: &str) -> Result<Vec<String>, String> {
        let layer = format!("layer{}", index + 1);
        let before = self.states(index);
        let has_bias = [self.program.input_bias, self.program.recurrent_bias];
        let input = self.products(&layer, "input", x, has_bias[0])?;
        let recurrent = self.products(&layer, "recurrent", &before[0], has_bias[1])?;
        let mut values: Vec<String> = Vec::with_capacity(self.program.ops.len());
        for (place, op) in self.program.ops.clone().into_iter().enumerate() {
            let name = format!("{layer}.value{place}");
            let (operator, inputs) = match op {
                Op::Input(gate) => {
                    values.push(input[gate].clone());
                    continue;
                }
                Op::Recurrent(gate) => {
                    values.push(recurrent[gate].clone());
                    continue;
                }
                Op::State(state) => {
                    values.push(before[state].clone());
                    continue;
                }
                Op::Add(a, b) => ("Add", vec![a, b]),
                Op::Mul(a, b) => ("Mul", vec![a, b]),
                Op::Max(a, b) => ("Max", vec![a, b]),
                Op::OneMinus(a) => {
                    let one = self.graph.floats("one", &[], &[1.0]);
                    values.push(self.graph.node("Sub", &name, &[&one, &values[a]], vec![]));
                    continue;
                }
                Op::Tanh(a) => ("Tanh", vec![a]),
                Op::Sigmoid(a) => ("Sigmoid", vec![a]),
                Op::Relu(a) => ("Relu", vec![a]),
                Op::Sin(a) => ("Sin", vec![a]),
            };
            let inputs: Vec<&str> = inputs.iter().map(|&input| values[input].as_str()).collect();
            let value = self.graph.node(operator, &name, &inputs, vec![]);
            values.push(value);
        }
        let outputs = &self.program.outputs;
        Ok(outputs
            .iter()
            .map(|&output| values[output].clone())
            .collect())
    }

    /// The logits of the next token, and all states after the step as one tensor.
    fn outputs(&mut self, h: &str, states: &[Vec<String>]) -> Result<(), String> {
        let LanguageModel {
            vocabulary, hidden, ..
        } = self.model;
        let weight = self.tensor("softmax.weight", &[hidden, vocabulary])?;
        let bias = self.tensor("softmax.bias", &[vocabulary])?;
        let graph = &mut self.graph;
        graph.node("Gemm", "logits", &[h, &weight, &bias], vec![]);
        let first = graph.integers("first_axis", &[0]);
        let mut stack = |name: &str, parts: &[String]| {
            let mut grown = Vec::with_capacity(parts.len());
            for (place, part) in parts.iter().enumerate() {
                let grown_part = format!("{name}.part{place}");
                grown.push(graph.node("Unsqueeze", &grown_part, &[part, &first], vec![]));
            }
            let grown: Vec<&str> = grown.iter().map(String::as_str).collect();
            graph.node("Concat", name, &grown, vec![int("axis", 0)])
        };
        let layers: Vec<String> = states
            .iter()
            .zip(1..)
            .map(|(states, number)| stack(&format!("layer{number}.next_state"), states))
            .collect();
        stack("next_state", &layers);
        let batch = Axis::Named("batch");
        let text = "one number for each token of the vocabulary, before softmax";
        let graph = &mut self.graph;
        graph.output("logits", &[batch, Axis::Fixed(vocabulary)], text);
        let shape = self.state_shape();
        let text = "states after this token, for the next step";
        self.graph.output("next_state", &shape, text);
        Ok(())
    }

    /// A tensor of the trained model as a constant of the graph.
    fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<String, String> {
        let values = self.trained.tensor(name, shape)?;
        Ok(self.graph.floats(name, shape, values))
    }
}

//! An architecture as the paper's configuration string: the list of tokens by which a controller
//! describes it (§3.1 to §3.4), in one line. Pure; must not know of runs.

use crate::space::{
    Architecture, Cell, CellNode, ConvLayer, ConvNetwork, Convolution, Network, Operation,
};

/// The string. Tokens of one layer or node are separated by spaces, layers and nodes by `; `.
///
/// - A convolution: filter height, filter width, stride height, stride width, filters. Another layer:
///   its type, and the sizes that this type has. Then, for each earlier layer, 1 if it feeds this one,
///   else 0; a layer that none feeds takes the image, and one that takes the image beside others
///   says `image` before these numbers. A learning rate that the network has comes last.
/// - A cell: combination and activation of each node in the order of the indices, and of the
///   injection; then the two indices, of the node whose value is c' and of the one that receives c. A
///   cell that is no tree: its name.
/// - Named decisions: name and value of each.
pub fn configuration_string(architecture: &Architecture) -> String {
    let parts: Vec<String> = match &architecture.network {
        Network::Conv(network) => convolutional(network),
        Network::Cell(network) => match &network.cell {
            Cell::Tree(tree) => {
                let nodes = tree.nodes.iter().chain([&tree.inject]).map(node);
                let indices = format!("{} {}", tree.cell_index, tree.inject_index);
                nodes.chain([indices]).collect()
            }
            Cell::Reference { reference } => vec![reference.name().to_owned()],
        },
        Network::Choices(choices) => {
            let values = choices.values.iter();
            values
                .map(|(name, value)| format!("{name} {value}"))
                .collect()
        }
    };
    parts.join("; ")
}

fn node(node: &CellNode) -> String {
    format!("{} {}", node.combination.name(), node.activation.name())
}

fn convolutional(network: &ConvNetwork) -> Vec<String> {
    let layers = network.layers.iter().enumerate();
    let mut parts: Vec<String> = layers.map(|(earlier, it)| layer(earlier, it)).collect();
    parts.extend(network.learning_rate.map(|rate| rate.to_string()));
    parts
}

/// A layer behind so many earlier ones.
fn layer(earlier: usize, layer: &ConvLayer) -> String {
    let mut tokens = match &layer.operation {
        Operation::Convolution(conv) => sizes(conv),
        operation => {
            let mut tokens = vec![operation.layer_type().name().to_owned()];
            match operation {
                Operation::PlainConvolution(conv) => tokens.extend(sizes(conv)),
                Operation::MaxPool(pool) | Operation::AveragePool(pool) => {
                    tokens.extend([pool.size, pool.stride].map(|size| size.to_string()));
                }
                Operation::LocalContrast { window } => tokens.push(window.to_string()),
                _ => {}
            }
            tokens
        }
    };
    if layer.inputs.contains(&0) && layer.inputs.len() > 1 {
        tokens.push("image".to_owned());
    }
    let feeds = |number: usize| u8::from(layer.inputs.contains(&number)).to_string();
    tokens.extend((1..=earlier).map(feeds));
    tokens.join(" ")
}

/// In the order of the paper (figure 2).
fn sizes(conv: &Convolution) -> Vec<String> {
    let sizes = [
        conv.filter_height,
        conv.filter_width,
        conv.stride_height,
        conv.stride_width,
        conv.filters,
    ];
    sizes.map(|size| size.to_string()).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn string(json: Value) -> String {
        configuration_string(&serde_json::from_value(json).unwrap())
    }

    #[test]
    fn a_network_is_its_layers_sizes_and_skips() {
        let conv = |filters: usize, inputs: &[usize]| json!({ "filter_height": 3, "filter_width": 5, "filters": filters, "stride_height": 1, "stride_width": 2, "inputs": inputs });
        let mut plain = conv(4, &[2]);
        plain["type"] = json!("plain_conv");
        let layers = [
            conv(24, &[0]),
            conv(36, &[1]),
            json!({ "type": "max_pool", "size": 2, "stride": 2, "inputs": [1, 2] }),
            plain,
            json!({ "type": "add", "inputs": [0, 3, 4] }),
            json!({ "type": "lcn", "window": 9, "inputs": [5] }),
        ];
        let image = json!({ "channels": 3, "height": 32, "width": 32 });
        let network = json!({ "version": 1, "kind": "conv", "image": image, "classes": 10, "learning_rate": 0.05, "layers": layers, "output": [6] });
        assert_eq!(
            string(network),
            "3 5 1 2 24; 3 5 1 2 36 1; max_pool 2 2 1 1; plain_conv 3 5 1 2 4 0 1 0; add image 0 0 1 1; lcn 9 0 0 0 0 1; 0.05"
        );
    }

    /// The paper's example (§3.4), as its figure writes it down.
    #[test]
    fn a_cell_is_its_tokens() {
        let node = |combination: &str, activation: &str| json!({ "combination": combination, "activation": activation });
        let nodes = [
            node("add", "tanh"),
            node("elem_mult", "relu"),
            node("elem_mult", "sigmoid"),
        ];
        let cell = json!({ "version": 1, "kind": "cell", "nodes": nodes, "inject": node("add", "relu"), "cell_index": 1, "inject_index": 0 });
        assert_eq!(
            string(cell),
            "add tanh; elem_mult relu; elem_mult sigmoid; add relu; 1 0"
        );
        let lstm = json!({ "version": 1, "kind": "cell", "reference": "lstm" });
        assert_eq!(string(lstm), "lstm");
        let choices = json!({ "version": 1, "kind": "choices", "values": { "a": 1, "b": "x" } });
        assert_eq!(string(choices), "a 1; b x");
    }
}

//! A recurrent cell in one line, as equations and as a drawing (SVG). Pure; must not know of runs.

use crate::space::{Activation, Cell, CellNetwork, CellNode, Combination, ReferenceCell, TreeCell};
use std::fmt::Write as _;

/// The cell as one expression: `h' = tanh(…)`, or a reference cell's name.
pub fn summary(network: &CellNetwork) -> String {
    match &network.cell {
        Cell::Reference { reference } => reference.name().to_owned(),
        Cell::Tree(tree) => {
            let root = tree.nodes.len() - 1;
            format!(
                "base {}: h' = {}, c' from {}",
                tree.base(),
                expression(tree, root),
                tree.cell_index
            )
        }
    }
}

/// The cell's equations, one node a line, and the model around it.
pub fn text(network: &CellNetwork) -> String {
    let mut text = match &network.cell {
        Cell::Tree(tree) => equations(tree),
        Cell::Reference { reference } => reference_equations(*reference).to_owned(),
    };
    if let Some(model) = network.model {
        let shared = if model.shared_embeddings {
            ", one matrix for embedding and softmax"
        } else {
            ""
        };
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(
            text,
            "\nlanguage model: {} layers of {} units, vocabulary {}{shared}",
            model.layers, model.hidden, model.vocabulary
        );
    }
    text
}

fn equations(tree: &TreeCell) -> String {
    let mut text = String::new();
    let root = tree.nodes.len() - 1;
    for (index, node) in tree.nodes.iter().enumerate() {
        let (first, second) = operands(tree, index, |child| name(tree, child));
        let combined = combine(node.combination, &first, &second);
        let before = if index == tree.cell_index {
            let _ = writeln!(text, "c'  = {combined}");
            "c'".to_owned()
        } else {
            combined
        };
        let _ = writeln!(
            text,
            "{:<3} = {}",
            format!("a{index}"),
            activate(node.activation, &before)
        );
        if index == tree.inject_index {
            let injected = combine(tree.inject.combination, &format!("a{index}"), "c");
            let _ = writeln!(
                text,
                "{:<3} = {}",
                format!("b{index}"),
                activate(tree.inject.activation, &injected)
            );
        }
    }
    let _ = writeln!(text, "h'  = {}", name(tree, root));
    text
}

/// The name of a node's output: `b` where the old cell state was injected, else `a`.
fn name(tree: &TreeCell, node: usize) -> String {
    let letter = if node == tree.inject_index { 'b' } else { 'a' };
    format!("{letter}{node}")
}

/// The two operands of a node: its children's outputs, or the products of a leaf.
fn operands(tree: &TreeCell, node: usize, child: impl Fn(usize) -> String) -> (String, String) {
    match tree.children(node) {
        Some((first, second)) => (child(first), child(second)),
        None => (format!("W{node} x"), format!("R{node} h")),
    }
}

fn combine(combination: Combination, first: &str, second: &str) -> String {
    match combination {
        Combination::Add => format!("{first} + {second}"),
        Combination::ElemMult => format!("{first} ⊙ {second}"),
        Combination::Max => format!("max({first}, {second})"),
    }
}

fn symbol(activation: Activation) -> &'static str {
    match activation {
        Activation::Identity => "",
        Activation::Sigmoid => "σ",
        other => other.name(),
    }
}

fn activate(activation: Activation, to: &str) -> String {
    match activation {
        Activation::Identity => to.to_owned(),
        other => format!("{}({to})", symbol(other)),
    }
}

/// A node and its subtree as one expression.
fn expression(tree: &TreeCell, node: usize) -> String {
    let CellNode {
        combination,
        activation,
    } = tree.nodes[node];
    let leaf = tree.children(node).is_none();
    let (first, second) = operands(tree, node, |child| expression(tree, child));
    let combined = match combination {
        Combination::ElemMult if leaf => format!("{first}⊙{second}"),
        Combination::Add if leaf => format!("{first}+{second}"),
        other => combine(other, &first, &second),
    };
    let output = match activation {
        Activation::Identity if combination != Combination::Max => format!("({combined})"),
        other => activate(other, &combined),
    };
    if node == tree.inject_index {
        activate(
            tree.inject.activation,
            &combine(tree.inject.combination, &output, "c"),
        )
    } else {
        output
    }
}

fn reference_equations(reference: ReferenceCell) -> &'static str {
    match reference {
        ReferenceCell::Rnn => "h'  = tanh(W x + R h + b)\n",
        ReferenceCell::Lstm => {
            "i   = σ(W0 x + R0 h + b0)\nf   = σ(W1 x + R1 h + b1)\ng   = tanh(W2 x + R2 h + b2)\no   = σ(W3 x + R3 h + b3)\n\
             c'  = f ⊙ c + i ⊙ g\nh'  = o ⊙ tanh(c')\n"
        }
        ReferenceCell::Gru => {
            "r   = σ(W0 x + R0 h + b0)\nz   = σ(W1 x + R1 h + b1)\nn   = tanh(W2 x + b2 + r ⊙ (R2 h + d2))\n\
             h'  = (1 − z) ⊙ n + z ⊙ h\n"
        }
    }
}

/// Draws the cell as a tree with its leaves on the left, through which data flows to the right. A
/// reference cell is shown as its equations.
pub fn cell_svg(network: &CellNetwork) -> String {
    match &network.cell {
        Cell::Tree(tree) => tree_svg(tree),
        Cell::Reference { reference } => equations_svg(reference_equations(*reference)),
    }
}

const STYLE: &str = "<style>\ntext { font: 13px system-ui, sans-serif; fill: #1b1f24; text-anchor: middle }\n\
     text.small { font-size: 11px; fill: #59636e } text.line { text-anchor: start }\n\
     rect { fill: #eef3fb; stroke: #4c78b8 } rect.end { fill: #f3f3f3; stroke: #8a8a8a } rect.memory { fill: #fbf1ea; stroke: #c2703d }\n\
     path { fill: none; stroke: #4c78b8; stroke-width: 1.4 } path.memory { stroke: #c2703d }\n\
     @media (prefers-color-scheme: dark) { text { fill: #e6edf3 } text.small { fill: #9198a1 } rect { fill: #1c2a3f } \
     rect.end { fill: #2a2a2a } rect.memory { fill: #3b2a1e } }\n</style>\n";

const BOX: (usize, usize) = (92, 34);
const COLUMN: usize = 140;
const ROW: usize = 54;
const MARGIN: usize = 20;

fn equations_svg(equations: &str) -> String {
    let lines: Vec<&str> = equations.lines().collect();
    let width = 360;
    let height = 2 * MARGIN + 22 * lines.len();
    let mut svg = open(width, height, "a recurrent cell");
    for (row, line) in lines.iter().enumerate() {
        let _ = writeln!(
            svg,
            "<text class=\"line\" x=\"{MARGIN}\" y=\"{}\">{line}</text>",
            MARGIN + 15 + 22 * row
        );
    }
    svg.push_str("</svg>\n");
    svg
}

/// The opening tag of a drawing, with its style.
fn open(width: usize, height: usize, label: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" role=\"img\" \
         aria-label=\"{label}\">\n{STYLE}"
    )
}

fn tree_svg(tree: &TreeCell) -> String {
    let positions = positions(tree);
    let root = tree.nodes.len() - 1;
    let rows = tree.base() + 2;
    // The first column holds the inputs of the leaves, the last one h'.
    let columns = positions
        .iter()
        .map(|(column, _)| column)
        .max()
        .unwrap_or(&0)
        + 3;
    let mut svg = open(
        2 * MARGIN + columns * COLUMN,
        2 * MARGIN + rows * ROW,
        &format!("a recurrent cell of base {}", tree.base()),
    );
    let corner = |node: usize| {
        (
            MARGIN + (positions[node].0 + 1) * COLUMN,
            MARGIN + positions[node].1 / 2,
        )
    };
    let (last_x, last_y) = corner(root);
    for (index, node) in tree.nodes.iter().enumerate() {
        let (x, y) = corner(index);
        if let Some((first, second)) = tree.children(index) {
            [first, second]
                .into_iter()
                .for_each(|child| edge(&mut svg, corner(child), (x, y)));
        } else {
            shape(
                &mut svg,
                "end",
                (MARGIN, y),
                "x, h",
                &format!("W{index}, R{index}"),
            );
            edge(&mut svg, (MARGIN, y), (x, y));
        }
        let class = if index == tree.cell_index {
            "memory"
        } else {
            "node"
        };
        shape(
            &mut svg,
            class,
            (x, y),
            &node_text(*node),
            &node_note(tree, index),
        );
    }
    edge(&mut svg, (last_x, last_y), (last_x + COLUMN, last_y));
    shape(&mut svg, "end", (last_x + COLUMN, last_y), "h'", "");
    cell_state_notes(&mut svg, tree);
    svg.push_str("</svg>\n");
    svg
}

/// Appends below the tree where the new cell state is taken and where the old one is injected.
fn cell_state_notes(svg: &mut String, tree: &TreeCell) {
    let below = MARGIN + tree.base() * ROW + ROW / 2;
    let notes = [
        format!("c' = node {} before its activation", tree.cell_index),
        format!(
            "node {} then joins c: {}",
            tree.inject_index,
            node_text(tree.inject)
        ),
    ];
    for (row, note) in notes.iter().enumerate() {
        let _ = writeln!(
            svg,
            "<text class=\"line\" x=\"{MARGIN}\" y=\"{}\">{note}</text>",
            below + 22 * row
        );
    }
}

fn node_text(node: CellNode) -> String {
    let sign = match node.combination {
        Combination::Add => "+",
        Combination::ElemMult => "⊙",
        Combination::Max => "max",
    };
    format!("{sign}  {}", node.activation.name())
}

fn node_note(tree: &TreeCell, node: usize) -> String {
    let out = if node == tree.cell_index {
        " → c'"
    } else {
        ""
    };
    let into = if node == tree.inject_index {
        " ← c"
    } else {
        ""
    };
    format!("{node}{out}{into}")
}

/// Column of each node (0 for a leaf) and twice its vertical position. The leaves stand one below
/// the other in the tree's order.
fn positions(tree: &TreeCell) -> Vec<(usize, usize)> {
    fn set_position(
        tree: &TreeCell,
        node: usize,
        next: &mut usize,
        positions: &mut [(usize, usize)],
    ) {
        positions[node] = match tree.children(node) {
            None => {
                *next += 1;
                (0, 2 * ROW * (*next - 1))
            }
            Some((first, second)) => {
                set_position(tree, first, next, positions);
                set_position(tree, second, next, positions);
                (
                    positions[first].0.max(positions[second].0) + 1,
                    usize::midpoint(positions[first].1, positions[second].1),
                )
            }
        };
    }
    let mut positions = vec![(0, 0); tree.nodes.len()];
    set_position(tree, tree.nodes.len() - 1, &mut 0, &mut positions);
    positions
}

/// Appends a box with a title and a note below it.
fn shape(svg: &mut String, class: &str, (x, y): (usize, usize), title: &str, note: &str) {
    let _ = writeln!(
        svg,
        "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{}\" height=\"{}\" rx=\"6\"/>\
         <text x=\"{middle}\" y=\"{}\">{title}</text><text class=\"small\" x=\"{middle}\" y=\"{}\">{note}</text>",
        BOX.0,
        BOX.1,
        y + 15,
        y + 29,
        middle = x + BOX.0 / 2
    );
}

/// Appends a connection between two boxes, given by their upper left corners.
fn edge(svg: &mut String, from: (usize, usize), to: (usize, usize)) {
    let start = (from.0 + BOX.0, from.1 + BOX.1 / 2);
    let end = (to.0, to.1 + BOX.1 / 2);
    let middle = usize::midpoint(start.0, end.0);
    let _ = writeln!(
        svg,
        "<path d=\"M{} {} C{middle} {} {middle} {} {} {}\"/>",
        start.0, start.1, start.1, end.1, end.0, end.1
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> CellNetwork {
        let node = |combination, activation| CellNode {
            combination,
            activation,
        };
        let nodes = vec![
            node(Combination::Add, Activation::Tanh),
            node(Combination::ElemMult, Activation::Relu),
            node(Combination::ElemMult, Activation::Sigmoid),
        ];
        let tree = TreeCell {
            nodes,
            inject: node(Combination::Add, Activation::Relu),
            cell_index: 1,
            inject_index: 0,
        };
        CellNetwork {
            cell: Cell::Tree(tree),
            model: None,
        }
    }

    #[test]
    fn the_text_is_the_papers_equations() {
        assert_eq!(
            text(&example()),
            "a0  = tanh(W0 x + R0 h)\nb0  = relu(a0 + c)\nc'  = W1 x ⊙ R1 h\na1  = relu(c')\na2  = σ(b0 ⊙ a1)\nh'  = a2\n"
        );
        assert_eq!(
            summary(&example()),
            "base 2: h' = σ(relu(tanh(W0 x+R0 h) + c) ⊙ relu(W1 x⊙R1 h)), c' from 1"
        );
    }

    #[test]
    fn a_drawing_has_every_node_and_every_connection() {
        let svg = cell_svg(&example());
        // Two leaves with their inputs, the root, h'.
        assert_eq!(
            (svg.matches("<rect").count(), svg.matches("<path").count()),
            (6, 5)
        );
        assert!(svg.contains("c' = node 1 before its activation"));
        let lstm = CellNetwork {
            cell: Cell::Reference {
                reference: ReferenceCell::Lstm,
            },
            model: None,
        };
        assert!(cell_svg(&lstm).contains("c'  = f ⊙ c + i ⊙ g"));
    }
}

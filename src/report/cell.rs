//! A recurrent cell in one line, as equations and as a drawing (SVG). Pure; must not know of runs.

use super::svg::{Anchor, Direction, Drawing, SMALL};
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

/// Draws the cell as a tree in the manner of the paper's figure 8: data flows from the leaves, which
/// take `x` and `h`, to `h'` on the right. A step is a circle, which combines its inputs, and a box,
/// its activation. `c` enters where the old cell state is injected, and `c'` leaves between circle
/// and box of the step that it is read at.
pub fn cell_svg(network: &CellNetwork) -> String {
    let (root, label) = match &network.cell {
        Cell::Tree(tree) => (
            tree_step(tree, tree.nodes.len() - 1),
            format!("a recurrent cell of base {}", tree.base()),
        ),
        Cell::Reference { reference } => (
            reference_step(*reference),
            format!("a recurrent cell: {}", reference.name()),
        ),
    };
    let mut sketch = Sketch {
        drawing: Drawing::new(),
        next_leaf: 0.0,
    };
    let root = sketch.step(&root);
    let end = root.right + OUTPUT_ROOM;
    sketch
        .drawing
        .line("next", (root.right, root.y), (end - 5.0, root.y));
    sketch.drawing.tip("tip", (end, root.y), Direction::Right);
    sketch.state("hidden", "h'", (end + STATE, root.y));
    sketch.drawing.finish(&label)
}

/// What a step takes: the output of another one, or `x`, `h` or `c`.
enum Input {
    Step(Step),
    Value(&'static str),
}

/// A step of a cell as it is drawn.
struct Step {
    inputs: Vec<Input>,
    /// None: it has one input.
    sign: Option<&'static str>,
    activation: Option<&'static str>,
    /// As the equations call its output; may be empty.
    name: String,
    /// c' is its value before the activation.
    is_cell_state: bool,
}

/// A node of a tree with all that stands below it, and with the injection of c if it has that.
fn tree_step(tree: &TreeCell, node: usize) -> Step {
    let CellNode {
        combination,
        activation,
    } = tree.nodes[node];
    let inputs = match tree.children(node) {
        Some((first, second)) => [first, second]
            .map(|child| Input::Step(tree_step(tree, child)))
            .into(),
        None => vec![Input::Value("x"), Input::Value("h")],
    };
    let step = Step {
        inputs,
        sign: Some(sign(combination)),
        activation: Some(activation.name()),
        name: format!("a{node}"),
        is_cell_state: node == tree.cell_index,
    };
    if node != tree.inject_index {
        return step;
    }
    Step {
        inputs: vec![Input::Step(step), Input::Value("c")],
        sign: Some(sign(tree.inject.combination)),
        activation: Some(tree.inject.activation.name()),
        name: format!("b{node}"),
        is_cell_state: false,
    }
}

fn sign(combination: Combination) -> &'static str {
    match combination {
        Combination::Add => "+",
        Combination::ElemMult => "×",
        Combination::Max => "max",
    }
}

/// The root of a reference cell: the tree that its equations are, biases left out.
fn reference_step(reference: ReferenceCell) -> Step {
    let step = |sign, activation, name: &str, inputs| Step {
        inputs,
        sign: Some(sign),
        activation,
        name: name.into(),
        is_cell_state: false,
    };
    let value = Input::Value;
    let gate = |activation, name: &str| {
        Input::Step(step(
            "+",
            Some(activation),
            name,
            vec![value("x"), value("h")],
        ))
    };
    let times = |first, second| Input::Step(step("×", None, "", vec![first, second]));
    match reference {
        ReferenceCell::Rnn => step("+", Some("tanh"), "", vec![value("x"), value("h")]),
        ReferenceCell::Lstm => {
            let kept = times(gate("sigmoid", "f"), value("c"));
            let new = times(gate("sigmoid", "i"), gate("tanh", "g"));
            let state = Step {
                is_cell_state: true,
                ..step("+", Some("tanh"), "", vec![kept, new])
            };
            let output = gate("sigmoid", "o");
            step("×", None, "", vec![Input::Step(state), output])
        }
        ReferenceCell::Gru => {
            let reset = times(gate("sigmoid", "r"), value("h"));
            let new = Input::Step(step("+", Some("tanh"), "n", vec![value("x"), reset]));
            let rest = Input::Step(Step {
                sign: None,
                ..step("", Some("1 − z"), "", vec![gate("sigmoid", "z")])
            });
            let kept = times(gate("sigmoid", "z"), value("h"));
            step("+", None, "", vec![times(rest, new), kept])
        }
    }
}

/// Radii of the circles of a combination, and of x, h and c.
const COMBINATION: f64 = 14.0;
const STATE: f64 = 11.0;

/// Width and height of an activation's box, and the line between it and its circle, which is long
/// enough for c' to leave.
const BOX: (f64, f64) = (74.0, 26.0);
const GAP: f64 = 14.0;

/// Distances between columns of steps and between leaves.
const COLUMN: f64 = 172.0;
const LEAF: f64 = 76.0;

/// Where a step's own x, h or c stands: so far to the left of its circle, and above or below, a
/// leaf's closer than what joins another step.
const ASIDE: f64 = 46.0;
const LEAF_ASIDE: f64 = 16.0;
const JOINING_ASIDE: f64 = 36.0;

/// Before h'.
const OUTPUT_ROOM: f64 = 34.0;

/// A cell's drawing under construction.
struct Sketch {
    drawing: Drawing,
    /// Where the next leaf stands.
    next_leaf: f64,
}

/// Where a step has been drawn: its column, its height and its right end.
struct Drawn {
    column: usize,
    y: f64,
    right: f64,
}

impl Sketch {
    /// Draws a step after all that it takes. Leaves stand one below the other in the tree's order,
    /// and every other step one column to the right of the rightmost step that it takes.
    fn step(&mut self, step: &Step) -> Drawn {
        let taken: Vec<Option<Drawn>> = step
            .inputs
            .iter()
            .map(|input| match input {
                Input::Step(step) => Some(self.step(step)),
                Input::Value(_) => None,
            })
            .collect();
        let steps = || taken.iter().flatten();
        let column = steps().map(|drawn| drawn.column + 1).max().unwrap_or(0);
        let y = if let (Some(first), Some(last)) = (steps().next(), steps().next_back()) {
            f64::midpoint(first.y, last.y)
        } else {
            self.next_leaf += LEAF;
            self.next_leaf - LEAF
        };
        let x = column as f64 * COLUMN;
        let distance = if steps().next().is_none() {
            LEAF_ASIDE
        } else {
            JOINING_ASIDE
        };
        for (index, (input, drawn)) in step.inputs.iter().zip(&taken).enumerate() {
            let side = if index == 0 { -distance } else { distance };
            match (input, drawn) {
                (Input::Value(name), _) => self.value(name, (x, y), side),
                (Input::Step(_), Some(Drawn { y: from, right, .. })) => {
                    let bend = x - COMBINATION - ASIDE;
                    let end = (x - COMBINATION, y);
                    self.drawing.swing("next", (*right, *from), bend, end);
                }
                (Input::Step(_), None) => {}
            }
        }
        let right = self.shapes(step, (x, y));
        Drawn { column, y, right }
    }

    /// Draws a step's own x, h or c, and its line into the circle at `to`.
    fn value(&mut self, name: &str, to: (f64, f64), side: f64) {
        let at = (to.0 - ASIDE, to.1 + side);
        let class = match name {
            "x" => "input",
            "h" => "hidden",
            _ => "state",
        };
        let length = ASIDE.hypot(side);
        let along = |distance: f64| {
            (
                at.0 + ASIDE * distance / length,
                at.1 - side * distance / length,
            )
        };
        let line = if class == "state" { "state" } else { "next" };
        self.drawing
            .line(line, along(STATE), along(length - COMBINATION));
        self.state(class, name, at);
    }

    /// Draws the circle and the box of a step whose circle stands here, and c' if it is read there.
    /// Returns where they end.
    fn shapes(&mut self, step: &Step, (x, y): (f64, f64)) -> f64 {
        let mut right = x - COMBINATION;
        if let Some(sign) = step.sign {
            right = x + COMBINATION;
            self.drawing.circle("combine", (x, y), COMBINATION);
            let (size, lowered) = if sign == "max" {
                (10.0, 3.2)
            } else {
                (18.0, 6.2)
            };
            let at = (x, y + lowered);
            self.drawing.text("sign", size, Anchor::Middle, at, sign);
        }
        let circle_end = right;
        if let Some(activation) = step.activation {
            let left = if step.sign.is_some() {
                right + GAP
            } else {
                right
            };
            right = left + BOX.0;
            self.drawing.line("next", (circle_end, y), (left, y));
            let corner = (left, y - BOX.1 / 2.0);
            // 1 − z is no activation of its own.
            let class = if activation.contains(' ') {
                "identity"
            } else {
                activation
            };
            self.drawing.rect(class, corner, BOX, 13.0, "");
            let middle = (left + BOX.0 / 2.0, y + 4.0);
            self.drawing
                .text("label", SMALL + 1.0, Anchor::Middle, middle, activation);
        }
        if step.is_cell_state {
            self.new_cell_state((circle_end + GAP / 2.0, y));
        }
        if !step.name.is_empty() {
            let below = (right - BOX.0 / 2.0, y + BOX.1 / 2.0 + 13.0);
            self.drawing
                .text("small", SMALL, Anchor::Middle, below, &step.name);
        }
        right
    }

    /// Draws c' above the line that it leaves.
    fn new_cell_state(&mut self, (x, y): (f64, f64)) {
        let end = y - JOINING_ASIDE + STATE;
        self.drawing.line("state", (x, y), (x, end + 5.0));
        self.drawing.tip("state-tip", (x, end), Direction::Up);
        self.drawing.circle("dot", (x, y), 2.5);
        self.state("state", "c'", (x, end - STATE));
    }

    fn state(&mut self, class: &str, name: &str, (x, y): (f64, f64)) {
        self.drawing.circle(class, (x, y), STATE);
        self.drawing
            .text("label", SMALL + 1.0, Anchor::Middle, (x, y + 4.0), name);
    }
}

#[cfg(test)]
mod tests {
    use super::super::svg::legible::{assert_legible, texts};
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

    /// A tree of so many leaves, its nodes of all kinds.
    fn tree(base: usize, cell_index: usize, inject_index: usize) -> CellNetwork {
        let combinations = [Combination::Add, Combination::ElemMult, Combination::Max];
        let activations = [
            Activation::Identity,
            Activation::Sigmoid,
            Activation::Tanh,
            Activation::Relu,
            Activation::Sin,
        ];
        let node = |index: usize| CellNode {
            combination: combinations[index % 3],
            activation: activations[index % 5],
        };
        CellNetwork {
            cell: Cell::Tree(TreeCell {
                nodes: (0..2 * base - 1).map(node).collect(),
                inject: node(base),
                cell_index,
                inject_index,
            }),
            model: None,
        }
    }

    fn reference(reference: ReferenceCell) -> CellNetwork {
        CellNetwork {
            cell: Cell::Reference { reference },
            model: None,
        }
    }

    /// How often each of x, h, c, c' and h' stands there.
    fn values(svg: &str) -> [usize; 5] {
        let texts = texts(svg);
        ["x", "h", "c", "c'", "h'"].map(|name| texts.iter().filter(|text| text.0 == name).count())
    }

    #[test]
    fn a_drawing_has_every_step_and_where_the_states_enter_and_leave() {
        let svg = cell_svg(&example());
        // Of each node its circle and its box, of the injection too; the paper is a box.
        assert_eq!(svg.matches("class=\"combine\"").count(), 3 + 1);
        assert_eq!(svg.matches("<rect").count(), 4 + 1);
        assert_eq!(values(&svg), [2, 2, 1, 1, 1]);
        for name in ["a0", "b0", "a1", "a2"] {
            assert!(
                svg.contains(&format!(">{name}<")),
                "{name} is missing: {svg}"
            );
        }
        let lstm = cell_svg(&reference(ReferenceCell::Lstm));
        assert_eq!(values(&lstm), [4, 4, 1, 1, 1]);
        let gru = cell_svg(&reference(ReferenceCell::Gru));
        // z stands there twice.
        assert_eq!(values(&gru), [4, 5, 0, 0, 1]);
    }

    #[test]
    fn cells_of_any_base_can_be_read_wherever_the_states_enter_and_leave() {
        for base in [1, 2, 3, 5, 8] {
            let nodes = 2 * base - 1;
            for cell_index in 0..nodes {
                for inject_index in 0..nodes {
                    assert_legible(&cell_svg(&tree(base, cell_index, inject_index)));
                }
            }
        }
        assert_legible(&cell_svg(&tree(16, 20, 3)));
        for cell in [ReferenceCell::Rnn, ReferenceCell::Lstm, ReferenceCell::Gru] {
            assert_legible(&cell_svg(&reference(cell)));
        }
        assert!(cell_svg(&tree(8, 12, 8)).contains(">b8<"));
    }
}

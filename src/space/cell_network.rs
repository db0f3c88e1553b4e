//! A recurrent cell as plain data: the paper's tree (§4) in canonical order, or a reference cell by
//! name. Must not know how cells are sampled, computed or trained.

use super::TreeError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a node joins its two inputs, element by element.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Combination {
    Add,
    ElemMult,
    Max,
}

/// What a node applies to the result, element by element.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    Identity,
    Tanh,
    Sigmoid,
    Relu,
    Sin,
}

/// A recurrent cell, and the language model that is built from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CellNetwork {
    #[serde(flatten)]
    pub cell: Cell,
    /// Unset: the sizes of the model around the cell are not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<LanguageModel>,
}

/// Which cell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Cell {
    /// A tree of steps.
    Tree(TreeCell),
    /// A cell that is not a tree.
    Reference { reference: ReferenceCell },
}

/// Cells from the literature that are not trees. NASCell is one: [`TreeCell::nascell`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReferenceCell {
    /// tanh(W x + R h + b)
    Rnn,
    Lstm,
    /// In PyTorch's form: the reset gate multiplies the recurrent product.
    Gru,
}

/// The sizes of the language model that a cell is trained in: embedding, layers of the cell,
/// softmax.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LanguageModel {
    /// Words (or characters), `<unk>` and `<eos>` among them.
    pub vocabulary: usize,
    /// Units of the embedding and of every layer.
    pub hidden: usize,
    pub layers: usize,
    /// The softmax uses the embedding's matrix.
    pub shared_embeddings: bool,
}

/// A full binary tree of steps (paper §4). Nodes 0 to base−1 are leaves: leaf i joins Wᵢ x and Rᵢ
/// h. Node base+k joins the outputs of nodes 2k and 2k+1; the last node is the root, and its output
/// is h'.
///
/// c is merged at `inject_index`: the node's output becomes
/// `inject.activation(inject.combination(output, c))`, and that is what its parent takes; at the
/// root it is h'. c' is the value of node `cell_index` before its activation; where that is the
/// node that also receives c, before the injection.
///
/// Both inputs of a node may change places (all combinations are commutative, and leaves differ in
/// their own weights alone), so a tree stands for all that come from it by exchanging subtrees of
/// one shape. [`TreeCell::new`] makes the same data of all of them: the smaller subtree stands
/// first. Equal trees are the same cell. Different ones may still compute the same for other
/// reasons, (a + b) + (c + d) in another grouping or a relu of what is never negative: that is not
/// looked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TreeCell {
    /// 2·base − 1 nodes in index order, leaves first.
    pub nodes: Vec<CellNode>,
    pub inject: CellNode,
    pub cell_index: usize,
    pub inject_index: usize,
}

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CellNode {
    pub combination: Combination,
    pub activation: Activation,
}

impl Combination {
    /// Its name in settings and architectures.
    pub fn name(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::ElemMult => "elem_mult",
            Self::Max => "max",
        }
    }
}

impl Activation {
    /// Its name in settings and architectures.
    pub fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Tanh => "tanh",
            Self::Sigmoid => "sigmoid",
            Self::Relu => "relu",
            Self::Sin => "sin",
        }
    }
}

impl ReferenceCell {
    /// rnn, lstm or gru.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rnn => "rnn",
            Self::Lstm => "lstm",
            Self::Gru => "gru",
        }
    }
}

impl Cell {
    /// What `named` knows.
    pub const NAMES: [&'static str; 4] = ["rnn", "lstm", "gru", "nascell"];

    /// A reference cell by its name: one of `NAMES`.
    pub fn named(name: &str) -> Option<Self> {
        let reference = match name {
            "rnn" => ReferenceCell::Rnn,
            "lstm" => ReferenceCell::Lstm,
            "gru" => ReferenceCell::Gru,
            "nascell" => return Some(Self::Tree(TreeCell::nascell())),
            _ => return None,
        };
        Some(Self::Reference { reference })
    }

    /// Pairs of matrices W [hidden, input] and R [hidden, hidden]: a tree's leaves, an LSTM's
    /// gates.
    pub fn gates(&self) -> usize {
        match self {
            Self::Tree(tree) => tree.base(),
            Self::Reference {
                reference: ReferenceCell::Rnn,
            } => 1,
            Self::Reference {
                reference: ReferenceCell::Lstm,
            } => 4,
            Self::Reference {
                reference: ReferenceCell::Gru,
            } => 3,
        }
    }

    /// Vectors of biases `[hidden]`: none in a tree; a GRU has one for W x and one for R h.
    pub fn biases(&self) -> usize {
        match self {
            Self::Tree(_) => 0,
            Self::Reference {
                reference: ReferenceCell::Gru,
            } => 6,
            Self::Reference { .. } => self.gates(),
        }
    }
}

impl CellNetwork {
    /// Parameters of the whole language model and FLOPs of one token's forward pass: 2 for each
    /// multiply-accumulate of the cells' matrices and of the softmax's.
    pub fn size(&self) -> Option<(u64, u64)> {
        let LanguageModel {
            vocabulary,
            hidden,
            layers,
            shared_embeddings,
        } = self.model?;
        let [vocabulary, hidden, layers] = [vocabulary, hidden, layers].map(|size| size as u64);
        let gates = self.cell.gates() as u64;
        let biases = self.cell.biases() as u64;
        let matrices = layers * gates * 2 * hidden * hidden;
        let embeddings = if shared_embeddings { 1 } else { 2 } * vocabulary * hidden;
        Some((
            embeddings + vocabulary + matrices + layers * biases * hidden,
            2 * (matrices + vocabulary * hidden),
        ))
    }
}

impl TreeCell {
    /// The cell of these tokens, in canonical order.
    ///
    /// # Errors
    /// The number of nodes is none of a full binary tree, or an index is none of a node.
    pub fn new(
        nodes: Vec<CellNode>,
        inject: CellNode,
        cell_index: usize,
        inject_index: usize,
    ) -> Result<Self, TreeError> {
        let tokens = Self {
            nodes,
            inject,
            cell_index,
            inject_index,
        };
        tokens.check()?;
        Ok(tokens.canonical())
    }

    /// Checks what `new` checks, for trees that were read from a file.
    ///
    /// # Errors
    /// As `new`.
    pub fn check(&self) -> Result<(), TreeError> {
        let nodes = self.nodes.len();
        if nodes < 3 || nodes.is_multiple_of(2) {
            return Err(TreeError::Nodes(nodes));
        }
        for (name, index) in [("cell", self.cell_index), ("inject", self.inject_index)] {
            if index >= nodes {
                return Err(TreeError::Index {
                    name,
                    index,
                    last: nodes - 1,
                });
            }
        }
        Ok(())
    }

    /// Leaves.
    pub fn base(&self) -> usize {
        self.nodes.len().div_ceil(2)
    }

    /// The two nodes whose outputs a node joins; None: it is a leaf.
    pub fn children(&self, node: usize) -> Option<(usize, usize)> {
        let pair = node.checked_sub(self.base())?;
        Some((2 * pair, 2 * pair + 1))
    }

    /// The cell that ships with TensorFlow, found by the paper's authors.
    pub fn nascell() -> Self {
        use Activation::{Identity, Relu, Sigmoid, Tanh};
        use Combination::{Add, ElemMult};
        let node = |(combination, activation)| CellNode {
            combination,
            activation,
        };
        let leaves = [
            (Add, Sigmoid),
            (Add, Relu),
            (Add, Sigmoid),
            (ElemMult, Relu),
            (Add, Tanh),
            (Add, Sigmoid),
            (Add, Tanh),
            (Add, Sigmoid),
        ];
        let inner = [
            (ElemMult, Tanh),
            (Add, Tanh),
            (ElemMult, Tanh),
            (Add, Sigmoid),
            (ElemMult, Identity),
            (Add, Tanh),
            (ElemMult, Tanh),
        ];
        let nodes = leaves.into_iter().chain(inner).map(node).collect();
        Self {
            nodes,
            inject: node((Add, Tanh)),
            cell_index: 12,
            inject_index: 8,
        }
    }

    /// The tree that stands for all that are the same cell: see [`TreeCell`].
    fn canonical(&self) -> Self {
        let root = self.nodes.len() - 1;
        let label = |node: usize| {
            let CellNode {
                combination,
                activation,
            } = self.nodes[node];
            // False sorts first: the node that receives c, then by activation and combination.
            (
                node != self.inject_index,
                activation,
                combination,
                node != self.cell_index,
            )
        };
        let from = self.branch(root, &label).order;
        let to = self.branch(root, &|_| ()).order;
        let mut position = vec![0; self.nodes.len()];
        let mut nodes = self.nodes.clone();
        for (&from, &to) in from.iter().zip(&to) {
            position[from] = to;
            nodes[to] = self.nodes[from];
        }
        Self {
            nodes,
            inject: self.inject,
            cell_index: position[self.cell_index],
            inject_index: position[self.inject_index],
        }
    }

    /// The subtree below `node`, the smaller of two of one shape first everywhere.
    fn branch<L: Ord>(&self, node: usize, label: &impl Fn(usize) -> L) -> Branch<L> {
        let mut branch = Branch {
            shape: vec![self.children(node).is_some()],
            labels: vec![label(node)],
            order: vec![node],
        };
        if let Some((first, second)) = self.children(node) {
            let first = self.branch(first, label);
            let second = self.branch(second, label);
            let exchange = (&second.shape, &second.labels) < (&first.shape, &first.labels);
            let pair = if exchange {
                [second, first]
            } else {
                [first, second]
            };
            for child in pair {
                branch.shape.extend(child.shape);
                branch.labels.extend(child.labels);
                branch.order.extend(child.order);
            }
        }
        branch
    }
}

/// A subtree, its nodes in pre-order.
struct Branch<L> {
    /// True: has children.
    shape: Vec<bool>,
    labels: Vec<L>,
    order: Vec<usize>,
}

//! What a recurrent cell computes between its matrix products: a small program over hidden vectors,
//! element by element. Knows nothing of how it is evaluated.

use crate::kernels::KernelError;

/// A value of a program: the place of the operation that makes it.
pub type Value = usize;

/// One operation on vectors `[hidden]`. Operands are earlier operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// W x + b of this gate.
    Input(usize),
    /// R h + b of this gate; h with its dropout mask.
    Recurrent(usize),
    /// A state before this step; 0 is h, without a mask.
    State(usize),
    Add(Value, Value),
    Mul(Value, Value),
    /// Where both are equal the gradient is halved between them, as in PyTorch.
    Max(Value, Value),
    /// 1 − z
    OneMinus(Value),
    Tanh(Value),
    Sigmoid(Value),
    /// The gradient at 0 is 0.
    Relu(Value),
    Sin(Value),
}

impl Op {
    /// The operations that it takes.
    pub fn operands(self) -> [Option<Value>; 2] {
        match self {
            Self::Input(_) | Self::Recurrent(_) | Self::State(_) => [None, None],
            Self::Add(a, b) | Self::Mul(a, b) | Self::Max(a, b) => [Some(a), Some(b)],
            Self::OneMinus(a) | Self::Tanh(a) | Self::Sigmoid(a) | Self::Relu(a) | Self::Sin(a) => {
                [Some(a), None]
            }
        }
    }
}

/// A recurrent cell: `gates` pairs of matrices W [hidden, input] and R [hidden, hidden], and the
/// program that makes the new states from their products and the old states.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CellProgram {
    /// Pairs of matrices.
    pub gates: usize,
    /// Each gate has a bias `[hidden]` beside W x.
    pub input_bias: bool,
    /// Each gate has a bias `[hidden]` beside R h.
    pub recurrent_bias: bool,
    pub ops: Vec<Op>,
    /// The new states, as many as there are states; the first is h', the layer's output.
    pub outputs: Vec<Value>,
}

/// How a node of a tree combines its inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Combination {
    Add,
    Mul,
    Max,
}

/// What is applied to a combination, element by element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Activation {
    Identity,
    /// 1 − z, as the gates of a GRU take it.
    OneMinus,
    Tanh,
    Sigmoid,
    Relu,
    Sin,
}

/// Names that [`CellProgram::named`] knows.
pub const NAMED: [&str; 4] = ["rnn", "lstm", "gru", "nascell"];

/// The largest number of operations: far more than any cell has.
const MAX_OPS: usize = 4_096;

impl CellProgram {
    /// How many states a step carries over: h, and often c.
    pub fn states(&self) -> usize {
        self.outputs.len()
    }

    /// Whether the program can be run.
    ///
    /// # Errors
    /// Names the operation that refers to a gate, state or value that is not there.
    pub fn check(&self) -> Result<(), KernelError> {
        let invalid = |text: String| Err(KernelError::Invalid(text));
        if self.gates == 0 || self.outputs.is_empty() || self.ops.len() > MAX_OPS {
            return invalid(format!(
                "a cell has at least a gate and a state, and at most {MAX_OPS} operations"
            ));
        }
        for (index, &op) in self.ops.iter().enumerate() {
            let there = match op {
                Op::Input(gate) | Op::Recurrent(gate) => gate < self.gates,
                Op::State(state) => state < self.states(),
                _ => op
                    .operands()
                    .into_iter()
                    .flatten()
                    .all(|operand| operand < index),
            };
            if !there {
                return invalid(format!(
                    "operation {index}, {op:?}, refers to something that is not there before it"
                ));
            }
        }
        match self
            .outputs
            .iter()
            .find(|output| **output >= self.ops.len())
        {
            Some(output) => invalid(format!(
                "a new state is operation {output}; there are {}",
                self.ops.len()
            )),
            None => Ok(()),
        }
    }

    /// A reference cell by its name: one of [`NAMED`].
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "rnn" => Self::rnn(),
            "lstm" => Self::lstm(),
            "gru" => Self::gru(),
            "nascell" => Self::nascell(),
            _ => return None,
        })
    }

    /// h' = tanh(W x + R h + b)
    pub fn rnn() -> Self {
        let mut program = Builder::default();
        let sum = program.gate(0, Combination::Add);
        let h = program.push(Op::Tanh(sum));
        program.finish(1, true, false, vec![h])
    }

    /// Gates in PyTorch's order i, f, g, o: c' = σ(f) ⊙ c + σ(i) ⊙ tanh(g); h' = σ(o) ⊙ tanh(c').
    /// One bias for each gate.
    pub fn lstm() -> Self {
        let mut program = Builder::default();
        let [i, f, g, o] = [0, 1, 2, 3].map(|gate| program.gate(gate, Combination::Add));
        let [i, f, g, o] = [Op::Sigmoid(i), Op::Sigmoid(f), Op::Tanh(g), Op::Sigmoid(o)]
            .map(|op| program.push(op));
        let c = program.push(Op::State(1));
        let carried = program.push(Op::Mul(f, c));
        let new = program.push(Op::Mul(i, g));
        let c = program.push(Op::Add(carried, new));
        let squashed = program.push(Op::Tanh(c));
        let h = program.push(Op::Mul(o, squashed));
        program.finish(4, true, false, vec![h, c])
    }

    /// In PyTorch's form and order r, z, n: n = tanh(W x + b + r ⊙ (R h + b)); h' = (1 − z) ⊙ n + z
    /// ⊙ h. Two biases for each gate.
    pub fn gru() -> Self {
        let mut program = Builder::default();
        let [r, z] = [0, 1].map(|gate| program.gate(gate, Combination::Add));
        let [r, z] = [Op::Sigmoid(r), Op::Sigmoid(z)].map(|op| program.push(op));
        let [x, recurrent] = [Op::Input(2), Op::Recurrent(2)].map(|op| program.push(op));
        let reset = program.push(Op::Mul(r, recurrent));
        let sum = program.push(Op::Add(x, reset));
        let n = program.push(Op::Tanh(sum));
        let h = program.push(Op::State(0));
        let open = program.push(Op::OneMinus(z));
        let new = program.push(Op::Mul(open, n));
        let carried = program.push(Op::Mul(z, h));
        let h = program.push(Op::Add(new, carried));
        program.finish(3, true, true, vec![h])
    }

    /// The cell that ships with TensorFlow; a tree without biases.
    pub fn nascell() -> Self {
        use Activation::{Identity, Relu, Sigmoid, Tanh};
        use Combination::{Add, Mul};
        let nodes = [
            (Add, Sigmoid),
            (Add, Relu),
            (Add, Sigmoid),
            (Mul, Relu),
            (Add, Tanh),
            (Add, Sigmoid),
            (Add, Tanh),
            (Add, Sigmoid),
            (Mul, Tanh),
            (Add, Tanh),
            (Mul, Tanh),
            (Add, Sigmoid),
            (Mul, Identity),
            (Add, Tanh),
            (Mul, Tanh),
        ];
        Self::tree(&nodes, (Add, Tanh), 12, 8)
    }

    /// A tree of 2·base − 1 nodes, leaves first: leaf i combines W x and R h of gate i, node base+k
    /// the outputs of nodes 2k and 2k+1; the last output is h'. c is combined with the output of
    /// node `inject_index` (at the root: h'); c' is node `cell_index` before its activation and
    /// before c is combined with it. Indices are those of nodes. No biases.
    pub fn tree(
        nodes: &[(Combination, Activation)],
        inject: (Combination, Activation),
        cell_index: usize,
        inject_index: usize,
    ) -> Self {
        let base = nodes.len().div_ceil(2);
        let mut program = Builder::default();
        let mut before = Vec::new();
        let mut after = Vec::new();
        for (node, &(combination, activation)) in nodes.iter().enumerate() {
            let combined = match node.checked_sub(base) {
                None => program.gate(node, combination),
                Some(index) => program.combine(combination, after[2 * index], after[2 * index + 1]),
            };
            let mut output = program.activate(activation, combined);
            if node == inject_index {
                let c = program.push(Op::State(1));
                let injected = program.combine(inject.0, output, c);
                output = program.activate(inject.1, injected);
            }
            before.push(combined);
            after.push(output);
        }
        let outputs = vec![after[nodes.len() - 1], before[cell_index]];
        program.finish(base, false, false, outputs)
    }
}

/// Collects operations.
#[derive(Default)]
struct Builder(Vec<Op>);

impl Builder {
    fn push(&mut self, op: Op) -> Value {
        self.0.push(op);
        self.0.len() - 1
    }

    fn gate(&mut self, gate: usize, combination: Combination) -> Value {
        let [x, h] = [Op::Input(gate), Op::Recurrent(gate)].map(|op| self.push(op));
        self.combine(combination, x, h)
    }

    fn combine(&mut self, combination: Combination, a: Value, b: Value) -> Value {
        self.push(match combination {
            Combination::Add => Op::Add(a, b),
            Combination::Mul => Op::Mul(a, b),
            Combination::Max => Op::Max(a, b),
        })
    }

    fn activate(&mut self, activation: Activation, a: Value) -> Value {
        match activation {
            Activation::Identity => a,
            Activation::OneMinus => self.push(Op::OneMinus(a)),
            Activation::Tanh => self.push(Op::Tanh(a)),
            Activation::Sigmoid => self.push(Op::Sigmoid(a)),
            Activation::Relu => self.push(Op::Relu(a)),
            Activation::Sin => self.push(Op::Sin(a)),
        }
    }

    fn finish(
        self,
        gates: usize,
        input_bias: bool,
        recurrent_bias: bool,
        outputs: Vec<Value>,
    ) -> CellProgram {
        CellProgram {
            gates,
            input_bias,
            recurrent_bias,
            ops: self.0,
            outputs,
        }
    }
}

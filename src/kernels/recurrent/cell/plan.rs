//! Turns a program into the steps that are run: the sum of a gate's two products becomes one
//! column, an activation is merged into the operation before it, values that nothing reads are left
//! out, and the order in which gradients are added up is fixed. Knows nothing of vectors.

use super::program::{Activation, CellProgram, Combination, Op, Value};

/// Where a value lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Location {
    /// A column of the gates' products.
    Column(usize),
    /// A state before the step.
    State(usize),
    /// Scratch.
    Scratch(usize),
}

/// out = activation(combination(a, b)); out is scratch of this number.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// None: the first operand alone.
    pub combination: Option<Combination>,
    pub activation: Activation,
    pub a: Location,
    /// The same as `a` where there is one operand.
    pub b: Location,
    pub out: usize,
    /// Backwards: whether this step is the first to send a gradient to a, to b.
    pub first: (bool, bool),
}

/// What is run at each step of a sequence.
pub struct Plan {
    pub steps: Vec<Step>,
    /// Vectors of scratch.
    pub scratch: usize,
    /// Where the new states lie, and whether each is the first to send a gradient there.
    pub outputs: Vec<(Location, bool)>,
    /// Columns of the products: first those of W x alone, then sums, then those of R h alone; the
    /// gate of each.
    pub columns: Vec<usize>,
    /// How many of them take part in W x (the first) and in R h (the last).
    pub input_columns: usize,
    pub recurrent_columns: usize,
    /// Columns and states that no gradient reaches.
    pub untouched: Vec<Location>,
}

impl Plan {
    /// `program` was checked.
    pub fn new(program: &CellProgram) -> Self {
        let uses = uses(program);
        let sums: Vec<Option<Value>> = (0..program.gates)
            .map(|gate| summed(program, gate, &uses))
            .collect();
        let gates = |sum: bool| {
            (0..program.gates)
                .filter(|gate| sums[*gate].is_some() == sum)
                .collect::<Vec<_>>()
        };
        let apart = gates(false);
        let together = gates(true);
        let columns = [apart.clone(), together.clone(), apart.clone()].concat();
        let column = |gate: usize, recurrent: bool| {
            let index = |gates: &[usize]| gates.iter().position(|other| *other == gate);
            match (index(&together), recurrent) {
                (Some(index), _) => Location::Column(apart.len() + index),
                (None, false) => Location::Column(index(&apart).unwrap_or(0)),
                (None, true) => {
                    Location::Column(apart.len() + together.len() + index(&apart).unwrap_or(0))
                }
            }
        };
        let mut builder = Builder {
            locations: Vec::new(),
            steps: Vec::new(),
            uses: &uses,
        };
        for (value, &op) in program.ops.iter().enumerate() {
            let location = match op {
                Op::Input(gate) => column(gate, false),
                Op::Recurrent(gate) => column(gate, true),
                Op::State(state) => Location::State(state),
                Op::Add(..) if sums.contains(&Some(value)) => {
                    let gate = sums.iter().position(|sum| *sum == Some(value)).unwrap_or(0);
                    column(gate, false)
                }
                Op::Add(a, b) => builder.combine(Combination::Add, a, b),
                Op::Mul(a, b) => builder.combine(Combination::Mul, a, b),
                Op::Max(a, b) => builder.combine(Combination::Max, a, b),
                Op::OneMinus(a) => builder.apply(Activation::OneMinus, a),
                Op::Tanh(a) => builder.apply(Activation::Tanh, a),
                Op::Sigmoid(a) => builder.apply(Activation::Sigmoid, a),
                Op::Relu(a) => builder.apply(Activation::Relu, a),
                Op::Sin(a) => builder.apply(Activation::Sin, a),
            };
            builder.locations.push(location);
        }
        let outputs: Vec<Location> = program
            .outputs
            .iter()
            .map(|output| builder.locations[*output])
            .collect();
        let steps = needed(builder.steps, &outputs);
        let scratch = steps.iter().map(|step| step.out + 1).max().unwrap_or(0);
        let all = (0..columns.len())
            .map(Location::Column)
            .chain((0..program.states()).map(Location::State))
            .collect();
        let mut plan = Self {
            steps,
            scratch,
            outputs: Vec::new(),
            columns,
            input_columns: program.gates,
            recurrent_columns: program.gates,
            untouched: all,
        };
        plan.order_gradients(&outputs);
        plan
    }

    fn order_gradients(&mut self, outputs: &[Location]) {
        let mut reached: Vec<Location> = Vec::new();
        let mut first = |location: Location| {
            let first = !reached.contains(&location);
            if first {
                reached.push(location);
            }
            first
        };
        self.outputs = outputs
            .iter()
            .map(|&location| (location, first(location)))
            .collect();
        for step in self.steps.iter_mut().rev() {
            step.first.0 = first(step.a);
            if step.combination.is_some() {
                step.first.1 = first(step.b);
            }
        }
        self.untouched
            .retain(|location| !reached.contains(location));
    }
}

struct Builder<'a> {
    locations: Vec<Location>,
    steps: Vec<Step>,
    uses: &'a [usize],
}

impl Builder<'_> {
    fn combine(&mut self, combination: Combination, a: Value, b: Value) -> Location {
        self.step(
            Some(combination),
            Activation::Identity,
            self.locations[a],
            self.locations[b],
        )
    }

    /// Merges the activation into the step that made the operand, where nothing else reads its
    /// result.
    fn apply(&mut self, activation: Activation, a: Value) -> Location {
        let location = self.locations[a];
        if let Location::Scratch(out) = location
            && self.uses[a] == 1
            && self.steps[out].activation == Activation::Identity
        {
            self.steps[out].activation = activation;
            return location;
        }
        self.step(None, activation, location, location)
    }

    /// Until `needed` has run, a step's scratch has the step's index in the list.
    fn step(
        &mut self,
        combination: Option<Combination>,
        activation: Activation,
        a: Location,
        b: Location,
    ) -> Location {
        let out = self.steps.len();
        self.steps.push(Step {
            combination,
            activation,
            a,
            b,
            out,
            first: (false, false),
        });
        Location::Scratch(out)
    }
}

/// How often each value is an operand or a new state.
fn uses(program: &CellProgram) -> Vec<usize> {
    let mut uses = vec![0; program.ops.len()];
    let operands = program.ops.iter().flat_map(|op| op.operands()).flatten();
    operands
        .chain(program.outputs.iter().copied())
        .for_each(|value| uses[value] += 1);
    uses
}

/// The operation that adds both products of a gate, where they are used for nothing else.
fn summed(program: &CellProgram, gate: usize, uses: &[usize]) -> Option<Value> {
    let only = |op: Op| {
        let mut indices = program
            .ops
            .iter()
            .enumerate()
            .filter(|(_, other)| **other == op)
            .map(|(index, _)| index);
        let index = indices.next()?;
        (indices.next().is_none() && uses[index] == 1).then_some(index)
    };
    let x = only(Op::Input(gate))?;
    let h = only(Op::Recurrent(gate))?;
    program
        .ops
        .iter()
        .position(|op| *op == Op::Add(x, h) || *op == Op::Add(h, x))
}

/// The steps that the new states depend on.
fn needed(steps: Vec<Step>, outputs: &[Location]) -> Vec<Step> {
    let mut needed = vec![false; steps.len()];
    let mark = |location: Location, needed: &mut [bool]| {
        if let Location::Scratch(step) = location {
            needed[step] = true;
        }
    };
    outputs
        .iter()
        .for_each(|location| mark(*location, &mut needed));
    for (index, step) in steps.iter().enumerate().rev() {
        if needed[index] {
            mark(step.a, &mut needed);
            mark(step.b, &mut needed);
        }
    }
    steps
        .into_iter()
        .zip(needed)
        .filter_map(|(step, needed)| needed.then_some(step))
        .collect()
}

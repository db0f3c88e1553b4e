//! A program made ready: sums of two products become one column, an activation joins the operation
//! before it, what nobody needs is left out, and the order in which gradients arrive is settled.
//! Knows nothing of vectors.

use super::program::{CellProgram, Op, Value};

/// Where a value lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A column of the gates' products.
    Column(usize),
    /// A state before the step.
    State(usize),
    /// Scratch.
    Scratch(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joined {
    /// The first operand alone.
    First,
    Add,
    Mul,
    Max,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    Identity,
    OneMinus,
    Tanh,
    Sigmoid,
    Relu,
    Sin,
}

/// out = applied(joined(a, b)); out is scratch of this number.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    pub joined: Joined,
    pub applied: Applied,
    pub a: Place,
    /// The same as `a` where there is one operand.
    pub b: Place,
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
    pub outputs: Vec<(Place, bool)>,
    /// Columns of the products: first those of W x alone, then sums, then those of R h alone; the
    /// gate of each.
    pub columns: Vec<usize>,
    /// How many of them take part in W x (the first) and in R h (the last).
    pub input_columns: usize,
    pub recurrent_columns: usize,
    /// Columns and states that no gradient reaches.
    pub untouched: Vec<Place>,
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
                .filter(move |_| true)
                .filter({
                    let sums = &sums;
                    move |gate| sums[*gate].is_some() == sum
                })
                .collect::<Vec<_>>()
        };
        let (apart, together) = (gates(false), gates(true));
        let columns = [apart.clone(), together.clone(), apart.clone()].concat();
        let column = |gate: usize, recurrent: bool| {
            let place = |gates: &[usize]| gates.iter().position(|other| *other == gate);
            match (place(&together), recurrent) {
                (Some(place), _) => Place::Column(apart.len() + place),
                (None, false) => Place::Column(place(&apart).unwrap_or(0)),
                (None, true) => {
                    Place::Column(apart.len() + together.len() + place(&apart).unwrap_or(0))
                }
            }
        };
        let mut builder = Builder {
            places: Vec::new(),
            steps: Vec::new(),
            uses: &uses,
        };
        for (value, &op) in program.ops.iter().enumerate() {
            let place = match op {
                Op::Input(gate) => column(gate, false),
                Op::Recurrent(gate) => column(gate, true),
                Op::State(state) => Place::State(state),
                Op::Add(..) if sums.contains(&Some(value)) => {
                    let gate = sums.iter().position(|sum| *sum == Some(value)).unwrap_or(0);
                    column(gate, false)
                }
                Op::Add(a, b) => builder.join(Joined::Add, a, b),
                Op::Mul(a, b) => builder.join(Joined::Mul, a, b),
                Op::Max(a, b) => builder.join(Joined::Max, a, b),
                Op::OneMinus(a) => builder.apply(Applied::OneMinus, a),
                Op::Tanh(a) => builder.apply(Applied::Tanh, a),
                Op::Sigmoid(a) => builder.apply(Applied::Sigmoid, a),
                Op::Relu(a) => builder.apply(Applied::Relu, a),
                Op::Sin(a) => builder.apply(Applied::Sin, a),
            };
            builder.places.push(place);
        }
        let outputs: Vec<Place> = program
            .outputs
            .iter()
            .map(|output| builder.places[*output])
            .collect();
        let steps = needed(builder.steps, &outputs);
        let scratch = steps.iter().map(|step| step.out + 1).max().unwrap_or(0);
        let all = (0..columns.len())
            .map(Place::Column)
            .chain((0..program.states()).map(Place::State))
            .collect();
        let (input_columns, recurrent_columns) = (program.gates, program.gates);
        let mut plan = Self {
            steps,
            scratch,
            outputs: Vec::new(),
            columns,
            input_columns,
            recurrent_columns,
            untouched: all,
        };
        plan.order_gradients(&outputs);
        plan
    }

    fn order_gradients(&mut self, outputs: &[Place]) {
        let mut reached: Vec<Place> = Vec::new();
        let mut first = |place: Place| {
            let first = !reached.contains(&place);
            if first {
                reached.push(place);
            }
            first
        };
        self.outputs = outputs.iter().map(|&place| (place, first(place))).collect();
        for step in self.steps.iter_mut().rev() {
            step.first.0 = first(step.a);
            if matches!(step.joined, Joined::Add | Joined::Mul | Joined::Max) {
                step.first.1 = first(step.b);
            }
        }
        self.untouched.retain(|place| !reached.contains(place));
    }
}

struct Builder<'a> {
    places: Vec<Place>,
    steps: Vec<Step>,
    uses: &'a [usize],
}

impl Builder<'_> {
    fn join(&mut self, joined: Joined, a: Value, b: Value) -> Place {
        self.step(joined, Applied::Identity, self.places[a], self.places[b])
    }

    /// Joins the step that made the operand, where nobody else needs what it made.
    fn apply(&mut self, applied: Applied, a: Value) -> Place {
        let place = self.places[a];
        if let Place::Scratch(out) = place
            && self.uses[a] == 1
            && self.steps[out].applied == Applied::Identity
        {
            self.steps[out].applied = applied;
            return place;
        }
        self.step(Joined::First, applied, place, place)
    }

    /// Until `needed`, a step's scratch is its own place in the list.
    fn step(&mut self, joined: Joined, applied: Applied, a: Place, b: Place) -> Place {
        let out = self.steps.len();
        self.steps.push(Step {
            joined,
            applied,
            a,
            b,
            out,
            first: (false, false),
        });
        Place::Scratch(out)
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
        let mut places = program
            .ops
            .iter()
            .enumerate()
            .filter(|(_, other)| **other == op)
            .map(|(place, _)| place);
        let place = places.next()?;
        (places.next().is_none() && uses[place] == 1).then_some(place)
    };
    let (x, h) = (only(Op::Input(gate))?, only(Op::Recurrent(gate))?);
    program
        .ops
        .iter()
        .position(|op| *op == Op::Add(x, h) || *op == Op::Add(h, x))
}

/// The steps that the new states depend on.
fn needed(steps: Vec<Step>, outputs: &[Place]) -> Vec<Step> {
    let mut needed = vec![false; steps.len()];
    let mark = |place: Place, needed: &mut [bool]| {
        if let Place::Scratch(step) = place {
            needed[step] = true;
        }
    };
    outputs.iter().for_each(|place| mark(*place, &mut needed));
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

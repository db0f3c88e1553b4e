//! Runs a plan over rows of hidden vectors, forwards and backwards. Knows nothing of matrix
//! products.
//!
//! A row is worked on in pieces that stay in the first cache. Backwards the values are computed
//! again from the products: that is cheaper than to keep them.

use super::plan::{Location, Plan, Step};
use super::program::{Activation, Combination};
use crate::kernels::simd::functions;
use crate::kernels::simd::{PointerKernel, Vector};
use std::ops::Range;

/// Numbers of a piece; a multiple of every vector's width.
pub const PIECE: usize = 256;

/// Numbers of scratch that a task needs.
pub fn scratch_len(plan: &Plan) -> usize {
    2 * plan.scratch * PIECE
}

/// Where the rows of one step lie; hidden vectors are padded to whole vectors.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    pub plan: &'a Plan,
    /// Padded units; whole vectors.
    pub hidden: usize,
    pub batch: usize,
    /// [batch, columns, hidden]
    pub products: *const f32,
    /// [states, batch, hidden], before the step.
    pub before: *const f32,
}

// SAFETY: addresses only; tasks work on rows of their own.
unsafe impl Send for Rows<'_> {}
// SAFETY: as for Send: what is shared is addresses, and tasks work on rows of their own.
unsafe impl Sync for Rows<'_> {}

/// A piece of a row.
#[derive(Clone, Copy)]
struct Piece<'a> {
    rows: Rows<'a>,
    row: usize,
    first: usize,
    len: usize,
}

impl<'a> Rows<'a> {
    fn pieces(self, range: Range<usize>) -> impl Iterator<Item = Piece<'a>> {
        let piece = move |row, first: usize| Piece {
            rows: self,
            row,
            first,
            len: PIECE.min(self.hidden - first),
        };
        range.flat_map(move |row| {
            (0..self.hidden)
                .step_by(PIECE)
                .map(move |first| piece(row, first))
        })
    }
}

impl Piece<'_> {
    /// Offset of a column in the products, or in their gradients.
    fn column(&self, column: usize) -> usize {
        (self.row * self.rows.plan.columns.len() + column) * self.rows.hidden + self.first
    }

    /// Offset of a state, or of its gradient.
    fn state(&self, state: usize) -> usize {
        (state * self.rows.batch + self.row) * self.rows.hidden + self.first
    }

    /// # Safety
    /// Products and old states have this piece, `scratch` what the plan needs.
    #[inline(always)]
    unsafe fn value(&self, location: Location, scratch: *mut f32) -> *const f32 {
        // SAFETY: a plan names columns, states and scratch that there are, and the caller vouches
        // for memory that has them.
        unsafe {
            match location {
                Location::Column(column) => self.rows.products.add(self.column(column)),
                Location::State(state) => self.rows.before.add(self.state(state)),
                Location::Scratch(number) => scratch.add(number * PIECE),
            }
        }
    }

    /// Computes all values of the plan.
    ///
    /// # Safety
    /// As `value`; nobody else uses `scratch`.
    #[inline(always)]
    unsafe fn values<V: Vector>(&self, scratch: *mut f32) {
        for step in &self.rows.plan.steps {
            // SAFETY: a step reads columns, states and scratch of the plan, and writes its own
            // scratch, all `len` numbers long; the caller vouches for their memory.
            unsafe {
                let a = self.value(step.a, scratch);
                let b = self.value(step.b, scratch);
                let line = Line {
                    a,
                    b,
                    out: scratch.add(step.out * PIECE),
                    len: self.len,
                };
                visit::<V, _>(step, line);
            }
        }
    }
}

/// The new states of some rows.
pub struct Forward<'a> {
    pub rows: Rows<'a>,
    pub range: Range<usize>,
    /// [states, batch, hidden], after the step.
    pub after: *mut f32,
    /// `scratch_len` numbers.
    pub scratch: *mut f32,
}

impl PointerKernel for Forward<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        for piece in self.rows.pieces(self.range) {
            // SAFETY: products and old states hold every piece of `range`, scratch the plan's
            // values, and `after` a row for each state, as the type says; the task alone works on
            // its rows.
            unsafe {
                piece.values::<V>(self.scratch);
                for (state, &(location, _)) in self.rows.plan.outputs.iter().enumerate() {
                    let from = piece.value(location, self.scratch);
                    from.copy_to(self.after.add(piece.state(state)), piece.len);
                }
            }
        }
    }
}

/// The gradients of products and old states from those of the new states.
pub struct Backward<'a> {
    pub rows: Rows<'a>,
    pub range: Range<usize>,
    /// [states, batch, hidden]
    pub d_after: *const f32,
    /// As `Rows::products`; overwritten.
    pub d_products: *mut f32,
    /// [states, batch, hidden]; overwritten.
    pub d_before: *mut f32,
    /// `scratch_len` numbers.
    pub scratch: *mut f32,
}

impl PointerKernel for Backward<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let plan = self.rows.plan;
        for piece in self.rows.pieces(self.range.clone()) {
            // SAFETY: values and gradients hold every piece of `range`, and scratch twice the
            // plan's values, as the type says; pieces are whole vectors; the task alone works on
            // its rows.
            unsafe {
                piece.values::<V>(self.scratch);
                for location in &plan.untouched {
                    self.gradient(&piece, *location).write_bytes(0, piece.len);
                }
                for (state, &(location, first)) in plan.outputs.iter().enumerate() {
                    let from = self.d_after.add(piece.state(state));
                    let to = self.gradient(&piece, location);
                    for i in (0..piece.len).step_by(V::WIDTH) {
                        let d = V::load(from.add(i));
                        let d = if first { d } else { d.add(V::load(to.add(i))) };
                        d.store(to.add(i));
                    }
                }
                for step in plan.steps.iter().rev() {
                    let a = piece.value(step.a, self.scratch);
                    let b = piece.value(step.b, self.scratch);
                    let line = BackLine {
                        line: Line {
                            a,
                            b,
                            out: self.scratch.add(step.out * PIECE),
                            len: piece.len,
                        },
                        d_out: self.gradient(&piece, Location::Scratch(step.out)),
                        d_a: self.gradient(&piece, step.a),
                        d_b: self.gradient(&piece, step.b),
                        first: step.first,
                    };
                    visit::<V, _>(step, line);
                }
            }
        }
    }
}

impl Backward<'_> {
    /// # Safety
    /// The piece is one of the task's rows.
    #[inline(always)]
    unsafe fn gradient(&self, piece: &Piece, location: Location) -> *mut f32 {
        // SAFETY: a plan names columns, states and scratch that there are, and the type says that
        // the gradients' memory has them.
        unsafe {
            match location {
                Location::Column(column) => self.d_products.add(piece.column(column)),
                Location::State(state) => self.d_before.add(piece.state(state)),
                Location::Scratch(number) => {
                    self.scratch.add((self.rows.plan.scratch + number) * PIECE)
                }
            }
        }
    }
}

/// How two vectors become one.
trait Combine {
    fn combine<V: Vector>(a: V, b: V) -> V;
    /// The gradients of a and, with two operands, of b.
    fn back<V: Vector>(d: V, a: V, b: V) -> (V, Option<V>);
}

/// What is applied to the result.
trait Activate {
    fn activate<V: Vector>(combined: V) -> V;
    /// From the gradient of `value` that of `combined`.
    fn back<V: Vector>(d: V, combined: V, value: V) -> V;
}

/// Something done along a line for a known pair of them.
trait Visitor {
    /// # Safety
    /// The visitor's pointers are valid for its length.
    unsafe fn visit<V: Vector, C: Combine, A: Activate>(self);
}

struct Line {
    a: *const f32,
    b: *const f32,
    out: *mut f32,
    len: usize,
}

impl Visitor for Line {
    #[inline(always)]
    unsafe fn visit<V: Vector, C: Combine, A: Activate>(self) {
        for i in (0..self.len).step_by(V::WIDTH) {
            // SAFETY: the maker vouches for `len` numbers of each operand and of the result, and
            // `len` is a multiple of the width.
            unsafe {
                A::activate(C::combine(V::load(self.a.add(i)), V::load(self.b.add(i))))
                    .store(self.out.add(i));
            }
        }
    }
}

struct BackLine {
    line: Line,
    d_out: *const f32,
    d_a: *mut f32,
    d_b: *mut f32,
    first: (bool, bool),
}

impl Visitor for BackLine {
    #[inline(always)]
    unsafe fn visit<V: Vector, C: Combine, A: Activate>(self) {
        for i in (0..self.line.len).step_by(V::WIDTH) {
            // SAFETY: the maker vouches for `len` numbers of values and gradients, and `len` is a
            // multiple of the width.
            unsafe {
                let a = V::load(self.line.a.add(i));
                let b = V::load(self.line.b.add(i));
                let d = A::back(
                    V::load(self.d_out.add(i)),
                    C::combine(a, b),
                    V::load(self.line.out.add(i)),
                );
                let (d_a, d_b) = C::back(d, a, b);
                accumulate_gradient(d_a, self.d_a.add(i), self.first.0);
                // After a's: both may be one value.
                if let Some(d_b) = d_b {
                    accumulate_gradient(d_b, self.d_b.add(i), self.first.1);
                }
            }
        }
    }
}

/// Adds to a gradient, or begins it.
///
/// # Safety
/// `to` points to a readable and writable vector.
#[inline(always)]
unsafe fn accumulate_gradient<V: Vector>(d: V, to: *mut f32, first: bool) {
    // SAFETY: the caller vouches for a vector at `to`.
    unsafe { if first { d } else { d.add(V::load(to)) }.store(to) }
}

/// Calls the visitor with the types of a step.
///
/// # Safety
/// The visitor's pointers are valid for its length.
#[inline(always)]
unsafe fn visit<V: Vector, T: Visitor>(step: &Step, visitor: T) {
    // SAFETY: the caller vouches for what the visitor follows.
    unsafe {
        match step.combination {
            None => visit_activation::<V, First, T>(step.activation, visitor),
            Some(Combination::Add) => visit_activation::<V, Add, T>(step.activation, visitor),
            Some(Combination::Mul) => visit_activation::<V, Mul, T>(step.activation, visitor),
            Some(Combination::Max) => visit_activation::<V, Max, T>(step.activation, visitor),
        }
    }
}

/// # Safety
/// As `visit`.
#[inline(always)]
unsafe fn visit_activation<V: Vector, C: Combine, T: Visitor>(activation: Activation, visitor: T) {
    // SAFETY: the caller vouches for what the visitor follows.
    unsafe {
        match activation {
            Activation::Identity => visitor.visit::<V, C, Identity>(),
            Activation::OneMinus => visitor.visit::<V, C, OneMinus>(),
            Activation::Tanh => visitor.visit::<V, C, Tanh>(),
            Activation::Sigmoid => visitor.visit::<V, C, Sigmoid>(),
            Activation::Relu => visitor.visit::<V, C, Relu>(),
            Activation::Sin => visitor.visit::<V, C, Sin>(),
        }
    }
}

struct First;
struct Add;
struct Mul;
struct Max;
struct Identity;
struct OneMinus;
struct Tanh;
struct Sigmoid;
struct Relu;
struct Sin;

impl Combine for First {
    #[inline(always)]
    fn combine<V: Vector>(a: V, _b: V) -> V {
        a
    }

    #[inline(always)]
    fn back<V: Vector>(d: V, _a: V, _b: V) -> (V, Option<V>) {
        (d, None)
    }
}

impl Combine for Add {
    #[inline(always)]
    fn combine<V: Vector>(a: V, b: V) -> V {
        a.add(b)
    }

    #[inline(always)]
    fn back<V: Vector>(d: V, _a: V, _b: V) -> (V, Option<V>) {
        (d, Some(d))
    }
}

impl Combine for Mul {
    #[inline(always)]
    fn combine<V: Vector>(a: V, b: V) -> V {
        a.mul(b)
    }

    #[inline(always)]
    fn back<V: Vector>(d: V, a: V, b: V) -> (V, Option<V>) {
        (d.mul(b), Some(d.mul(a)))
    }
}

impl Combine for Max {
    #[inline(always)]
    fn combine<V: Vector>(a: V, b: V) -> V {
        a.max(b)
    }

    #[inline(always)]
    fn back<V: Vector>(d: V, a: V, b: V) -> (V, Option<V>) {
        let half = d.mul(V::splat(0.5));
        let zero = V::splat(0.0);
        let tied_or =
            |wins: V, loses: V| a.select_greater(b, wins, b.select_greater(a, loses, half));
        (tied_or(d, zero), Some(tied_or(zero, d)))
    }
}

impl Activate for Identity {
    #[inline(always)]
    fn activate<V: Vector>(combined: V) -> V {
        combined
    }

    #[inline(always)]
    fn back<V: Vector>(d: V, _combined: V, _value: V) -> V {
        d
    }
}

impl Activate for OneMinus {
    #[inline(always)]
    fn activate<V: Vector>(combined: V) -> V {
        V::splat(1.0).sub(combined)
    }

    #[inline(always)]
    fn back<V: Vector>(d: V, _combined: V, _value: V) -> V {
        V::splat(0.0).sub(d)
    }
}

impl Activate for Tanh {
    #[inline(always)]
    fn activate<V: Vector>(combined: V) -> V {
        functions::tanh(combined)
    }

    #[inline(always)]
    fn back<V: Vector>(d: V, _combined: V, value: V) -> V {
        d.sub(d.mul(value.mul(value)))
    }
}

impl Activate for Sigmoid {
    #[inline(always)]
    fn activate<V: Vector>(combined: V) -> V {
        functions::sigmoid(combined)
    }

    #[inline(always)]
    fn back<V: Vector>(d: V, _combined: V, value: V) -> V {
        d.mul(value.sub(value.mul(value)))
    }
}

impl Activate for Relu {
    #[inline(always)]
    fn activate<V: Vector>(combined: V) -> V {
        // The second operand is the result where it is NaN.
        V::splat(0.0).max(combined)
    }

    #[inline(always)]
    fn back<V: Vector>(d: V, _combined: V, value: V) -> V {
        d.where_positive(value)
    }
}

impl Activate for Sin {
    #[inline(always)]
    fn activate<V: Vector>(combined: V) -> V {
        functions::sin(combined)
    }

    #[inline(always)]
    fn back<V: Vector>(d: V, combined: V, _value: V) -> V {
        d.mul(functions::cos(combined))
    }
}

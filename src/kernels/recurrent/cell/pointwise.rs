//! Runs a plan over rows of hidden vectors, forwards and backwards. Knows nothing of matrix
//! products.
//!
//! A row is worked on in pieces that stay in the first cache. Backwards the values are computed
//! again from the products: that is cheaper than to keep them.

use super::plan::{Applied, Joined, Place, Plan, Step};
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
// SAFETY: as above.
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

    #[inline(always)]
    unsafe fn value(&self, place: Place, scratch: *mut f32) -> *const f32 {
        // SAFETY: a plan's places exist; see the makers of `Rows`.
        unsafe {
            match place {
                Place::Column(column) => self.rows.products.add(self.column(column)),
                Place::State(state) => self.rows.before.add(self.state(state)),
                Place::Scratch(number) => scratch.add(number * PIECE),
            }
        }
    }

    #[inline(always)]
    unsafe fn values<V: Vector>(&self, scratch: *mut f32) {
        for step in &self.rows.plan.steps {
            // SAFETY: as for `value`.
            unsafe {
                let (a, b) = (self.value(step.a, scratch), self.value(step.b, scratch));
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
            // SAFETY: the maker's contract.
            unsafe {
                piece.values::<V>(self.scratch);
                for (state, &(place, _)) in self.rows.plan.outputs.iter().enumerate() {
                    let from = piece.value(place, self.scratch);
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
            // SAFETY: the maker's contract.
            unsafe {
                piece.values::<V>(self.scratch);
                for place in &plan.untouched {
                    self.gradient(&piece, *place).write_bytes(0, piece.len);
                }
                for (state, &(place, first)) in plan.outputs.iter().enumerate() {
                    let (from, to) = (
                        self.d_after.add(piece.state(state)),
                        self.gradient(&piece, place),
                    );
                    for i in (0..piece.len).step_by(V::WIDTH) {
                        let d = V::load(from.add(i));
                        let d = if first { d } else { d.add(V::load(to.add(i))) };
                        d.store(to.add(i));
                    }
                }
                for step in plan.steps.iter().rev() {
                    let (a, b) = (
                        piece.value(step.a, self.scratch),
                        piece.value(step.b, self.scratch),
                    );
                    let line = BackLine {
                        line: Line {
                            a,
                            b,
                            out: self.scratch.add(step.out * PIECE),
                            len: piece.len,
                        },
                        d_out: self.gradient(&piece, Place::Scratch(step.out)),
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
    #[inline(always)]
    unsafe fn gradient(&self, piece: &Piece, place: Place) -> *mut f32 {
        // SAFETY: a plan's places exist; see the maker.
        unsafe {
            match place {
                Place::Column(column) => self.d_products.add(piece.column(column)),
                Place::State(state) => self.d_before.add(piece.state(state)),
                Place::Scratch(number) => {
                    self.scratch.add((self.rows.plan.scratch + number) * PIECE)
                }
            }
        }
    }
}

/// How two vectors become one.
trait Join {
    fn join<V: Vector>(a: V, b: V) -> V;
    /// The gradients of a and, with two operands, of b.
    fn back<V: Vector>(d: V, a: V, b: V) -> (V, Option<V>);
}

/// What is applied to the result.
trait Apply {
    fn apply<V: Vector>(joined: V) -> V;
    /// From the gradient of `value` that of `joined`.
    fn back<V: Vector>(d: V, joined: V, value: V) -> V;
}

/// Something done along a line for a known pair of them.
trait Visitor {
    unsafe fn visit<V: Vector, J: Join, A: Apply>(self);
}

struct Line {
    a: *const f32,
    b: *const f32,
    out: *mut f32,
    len: usize,
}

impl Visitor for Line {
    #[inline(always)]
    unsafe fn visit<V: Vector, J: Join, A: Apply>(self) {
        for i in (0..self.len).step_by(V::WIDTH) {
            // SAFETY: lines have `len` numbers, a multiple of the width.
            unsafe {
                A::apply(J::join(V::load(self.a.add(i)), V::load(self.b.add(i))))
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
    unsafe fn visit<V: Vector, J: Join, A: Apply>(self) {
        for i in (0..self.line.len).step_by(V::WIDTH) {
            // SAFETY: as above.
            unsafe {
                let (a, b) = (V::load(self.line.a.add(i)), V::load(self.line.b.add(i)));
                let d = A::back(
                    V::load(self.d_out.add(i)),
                    J::join(a, b),
                    V::load(self.line.out.add(i)),
                );
                let (d_a, d_b) = J::back(d, a, b);
                arrive(d_a, self.d_a.add(i), self.first.0);
                // After a's: both may be one value.
                if let Some(d_b) = d_b {
                    arrive(d_b, self.d_b.add(i), self.first.1);
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn arrive<V: Vector>(d: V, to: *mut f32, first: bool) {
    // SAFETY: the caller's.
    unsafe { if first { d } else { d.add(V::load(to)) }.store(to) }
}

#[inline(always)]
unsafe fn visit<V: Vector, T: Visitor>(step: &Step, visitor: T) {
    // SAFETY: the caller's.
    unsafe {
        match step.joined {
            Joined::First => visit_applied::<V, First, T>(step.applied, visitor),
            Joined::Add => visit_applied::<V, Add, T>(step.applied, visitor),
            Joined::Mul => visit_applied::<V, Mul, T>(step.applied, visitor),
            Joined::Max => visit_applied::<V, Max, T>(step.applied, visitor),
        }
    }
}

#[inline(always)]
unsafe fn visit_applied<V: Vector, J: Join, T: Visitor>(applied: Applied, visitor: T) {
    // SAFETY: the caller's.
    unsafe {
        match applied {
            Applied::Identity => visitor.visit::<V, J, Identity>(),
            Applied::OneMinus => visitor.visit::<V, J, OneMinus>(),
            Applied::Tanh => visitor.visit::<V, J, Tanh>(),
            Applied::Sigmoid => visitor.visit::<V, J, Sigmoid>(),
            Applied::Relu => visitor.visit::<V, J, Relu>(),
            Applied::Sin => visitor.visit::<V, J, Sin>(),
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

impl Join for First {
    #[inline(always)]
    fn join<V: Vector>(a: V, _b: V) -> V {
        a
    }

    #[inline(always)]
    fn back<V: Vector>(d: V, _a: V, _b: V) -> (V, Option<V>) {
        (d, None)
    }
}

impl Join for Add {
    #[inline(always)]
    fn join<V: Vector>(a: V, b: V) -> V {
        a.add(b)
    }

    #[inline(always)]
    fn back<V: Vector>(d: V, _a: V, _b: V) -> (V, Option<V>) {
        (d, Some(d))
    }
}

impl Join for Mul {
    #[inline(always)]
    fn join<V: Vector>(a: V, b: V) -> V {
        a.mul(b)
    }

    #[inline(always)]
    fn back<V: Vector>(d: V, a: V, b: V) -> (V, Option<V>) {
        (d.mul(b), Some(d.mul(a)))
    }
}

impl Join for Max {
    #[inline(always)]
    fn join<V: Vector>(a: V, b: V) -> V {
        a.max(b)
    }

    #[inline(always)]
    fn back<V: Vector>(d: V, a: V, b: V) -> (V, Option<V>) {
        let (half, zero) = (d.mul(V::splat(0.5)), V::splat(0.0));
        let tied_or =
            |wins: V, loses: V| a.select_greater(b, wins, b.select_greater(a, loses, half));
        (tied_or(d, zero), Some(tied_or(zero, d)))
    }
}

impl Apply for Identity {
    #[inline(always)]
    fn apply<V: Vector>(joined: V) -> V {
        joined
    }

    #[inline(always)]
    fn back<V: Vector>(d: V, _joined: V, _value: V) -> V {
        d
    }
}

impl Apply for OneMinus {
    #[inline(always)]
    fn apply<V: Vector>(joined: V) -> V {
        V::splat(1.0).sub(joined)
    }

    #[inline(always)]
    fn back<V: Vector>(d: V, _joined: V, _value: V) -> V {
        V::splat(0.0).sub(d)
    }
}

impl Apply for Tanh {
    #[inline(always)]
    fn apply<V: Vector>(joined: V) -> V {
        functions::tanh(joined)
    }

    #[inline(always)]
    fn back<V: Vector>(d: V, _joined: V, value: V) -> V {
        d.sub(d.mul(value.mul(value)))
    }
}

impl Apply for Sigmoid {
    #[inline(always)]
    fn apply<V: Vector>(joined: V) -> V {
        functions::sigmoid(joined)
    }

    #[inline(always)]
    fn back<V: Vector>(d: V, _joined: V, value: V) -> V {
        d.mul(value.sub(value.mul(value)))
    }
}

impl Apply for Relu {
    #[inline(always)]
    fn apply<V: Vector>(joined: V) -> V {
        // The second operand is the result where it is NaN.
        V::splat(0.0).max(joined)
    }

    #[inline(always)]
    fn back<V: Vector>(d: V, _joined: V, value: V) -> V {
        d.where_positive(value)
    }
}

impl Apply for Sin {
    #[inline(always)]
    fn apply<V: Vector>(joined: V) -> V {
        functions::sin(joined)
    }

    #[inline(always)]
    fn back<V: Vector>(d: V, joined: V, _value: V) -> V {
        d.mul(functions::cos(joined))
    }
}

//! The gradients of a recurrent layer: step by step from the last one, then those of x and of the
//! parameters as products over the whole sequence. Knows nothing of other layers.

use super::{CellLayer, each_rows};
use crate::kernels::matmul::{Left, Packed, Target};
use crate::kernels::memory::{Buffer, Shared};
use crate::kernels::recurrent::cell::pointwise::{self, Backward, Rows};
use crate::kernels::recurrent::cell::shape::CellShape;

/// What `backward` alone needs.
pub(super) struct BackwardState {
    input_weight: Packed,
    recurrent_weight: Packed,
    /// x and h as right sides.
    x: Packed,
    h: Packed,
    /// As the products.
    d_products: Buffer,
    /// Gradients of the states after a step and before it: [states, batch, padded hidden].
    d_states: [Buffer; 2],
    /// What comes back to the masked h: [batch, padded hidden].
    d_h: Buffer,
}

impl BackwardState {
    pub(super) fn bytes(&self) -> usize {
        let packed = [&self.input_weight, &self.recurrent_weight, &self.x, &self.h];
        self.d_products.bytes()
            + self.d_h.bytes()
            + self.d_states.iter().map(Buffer::bytes).sum::<usize>()
            + packed.map(Packed::bytes).iter().sum::<usize>()
    }
}

impl CellLayer {
    pub(super) fn backward_state(&self) -> BackwardState {
        let CellShape {
            input,
            hidden,
            batch,
            steps,
        } = self.shape;
        let padded = self.layout.padded;
        let columns = self.plan.columns.len();
        let states = || Buffer::new(self.layout.states * batch * padded);
        BackwardState {
            input_weight: Packed::new(self.isa, self.plan.input_columns * padded, input),
            recurrent_weight: Packed::new(self.isa, self.plan.recurrent_columns * padded, hidden),
            x: Packed::new(self.isa, steps * batch, input),
            h: Packed::new(self.isa, steps * batch, hidden),
            d_products: Buffer::new(steps * batch * columns * padded),
            d_states: [states(), states()],
            d_h: Buffer::new(batch * padded),
        }
    }

    pub(super) fn pack_backward(&self, parameters: &[f32], state: &mut BackwardState) {
        let CellShape {
            input,
            hidden,
            batch,
            ..
        } = self.shape;
        let plan = &self.plan;
        let padded = self.layout.padded;
        for (index, &gate) in plan.columns[..plan.input_columns].iter().enumerate() {
            state.input_weight.fill(
                index * padded,
                0,
                (hidden, input),
                self.layout.input_weight(parameters, gate),
                (input, 1),
            );
        }
        let first = plan.columns.len() - plan.recurrent_columns;
        for (index, &gate) in plan.columns[first..].iter().enumerate() {
            state.recurrent_weight.fill(
                index * padded,
                0,
                (hidden, hidden),
                self.layout.recurrent_weight(parameters, gate),
                (hidden, 1),
            );
        }
        let rows = self.steps * batch;
        state.x.shorten(rows);
        state.h.shorten(rows);
        state.x.fill(0, 0, (rows, input), &self.x, (input, 1));
        state.h.fill(0, 0, (rows, hidden), &self.h, (hidden, 1));
    }

    pub(super) fn backward_steps(&mut self, d_out: &[f32], state: &mut BackwardState) {
        let CellShape { hidden, batch, .. } = self.shape;
        let padded = self.layout.padded;
        let stride = self.stride();
        let size = self.layout.states * batch * padded;
        state.d_states[0].as_mut_slice().fill(0.0);
        for step in (0..self.steps).rev() {
            let [d_after, d_before] = &mut state.d_states;
            let upstream = d_out[step * batch * hidden..][..batch * hidden].chunks(hidden);
            for (d, more) in d_after.as_mut_slice().chunks_mut(padded).zip(upstream) {
                d.iter_mut().zip(more).for_each(|(d, more)| *d += more);
            }
            let products = self.products.as_slice()[step * batch * stride..].as_ptr();
            let before = self.states.as_slice()[step * size..].as_ptr();
            let rows = Rows {
                plan: &self.plan,
                hidden: padded,
                batch,
                products,
                before,
            };
            let d_products =
                &mut state.d_products.as_mut_slice()[step * batch * stride..][..batch * stride];
            // SAFETY: each task writes the gradients of its own rows.
            let targets = unsafe {
                Shared::new((
                    d_products.as_mut_ptr(),
                    d_before.as_mut_ptr(),
                    d_after.as_ptr(),
                ))
            };
            each_rows(
                batch,
                &mut self.scratch,
                pointwise::scratch_len(&self.plan),
                |range, scratch| {
                    let &(d_products, d_before, d_after) = targets.get();
                    // SAFETY: the buffers have the shapes that `Rows` and `Backward` name; tasks
                    // have rows and scratch of their own.
                    unsafe {
                        self.isa.run_pointers(Backward {
                            rows,
                            range,
                            d_after,
                            d_products,
                            d_before,
                            scratch,
                        });
                    }
                },
            );
            // What padding made must not reach a product.
            d_products
                .chunks_mut(padded)
                .for_each(|d| d[hidden..].fill(0.0));
            if step > 0 {
                self.recurrent_gradient(step, state);
            }
            state.d_states.swap(0, 1);
        }
    }

    /// Adds to the gradient of h before a step what its products send back.
    fn recurrent_gradient(&mut self, step: usize, state: &mut BackwardState) {
        let CellShape { hidden, batch, .. } = self.shape;
        let padded = self.layout.padded;
        let stride = self.stride();
        let start =
            state.d_products.as_slice()[step * batch * stride + self.recurrent_start()..].as_ptr();
        let left = Left::of_rows(start, batch, stride);
        let d_before = &mut state.d_states[1];
        let mask = self.masks[1].as_deref();
        let target = match mask {
            None => Target {
                start: d_before.as_mut_ptr(),
                stride: padded,
                add: true,
            },
            Some(_) => Target {
                start: state.d_h.as_mut_ptr(),
                stride: padded,
                add: false,
            },
        };
        // SAFETY: left has the columns of R h, target rows of `padded` numbers.
        unsafe { state.recurrent_weight.product(self.isa, left, target) }
        if let Some(mask) = mask {
            let rows = d_before
                .as_mut_slice()
                .chunks_mut(padded)
                .zip(state.d_h.as_slice().chunks(padded))
                .zip(mask.chunks(hidden));
            rows.for_each(|((to, d), mask)| {
                to.iter_mut()
                    .zip(d)
                    .zip(mask)
                    .for_each(|((to, d), mask)| *to += d * mask);
            });
        }
    }

    pub(super) fn input_gradient(&self, state: &BackwardState, d_x: &mut [f32]) {
        let CellShape { input, batch, .. } = self.shape;
        let left = Left::of_rows(state.d_products.as_ptr(), self.steps * batch, self.stride());
        let target = Target {
            start: d_x.as_mut_ptr(),
            stride: input,
            add: false,
        };
        // SAFETY: left has the columns of W x first; d_x is [rows, input].
        unsafe { state.input_weight.product_by_rows(self.isa, left, target) }
        if let Some(mask) = &self.masks[0] {
            d_x.chunks_mut(batch * input)
                .for_each(|d| d.iter_mut().zip(mask).for_each(|(d, mask)| *d *= mask));
        }
    }

    pub(super) fn parameter_gradients(&self, state: &mut BackwardState, gradient: &mut [f32]) {
        let CellShape { input, hidden, .. } = self.shape;
        let plan = &self.plan;
        let padded = self.layout.padded;
        let recurrent = plan.columns.len() - plan.recurrent_columns;
        let product = |column: usize, right: &Packed, to: &mut [f32], stride: usize| {
            let start = state.d_products.as_slice()[column * padded..].as_ptr();
            let left = Left::of_columns(start, hidden, self.stride());
            let target = Target {
                start: to.as_mut_ptr(),
                stride,
                add: false,
            };
            // SAFETY: the column has `hidden` numbers in each of the packed rows; `to` is [hidden,
            // stride].
            unsafe { right.product_by_rows(self.isa, left, target) }
        };
        for (column, &gate) in plan.columns.iter().enumerate() {
            if column < plan.input_columns {
                product(
                    column,
                    &state.x,
                    self.layout.input_weight_mut(gradient, gate),
                    input,
                );
            }
            if column >= recurrent {
                product(
                    column,
                    &state.h,
                    self.layout.recurrent_weight_mut(gradient, gate),
                    hidden,
                );
            }
        }
        let rows = self.steps * self.shape.batch;
        self.layout.bias_gradients(
            plan,
            hidden,
            state.d_products.as_slice().chunks(self.stride()).take(rows),
            gradient,
        );
    }
}

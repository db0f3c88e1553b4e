//! One recurrent layer over a whole sequence, and in `backward` its gradients. Knows nothing of
//! other layers or of what comes after it.

mod backward;

use super::plan::Plan;
use super::pointwise::{self, Forward, Rows};
use super::program::CellProgram;
use super::shape::{CellShape, Layout};
use crate::kernels::matmul::{Left, Packed, Target, widths};
use crate::kernels::memory::{Buffer, Shared};
use crate::kernels::simd::Isa;
use crate::kernels::{KernelError, ParameterSlot};
use backward::BackwardState;
use rayon::ThreadPool;
use rayon::prelude::*;
use std::ops::Range;
use std::sync::Arc;

/// Dropout masks, the same at all steps of a call: 0, or 1 / (probability to keep). None: nothing
/// is dropped.
#[derive(Clone, Copy, Debug, Default)]
pub struct Masks<'a> {
    /// [batch, input]: what of x reaches the gates.
    pub input: Option<&'a [f32]>,
    /// [batch, hidden]: what of h reaches the gates; a program that takes h itself (`Op::State(0)`)
    /// has all of it.
    pub recurrent: Option<&'a [f32]>,
}

/// A recurrent layer. All parameters are one packed vector, laid out as `parameters` says.
/// Sequences are [steps, batch, …], states [states, batch, hidden]: h first. Results are the same
/// bits for any number of threads.
pub struct CellLayer {
    plan: Plan,
    shape: CellShape,
    layout: Layout,
    isa: Isa,
    pool: Arc<ThreadPool>,
    /// W and R as right sides of the products of `forward`, and of those of `backward`.
    input_weight: Packed,
    recurrent_weight: Packed,
    backward: Option<BackwardState>,
    /// [steps, batch, columns, padded hidden]
    products: Buffer,
    /// [steps + 1, states, batch, padded hidden]
    states: Buffer,
    /// As the products take them, masked: [steps, batch, input] and [steps, batch, hidden].
    x: Vec<f32>,
    h: Vec<f32>,
    masks: [Option<Vec<f32>>; 2],
    /// Steps of the last `forward`.
    steps: usize,
    /// One for each thread.
    scratch: Buffer,
}

impl CellLayer {
    /// A layer that computes in `pool` alone.
    ///
    /// # Errors
    /// The program or a size is impossible.
    pub fn new(
        program: &CellProgram,
        shape: CellShape,
        pool: Arc<ThreadPool>,
    ) -> Result<Self, KernelError> {
        Self::with_isa(program, shape, pool, Isa::detect())
    }

    /// As `new`, with the instructions of `isa`.
    ///
    /// # Errors
    /// As `new`.
    pub fn with_isa(
        program: &CellProgram,
        shape: CellShape,
        pool: Arc<ThreadPool>,
        isa: Isa,
    ) -> Result<Self, KernelError> {
        program.check()?;
        let plan = Plan::new(program);
        let layout = Layout::new(program, &plan, shape, widths(isa).0)?;
        let columns = plan.columns.len() * layout.padded;
        let padded = layout.padded;
        Ok(Self {
            input_weight: Packed::new(isa, shape.input, plan.input_columns * padded),
            recurrent_weight: Packed::new(isa, shape.hidden, plan.recurrent_columns * padded),
            backward: None,
            products: Buffer::new(shape.steps * shape.batch * columns),
            states: Buffer::new((shape.steps + 1) * layout.states * shape.batch * padded),
            x: vec![0.0; shape.steps * shape.batch * shape.input],
            h: vec![0.0; shape.steps * shape.batch * shape.hidden],
            masks: [None, None],
            steps: 0,
            scratch: Buffer::new(pool.current_num_threads() * pointwise::scratch_len(&plan)),
            plan,
            shape,
            layout,
            isa,
            pool,
        })
    }

    /// The trained tensors, in order of their offsets and without gaps: `input_weight` [gates,
    /// hidden, input], `recurrent_weight` [gates, hidden, hidden], and where the program has them
    /// `input_bias` and `recurrent_bias` [gates, hidden].
    pub fn parameters(&self) -> &[ParameterSlot] {
        &self.layout.parameters
    }

    /// Numbers in the packed parameters.
    pub fn parameter_count(&self) -> usize {
        self.layout.parameter_count
    }

    /// Runs x [steps, batch, input] through the layer and keeps what `backward` needs. `state` is
    /// read and becomes the state after the last step; `out` [steps, batch, hidden] is written.
    /// There may be fewer steps than the layer was built for.
    ///
    /// # Panics
    /// Slices of lengths that do not fit together or too many steps.
    pub fn forward(
        &mut self,
        parameters: &[f32],
        x: &[f32],
        masks: Masks,
        state: &mut [f32],
        out: &mut [f32],
    ) {
        let pool = Arc::clone(&self.pool);
        pool.install(|| {
            self.pack_forward(parameters);
            self.run(parameters, x, masks, state, out);
        });
    }

    /// As `forward` without masks, for any number of steps; `backward` cannot follow.
    ///
    /// # Panics
    /// Slices of lengths that do not fit together.
    pub fn evaluate(&mut self, parameters: &[f32], x: &[f32], state: &mut [f32], out: &mut [f32]) {
        let CellShape {
            input,
            hidden,
            batch,
            steps,
        } = self.shape;
        let pool = Arc::clone(&self.pool);
        pool.install(|| {
            self.pack_forward(parameters);
            for (x, out) in x
                .chunks(steps * batch * input)
                .zip(out.chunks_mut(steps * batch * hidden))
            {
                self.run(parameters, x, Masks::default(), state, out);
            }
        });
        self.steps = 0;
    }

    /// From the gradient of `out` of the last `forward`, those of the parameters and of x, both
    /// overwritten. No gradient reaches the state that `forward` was given, nor comes from the one
    /// it returned (truncated back-propagation).
    ///
    /// # Panics
    /// Slices of lengths that do not fit together, or no `forward` came before.
    pub fn backward(
        &mut self,
        parameters: &[f32],
        d_out: &[f32],
        gradient: &mut [f32],
        d_x: &mut [f32],
    ) {
        let CellShape {
            input,
            hidden,
            batch,
            ..
        } = self.shape;
        let rows = self.steps * batch;
        assert_eq!(
            (d_out.len(), d_x.len()),
            (rows * hidden, rows * input),
            "gradients of another number of steps than the last forward's"
        );
        assert_eq!(
            (parameters.len(), gradient.len()),
            (self.layout.parameter_count, self.layout.parameter_count),
            "parameters"
        );
        let mut state = self
            .backward
            .take()
            .unwrap_or_else(|| self.backward_state());
        let pool = Arc::clone(&self.pool);
        pool.install(|| {
            self.pack_backward(parameters, &mut state);
            self.backward_steps(d_out, &mut state);
            self.input_gradient(&state, d_x);
            self.parameter_gradients(&mut state, gradient);
        });
        self.backward = Some(state);
    }

    /// Bytes that the layer's working memory has.
    pub fn bytes(&self) -> usize {
        let forward = self.products.bytes()
            + self.states.bytes()
            + self.input_weight.bytes()
            + self.recurrent_weight.bytes();
        let backward = self.backward.as_ref().map_or(0, BackwardState::bytes);
        forward + backward + self.scratch.bytes() + size_of::<f32>() * (self.x.len() + self.h.len())
    }

    /// Numbers between two rows of the products.
    fn stride(&self) -> usize {
        self.plan.columns.len() * self.layout.padded
    }

    /// The first column of the recurrent products.
    fn recurrent_start(&self) -> usize {
        (self.plan.columns.len() - self.plan.recurrent_columns) * self.layout.padded
    }

    fn pack_forward(&mut self, parameters: &[f32]) {
        assert_eq!(parameters.len(), self.layout.parameter_count, "parameters");
        let CellShape { input, hidden, .. } = self.shape;
        let plan = &self.plan;
        let padded = self.layout.padded;
        for (index, &gate) in plan.columns[..plan.input_columns].iter().enumerate() {
            self.input_weight.fill(
                0,
                index * padded,
                (input, hidden),
                self.layout.input_weight(parameters, gate),
                (1, input),
            );
        }
        let first = plan.columns.len() - plan.recurrent_columns;
        for (index, &gate) in plan.columns[first..].iter().enumerate() {
            self.recurrent_weight.fill(
                0,
                index * padded,
                (hidden, hidden),
                self.layout.recurrent_weight(parameters, gate),
                (1, hidden),
            );
        }
    }

    fn run(
        &mut self,
        parameters: &[f32],
        x: &[f32],
        masks: Masks,
        state: &mut [f32],
        out: &mut [f32],
    ) {
        let CellShape {
            input,
            hidden,
            batch,
            steps: max_steps,
        } = self.shape;
        self.steps = out.len() / (batch * hidden);
        let rows = self.steps * batch;
        assert!(
            self.steps <= max_steps && (x.len(), out.len()) == (rows * input, rows * hidden),
            "a sequence of another shape"
        );
        assert_eq!(state.len(), self.layout.states * batch * hidden, "states");
        self.masks = [masks.input, masks.recurrent].map(|mask| mask.map(<[f32]>::to_vec));
        copy_masked(x, masks.input, &mut self.x);
        self.input_products(parameters, rows);
        let padded = self.layout.padded;
        for (to, from) in self
            .states
            .as_mut_slice()
            .chunks_mut(padded)
            .zip(state.chunks(hidden))
        {
            to[..hidden].copy_from_slice(from);
            to[hidden..].fill(0.0);
        }
        for (step, out) in out.chunks_mut(batch * hidden).enumerate() {
            self.step(step);
            let after = &self.states.as_slice()[(step + 1) * self.layout.states * batch * padded..];
            out.chunks_mut(hidden)
                .zip(after.chunks(padded))
                .for_each(|(to, from)| to.copy_from_slice(&from[..hidden]));
        }
        let last = &self.states.as_slice()[self.steps * self.layout.states * batch * padded..];
        state
            .chunks_mut(hidden)
            .zip(last.chunks(padded))
            .for_each(|(to, from)| to.copy_from_slice(&from[..hidden]));
    }

    /// All products W x of the sequence, and the biases of both sides; where products R h stand
    /// alone, what they are added to.
    fn input_products(&mut self, parameters: &[f32], rows: usize) {
        let stride = self.stride();
        let input = self.shape.input;
        let biases = self
            .layout
            .biases(parameters, &self.plan, self.shape.hidden);
        let add = biases.is_some();
        let alone = self.plan.input_columns * self.layout.padded;
        for row in self.products.as_mut_slice().chunks_mut(stride).take(rows) {
            match &biases {
                Some(biases) => row.copy_from_slice(biases),
                None => row[alone..].fill(0.0),
            }
        }
        let left = Left::of_rows(self.x.as_ptr(), rows, input);
        let target = Target {
            start: self.products.as_mut_ptr(),
            stride,
            add,
        };
        // SAFETY: x holds `rows` rows of `input` numbers, the products `rows` rows of `stride`, at
        // least the packed columns.
        unsafe { self.input_weight.product_by_rows(self.isa, left, target) }
    }

    fn step(&mut self, step: usize) {
        let CellShape { hidden, batch, .. } = self.shape;
        let padded = self.layout.padded;
        let stride = self.stride();
        let recurrent_start = self.recurrent_start();
        let size = self.layout.states * batch * padded;
        let (before, after) = self.states.as_mut_slice()[step * size..].split_at_mut(size);
        let h = &mut self.h[step * batch * hidden..][..batch * hidden];
        for (row, (to, from)) in h.chunks_mut(hidden).zip(before.chunks(padded)).enumerate() {
            to.copy_from_slice(&from[..hidden]);
            if let Some(mask) = &self.masks[1] {
                to.iter_mut()
                    .zip(&mask[row * hidden..])
                    .for_each(|(h, mask)| *h *= mask);
            }
        }
        let products = self.products.as_mut_slice()[step * batch * stride..].as_mut_ptr();
        let left = Left::of_rows(h.as_ptr(), batch, hidden);
        // SAFETY: h is [batch, hidden]; the products' rows have the packed columns from
        // `recurrent_start` on.
        unsafe {
            let target = Target {
                start: products.add(recurrent_start),
                stride,
                add: true,
            };
            self.recurrent_weight.product(self.isa, left, target);
        }
        let rows = Rows {
            plan: &self.plan,
            hidden: padded,
            batch,
            products,
            before: before.as_ptr(),
        };
        // SAFETY: each task writes the states of its own rows.
        let after = unsafe { Shared::new(after.as_mut_ptr()) };
        each_rows(
            batch,
            &mut self.scratch,
            pointwise::scratch_len(&self.plan),
            |range, scratch| {
                // SAFETY: the buffers have the shapes that `Rows` and `Forward` name; tasks have
                // rows and scratch of their own.
                unsafe {
                    self.isa.run_pointers(Forward {
                        rows,
                        range,
                        after: *after.get(),
                        scratch,
                    });
                }
            },
        );
    }
}

/// x with its mask, the same at all steps.
fn copy_masked(x: &[f32], mask: Option<&[f32]>, to: &mut [f32]) {
    to[..x.len()].copy_from_slice(x);
    if let Some(mask) = mask {
        to[..x.len()]
            .chunks_mut(mask.len())
            .for_each(|x| x.iter_mut().zip(mask).for_each(|(x, mask)| *x *= mask));
    }
}

/// Does something for all rows: one range of them and one piece of scratch for each thread.
fn each_rows(
    batch: usize,
    scratch: &mut Buffer,
    scratch_len: usize,
    f: impl Fn(Range<usize>, *mut f32) + Sync,
) {
    let threads = rayon::current_num_threads().min(batch);
    let rows = batch.div_ceil(threads);
    let mut pieces: Vec<_> = scratch
        .as_mut_slice()
        .chunks_mut(scratch_len.max(1))
        .take(batch.div_ceil(rows))
        .enumerate()
        .collect();
    let task = |(index, scratch): &mut (usize, &mut [f32])| {
        f(
            *index * rows..((*index + 1) * rows).min(batch),
            scratch.as_mut_ptr(),
        );
    };
    if pieces.len() == 1 {
        pieces.iter_mut().for_each(task);
    } else {
        pieces.par_iter_mut().for_each(task);
    }
}

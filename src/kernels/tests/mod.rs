//! Tests of the kernels against a naive reference in f64.

mod network;
mod reference;

//! Tests of convolutional networks against a naive reference in f64, and of that reference.

mod network;
mod operations;
mod pooling;
mod reference;
mod reference_checks;

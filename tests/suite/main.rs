//! What users see, one file a behaviour; one binary, so that everything is linked once.

mod architecture;
mod builtin;
mod cifar10;
mod common;
mod language;
mod metrics;
mod parameter_server;
mod restart;
mod settings;

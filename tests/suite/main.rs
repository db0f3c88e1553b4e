//! What users see, one file a behaviour; one binary, so that everything is linked once.

mod common;
mod architecture;
mod cifar10;
mod metrics;
mod parameter_server;
mod restart;
mod settings;

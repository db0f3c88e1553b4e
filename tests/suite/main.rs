//! What users see, one file a behaviour; one binary, so that everything is linked once.

mod architecture;
mod builtin;
mod cifar10;
mod command;
mod common;
mod dashboards;
mod folder;
mod logs;
mod metrics;
mod monitoring;
mod parameter_server;

mod restart;
mod reuse;
mod settings;

//! What users see, one file a behaviour; one binary, so that everything is linked once.

mod architecture;
mod browser;
mod builtin;
mod cifar10;
mod command;
mod common;
mod crash;
mod dashboards;
mod deploy;
mod disk;
mod enqueue;
mod folder;
mod language;
mod logs;
mod metrics;
mod monitoring;
mod page;
mod parameter_server;
mod reload;
mod report;
mod restart;
mod resume;
mod reuse;
mod settings;
mod spaces;
mod supervision;

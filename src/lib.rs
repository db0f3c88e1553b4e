//! netwright: a network that designs networks (Zoph & Le, *Neural Architecture Search with
//! Reinforcement Learning*, ICLR 2017). One line a room; what each room may know is in
//! ARCHITECTURE.md, and `tests/suite/architecture.rs` keeps it so.

// Their macros panic where standard output or error cannot be written: a full disk must not end a
// search.
#![cfg_attr(not(test), warn(clippy::print_stdout, clippy::print_stderr))]

/// The Supervisor, the ParameterShards, the Controllers and the ChildTrainers with their lanes.
pub mod actors;
/// An Architecture becomes a network and is trained; the reward.
pub mod child;
/// The command line, one file a subcommand.
pub mod cli;
/// Images: CIFAR's binary format, the built-in set; splits, whitening, augmentation, batches.
pub mod data;
/// What others read: ONNX, a folder for PyTorch; a run for TensorBoard and Optuna.
pub mod export;
/// The run on disk: every trial, every snapshot. The only room that knows SQL.
pub mod journal;
/// Fast tensor operations that candle lacks.
pub mod kernels;
/// The machine: cores, memory and GPUs that this process may use, divided into lanes.
pub mod machine;
/// The controller network: sampling, log-probability, REINFORCE gradient, baseline, Adam.
pub mod policy;
/// Counter-based random streams.
pub mod random;
/// What people take away: leaderboard, tables, drawings.
pub mod report;
/// The config file: composes the rooms' own sections.
pub mod settings;
/// What can be searched: decisions, and what a finished list of them describes.
pub mod space;
/// How the next architectures are chosen and what is learned from their rewards; the replay of a
/// run's log.
pub mod strategy;
/// Prometheus registry and HTTP endpoint.
pub mod telemetry;
/// What children are made of and scored by: images, a text, a table, a program.
pub mod workload;

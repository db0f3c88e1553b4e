//! Why a workload, an evaluator or a network of a workload cannot be had. Must not know who asked.

use crate::child::TableError;
use crate::child::language_model::SizeError;
use crate::data::DataError;
use crate::machine::MachineError;
use crate::space::AdoptError;

/// The user's input is wrong, or a lane's device cannot be had: one sentence that names the key or
/// file, and what would be right.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadError {
    #[error(transparent)]
    Data(#[from] DataError),
    #[error(transparent)]
    Table(#[from] TableError),
    #[error(transparent)]
    Size(#[from] SizeError),
    #[error(transparent)]
    Machine(#[from] MachineError),
    #[error(transparent)]
    Adopt(#[from] AdoptError),
    #[error("child.command.argv: {0}")]
    Program(String),
    #[error(
        "child.batch_size: {batch_size} sequences side by side need as many tokens; the training text has {tokens}"
    )]
    BatchSize { batch_size: usize, tokens: usize },
    #[error("space.layers_step: a table serves architectures of one depth; leave the schedule out")]
    Schedule,
    #[error("a table finds networks by their decisions: give decisions = [...] in place of a file")]
    FileForTable,
    #[error(
        "devices.use: recurrent cells are trained on the CPU alone, not on {0}: set use = [\"cpu\"]"
    )]
    CpuOnly(String),
    /// A lane's GPU cannot be used.
    #[error("{0}")]
    Gpu(String),
    #[error("there is no network \"{0}\"")]
    NoNetwork(String),
    #[error("there is no cell \"{0}\"")]
    NoCell(String),
    #[error("these settings say nothing of a retraining")]
    NoRetraining,
    /// A trained network could not be scored on the test set.
    #[error("test set: {0}")]
    Test(String),
}

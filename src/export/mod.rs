//! What others read: a trained network as an ONNX file or a folder for PyTorch, a run for TensorBoard
//! or Optuna. Functions of plain data alone: must not know run directories, actors or the journal.

pub mod onnx;
pub mod optuna;
pub mod record;
pub mod tensorboard;
pub mod torch;

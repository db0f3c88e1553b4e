//! A trained network as a file for others: ONNX, or a folder for PyTorch. Functions of the network and
//! its weights alone: must not know runs, actors or the journal.

pub mod onnx;
pub mod torch;

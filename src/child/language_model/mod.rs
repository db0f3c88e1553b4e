//! A recurrent cell as a language model (paper §4.2): embedding, layers of the cell, softmax;
//! trained by truncated back-propagation through time, judged by the perplexity of the validation
//! text. Must not know how cells are sampled, nor any file.

pub mod descent;
mod masks;
mod memory;
mod network;
mod size;
mod streams;
mod test;
#[cfg(test)]
mod tests;
mod train;
mod unigram;

pub use masks::DropoutMasks;
pub use network::{Network, Sizes};
pub use size::{SizeError, model, searched_model};
pub use test::test_perplexity;
pub use train::LanguageEvaluator;
pub use unigram::unigram_perplexity;

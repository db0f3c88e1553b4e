//! The reference of a language model: how much of a text needs no network at all. Must not know any
//! child.

use crate::data::Corpus;

/// Perplexity of the validation text under the unigram frequencies of the training text, each count
/// increased by one (Laplace smoothing).
pub fn unigram_perplexity(corpus: &Corpus) -> f64 {
    let mut counts = vec![1_u64; corpus.vocabulary.len()];
    corpus
        .train
        .iter()
        .for_each(|&token| counts[token as usize] += 1);
    let total = counts.iter().sum::<u64>() as f64;
    let nats: f64 = corpus
        .validation
        .iter()
        .map(|&token| (total / counts[token as usize] as f64).ln())
        .sum();
    (nats / corpus.validation.len().max(1) as f64).exp()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Unit;

    #[test]
    fn is_the_geometric_mean_of_inverse_frequencies() {
        let words = ["a", "b", "<eos>"].map(str::to_owned).to_vec();
        // With one more of each: 3 of 6, 2 of 6, 1 of 6.
        let corpus = Corpus::new(Unit::Word, words, vec![0, 1, 0], vec![0, 2]);
        assert!((unigram_perplexity(&corpus) - 12_f64.sqrt()).abs() < 1e-12);
    }
}

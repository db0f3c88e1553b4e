//! The words of a training text and their numbers. Must not know files.

use super::read::Lines;
use super::{END, UNKNOWN};
use std::collections::HashMap;

/// Words by number: the most frequent first, ties in the order of their first appearance.
pub struct Vocabulary {
    pub words: Vec<String>,
    numbers: HashMap<String, u32>,
    unknown: Option<u32>,
}

impl Vocabulary {
    /// All words, or the `limit` most frequent ones: then `<unk>` stands for the others. `<eos>`
    /// and `<unk>` are always among them.
    pub fn of(lines: &Lines, limit: Option<usize>) -> Self {
        let mut counts: HashMap<&str, (usize, usize)> = HashMap::new();
        lines.for_each(|_, token| {
            let next = counts.len();
            counts.entry(token).or_insert((0, next)).0 += 1;
        });
        let mut order: Vec<(&str, usize, usize)> = counts
            .into_iter()
            .map(|(word, (count, first))| (word, count, first))
            .collect();
        order.sort_unstable_by_key(|&(_, count, first)| (std::cmp::Reverse(count), first));
        let mut words: Vec<&str> = order.into_iter().map(|(word, _, _)| word).collect();
        if let Some(limit) = limit.filter(|&limit| limit < words.len()) {
            let special = |word: &str| word == END || word == UNKNOWN;
            let mut frequent = 0;
            words.retain(|word| {
                frequent += usize::from(!special(word));
                special(word) || frequent <= limit.saturating_sub(2)
            });
            if !words.contains(&UNKNOWN) {
                words.push(UNKNOWN);
            }
        }
        Self::of_words(words.into_iter().map(str::to_owned).collect())
    }

    /// These words, each with its position as its number.
    pub fn of_words(words: Vec<String>) -> Self {
        let numbers: HashMap<String, u32> = (0..)
            .zip(&words)
            .map(|(number, word)| (word.clone(), number))
            .collect();
        let unknown = numbers.get(UNKNOWN).copied();
        Self {
            words,
            numbers,
            unknown,
        }
    }

    /// The number of a word, or that of `<unk>`; None: there is neither.
    pub fn number(&self, word: &str) -> Option<u32> {
        self.numbers.get(word).copied().or(self.unknown)
    }
}

//! Looking up words in a table, and the gradient of the words that were looked up. Knows nothing of
//! what comes after.

/// How a table of word vectors lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// `[words, hidden]`
    Rows,
    /// `[hidden, words]`, as a softmax has its weights: for a table that both share.
    Columns,
}

/// A table of word vectors.
#[derive(Clone, Copy, Debug)]
pub struct Embedding {
    pub words: usize,
    pub hidden: usize,
    pub layout: Layout,
}

impl Embedding {
    /// out `[rows, hidden]` = the vectors of `tokens` `[rows]`, each times its word's factor in
    /// `factors` `[words]` (None: 1).
    ///
    /// # Panics
    /// If a slice has not the length that its shape says, or a token is no word.
    pub fn look_up(self, table: &[f32], tokens: &[u32], factors: Option<&[f32]>, out: &mut [f32]) {
        self.check(table, tokens, factors, out);
        match self.layout {
            Layout::Rows => {
                for (out, &token) in out.chunks_exact_mut(self.hidden).zip(tokens) {
                    let word = token as usize;
                    let factor = factor(factors, token);
                    out.iter_mut()
                        .zip(&table[word * self.hidden..])
                        .for_each(|(out, value)| *out = value * factor);
                }
            }
            Layout::Columns => {
                for (unit, column) in table.chunks_exact(self.words).enumerate() {
                    for (row, &token) in tokens.iter().enumerate() {
                        out[row * self.hidden + unit] =
                            column[token as usize] * factor(factors, token);
                    }
                }
            }
        }
    }

    /// Adds to `dtable` what `look_up` makes of `dout` `[rows, hidden]`, one row after the other.
    ///
    /// # Panics
    /// As `look_up`.
    pub fn scatter(
        self,
        dtable: &mut [f32],
        tokens: &[u32],
        factors: Option<&[f32]>,
        dout: &[f32],
    ) {
        self.check(dtable, tokens, factors, dout);
        match self.layout {
            Layout::Rows => {
                for (dout, &token) in dout.chunks_exact(self.hidden).zip(tokens) {
                    let word = token as usize;
                    let factor = factor(factors, token);
                    dtable[word * self.hidden..]
                        .iter_mut()
                        .zip(dout)
                        .for_each(|(sum, d)| *sum += d * factor);
                }
            }
            Layout::Columns => {
                for (unit, column) in dtable.chunks_exact_mut(self.words).enumerate() {
                    for (row, &token) in tokens.iter().enumerate() {
                        column[token as usize] +=
                            dout[row * self.hidden + unit] * factor(factors, token);
                    }
                }
            }
        }
    }

    fn check(self, table: &[f32], tokens: &[u32], factors: Option<&[f32]>, rows: &[f32]) {
        assert_eq!(
            table.len(),
            self.words * self.hidden,
            "a table of {} words",
            self.words
        );
        assert_eq!(
            rows.len(),
            tokens.len() * self.hidden,
            "rows of {} tokens",
            tokens.len()
        );
        assert!(
            factors.is_none_or(|factors| factors.len() == self.words),
            "a factor for each word"
        );
        assert!(
            tokens.iter().all(|&token| (token as usize) < self.words),
            "a token is a word"
        );
    }
}

fn factor(factors: Option<&[f32]>, token: u32) -> f32 {
    factors.map_or(1.0, |factors| factors[token as usize])
}

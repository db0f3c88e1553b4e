//! A text as sequences side by side: which token follows which, window by window. Must not know
//! what is done with them.

use crate::kernels::SKIPPED;

/// A window of text: `[steps, batch]` tokens and the token that follows each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Window {
    pub tokens: Vec<u32>,
    pub targets: Vec<u32>,
}

/// A text cut into `batch` sequences of one length. What comes before the first token is `<eos>`,
/// as between two lines.
#[derive(Clone, Copy, Debug)]
pub struct Streams<'a> {
    text: &'a [u32],
    end: u32,
    batch: usize,
    length: usize,
}

impl<'a> Streams<'a> {
    /// For training: the last tokens that would make the sequences unequal, fewer than `batch`, are
    /// left out.
    pub fn training(text: &'a [u32], end: u32, batch: usize) -> Self {
        Self {
            text,
            end,
            batch,
            length: text.len() / batch,
        }
    }

    /// For validation: every token is a target once; where a sequence is shorter, `SKIPPED` is.
    pub fn validation(text: &'a [u32], end: u32, batch: usize) -> Self {
        Self {
            text,
            end,
            batch,
            length: text.len().div_ceil(batch),
        }
    }

    /// Tokens of a sequence.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Steps `first` to `first + steps` of all sequences, fewer where they end.
    pub fn window(&self, first: usize, steps: usize, into: &mut Window) {
        self.fill(
            first..(first + steps).min(self.length),
            |sequence, step| sequence * self.length + step,
            into,
        );
    }

    /// The `steps` tokens before each sequence's own, without targets; what precedes the first
    /// sequence means nothing. There are at most `length` of them.
    pub fn before(&self, steps: usize, into: &mut Window) {
        let steps = steps.min(self.length);
        self.fill(
            0..steps,
            |sequence, step| (sequence * self.length + step).saturating_sub(steps),
            into,
        );
        into.targets.fill(SKIPPED);
    }

    fn fill(
        &self,
        steps: std::ops::Range<usize>,
        place: impl Fn(usize, usize) -> usize,
        into: &mut Window,
    ) {
        into.tokens.clear();
        into.targets.clear();
        for step in steps {
            for sequence in 0..self.batch {
                let place = place(sequence, step);
                let token = place.checked_sub(1).map_or(self.end, |before| {
                    self.text.get(before).copied().unwrap_or(self.end)
                });
                into.tokens.push(token);
                into.targets
                    .push(self.text.get(place).copied().unwrap_or(SKIPPED));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(streams: &Streams, steps: usize) -> Vec<Window> {
        let window = |first| {
            let mut window = Window::default();
            streams.window(first, steps, &mut window);
            window
        };
        (0..streams.length()).step_by(steps).map(window).collect()
    }

    #[test]
    fn sequences_are_parts_of_the_text_one_after_the_other() {
        let text = [10, 11, 12, 13, 14, 15, 16];
        let windows = read(&Streams::training(&text, 9, 2), 2);
        assert_eq!(
            windows[0],
            Window {
                tokens: vec![9, 12, 10, 13],
                targets: vec![10, 13, 11, 14]
            }
        );
        assert_eq!(
            windows[1],
            Window {
                tokens: vec![11, 14],
                targets: vec![12, 15]
            }
        );
        let windows = read(&Streams::validation(&text, 9, 2), 4);
        assert_eq!(windows[0].targets, [10, 14, 11, 15, 12, 16, 13, SKIPPED]);
        let mut before = Window::default();
        Streams::validation(&text, 9, 2).before(3, &mut before);
        // The second sequence begins with 14, which follows 13: its state has seen 10 to 12.
        assert_eq!(
            [before.tokens[1], before.tokens[3], before.tokens[5]],
            [10, 11, 12]
        );
        assert_eq!(before.targets, [SKIPPED; 6]);
    }

    proptest! {
        #![proptest_config(crate::random::cases(256))]

        #[test]
        fn validation_counts_every_token_once_after_the_one_before_it(length in 1_usize..200, batch in 1_usize..30, steps in 1_usize..20) {
            let text: Vec<u32> = (1..=length as u32).collect();
            let windows = read(&Streams::validation(&text, 0, batch), steps);
            let pairs = windows.iter().flat_map(|window| window.tokens.iter().zip(&window.targets));
            let mut counted: Vec<(u32, u32)> = pairs.filter(|(_, target)| **target != SKIPPED).map(|(a, b)| (*a, *b)).collect();
            counted.sort_unstable();
            prop_assert_eq!(counted, (0..length as u32).map(|token| (token, token + 1)).collect::<Vec<_>>());
        }
    }
}

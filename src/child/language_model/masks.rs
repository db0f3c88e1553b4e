//! Dropout masks of one training step: variational, so the same at all steps of the window (Gal &
//! Ghahramani 2016). A function of the settings, a seed and counters.

use super::super::ChildSettings;
use crate::random::{Key, Purpose, Stream};
use rand::Rng;

/// Each mask holds 0, or 1 / (share that is kept); None: nothing is dropped.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DropoutMasks {
    /// `[words]`
    pub words: Option<Vec<f32>>,
    /// For each layer `[batch, hidden]`
    pub inputs: Vec<Option<Vec<f32>>>,
    pub recurrent: Vec<Option<Vec<f32>>>,
    /// `[batch, hidden]`
    pub output: Option<Vec<f32>>,
}

impl DropoutMasks {
    /// The masks of one window (from 0) of an epoch (from 0).
    pub fn draw(
        settings: &ChildSettings,
        words: usize,
        units: usize,
        seed: u64,
        epoch: usize,
        window: usize,
    ) -> Self {
        let mut slot = 0;
        let mut mask = |share: f64, count: usize| {
            slot += 1;
            let key = Key {
                seed,
                controller: epoch as u64 + 1,
                minibatch: window as u64,
                slot,
            };
            (share > 0.0).then(|| draw(share, count, &mut key.stream(Purpose::Dropout)))
        };
        Self {
            words: mask(settings.embedding_dropout, words),
            output: mask(settings.output_dropout, units),
            inputs: (0..settings.layers)
                .map(|_| mask(settings.input_dropout, units))
                .collect(),
            recurrent: (0..settings.layers)
                .map(|_| mask(settings.recurrent_dropout, units))
                .collect(),
        }
    }
}

fn draw(share: f64, count: usize, stream: &mut Stream) -> Vec<f32> {
    let dropped = (share * f64::from(u32::MAX)) as u32;
    let kept = (1.0 / (1.0 - share)) as f32;
    (0..count)
        .map(|_| {
            if stream.next_u32() < dropped {
                0.0
            } else {
                kept
            }
        })
        .collect()
}

/// Multiplies each step's `[batch, hidden]` by the mask.
pub fn apply(mask: Option<&Vec<f32>>, values: &mut [f32]) {
    if let Some(mask) = mask {
        for step in values.chunks_mut(mask.len()) {
            step.iter_mut()
                .zip(mask)
                .for_each(|(value, factor)| *value *= factor);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_dropped_and_the_mean_kept() {
        let settings = ChildSettings {
            embedding_dropout: 0.2,
            recurrent_dropout: 0.0,
            layers: 2,
            ..ChildSettings::default()
        };
        let masks = DropoutMasks::draw(&settings, 20_000, 400, 3, 1, 5);
        let words = masks.words.as_ref().unwrap();
        let dropped = words.iter().filter(|&&factor| factor == 0.0).count() as f64 / 20_000.0;
        assert!((dropped - 0.2).abs() < 0.02, "{dropped}");
        assert!(words.iter().all(|&factor| factor == 0.0 || factor == 1.25));
        assert_eq!(masks.recurrent, [None, None]);
        assert_ne!(masks.inputs[0], masks.inputs[1]);
        assert_eq!(masks, DropoutMasks::draw(&settings, 20_000, 400, 3, 1, 5));
        for (seed, epoch, window) in [(4, 1, 5), (3, 2, 5), (3, 1, 6)] {
            assert_ne!(
                masks.output,
                DropoutMasks::draw(&settings, 20_000, 400, seed, epoch, window).output
            );
        }
    }
}

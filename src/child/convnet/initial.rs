//! Initial weights of a child. A function of the slots' shapes and a seed.

use crate::kernels::ParameterSlot;
use crate::random::{Key, Purpose, Stream};
use rand::Rng;

/// Filters uniform with variance 2 / fan-in (He et al. 2015), scales 1, shifts and biases 0; a
/// classifier within ±1/√features, so that the first predictions are close to uniform.
pub fn initial_parameters(slots: &[ParameterSlot], seed: u64) -> Vec<f32> {
    let mut stream = Key::seed(seed).stream(Purpose::ChildParameters);
    let count = slots
        .iter()
        .map(|slot| slot.offset + slot.len())
        .max()
        .unwrap_or(0);
    let mut parameters = vec![0.0; count];
    for slot in slots {
        let values = &mut parameters[slot.offset..][..slot.len()];
        match slot.shape[..] {
            [_, depth, height, width] => uniform(
                values,
                (6.0 / (depth * height * width) as f32).sqrt(),
                &mut stream,
            ),
            [_, features] => uniform(values, (1.0 / features as f32).sqrt(), &mut stream),
            _ if slot.name.ends_with(".scale") => values.fill(1.0),
            _ => {}
        }
    }
    parameters
}

/// Running means 0 and variances 1.
pub fn initial_running(slots: &[ParameterSlot]) -> Vec<f32> {
    slots
        .iter()
        .flat_map(|slot| {
            std::iter::repeat_n(
                if slot.name.ends_with(".running_variance") {
                    1.0
                } else {
                    0.0
                },
                slot.len(),
            )
        })
        .collect()
}

/// Fills with numbers from −bound to bound. 24 bits: exact in f32, so the same on every machine.
fn uniform(values: &mut [f32], bound: f32, stream: &mut Stream) {
    for value in values {
        let unit = (stream.next_u32() >> 8) as f32 / (1 << 24) as f32;
        *value = (2.0 * unit - 1.0) * bound;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots() -> Vec<ParameterSlot> {
        let mut offset = 0;
        let slot = |(name, shape): (&str, &[usize])| {
            let slot = ParameterSlot {
                name: name.into(),
                shape: shape.to_vec(),
                offset,
            };
            offset += shape.iter().product::<usize>();
            slot
        };
        let shapes: [(&str, &[usize]); 5] = [
            ("layer1.weight", &[32, 16, 3, 5]),
            ("layer1.scale", &[32]),
            ("layer1.shift", &[32]),
            ("classifier.weight", &[10, 32]),
            ("classifier.bias", &[10]),
        ];
        shapes.into_iter().map(slot).collect()
    }

    #[test]
    fn filters_have_the_variance_that_keeps_relu_activations_alive() {
        let slots = slots();
        let parameters = initial_parameters(&slots, 7);
        let filters = &parameters[..32 * 16 * 15];
        let variance = filters.iter().map(|w| f64::from(w * w)).sum::<f64>() / filters.len() as f64;
        let expected = 2.0 / (16.0 * 15.0);
        assert!(
            (variance / expected - 1.0).abs() < 0.05,
            "{variance} against {expected}"
        );
        assert!(
            parameters[slots[1].offset..][..32]
                .iter()
                .all(|&scale| scale == 1.0)
        );
        assert!(
            parameters[slots[2].offset..][..32]
                .iter()
                .all(|&shift| shift == 0.0)
        );
        let classifier = &parameters[slots[3].offset..][..320];
        assert!(
            classifier.iter().all(|w| w.abs() <= (1.0f32 / 32.0).sqrt())
                && classifier.iter().any(|&w| w != 0.0)
        );
        assert!(
            parameters[slots[4].offset..]
                .iter()
                .all(|&bias| bias == 0.0)
        );
    }

    #[test]
    fn depends_on_the_seed_alone() {
        assert_eq!(
            initial_parameters(&slots(), 7),
            initial_parameters(&slots(), 7)
        );
        assert_ne!(
            initial_parameters(&slots(), 7),
            initial_parameters(&slots(), 8)
        );
    }
}

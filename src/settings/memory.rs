//! Whether the networks that are asked for can exist on this machine at all. Refuses only what is
//! certain not to fit: it looks at the smallest network of the search's last depth. Must not know
//! how a network is trained.

use crate::child::EvaluatorKind;
use crate::settings::Settings;
use crate::space::{LayerType, SpaceKind, SpaceSettings};

/// No search here goes deeper: the paper's deepest network has 39 layers, and skip connections grow
/// with the square.
const MAX_LAYERS: usize = 1_000;
/// Of every layer a training step keeps at least the convolution's output and the activation, as
/// 32-bit numbers.
const BYTES_PER_ELEMENT: f64 = 2.0 * 4.0;

/// What cannot fit: (key, what would). `memory` is the machine's, in bytes; None: children train
/// elsewhere.
pub fn problems(settings: &Settings, memory: Option<f64>) -> Vec<(String, String)> {
    if settings.space.kind != SpaceKind::Conv {
        return Vec::new();
    }
    let depth = deepest(&settings.space, settings.run.trials);
    let key = if settings.space.layers >= depth {
        "space.layers"
    } else {
        "space.layers_step"
    };
    if depth > MAX_LAYERS {
        let limit = format!(
            "the search would reach {depth} layers; at most {MAX_LAYERS} are possible (space.layers_max limits the growth)"
        );
        return vec![(key.into(), limit)];
    }
    let needed = smallest(&settings.space, depth, settings.data.side())
        * settings.child.batch_size as f64
        * BYTES_PER_ELEMENT;
    match memory
        .filter(|&memory| settings.child.evaluator == EvaluatorKind::Train && needed > memory)
    {
        None => Vec::new(),
        Some(memory) => {
            let gibibytes = |bytes: f64| bytes / f64::from(1 << 30);
            let reason = format!(
                "even the smallest network of {depth} layers needs {:.1} GiB to train with child.batch_size = {}, and this process \
                 may use {:.1} GiB here; fewer layers, a smaller batch or fewer filters would fit",
                gibibytes(needed),
                settings.child.batch_size,
                gibibytes(memory)
            );
            vec![(key.into(), reason)]
        }
    }
}

/// Depth of the last architecture of a run of this many trials (paper §3.2, the depth schedule).
fn deepest(space: &SpaceSettings, trials: u64) -> usize {
    let additions = trials
        .saturating_sub(1)
        .checked_div(space.layers_every)
        .unwrap_or(0);
    let added = usize::try_from(additions)
        .unwrap_or(usize::MAX)
        .saturating_mul(space.layers_step);
    space
        .layers
        .saturating_add(added)
        .min(space.layers_max.unwrap_or(usize::MAX))
        .max(space.layers)
}

/// Elements that the layers' outputs have for one image, with the fewest filters and the largest
/// strides.
fn smallest(space: &SpaceSettings, depth: usize, side: usize) -> f64 {
    let has = |layer_type: LayerType| space.layer_types.contains(&layer_type);
    let largest = |strides: &[usize]| strides.iter().copied().max().unwrap_or(1).max(1);
    let pooling = if has(LayerType::MaxPool) || has(LayerType::AvgPool) {
        largest(&space.pool_stride)
    } else {
        1
    };
    let conv = |strides: &[usize]| {
        if has(LayerType::Conv) || has(LayerType::PlainConv) {
            largest(strides)
        } else {
            1
        }
    };
    let down = conv(&space.stride_height).max(pooling);
    let right = conv(&space.stride_width).max(pooling);
    let fewest = space.filters.iter().copied().min().unwrap_or(1) + space.widen;
    // A layer without filters has the channels of its input: at least one.
    let is_convolution =
        |layer_type: &LayerType| matches!(layer_type, LayerType::Conv | LayerType::PlainConv);
    let filters = if space.layer_types.iter().all(is_convolution) {
        fewest
    } else {
        1
    };
    let mut height = side;
    let mut width = side;
    let mut elements = 0.0;
    for layer in 1..=depth {
        (height, width) = (height.div_ceil(down), width.div_ceil(right));
        elements += filters as f64 * (height * width) as f64;
        if space.pool_after.contains(&layer) {
            (height, width) = (height.div_ceil(2), width.div_ceil(2));
        }
    }
    elements
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::ImageShape;

    fn settings(change: impl FnOnce(&mut Settings)) -> Settings {
        let mut settings = Settings::default();
        change(&mut settings);
        settings
    }

    #[test]
    fn the_smallest_network_is_what_counts() {
        // One layer of 24 filters, batch 64: 24 x 32 x 32 x 64 x 8 bytes = 12.6 MB.
        let one = settings(|it| it.space.layers = 1);
        assert_eq!(problems(&one, Some(12_582_912.0)), []);
        let found = problems(&one, Some(12_582_911.0));
        assert_eq!(found[0].0, "space.layers");
        assert!(
            found[0].1.contains("child.batch_size = 64"),
            "{}",
            found[0].1
        );
        // A stride of 2 in both directions quarters it.
        let strided = settings(|it| {
            it.space.layers = 1;
            (it.space.stride_height, it.space.stride_width) = (vec![1, 2], vec![2]);
        });
        assert_eq!(problems(&strided, Some(12_582_912.0 / 4.0)), []);
        assert_ne!(problems(&strided, Some(12_582_912.0 / 4.0 - 1.0)), []);
        // A table's networks are never built.
        let looked_up = settings(|it| it.child.evaluator = EvaluatorKind::Table);
        assert_eq!(problems(&looked_up, Some(1.0)), []);
    }

    #[test]
    fn the_schedules_last_depth_counts() {
        let growing = settings(|it| {
            (it.run.trials, it.space.layers_step, it.space.layers_every) = (12_800, 200, 1_600);
        });
        assert_eq!(problems(&growing, None)[0].0, "space.layers_step");
        let limited = settings(|it| {
            (it.run.trials, it.space.layers_step, it.space.layers_every) = (12_800, 200, 1_600);
            it.space.layers_max = Some(30);
        });
        assert_eq!(problems(&limited, None), []);
    }

    #[test]
    fn depth_is_what_the_space_says() {
        for (trials, step, every, limit) in [
            (12_800, 2, 1_600, None),
            (1_601, 2, 1_600, None),
            (1_600, 2, 1_600, Some(7)),
            (100, 0, 10, None),
            (5_000, 3, 7, Some(40)),
        ] {
            let settings = settings(|it| {
                (
                    it.run.trials,
                    it.space.layers_step,
                    it.space.layers_every,
                    it.space.layers_max,
                ) = (trials, step, every, limit);
            });
            let space = settings.space.build(
                ImageShape {
                    channels: 3,
                    height: 32,
                    width: 32,
                },
                10,
            );
            assert_eq!(
                deepest(&settings.space, trials),
                space.layers(trials - 1),
                "{trials} {step} {every} {limit:?}"
            );
        }
    }
}

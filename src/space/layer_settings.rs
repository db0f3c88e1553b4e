//! What cannot work among the keys of layer types, blocks, pooling positions, learning rates and
//! limits of the `[space]` section. Must not know where values came from.

use super::settings::{
    LARGEST_FILTER, LARGEST_STRIDE, MOST_FILTERS, MOST_LAYERS, different, list_problem,
};
use super::{LayerType, SpaceKind, SpaceSettings};

/// Poolings of 32 × 32 pixels that leave something to pool, generously.
const MOST_POOLINGS: usize = 16;

impl SpaceSettings {
    /// True if a layer's type or sizes, or the learning rate, can be chosen at all.
    pub(super) fn decides_sizes(&self) -> bool {
        let several = |layer_type: LayerType, lists: &[&Vec<usize>]| {
            self.layer_types.contains(&layer_type) && lists.iter().any(|list| list.len() > 1)
        };
        let pool = [&self.pool_size, &self.pool_stride];
        let conv = [
            &self.filter_height,
            &self.filter_width,
            &self.filters,
            &self.stride_height,
            &self.stride_width,
        ];
        self.layer_types.len() > 1
            || self.learning_rates.len() > 1
            || several(LayerType::Conv, &conv)
            || several(LayerType::MaxPool, &pool)
            || several(LayerType::AvgPool, &pool)
            || several(LayerType::Lcn, &[&self.lcn_window])
    }

    /// (key, what would be valid) of these keys.
    pub(super) fn layer_problems(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        let windows = |side: usize| (2..=LARGEST_FILTER).contains(&side);
        let strides = |stride: usize| (1..=LARGEST_STRIDE).contains(&stride);
        let odd = |side: usize| (3..=LARGEST_FILTER).contains(&side) && side % 2 == 1;
        let sides =
            format!("sides of pooling windows from 2 to {LARGEST_FILTER}, for example [2, 3]");
        list_problem(&mut problems, "pool_size", &self.pool_size, windows, &sides);
        list_problem(
            &mut problems,
            "pool_stride",
            &self.pool_stride,
            strides,
            &format!("strides from 1 to {LARGEST_STRIDE}, for example [2]"),
        );
        let sides = format!("odd sides of windows from 3 to {LARGEST_FILTER}, for example [9]");
        list_problem(&mut problems, "lcn_window", &self.lcn_window, odd, &sides);
        let mut refuse = |key: &str, broken: bool, valid: String| {
            if broken {
                problems.push((key.to_owned(), valid));
            }
        };
        refuse(
            "layer_types",
            !different(&self.layer_types),
            "must list one or more different types of layers, for example [\"conv\", \"max_pool\"]"
                .into(),
        );
        let rates = (self.learning_rates.is_empty() || different(&self.learning_rates))
            && self
                .learning_rates
                .iter()
                .all(|rate| rate.is_finite() && *rate > 0.0);
        refuse(
            "learning_rates",
            !rates,
            "must list different rates above 0, for example [0.03, 0.1, 0.3]; left out: child.learning_rate".into(),
        );
        refuse(
            "widen",
            self.widen > MOST_FILTERS,
            format!("must be 0 to {MOST_FILTERS} more filters"),
        );
        problems.extend(self.block_problems());
        problems.extend(self.without_effect());
        problems
    }

    /// The limits, which named decisions cannot have: nobody knows how large their networks are.
    pub(super) fn limit_problems(&self) -> Vec<(String, String)> {
        let limits = [
            ("max_parameters", self.max_parameters),
            ("max_flops", self.max_flops),
        ];
        let problem = |(key, limit): (&str, Option<u64>)| match (limit?, self.kind) {
            (_, SpaceKind::Choices) => Some((
                key.to_owned(),
                "has no effect with space.kind = \"choices\": leave it out".to_owned(),
            )),
            (0, _) => Some((
                key.to_owned(),
                "must be 1 or more, or left out for no limit".to_owned(),
            )),
            _ => None,
        };
        limits.into_iter().filter_map(problem).collect()
    }

    fn block_problems(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        let mut refuse = |key: &str, broken: bool, valid: String| {
            if broken {
                problems.push((key.to_owned(), valid));
            }
        };
        refuse(
            "block",
            !(1..=MOST_LAYERS).contains(&self.block),
            format!("must be 1 to {MOST_LAYERS} layers"),
        );
        let whole = |layers: usize| self.block == 0 || layers.is_multiple_of(self.block);
        let multiple = format!(
            "must be a multiple of space.block = {}: one prediction stands for so many layers",
            self.block
        );
        refuse("layers", !whole(self.layers), multiple.clone());
        refuse("layers_step", !whole(self.layers_step), multiple.clone());
        refuse(
            "layers_max",
            self.layers_max.is_some_and(|max| !whole(max)),
            multiple,
        );
        // Where depth grows without an end, every position is reached some day.
        let deepest = if self.layers_step == 0 {
            Some(self.layers)
        } else {
            self.layers_max
        };
        let valid = self.pool_after.len() <= MOST_POOLINGS
            && self.pool_after.is_sorted_by(|a, b| a < b)
            && self.pool_after.first() != Some(&0)
            && self
                .pool_after
                .last()
                .is_none_or(|last| deepest.is_none_or(|deepest| *last < deepest));
        let below = deepest.map_or_else(String::new, |deepest| {
            format!(" and below the depth of {deepest}")
        });
        let valid_is = format!(
            "must be at most {MOST_POOLINGS} ascending layer numbers from 1{below}, for example [4, 8]"
        );
        refuse("pool_after", !valid, valid_is);
        problems
    }

    /// Keys of types of layers that no layer can have.
    fn without_effect(&self) -> Vec<(String, String)> {
        let defaults = Self::default();
        let has = |layer_type: LayerType| self.layer_types.contains(&layer_type);
        let (conv, pool) = (
            has(LayerType::Conv),
            has(LayerType::MaxPool) || has(LayerType::AvgPool),
        );
        let keys = [
            (
                "pool_size",
                self.pool_size != defaults.pool_size,
                pool,
                "\"max_pool\" or \"avg_pool\"",
            ),
            (
                "pool_stride",
                self.pool_stride != defaults.pool_stride,
                pool,
                "\"max_pool\" or \"avg_pool\"",
            ),
            (
                "lcn_window",
                self.lcn_window != defaults.lcn_window,
                has(LayerType::Lcn),
                "\"lcn\"",
            ),
            (
                "filter_height",
                self.filter_height != defaults.filter_height,
                conv,
                "\"conv\"",
            ),
            (
                "filter_width",
                self.filter_width != defaults.filter_width,
                conv,
                "\"conv\"",
            ),
            (
                "filters",
                self.filters != defaults.filters,
                conv,
                "\"conv\"",
            ),
            (
                "stride_height",
                self.stride_height != defaults.stride_height,
                conv,
                "\"conv\"",
            ),
            (
                "stride_width",
                self.stride_width != defaults.stride_width,
                conv,
                "\"conv\"",
            ),
            ("widen", self.widen != defaults.widen, conv, "\"conv\""),
        ];
        let idle = keys
            .into_iter()
            .filter(|(_, written, used, _)| *written && !used);
        idle.map(|(key, _, _, types)| {
            (
                key.into(),
                format!("has an effect with {types} in space.layer_types alone"),
            )
        })
        .collect()
    }
}

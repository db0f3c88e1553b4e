//! What cannot work together among the keys of convolutional networks in the `[space]` section:
//! depths, blocks and pooling positions. Must not know where values were written.

use super::settings::MAX_LAYERS;
use super::{LayerType, SkipConnections, SpaceSettings};

/// Far more poolings than 32 × 32 pixels allow.
const MAX_POOLINGS: usize = 16;

impl SpaceSettings {
    /// (key, what would be valid) of these keys.
    pub(super) fn conv_problems(&self) -> Vec<(String, String)> {
        let depths = self.layers..=MAX_LAYERS;
        let is_single = !self.decides_sizes()
            && (self.skip_connections != SkipConnections::Predicted || self.layers <= self.block);
        let rules = [
            (
                "layers_max",
                self.layers_max.is_none_or(|max| depths.contains(&max)),
                format!(
                    "must be from space.layers = {} to {MAX_LAYERS}",
                    self.layers
                ),
            ),
            (
                "kind",
                !is_single || self.layers_step > 0,
                "holds one architecture only, so there is nothing to search: give some list two entries, or predict skip connections".into(),
            ),
        ];
        rules
            .into_iter()
            .chain(self.block_rules())
            .chain([self.pooling_rule()])
            .filter(|(_, holds, _)| !holds)
            .map(|(key, _, valid)| (key.to_owned(), valid))
            .collect()
    }

    /// True if a layer's type or sizes, or the learning rate, can be chosen at all.
    fn decides_sizes(&self) -> bool {
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
            || several(LayerType::PlainConv, &conv)
            || several(LayerType::MaxPool, &pool)
            || several(LayerType::AvgPool, &pool)
            || several(LayerType::Lcn, &[&self.lcn_window])
    }

    /// Depths are whole numbers of blocks.
    fn block_rules(&self) -> [(&'static str, bool, String); 3] {
        let is_whole = |layers: usize| self.block == 0 || layers.is_multiple_of(self.block);
        let multiple = format!(
            "must be a multiple of space.block = {}: one prediction stands for so many layers",
            self.block
        );
        [
            ("layers", is_whole(self.layers), multiple.clone()),
            ("layers_step", is_whole(self.layers_step), multiple.clone()),
            ("layers_max", self.layers_max.is_none_or(is_whole), multiple),
        ]
    }

    /// Every pooling position lies inside the network.
    fn pooling_rule(&self) -> (&'static str, bool, String) {
        // Where the depth grows without an end, every position is reached some day.
        let deepest = if self.layers_step == 0 {
            Some(self.layers)
        } else {
            self.layers_max
        };
        let is_inside =
            |position: &usize| deepest.is_none_or(|deepest| *position < deepest) && *position > 0;
        let holds = self.pool_after.len() <= MAX_POOLINGS
            && self.pool_after.is_sorted_by(|a, b| a < b)
            && self.pool_after.iter().all(is_inside);
        let below = deepest.map_or_else(String::new, |deepest| {
            format!(" and below the depth of {deepest}")
        });
        let valid = format!(
            "must be at most {MAX_POOLINGS} ascending layer numbers from 1{below}, for example [4, 8]"
        );
        ("pool_after", holds, valid)
    }
}

//! Where each tensor of the controller network lies in the flat parameter vector. Must not know
//! what is computed with them.
//!
//! In this order: the learned start input `[hidden]`; for each LSTM layer the weights `[2·hidden,
//! 4·hidden]` (rows: input, then previous output; columns: input, forget, cell and output gate) and
//! bias `[4·hidden]`; for each kind of decision its embedding `[options, hidden]`, its head
//! `[hidden, options]` and the head's bias `[options]`; if there are anchor points, W_prev, W_curr
//! and the projection of the chosen layers' mean `[hidden, hidden]` each, and v `[hidden]`. Depth
//! changes nothing here.

use crate::space::Space;
use std::ops::Range;

/// Ranges of one LSTM layer.
#[derive(Clone, Debug)]
pub(super) struct LayerRanges {
    pub weights: Range<usize>,
    pub bias: Range<usize>,
}

/// Ranges of one kind of decision.
#[derive(Clone, Debug)]
pub(super) struct KindRanges {
    pub options: usize,
    pub embedding: Range<usize>,
    pub head: Range<usize>,
    pub bias: Range<usize>,
}

/// Ranges of the attention over anchor points (paper §3.3).
#[derive(Clone, Debug)]
pub(super) struct AnchorRanges {
    pub previous: Range<usize>,
    pub current: Range<usize>,
    pub projection: Range<usize>,
    pub v: Range<usize>,
}

/// The whole vector.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub hidden: usize,
    pub start: Range<usize>,
    pub layers: Vec<LayerRanges>,
    pub kinds: Vec<KindRanges>,
    pub anchors: Option<AnchorRanges>,
    pub total: usize,
}

impl Layout {
    pub(super) fn new(space: &dyn Space, hidden: usize, layers: usize) -> Self {
        let mut total = 0;
        let mut take = |length: usize| {
            total += length;
            total - length..total
        };
        let start = take(hidden);
        let layers = (0..layers)
            .map(|_| LayerRanges {
                weights: take(2 * hidden * 4 * hidden),
                bias: take(4 * hidden),
            })
            .collect();
        let kinds = space
            .kinds()
            .iter()
            .map(|kind| kind.options.len())
            .map(|options| KindRanges {
                options,
                embedding: take(options * hidden),
                head: take(hidden * options),
                bias: take(options),
            });
        let kinds = kinds.collect();
        let anchors = space.has_anchors().then(|| AnchorRanges {
            previous: take(hidden * hidden),
            current: take(hidden * hidden),
            projection: take(hidden * hidden),
            v: take(hidden),
        });
        Self {
            hidden,
            start,
            layers,
            kinds,
            anchors,
            total,
        }
    }
}

//! The convolutional space (paper §3.2, §3.3): per layer the filter's height and width, strides, the number of filters, and an anchor
//! point for skip connections. Must not know how decisions are sampled.

use super::{
    Architecture, ConvLayer, ConvNetwork, Decision, DecisionError, ImageShape, Kind, Network, Next, OptionValue, SkipConnections, Space,
    SpaceSettings,
};

/// Per layer, in the paper's order (figure 2); a list of one entry is not predicted.
const NAMES: [&str; 5] = ["filter_height", "filter_width", "stride_height", "stride_width", "filters"];

/// Convolutional networks for images of one shape.
pub struct ConvSpace {
    image: ImageShape,
    classes: usize,
    kinds: Vec<Kind>,
    /// The lists of `NAMES`, and for each the kind that predicts it.
    lists: [(Vec<usize>, Option<usize>); 5],
    skip: SkipConnections,
    layers: usize,
    step: usize,
    every: u64,
    max: usize,
}

impl ConvSpace {
    /// `settings` are free of problems.
    pub fn new(settings: &SpaceSettings, image: ImageShape, classes: usize) -> Self {
        let mut kinds = Vec::new();
        let lists = [&settings.filter_height, &settings.filter_width, &settings.stride_height, &settings.stride_width, &settings.filters];
        let mut place = 0;
        let lists = lists.map(|list| {
            let predicted = (list.len() > 1).then_some(kinds.len());
            if predicted.is_some() {
                let options = list.iter().map(|&value| OptionValue::Integer(value as i64)).collect();
                kinds.push(Kind { name: NAMES[place].to_owned(), options });
            }
            place += 1;
            (list.clone(), predicted)
        });
        Self {
            image,
            classes,
            kinds,
            lists,
            skip: settings.skip_connections,
            layers: settings.layers,
            step: settings.layers_step,
            every: settings.layers_every.max(1),
            max: settings.layers_max.unwrap_or(usize::MAX),
        }
    }

    /// Decisions of one layer.
    fn per_layer(&self) -> usize {
        self.kinds.len() + usize::from(self.has_anchors())
    }

    /// Checks one layer's choices and gives the five values in the order of `NAMES`.
    fn values(&self, first: usize, decisions: &[Decision]) -> Result<[usize; 5], DecisionError> {
        let mut values = [0; 5];
        for (value, (list, predicted)) in values.iter_mut().zip(&self.lists) {
            *value = match predicted {
                None => list[0],
                Some(kind) => match &decisions[*kind] {
                    Decision::Choice(option) if *option < list.len() => list[*option],
                    other => {
                        let problem = format!("{} takes one of {} options, not {other:?}", self.kinds[*kind].name, list.len());
                        return Err(DecisionError { position: first + kind + 1, problem });
                    }
                },
            };
        }
        Ok(values)
    }

    /// The inputs of layer `layer` (from 1).
    fn inputs(&self, layer: usize, first: usize, decisions: &[Decision]) -> Result<Vec<usize>, DecisionError> {
        Ok(match self.skip {
            SkipConnections::None => vec![layer - 1],
            SkipConnections::All => (1..layer).collect(),
            SkipConnections::Predicted => match &decisions[self.kinds.len()] {
                Decision::Skips(bits) if bits.len() == layer - 1 && bits.iter().all(|bit| *bit < 2) => {
                    (1..layer).filter(|earlier| bits[earlier - 1] == 1).collect()
                }
                other => {
                    let problem = format!("the anchor point of layer {layer} takes {} zeros or ones, not {other:?}", layer - 1);
                    return Err(DecisionError { position: first + self.kinds.len() + 1, problem });
                }
            },
        })
    }
}

impl Space for ConvSpace {
    fn kinds(&self) -> &[Kind] {
        &self.kinds
    }

    fn has_anchors(&self) -> bool {
        self.skip == SkipConnections::Predicted
    }

    fn next(&self, layers: usize, decisions: &[Decision]) -> Next {
        let per_layer = self.per_layer();
        if per_layer == 0 || decisions.len() >= layers * per_layer {
            return Next::Done;
        }
        let place = decisions.len() % per_layer;
        if place < self.kinds.len() { Next::Choose { kind: place } } else { Next::Anchor { earlier: decisions.len() / per_layer } }
    }

    fn build(&self, layers: usize, decisions: &[Decision]) -> Result<Architecture, DecisionError> {
        let per_layer = self.per_layer();
        if decisions.len() != layers * per_layer {
            let problem = format!("{} decisions describe {layers} layers, here are {}", layers * per_layer, decisions.len());
            return Err(DecisionError { position: decisions.len().min(layers * per_layer) + 1, problem });
        }
        let mut built = Vec::with_capacity(layers);
        for layer in 1..=layers {
            let first = (layer - 1) * per_layer;
            let own = &decisions[first..first + per_layer];
            let [filter_height, filter_width, stride_height, stride_width, filters] = self.values(first, own)?;
            let inputs = self.inputs(layer, first, own)?;
            built.push(ConvLayer { filter_height, filter_width, filters, stride_height, stride_width, inputs });
        }
        Ok(Architecture { version: 1, network: Network::Conv(ConvNetwork::new(self.image, self.classes, built)) })
    }

    fn layers(&self, sampled: u64) -> usize {
        let steps = usize::try_from(sampled / self.every).unwrap_or(usize::MAX);
        self.layers.saturating_add(self.step.saturating_mul(steps)).min(self.max)
    }

    fn log10_size(&self, layers: usize) -> f64 {
        let choices: f64 = self.kinds.iter().map(|kind| (kind.options.len() as f64).log10()).sum();
        let skips = if self.has_anchors() { (layers * layers.saturating_sub(1) / 2) as f64 * 2_f64.log10() } else { 0.0 };
        layers as f64 * choices + skips
    }

    fn describe(&self, _layers: usize, decisions: &[Decision]) -> Vec<(String, String)> {
        let per_layer = self.per_layer().max(1);
        let mut described = Vec::with_capacity(decisions.len());
        for (place, decision) in decisions.iter().enumerate() {
            let layer = place / per_layer + 1;
            match decision {
                Decision::Choice(option) => {
                    if let Some(kind) = self.kinds.get(place % per_layer) {
                        let value = kind.options.get(*option).map_or_else(|| "?".to_owned(), ToString::to_string);
                        described.push((format!("layer {layer} {}", kind.name.replace('_', " ")), value));
                    }
                }
                Decision::Skips(bits) => {
                    described.extend((1..).zip(bits).map(|(earlier, bit)| (format!("layer {layer} skip {earlier}"), bit.to_string())));
                }
            }
        }
        described
    }
}

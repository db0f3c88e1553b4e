//! The convolutional space (paper §3.2, §3.3): per prediction the layer's type, that type's own
//! sizes, and an anchor point for skip connections; at the end, where it is searched, the learning
//! rate. Must not know how decisions are sampled.

use super::blocks::{Prediction, graph};
use super::given;
use super::{
    AdoptError, Architecture, ConvNetwork, Convolution, Decision, DecisionError, ImageShape, Kind,
    LayerType, Network, Next, Operation, OptionValue, Pool, SizeLimits, SkipConnections, Space,
    SpaceSettings,
};

/// Convolutional networks for images of one shape.
pub struct ConvSpace {
    image: ImageShape,
    classes: usize,
    kinds: Vec<Kind>,
    types: List<LayerType>,
    sizes: [List<usize>; 8],
    rates: List<f64>,
    skip: SkipConnections,
    block: usize,
    pool_after: Vec<usize>,
    /// Filters of each convolution beyond those predicted.
    widen: usize,
    /// Depth of the first architectures.
    layers: usize,
    /// Layers added each time `every` architectures have been sampled, up to the depth `max`.
    step: usize,
    every: u64,
    max: usize,
    limits: SizeLimits,
}

/// What can be chosen, and the kind that predicts it; a list of one entry is not predicted.
struct List<T> {
    values: Vec<T>,
    kind: Option<usize>,
}

const CONVOLUTIONS: &[LayerType] = &[LayerType::Conv, LayerType::PlainConv];

/// The sizes of layers, in the order of the paper (figure 2), and the types that have them.
const SIZES: [(&str, &[LayerType]); 8] = [
    ("filter_height", CONVOLUTIONS),
    ("filter_width", CONVOLUTIONS),
    ("stride_height", CONVOLUTIONS),
    ("stride_width", CONVOLUTIONS),
    ("filters", CONVOLUTIONS),
    ("pool_size", &[LayerType::MaxPool, LayerType::AvgPool]),
    ("pool_stride", &[LayerType::MaxPool, LayerType::AvgPool]),
    ("lcn_window", &[LayerType::Lcn]),
];

/// What a list of decisions lacks next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Want {
    Type(usize),
    /// A size (an index into `SIZES`), and its kind.
    Size(usize, usize),
    Anchor,
    Rate(usize),
    Nothing,
}

impl Want {
    /// The kind whose options are chosen from.
    fn kind(self) -> Option<usize> {
        match self {
            Self::Type(kind) | Self::Size(_, kind) | Self::Rate(kind) => Some(kind),
            Self::Anchor | Self::Nothing => None,
        }
    }
}

/// A walk along a list of decisions.
struct Cursor<'a> {
    space: &'a ConvSpace,
    predictions: usize,
    /// The prediction that the walk is in, from 0.
    prediction: usize,
    /// None: still to be decided.
    layer_type: Option<LayerType>,
    /// How many of `SIZES` are decided or passed over.
    sizes: usize,
    /// The learning rate is decided.
    rated: bool,
}

impl ConvSpace {
    /// `settings` are free of problems.
    pub fn new(settings: &SpaceSettings, image: ImageShape, classes: usize) -> Self {
        let mut kinds = Vec::new();
        let mut predicted = |name: &str, options: Vec<OptionValue>| {
            (options.len() > 1).then(|| {
                kinds.push(Kind {
                    name: name.to_owned(),
                    options,
                });
                kinds.len() - 1
            })
        };
        let types = settings.layer_types.clone();
        let words = types
            .iter()
            .map(|layer_type| OptionValue::Text(layer_type.name().into()))
            .collect();
        let types = List {
            kind: predicted("layer_type", words),
            values: types,
        };
        let lists = [
            &settings.filter_height,
            &settings.filter_width,
            &settings.stride_height,
            &settings.stride_width,
            &settings.filters,
            &settings.pool_size,
            &settings.pool_stride,
            &settings.lcn_window,
        ];
        let mut index = 0;
        let sizes = lists.map(|list| {
            let (name, owners) = SIZES[index];
            index += 1;
            let used = owners.iter().any(|owner| types.values.contains(owner));
            let options = list
                .iter()
                .map(|&value| OptionValue::Integer(value as i64))
                .collect();
            List {
                kind: if used { predicted(name, options) } else { None },
                values: list.clone(),
            }
        });
        let rates = settings.learning_rates.clone();
        let options = rates.iter().map(|&rate| OptionValue::Float(rate)).collect();
        let rates = List {
            kind: predicted("learning_rate", options),
            values: rates,
        };
        Self {
            image,
            classes,
            kinds,
            types,
            sizes,
            rates,
            skip: settings.skip_connections,
            block: settings.block.max(1),
            pool_after: settings.pool_after.clone(),
            widen: settings.widen,
            layers: settings.layers,
            step: settings.layers_step,
            every: settings.layers_every.max(1),
            max: settings.layers_max.unwrap_or(usize::MAX),
            limits: SizeLimits::new(settings),
        }
    }

    /// What messages call a prediction: `layer 3`.
    fn label(&self, prediction: usize) -> String {
        format!(
            "{} {}",
            if self.block > 1 { "block" } else { "layer" },
            prediction + 1
        )
    }

    fn cursor(&self, layers: usize) -> Cursor<'_> {
        let mut cursor = Cursor {
            space: self,
            predictions: layers / self.block,
            prediction: 0,
            layer_type: None,
            sizes: 0,
            rated: false,
        };
        cursor.begin();
        cursor
    }

    /// Checks a decision against what is wanted. `position` counts from 0.
    fn check(
        &self,
        want: Want,
        prediction: usize,
        position: usize,
        decision: &Decision,
    ) -> Result<(), DecisionError> {
        let problem = match (want.kind(), decision) {
            (Some(kind), Decision::Choice(option)) if *option < self.kinds[kind].options.len() => {
                return Ok(());
            }
            (Some(kind), other) if matches!(want, Want::Rate(_)) => self.kinds[kind].refusal(other),
            (Some(kind), other) => format!(
                "{}: {}",
                self.label(prediction),
                self.kinds[kind].refusal(other)
            ),
            (None, _) if want == Want::Nothing => {
                "the network is complete before this decision".to_owned()
            }
            (None, Decision::Skips(bits))
                if bits.len() == prediction && bits.iter().all(|bit| *bit < 2) =>
            {
                return Ok(());
            }
            (None, other) if prediction == 0 => {
                format!(
                    "the anchor point of {} must be [], for none is before it, not {other}",
                    self.label(0)
                )
            }
            (None, other) => format!(
                "the anchor point of {} must be {prediction} zeros or ones, one for each earlier one, such as {}, not {other}",
                self.label(prediction),
                Decision::Skips(vec![1; prediction])
            ),
        };
        Err(DecisionError {
            position: position + 1,
            problem,
        })
    }

    /// What feeds prediction `number` (from 1) where nothing predicts it.
    fn fixed_inputs(&self, number: usize) -> Vec<usize> {
        match self.skip {
            SkipConnections::All => (1..number).collect(),
            SkipConnections::None | SkipConnections::Predicted => {
                (1..number).last().into_iter().collect()
            }
        }
    }

    /// The operation of a layer of this type and these sizes, in the order of `SIZES`.
    fn operation(&self, layer_type: LayerType, sizes: &[usize; 8]) -> Operation {
        let &[
            filter_height,
            filter_width,
            stride_height,
            stride_width,
            filters,
            size,
            stride,
            window,
        ] = sizes;
        let convolution = Convolution {
            filter_height,
            filter_width,
            filters,
            stride_height,
            stride_width,
        };
        let operation = match layer_type {
            LayerType::Conv => Operation::Convolution(convolution),
            LayerType::PlainConv => Operation::PlainConvolution(convolution),
            LayerType::MaxPool => Operation::MaxPool(Pool { size, stride }),
            LayerType::AvgPool => Operation::AveragePool(Pool { size, stride }),
            LayerType::Lcn => Operation::LocalContrast { window },
            LayerType::BatchNorm => Operation::BatchNorm,
            LayerType::Relu => Operation::Relu,
            LayerType::Add => Operation::Add,
        };
        operation.widened(self.widen)
    }
}

impl Cursor<'_> {
    /// Starts a prediction, or passes over those that leave nothing to decide.
    fn begin(&mut self) {
        self.layer_type = if self.space.types.kind.is_some() {
            None
        } else {
            self.space.types.values.first().copied()
        };
        self.sizes = 0;
        self.settle();
    }

    /// Passes over what is not predicted.
    fn settle(&mut self) {
        let Some(layer_type) = self.layer_type else {
            return;
        };
        let asked = |index: usize| {
            SIZES[index].1.contains(&layer_type) && self.space.sizes[index].kind.is_some()
        };
        self.sizes = (self.sizes..SIZES.len())
            .find(|index| asked(*index))
            .unwrap_or(SIZES.len());
        if self.sizes == SIZES.len()
            && !self.space.has_anchors()
            && self.prediction < self.predictions
        {
            // Where a prediction has neither a type nor a size to decide, none has: all are passed
            // over at once.
            self.prediction = if self.space.kinds_per_layer() {
                self.prediction + 1
            } else {
                self.predictions
            };
            if self.prediction < self.predictions {
                self.begin();
            }
        }
    }

    /// What the next decision is about.
    fn wants(&self) -> Want {
        if self.prediction >= self.predictions {
            return self
                .space
                .rates
                .kind
                .filter(|_| !self.rated)
                .map_or(Want::Nothing, Want::Rate);
        }
        match (self.layer_type, self.space.types.kind) {
            (None, Some(kind)) => Want::Type(kind),
            _ => match SIZES
                .get(self.sizes)
                .and(self.space.sizes.get(self.sizes))
                .and_then(|list| list.kind)
            {
                Some(kind) => Want::Size(self.sizes, kind),
                None => Want::Anchor,
            },
        }
    }

    /// Moves past a decision that fits `want`.
    fn pass(&mut self, want: Want, decision: &Decision) {
        match (want, decision) {
            (Want::Type(_), Decision::Choice(option)) => {
                self.layer_type = self.space.types.values.get(*option).copied();
                self.settle();
            }
            (Want::Size(..), _) => {
                self.sizes += 1;
                self.settle();
            }
            (Want::Anchor, _) => {
                self.prediction += 1;
                if self.prediction < self.predictions {
                    self.begin();
                }
            }
            (Want::Rate(_), _) => self.rated = true,
            (Want::Type(_) | Want::Nothing, _) => {}
        }
    }
}

impl ConvSpace {
    /// Whether predictions have decisions other than anchor points.
    fn kinds_per_layer(&self) -> bool {
        self.types.kind.is_some() || self.sizes.iter().any(|list| list.kind.is_some())
    }

    /// What a list that ends at the cursor has left undecided.
    fn lack(&self, cursor: &Cursor) -> Option<String> {
        let want = cursor.wants();
        if want == Want::Nothing {
            return None;
        }
        let lacks = want.kind().map_or_else(
            || "an anchor point".to_owned(),
            |kind| self.kinds[kind].name.clone(),
        );
        let whose = if matches!(want, Want::Rate(_)) {
            "the network".to_owned()
        } else {
            self.label(cursor.prediction)
        };
        Some(format!("the list ends here, and {whose} lacks {lacks}"))
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
        let mut cursor = self.cursor(layers);
        for decision in decisions {
            let want = cursor.wants();
            cursor.pass(want, decision);
        }
        match cursor.wants() {
            Want::Nothing => Next::Done,
            Want::Anchor => Next::Anchor {
                earlier: cursor.prediction,
            },
            Want::Type(kind) | Want::Size(_, kind) | Want::Rate(kind) => Next::Choose { kind },
        }
    }

    /// A learning rate belongs to the whole network, whatever its depth.
    fn part(&self, layers: usize, decisions: &[Decision]) -> usize {
        let mut cursor = self.cursor(layers);
        for decision in decisions {
            let want = cursor.wants();
            cursor.pass(want, decision);
        }
        match cursor.wants() {
            Want::Rate(_) | Want::Nothing => 0,
            Want::Type(_) | Want::Size(..) | Want::Anchor => cursor.prediction,
        }
    }

    fn build(&self, layers: usize, decisions: &[Decision]) -> Result<Architecture, DecisionError> {
        let mut cursor = self.cursor(layers);
        let first = self
            .types
            .values
            .first()
            .copied()
            .unwrap_or(LayerType::Conv);
        let sizes: [usize; 8] =
            std::array::from_fn(|index| self.sizes[index].values.first().copied().unwrap_or(1));
        let mut chosen: Vec<_> = (1..=cursor.predictions)
            .map(|number| (first, sizes, self.fixed_inputs(number)))
            .collect();
        let mut rate = self.rates.values.first().copied();
        for (position, decision) in decisions.iter().enumerate() {
            let want = cursor.wants();
            let prediction = cursor.prediction;
            self.check(want, prediction, position, decision)?;
            match (want, decision) {
                (Want::Type(_), Decision::Choice(option)) => {
                    chosen[prediction].0 = self.types.values[*option];
                }
                (Want::Size(index, _), Decision::Choice(option)) => {
                    chosen[prediction].1[index] = self.sizes[index].values[*option];
                }
                (Want::Rate(_), Decision::Choice(option)) => {
                    rate = Some(self.rates.values[*option]);
                }
                (_, Decision::Skips(bits)) => {
                    chosen[prediction].2 = (1..)
                        .zip(bits)
                        .filter(|(_, bit)| **bit == 1)
                        .map(|(earlier, _)| earlier)
                        .collect();
                }
                _ => {}
            }
            cursor.pass(want, decision);
        }
        if let Some(problem) = self.lack(&cursor) {
            return Err(DecisionError {
                position: decisions.len() + 1,
                problem,
            });
        }
        let predictions: Vec<Prediction> = chosen
            .iter()
            .map(|(layer_type, sizes, inputs)| (self.operation(*layer_type, sizes), inputs.clone()))
            .collect();
        let network = ConvNetwork::new(
            self.image,
            self.classes,
            graph(&predictions, self.block, &self.pool_after),
        );
        Ok(Architecture {
            version: 1,
            network: Network::Conv(ConvNetwork {
                learning_rate: rate,
                ..network
            }),
        })
    }

    fn adopt(&self, given: Architecture) -> Result<(Architecture, Vec<Decision>), AdoptError> {
        let Network::Conv(network) = given.network else {
            return Err(given::other_kind(&given.network, "conv"));
        };
        let network = given::conv(network, self.image, self.classes)?;
        if network.learning_rate.is_none() && !self.rates.values.is_empty() {
            return Err(AdoptError::NoLearningRate);
        }
        Ok((
            Architecture {
                version: 1,
                network: Network::Conv(network),
            },
            Vec::new(),
        ))
    }

    fn images(&self) -> Option<(ImageShape, usize)> {
        Some((self.image, self.classes))
    }

    fn limits(&self) -> SizeLimits {
        self.limits
    }

    fn layers(&self, sampled: u64) -> usize {
        let steps = usize::try_from(sampled / self.every).unwrap_or(usize::MAX);
        self.layers
            .saturating_add(self.step.saturating_mul(steps))
            .min(self.max)
    }

    /// Exact: predictions do not depend on each other, so each type's choices multiply, and the
    /// types add up.
    fn log10_size(&self, layers: usize) -> f64 {
        let predictions = layers / self.block;
        let count = |list: &List<usize>| {
            if list.kind.is_some() {
                list.values.len() as f64
            } else {
                1.0
            }
        };
        let of_type = |layer_type: &LayerType| -> f64 {
            let own = SIZES
                .iter()
                .zip(&self.sizes)
                .filter(|((_, owners), _)| owners.contains(layer_type));
            own.map(|(_, list)| count(list)).product()
        };
        let types: f64 = self.types.values.iter().map(of_type).sum();
        let skips = if self.has_anchors() {
            (predictions * predictions.saturating_sub(1) / 2) as f64 * 2_f64.log10()
        } else {
            0.0
        };
        predictions as f64 * types.log10() + skips + (self.rates.values.len().max(1) as f64).log10()
    }

    fn describe(&self, layers: usize, decisions: &[Decision]) -> Vec<(String, String)> {
        let mut cursor = self.cursor(layers);
        let mut chosen: Vec<(Want, usize, &Decision)> = Vec::with_capacity(decisions.len());
        for decision in decisions {
            let want = cursor.wants();
            chosen.push((want, cursor.prediction, decision));
            cursor.pass(want, decision);
        }
        let of_kind = |prediction: Option<usize>, kind: usize| {
            let same = |(want, at, _): &&(Want, usize, &Decision)| {
                want.kind() == Some(kind) && prediction.is_none_or(|prediction| prediction == *at)
            };
            match chosen.iter().find(same) {
                Some((_, _, Decision::Choice(option))) => self.kinds[kind]
                    .options
                    .get(*option)
                    .map_or("?".into(), ToString::to_string),
                _ => String::new(),
            }
        };
        let per_layer: Vec<usize> = self
            .types
            .kind
            .into_iter()
            .chain(self.sizes.iter().filter_map(|list| list.kind))
            .collect();
        let mut described = Vec::with_capacity(decisions.len());
        for prediction in 0..cursor.predictions {
            let label = self.label(prediction);
            for &kind in &per_layer {
                let name = &self.kinds[kind].name;
                let name = name
                    .strip_prefix("layer_")
                    .unwrap_or(name)
                    .replace('_', " ");
                described.push((format!("{label} {name}"), of_kind(Some(prediction), kind)));
            }
            for (_, _, decision) in chosen
                .iter()
                .filter(|(want, at, _)| *want == Want::Anchor && *at == prediction)
            {
                let Decision::Skips(bits) = decision else {
                    continue;
                };
                described.extend(
                    (1..)
                        .zip(bits)
                        .map(|(earlier, bit)| (format!("{label} skip {earlier}"), bit.to_string())),
                );
            }
        }
        described.extend(
            self.rates
                .kind
                .map(|kind| ("learning rate".to_owned(), of_kind(None, kind))),
        );
        described
    }
}

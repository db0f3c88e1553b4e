//! The `[space]` section. Knows what values are possible, not where they came from.

use super::{Activation, Combination, LayerType, OptionValue};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Which space is searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SpaceKind {
    /// Convolutional networks (paper §3.2, §3.3).
    Conv,
    /// Recurrent cells (paper §4).
    Cell,
    /// Named decisions from the config file.
    Choices,
}

/// Where a layer's inputs come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SkipConnections {
    /// A chain.
    None,
    /// Anchor points decide (paper §3.3).
    Predicted,
    /// Every layer takes every earlier one.
    All,
}

/// `[space]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SpaceSettings {
    pub kind: SpaceKind,
    /// Depth of the first architectures.
    pub layers: usize,
    /// Layers added each time `layers_every` architectures have been sampled; 0: the depth stays.
    pub layers_step: usize,
    pub layers_every: u64,
    /// Depth at which growth ends; unset: no end but the run's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layers_max: Option<usize>,
    pub filter_height: Vec<usize>,
    pub filter_width: Vec<usize>,
    pub filters: Vec<usize>,
    pub stride_height: Vec<usize>,
    pub stride_width: Vec<usize>,
    pub skip_connections: SkipConnections,
    /// Types that a layer can have; `conv` alone: not predicted (paper §3.3).
    #[serde(skip_serializing_if = "is_conv_alone")]
    pub layer_types: Vec<LayerType>,
    /// Sides of pooling windows, and their strides.
    #[serde(skip_serializing_if = "is_default_pool_size")]
    pub pool_size: Vec<usize>,
    #[serde(skip_serializing_if = "is_default_pool_stride")]
    pub pool_stride: Vec<usize>,
    /// Sides of local contrast normalisation's windows.
    #[serde(skip_serializing_if = "is_default_lcn_window")]
    pub lcn_window: Vec<usize>,
    /// Learning rates that a network can be trained with; empty: `child.learning_rate`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub learning_rates: Vec<f64>,
    /// Equal layers that one prediction stands for.
    #[serde(skip_serializing_if = "is_one")]
    pub block: usize,
    /// Layers after which everything is max-pooled.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pool_after: Vec<usize>,
    /// Filters that every convolution of the resulting network has beyond those predicted.
    #[serde(skip_serializing_if = "is_zero")]
    pub widen: usize,
    /// A network with more parameters ends as failed, untrained.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_parameters: Option<u64>,
    /// The same for floating-point operations of one image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_flops: Option<u64>,
    /// Leaves of a cell's tree.
    pub base: usize,
    pub combinations: Vec<Combination>,
    pub activations: Vec<Activation>,
    /// `[[space.decision]]`, for `kind = "choices"`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub decision: Vec<DecisionSettings>,
}

/// One `[[space.decision]]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DecisionSettings {
    pub name: String,
    pub options: Vec<OptionValue>,
    /// It is decided only where each of these decisions was decided as (one of) the options given;
    /// empty: always.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub when: BTreeMap<String, Allowed>,
}

/// One option, or a list of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Allowed {
    One(OptionValue),
    Several(Vec<OptionValue>),
}

impl Allowed {
    pub fn values(&self) -> &[OptionValue] {
        match self {
            Self::One(value) => std::slice::from_ref(value),
            Self::Several(values) => values,
        }
    }
}

// Keys at their default are left out of a resolved config: a run that began before they existed
// goes on.
fn is_conv_alone(types: &[LayerType]) -> bool {
    types == [LayerType::Conv]
}

fn is_default_pool_size(sizes: &[usize]) -> bool {
    sizes == POOL_SIZE
}

fn is_default_pool_stride(strides: &[usize]) -> bool {
    strides == POOL_STRIDE
}

fn is_default_lcn_window(windows: &[usize]) -> bool {
    windows == LCN_WINDOW
}

fn is_one(number: &usize) -> bool {
    *number == 1
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// The paper leaves these open; the window is that of Jarrett et al.
const POOL_SIZE: [usize; 2] = [2, 3];
const POOL_STRIDE: [usize; 1] = [2];
const LCN_WINDOW: [usize; 1] = [9];

impl Default for SpaceSettings {
    /// The paper's convolutional space without strides (§4.1): 6 layers; its cells of base 8
    /// (§4.2).
    fn default() -> Self {
        Self {
            kind: SpaceKind::Conv,
            layers: 6,
            layers_step: 0,
            layers_every: 1600,
            layers_max: None,
            filter_height: vec![1, 3, 5, 7],
            filter_width: vec![1, 3, 5, 7],
            filters: vec![24, 36, 48, 64],
            stride_height: vec![1],
            stride_width: vec![1],
            skip_connections: SkipConnections::Predicted,
            layer_types: vec![LayerType::Conv],
            pool_size: POOL_SIZE.to_vec(),
            pool_stride: POOL_STRIDE.to_vec(),
            lcn_window: LCN_WINDOW.to_vec(),
            learning_rates: Vec::new(),
            block: 1,
            pool_after: Vec::new(),
            widen: 0,
            max_parameters: None,
            max_flops: None,
            base: 8,
            combinations: vec![Combination::Add, Combination::ElemMult],
            activations: vec![
                Activation::Identity,
                Activation::Tanh,
                Activation::Sigmoid,
                Activation::Relu,
            ],
            decision: Vec::new(),
        }
    }
}

impl Serialize for SkipConnections {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::None => serializer.serialize_bool(false),
            Self::Predicted => serializer.serialize_bool(true),
            Self::All => serializer.serialize_str("all"),
        }
    }
}

impl<'de> Deserialize<'de> for SkipConnections {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = SkipConnections;
            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("true, false or \"all\"")
            }
            fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
                Ok(if value {
                    SkipConnections::Predicted
                } else {
                    SkipConnections::None
                })
            }
            fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Self::Value, E> {
                match value {
                    "all" => Ok(SkipConnections::All),
                    _ => Err(E::invalid_value(serde::de::Unexpected::Str(value), &self)),
                }
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// Bounds that nobody who means it will meet; beyond them a value is a slip of the keyboard.
pub(super) const MOST_LAYERS: usize = 1_000;
pub(super) const LARGEST_FILTER: usize = 31;
pub(super) const MOST_FILTERS: usize = 4_096;
pub(super) const LARGEST_STRIDE: usize = 8;
const LARGEST_BASE: usize = 64;

impl SpaceSettings {
    /// What cannot work in this section: (key, what would be valid).
    pub fn problems(&self) -> Vec<(String, String)> {
        let of_kind = match self.kind {
            SpaceKind::Conv => [self.conv_problems(), self.foreign_cell_keys()].concat(),
            SpaceKind::Cell => self.cell_problems(),
            SpaceKind::Choices => [
                self.foreign_conv_keys(),
                self.foreign_cell_keys(),
                self.choices_problems(),
            ]
            .concat(),
        };
        [of_kind, self.limit_problems()].concat()
    }

    fn cell_problems(&self) -> Vec<(String, String)> {
        let mut problems = self.foreign_conv_keys();
        let mut refuse = |key: &str, broken: bool, valid: String| {
            if broken {
                problems.push((key.to_owned(), valid));
            }
        };
        let valid = format!("must be 2 to {LARGEST_BASE} leaves, for example 8");
        refuse("base", !(2..=LARGEST_BASE).contains(&self.base), valid);
        let valid = "must list one or more different combinations: \"add\", \"elem_mult\", \"max\"";
        refuse("combinations", !different(&self.combinations), valid.into());
        let valid = "must list one or more different activations: \"identity\", \"tanh\", \"sigmoid\", \"relu\", \"sin\"";
        refuse("activations", !different(&self.activations), valid.into());
        refuse("decision", !self.decision.is_empty(), only_with("choices"));
        problems
    }

    /// Keys of convolutional networks that were written although something else is searched.
    fn foreign_conv_keys(&self) -> Vec<(String, String)> {
        let defaults = Self::default();
        let keys = [
            ("layers", self.layers != defaults.layers),
            ("layers_step", self.layers_step != defaults.layers_step),
            ("layers_every", self.layers_every != defaults.layers_every),
            ("layers_max", self.layers_max != defaults.layers_max),
            (
                "filter_height",
                self.filter_height != defaults.filter_height,
            ),
            ("filter_width", self.filter_width != defaults.filter_width),
            ("filters", self.filters != defaults.filters),
            (
                "stride_height",
                self.stride_height != defaults.stride_height,
            ),
            ("stride_width", self.stride_width != defaults.stride_width),
            (
                "skip_connections",
                self.skip_connections != defaults.skip_connections,
            ),
            ("layer_types", self.layer_types != defaults.layer_types),
            ("pool_size", self.pool_size != defaults.pool_size),
            ("pool_stride", self.pool_stride != defaults.pool_stride),
            ("lcn_window", self.lcn_window != defaults.lcn_window),
            (
                "learning_rates",
                self.learning_rates != defaults.learning_rates,
            ),
            ("block", self.block != defaults.block),
            ("pool_after", self.pool_after != defaults.pool_after),
            ("widen", self.widen != defaults.widen),
        ];
        foreign(&keys, "conv")
    }

    /// Keys of cells that were written although something else is searched.
    fn foreign_cell_keys(&self) -> Vec<(String, String)> {
        let defaults = Self::default();
        let keys = [
            ("base", self.base != defaults.base),
            ("combinations", self.combinations != defaults.combinations),
            ("activations", self.activations != defaults.activations),
        ];
        foreign(&keys, "cell")
    }

    fn conv_problems(&self) -> Vec<(String, String)> {
        let odd = |size: usize| (1..=LARGEST_FILTER).contains(&size) && size % 2 == 1;
        let stride = |stride: usize| (1..=LARGEST_STRIDE).contains(&stride);
        let filters = |filters: usize| (1..=MOST_FILTERS).contains(&filters);
        let sizes = format!(
            "odd sizes from 1 to {LARGEST_FILTER}, for example [1, 3, 5, 7] (\"same\" padding is (size - 1) / 2 on each side)"
        );
        let strides = format!("strides from 1 to {LARGEST_STRIDE}, for example [1] or [1, 2]");
        let counts =
            format!("numbers of filters from 1 to {MOST_FILTERS}, for example [24, 36, 48, 64]");
        let mut problems = Vec::new();
        list_problem(
            &mut problems,
            "filter_height",
            &self.filter_height,
            odd,
            &sizes,
        );
        list_problem(
            &mut problems,
            "filter_width",
            &self.filter_width,
            odd,
            &sizes,
        );
        list_problem(&mut problems, "filters", &self.filters, filters, &counts);
        list_problem(
            &mut problems,
            "stride_height",
            &self.stride_height,
            stride,
            &strides,
        );
        list_problem(
            &mut problems,
            "stride_width",
            &self.stride_width,
            stride,
            &strides,
        );
        let mut refuse = |key: &str, broken: bool, valid: String| {
            if broken {
                problems.push((key.to_owned(), valid));
            }
        };
        refuse(
            "layers",
            !(1..=MOST_LAYERS).contains(&self.layers),
            format!("must be 1 to {MOST_LAYERS}"),
        );
        refuse(
            "layers_step",
            self.layers_step > MOST_LAYERS,
            format!("must be 0 (the depth stays) to {MOST_LAYERS}"),
        );
        refuse(
            "layers_every",
            self.layers_every == 0,
            "must be 1 or more architectures, for example 1600".into(),
        );
        let range = self.layers..=MOST_LAYERS;
        let valid = format!(
            "must be from space.layers = {} to {MOST_LAYERS}",
            self.layers
        );
        refuse(
            "layers_max",
            self.layers_max.is_some_and(|max| !range.contains(&max)),
            valid,
        );
        refuse("decision", !self.decision.is_empty(), only_with("choices"));
        let one = !self.decides_sizes()
            && (self.skip_connections != SkipConnections::Predicted || self.layers <= self.block);
        let valid = "holds one architecture only, so there is nothing to search: give some list two entries, or predict skip connections";
        refuse("kind", one && self.layers_step == 0, valid.into());
        problems.extend(self.layer_problems());
        problems
    }

    fn choices_problems(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        let example = "[[space.decision]] with name = \"op\" and options = [\"conv\", \"pool\"]";
        if !self
            .decision
            .iter()
            .any(|decision| decision.options.len() > 1)
        {
            problems.push((
                "decision".into(),
                format!("needs at least one decision with two options: {example}"),
            ));
        }
        for (index, decision) in self.decision.iter().enumerate() {
            let mut refuse = |key: &str, broken: bool, valid: String| {
                if broken {
                    problems.push((format!("decision[{}].{key}", index + 1), valid));
                }
            };
            let name = &decision.name;
            let again = self.decision[..index]
                .iter()
                .any(|earlier| earlier.name == *name);
            refuse(
                "name",
                name.trim().is_empty() || again,
                format!("\"{name}\": names must differ and not be empty"),
            );
            let finite = |option: &OptionValue| !matches!(option, OptionValue::Float(value) if !value.is_finite());
            let different = decision
                .options
                .iter()
                .enumerate()
                .all(|(place, option)| !decision.options[..place].contains(option));
            let valid =
                !decision.options.is_empty() && different && decision.options.iter().all(finite);
            refuse(
                "options",
                !valid,
                format!(
                    "the options of \"{name}\" must be one or more different strings, finite numbers or booleans"
                ),
            );
        }
        if problems.is_empty() {
            problems.extend(
                super::conditions::rules(&self.decision)
                    .err()
                    .into_iter()
                    .flatten(),
            );
        }
        problems
    }
}

fn only_with(kind: &str) -> String {
    format!("has an effect with space.kind = \"{kind}\" alone: set that, or leave it out")
}

/// The keys that were written, as problems.
fn foreign(keys: &[(&str, bool)], kind: &str) -> Vec<(String, String)> {
    keys.iter()
        .filter(|(_, written)| *written)
        .map(|(key, _)| ((*key).to_owned(), only_with(kind)))
        .collect()
}

/// One entry at least, and none twice.
pub(super) fn different<T: PartialEq>(list: &[T]) -> bool {
    !list.is_empty()
        && list
            .iter()
            .enumerate()
            .all(|(place, value)| !list[..place].contains(value))
}

pub(super) fn list_problem(
    problems: &mut Vec<(String, String)>,
    key: &str,
    list: &[usize],
    valid: impl Fn(usize) -> bool,
    expected: &str,
) {
    if !different(list) || !list.iter().all(|value| valid(*value)) {
        problems.push((
            key.to_owned(),
            format!("must list one or more different {expected}"),
        ));
    }
}

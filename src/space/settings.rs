//! The `[space]` section: each key's declaration stands on its field. Must not know where a value
//! was written.

use super::{Activation, Combination, LayerType, OptionValue};
use schemars::{JsonSchema, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use smart_default::SmartDefault;
use std::collections::BTreeMap;

/// Which space is searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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

/// Bounds that no useful network meets: a value beyond them is a typing error.
pub(super) const MAX_LAYERS: usize = 1_000;
pub(super) const MAX_FILTER_SIZE: usize = 31;
pub(super) const MAX_FILTERS: usize = 4_096;
pub(super) const MAX_STRIDE: usize = 8;
const MAX_BASE: usize = 64;

/// `[space]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema, SmartDefault)]
#[serde(default)]
pub struct SpaceSettings {
    /// What is searched: convolutional networks, recurrent cells, or the decisions listed here.
    #[default(SpaceKind::Conv)]
    pub kind: SpaceKind,
    /// Layers of the first architectures.
    #[default = 6]
    #[schemars(range(min = 1, max = MAX_LAYERS), extend("x-applies" = conv()))]
    pub layers: usize,
    /// Layers added each time layers_every architectures have been sampled; 0: depth stays.
    #[default = 0]
    #[schemars(
        range(max = MAX_LAYERS),
        extend(
            "x-applies" = conv(),
            "x-valid" = format!("must be 0 (the depth stays) to {MAX_LAYERS}"),
        )
    )]
    pub layers_step: usize,
    /// Architectures between two additions of layers.
    #[default = 1600]
    #[schemars(
        range(min = 1),
        extend(
            "x-applies" = conv(),
            "x-valid" = "must be 1 or more architectures, for example 1600",
        )
    )]
    pub layers_every: u64,
    /// Depth at which growth ends.
    #[schemars(
        range(min = 1, max = MAX_LAYERS),
        extend(
            "x-applies" = conv(),
            "x-identity" = "unless default",
            "x-unset" = "no end but the run's",
        )
    )]
    pub layers_max: Option<usize>,
    /// Heights of filters that a layer can have; one entry means "always this".
    #[default(vec![1, 3, 5, 7])]
    #[schemars(
        inner(range(min = 1, max = MAX_FILTER_SIZE)),
        transform = odd_list,
        extend("x-applies" = layers_of_type(&["conv", "plain_conv"]), "x-valid" = filter_sizes())
    )]
    pub filter_height: Vec<usize>,
    /// Widths of filters that a layer can have.
    #[default(vec![1, 3, 5, 7])]
    #[schemars(
        inner(range(min = 1, max = MAX_FILTER_SIZE)),
        transform = odd_list,
        extend("x-applies" = layers_of_type(&["conv", "plain_conv"]), "x-valid" = filter_sizes())
    )]
    pub filter_width: Vec<usize>,
    /// Numbers of filters that a layer can have.
    #[default(vec![24, 36, 48, 64])]
    #[schemars(
        inner(range(min = 1, max = MAX_FILTERS)),
        transform = list,
        extend(
            "examples" = [[24, 36, 48, 64]],
            "x-applies" = layers_of_type(&["conv", "plain_conv"]),
            "x-unit" = "numbers of filters",
        )
    )]
    pub filters: Vec<usize>,
    /// Vertical strides that a layer can have; `[1]`: not predicted.
    #[default(vec![1])]
    #[schemars(
        inner(range(min = 1, max = MAX_STRIDE)),
        transform = list,
        extend(
            "examples" = [[1], [1, 2]],
            "x-applies" = layers_of_type(&["conv", "plain_conv"]),
            "x-unit" = "strides",
        )
    )]
    pub stride_height: Vec<usize>,
    /// Horizontal strides that a layer can have; `[1]`: not predicted.
    #[default(vec![1])]
    #[schemars(
        inner(range(min = 1, max = MAX_STRIDE)),
        transform = list,
        extend(
            "examples" = [[1], [1, 2]],
            "x-applies" = layers_of_type(&["conv", "plain_conv"]),
            "x-unit" = "strides",
        )
    )]
    pub stride_width: Vec<usize>,
    /// `true`: predicted for each pair of layers; `false`: a chain; `"all"`: every earlier layer.
    #[default(SkipConnections::Predicted)]
    #[schemars(extend("x-applies" = conv()))]
    pub skip_connections: SkipConnections,
    /// Types that a layer can have (paper §3.3); `["conv"]`: not predicted.
    #[default(vec![LayerType::Conv])]
    #[schemars(
        transform = list,
        extend(
            "examples" = [["conv", "max_pool"]],
            "x-applies" = conv(),
            "x-identity" = "unless default",
            "x-unit" = "types of layers",
        )
    )]
    pub layer_types: Vec<LayerType>,
    /// Sides of the windows that a pooling layer can have.
    // The paper leaves pooling and its strides open.
    #[default(vec![2, 3])]
    #[schemars(
        inner(range(min = 2, max = MAX_FILTER_SIZE)),
        transform = list,
        extend(
            "examples" = [[2, 3]],
            "x-applies" = layers_of_type(&["max_pool", "avg_pool"]),
            "x-identity" = "unless default",
            "x-unit" = "sides of pooling windows",
        )
    )]
    pub pool_size: Vec<usize>,
    /// Strides that a pooling layer can have.
    #[default(vec![2])]
    #[schemars(
        inner(range(min = 1, max = MAX_STRIDE)),
        transform = list,
        extend(
            "examples" = [[2]],
            "x-applies" = layers_of_type(&["max_pool", "avg_pool"]),
            "x-identity" = "unless default",
            "x-unit" = "strides",
        )
    )]
    pub pool_stride: Vec<usize>,
    /// Sides of the windows that local contrast normalisation can have.
    // The window of Jarrett et al. (2009).
    #[default(vec![9])]
    #[schemars(
        inner(range(min = 3, max = MAX_FILTER_SIZE)),
        transform = odd_list,
        extend(
            "examples" = [[9]],
            "x-applies" = layers_of_type(&["lcn"]),
            "x-identity" = "unless default",
            "x-unit" = "odd sides of windows",
        )
    )]
    pub lcn_window: Vec<usize>,
    /// Learning rates that a network can be trained with; empty: child.learning_rate.
    #[schemars(
        extend(
            "items" = {"type": "number", "exclusiveMinimum": 0},
            "uniqueItems" = true,
            "x-applies" = conv(),
            "x-identity" = "unless default",
            "x-valid" = "must list different rates above 0, for example [0.03, 0.1, 0.3]; left out: child.learning_rate",
        )
    )]
    pub learning_rates: Vec<f64>,
    /// Equal, fully connected layers that one prediction stands for.
    #[default = 1]
    #[schemars(
        range(min = 1, max = MAX_LAYERS),
        extend(
            "x-applies" = conv(),
            "x-identity" = "unless default",
            "x-unit" = "layers",
        )
    )]
    pub block: usize,
    /// Layers after which everything is max-pooled, 2 x 2 with stride 2.
    #[schemars(
        inner(range(min = 1)),
        extend("x-applies" = conv(), "x-identity" = "unless default")
    )]
    pub pool_after: Vec<usize>,
    /// Filters that every convolution has beyond those predicted.
    #[default = 0]
    #[schemars(
        range(max = MAX_FILTERS),
        extend(
            "x-applies" = layers_of_type(&["conv", "plain_conv"]),
            "x-identity" = "unless default",
            "x-unit" = "more filters",
        )
    )]
    pub widen: usize,
    /// A network with more parameters is drawn again before anything is trained; after 100 draws the
    /// trial ends as failed.
    #[schemars(
        range(min = 1),
        extend(
            "x-applies" = {"space.kind": ["conv", "cell"]},
            "x-identity" = "unless default",
            "x-unset" = "no limit",
        )
    )]
    pub max_parameters: Option<u64>,
    /// The same for the floating-point operations of one image.
    #[schemars(
        range(min = 1),
        extend(
            "x-applies" = {"space.kind": ["conv", "cell"]},
            "x-identity" = "unless default",
            "x-unset" = "no limit",
        )
    )]
    pub max_flops: Option<u64>,
    /// Leaves of a cell's tree.
    #[default = 8]
    #[schemars(
        range(min = 2, max = MAX_BASE),
        example = 8,
        extend("x-applies" = {"space.kind": ["cell"]}, "x-unit" = "leaves")
    )]
    pub base: usize,
    /// How a node of a cell may join its two inputs.
    #[default(vec![Combination::Add, Combination::ElemMult])]
    #[schemars(
        transform = list,
        extend(
            "x-applies" = {"space.kind": ["cell"]},
            "x-valid" = "must list one or more different combinations: \"add\", \"elem_mult\", \"max\"",
        )
    )]
    pub combinations: Vec<Combination>,
    /// What a node of a cell may apply to the result.
    #[default(vec![Activation::Identity, Activation::Tanh, Activation::Sigmoid, Activation::Relu])]
    #[schemars(
        transform = list,
        extend(
            "x-applies" = {"space.kind": ["cell"]},
            "x-valid" = "must list one or more different activations: \"identity\", \"tanh\", \"sigmoid\", \"relu\", \"sin\"",
        )
    )]
    pub activations: Vec<Activation>,
    /// The named decisions of kind = "choices", in order.
    #[schemars(
        extend(
            "x-applies" = {"space.kind": ["choices"]},
            "x-identity" = "unless default",
            "x-type" = "a list of decisions, for example [{ name = \"units\", options = [64, 128] }]",
        )
    )]
    pub decision: Vec<DecisionSettings>,
}

/// Keys of convolutional networks.
fn conv() -> Value {
    json!({ "space.kind": ["conv"] })
}

/// Keys of layers of these types.
fn layers_of_type(types: &[&str]) -> Value {
    json!({ "space.kind": ["conv"], "space.layer_types": types })
}

fn filter_sizes() -> String {
    format!(
        "must list one or more different odd sizes from 1 to {MAX_FILTER_SIZE}, for example [1, 3, 5, 7] (\"same\" padding is (size - 1) / 2 on each side)"
    )
}

/// At least one entry, and none twice.
fn list(schema: &mut schemars::Schema) {
    schema.insert("minItems".into(), 1.into());
    schema.insert("uniqueItems".into(), true.into());
}

/// The same, of odd numbers.
fn odd_list(schema: &mut schemars::Schema) {
    list(schema);
    if let Some(Value::Object(items)) = schema.get_mut("items") {
        items.insert("not".into(), json!({ "multipleOf": 2 }));
    }
}

/// One `[[space.decision]]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DecisionSettings {
    /// Its name.
    pub name: String,
    /// What it chooses from: texts, finite numbers, true and false.
    pub options: Vec<OptionValue>,
    /// It is decided only where each of these decisions was decided as (one of) the options given;
    /// empty: always.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub when: BTreeMap<String, Allowed>,
}

/// One option, or a list of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
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

impl JsonSchema for SkipConnections {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "SkipConnections".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        json_schema!({
            "anyOf": [{ "type": "boolean" }, { "const": "all" }],
            "x-type": "true, false or \"all\"",
        })
    }
}

impl SpaceSettings {
    /// What cannot work together among this section's keys: (key, what would be valid). Each value
    /// alone is as its declaration says.
    pub fn problems(&self) -> Vec<(String, String)> {
        match self.kind {
            SpaceKind::Conv => self.conv_problems(),
            SpaceKind::Cell => Vec::new(),
            SpaceKind::Choices => self.choices_problems(),
        }
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
            problems.extend(self.decision_problems(index, decision));
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

    /// Of the decision at this index.
    fn decision_problems(
        &self,
        index: usize,
        decision: &DecisionSettings,
    ) -> Vec<(String, String)> {
        let name = &decision.name;
        let again = self.decision[..index]
            .iter()
            .any(|earlier| earlier.name == *name);
        let finite = |option: &OptionValue| !matches!(option, OptionValue::Float(value) if !value.is_finite());
        let rules = [
            (
                "name",
                !name.trim().is_empty() && !again,
                format!("\"{name}\": names must differ and not be empty"),
            ),
            (
                "options",
                are_different(&decision.options) && decision.options.iter().all(finite),
                format!(
                    "the options of \"{name}\" must be one or more different strings, finite numbers or booleans"
                ),
            ),
        ];
        rules
            .into_iter()
            .filter(|(_, holds, _)| !holds)
            .map(|(key, _, valid)| (format!("decision[{}].{key}", index + 1), valid))
            .collect()
    }
}

/// At least one entry, and none twice.
fn are_different<T: PartialEq>(list: &[T]) -> bool {
    !list.is_empty()
        && list
            .iter()
            .enumerate()
            .all(|(index, value)| !list[..index].contains(value))
}

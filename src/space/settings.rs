//! The `[space]` section. Knows what values are possible, not where they came from.

use super::OptionValue;
use serde::{Deserialize, Serialize};

/// Which space is searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SpaceKind {
    /// Convolutional networks (paper §3.2, §3.3).
    Conv,
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
    /// `[[space.decision]]`, for `kind = "choices"`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub decision: Vec<DecisionSettings>,
}

/// One `[[space.decision]]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DecisionSettings {
    pub name: String,
    pub options: Vec<OptionValue>,
}

impl Default for SpaceSettings {
    /// The paper's convolutional space without strides (§4.1): 6 layers.
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
                Ok(if value { SkipConnections::Predicted } else { SkipConnections::None })
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

//! The `[run]` and `[devices]` sections.
use serde::{Deserialize, Serialize};

/// `[run]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunSettings {
    pub name: String,
    /// Unset: `runs/<name>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dir: Option<String>,
    pub seed: u64,
    /// Architectures to evaluate, exactly.
    pub trials: u64,
    /// The search stops after this long, saved; unset: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_seconds: Option<f64>,
}

/// Which devices train children.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceUse {
    /// Every GPU of a CUDA build, else the CPU.
    Auto,
    /// As listed: `cpu`, `cuda:N`.
    Listed(Vec<String>),
}

/// `[devices]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DevicesSettings {
    #[serde(rename = "use")]
    pub use_: DeviceUse,
    /// Children trained at once on each device; unset: one for each `threads_per_lane` cores of the CPU, one on a GPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lanes_per_device: Option<usize>,
    pub threads_per_lane: usize,
}

impl Default for RunSettings {
    fn default() -> Self {
        Self { name: "search".into(), dir: None, seed: 1, trials: 100, max_seconds: None }
    }
}

impl Default for DevicesSettings {
    fn default() -> Self {
        Self { use_: DeviceUse::Auto, lanes_per_device: None, threads_per_lane: 1 }
    }
}

impl Serialize for DeviceUse {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str("auto"),
            Self::Listed(names) => names.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for DeviceUse {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = DeviceUse;
            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("\"auto\" or a list of \"cpu\" and \"cuda:N\"")
            }
            fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Self::Value, E> {
                match value {
                    "auto" => Ok(DeviceUse::Auto),
                    _ => Err(E::invalid_value(serde::de::Unexpected::Str(value), &self)),
                }
            }
            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = seq.next_element()? {
                    names.push(name);
                }
                Ok(DeviceUse::Listed(names))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

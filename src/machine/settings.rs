//! The `[devices]` section: each key's declaration stands on its field. Must not know where a value
//! was written.

use schemars::{JsonSchema, json_schema};
use serde::{Deserialize, Serialize};
use smart_default::SmartDefault;

const MAX_LANES: usize = 1_024;

/// Which devices train children.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceUse {
    /// Every GPU that children can train on, else the CPU.
    Auto,
    /// As listed: `cpu`, `cuda:N`.
    Listed(Vec<String>),
}

/// What children on GPUs are computed in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Numbers of layers and their gradients in bf16, on tensor cores; parameters and sums in f32.
    #[default]
    Bf16,
    /// Everything in f32, by slower kernels.
    F32,
}

/// `[devices]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema, SmartDefault)]
#[serde(default)]
pub struct DevicesSettings {
    /// What trains children; "auto": every NVIDIA GPU that can, else the CPU; recurrent cells and
    /// tables: the CPU.
    #[default(DeviceUse::Auto)]
    #[serde(rename = "use")]
    pub use_: DeviceUse,
    /// Children trained at once on each device.
    #[schemars(
        range(min = 1, max = MAX_LANES),
        extend("x-unset" = "as many as its cores allow, one on a GPU")
    )]
    pub lanes_per_device: Option<usize>,
    /// CPU threads of each of them.
    #[default = 1]
    #[schemars(range(min = 1, max = MAX_LANES))]
    pub threads_per_lane: usize,
    /// What children on GPUs are computed in; on the CPU it is f32 in any case.
    #[schemars(extend("x-identity" = "unless default"))]
    pub precision: Precision,
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
            fn visit_seq<A: serde::de::SeqAccess<'de>>(
                self,
                mut seq: A,
            ) -> Result<Self::Value, A::Error> {
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

impl JsonSchema for DeviceUse {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "DeviceUse".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        json_schema!({
            "anyOf": [{ "const": "auto" }, { "type": "array", "items": { "type": "string" } }],
            "x-type": "\"auto\" or a list of devices, for example [\"cpu\"] or [\"cuda:0\", \"cuda:1\"]",
        })
    }
}

impl DevicesSettings {
    /// What cannot work among the listed devices on any machine: (key, what would be valid).
    /// `resolve_lanes` compares them with what this machine has.
    pub fn problems(&self) -> Vec<(String, String)> {
        let DeviceUse::Listed(names) = &self.use_ else {
            return Vec::new();
        };
        let mut problems = Vec::new();
        let mut report = |reason: String| {
            problems.push((
                "use".into(),
                format!("{reason}; valid are \"auto\", or a list of \"cpu\" and \"cuda:N\""),
            ));
        };
        if names.is_empty() {
            report("names no device".into());
        }
        for (index, name) in names.iter().enumerate() {
            if names[..index].contains(name) {
                report(format!(
                    "names {name} twice (devices.lanes_per_device trains several children on one)"
                ));
            } else if name != "cpu" && super::devices::gpu_index(name).is_none() {
                report(format!("\"{name}\" is no device"));
            }
        }
        problems
    }
}

//! The `[devices]` section.
use serde::{Deserialize, Serialize};

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
    /// Children trained at once on each device; unset: one for each `threads_per_lane` cores of the
    /// CPU, one on a GPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lanes_per_device: Option<usize>,
    pub threads_per_lane: usize,
}

impl Default for DevicesSettings {
    fn default() -> Self {
        Self {
            use_: DeviceUse::Auto,
            lanes_per_device: None,
            threads_per_lane: 1,
        }
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

const MOST_LANES: usize = 1_024;

impl DevicesSettings {
    /// What cannot work in this section on any machine: (key, what would be valid). What this
    /// machine has is `resolve_lanes`'s.
    pub fn problems(&self) -> Vec<(String, String)> {
        let rules = [
            (
                "lanes_per_device",
                self.lanes_per_device
                    .is_none_or(|lanes| (1..=MOST_LANES).contains(&lanes)),
                "must be 1 to 1024, or left out",
            ),
            (
                "threads_per_lane",
                (1..=MOST_LANES).contains(&self.threads_per_lane),
                "must be 1 to 1024",
            ),
        ];
        let mut problems = broken(rules);
        if let DeviceUse::Listed(names) = &self.use_ {
            let mut listed = |reason: String| {
                problems.push((
                    "use".into(),
                    format!("{reason}; valid are \"auto\", or a list of \"cpu\" and \"cuda:N\""),
                ));
            };
            if names.is_empty() {
                listed("names no device".into());
            }
            for (index, name) in names.iter().enumerate() {
                if names[..index].contains(name) {
                    listed(format!(
                        "names {name} twice (devices.lanes_per_device trains several children on one)"
                    ));
                } else if name != "cpu" && super::devices::gpu_index(name).is_none() {
                    listed(format!("\"{name}\" is no device"));
                }
            }
        }
        problems
    }
}

/// The rules that do not hold.
fn broken<const N: usize>(rules: [(&str, bool, &str); N]) -> Vec<(String, String)> {
    rules
        .into_iter()
        .filter(|(_, holds, _)| !holds)
        .map(|(key, _, valid)| (key.to_owned(), valid.to_owned()))
        .collect()
}

//! The `[telemetry]` section.
use serde::{Deserialize, Serialize};

/// `[telemetry]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TelemetrySettings {
    /// Address of the endpoint, or `off`; unset: 127.0.0.1:9464 or, if taken, the next free port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<String>,
}

//! The `[telemetry]` section: each key's declaration stands on its field.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[telemetry]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TelemetrySettings {
    /// Address of the metrics endpoint, or "off".
    #[schemars(extend("x-live" = true, "x-unset" = "127.0.0.1:9464 or the next free port"))]
    pub listen: Option<String>,
}

impl TelemetrySettings {
    /// What cannot work in this section: (key, what would be valid). A schema cannot say what an
    /// address is.
    pub fn problems(&self) -> Vec<(String, String)> {
        let is_valid =
            |listen: &str| listen == "off" || listen.parse::<std::net::SocketAddr>().is_ok();
        match &self.listen {
            Some(listen) if !is_valid(listen) => {
                vec![(
                    "listen".into(),
                    "must be an address with a port, for example \"127.0.0.1:9464\" (port 0: any free one), or \"off\"".into(),
                )]
            }
            _ => Vec::new(),
        }
    }
}

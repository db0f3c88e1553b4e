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

impl TelemetrySettings {
    /// What cannot work in this section: (key, what would be valid).
    pub fn problems(&self) -> Vec<(String, String)> {
        let valid =
            |listen: &str| listen == "off" || listen.parse::<std::net::SocketAddr>().is_ok();
        match &self.listen {
            Some(listen) if !valid(listen) => {
                vec![(
                    "listen".into(),
                    "must be an address with a port, for example \"127.0.0.1:9464\" (port 0: any free one), or \"off\"".into(),
                )]
            }
            _ => Vec::new(),
        }
    }
}

//! The config file: composes the rooms' own sections, merges file, environment and `--set`, and reports everything that is wrong at once.

use crate::{actors, child, data, policy, space, telemetry};
use serde::{Deserialize, Serialize};

/// A resolved config file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    pub run: actors::RunSettings,
    pub space: space::SpaceSettings,
    pub controller: policy::ControllerSettings,
    pub parameter_server: policy::ParameterServerSettings,
    pub child: child::ChildSettings,
    pub data: data::DataSettings,
    pub devices: actors::DevicesSettings,
    pub telemetry: telemetry::TelemetrySettings,
}

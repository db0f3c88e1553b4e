//! Prometheus registry and HTTP endpoint. Must not know the actors: they are handed its metrics and count in them.

mod endpoint;
mod metrics;
mod settings;

pub use endpoint::{Endpoint, bind, serve};
pub use metrics::Metrics;
pub use settings::TelemetrySettings;

//! Prometheus registry and HTTP endpoint. Must not know the actors: they are handed its metrics and count in them.

mod endpoint;
mod metrics;
mod routes;
mod settings;

pub use endpoint::Endpoint;
pub use metrics::Metrics;
pub use routes::routes;
pub use settings::TelemetrySettings;

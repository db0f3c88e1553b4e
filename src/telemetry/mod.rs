//! Prometheus registry and HTTP endpoint. Must not know the actors: they are handed its counters.

mod settings;

pub use settings::TelemetrySettings;

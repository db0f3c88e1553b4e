//! Prometheus registry, samplers and HTTP endpoint. Must not know the actors: they are handed its
//! metrics and count in them.

mod buckets;
mod endpoint;
mod gpu;
mod learning_metrics;
mod live;
mod metrics;
mod readiness;
mod routes;
mod sampler;
mod settings;

pub use endpoint::{BindError, Endpoint, Serving};
pub use gpu::families as gpu_families;
pub use learning_metrics::LearningMetrics;
pub use live::{DeviceReadings, GpuReading, LiveDevices};
pub use metrics::{ActorKind, Metrics, Restored};
pub use readiness::Readiness;
pub use routes::routes;
pub use sampler::Sampler;
pub use settings::TelemetrySettings;

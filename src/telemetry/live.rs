//! The present readings of this process's lanes and GPUs, for the page: the same numbers as in the
//! metrics, from the same registry. Must not know who shows them.

use super::{Metrics, Sampler};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Readings by name; a lane or a GPU without readings is absent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeviceReadings {
    /// Busy ratio (0..=1) of each lane.
    pub lanes: BTreeMap<String, f64>,
    /// Of each GPU, by the name `cuda:N`.
    pub gpus: BTreeMap<String, GpuReading>,
}

/// One GPU; a reading that it does not support is None.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct GpuReading {
    /// 0..=1
    pub utilization: Option<f64>,
    pub memory_used_bytes: Option<f64>,
    pub memory_total_bytes: Option<f64>,
    pub power_watts: Option<f64>,
    pub temperature_celsius: Option<f64>,
}

/// The devices of this process.
#[derive(Clone)]
pub struct LiveDevices {
    metrics: Arc<Metrics>,
    sampler: Arc<Sampler>,
}

impl LiveDevices {
    pub fn new(metrics: Arc<Metrics>, sampler: Arc<Sampler>) -> Self {
        Self { metrics, sampler }
    }

    /// Takes new readings of the GPUs. Blocks as long as the driver does.
    pub fn sample(&self) {
        self.sampler.sample();
    }

    /// The newest readings.
    pub fn readings(&self) -> DeviceReadings {
        let mut readings = DeviceReadings::default();
        self.metrics.each_gauge(|family, label, value| {
            if family == "netwright_lane_busy_ratio" {
                readings.lanes.insert(label.to_owned(), value);
                return;
            }
            let gpu = readings.gpus.entry(label.to_owned());
            let field = |gpu: &mut GpuReading| match family {
                "netwright_gpu_utilization_ratio" => gpu.utilization = Some(value),
                "netwright_gpu_memory_used_bytes" => gpu.memory_used_bytes = Some(value),
                "netwright_gpu_memory_total_bytes" => gpu.memory_total_bytes = Some(value),
                "netwright_gpu_power_watts" => gpu.power_watts = Some(value),
                "netwright_gpu_temperature_celsius" => gpu.temperature_celsius = Some(value),
                _ => {}
            };
            if family.starts_with("netwright_gpu_") {
                field(gpu.or_default());
            }
        });
        readings
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::child::RewardScale;

    #[test]
    fn lanes_are_there_and_without_a_gpu_nothing_else() {
        let metrics = Arc::new(Metrics::new("t", RewardScale::Any).unwrap());
        metrics.lane("cpu-0", "cpu").set(0.75);
        let sampler = Arc::new(Sampler::new(&metrics, std::env::temp_dir(), &[]).unwrap());
        let readings = LiveDevices::new(metrics, sampler).readings();
        assert_eq!(readings.lanes, BTreeMap::from([("cpu-0".to_owned(), 0.75)]));
    }
}

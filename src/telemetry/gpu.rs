//! GPUs as metrics: NVML's readings in base units, labelled with the name `cuda:N` that the
//! settings use. Readings that a GPU does not support are absent, and all families are where there
//! is no GPU. Must not know lanes.

use crate::machine::{
    Identity, Raw, Readings, ReadingsError, inherited_gpus, match_by_uuid, match_by_variable,
    open_nvml,
};
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{GaugeVec, Opts};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Readings older than this are left out: a driver that hangs must not look like a busy GPU.
const FRESH: Duration = Duration::from_secs(10);

type Convert = fn(&Raw) -> Option<f64>;

/// Each family: its name, its help, and the value of a reading in base units.
const FAMILIES: [(&str, &str, Convert); 6] = [
    (
        "gpu_utilization_ratio",
        "Share of time in which a kernel ran on the GPU.",
        |raw| {
            raw.utilization_percent
                .map(|percent| f64::from(percent) / 100.0)
        },
    ),
    (
        "gpu_memory_used_bytes",
        "GPU memory in use, by any process.",
        |raw| raw.memory_used_bytes.map(|bytes| bytes as f64),
    ),
    ("gpu_memory_total_bytes", "GPU memory.", |raw| {
        raw.memory_total_bytes.map(|bytes| bytes as f64)
    }),
    ("gpu_power_watts", "Power that the GPU draws.", |raw| {
        raw.power_milliwatts
            .map(|milliwatts| f64::from(milliwatts) / 1e3)
    }),
    (
        "gpu_temperature_celsius",
        "Temperature of the GPU.",
        |raw| raw.temperature_celsius.map(f64::from),
    ),
    (
        "gpu_clock_hertz",
        "Clock of the GPU's streaming multiprocessors.",
        |raw| {
            raw.clock_megahertz
                .map(|megahertz| f64::from(megahertz) * 1e6)
        },
    ),
];

/// Names of the GPU families, without the prefix `netwright_`.
pub fn families() -> impl Iterator<Item = &'static str> {
    FAMILIES.iter().map(|(name, ..)| *name).chain([INFO])
}

const INFO: &str = "gpu_info";

/// The newest readings and when they were taken.
type LastReadings = Arc<Mutex<Option<(Instant, Vec<Raw>)>>>;

/// The GPUs that this process sees.
pub struct Gpus {
    source: Box<dyn Readings>,
    /// Each `cuda:N` and its index in NVML's list.
    matched: Vec<(String, usize)>,
    identities: Vec<Identity>,
    last: LastReadings,
}

impl Gpus {
    /// `cuda` holds name and UUID of each device that the CUDA driver shows; empty where the driver
    /// cannot be asked.
    ///
    /// # Errors
    /// Why there are no readings.
    pub fn open(cuda: &[(String, String)]) -> Result<Self, ReadingsError> {
        Self::from_source(open_nvml()?, cuda, inherited_gpus().as_deref())
    }

    fn from_source(
        source: Box<dyn Readings>,
        cuda: &[(String, String)],
        visible: Option<&str>,
    ) -> Result<Self, ReadingsError> {
        let identities = source.gpus()?;
        let matched = if cuda.is_empty() {
            match_by_variable(visible, &identities)
        } else {
            match_by_uuid(cuda, &identities)
        };
        if matched.is_empty() {
            return Err(ReadingsError::NoneVisible(identities.len()));
        }
        Ok(Self {
            source,
            matched,
            identities,
            last: LastReadings::default(),
        })
    }

    /// The values of the label `gpu`.
    pub fn names(&self) -> Vec<String> {
        self.matched.iter().map(|(name, _)| name.clone()).collect()
    }

    /// Reads every GPU. Blocks as long as the driver does.
    pub fn sample(&self) {
        let raw = self
            .matched
            .iter()
            .map(|(_, index)| self.source.read(*index))
            .collect();
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), raw));
    }

    /// A collector of the newest readings.
    ///
    /// # Errors
    /// When a family's name is refused (a bug).
    pub fn collector(&self) -> prometheus::Result<Box<dyn Collector>> {
        let labels = ["gpu"];
        let families = FAMILIES
            .iter()
            .map(|(name, help, _)| GaugeVec::new(Opts::new(*name, *help), &labels));
        let info = GaugeVec::new(
            Opts::new(INFO, "1 for each GPU: its UUID and model."),
            &["gpu", "uuid", "model"],
        )?;
        for (name, index) in &self.matched {
            let identity = &self.identities[*index];
            info.with_label_values(&[name.as_str(), &identity.uuid, &identity.model])
                .set(1.0);
        }
        Ok(Box::new(GpuCollector {
            names: self.names(),
            families: families.collect::<prometheus::Result<_>>()?,
            info,
            last: self.last.clone(),
        }))
    }
}

struct GpuCollector {
    names: Vec<String>,
    /// As `FAMILIES`.
    families: Vec<GaugeVec>,
    info: GaugeVec,
    last: LastReadings,
}

impl Collector for GpuCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.families
            .iter()
            .chain([&self.info])
            .flat_map(Collector::desc)
            .collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        // Locked to the end: two scrapes at once must not mix their values.
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = last.as_ref().filter(|(taken, _)| taken.elapsed() < FRESH);
        let mut collected = self.info.collect();
        for (family, (_, _, convert)) in self.families.iter().zip(&FAMILIES) {
            family.reset();
            for (name, raw) in fresh.iter().flat_map(|(_, raw)| self.names.iter().zip(raw)) {
                if let Some(value) = convert(raw) {
                    family.with_label_values(&[name]).set(value);
                }
            }
            collected.extend(family.collect());
        }
        collected
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus::{Registry, TextEncoder};

    struct Two;

    impl Readings for Two {
        fn gpus(&self) -> Result<Vec<Identity>, ReadingsError> {
            let gpu = |uuid: &str, bus: &str| Identity {
                uuid: uuid.into(),
                pci_bus_id: bus.into(),
                model: "NVIDIA H100".into(),
            };
            Ok(vec![
                gpu("GPU-a", "00000000:1B:00.0"),
                gpu("GPU-b", "00000000:43:00.0"),
            ])
        }

        fn read(&self, index: usize) -> Raw {
            // The first one is a bare one, as some boards are.
            let full = Raw {
                utilization_percent: Some(73),
                memory_used_bytes: Some(3 << 30),
                memory_total_bytes: Some(80 << 30),
                power_milliwatts: Some(312_500),
                temperature_celsius: Some(54),
                clock_megahertz: Some(1_755),
            };
            if index == 1 {
                full
            } else {
                Raw {
                    utilization_percent: Some(5),
                    ..Raw::default()
                }
            }
        }
    }

    fn text(gpus: &Gpus) -> String {
        let registry = Registry::new();
        registry.register(gpus.collector().unwrap()).unwrap();
        TextEncoder::new()
            .encode_to_string(&registry.gather())
            .unwrap()
    }

    #[test]
    fn readings_become_base_units_and_what_a_gpu_does_not_support_is_absent() {
        let gpus = Gpus::from_source(Box::new(Two), &[], Some("1,0")).unwrap();
        assert!(
            !text(&gpus).contains("gpu_utilization_ratio"),
            "nothing was read yet"
        );
        gpus.sample();
        let text = text(&gpus);
        for line in [
            "gpu_utilization_ratio{gpu=\"cuda:0\"} 0.73",
            "gpu_utilization_ratio{gpu=\"cuda:1\"} 0.05",
            "gpu_memory_used_bytes{gpu=\"cuda:0\"} 3221225472",
            "gpu_memory_total_bytes{gpu=\"cuda:0\"} 85899345920",
            "gpu_power_watts{gpu=\"cuda:0\"} 312.5",
            "gpu_temperature_celsius{gpu=\"cuda:0\"} 54",
            "gpu_clock_hertz{gpu=\"cuda:0\"} 1755000000",
            "gpu_info{gpu=\"cuda:0\",model=\"NVIDIA H100\",uuid=\"GPU-b\"} 1",
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{line} is missing from\n{text}"
            );
        }
        assert!(!text.contains("gpu_power_watts{gpu=\"cuda:1\"}"), "{text}");
    }

    #[test]
    fn old_readings_and_hidden_gpus_are_absent() {
        let gpus = Gpus::from_source(Box::new(Two), &[], None).unwrap();
        gpus.sample();
        if let Some((taken, _)) = gpus.last.lock().unwrap().as_mut() {
            *taken -= FRESH;
        }
        assert!(!text(&gpus).contains("gpu_utilization_ratio"));
        assert!(Gpus::from_source(Box::new(Two), &[], Some("")).is_err());
        assert_eq!(
            Gpus::from_source(Box::new(Two), &[("cuda:0".into(), "GPU-b".into())], None)
                .unwrap()
                .matched,
            [("cuda:0".to_owned(), 1)]
        );
    }
}

//! Reads at the time of a scrape what is not counted along the way: GPUs and free disk space. Must not
//! know who scrapes.

use super::gpu::Gpus;
use super::metrics::Metrics;
use prometheus::Gauge;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Scrapes within this time of a reading share it.
const SHARED_FOR: Duration = Duration::from_secs(1);

/// Takes readings on request. A driver or a disk that hangs blocks one thread of the HTTP server's
/// pool, never a second one and never the actors.
pub struct Sampler {
    inner: Mutex<Inner>,
}

struct Inner {
    run_dir: PathBuf,
    free_bytes: Gauge,
    gpus: Option<Gpus>,
    last_taken: Option<Instant>,
}

impl Sampler {
    /// Registers the GPUs that this process sees; logs why there are none. `cuda` holds name and UUID
    /// of each device that the CUDA driver shows; empty where the driver cannot be asked.
    ///
    /// # Errors
    /// When the registry refuses a metric, which is a bug.
    pub fn new(
        metrics: &Metrics,
        run_dir: PathBuf,
        cuda: &[(String, String)],
    ) -> prometheus::Result<Self> {
        let gpus = match Gpus::open(cuda) {
            Ok(gpus) => {
                metrics.register(gpus.collector()?)?;
                tracing::info!("GPUs in the metrics: {}", gpus.names().join(", "));
                Some(gpus)
            }
            Err(reason) => {
                tracing::info!("no GPUs in the metrics: {reason}");
                None
            }
        };
        Ok(Self {
            inner: Mutex::new(Inner {
                run_dir,
                free_bytes: metrics.run_dir_free_bytes.clone(),
                gpus,
                last_taken: None,
            }),
        })
    }

    /// Takes new readings, unless recent ones exist or another caller is taking them. Blocks as long as
    /// driver and disk do.
    pub fn sample(&self) {
        let Ok(mut inner) = self.inner.try_lock() else {
            return;
        };
        if inner
            .last_taken
            .is_some_and(|taken| taken.elapsed() < SHARED_FOR)
        {
            return;
        }
        if let Ok(disk) = rustix::fs::statvfs(&inner.run_dir) {
            inner
                .free_bytes
                .set((disk.f_bavail.saturating_mul(disk.f_frsize)) as f64);
        }
        if let Some(gpus) = &inner.gpus {
            gpus.sample();
        }
        inner.last_taken = Some(Instant::now());
    }
}

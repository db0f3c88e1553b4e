//! What is read at the time of a scrape and not counted along the way: GPUs and free disk space.
//! Must not know who asks.

use super::gpu::Gpus;
use super::metrics::Metrics;
use prometheus::Gauge;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Several scrapes within this time share one reading.
const SHARED: Duration = Duration::from_secs(1);

/// Reads on request; a driver or a disk that hangs holds one thread of the HTTP server's pool,
/// never the actors and never a second one.
pub struct Sampler {
    inner: Mutex<Inner>,
}

struct Inner {
    run_dir: PathBuf,
    free: Gauge,
    gpus: Option<Gpus>,
    taken: Option<Instant>,
}

impl Sampler {
    /// Adds the GPUs that this process sees to the metrics; says in the log if there are none.
    /// `cuda` holds name and UUID of the devices that the CUDA driver shows; empty: it cannot be
    /// asked.
    ///
    /// # Errors
    /// When a metric is refused (a bug).
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
                free: metrics.run_dir_free_bytes.clone(),
                gpus,
                taken: None,
            }),
        })
    }

    /// Takes new readings, unless there are some already or another caller is at it. Blocks as long
    /// as driver and disk do.
    pub fn sample(&self) {
        let Ok(mut inner) = self.inner.try_lock() else {
            return;
        };
        if inner.taken.is_some_and(|taken| taken.elapsed() < SHARED) {
            return;
        }
        if let Ok(disk) = rustix::fs::statvfs(&inner.run_dir) {
            inner
                .free
                .set((disk.f_bavail.saturating_mul(disk.f_frsize)) as f64);
        }
        if let Some(gpus) = &inner.gpus {
            gpus.sample();
        }
        inner.taken = Some(Instant::now());
    }
}

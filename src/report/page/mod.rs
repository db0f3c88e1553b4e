//! The page of a run: what it shows, kept up to date from the journal for all who look. Reads only,
//! and works for a run of this process, of another one, and for one that has ended. Must not know
//! the actors.

mod devices;
mod document;
mod events;
mod routes;
mod sections;
mod trial;

pub use routes::routes;
pub(super) use trial::picture;

use super::series::RewardShape;
use super::status::Status;
use super::watch::Watch;
use crate::journal::JournalError;
use crate::telemetry::{DeviceReadings, LiveDevices};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// The run is read again at most this often, however many look.
const EVERY: Duration = Duration::from_millis(500);

/// How long an answer waits for a reading of the devices.
const PATIENCE: Duration = Duration::from_millis(50);

/// How long the end of a search waits until all who look have heard of it.
const FAREWELL: Duration = Duration::from_secs(2);

/// A run to be looked at.
pub struct Page {
    dir: PathBuf,
    /// Tells this server's versions from those of an earlier one.
    instance: String,
    /// What the process that works on the run reads from its devices; None: it is another process.
    live: Option<LiveDevices>,
    shown: Mutex<Shown>,
    /// True once this server is about to go; whoever listens to events holds a receiver.
    leaving: watch::Sender<bool>,
}

/// Parts of the page that change on their own, by the id of their element.
#[derive(Debug, Default)]
pub struct View {
    /// Counts the changes.
    pub version: u64,
    pub title: String,
    /// What is said should this server go now.
    pub ending: &'static str,
    pub sections: Vec<Section>,
    pub shape: RewardShape,
}

/// One part.
#[derive(Debug)]
pub struct Section {
    pub name: &'static str,
    pub html: String,
    /// The version that changed it last.
    pub changed: u64,
}

/// What is known and how it looks.
struct Shown {
    watch: Watch,
    read_at: Option<Instant>,
    readings: DeviceReadings,
    view: Arc<View>,
}

impl Page {
    /// Of the run in `dir`, from its journal alone.
    pub fn new(dir: &Path) -> Self {
        let instance = format!("{:x}", jiff::Timestamp::now().as_microsecond());
        let shown = Shown {
            watch: Watch::new(dir),
            read_at: None,
            readings: DeviceReadings::default(),
            view: Arc::default(),
        };
        let (leaving, _) = watch::channel(false);
        Self {
            dir: dir.to_owned(),
            instance,
            live: None,
            shown: Mutex::new(shown),
            leaving,
        }
    }

    /// Shows also what this process, which works on the run, reads from its devices.
    #[must_use]
    pub fn with_devices(mut self, live: LiveDevices) -> Self {
        self.live = Some(live);
        self
    }

    /// What is to be shown now. Reads the journal if it has changed: not for a thread that must not
    /// wait.
    ///
    /// # Errors
    /// When the run cannot be read.
    pub fn view(&self) -> Result<Arc<View>, JournalError> {
        self.up_to_date().map(|shown| shown.view.clone())
    }

    /// Where the run stands, as data; as `view`.
    pub fn status(&self) -> Result<Status, JournalError> {
        Status::of(&self.up_to_date()?.watch)
    }

    /// Has the devices of this process read anew. Whoever asks does not wait longer than a driver
    /// may hang.
    async fn refresh(&self) {
        if let Some(live) = self.live.clone() {
            let _ =
                tokio::time::timeout(PATIENCE, actix_web::web::block(move || live.sample())).await;
        }
    }

    /// The run is closed and this server is about to go: has all who look told how it ended, as far
    /// as they hear in time.
    pub async fn farewell(&self) {
        self.shown
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .read_at = None;
        self.leaving.send_replace(true);
        let _ = tokio::time::timeout(FAREWELL, self.leaving.closed()).await;
    }

    fn up_to_date(&self) -> Result<MutexGuard<'_, Shown>, JournalError> {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if shown.read_at.is_none_or(|read| read.elapsed() >= EVERY) {
            let readings = self
                .live
                .as_ref()
                .map(LiveDevices::readings)
                .unwrap_or_default();
            if shown.watch.update()? || shown.readings != readings {
                shown.readings = readings;
                shown.render();
            }
            shown.read_at = Some(Instant::now());
        }
        Ok(shown)
    }
}

impl Shown {
    /// Draws everything, and notes what is not as it was.
    fn render(&mut self) {
        let version = self.view.version + 1;
        let state = &self.watch.state;
        let shape = state.series.shape();
        let before = |name: &str, html: &str| {
            self.view
                .sections
                .iter()
                .find(|old| old.name == name && old.html == html)
        };
        let sections = sections::all(state, &shape, &self.readings)
            .into_iter()
            .map(|(name, html)| {
                let changed = before(name, &html).map_or(version, |old| old.changed);
                Section {
                    name,
                    html,
                    changed,
                }
            });
        let (title, ending) = (state.facts.name.clone(), sections::ending(state));
        self.view = Arc::new(View {
            version,
            title,
            ending,
            sections: sections.collect(),
            shape,
        });
    }
}

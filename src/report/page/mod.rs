//! The page of a run, kept up to date from the journal for all browsers that show it. It only
//! reads, so it works for a run of this process, of another process, and for one that has ended.
//! Must not know the actors.

mod devices;
mod document;
mod events;
mod kept;
mod retrained;
mod routes;
mod sections;
mod trial;

pub(super) use kept::report;
pub use routes::routes;
pub(super) use trial::picture;

use super::learned::Learned;
use super::monitor::RunMonitor;
use super::series::RewardChartData;
use super::status::Status;
use crate::journal::JournalError;
use crate::telemetry::{DeviceReadings, LiveDevices};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// The run is read at most once in this interval, however many browsers show it.
const READ_INTERVAL: Duration = Duration::from_millis(500);

/// How long an answer waits for a reading of the devices.
const READING_TIMEOUT: Duration = Duration::from_millis(50);

/// How long the end of a search waits until the browsers have been notified.
const NOTIFY_TIMEOUT: Duration = Duration::from_secs(2);

/// A run and its rendered page, shared by all requests.
pub struct Page {
    dir: PathBuf,
    /// Distinguishes the versions of this server from those of an earlier one.
    instance: String,
    /// Readings of the devices, if this process works on the run.
    live: Option<LiveDevices>,
    rendered: Mutex<Rendered>,
    /// True once this server is about to stop. Every event stream holds a receiver.
    stopping: watch::Sender<bool>,
}

/// One version of the rendered page.
#[derive(Debug, Default)]
pub struct View {
    /// Increases with each change.
    pub version: u64,
    pub title: String,
    /// What the browsers are to show if this server stops now.
    pub end_message: &'static str,
    pub sections: Vec<Section>,
    pub chart_data: RewardChartData,
}

/// A part of the page that changes on its own.
#[derive(Debug)]
pub struct Section {
    /// The id of its element.
    pub name: &'static str,
    pub html: String,
    /// The version of the page that changed it last.
    pub changed: u64,
}

/// The state of the run and the page rendered from it.
struct Rendered {
    monitor: RunMonitor,
    learned: Learned,
    read_at: Option<Instant>,
    readings: DeviceReadings,
    view: Arc<View>,
}

impl Page {
    /// A page of the run in `dir`, made from its journal alone.
    pub fn new(dir: &Path) -> Self {
        let instance = format!("{:x}", jiff::Timestamp::now().as_microsecond());
        let rendered = Rendered {
            monitor: RunMonitor::new(dir),
            learned: Learned::default(),
            read_at: None,
            readings: DeviceReadings::default(),
            view: Arc::default(),
        };
        let (stopping, _) = watch::channel(false);
        Self {
            dir: dir.to_owned(),
            instance,
            live: None,
            rendered: Mutex::new(rendered),
            stopping,
        }
    }

    /// Adds the readings of this process's devices. Only for the process that works on the run.
    #[must_use]
    pub fn with_devices(mut self, live: LiveDevices) -> Self {
        self.live = Some(live);
        self
    }

    /// The page as it is now. This may read the journal, so it must not be called on a thread that
    /// must not block.
    ///
    /// # Errors
    /// When the run cannot be read.
    pub fn view(&self) -> Result<Arc<View>, JournalError> {
        self.up_to_date().map(|rendered| rendered.view.clone())
    }

    /// The status of the run as it is now. Blocks like [`Page::view`].
    ///
    /// # Errors
    /// When the run cannot be read.
    pub fn status(&self) -> Result<Status, JournalError> {
        Status::of(&self.up_to_date()?.monitor)
    }

    /// Reads the devices of this process again. A driver that hangs does not hold up the answer for
    /// longer than `READING_TIMEOUT`.
    async fn refresh(&self) {
        if let Some(live) = self.live.clone() {
            let _ = tokio::time::timeout(
                READING_TIMEOUT,
                actix_web::web::block(move || live.sample()),
            )
            .await;
        }
    }

    /// Notifies the browsers of how the run ended, before this server stops. Waits for them for
    /// `NOTIFY_TIMEOUT` at most. The journal must be closed.
    pub async fn notify_end(&self) {
        self.rendered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .read_at = None;
        self.stopping.send_replace(true);
        let _ = tokio::time::timeout(NOTIFY_TIMEOUT, self.stopping.closed()).await;
    }

    /// Updates the rendered page, unless it was updated a moment ago.
    fn up_to_date(&self) -> Result<MutexGuard<'_, Rendered>, JournalError> {
        let mut rendered = self.rendered.lock().unwrap_or_else(PoisonError::into_inner);
        if rendered
            .read_at
            .is_none_or(|read| read.elapsed() >= READ_INTERVAL)
        {
            let readings = self
                .live
                .as_ref()
                .map(LiveDevices::readings)
                .unwrap_or_default();
            if rendered.monitor.update()? || rendered.readings != readings {
                rendered.readings = readings;
                rendered.learn()?;
                rendered.render();
            }
            rendered.read_at = Some(Instant::now());
        }
        Ok(rendered)
    }
}

impl Rendered {
    /// Looks at what the decisions were worth, if the run has grown.
    fn learn(&mut self) -> Result<(), JournalError> {
        let RunMonitor { state, .. } = &self.monitor;
        match self.monitor.reader() {
            Some(reader) => self.learned.update(&state.dir, reader, &state.series),
            None => Ok(()),
        }
    }

    /// Renders all sections and marks those that differ from before.
    fn render(&mut self) {
        let version = self.view.version + 1;
        let state = &self.monitor.state;
        let chart_data = state.series.chart_data();
        let unchanged = |name: &str, html: &str| {
            self.view
                .sections
                .iter()
                .find(|old| old.name == name && old.html == html)
        };
        let sections = sections::all(state, &chart_data, &self.readings)
            .into_iter()
            .chain(sections::learned(self.learned.pictures()))
            .map(|(name, html)| {
                let changed = unchanged(name, &html).map_or(version, |old| old.changed);
                Section {
                    name,
                    html,
                    changed,
                }
            });
        let title = state.facts.name.clone();
        let end_message = sections::end_message(state);
        self.view = Arc::new(View {
            version,
            title,
            end_message,
            sections: sections.collect(),
            chart_data,
        });
    }
}

//! The page of a run: what it shows, kept up to date from the journal for all who look. Reads only, and works for a run of this
//! process, of another one, and for one that has ended. Must not know the actors.

mod document;
mod events;
mod routes;
mod sections;
mod trial;

pub use routes::routes;
pub(super) use trial::picture;

use super::facts::RunFacts;
use super::series::{RewardShape, Series};
use crate::journal::{EpochRow, JournalError, Life, Reader, TrialFacts, TrialRow};
use std::collections::{BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Rows of the leaderboard, trials shown while they train, trials that ended last, events.
const LEADERS: usize = 10;
const AT_WORK: usize = 8;
const LATEST: usize = 8;
const EVENTS: usize = 12;

/// The run is read again at most this often, however many look.
const EVERY: Duration = Duration::from_millis(500);

/// Trials read in one query.
const BATCH: usize = 10_000;

/// A run to be looked at.
pub struct Page {
    dir: PathBuf,
    /// Tells this server's versions from those of an earlier one.
    instance: String,
    watch: Mutex<Watch>,
}

/// Parts of the page that change on their own, by the id of their element.
#[derive(Debug, Default)]
pub struct View {
    /// Counts the changes.
    pub version: u64,
    pub title: String,
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

/// What the page shows, as data.
#[derive(Default)]
pub(super) struct State {
    pub dir: PathBuf,
    pub facts: RunFacts,
    pub life: Option<Life>,
    pub created: Option<String>,
    pub series: Series,
    /// Trials under training and their devices.
    pub running: Vec<(u64, Option<String>)>,
    pub queued: u64,
    pub leaders: Vec<TrialRow>,
    /// Of those sampled.
    pub best: Option<TrialRow>,
    /// Architectures that were enqueued rather than sampled.
    pub enqueued: Vec<TrialRow>,
    pub at_work: Vec<(TrialRow, Vec<EpochRow>)>,
    /// The newest first.
    pub latest: VecDeque<TrialFacts>,
    /// The newest first: time, kind, text.
    pub events: Vec<(String, String, String)>,
    /// Name of each lane and its device.
    pub lanes: Vec<(String, String)>,
    pub baseline: Option<f64>,
    pub per_hour: Option<f64>,
}

/// The reader and what it has read.
struct Watch {
    reader: Option<Reader>,
    seen: Option<(u64, Life)>,
    read_at: Option<Instant>,
    /// Trials without an outcome.
    open: BTreeSet<u64>,
    state: State,
    view: Arc<View>,
}

impl Page {
    /// Of the run in `dir`.
    pub fn new(dir: &Path) -> Self {
        let instance = format!("{:x}", jiff::Timestamp::now().as_microsecond());
        let state = State { dir: dir.to_owned(), ..State::default() };
        let watch = Watch { reader: None, seen: None, read_at: None, open: BTreeSet::new(), state, view: Arc::default() };
        Self { dir: dir.to_owned(), instance, watch: Mutex::new(watch) }
    }

    /// What is to be shown now. Reads the journal if it has changed: not for a thread that must not wait.
    ///
    /// # Errors
    /// When the run cannot be read.
    pub fn view(&self) -> Result<Arc<View>, JournalError> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner).view(&self.dir)
    }
}

impl Watch {
    fn view(&mut self, dir: &Path) -> Result<Arc<View>, JournalError> {
        if self.read_at.is_some_and(|read| read.elapsed() < EVERY) {
            return Ok(self.view.clone());
        }
        let reader = match self.reader.take() {
            Some(reader) => reader,
            None => Reader::open(dir)?,
        };
        let seen = (reader.data_version()?, reader.life()?);
        if self.seen.as_ref() != Some(&seen) {
            self.state.life = Some(seen.1.clone());
            self.read(&reader)?;
            self.render();
            self.seen = Some(seen);
        }
        self.reader = Some(reader);
        self.read_at = Some(Instant::now());
        Ok(self.view.clone())
    }

    fn read(&mut self, reader: &Reader) -> Result<(), JournalError> {
        let leaders = self.outcomes(reader)?;
        let state = &mut self.state;
        state.facts = RunFacts::read(&state.dir);
        if leaders {
            state.leaders = reader.top(LEADERS)?;
        }
        (state.best, state.enqueued) = (reader.best()?, reader.enqueued()?);
        state.at_work.clear();
        for row in reader.running_at_most(AT_WORK)? {
            let epochs = reader.epochs(row.id)?;
            state.at_work.push((row, epochs));
        }
        state.events = reader.events(EVENTS)?;
        state.events.reverse();
        if let Some(text) = reader.last_event("lanes")? {
            state.lanes = lanes(&text);
        }
        state.created = reader.created()?;
        (state.baseline, state.per_hour) = (reader.baseline()?, reader.children_per_hour()?);
        Ok(())
    }

    /// Takes in what has ended since the last time, whatever order it ended in; true if the leaderboard may have changed.
    fn outcomes(&mut self, reader: &Reader) -> Result<bool, JournalError> {
        let mut news = Vec::new();
        if self.seen.is_none() {
            let last = reader.last_trial()?;
            self.state.series.know(last);
            let enqueued = reader.enqueued()?;
            enqueued.iter().for_each(|row| self.state.series.set_apart(row.id));
            reader.outcomes()?.into_iter().for_each(|(id, reward)| self.state.series.end(id, reward));
            self.open = self.state.series.open().collect();
            self.open.extend(enqueued.iter().filter(|row| row.finished_at.is_none()).map(|row| row.id));
            // Trials end about in their order.
            news.extend(reader.facts_after(last.saturating_sub(40 * LATEST as u64), BATCH)?);
        }
        let mut facts = reader.facts(self.open.iter().copied())?;
        loop {
            let more = reader.facts_after(self.state.series.len(), BATCH)?;
            let full = more.len() == BATCH;
            more.last().into_iter().for_each(|last| self.state.series.know(last.id));
            facts.extend(more);
            if !full {
                break;
            }
        }
        let (mut running, mut queued) = (Vec::new(), 0);
        for fact in facts {
            if fact.enqueued.is_some() {
                self.state.series.set_apart(fact.id);
            }
            if fact.is_final() {
                self.open.remove(&fact.id);
                self.state.series.end(fact.id, fact.reward.filter(|_| fact.status == "completed"));
                news.push(fact);
            } else {
                self.open.insert(fact.id);
                queued += u64::from(fact.status == "queued");
                if fact.status == "running" {
                    running.push((fact.id, fact.device));
                }
            }
        }
        (self.state.running, self.state.queued) = (running, queued);
        news.retain(TrialFacts::is_final);
        news.sort_by(|a, b| (&a.finished_at, a.id).cmp(&(&b.finished_at, b.id)));
        let least = self.state.leaders.last().filter(|_| self.state.leaders.len() == LEADERS).and_then(|row| row.reward);
        let leads = |fact: &TrialFacts| {
            fact.status == "completed"
                && (fact.reused_from.is_none() || fact.enqueued.is_some())
                && least.is_none_or(|least| fact.reward >= Some(least))
        };
        let changed = self.seen.is_none() || news.iter().any(leads);
        for fact in news {
            self.state.latest.push_front(fact);
        }
        self.state.latest.truncate(LATEST);
        Ok(changed)
    }

    /// Draws everything, and notes what is not as it was.
    fn render(&mut self) {
        let version = self.view.version + 1;
        let shape = self.state.series.shape();
        let before = |name: &str, html: &str| self.view.sections.iter().find(|old| old.name == name && old.html == html);
        let sections = sections::all(&self.state, &shape).into_iter().map(|(name, html)| {
            let changed = before(name, &html).map_or(version, |old| old.changed);
            Section { name, html, changed }
        });
        self.view = Arc::new(View { version, title: self.state.facts.name.clone(), sections: sections.collect(), shape });
    }
}

/// `cpu-0 on cpu, cpu-1 on cpu`, as the search notes it.
fn lanes(text: &str) -> Vec<(String, String)> {
    text.split(", ").filter_map(|lane| lane.split_once(" on ")).map(|(lane, device)| (lane.to_owned(), device.to_owned())).collect()
}

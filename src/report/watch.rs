//! What is known of a run, read from its journal and kept up to date: after the first time only
//! what has changed is read, however long the run. Must not know how it is shown.

use super::facts::{RunFacts, lanes};
use super::series::Series;
use crate::journal::{EpochRow, JournalError, Life, Reader, TrialFacts, TrialRow};
use std::collections::{BTreeSet, VecDeque};
use std::path::{Path, PathBuf};

/// Rows of the leaderboard, trials shown while they train, trials that ended last, events.
const LEADERS: usize = 10;
const AT_WORK: usize = 6;
const LATEST: usize = 8;
const EVENTS: usize = 12;

/// Trials read in one query.
const BATCH: usize = 10_000;

/// Where the run stands.
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
    /// Trials without an outcome that neither run nor wait for a lane.
    pub stopped: u64,
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
pub(super) struct Watch {
    reader: Option<Reader>,
    seen: Option<(u64, Life)>,
    /// Trials without an outcome.
    open: BTreeSet<u64>,
    pub state: State,
}

impl Watch {
    /// Of the run in `dir`; nothing is read yet.
    pub fn new(dir: &Path) -> Self {
        let state = State {
            dir: dir.to_owned(),
            ..State::default()
        };
        Self {
            reader: None,
            seen: None,
            open: BTreeSet::new(),
            state,
        }
    }

    /// Reads what is new; true if something is.
    ///
    /// # Errors
    /// When the run cannot be read.
    pub fn update(&mut self) -> Result<bool, JournalError> {
        let reader = match self.reader.take() {
            Some(reader) => reader,
            None => Reader::open(&self.state.dir)?,
        };
        let seen = (reader.data_version()?, reader.life()?);
        let changed = self.seen.as_ref() != Some(&seen);
        if changed {
            self.state.life = Some(seen.1.clone());
            self.read(&reader)?;
            self.seen = Some(seen);
        }
        self.reader = Some(reader);
        Ok(changed)
    }

    /// The run, once it has been read.
    pub fn reader(&self) -> Option<&Reader> {
        self.reader.as_ref()
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

    /// Takes in what has ended since the last time, whatever order it ended in; true if the
    /// leaderboard may have changed.
    fn outcomes(&mut self, reader: &Reader) -> Result<bool, JournalError> {
        let mut news = Vec::new();
        if self.seen.is_none() {
            let last = reader.last_trial()?;
            let (series, enqueued) = (&mut self.state.series, reader.enqueued()?);
            series.know(last);
            enqueued.iter().for_each(|row| series.set_apart(row.id));
            reader.outcomes(|id, reward| series.end(id, reward))?;
            self.open = series.open().collect();
            self.open.extend(
                enqueued
                    .iter()
                    .filter(|row| row.finished_at.is_none())
                    .map(|row| row.id),
            );
            // Trials end about in their order.
            news.extend(reader.facts_after(last.saturating_sub(40 * LATEST as u64), BATCH)?);
        }
        let mut facts = reader.facts(self.open.iter().copied())?;
        loop {
            let more = reader.facts_after(self.state.series.len(), BATCH)?;
            let full = more.len() == BATCH;
            more.last()
                .into_iter()
                .for_each(|last| self.state.series.know(last.id));
            facts.extend(more);
            if !full {
                break;
            }
        }
        let (mut running, mut queued, mut stopped) = (Vec::new(), 0, 0);
        for fact in facts {
            if fact.enqueued.is_some() {
                self.state.series.set_apart(fact.id);
            }
            if fact.is_final() {
                self.open.remove(&fact.id);
                self.state
                    .series
                    .end(fact.id, fact.reward.filter(|_| fact.status == "completed"));
                news.push(fact);
            } else {
                self.open.insert(fact.id);
                match fact.status.as_str() {
                    "queued" => queued += 1,
                    "running" => running.push((fact.id, fact.device)),
                    _ => stopped += 1,
                }
            }
        }
        (self.state.running, self.state.queued, self.state.stopped) = (running, queued, stopped);
        news.retain(TrialFacts::is_final);
        news.sort_by(|a, b| (&a.finished_at, a.id).cmp(&(&b.finished_at, b.id)));
        let least = self
            .state
            .leaders
            .last()
            .filter(|_| self.state.leaders.len() == LEADERS)
            .and_then(|row| row.reward);
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
}

#[cfg(test)]
mod tests {
    use super::super::status::Status;
    use super::*;
    use crate::child::{Cause, Outcome};
    use crate::journal::{Journal, SampledMinibatch, SampledTrial, TrialOrder};
    use crate::space::{Architecture, ChoiceNetwork, Decision, Network};
    use crate::strategy::{HistoryPosition, PulledParameters};
    use std::sync::mpsc::channel;

    /// A run of so many trials, the last eight without an outcome: four in training, one stopped.
    fn run(trials: u64) -> (tempfile::TempDir, Journal) {
        let dir = tempfile::tempdir().unwrap();
        let (journal, _) = Journal::open(
            dir.path(),
            &serde_json::json!({}),
            &[],
            "[run]\ntrials = 9000\n",
        )
        .unwrap();
        let trial = SampledTrial {
            decisions: vec![Decision::Choice(1)],
            architecture: Architecture {
                version: 1,
                network: Network::Choices(ChoiceNetwork { values: [].into() }),
            },
            seed: 3,
            parameters: None,
            flops: None,
        };
        let pulled = PulledParameters {
            boundaries: vec![0, 1],
            versions: vec![0],
        };
        for minibatch in 0..trials / 8 {
            let trials = vec![trial.clone(); 8];
            journal.insert(
                vec![SampledMinibatch {
                    controller: 0,
                    minibatch,
                    layers: 1,
                    pulled: pulled.clone(),
                    history: HistoryPosition::default(),
                    repeated: 0,
                    trials,
                }],
                false,
                Box::new(drop),
            );
        }
        for id in 1..=trials - 4 {
            journal.started(id, "cpu", None);
            if id <= trials - 8 {
                finish(&journal, id, id as f64 / 1e5);
            }
        }
        journal.finished(trials - 4, Outcome::Stopped, 1.0, None, Box::new(drop));
        settle(&journal);
        (dir, journal)
    }

    /// Every thirtieth fails.
    fn finish(journal: &Journal, id: u64, reward: f64) {
        let outcome = match id % 30 {
            0 => Outcome::Failed {
                cause: Cause::Error,
                error: "no".into(),
            },
            _ => Outcome::Completed {
                reward,
                metric: reward,
                seconds: None,
            },
        };
        journal.finished(id, outcome, 1.0, None, Box::new(drop));
    }

    /// Waits until all that was asked for is on disk.
    fn settle(journal: &Journal) {
        let (reply, answer) = channel();
        journal.log(Box::new(move |_| reply.send(()).unwrap()));
        answer.recv().unwrap();
    }

    #[test]
    fn what_is_kept_up_to_date_is_what_is_read_anew() {
        let (dir, journal) = run(80);
        let mut watch = Watch::new(dir.path());
        assert!(watch.update().unwrap() && !watch.update().unwrap());
        let status = Status::of(&watch).unwrap();
        assert_eq!(
            (
                status.totals.sampled,
                status.totals.completed,
                status.totals.failed
            ),
            (80, 70, 2)
        );
        assert_eq!(
            (
                status.totals.running,
                status.totals.stopped,
                status.totals.queued
            ),
            (3, 1, 4)
        );
        assert_eq!((status.best_trial, status.trials), (Some(72), Some(9000)));
        // In another order than they began.
        for (id, reward) in [(80, 0.5), (75, 0.125), (79, 0.25)] {
            finish(&journal, id, reward);
        }
        journal.event("lanes", "cpu-0 on cpu");
        settle(&journal);
        assert!(watch.update().unwrap());
        assert_eq!(
            watch
                .state
                .latest
                .iter()
                .take(3)
                .map(|facts| facts.id)
                .collect::<BTreeSet<_>>(),
            [75, 79, 80].into()
        );
        assert_eq!(watch.state.lanes, [("cpu-0".to_owned(), "cpu".to_owned())]);
        let kept = serde_json::to_value(Status::of(&watch).unwrap()).unwrap();
        assert_eq!(
            kept,
            serde_json::to_value(Status::read(dir.path()).unwrap()).unwrap()
        );
        assert_eq!(kept["best_trial"], 80);
        journal.close();
    }

    /// Steps of SQLite's machine: for an update with a new best trial and for the status, and for
    /// the first page of each list.
    fn costs(trials: u64) -> (u64, Vec<u64>) {
        let (dir, journal) = run(trials);
        let mut watch = Watch::new(dir.path());
        watch.update().unwrap();
        finish(&journal, trials - 1, 0.9);
        settle(&journal);
        let before = watch.reader().unwrap().steps();
        assert!(watch.update().unwrap());
        assert_eq!(Status::of(&watch).unwrap().best_trial, Some(trials - 1));
        let reader = watch.reader().unwrap();
        let update = reader.steps() - before;
        let list = |order| {
            let before = reader.steps();
            assert_eq!(reader.page(None, order, 0, 10).unwrap().1.len(), 10);
            reader.steps() - before
        };
        let lists = [
            TrialOrder::Oldest,
            TrialOrder::Newest,
            TrialOrder::Best,
            TrialOrder::Worst,
        ]
        .map(list)
        .to_vec();
        journal.close();
        (update, lists)
    }

    #[test]
    fn neither_an_update_nor_the_status_nor_a_list_reads_the_whole_run() {
        let ((short, short_lists), (long, long_lists)) = (costs(1_200), costs(6_000));
        assert!(
            short > 100 && long.abs_diff(short) < short / 10,
            "an update: {short} steps of 1,200 trials, {long} of 6,000"
        );
        assert_eq!(
            short_lists, long_lists,
            "oldest, newest, best and worst of 1,200 trials and of 6,000"
        );
    }
}

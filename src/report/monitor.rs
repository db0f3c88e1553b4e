//! Follows a run through its journal. The first update reads the whole run, later ones only what
//! has changed, so that their cost does not grow with the run. Must not know how the run is shown.

use super::facts::{RunFacts, lanes};
use super::series::Series;
use crate::journal::{
    Confirmations, Confirmed, CostRow, EpochRow, JournalError, Life, Reader, TrialFacts, TrialRow,
};
use std::collections::{BTreeSet, VecDeque};
use std::path::{Path, PathBuf};

/// Number of rows of the leaderboard, of trials in training, of latest outcomes and of events.
const LEADERS: usize = 10;
const IN_TRAINING: usize = 6;
const LATEST: usize = 8;
const EVENTS: usize = 12;

/// Number of trials read by one query.
const BATCH: usize = 10_000;

/// The state of a run at the last update.
#[derive(Default)]
pub(super) struct RunState {
    pub dir: PathBuf,
    pub facts: RunFacts,
    pub life: Option<Life>,
    pub created: Option<String>,
    pub series: Series,
    /// All trials in training, with their devices.
    pub running: Vec<(u64, Option<String>)>,
    pub queued: u64,
    /// Number of trials without an outcome that neither run nor wait for a lane.
    pub stopped: u64,
    pub leaders: Vec<TrialRow>,
    /// The first by rank, of those that were not enqueued.
    pub best: Option<TrialRow>,
    /// Trials that were enqueued rather than sampled.
    pub enqueued: Vec<TrialRow>,
    /// Trials whose network was evaluated again to confirm it, the best mean first.
    pub confirmed: Vec<Confirmed>,
    pub confirmations: Confirmations,
    /// The first trials in training, with their epochs.
    pub in_training: Vec<(TrialRow, Vec<EpochRow>)>,
    /// Trials that ended last, the newest first.
    pub latest: VecDeque<TrialFacts>,
    /// Time, kind and text of each event, the newest first.
    pub events: Vec<(String, String, String)>,
    /// The name of each lane and its device.
    pub lanes: Vec<(String, String)>,
    pub baseline: Option<f64>,
    /// What completed trials cost and are worth, where rewards have a cost, by id.
    pub costs: Vec<CostRow>,
    /// Children that ended per hour.
    pub per_hour: Option<f64>,
}

impl RunState {
    /// Number of trials that have an outcome, of those that the run is to have.
    pub fn finished(&self) -> u64 {
        self.series.finished() + self.confirmations.finished
    }
}

/// A reader of the journal and the state that it has read.
pub(super) struct RunMonitor {
    reader: Option<Reader>,
    /// The journal's version and the run's life at the last update.
    last_update: Option<(u64, Life)>,
    /// Trials without an outcome.
    unfinished: BTreeSet<u64>,
    /// Trials up to this id had their outcome when costs were read last.
    costs_until: u64,
    pub state: RunState,
}

impl RunMonitor {
    /// A monitor of the run in `dir`. It reads nothing yet.
    pub fn new(dir: &Path) -> Self {
        let state = RunState {
            dir: dir.to_owned(),
            ..RunState::default()
        };
        Self {
            reader: None,
            last_update: None,
            unfinished: BTreeSet::new(),
            costs_until: 0,
            state,
        }
    }

    /// Reads what has changed since the last update, and returns whether anything has.
    ///
    /// # Errors
    /// When the run cannot be read.
    pub fn update(&mut self) -> Result<bool, JournalError> {
        let reader = match self.reader.take() {
            Some(reader) => reader,
            None => Reader::open(&self.state.dir)?,
        };
        let update = (reader.data_version()?, reader.life()?);
        let changed = self.last_update.as_ref() != Some(&update);
        if changed {
            self.state.life = Some(update.1.clone());
            self.read(&reader)?;
            self.last_update = Some(update);
        }
        self.reader = Some(reader);
        Ok(changed)
    }

    /// The reader of the journal, after the first update.
    pub fn reader(&self) -> Option<&Reader> {
        self.reader.as_ref()
    }

    fn read(&mut self, reader: &Reader) -> Result<(), JournalError> {
        let leaders_changed = self.read_trials(reader)?;
        let state = &mut self.state;
        state.facts = RunFacts::read(&state.dir);
        if state.facts.cost.is_some() {
            // Up to here every trial had its outcome, and will not change.
            let until = self.costs_until;
            let known = state.costs.partition_point(|row| row.trial <= until);
            state.costs.truncate(known);
            state.costs.extend(reader.costs(until)?);
            let unfinished = self.unfinished.first();
            self.costs_until = unfinished.map_or(state.series.len(), |id| id - 1);
        }
        if leaders_changed {
            state.leaders = reader.top(LEADERS)?;
        }
        state.best = reader.best()?;
        state.enqueued = reader.enqueued()?;
        state.confirmed = reader.confirmed()?;
        state.confirmations = reader.confirmations()?;
        state.in_training.clear();
        for row in reader.running_at_most(IN_TRAINING)? {
            let epochs = reader.epochs(row.id)?;
            state.in_training.push((row, epochs));
        }
        state.events = reader.events(EVENTS)?;
        state.events.reverse();
        if let Some(text) = reader.last_event("lanes")? {
            state.lanes = lanes(&text);
        }
        state.created = reader.created()?;
        state.baseline = reader.baseline()?;
        state.per_hour = reader.children_per_hour()?;
        Ok(())
    }

    /// Reads the trials that have ended or begun since the last update, in whatever order they did.
    /// Returns whether the leaderboard may have changed.
    fn read_trials(&mut self, reader: &Reader) -> Result<bool, JournalError> {
        let first_update = self.last_update.is_none();
        let mut ended = if first_update {
            self.read_outcomes(reader)?
        } else {
            Vec::new()
        };
        ended.extend(self.read_unfinished(reader)?);
        ended.retain(TrialFacts::is_final);
        ended.sort_by(|a, b| (&a.finished_at, a.id).cmp(&(&b.finished_at, b.id)));
        let leaders_changed = first_update || ended.iter().any(|facts| self.may_lead(facts));
        for facts in ended {
            self.state.latest.push_front(facts);
        }
        self.state.latest.truncate(LATEST);
        Ok(leaders_changed)
    }

    /// Reads the outcomes of the whole run at the first update. Returns the facts of the newest
    /// trials.
    fn read_outcomes(&mut self, reader: &Reader) -> Result<Vec<TrialFacts>, JournalError> {
        let last = reader.last_trial()?;
        let others = reader.not_sampled()?;
        let series = &mut self.state.series;
        series.extend_to(last);
        others.iter().for_each(|id| series.exclude(*id));
        reader.outcomes(|id, outcome| series.record(id, outcome))?;
        self.unfinished = series.unfinished().collect();
        let others = reader.facts(others)?.into_iter();
        let unfinished = others.filter(|facts| !facts.is_final());
        self.unfinished.extend(unfinished.map(|facts| facts.id));
        // Trials end roughly in the order of their ids, so the latest outcomes are among these.
        reader.facts_after(last.saturating_sub(40 * LATEST as u64), BATCH)
    }

    /// Reads the trials that had no outcome at the last update and those that are new. Returns the
    /// facts of those that have ended since.
    fn read_unfinished(&mut self, reader: &Reader) -> Result<Vec<TrialFacts>, JournalError> {
        let mut facts = reader.facts(self.unfinished.iter().copied())?;
        loop {
            let more = reader.facts_after(self.state.series.len(), BATCH)?;
            let full = more.len() == BATCH;
            if let Some(last) = more.last() {
                self.state.series.extend_to(last.id);
            }
            facts.extend(more);
            if !full {
                break;
            }
        }
        let state = &mut self.state;
        state.running.clear();
        state.queued = 0;
        state.stopped = 0;
        let mut ended = Vec::new();
        for fact in facts {
            if !fact.is_sampled() {
                state.series.exclude(fact.id);
            }
            if let Some(outcome) = fact.final_state() {
                self.unfinished.remove(&fact.id);
                state.series.record(fact.id, outcome);
                ended.push(fact);
            } else {
                self.unfinished.insert(fact.id);
                match fact.status.as_str() {
                    "queued" => state.queued += 1,
                    "running" => state.running.push((fact.id, fact.device)),
                    _ => state.stopped += 1,
                }
            }
        }
        Ok(ended)
    }

    /// Whether a trial that has ended may stand in the leaderboard.
    fn may_lead(&self, facts: &TrialFacts) -> bool {
        let last = self.state.leaders.last();
        let lowest_reward = last
            .filter(|_| self.state.leaders.len() == LEADERS)
            .and_then(|row| row.reward);
        facts.confirms.is_some()
            || facts.status == "completed"
                && (facts.reused_from.is_none() || facts.enqueued.is_some())
                && lowest_reward.is_none_or(|lowest| facts.reward >= Some(lowest))
    }
}

#[cfg(test)]
mod tests {
    use super::super::status::Status;
    use super::*;
    use crate::child::{Cause, FailureRule, Outcome};
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
                    redrawn: 0,
                    pruning: None,
                    trials,
                    held: None,
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
        journal.finished(
            trials - 4,
            Outcome::Stopped,
            1.0,
            FailureRule::SKIP,
            Box::new(drop),
        );
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
        journal.finished(id, outcome, 1.0, FailureRule::SKIP, Box::new(drop));
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
        let mut monitor = RunMonitor::new(dir.path());
        assert!(monitor.update().unwrap() && !monitor.update().unwrap());
        let status = Status::of(&monitor).unwrap();
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
        assert!(monitor.update().unwrap());
        assert_eq!(
            monitor
                .state
                .latest
                .iter()
                .take(3)
                .map(|facts| facts.id)
                .collect::<BTreeSet<_>>(),
            [75, 79, 80].into()
        );
        assert_eq!(
            monitor.state.lanes,
            [("cpu-0".to_owned(), "cpu".to_owned())]
        );
        let kept = serde_json::to_value(Status::of(&monitor).unwrap()).unwrap();
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
        let mut monitor = RunMonitor::new(dir.path());
        monitor.update().unwrap();
        finish(&journal, trials - 1, 0.9);
        settle(&journal);
        let before = monitor.reader().unwrap().steps();
        assert!(monitor.update().unwrap());
        assert_eq!(Status::of(&monitor).unwrap().best_trial, Some(trials - 1));
        let reader = monitor.reader().unwrap();
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

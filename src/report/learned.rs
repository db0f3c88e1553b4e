//! What a search has learned of its decisions: how much of the reward each explains, what the best
//! tenth have in common, and how often each option was chosen over time. Kept beside the page: of a
//! run of any length a bounded number of trials is read, again only when the run has grown by a
//! tenth, and of the choices over time what is new. Must not know how it is drawn.

use super::chart::{self, Axis, Choices, Picture};
use super::facts;
use super::number::{grouped, percent};
use super::series::Series;
use crate::journal::{DecidedTrial, JournalError, Reader};
use crate::space::{ImageShape, Space};
use crate::strategy::{
    DecisionColumn, DecisionColumns, FactorColumn, Importance, NOT_DECIDED, importance,
};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// The names of all pictures, in their order.
pub(super) const LEARNED: [&str; 3] = ["importance", "best-tenth", "choices"];
/// Completed trials before which nothing is said.
pub(super) const LEARNED_FROM: usize = 16;
/// It is looked at again after so many further completed trials, or a tenth more of them.
const FEWEST_MORE: usize = 8;
/// Trials that importance is computed from, and the numbers that they may hold together.
const ROWS: usize = 1_000;
const NUMBERS: usize = 60_000;
/// Lines of the best tenth, and the points that they may have together.
const LINES: usize = 100;
const LINE_POINTS: usize = 2_400;
/// Decisions that are drawn: where there are more, those that explain most.
const DRAWN: usize = 48;
/// Trials whose choices are counted at each point of time.
const WINDOW: u64 = 100;
/// Points of time at most; there are more than half as many, at multiples of a power of two.
const POINTS: u64 = 32;

/// One picture, with its heading and what it says in a sentence.
#[derive(Clone, Debug)]
pub(super) struct LearnedPicture {
    /// Of its file, and of its section of the page.
    pub name: &'static str,
    pub heading: &'static str,
    pub text: String,
    pub picture: Picture,
}

/// What is known so far, and the pictures of it.
#[derive(Default)]
pub(super) struct Learned {
    /// None: not read yet; or the run's config does not say what it searches.
    space: Option<Box<dyn Space>>,
    columns: DecisionColumns,
    /// Completed trials when importance and the best were last looked at; 0: never.
    looked_at: usize,
    analysis: Option<Analysis>,
    /// At each point of time, how often each value of each column occurs in the trials up to it.
    counts: BTreeMap<u64, Counts>,
    pictures: Vec<LearnedPicture>,
}

type Counts = HashMap<(usize, u16), u32>;

/// Importance and the best tenth of the trials that were there.
struct Analysis {
    completed: usize,
    fitted: usize,
    /// By column; None: nothing can be said.
    importance: Option<Importance>,
    /// The best first.
    best: Vec<Vec<u16>>,
    /// How many the best tenth are.
    tenth: usize,
}

impl Learned {
    /// The pictures of a run, read anew; none of a run that is too short.
    ///
    /// # Errors
    /// When the run cannot be read.
    pub fn read(
        dir: &Path,
        reader: &Reader,
        series: &Series,
    ) -> Result<Vec<LearnedPicture>, JournalError> {
        let mut learned = Self::default();
        learned.update(dir, reader, series)?;
        Ok(learned.pictures)
    }

    /// The pictures after the last update.
    pub fn pictures(&self) -> &[LearnedPicture] {
        &self.pictures
    }

    /// Takes in what the run has become, if it has grown enough.
    ///
    /// # Errors
    /// When the run cannot be read.
    pub fn update(
        &mut self,
        dir: &Path,
        reader: &Reader,
        series: &Series,
    ) -> Result<(), JournalError> {
        if self.space.is_none() {
            let image = ImageShape {
                channels: 3,
                height: 32,
                width: 32,
            };
            // What is decided does not depend on the images.
            self.space = facts::space(dir).map(|settings| settings.build(image, 10));
        }
        let Some(space) = self.space.take() else {
            return Ok(());
        };
        let updated = self.look(space.as_ref(), reader, series);
        self.space = Some(space);
        updated
    }

    fn look(
        &mut self,
        space: &dyn Space,
        reader: &Reader,
        series: &Series,
    ) -> Result<(), JournalError> {
        let completed = series.completed as usize;
        let more = completed.saturating_sub(self.looked_at);
        let is_due = completed >= LEARNED_FROM && more >= FEWEST_MORE.max(self.looked_at / 10);
        if is_due {
            self.looked_at = completed;
            self.analysis = Some(self.analyse(space, reader, series)?);
        }
        if self.analysis.is_none() {
            return Ok(());
        }
        let has_new_points = self.count(space, reader, series.len())?;
        if is_due || has_new_points {
            self.draw(space);
        }
        Ok(())
    }

    fn analyse(
        &mut self,
        space: &dyn Space,
        reader: &Reader,
        series: &Series,
    ) -> Result<Analysis, JournalError> {
        let mut trials: Vec<(u64, f64)> = series.rewards().collect();
        let completed = trials.len();
        // Later trials may be deeper.
        let newest = trials.last().map(|(id, _)| *id).into_iter();
        let columns = self
            .rows(space, reader, newest)?
            .first()
            .map_or(1, |(_, row)| row.len());
        let most = (NUMBERS / columns.max(1)).clamp(60, ROWS);
        let chosen: Vec<(u64, f64)> = evenly(&trials, most).collect();
        let rows = self.rows(space, reader, chosen.iter().map(|(id, _)| *id))?;
        let rewards: HashMap<u64, f64> = chosen.into_iter().collect();
        let rewards: Vec<f64> = rows.iter().map(|(id, _)| rewards[id]).collect();

        trials.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let tenth = completed.div_ceil(10);
        let lines = (LINE_POINTS / columns.clamp(1, DRAWN)).clamp(5, LINES);
        let best: Vec<u64> = evenly(&trials[..tenth], lines).map(|(id, _)| id).collect();
        let best = self.rows(space, reader, best.into_iter())?;
        // The columns are all known now.
        let shown = self.columns.shown(space);
        let rows: Vec<Vec<u16>> = rows.iter().map(|(_, row)| ranked(&shown, row)).collect();
        let factors: Vec<FactorColumn> = shown.iter().map(factor).collect();
        Ok(Analysis {
            completed,
            fitted: rows.len(),
            importance: importance(&factors, &rows, &rewards),
            best: best.into_iter().map(|(_, row)| row).collect(),
            tenth,
        })
    }

    /// What was decided in these trials, in their order; those that no controller proposed are left
    /// out.
    fn rows(
        &mut self,
        space: &dyn Space,
        reader: &Reader,
        ids: impl Iterator<Item = u64>,
    ) -> Result<Vec<(u64, Vec<u16>)>, JournalError> {
        let mut rows = Vec::new();
        for id in ids {
            for trial in reader.decided(id..=id)? {
                rows.push((id, self.row(space, &trial)));
            }
        }
        Ok(rows)
    }

    fn row(&mut self, space: &dyn Space, trial: &DecidedTrial) -> Vec<u16> {
        self.columns.row(space, trial.layers, &trial.decisions)
    }

    /// Counts the choices at points of time that are new; are there any?
    fn count(
        &mut self,
        space: &dyn Space,
        reader: &Reader,
        trials: u64,
    ) -> Result<bool, JournalError> {
        let every = trials.div_ceil(POINTS).next_power_of_two();
        let before = self.counts.len();
        self.counts.retain(|point, _| point % every == 0);
        let mut changed = self.counts.len() != before;
        for point in (1..=trials / every).map(|number| number * every) {
            if self.counts.contains_key(&point) {
                continue;
            }
            let mut counts = Counts::new();
            for trial in reader.decided(point.saturating_sub(WINDOW) + 1..=point)? {
                for (column, value) in self.row(space, &trial).into_iter().enumerate() {
                    *counts.entry((column, value)).or_default() += 1;
                }
            }
            self.counts.insert(point, counts);
            changed = true;
        }
        Ok(changed)
    }

    fn draw(&mut self, space: &dyn Space) {
        let Some(analysis) = &self.analysis else {
            return;
        };
        let shown = self.columns.shown(space);
        let drawn = drawn_columns(&shown, analysis);
        let pictures = [
            importance_picture(&shown, analysis),
            best_picture(&shown, &drawn, analysis),
            self.choices_picture(&shown, &drawn),
        ];
        self.pictures = pictures.into_iter().flatten().collect();
    }

    fn choices_picture(&self, shown: &[DecisionColumn], drawn: &[usize]) -> Option<LearnedPicture> {
        let points: Vec<u64> = self.counts.keys().copied().collect();
        let of_column = |&column: &usize| {
            let options = shown[column].options.len();
            let at_point = |counts: &Counts| {
                let mut numbers = vec![0; options + 1];
                for ((_, value), count) in counts.iter().filter(|((own, _), _)| *own == column) {
                    let option = shown[column].option(*value).unwrap_or(options);
                    numbers[option] += count;
                }
                // Before there were lists so deep, it was decided in none.
                let known: u32 = numbers.iter().sum();
                let all: u32 = counts
                    .iter()
                    .filter(|((own, _), _)| *own == 0)
                    .map(|(_, count)| count)
                    .sum();
                numbers[options] += all.saturating_sub(known);
                numbers
            };
            Choices {
                decision: axis(&shown[column]),
                counts: self.counts.values().map(at_point).collect(),
            }
        };
        let choices: Vec<Choices> = drawn.iter().map(of_column).collect();
        let text = format!(
            "How often each option was chosen among the last {WINDOW} proposed networks, over trials{}.",
            only(shown, drawn)
        );
        (!drawn.is_empty()).then(|| LearnedPicture {
            name: LEARNED[2],
            heading: "Chosen over time",
            picture: chart::choices(&points, &choices, &text),
            text,
        })
    }
}

fn importance_picture(shown: &[DecisionColumn], analysis: &Analysis) -> Option<LearnedPicture> {
    let importance = analysis.importance.as_ref()?;
    let mut shares: Vec<(&str, f64)> = shown
        .iter()
        .zip(&importance.alone)
        .filter(|(column, _)| is_choice(column))
        .map(|(column, share)| (column.name.as_str(), *share))
        .collect();
    shares.sort_by(|a, b| b.1.total_cmp(&a.1));
    let left: f64 = shares.iter().skip(DRAWN).map(|(_, share)| share).sum();
    let others = shares.len().saturating_sub(DRAWN);
    shares.truncate(DRAWN);
    let text = format!(
        "How much of the reward's variance each decision explains alone, in the mean over all others, by a random forest fitted to {} of {} \
         trials. What only several decisions together explain: {}{}.",
        grouped(analysis.fitted as u64),
        grouped(analysis.completed as u64),
        percent(importance.together),
        if others > 0 {
            format!("; {others} further decisions: {}", percent(left))
        } else {
            String::new()
        }
    );
    (!shares.is_empty()).then(|| LearnedPicture {
        name: LEARNED[0],
        heading: "What matters",
        picture: chart::importance(&shares, &text),
        text,
    })
}

fn best_picture(
    shown: &[DecisionColumn],
    drawn: &[usize],
    analysis: &Analysis,
) -> Option<LearnedPicture> {
    let axes: Vec<Axis> = drawn.iter().map(|&column| axis(&shown[column])).collect();
    let line = |row: &Vec<u16>| -> Vec<Option<usize>> {
        let value = |column: usize| row.get(column).copied().unwrap_or(NOT_DECIDED);
        drawn
            .iter()
            .map(|&column| shown[column].option(value(column)))
            .collect()
    };
    let lines: Vec<_> = analysis.best.iter().map(line).collect();
    let text = format!(
        "What the best tenth of the trials decided: {} of {}, the best one bold and uppermost{}.",
        grouped(lines.len() as u64),
        grouped(analysis.tenth as u64),
        only(shown, drawn)
    );
    (!axes.is_empty() && !lines.is_empty()).then(|| LearnedPicture {
        name: LEARNED[1],
        heading: "What the best have in common",
        picture: chart::parallel(&axes, &lines, &text),
        text,
    })
}

/// Where not all decisions are drawn.
fn only(shown: &[DecisionColumn], drawn: &[usize]) -> String {
    let all = shown.iter().filter(|column| is_choice(column)).count();
    if all > drawn.len() {
        format!("; the {} decisions of {all} that explain most", drawn.len())
    } else {
        String::new()
    }
}

/// The columns to be drawn, in their order: where there are too many, those that explain most.
fn drawn_columns(shown: &[DecisionColumn], analysis: &Analysis) -> Vec<usize> {
    let share = |column: usize| {
        let alone = analysis.importance.as_ref().map(|found| &found.alone);
        alone
            .and_then(|alone| alone.get(column))
            .copied()
            .unwrap_or(0.0)
    };
    let mut columns: Vec<usize> = (0..shown.len())
        .filter(|column| is_choice(&shown[*column]))
        .collect();
    columns.sort_by(|a, b| share(*b).total_cmp(&share(*a)));
    columns.truncate(DRAWN);
    columns.sort_unstable();
    columns
}

/// Different options occurred.
fn is_choice(column: &DecisionColumn) -> bool {
    column.options.len() > 1
}

fn axis(column: &DecisionColumn) -> Axis<'_> {
    Axis {
        name: &column.name,
        options: &column.options,
        is_ordered: column.is_ordered,
    }
}

/// One value for each column: 0 where nothing is decided, else an option's place from 1.
fn ranked(shown: &[DecisionColumn], row: &[u16]) -> Vec<u16> {
    let value = |(column, shown): (usize, &DecisionColumn)| {
        let value = row.get(column).copied().unwrap_or(NOT_DECIDED);
        let option = shown.option(value).map_or(0, |option| option + 1);
        u16::try_from(option).unwrap_or(u16::MAX)
    };
    shown.iter().enumerate().map(value).collect()
}

fn factor(column: &DecisionColumn) -> FactorColumn {
    FactorColumn {
        values: column.options.len() + 1,
        is_ordered: column.is_ordered,
    }
}

/// At most so many of them, evenly, the first among them.
fn evenly<T: Copy>(all: &[T], most: usize) -> impl Iterator<Item = T> + '_ {
    let count = all.len().min(most);
    (0..count).map(move |index| all[index * all.len() / count])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::child::{FailureRule, Outcome};
    use crate::journal::{FinalState, Journal, SampledMinibatch, SampledTrial};
    use crate::space::{Architecture, ChoiceNetwork, Decision, Network};
    use crate::strategy::{HistoryPosition, PulledParameters};
    use std::sync::mpsc::channel;

    const CONFIG: &str = "[run]\ntrials = 9000\n[space]\nkind = \"choices\"\n\
        [[space.decision]]\nname = \"width\"\noptions = [64, 16, 32, 128]\n\
        [[space.decision]]\nname = \"optimiser\"\noptions = [\"sgd\", \"adam\"]\n\
        [[space.decision]]\nname = \"noise\"\noptions = [0, 1, 2]\n";

    fn decided(id: u64) -> [usize; 3] {
        [id % 4, id / 4 % 2, id * 7919 % 1009 % 3].map(|option| option as usize)
    }

    /// The width is worth most, the optimiser a little.
    fn reward(id: u64) -> f64 {
        let [width, optimiser, _] = decided(id);
        [0.4, 0.1, 0.2, 0.8][width] + 0.1 * optimiser as f64
    }

    struct Run {
        folder: tempfile::TempDir,
        journal: Journal,
        trials: u64,
    }

    impl Run {
        fn new(trials: u64) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let identity = serde_json::json!({});
            let (journal, _) = Journal::open(folder.path(), &identity, &[], CONFIG).unwrap();
            let mut run = Self {
                folder,
                journal,
                trials: 0,
            };
            run.grow(trials);
            run
        }

        /// Further trials, each completed.
        fn grow(&mut self, trials: u64) {
            let first = self.trials + 1;
            self.trials += trials;
            for minibatch in first..=self.trials {
                let decisions = decided(minibatch).map(Decision::Choice).to_vec();
                let trial = SampledTrial {
                    decisions,
                    architecture: Architecture {
                        version: 1,
                        network: Network::Choices(ChoiceNetwork { values: [].into() }),
                    },
                    seed: 3,
                    parameters: None,
                    flops: None,
                };
                let minibatch = SampledMinibatch {
                    controller: 0,
                    minibatch,
                    layers: 0,
                    pulled: PulledParameters {
                        boundaries: vec![0, 1],
                        versions: vec![0],
                    },
                    history: HistoryPosition::default(),
                    repeated: 0,
                    trials: vec![trial],
                    held: None,
                    pruning: None,
                    redrawn: 0,
                };
                self.journal.insert(vec![minibatch], false, Box::new(drop));
            }
            for id in first..=self.trials {
                let outcome = Outcome::Completed {
                    reward: reward(id),
                    metric: reward(id),
                    seconds: None,
                };
                let rule = FailureRule::SKIP;
                self.journal
                    .finished(id, outcome, 1.0, rule, Box::new(drop));
            }
            let (reply, answer) = channel();
            self.journal.log(Box::new(move |_| reply.send(()).unwrap()));
            answer.recv().unwrap();
        }

        fn series(&self) -> Series {
            let mut series = Series::default();
            (1..=self.trials).for_each(|id| series.record(id, FinalState::Completed(reward(id))));
            series
        }

        fn reader(&self) -> Reader {
            Reader::open(self.folder.path()).unwrap()
        }
    }

    fn drawn(pictures: &[LearnedPicture]) -> Vec<&str> {
        pictures.iter().map(|p| p.picture.svg.as_str()).collect()
    }

    #[test]
    fn what_is_kept_up_to_date_is_what_is_read_anew() {
        let mut run = Run::new(10);
        let reader = run.reader();
        let mut learned = Learned::default();
        let mut update = |run: &Run| {
            learned
                .update(run.folder.path(), &reader, &run.series())
                .unwrap();
            learned.pictures().to_vec()
        };
        assert!(update(&run).is_empty(), "too few");
        for more in [30, 40, 47] {
            run.grow(more);
            let kept = update(&run);
            let names: Vec<&str> = kept.iter().map(|picture| picture.name).collect();
            assert_eq!(names, LEARNED);
            let anew = Learned::read(run.folder.path(), &run.reader(), &run.series()).unwrap();
            assert_eq!(drawn(&kept), drawn(&anew));
        }
        run.journal.close();
    }

    #[test]
    fn what_decides_the_reward_comes_first_and_the_best_share_it() {
        let run = Run::new(120);
        let pictures = Learned::read(run.folder.path(), &run.reader(), &run.series()).unwrap();
        let place = |text: &str| pictures[0].picture.svg.find(text).unwrap();
        assert!(place(">width<") < place(">optimiser<"));
        assert!(place(">optimiser<") < place(">noise<"));
        assert!(
            pictures[1].text.contains(": 12 of 12,"),
            "{:?}",
            pictures[1].text
        );
        run.journal.close();
    }

    /// Steps of SQLite's machine: of the first look at a run, and of one after a further trial.
    fn costs(trials: u64) -> (u64, u64) {
        let mut run = Run::new(trials);
        let reader = run.reader();
        let mut learned = Learned::default();
        let mut update = |run: &Run| {
            let before = reader.steps();
            learned
                .update(run.folder.path(), &reader, &run.series())
                .unwrap();
            reader.steps() - before
        };
        let first = update(&run);
        run.grow(1);
        let later = update(&run);
        run.journal.close();
        (first, later)
    }

    #[test]
    fn a_long_run_costs_no_more_than_a_short_one() {
        let (short, short_later) = costs(1_600);
        let (long, long_later) = costs(6_400);
        assert!(
            short > 1_000 && long < 2 * short,
            "{short} steps of 1,600 trials, {long} of 6,400"
        );
        assert_eq!((short_later, long_later), (0, 0));
    }
}

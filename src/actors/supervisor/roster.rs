//! Which child is where: the queue, the lanes, and who may start next. A child without an outcome
//! is in exactly one place, and what an abandoned lane says is not believed. Pure; must not know
//! actors, threads or clocks.

use crate::child::Task;
use std::collections::{BTreeSet, VecDeque};

/// Where a lane stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Up,
    /// Its trainer is gone and will be rebuilt.
    Down,
    /// Out of use for good.
    Out,
}

/// What a lane does once its child has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaving {
    /// It is made anew.
    Renew,
    /// It goes out of use.
    Out,
}

#[derive(Debug)]
struct Lane {
    state: State,
    /// Counts rebuilds.
    generation: u64,
    task: Option<Task>,
    /// Takes no further child.
    leaving: Option<Leaving>,
}

/// The children that wait and the lanes that train them.
#[derive(Debug, Default)]
pub struct Roster {
    queue: VecDeque<Task>,
    lanes: Vec<Lane>,
    /// Trials that may have killed the process: each runs with no other beside it.
    suspects: BTreeSet<u64>,
}

impl Roster {
    /// Another lane, ready for children; returns its index.
    pub fn add_lane(&mut self) -> usize {
        self.lanes.push(Lane {
            state: State::Up,
            generation: 0,
            task: None,
            leaving: None,
        });
        self.lanes.len() - 1
    }

    /// Children that wait, behind the others.
    pub fn enqueue(&mut self, tasks: impl IntoIterator<Item = Task>) {
        self.queue.extend(tasks);
    }

    /// A child that was started and is to be started again, before the others.
    pub fn put_back(&mut self, task: Task) {
        self.queue.push_front(task);
    }

    /// From now on this trial runs alone.
    pub fn suspect(&mut self, trial: u64) {
        self.suspects.insert(trial);
    }

    /// Nothing more is to start.
    pub fn clear_queue(&mut self) {
        self.queue.clear();
    }

    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    pub fn running(&self) -> usize {
        self.lanes.iter().filter(|lane| lane.task.is_some()).count()
    }

    /// Lanes that train or will train again.
    pub fn in_use(&self) -> usize {
        self.lanes
            .iter()
            .filter(|lane| lane.state != State::Out)
            .count()
    }

    pub fn generation(&self, lane: usize) -> u64 {
        self.lanes[lane].generation
    }

    /// Starts a child on a free lane, if there are both and nothing runs that wants to be alone.
    pub fn start_next(&mut self) -> Option<(usize, Task)> {
        let alone = |task: &Task| self.suspects.contains(&task.trial);
        if self
            .lanes
            .iter()
            .filter_map(|lane| lane.task.as_ref())
            .any(alone)
        {
            return None;
        }
        let suspect = self.queue.iter().position(alone);
        if suspect.is_some() && self.running() > 0 {
            return None;
        }
        let free =
            |lane: &Lane| lane.state == State::Up && lane.task.is_none() && lane.leaving.is_none();
        let lane = self.lanes.iter().position(free)?;
        let task = self.queue.remove(suspect.unwrap_or(0))?;
        self.lanes[lane].task = Some(task.clone());
        Some((lane, task))
    }

    /// A lane says that a child's attempt has ended: the child, or None where the lane was given up
    /// or has another child by now.
    pub fn ended(
        &mut self,
        lane: usize,
        generation: u64,
        trial: u64,
        attempt: u32,
    ) -> Option<Task> {
        let lane = self
            .lanes
            .get_mut(lane)
            .filter(|lane| lane.generation == generation)?;
        lane.task
            .take_if(|task| task.trial == trial && task.attempt == attempt)
    }

    /// A lane is given up: the child that it had. None: this generation of it was given up before.
    pub fn fall(&mut self, lane: usize, generation: u64) -> Option<Option<Task>> {
        let lane = self
            .lanes
            .get_mut(lane)
            .filter(|lane| lane.generation == generation && lane.state == State::Up)?;
        lane.generation += 1;
        lane.state = State::Down;
        Some(lane.task.take())
    }

    /// The lane is there again; false: it is out of use.
    pub fn rebuilt(&mut self, lane: usize) -> bool {
        let lane = &mut self.lanes[lane];
        if lane.state == State::Down {
            lane.state = State::Up;
            lane.leaving = lane.leaving.filter(|leaving| *leaving == Leaving::Out);
        }
        lane.state == State::Up
    }

    /// The lane takes no further child; the last word counts, but out is out.
    pub fn leave(&mut self, lane: usize, leaving: Leaving) {
        let lane = &mut self.lanes[lane];
        lane.leaving = lane
            .leaving
            .filter(|leaving| *leaving == Leaving::Out)
            .or(Some(leaving));
    }

    /// Lanes that are to leave and have no child any more.
    pub fn left(&self) -> Vec<(usize, Leaving)> {
        let up = self
            .lanes
            .iter()
            .enumerate()
            .filter(|(_, lane)| lane.state == State::Up && lane.task.is_none());
        up.filter_map(|(index, lane)| Some((index, lane.leaving?)))
            .collect()
    }

    /// Lanes that train or will train again.
    pub fn lanes_in_use(&self) -> Vec<usize> {
        let stays = |lane: &Lane| lane.state != State::Out && lane.leaving != Some(Leaving::Out);
        (0..self.lanes.len())
            .filter(|index| stays(&self.lanes[*index]))
            .collect()
    }

    /// The lane goes out of use for good.
    pub fn isolate(&mut self, lane: usize) {
        self.lanes[lane].state = State::Out;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::{Architecture, ChoiceNetwork, Network};

    fn task(trial: u64) -> Task {
        let architecture = Architecture {
            version: 1,
            network: Network::Choices(ChoiceNetwork { values: [].into() }),
        };
        Task {
            trial,
            attempt: 0,
            seed: trial,
            layers: 1,
            decisions: vec![],
            architecture,
        }
    }

    /// What can happen in one step of the model: the Supervisor starts children, a lane's report
    /// arrives (also late, from a lane that was given up), a trainer falls, is rebuilt, or its lane
    /// is isolated.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        Start,
        Report(usize),
        Fall(usize),
        Rebuild(usize),
        Isolate(usize),
    }

    /// The roster beside a plain model of the threads: reports on their way, and the outcomes
    /// taken.
    struct Model {
        roster: Roster,
        /// (lane, generation, trial, attempt) of every child that a thread, abandoned or not, may
        /// still report.
        reports: Vec<(usize, u64, u64, u32)>,
        outcomes: Vec<u64>,
    }

    impl Model {
        fn new(trials: u64) -> Self {
            let mut roster = Roster::default();
            roster.add_lane();
            roster.add_lane();
            roster.enqueue((1..=trials).map(task));
            Self {
                roster,
                reports: Vec::new(),
                outcomes: Vec::new(),
            }
        }

        /// False: the step is not possible here.
        fn step(&mut self, step: Step) -> bool {
            match step {
                Step::Start => match self.roster.start_next() {
                    Some((lane, task)) => self.reports.push((
                        lane,
                        self.roster.generation(lane),
                        task.trial,
                        task.attempt,
                    )),
                    None => return false,
                },
                Step::Report(index) => {
                    if index >= self.reports.len() {
                        return false;
                    }
                    let (lane, generation, trial, attempt) = self.reports.remove(index);
                    self.outcomes.extend(
                        self.roster
                            .ended(lane, generation, trial, attempt)
                            .map(|task| task.trial),
                    );
                }
                Step::Fall(lane) => match self.roster.fall(lane, self.roster.generation(lane)) {
                    Some(task) => task.into_iter().for_each(|task| self.roster.put_back(task)),
                    None => return false,
                },
                Step::Rebuild(lane) => {
                    if self.roster.lanes[lane].state != State::Down {
                        return false;
                    }
                    self.roster.rebuilt(lane);
                }
                Step::Isolate(lane) => {
                    if self.roster.lanes[lane].state != State::Down || self.roster.in_use() < 2 {
                        return false;
                    }
                    self.roster.isolate(lane);
                }
            }
            true
        }

        /// Each trial is in exactly one place.
        fn assert_whole(&self, trials: u64, steps: &[Step]) {
            let waiting = self.roster.queue.iter();
            let running = self
                .roster
                .lanes
                .iter()
                .filter_map(|lane| lane.task.as_ref());
            let mut found: Vec<u64> = waiting
                .chain(running)
                .map(|task| task.trial)
                .chain(self.outcomes.iter().copied())
                .collect();
            found.sort_unstable();
            assert_eq!(found, (1..=trials).collect::<Vec<_>>(), "{steps:?}");
        }
    }

    /// Exhaustive to a depth: every sequence of steps with two lanes and two trials.
    #[test]
    fn no_interleaving_of_reports_falls_and_rebuilds_loses_or_doubles_a_child() {
        let steps = [
            Step::Start,
            Step::Report(0),
            Step::Report(1),
            Step::Report(2),
            Step::Fall(0),
            Step::Fall(1),
            Step::Rebuild(0),
            Step::Rebuild(1),
            Step::Isolate(1),
        ];
        let (mut explored, mut open) = (0, vec![Vec::new()]);
        while let Some(path) = open.pop() {
            let mut model = Model::new(2);
            assert!(path.iter().all(|step| model.step(*step)));
            model.assert_whole(2, &path);
            explored += 1;
            for step in steps.iter().filter(|_| path.len() < 8) {
                // Rebuilt for each: a model is small, and cannot be copied.
                let mut next = Model::new(2);
                path.iter().for_each(|step| assert!(next.step(*step)));
                if next.step(*step) {
                    open.push(path.iter().copied().chain([*step]).collect());
                }
            }
        }
        assert!(explored > 10_000, "{explored}");
    }

    #[test]
    fn a_suspect_runs_alone() {
        let mut roster = Roster::default();
        roster.add_lane();
        roster.add_lane();
        roster.suspect(2);
        roster.enqueue([task(1), task(2), task(3)]);
        let (lane, first) = roster.start_next().unwrap();
        assert_eq!(first.trial, 2);
        assert!(roster.start_next().is_none(), "nothing runs beside it");
        roster.ended(lane, 0, 2, 0).unwrap();
        assert_eq!(
            [
                roster.start_next().unwrap().1.trial,
                roster.start_next().unwrap().1.trial
            ],
            [1, 3]
        );
        roster.enqueue([task(4)]);
        roster.put_back(task(2));
        assert!(roster.start_next().is_none(), "it waits until nothing runs");
    }

    #[test]
    fn a_leaving_lane_ends_its_child_first() {
        let mut roster = Roster::default();
        roster.add_lane();
        roster.enqueue([task(1), task(2)]);
        roster.start_next().unwrap();
        roster.leave(0, Leaving::Out);
        roster.leave(0, Leaving::Renew);
        assert!(roster.left().is_empty());
        assert_eq!(roster.ended(0, 0, 1, 0).unwrap().trial, 1);
        assert!(roster.start_next().is_none());
        assert_eq!(roster.left(), [(0, Leaving::Out)]);
        assert!(roster.lanes_in_use().is_empty());
    }
}

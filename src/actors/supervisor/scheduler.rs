//! Gives children to lanes: the queue, the lanes, and which child may start next. A child without
//! an outcome is either in the queue or on one lane, and reports of an abandoned lane are ignored.
//! Pure; must not know actors, threads or clocks.

use crate::child::Task;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The state of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Up,
    /// Its trainer has ended and will be restarted.
    Down,
    /// It is out of use for good.
    Out,
}

/// What happens to a lane that takes no further child, once its child has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterDrain {
    /// It is restarted.
    Restart,
    /// It goes out of use.
    Remove,
}

#[derive(Debug)]
struct Lane {
    state: State,
    /// Counts restarts.
    generation: u64,
    task: Option<Task>,
    /// Some: the lane takes no further child.
    draining: Option<AfterDrain>,
}

/// The queue and the lanes.
#[derive(Debug, Default)]
pub struct Scheduler {
    queue: VecDeque<Task>,
    lanes: Vec<Lane>,
    /// Trials that may have killed a process: each runs while no other does, before all others.
    suspects: BTreeSet<u64>,
    /// Trials that were under way when processes died and nothing says why, and how many did: each
    /// runs while no other does, after all others; among them those first that saw fewer deaths.
    last: BTreeMap<u64, u32>,
}

impl Scheduler {
    /// Adds a lane that is ready for children; returns its index.
    pub fn add_lane(&mut self) -> usize {
        self.lanes.push(Lane {
            state: State::Up,
            generation: 0,
            task: None,
            draining: None,
        });
        self.lanes.len() - 1
    }

    /// Adds children at the end of the queue.
    pub fn enqueue(&mut self, tasks: impl IntoIterator<Item = Task>) {
        self.queue.extend(tasks);
    }

    /// Puts a child that was started before at the front of the queue.
    pub fn requeue(&mut self, task: Task) {
        self.queue.push_front(task);
    }

    /// From now on this trial runs alone, and first.
    pub fn suspect(&mut self, trial: u64) {
        self.suspects.insert(trial);
    }

    /// From now on this trial, under which so many processes died, runs alone, when no other waits.
    pub fn suspect_last(&mut self, trial: u64, deaths: u32) {
        self.last.insert(trial, deaths);
    }

    /// No further child is to start.
    pub fn clear_queue(&mut self) {
        self.queue.clear();
    }

    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    pub fn running(&self) -> usize {
        self.lanes.iter().filter(|lane| lane.task.is_some()).count()
    }

    /// How many lanes train or will train again.
    pub fn count_in_use(&self) -> usize {
        self.lanes
            .iter()
            .filter(|lane| lane.state != State::Out)
            .count()
    }

    pub fn generation(&self, lane: usize) -> u64 {
        self.lanes[lane].generation
    }

    /// Starts a child on a free lane, if there are both, unless a suspect is running or waits for
    /// the others to end.
    pub fn start_next(&mut self) -> Option<(usize, Task)> {
        let first = |task: &Task| self.suspects.contains(&task.trial);
        let last = |task: &Task| self.last.contains_key(&task.trial);
        let alone = |task: &Task| first(task) || last(task);
        if self
            .lanes
            .iter()
            .filter_map(|lane| lane.task.as_ref())
            .any(alone)
        {
            return None;
        }
        let queued = |wanted: &dyn Fn(&Task) -> bool| self.queue.iter().position(wanted);
        let next = queued(&first)
            .or_else(|| queued(&|task: &Task| !last(task)))
            .or_else(|| self.next_of_last())?;
        if alone(&self.queue[next]) && self.running() > 0 {
            return None;
        }
        let free =
            |lane: &Lane| lane.state == State::Up && lane.task.is_none() && lane.draining.is_none();
        let lane = self.lanes.iter().position(free)?;
        let task = self.queue.remove(next)?;
        self.lanes[lane].task = Some(task.clone());
        Some((lane, task))
    }

    /// The place in the queue of the trial that runs next once only those that run last are left. The
    /// one that kills its process each time would keep the others from their turn.
    fn next_of_last(&self) -> Option<usize> {
        let deaths = |task: &Task| self.last.get(&task.trial);
        let waiting = self.queue.iter().enumerate();
        waiting
            .filter_map(|(place, task)| Some((deaths(task)?, place)))
            .min()
            .map(|(_, place)| place)
    }

    /// A lane reports that a child's attempt has ended: returns the child, or None where the lane
    /// was abandoned or has another child by now.
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

    /// Abandons a lane: returns the child that it had. None: this generation was abandoned before.
    pub fn abandon(&mut self, lane: usize, generation: u64) -> Option<Option<Task>> {
        let lane = self
            .lanes
            .get_mut(lane)
            .filter(|lane| lane.generation == generation && lane.state == State::Up)?;
        lane.generation += 1;
        lane.state = State::Down;
        Some(lane.task.take())
    }

    /// The lane's trainer was restarted; false: the lane is out of use.
    pub fn restarted(&mut self, lane: usize) -> bool {
        let lane = &mut self.lanes[lane];
        if lane.state == State::Down {
            lane.state = State::Up;
            lane.draining = lane.draining.filter(|after| *after == AfterDrain::Remove);
        }
        lane.state == State::Up
    }

    /// The lane takes no further child. A later call replaces `after`, but never `Remove`.
    pub fn drain(&mut self, lane: usize, after: AfterDrain) {
        let lane = &mut self.lanes[lane];
        lane.draining = lane
            .draining
            .filter(|after| *after == AfterDrain::Remove)
            .or(Some(after));
    }

    /// Lanes that drain and have no child any more.
    pub fn drained(&self) -> Vec<(usize, AfterDrain)> {
        let up = self
            .lanes
            .iter()
            .enumerate()
            .filter(|(_, lane)| lane.state == State::Up && lane.task.is_none());
        up.filter_map(|(index, lane)| Some((index, lane.draining?)))
            .collect()
    }

    /// Lanes that train or will train again.
    pub fn lanes_in_use(&self) -> Vec<usize> {
        let stays =
            |lane: &Lane| lane.state != State::Out && lane.draining != Some(AfterDrain::Remove);
        (0..self.lanes.len())
            .filter(|index| stays(&self.lanes[*index]))
            .collect()
    }

    /// Takes the lane out of use for good.
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
            pruning: None,
        }
    }

    /// What can happen in one step of the model: the Supervisor starts children, a lane's report
    /// arrives (also late, from a lane that was abandoned), a trainer fails, is restarted, or its
    /// lane is isolated.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        Start,
        Report(usize),
        ExitReason(usize),
        RestartActor(usize),
        Isolate(usize),
    }

    /// The scheduler beside a plain model of the threads: reports on their way, and the outcomes
    /// taken.
    struct Model {
        scheduler: Scheduler,
        /// (lane, generation, trial, attempt) of every child that a thread, abandoned or not, may
        /// still report.
        reports: Vec<(usize, u64, u64, u32)>,
        outcomes: Vec<u64>,
    }

    impl Model {
        fn new(trials: u64) -> Self {
            let mut scheduler = Scheduler::default();
            scheduler.add_lane();
            scheduler.add_lane();
            scheduler.enqueue((1..=trials).map(task));
            Self {
                scheduler,
                reports: Vec::new(),
                outcomes: Vec::new(),
            }
        }

        /// False: the step is not possible here.
        fn step(&mut self, step: Step) -> bool {
            match step {
                Step::Start => match self.scheduler.start_next() {
                    Some((lane, task)) => self.reports.push((
                        lane,
                        self.scheduler.generation(lane),
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
                        self.scheduler
                            .ended(lane, generation, trial, attempt)
                            .map(|task| task.trial),
                    );
                }
                Step::ExitReason(lane) => {
                    match self
                        .scheduler
                        .abandon(lane, self.scheduler.generation(lane))
                    {
                        Some(task) => task
                            .into_iter()
                            .for_each(|task| self.scheduler.requeue(task)),
                        None => return false,
                    }
                }
                Step::RestartActor(lane) => {
                    if self.scheduler.lanes[lane].state != State::Down {
                        return false;
                    }
                    self.scheduler.restarted(lane);
                }
                Step::Isolate(lane) => {
                    if self.scheduler.lanes[lane].state != State::Down
                        || self.scheduler.count_in_use() < 2
                    {
                        return false;
                    }
                    self.scheduler.isolate(lane);
                }
            }
            true
        }

        /// Each trial is in the queue, on one lane, or has one outcome.
        fn assert_whole(&self, trials: u64, steps: &[Step]) {
            let waiting = self.scheduler.queue.iter();
            let running = self
                .scheduler
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
    fn no_interleaving_of_reports_failures_and_restarts_loses_or_doubles_a_child() {
        let steps = [
            Step::Start,
            Step::Report(0),
            Step::Report(1),
            Step::Report(2),
            Step::ExitReason(0),
            Step::ExitReason(1),
            Step::RestartActor(0),
            Step::RestartActor(1),
            Step::Isolate(1),
        ];
        let mut explored = 0;
        let mut open = vec![Vec::new()];
        while let Some(path) = open.pop() {
            let mut model = Model::new(2);
            assert!(path.iter().all(|step| model.step(*step)));
            model.assert_whole(2, &path);
            explored += 1;
            for step in steps.iter().filter(|_| path.len() < 8) {
                // A model cannot be cloned, so each is built from its path.
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
        let mut scheduler = Scheduler::default();
        scheduler.add_lane();
        scheduler.add_lane();
        scheduler.suspect(2);
        scheduler.enqueue([task(1), task(2), task(3)]);
        let (lane, first) = scheduler.start_next().unwrap();
        assert_eq!(first.trial, 2);
        assert!(scheduler.start_next().is_none(), "nothing runs beside it");
        scheduler.ended(lane, 0, 2, 0).unwrap();
        assert_eq!(
            [
                scheduler.start_next().unwrap().1.trial,
                scheduler.start_next().unwrap().1.trial
            ],
            [1, 3]
        );
        scheduler.enqueue([task(4)]);
        scheduler.requeue(task(2));
        assert!(
            scheduler.start_next().is_none(),
            "it waits until nothing runs"
        );
    }

    #[test]
    fn a_trial_whose_deaths_nothing_explains_runs_alone_after_all_others() {
        let mut scheduler = Scheduler::default();
        scheduler.add_lane();
        scheduler.add_lane();
        scheduler.suspect_last(1, 9);
        scheduler.suspect_last(5, 3);
        scheduler.suspect(4);
        scheduler.enqueue([task(1), task(2), task(3), task(4), task(5)]);
        let mut order = Vec::new();
        while let Some((lane, started)) = scheduler.start_next() {
            order.push(started.trial);
            let more = scheduler.start_next();
            order.extend(more.iter().map(|(_, task)| task.trial));
            assert!(!matches!(started.trial, 1 | 4 | 5) || more.is_none());
            for (lane, task) in more.into_iter().chain([(lane, started)]) {
                scheduler.ended(lane, 0, task.trial, 0).unwrap();
            }
        }
        assert_eq!(order, [4, 2, 3, 5, 1], "5 saw fewer deaths than 1");
        scheduler.requeue(task(1));
        scheduler.enqueue([task(6)]);
        assert_eq!(scheduler.start_next().unwrap().1.trial, 6);
        assert!(scheduler.start_next().is_none());
    }

    #[test]
    fn a_draining_lane_ends_its_child_first() {
        let mut scheduler = Scheduler::default();
        scheduler.add_lane();
        scheduler.enqueue([task(1), task(2)]);
        scheduler.start_next().unwrap();
        scheduler.drain(0, AfterDrain::Remove);
        scheduler.drain(0, AfterDrain::Restart);
        assert!(scheduler.drained().is_empty());
        assert_eq!(scheduler.ended(0, 0, 1, 0).unwrap().trial, 1);
        assert!(scheduler.start_next().is_none());
        assert_eq!(scheduler.drained(), [(0, AfterDrain::Remove)]);
        assert!(scheduler.lanes_in_use().is_empty());
    }
}

//! The rewards of a run by trial, reduced to what a chart can show. A long run is divided into
//! buckets of trials; each keeps its best and worst reward and the running mean at its end, so that
//! no extreme is hidden. Pure; must not know how the chart is drawn.

use crate::journal::FinalState;

/// The outcome of a trial, as far as it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum State {
    #[default]
    Unfinished,
    /// The trial was not sampled, so it is no part of the series.
    Excluded,
    Final(FinalState),
}

/// Outcomes of the sampled trials, indexed by trial.
#[derive(Clone, Debug, Default)]
pub struct Series {
    /// The state of trial `id` is at index `id - 1`.
    states: Vec<State>,
    pub completed: u64,
    pub pruned: u64,
    pub failed: u64,
    excluded: u64,
}

/// A run of at most this many trials is shown trial by trial.
const MAX_SINGLE_TRIALS: usize = 400;
/// A longer run is divided into at most this many buckets.
const BUCKETS: usize = 200;

/// What a chart of rewards shows. The x coordinate is a trial's id.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RewardChartData {
    /// Number of trials known so far: the length of the x axis.
    pub trials: u64,
    /// Number of trials in one bucket; 1 means that each trial is shown.
    pub bucket: usize,
    pub points: Vec<(u64, f64)>,
    /// Middle of each bucket with its worst and its best reward; empty if each trial is shown.
    pub ranges: Vec<(f64, f64, f64)>,
    /// Mean of the last `window` rewards at the end of each bucket.
    pub mean: Vec<(f64, f64)>,
    pub window: usize,
    /// Trials that were the best so far, with their reward.
    pub best: Vec<(f64, f64)>,
    /// Failed trials, or the middles of stretches with some.
    pub failures: Vec<f64>,
}

impl Series {
    /// Records the outcome of trial `id` (from 1). Recording another one changes nothing.
    pub fn record(&mut self, id: u64, outcome: FinalState) {
        self.extend_to(id);
        let Some(state) = (id as usize)
            .checked_sub(1)
            .and_then(|index| self.states.get_mut(index))
        else {
            return;
        };
        if *state != State::Unfinished {
            return;
        }
        *state = State::Final(outcome);
        match outcome {
            FinalState::Completed(_) => self.completed += 1,
            FinalState::Pruned => self.pruned += 1,
            FinalState::Failed => self.failed += 1,
        }
    }

    /// Sampled trials that have their outcome.
    pub fn finished(&self) -> u64 {
        self.completed + self.pruned + self.failed
    }

    /// Excludes trial `id` (from 1), which was not sampled, from the series.
    pub fn exclude(&mut self, id: u64) {
        self.extend_to(id);
        if let Some(state) = (id as usize)
            .checked_sub(1)
            .and_then(|index| self.states.get_mut(index))
        {
            self.excluded += u64::from(*state != State::Excluded);
            *state = State::Excluded;
        }
    }

    /// Makes room for the trials up to `id`.
    pub fn extend_to(&mut self, id: u64) {
        self.states
            .resize(self.states.len().max(id as usize), State::Unfinished);
    }

    pub fn len(&self) -> u64 {
        self.states.len() as u64
    }

    /// Number of sampled trials.
    pub fn sampled(&self) -> u64 {
        self.len() - self.excluded
    }

    /// Sampled trials without an outcome.
    pub fn unfinished(&self) -> impl Iterator<Item = u64> {
        (1..)
            .zip(&self.states)
            .filter(|(_, state)| **state == State::Unfinished)
            .map(|(id, _)| id)
    }

    /// Completed trials with their rewards, by id.
    pub fn rewards(&self) -> impl DoubleEndedIterator<Item = (u64, f64)> {
        self.states
            .iter()
            .enumerate()
            .filter_map(|(index, state)| match state {
                State::Final(FinalState::Completed(reward)) => Some((index as u64 + 1, *reward)),
                _ => None,
            })
    }

    /// Mean of the newest rewards (by trial id), and the number of rewards in it.
    pub fn recent_mean(&self) -> Option<(f64, usize)> {
        let window = self.window();
        let (sum, count) = self
            .rewards()
            .rev()
            .take(window)
            .fold((0.0, 0), |(sum, count), (_, reward)| {
                (sum + reward, count + 1)
            });
        (count > 0).then(|| (sum / f64::from(count), count as usize))
    }

    /// Mean of all rewards. They are summed in the order of the trials, so the result does not
    /// depend on the order in which trials ended.
    pub fn mean(&self) -> Option<f64> {
        (self.completed > 0)
            .then(|| self.rewards().map(|(_, reward)| reward).sum::<f64>() / self.completed as f64)
    }

    /// Number of rewards in the running mean: more for longer runs.
    fn window(&self) -> usize {
        match self.states.len() {
            0..200 => 10,
            200..20_000 => 100,
            _ => 1000,
        }
    }

    /// The data of the reward chart.
    pub fn chart_data(&self) -> RewardChartData {
        let bucket = if self.states.len() <= MAX_SINGLE_TRIALS {
            1
        } else {
            self.states.len().div_ceil(BUCKETS)
        };
        let mut chart_data = RewardChartData {
            trials: self.len(),
            bucket,
            window: self.window(),
            ..RewardChartData::default()
        };
        let mut statistics = RunningStatistics {
            window: chart_data.window,
            last: std::collections::VecDeque::new(),
            sum: 0.0,
            best: f64::NEG_INFINITY,
        };
        for (index, states) in self.states.chunks(bucket).enumerate() {
            statistics.add_bucket(index * bucket, states, &mut chart_data);
        }
        chart_data
    }
}

/// Running mean and best reward while the buckets are built.
struct RunningStatistics {
    window: usize,
    last: std::collections::VecDeque<f64>,
    sum: f64,
    best: f64,
}

impl RunningStatistics {
    fn push(&mut self, reward: f64) {
        self.last.push_back(reward);
        self.sum += reward;
        if self.last.len() > self.window {
            self.sum -= self.last.pop_front().unwrap_or_default();
        }
    }

    /// Adds the bucket of the trials after trial `first`.
    fn add_bucket(&mut self, first: usize, states: &[State], chart_data: &mut RewardChartData) {
        let middle = first as f64 + (states.len() + 1) as f64 / 2.0;
        let mut worst = None::<(u64, f64)>;
        let mut best = None::<(u64, f64)>;
        let mut new_best = None;
        for (index, state) in states.iter().enumerate() {
            let State::Final(FinalState::Completed(reward)) = *state else {
                continue;
            };
            let id = (first + index + 1) as u64;
            self.push(reward);
            worst = worst
                .filter(|(_, other)| *other <= reward)
                .or(Some((id, reward)));
            best = best
                .filter(|(_, other)| *other >= reward)
                .or(Some((id, reward)));
            if reward > self.best {
                self.best = reward;
                new_best = Some((id as f64, reward));
            }
        }
        chart_data.best.extend(new_best);
        if states.contains(&State::Final(FinalState::Failed)) {
            chart_data.failures.push(middle);
        }
        let (Some(worst), Some(best)) = (worst, best) else {
            return;
        };
        chart_data.points.push(worst);
        if best.0 != worst.0 {
            chart_data.points.push(best);
        }
        if chart_data.bucket > 1 {
            chart_data.ranges.push((middle, worst.1, best.1));
        }
        let record = (first + states.len()) as f64;
        chart_data
            .mean
            .push((record, self.sum / self.last.len() as f64));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn state(reward: Option<f64>) -> FinalState {
        reward.map_or(FinalState::Failed, FinalState::Completed)
    }

    fn series(outcomes: &[Option<f64>]) -> Series {
        let mut series = Series::default();
        (1..)
            .zip(outcomes)
            .for_each(|(id, reward)| series.record(id, state(*reward)));
        series
    }

    #[test]
    fn a_short_run_is_shown_trial_by_trial() {
        let mut series = series(&[Some(0.2), None, Some(0.6), Some(0.4)]);
        series.extend_to(5);
        let chart_data = series.chart_data();
        assert_eq!(chart_data.points, [(1, 0.2), (3, 0.6), (4, 0.4)]);
        assert_eq!(chart_data.best, [(1.0, 0.2), (3.0, 0.6)]);
        assert_eq!(chart_data.failures, [2.0]);
        assert!((chart_data.mean[2].1 - 0.4).abs() < 1e-12 && chart_data.mean[2].0 == 4.0);
        assert_eq!(
            (
                chart_data.trials,
                chart_data.bucket,
                series.unfinished().collect::<Vec<_>>()
            ),
            (5, 1, vec![5])
        );
        assert_eq!((series.completed, series.failed), (3, 1));
    }

    #[test]
    fn a_pruned_trial_is_finished_and_has_no_point() {
        let mut series = series(&[Some(0.2), None]);
        series.record(3, FinalState::Pruned);
        series.record(3, FinalState::Completed(0.9));
        let chart_data = series.chart_data();
        assert_eq!(
            (chart_data.points, chart_data.failures),
            (vec![(1, 0.2)], vec![2.0])
        );
        assert_eq!((series.completed, series.pruned, series.failed), (1, 1, 1));
        assert_eq!((series.finished(), series.unfinished().count()), (3, 0));
    }

    #[test]
    fn trials_that_were_not_sampled_are_excluded() {
        let mut series = Series::default();
        series.exclude(1);
        [Some(0.9), Some(0.2), None]
            .into_iter()
            .zip(1..)
            .for_each(|(reward, id)| series.record(id, state(reward)));
        let chart_data = series.chart_data();
        assert_eq!(
            (
                chart_data.trials,
                chart_data.points,
                chart_data.best,
                chart_data.failures
            ),
            (3, vec![(2, 0.2)], vec![(2.0, 0.2)], vec![3.0])
        );
        assert_eq!(
            (series.completed, series.failed, series.unfinished().count()),
            (1, 1, 0)
        );
    }

    proptest! {
        #![proptest_config(crate::random::cases(256))]

        /// The points of each bucket include its extremes, and the best reward is the best of all.
        #[test]
        fn a_long_run_hides_no_extreme(outcomes in prop::collection::vec(prop::option::weighted(0.9, 0.0_f64..1.0), 401..3000)) {
            let chart_data = series(&outcomes).chart_data();
            prop_assert!(chart_data.points.len() <= 2 * BUCKETS && chart_data.mean.len() <= BUCKETS);
            for (id, reward) in &chart_data.points {
                prop_assert_eq!(outcomes[*id as usize - 1], Some(*reward));
            }
            for (bucket, outcomes) in outcomes.chunks(chart_data.bucket).enumerate() {
                let shown = |id: u64| (id - 1) as usize / chart_data.bucket == bucket;
                let shown: Vec<f64> = chart_data.points.iter().filter(|(id, _)| shown(*id)).map(|(_, reward)| *reward).collect();
                let extremes = |rewards: &[f64]| rewards.iter().fold((1.0_f64, 0.0_f64), |(low, high), &x| (low.min(x), high.max(x)));
                let all: Vec<f64> = outcomes.iter().flatten().copied().collect();
                prop_assert_eq!(extremes(&shown), extremes(&all));
            }
            let best = outcomes.iter().flatten().copied().fold(f64::NEG_INFINITY, f64::max);
            prop_assert_eq!(chart_data.best.last().map(|best| best.1), Some(best).filter(|best| best.is_finite()));
        }
    }
}

//! The rewards of a run by trial, and what of a hundred thousand of them a chart can show without
//! hiding anything: of each stretch of trials the best and the worst, the running mean at its end,
//! and the best so far. Pure; must not know how it is drawn.

/// What is known of a trial.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum State {
    #[default]
    Open,
    /// Was not sampled: no part of the series.
    Apart,
    Failed,
    Completed(f64),
}

/// Outcomes of sampled trials, by trial, kept up to date as trials end.
#[derive(Clone, Debug, Default)]
pub struct Series {
    /// Of trial `id` at `id - 1`.
    states: Vec<State>,
    pub completed: u64,
    pub failed: u64,
    apart: u64,
}

/// Up to so many trials are shown one by one.
const SINGLE: usize = 400;
/// Stretches that a longer run is divided into.
const STRETCHES: usize = 200;

/// What a chart of rewards shows; x is a trial's id.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RewardShape {
    /// Trials known so far: the x axis.
    pub trials: u64,
    /// Trials that stand behind one stretch; 1: each is shown.
    pub stretch: usize,
    pub points: Vec<(u64, f64)>,
    /// Worst and best reward of each stretch, at its middle; none if each trial is shown.
    pub ranges: Vec<(f64, f64, f64)>,
    /// Mean of the last `window` rewards.
    pub mean: Vec<(f64, f64)>,
    pub window: usize,
    /// Where the best so far rises, and to what.
    pub best: Vec<(f64, f64)>,
    /// Failed trials, or the middles of stretches with some.
    pub failures: Vec<f64>,
}

impl Series {
    /// Trial `id` (from 1) has its outcome: its reward, or None if it failed. Telling it twice
    /// changes nothing.
    pub fn end(&mut self, id: u64, reward: Option<f64>) {
        self.know(id);
        let Some(state) = (id as usize)
            .checked_sub(1)
            .and_then(|index| self.states.get_mut(index))
        else {
            return;
        };
        if *state != State::Open {
            return;
        }
        *state = reward.map_or(State::Failed, State::Completed);
        match reward {
            Some(_) => self.completed += 1,
            None => self.failed += 1,
        }
    }

    /// Trial `id` (from 1) was not sampled: its outcome is no part of the series.
    pub fn set_apart(&mut self, id: u64) {
        self.know(id);
        if let Some(state) = (id as usize)
            .checked_sub(1)
            .and_then(|index| self.states.get_mut(index))
        {
            self.apart += u64::from(*state != State::Apart);
            *state = State::Apart;
        }
    }

    /// Trials up to this one exist.
    pub fn know(&mut self, id: u64) {
        self.states
            .resize(self.states.len().max(id as usize), State::Open);
    }

    pub fn len(&self) -> u64 {
        self.states.len() as u64
    }

    /// Trials that were sampled.
    pub fn sampled(&self) -> u64 {
        self.len() - self.apart
    }

    /// Sampled trials without an outcome.
    pub fn open(&self) -> impl Iterator<Item = u64> {
        (1..)
            .zip(&self.states)
            .filter(|(_, state)| **state == State::Open)
            .map(|(id, _)| id)
    }

    fn rewards(&self) -> impl DoubleEndedIterator<Item = (u64, f64)> {
        self.states
            .iter()
            .enumerate()
            .filter_map(|(index, state)| match state {
                State::Completed(reward) => Some((index as u64 + 1, *reward)),
                _ => None,
            })
    }

    /// Mean of the last rewards, by id, and of how many.
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

    /// Mean of all rewards, summed by id: the same whatever order they came in.
    pub fn mean(&self) -> Option<f64> {
        (self.completed > 0)
            .then(|| self.rewards().map(|(_, reward)| reward).sum::<f64>() / self.completed as f64)
    }

    /// Longer for longer runs.
    fn window(&self) -> usize {
        match self.states.len() {
            0..200 => 10,
            200..20_000 => 100,
            _ => 1000,
        }
    }

    /// What a chart shows.
    pub fn shape(&self) -> RewardShape {
        let stretch = if self.states.len() <= SINGLE {
            1
        } else {
            self.states.len().div_ceil(STRETCHES)
        };
        let mut shape = RewardShape {
            trials: self.len(),
            stretch,
            window: self.window(),
            ..RewardShape::default()
        };
        let mut running = Running {
            window: shape.window,
            last: std::collections::VecDeque::new(),
            sum: 0.0,
            best: f64::NEG_INFINITY,
        };
        for (index, states) in self.states.chunks(stretch).enumerate() {
            running.stretch(index * stretch, states, &mut shape);
        }
        shape
    }
}

struct Running {
    window: usize,
    last: std::collections::VecDeque<f64>,
    sum: f64,
    best: f64,
}

impl Running {
    fn push(&mut self, reward: f64) {
        self.last.push_back(reward);
        self.sum += reward;
        if self.last.len() > self.window {
            self.sum -= self.last.pop_front().unwrap_or_default();
        }
    }

    /// Adds the trials after `first`.
    fn stretch(&mut self, first: usize, states: &[State], shape: &mut RewardShape) {
        let middle = first as f64 + (states.len() + 1) as f64 / 2.0;
        let (mut worst, mut best) = (None::<(u64, f64)>, None::<(u64, f64)>);
        let mut risen = None;
        for (index, state) in states.iter().enumerate() {
            let State::Completed(reward) = *state else {
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
                risen = Some((id as f64, reward));
            }
        }
        shape.best.extend(risen);
        if states.contains(&State::Failed) {
            shape.failures.push(middle);
        }
        let (Some(worst), Some(best)) = (worst, best) else {
            return;
        };
        shape.points.push(worst);
        if best.0 != worst.0 {
            shape.points.push(best);
        }
        if shape.stretch > 1 {
            shape.ranges.push((middle, worst.1, best.1));
        }
        let end = (first + states.len()) as f64;
        shape.mean.push((end, self.sum / self.last.len() as f64));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn series(outcomes: &[Option<f64>]) -> Series {
        let mut series = Series::default();
        (1..)
            .zip(outcomes)
            .for_each(|(id, reward)| series.end(id, *reward));
        series
    }

    #[test]
    fn a_short_run_is_shown_trial_by_trial() {
        let mut series = series(&[Some(0.2), None, Some(0.6), Some(0.4)]);
        series.know(5);
        let shape = series.shape();
        assert_eq!(shape.points, [(1, 0.2), (3, 0.6), (4, 0.4)]);
        assert_eq!(shape.best, [(1.0, 0.2), (3.0, 0.6)]);
        assert_eq!(shape.failures, [2.0]);
        assert!((shape.mean[2].1 - 0.4).abs() < 1e-12 && shape.mean[2].0 == 4.0);
        assert_eq!(
            (
                shape.trials,
                shape.stretch,
                series.open().collect::<Vec<_>>()
            ),
            (5, 1, vec![5])
        );
        assert_eq!((series.completed, series.failed), (3, 1));
    }

    #[test]
    fn what_was_not_sampled_is_no_part_of_it() {
        let mut series = Series::default();
        series.set_apart(1);
        [Some(0.9), Some(0.2), None]
            .into_iter()
            .zip(1..)
            .for_each(|(reward, id)| series.end(id, reward));
        let shape = series.shape();
        assert_eq!(
            (shape.trials, shape.points, shape.best, shape.failures),
            (3, vec![(2, 0.2)], vec![(2.0, 0.2)], vec![3.0])
        );
        assert_eq!(
            (series.completed, series.failed, series.open().count()),
            (1, 1, 0)
        );
    }

    proptest! {
        #![proptest_config(crate::random::cases(256))]

        /// Whatever is left out, no trial lies outside what is shown, and the best is the best.
        #[test]
        fn a_long_run_hides_no_extreme(outcomes in prop::collection::vec(prop::option::weighted(0.9, 0.0_f64..1.0), 401..3000)) {
            let shape = series(&outcomes).shape();
            prop_assert!(shape.points.len() <= 2 * STRETCHES && shape.mean.len() <= STRETCHES);
            for (id, reward) in &shape.points {
                prop_assert_eq!(outcomes[*id as usize - 1], Some(*reward));
            }
            for (stretch, outcomes) in outcomes.chunks(shape.stretch).enumerate() {
                let shown = |id: u64| (id - 1) as usize / shape.stretch == stretch;
                let shown: Vec<f64> = shape.points.iter().filter(|(id, _)| shown(*id)).map(|(_, reward)| *reward).collect();
                let extremes = |rewards: &[f64]| rewards.iter().fold((1.0_f64, 0.0_f64), |(low, high), &x| (low.min(x), high.max(x)));
                let all: Vec<f64> = outcomes.iter().flatten().copied().collect();
                prop_assert_eq!(extremes(&shown), extremes(&all));
            }
            let best = outcomes.iter().flatten().copied().fold(f64::NEG_INFINITY, f64::max);
            prop_assert_eq!(shape.best.last().map(|best| best.1), Some(best).filter(|best| best.is_finite()));
        }
    }
}

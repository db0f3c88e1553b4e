//! The best networks are evaluated again at the end of a search, because the highest of many noisy
//! rewards is more luck than the others: which and how often, and with which seeds. Pure; must not
//! know how a network is evaluated.

use crate::random::Key;

/// No controller has these numbers, nor has an enqueued trial, so no two trials share a seed.
const CONFIRMS: u64 = u64::MAX - 1;
const RETRY: u64 = u64::MAX - 2;

/// The earlier trial whose network a trial evaluates again, and why. Both where a confirmation is
/// tried again: then `retry_of` is that confirmation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Again {
    pub confirms: Option<u64>,
    pub retry_of: Option<u64>,
}

impl Again {
    pub fn confirming(trial: u64) -> Self {
        Self {
            confirms: Some(trial),
            retry_of: None,
        }
    }

    /// `confirms`: the trial that `trial` confirms itself.
    pub fn retrying(trial: u64, confirms: Option<u64>) -> Self {
        Self {
            confirms,
            retry_of: Some(trial),
        }
    }

    /// Is it one of `run.confirm`? One that is tried again is none of them.
    pub fn is_confirmation(self) -> bool {
        self.retry_of.is_none() && self.confirms.is_some()
    }

    /// The trial whose network is evaluated again.
    pub fn of(self) -> u64 {
        self.retry_of.or(self.confirms).unwrap_or_default()
    }

    /// The child's seed: a function of the run's seed, of the earlier trial, and of how often that
    /// was evaluated again for the same reason before.
    pub fn seed(self, run: u64, before: u64) -> u64 {
        let controller = if self.retry_of.is_some() {
            RETRY
        } else {
            CONFIRMS
        };
        Key {
            controller,
            minibatch: self.of(),
            slot: before as u32,
            ..Key::seed(run)
        }
        .child_seed()
    }

    /// In words, of a trial.
    pub fn describe(self) -> String {
        match (self.confirms, self.retry_of) {
            (_, Some(trial)) => format!("trial {trial} again"),
            (Some(trial), None) => format!("confirms trial {trial}"),
            (None, None) => String::new(),
        }
    }
}

/// How many of the best networks share so many confirmations.
pub fn confirmed_networks(confirmations: u64) -> usize {
    (confirmations as f64).sqrt().round() as usize
}

/// So many confirmations shared among so many networks, the best first: the index of each one's
/// network. Each gets as many as the others; what is left over goes to the first.
pub fn share(confirmations: u64, networks: usize) -> Vec<usize> {
    let all = usize::try_from(confirmations).unwrap_or(usize::MAX);
    let turns = (0..networks).cycle();
    turns.take(if networks == 0 { 0 } else { all }).collect()
}

/// Trials of a run that are sampled, and those that confirm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrialBudget {
    /// `run.trials`
    pub trials: u64,
    /// `run.confirm`
    pub confirm: u64,
    /// Confirmations after which sampling went on.
    pub before: u64,
    /// Confirmations after the last sampled trial.
    pub current: u64,
}

impl TrialBudget {
    /// How many trials are to be sampled, of a run that has sampled so many. A run that has confirmed
    /// and is to have more trials samples, and leaves the last `confirm` of them to confirm again;
    /// those of before remain, and count.
    pub fn to_sample(self, sampled: u64) -> u64 {
        let under_way = self.current > 0 && sampled + self.before + self.confirm >= self.trials;
        if under_way {
            return sampled;
        }
        let all = self.before + self.current + self.confirm;
        self.trials.saturating_sub(all).max(sampled)
    }

    /// How many confirmations are still to come once `sampled` trials, all of them, have ended.
    pub fn to_confirm(self, sampled: u64) -> u64 {
        if self.confirm == 0 {
            return 0;
        }
        self.trials
            .saturating_sub(sampled + self.before + self.current)
    }

    /// Sampling has gone on after confirmations.
    pub fn sampling_goes_on(&mut self) {
        self.before += std::mem::take(&mut self.current);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(trials: u64, confirm: u64, before: u64, current: u64) -> TrialBudget {
        TrialBudget {
            trials,
            confirm,
            before,
            current,
        }
    }

    #[test]
    fn the_last_trials_confirm() {
        let run = budget(100, 10, 0, 0);
        assert_eq!((run.to_sample(0), run.to_sample(90)), (90, 90));
        assert_eq!(run.to_confirm(90), 10);
        for current in 1..=10 {
            let run = budget(100, 10, 0, current);
            assert_eq!((run.to_sample(90), run.to_confirm(90)), (90, 10 - current));
        }
        assert_eq!(budget(100, 0, 0, 0).to_sample(0), 100);
        assert_eq!(budget(100, 0, 0, 0).to_confirm(100), 0);
    }

    #[test]
    fn a_run_that_is_to_have_more_trials_samples_on_and_confirms_again_at_its_new_end() {
        let mut run = budget(200, 10, 0, 10);
        assert_eq!(run.to_sample(90), 180);
        run.sampling_goes_on();
        for sampled in 91..=180 {
            assert_eq!(run.to_sample(sampled), 180);
        }
        assert_eq!(run.to_confirm(180), 10);
        assert_eq!(budget(200, 10, 10, 10).to_confirm(180), 0);
        // What is added is all for confirmations where it is no more than these.
        let run = budget(104, 10, 0, 10);
        assert_eq!((run.to_sample(90), run.to_confirm(90)), (90, 4));
        // A run that had no confirmations has no room for them until it has more trials.
        let run = budget(100, 10, 0, 0);
        assert_eq!((run.to_sample(100), run.to_confirm(100)), (100, 0));
        assert_eq!(budget(110, 10, 0, 0).to_confirm(100), 10);
        // One that is to have none any more.
        assert_eq!(budget(105, 0, 0, 10).to_sample(90), 95);
        assert_eq!(budget(100, 0, 0, 4).to_confirm(90), 0);
    }

    #[test]
    fn the_best_networks_share_the_confirmations() {
        assert_eq!([1, 2, 10, 20, 50].map(confirmed_networks), [1, 1, 3, 4, 7]);
        assert_eq!(share(7, 3), [0, 1, 2, 0, 1, 2, 0]);
        assert!(share(7, 0).is_empty() && share(0, 3).is_empty());
    }

    #[test]
    fn no_two_evaluations_of_a_network_have_one_seed() {
        let mut seeds: Vec<u64> = (0..3)
            .flat_map(|before| {
                [
                    Again::confirming(4).seed(7, before),
                    Again::confirming(5).seed(7, before),
                    Again::retrying(4, None).seed(7, before),
                    Again::retrying(9, Some(4)).seed(7, before),
                ]
            })
            .collect();
        seeds.sort_unstable();
        seeds.dedup();
        assert_eq!(seeds.len(), 12);
    }
}

//! An architecture that is sampled again takes the known reward (`run.reuse`): which trial takes
//! the reward of which, and which waits. Pure; must not know actors or the journal.
//!
//! A trial takes the reward of the first trial with the same network. So reuse depends on the order
//! of the trials alone, not on which child ended first. A failure is not reused, and neither is a
//! pruned child: the next trial with this network is trained instead.

use crate::child::{Outcome, Task};
use crate::space::Fingerprint;
use std::collections::HashMap;

/// What happens to a trial that is to be evaluated.
#[derive(Clone, Debug, PartialEq)]
pub enum Admission {
    /// It is trained: no other trial has its network, or the trial that has it failed or was pruned.
    Train(Task),
    /// It takes the reward of trial `from`.
    Reuse {
        task: Task,
        from: u64,
        reward: f64,
        metric: f64,
    },
    /// Another trial with its network is being evaluated: this one waits for that outcome.
    Wait,
}

/// A completed trial, as the journal recovers it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Known {
    pub trial: u64,
    pub reward: f64,
    pub metric: f64,
}

enum State {
    Known(Known),
    /// The first trial is being evaluated; these wait for its outcome, in order.
    Pending(Vec<Task>),
}

/// The first trial of each network.
pub struct Reuse {
    /// By fingerprint: a run may have a million networks.
    networks: HashMap<Fingerprint, State>,
    /// The network of each trial that is being evaluated.
    pending: HashMap<u64, Fingerprint>,
}

impl Reuse {
    /// Continues from the first completed trial of each network.
    pub fn new(completed: impl IntoIterator<Item = (Fingerprint, Known)>) -> Self {
        let networks = completed
            .into_iter()
            .map(|(network, known)| (network, State::Known(known)))
            .collect();
        Self {
            networks,
            pending: HashMap::new(),
        }
    }

    /// A trial is to be evaluated; to be called by ascending id.
    pub fn admit(&mut self, task: Task) -> Admission {
        let network = task.architecture.fingerprint();
        match self.networks.get_mut(&network) {
            Some(State::Known(known)) if known.trial < task.trial => Admission::Reuse {
                task,
                from: known.trial,
                reward: known.reward,
                metric: known.metric,
            },
            // A process that did not reuse sampled this one before the trial that is known.
            Some(State::Known(_)) => Admission::Train(task),
            Some(State::Pending(waiting)) => {
                waiting.push(task);
                Admission::Wait
            }
            None => {
                self.pending.insert(task.trial, network);
                self.networks.insert(network, State::Pending(Vec::new()));
                Admission::Train(task)
            }
        }
    }

    /// A trial has its final outcome: what happens to the trials that waited for it. They take its
    /// reward; after a failure, or a pruned child, the next one is trained and the others still wait.
    pub fn ended(&mut self, trial: u64, outcome: &Outcome) -> Vec<Admission> {
        let Some(network) = self.pending.remove(&trial) else {
            return Vec::new();
        };
        let Some(State::Pending(waiting)) = self.networks.remove(&network) else {
            return Vec::new();
        };
        match *outcome {
            Outcome::Completed { reward, metric, .. } => {
                self.networks.insert(
                    network,
                    State::Known(Known {
                        trial,
                        reward,
                        metric,
                    }),
                );
                waiting
                    .into_iter()
                    .map(|task| Admission::Reuse {
                        task,
                        from: trial,
                        reward,
                        metric,
                    })
                    .collect()
            }
            // After a stop nothing more is evaluated here.
            Outcome::Failed { .. } | Outcome::Pruned { .. } | Outcome::Stopped => {
                let mut admitted: Vec<_> =
                    waiting.into_iter().map(|task| self.admit(task)).collect();
                admitted.retain(|admission| *admission != Admission::Wait);
                admitted
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::child::Cause;
    use crate::space::{Architecture, ChoiceNetwork, Network, OptionValue};

    fn task(trial: u64, network: i64) -> Task {
        let values = [("a".to_owned(), OptionValue::Integer(network))].into();
        let architecture = Architecture {
            version: 1,
            network: Network::Choices(ChoiceNetwork { values }),
        };
        Task {
            trial,
            attempt: 0,
            seed: trial,
            layers: 0,
            decisions: Vec::new(),
            architecture,
            pruning: None,
        }
    }

    fn known(trial: u64, network: i64) -> (Fingerprint, Known) {
        (
            task(trial, network).architecture.fingerprint(),
            Known {
                trial,
                reward: 0.5,
                metric: 0.7,
            },
        )
    }

    const FAILED: Outcome = Outcome::Failed {
        cause: Cause::Error,
        error: String::new(),
    };

    fn completed(reward: f64) -> Outcome {
        Outcome::Completed {
            reward,
            metric: 0.7,
            seconds: None,
        }
    }

    fn described(admissions: &[Admission]) -> Vec<String> {
        let described = |admission: &Admission| match admission {
            Admission::Train(task) => format!("{} trains", task.trial),
            Admission::Wait => "waits".to_owned(),
            Admission::Reuse {
                task, from, reward, ..
            } => format!("{} takes {reward} of {from}", task.trial),
        };
        admissions.iter().map(described).collect()
    }

    #[test]
    fn the_first_trial_of_a_network_is_trained_and_the_others_take_its_reward() {
        let mut reuse = Reuse::new([]);
        let admitted = [(1, 7), (2, 8), (3, 7), (4, 7)]
            .map(|(trial, network)| reuse.admit(task(trial, network)));
        assert_eq!(
            described(&admitted),
            ["1 trains", "2 trains", "waits", "waits"]
        );
        assert_eq!(
            described(&reuse.ended(2, &completed(0.2))),
            Vec::<String>::new()
        );
        assert_eq!(
            described(&reuse.ended(1, &completed(0.1))),
            ["3 takes 0.1 of 1", "4 takes 0.1 of 1"]
        );
        assert_eq!(
            described(&reuse.ended(3, &completed(0.1))),
            Vec::<String>::new(),
            "it was never trained"
        );
        let admitted = [(5, 7), (6, 8)].map(|(trial, network)| reuse.admit(task(trial, network)));
        assert_eq!(
            described(&admitted),
            ["5 takes 0.1 of 1", "6 takes 0.2 of 2"]
        );
    }

    #[test]
    fn neither_a_failure_nor_a_pruned_child_is_reused_and_who_waited_is_trained_in_turn() {
        let mut reuse = Reuse::new([]);
        for trial in 1..5 {
            reuse.admit(task(trial, 7));
        }
        let pruned = Outcome::Pruned {
            epoch: 1,
            reward: Some(0.1),
            metric: Some(0.1),
            seconds: None,
        };
        assert_eq!(described(&reuse.ended(1, &FAILED)), ["2 trains"]);
        assert_eq!(described(&reuse.ended(2, &pruned)), ["3 trains"]);
        assert_eq!(
            described(&reuse.ended(3, &completed(0.3))),
            ["4 takes 0.3 of 3"]
        );
        reuse.admit(task(5, 9));
        assert_eq!(reuse.ended(5, &FAILED), []);
        assert_eq!(described(&[reuse.admit(task(6, 9))]), ["6 trains"]);
    }

    #[test]
    fn a_continued_run_never_takes_the_reward_of_a_later_trial() {
        let mut reuse = Reuse::new([known(3, 7)]);
        assert_eq!(
            described(&[reuse.admit(task(2, 7)), reuse.admit(task(4, 7))]),
            ["2 trains", "4 takes 0.5 of 3"]
        );
        assert_eq!(reuse.ended(2, &completed(0.9)), []);
        assert_eq!(described(&[reuse.admit(task(5, 7))]), ["5 takes 0.5 of 3"]);
    }
}

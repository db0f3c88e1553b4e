//! Trials that evaluate the network of an earlier one again: confirmations of the best once all
//! sampled trials have their outcomes, and what the user asked for. They are in no minibatch, so
//! nothing is learned from them, and they are trained whatever is known of their network. Must not
//! know which networks are the best, nor how they are trained.

use super::{Event, SearchSettings, Supervisor};
use crate::actors::messages::{NetworksToConfirm, ReevaluationsStored};
use crate::actors::runtime::{Receive, receives};
use crate::child::Task;
use crate::journal::{Evaluated, NewReevaluation, Reevaluation, SampledTrial};
use crate::strategy::{Again, TrialBudget, confirmed_networks, share};
use actix::Context;
use std::collections::BTreeMap;

/// The trials of this kind, and how many confirmations are to come.
pub(super) struct Reevaluations {
    /// Those that this process has started or may still start.
    trials: BTreeMap<u64, Again>,
    budget: TrialBudget,
    /// The journal was asked for the best networks, or to insert confirmations.
    under_way: bool,
    /// No trial is completed, so there is nothing to confirm.
    without_networks: bool,
}

impl Reevaluations {
    pub(super) fn new(unfinished: &[Reevaluation], budget: TrialBudget) -> Self {
        Self {
            trials: unfinished
                .iter()
                .map(|one| (one.trial.id, one.again))
                .collect(),
            budget,
            under_way: false,
            without_networks: false,
        }
    }

    /// What this trial evaluates again; None: it is no trial of this kind.
    pub(super) fn get(&self, trial: u64) -> Option<Again> {
        self.trials.get(&trial).copied()
    }

    /// How many confirmations are to be begun after so many sampled trials.
    fn left(&self, sampled: u64) -> u64 {
        if self.without_networks {
            0
        } else {
            self.budget.to_confirm(sampled)
        }
    }

    /// `run.trials` or `run.confirm` may have changed; returns how many trials are to be sampled, of
    /// a run that has sampled so many.
    pub(super) fn set(&mut self, search: &SearchSettings, sampled: u64) -> u64 {
        self.budget.trials = search.trials;
        self.budget.confirm = search.confirm;
        let to_sample = self.budget.to_sample(sampled);
        if to_sample > sampled {
            self.budget.sampling_goes_on();
            self.without_networks = false;
        }
        to_sample
    }
}

/// A trial that evaluates this one's network again.
pub(super) fn again(of: &Evaluated, again: Again, run_seed: u64, before: u64) -> NewReevaluation {
    NewReevaluation {
        again,
        layers: of.layers,
        trial: SampledTrial {
            seed: again.seed(run_seed, before),
            ..of.sampled.clone()
        },
    }
}

receives!(Supervisor: NetworksToConfirm, ReevaluationsStored);

impl Supervisor {
    /// Nothing is sampled, trained or committed any more. True: the best networks are confirmed
    /// first.
    pub(super) fn confirm(&mut self) -> bool {
        if self.reevaluations.under_way {
            return true;
        }
        let left = self.reevaluations.left(self.tickets.issued());
        let Some(supervisor) = self.own_mailbox.clone().filter(|_| left > 0) else {
            return false;
        };
        self.reevaluations.under_way = true;
        let networks = confirmed_networks(self.reevaluations.budget.confirm);
        let reply = move |best| supervisor.do_send(NetworksToConfirm(best));
        self.journal.best_networks(networks, Box::new(reply));
        true
    }

    /// The trials that an earlier process left, and those that the user asked for.
    pub(super) fn take_reevaluations(
        &mut self,
        unfinished: &[Reevaluation],
        context: &Context<Self>,
    ) {
        for one in unfinished {
            let layers = one.layers.unwrap_or_else(|| self.space.layers(0));
            let tasks = self.recover(std::slice::from_ref(&one.trial), layers, None, context);
            self.leave_out_weights(one.trial.id, one.again);
            self.scheduler.enqueue(tasks);
        }
    }

    /// The weights of a confirmation are not kept: those of the trial that it confirms are.
    fn leave_out_weights(&self, trial: u64, again: Again) {
        if again.confirms.is_some() {
            self.parts.files.weights.leave_out(trial);
        }
    }

    /// Says which networks are confirmed.
    fn note_confirmation(&mut self, best: &[Evaluated], confirmations: usize) {
        let trials: Vec<String> = best.iter().map(|one| one.trial.to_string()).collect();
        let networks = match trials.as_slice() {
            [trial] => format!("the best network (trial {trial})"),
            _ => format!(
                "the best {} networks (trials {})",
                trials.len(),
                trials.join(", ")
            ),
        };
        let times = if confirmations == 1 {
            "once".to_owned()
        } else {
            format!("{confirmations} times in all")
        };
        let text = format!("{networks} evaluated again, {times}: run.confirm");
        tracing::info!("{text}");
        self.journal.event("confirmation", &text);
        self.notify(Event::Note(text));
    }
}

impl Receive<NetworksToConfirm> for Supervisor {
    fn receive(&mut self, NetworksToConfirm(best): NetworksToConfirm, context: &mut Context<Self>) {
        let left = self.reevaluations.left(self.tickets.issued());
        if self.ending.is_some() || left == 0 || best.is_empty() {
            self.reevaluations.under_way = false;
            self.reevaluations.without_networks |= best.is_empty();
            return self.end_if_done();
        }
        let mut counts: Vec<u64> = best.iter().map(|one| one.confirmations).collect();
        let mut trials = Vec::new();
        for index in share(left, best.len()) {
            let network = &best[index];
            let confirming = Again::confirming(network.trial);
            trials.push(again(network, confirming, self.seed, counts[index]));
            counts[index] += 1;
        }
        self.note_confirmation(&best[..best.len().min(trials.len())], trials.len());
        let supervisor = self.mailbox(context);
        let inserted = trials.clone();
        let reply = move |first| {
            supervisor.do_send(ReevaluationsStored {
                trials: inserted,
                first,
            });
        };
        self.journal.reevaluate(trials, Box::new(reply));
    }
}

impl Receive<ReevaluationsStored> for Supervisor {
    fn receive(&mut self, message: ReevaluationsStored, _: &mut Context<Self>) {
        self.reevaluations.under_way = false;
        for (new, trial) in message.trials.into_iter().zip(message.first..) {
            self.reevaluations.budget.current += u64::from(new.again.is_confirmation());
            self.reevaluations.trials.insert(trial, new.again);
            self.leave_out_weights(trial, new.again);
            if self.ending.is_none() {
                let layers = new.layers.unwrap_or_else(|| self.space.layers(0));
                self.scheduler.enqueue([Task {
                    trial,
                    attempt: 0,
                    seed: new.trial.seed,
                    layers,
                    decisions: new.trial.decisions,
                    architecture: new.trial.architecture,
                    // Evaluated again to know better: to the last epoch.
                    pruning: None,
                }]);
            }
        }
        self.dispatch();
        self.end_if_done();
    }
}

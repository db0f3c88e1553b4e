//! Tickets become proposals: what a strategy may know travels with its ticket. A strategy that
//! reads the history gets the tickets of a synchronous round one after the other, so that each sees
//! what those before it proposed. Must not know how a strategy proposes.

use super::{Event, Supervisor};
use crate::actors::messages::{ProposeMinibatch, PruningRequest, Ticket};
use crate::actors::minibatch::Minibatch;
use crate::child::{LearningCurves, Pruner};
use crate::journal::{OpenMinibatch, SampledMinibatch, Sequenced};
use crate::space::{Architecture, Space};
use crate::strategy::{
    History, HistoryView, LearningSettings, PendingMinibatch, RewardedMinibatch, Strategy,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// The history, and the proposals that are under way.
pub(super) struct Proposals {
    history: History,
    /// Of the children in the log, as far as the history goes.
    curves: Arc<LearningCurves>,
    /// What ends children early; None: nothing.
    pruner: Option<Pruner>,
    round: Option<Round>,
    coincidences: Coincidences,
    /// That no new network was found was said.
    exhaustion_noted: bool,
}

/// A synchronous round whose replicas propose one after the other.
struct Round {
    learning: LearningSettings,
    history: HistoryView,
    pruning: Option<PruningRequest>,
    /// Those that have not been asked yet, in the order of the replicas.
    tickets: VecDeque<(u64, Ticket)>,
}

impl Proposals {
    /// `open`: minibatches that an earlier process left.
    pub(super) fn new<'a>(
        history: History,
        curves: LearningCurves,
        pruner: Option<Pruner>,
        open: impl IntoIterator<Item = &'a OpenMinibatch>,
    ) -> Self {
        let mut coincidences = Coincidences::default();
        for open in open {
            let networks = open.trials.iter().map(|trial| &trial.architecture);
            coincidences.add(open.controller, open.minibatch, networks);
        }
        Self {
            history,
            curves: Arc::new(curves),
            pruner,
            round: None,
            coincidences,
            exhaustion_noted: false,
        }
    }

    /// See [`History::log`].
    pub(super) fn log(
        &mut self,
        space: &dyn Space,
        sequenced: &Sequenced,
        minibatch: &Minibatch,
    ) -> Arc<dyn Strategy> {
        self.coincidences
            .remove(sequenced.controller, sequenced.minibatch);
        let rewarded = RewardedMinibatch {
            sequence: sequenced.sequence,
            layers: minibatch.layers,
            decisions: &minibatch.decisions,
            rewards: &sequenced.rewards,
            baseline: sequenced.baseline,
            scale: sequenced.scale,
        };
        if !sequenced.curves.is_empty() {
            let curves = Arc::make_mut(&mut self.curves);
            let new = sequenced.curves.iter().cloned();
            new.for_each(|curve| curves.push(curve));
        }
        self.history
            .log(space, sequenced.controller, sequenced.round, &rewarded)
    }

    /// Children of the next tickets are pruned by this.
    pub(super) fn set_pruner(&mut self, pruner: Option<Pruner>) {
        self.pruner = pruner;
    }

    fn pruning(&self) -> Option<PruningRequest> {
        let curves = self.curves.clone();
        self.pruner.map(|pruner| PruningRequest { pruner, curves })
    }

    /// See [`History::change`].
    pub(super) fn change(
        &mut self,
        sequence: u64,
        before: &LearningSettings,
        now: &LearningSettings,
    ) {
        self.history.change(sequence, before, now);
    }

    /// See [`History::save`].
    pub(super) fn save(&self) -> Vec<u8> {
        self.history.save()
    }
}

impl Supervisor {
    /// Has the replicas propose by their tickets, which were issued at this moment.
    pub(super) fn propose(&mut self, tickets: Vec<(u64, Ticket)>) {
        let learning = self.learning;
        let history = self.proposals.history.view();
        let pruning = self.proposals.pruning();
        if self.tickets.synchronous() && self.proposals.history.is_read() {
            self.proposals.round = Some(Round {
                learning,
                history,
                pruning,
                tickets: tickets.into(),
            });
            self.propose_next();
            return;
        }
        for (controller, ticket) in tickets {
            let history = history.clone();
            let request = ProposeMinibatch {
                ticket,
                learning,
                history,
                pruning: pruning.clone(),
            };
            self.replicas.propose(controller, request);
        }
    }

    /// The next replica of a round proposes.
    fn propose_next(&mut self) {
        let Some(round) = &mut self.proposals.round else {
            return;
        };
        let Some((controller, ticket)) = round.tickets.pop_front() else {
            self.proposals.round = None;
            return;
        };
        let request = ProposeMinibatch {
            ticket,
            learning: round.learning,
            history: round.history.clone(),
            pruning: round.pruning.clone(),
        };
        self.replicas.propose(controller, request);
    }

    /// A replica has proposed what it was asked for.
    pub(super) fn proposed(
        &mut self,
        request: &ProposeMinibatch,
        sampled: &mut SampledMinibatch,
        minibatch: &Minibatch,
    ) {
        if request.history.strategy.reads_history() {
            self.note_exhaustion(sampled);
            let networks = sampled.trials.iter().map(|trial| &trial.architecture);
            sampled.repeated += self
                .proposals
                .coincidences
                .count(networks, &request.history);
            let networks = sampled.trials.iter().map(|trial| &trial.architecture);
            self.proposals
                .coincidences
                .add(sampled.controller, sampled.minibatch, networks);
            self.parts
                .metrics
                .learning
                .proposals_repeated_total
                .inc_by(sampled.repeated);
        }
        if let Some(round) = &mut self.proposals.round {
            round.history.add(Arc::new(PendingMinibatch::new(
                sampled.controller,
                sampled.minibatch,
                minibatch.layers,
                minibatch.decisions.clone(),
            )));
            self.propose_next();
        }
    }

    /// Says once that a strategy without repeats has begun to repeat.
    fn note_exhaustion(&mut self, sampled: &SampledMinibatch) {
        if sampled.repeated == 0 || self.proposals.exhaustion_noted {
            return;
        }
        self.proposals.exhaustion_noted = true;
        let text = "no new network in 1,000 draws: from now on networks come again";
        tracing::warn!("{text}");
        self.journal.event("repeats", text);
        self.notify(Event::Note(text.to_owned()));
    }

    /// A minibatch is written down: proposals from now on see it pending.
    pub(super) fn written(&mut self, sampled: &SampledMinibatch, first_id: u64) {
        if let Some(minibatch) = self.replicas.awaited(sampled.controller) {
            let pending = PendingMinibatch::new(
                sampled.controller,
                sampled.minibatch,
                minibatch.layers,
                minibatch.decisions.clone(),
            );
            self.proposals.history.insert(first_id, Arc::new(pending));
        }
    }
}

/// Counts networks that are proposed although an equal one is pending, because the strategy had not
/// seen it: the ticket was issued before. The networks of minibatches that wait for outcomes.
#[derive(Default)]
struct Coincidences(BTreeMap<(u64, u64), BTreeSet<String>>);

impl Coincidences {
    /// Networks of a minibatch are pending, as canonical JSON.
    fn add<'a>(
        &mut self,
        controller: u64,
        minibatch: u64,
        networks: impl Iterator<Item = &'a Architecture>,
    ) {
        let networks = networks.map(canonical).collect();
        self.0.insert((controller, minibatch), networks);
    }

    fn remove(&mut self, controller: u64, minibatch: u64) {
        self.0.remove(&(controller, minibatch));
    }

    /// How many of these networks are pending in minibatches that this history does not show.
    fn count<'a>(
        &self,
        networks: impl Iterator<Item = &'a Architecture>,
        history: &HistoryView,
    ) -> u64 {
        let shown: BTreeSet<(u64, u64)> = history
            .pending
            .iter()
            .map(|pending| (pending.controller, pending.minibatch))
            .collect();
        let unseen: Vec<&BTreeSet<String>> = self
            .0
            .iter()
            .filter(|(minibatch, _)| !shown.contains(minibatch))
            .map(|(_, networks)| networks)
            .collect();
        networks
            .map(canonical)
            .filter(|network| unseen.iter().any(|networks| networks.contains(network)))
            .count() as u64
    }
}

/// Equal if and only if the networks are.
fn canonical(network: &Architecture) -> String {
    serde_json::to_string(network).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::{ChoiceNetwork, Network, OptionValue};
    use crate::strategy::{HistoryPosition, StrategyName};

    fn network(value: i64) -> Architecture {
        let values = [("a".to_owned(), OptionValue::Integer(value))].into();
        Architecture {
            version: 1,
            network: Network::Choices(ChoiceNetwork { values }),
        }
    }

    #[test]
    fn only_what_the_strategy_had_not_seen_is_a_coincidence() {
        let mut coincidences = Coincidences::default();
        coincidences.add(0, 3, [network(1), network(2)].iter());
        coincidences.add(1, 0, [network(2), network(5)].iter());
        let seen = PendingMinibatch::new(0, 3, 0, Arc::default());
        let mut history = History::new(StrategyName::REINFORCE, &[], HistoryPosition::default())
            .unwrap()
            .view();
        let proposed = [network(1), network(2), network(3)];
        assert_eq!(coincidences.count(proposed.iter(), &history), 2);
        history.add(Arc::new(seen));
        assert_eq!(coincidences.count(proposed.iter(), &history), 1);
        coincidences.remove(1, 0);
        assert_eq!(coincidences.count(proposed.iter(), &history), 0);
    }
}

//! Tickets: how many architectures of which depth each Controller may sample, and in which order
//! minibatches are stored. Pure; must not know actors or the journal.

use crate::actors::messages::Ticket;
use crate::journal::SampledMinibatch;
use std::collections::{BTreeMap, BTreeSet};

/// The answer to a Controller that is ready: which one, and its ticket.
#[derive(Clone, Debug)]
pub enum Answer {
    Propose(u64, Ticket),
    Retire(u64),
}

/// Issues tickets. Asynchronous: a Controller that is ready gets one at once. Synchronous: once all
/// are ready, each gets one of a round, at one version of the parameters; the round's minibatches
/// are stored together, in the order of the replicas.
pub struct Tickets {
    /// Architectures that the whole search samples.
    trials: u64,
    /// Architectures of a ticket.
    children: usize,
    replicas: u64,
    synchronous: bool,
    /// Architectures of all tickets so far.
    issued: u64,
    /// Each replica's next minibatch.
    next: BTreeMap<u64, u64>,
    /// The replicas that wait for a round.
    ready: BTreeSet<u64>,
    /// The replicas of the current round, and what they have sampled so far.
    round: Vec<u64>,
    gathered: BTreeMap<u64, SampledMinibatch>,
}

impl Tickets {
    /// Continues after `issued` architectures; `next` holds each replica's next minibatch.
    pub fn new(
        trials: u64,
        children: usize,
        replicas: usize,
        synchronous: bool,
        issued: u64,
        next: &[(u64, u64)],
    ) -> Self {
        Self {
            trials,
            children,
            replicas: replicas as u64,
            synchronous,
            issued,
            next: next.iter().copied().collect(),
            ready: BTreeSet::new(),
            round: Vec::new(),
            gathered: BTreeMap::new(),
        }
    }

    /// Sets the numbers that hold from the next ticket on: architectures that the whole search
    /// samples, those of a ticket, and replicas.
    pub fn set(&mut self, trials: u64, children: usize, replicas: usize) {
        (self.trials, self.children, self.replicas) = (trials, children, replicas as u64);
    }

    /// Architectures of all tickets so far.
    pub fn issued(&self) -> u64 {
        self.issued
    }

    /// Do Controllers wait for each other?
    pub fn synchronous(&self) -> bool {
        self.synchronous
    }

    /// `controller` is ready; `alive` Controllers exist, `sequence` is the last number given.
    /// `layers(n)` is the depth after n samples.
    pub fn ready(
        &mut self,
        controller: u64,
        alive: usize,
        sequence: u64,
        layers: impl Fn(u64) -> usize,
    ) -> Vec<Answer> {
        if !self.synchronous {
            return vec![self.answer(controller, 0, &layers)];
        }
        self.ready.insert(controller);
        if self.ready.len() < alive {
            return Vec::new();
        }
        let ready = std::mem::take(&mut self.ready);
        let answers: Vec<Answer> = ready
            .into_iter()
            .map(|controller| self.answer(controller, sequence, &layers))
            .collect();
        self.round = answers
            .iter()
            .filter_map(|answer| match answer {
                Answer::Propose(controller, _) => Some(*controller),
                Answer::Retire(_) => None,
            })
            .collect();
        answers
    }

    fn answer(&mut self, controller: u64, after: u64, layers: &impl Fn(u64) -> usize) -> Answer {
        let left = self.trials.saturating_sub(self.issued);
        if left == 0 || controller >= self.replicas {
            return Answer::Retire(controller);
        }
        let next = self.next.entry(controller).or_default();
        let children = left.min(self.children as u64);
        let ticket = Ticket {
            minibatch: *next,
            children: children as usize,
            layers: layers(self.issued),
            after,
        };
        *next += 1;
        self.issued += children;
        Answer::Propose(controller, ticket)
    }

    /// A ticket's minibatch is sampled. Returns the minibatches that are to be stored now, in one
    /// transaction; None: others of the round are missing.
    pub fn sampled(&mut self, sampled: SampledMinibatch) -> Option<Vec<SampledMinibatch>> {
        if !self.synchronous {
            return Some(vec![sampled]);
        }
        self.gathered.insert(sampled.controller, sampled);
        (self.gathered.len() == self.round.len())
            .then(|| std::mem::take(&mut self.gathered).into_values().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strategy::{HistoryPosition, PulledParameters};

    fn children(answers: &[Answer]) -> Vec<(u64, u64, usize, usize)> {
        let ticket = |answer: &Answer| match answer {
            Answer::Propose(controller, ticket) => Some((
                *controller,
                ticket.minibatch,
                ticket.children,
                ticket.layers,
            )),
            Answer::Retire(_) => None,
        };
        answers.iter().filter_map(ticket).collect()
    }

    fn sampled(controller: u64) -> SampledMinibatch {
        let pulled = PulledParameters {
            boundaries: vec![0],
            versions: vec![],
        };
        SampledMinibatch {
            controller,
            minibatch: 0,
            layers: 6,
            pulled,
            history: HistoryPosition::default(),
            repeated: 0,
            redrawn: 0,
            pruning: None,
            trials: vec![],
            held: None,
        }
    }

    #[test]
    fn the_last_minibatch_is_shorter_and_the_depth_follows_the_samples() {
        let mut tickets = Tickets::new(10, 4, 2, false, 0, &[]);
        let depth = |sampled: u64| 6 + sampled as usize / 4;
        assert_eq!(children(&tickets.ready(1, 2, 0, depth)), [(1, 0, 4, 6)]);
        assert_eq!(children(&tickets.ready(0, 2, 0, depth)), [(0, 0, 4, 7)]);
        assert_eq!(children(&tickets.ready(1, 2, 0, depth)), [(1, 1, 2, 8)]);
        assert!(matches!(
            tickets.ready(0, 2, 0, depth)[..],
            [Answer::Retire(0)]
        ));
    }

    #[test]
    fn a_round_starts_when_all_are_ready_and_is_written_down_in_order() {
        let mut tickets = Tickets::new(100, 4, 2, true, 8, &[(0, 1), (1, 1)]);
        assert!(tickets.ready(1, 2, 2, |_| 6).is_empty());
        assert_eq!(
            children(&tickets.ready(0, 2, 2, |_| 6)),
            [(0, 1, 4, 6), (1, 1, 4, 6)]
        );
        assert!(tickets.sampled(sampled(1)).is_none());
        let written: Vec<u64> = tickets
            .sampled(sampled(0))
            .unwrap()
            .iter()
            .map(|minibatch| minibatch.controller)
            .collect();
        assert_eq!(written, [0, 1]);
    }

    #[test]
    fn a_replica_beyond_the_number_set_retires() {
        let mut tickets = Tickets::new(100, 4, 2, false, 0, &[(7, 3)]);
        assert!(matches!(
            tickets.ready(7, 3, 0, |_| 6)[..],
            [Answer::Retire(7)]
        ));
    }
}

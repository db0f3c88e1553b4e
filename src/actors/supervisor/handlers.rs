//! What the Supervisor does with each message. Must not hold state of its own.

use super::super::messages::{
    ChildEnded, ChildEpoch, Committed, Cut, Fatal, Inserted, LaneLost, RequestTicket, Sampled, Shutdown, SnapshotStored,
};
use super::{End, Event, GRACE, Supervisor};
use crate::child::{Cause, Outcome, Task};
use crate::policy::{AdamState, Snapshot};
use actix::{AsyncContext, Handler};

impl Handler<RequestTicket> for Supervisor {
    type Result = ();

    fn handle(&mut self, message: RequestTicket, _: &mut Self::Context) {
        self.ready(message.controller);
    }
}

impl Handler<Sampled> for Supervisor {
    type Result = ();

    fn handle(&mut self, message: Sampled, context: &mut Self::Context) {
        if self.ending.is_some() {
            return; // Not written down: the next process samples the same again.
        }
        if let Some(minibatches) = self.tickets.sampled(message.sampled) {
            let (supervisor, told) = (self.mailbox(context), minibatches.clone());
            let reply = move |first_ids| supervisor.do_send(Inserted { minibatches: told, first_ids });
            self.journal.insert(minibatches, self.tickets.synchronous(), Box::new(reply));
        }
    }
}

impl Handler<Inserted> for Supervisor {
    type Result = ();

    fn handle(&mut self, message: Inserted, context: &mut Self::Context) {
        if self.ending.is_some() {
            return;
        }
        for (minibatch, first) in message.minibatches.into_iter().zip(message.first_ids) {
            let layers = minibatch.layers;
            let tasks = minibatch.trials.into_iter().zip(first..).map(|(trial, id)| Task {
                trial: id,
                attempt: 0,
                seed: trial.seed,
                layers,
                decisions: trial.decisions,
                architecture: trial.architecture,
            });
            self.take_up(tasks, context);
        }
        self.dispatch();
    }
}

impl Handler<ChildEpoch> for Supervisor {
    type Result = ();

    fn handle(&mut self, message: ChildEpoch, _: &mut Self::Context) {
        self.tell(Event::ChildEpoch { trial: message.trial, epoch: &message.epoch });
    }
}

impl Handler<ChildEnded> for Supervisor {
    type Result = ();

    fn handle(&mut self, message: ChildEnded, context: &mut Self::Context) {
        let ChildEnded { trainer, mut task, outcome, seconds } = message;
        self.trainers[trainer].task = None;
        match &outcome {
            Outcome::Failed { cause, error } if may_pass(*cause) && task.attempt + 1 < self.parts.attempts && self.ending.is_none() => {
                tracing::warn!(trial = task.trial, attempt = task.attempt + 1, "{error}; it is tried again");
                self.journal.failed_attempt(task.trial, error);
                task.attempt += 1;
                self.queue.push_front(task);
            }
            _ => self.commit(task.trial, outcome, seconds, context),
        }
        self.dispatch();
    }
}

/// Might the same child succeed when it is tried again?
fn may_pass(cause: Cause) -> bool {
    matches!(cause, Cause::Timeout | Cause::Exited | Cause::Killed | Cause::Error)
}

impl Handler<Committed> for Supervisor {
    type Result = ();

    fn handle(&mut self, message: Committed, context: &mut Self::Context) {
        let Committed { trial, outcome, seconds, reused_from, sequenced } = message;
        self.committing -= 1;
        self.tally.add(&outcome);
        log_outcome(trial, &outcome, seconds);
        match reused_from {
            None => self.parts.metrics.child_ended(&outcome, seconds),
            Some(_) => self.parts.metrics.child_reused(&outcome),
        }
        self.settle(trial, &outcome, context);
        for sequenced in sequenced {
            self.sequenced(sequenced);
        }
        self.tell(Event::ChildEnded { trial, outcome: &outcome, seconds, reused_from });
        self.end_if_done();
    }
}

/// One line for each trial.
fn log_outcome(trial: u64, outcome: &Outcome, seconds: f64) {
    match outcome {
        Outcome::Completed { reward, metric, .. } => tracing::info!(trial, reward, metric, seconds, "trial completed"),
        Outcome::Failed { cause, error } => tracing::info!(trial, ?cause, error, seconds, "trial failed"),
        Outcome::Stopped => tracing::info!(trial, seconds, "trial stopped; it runs again when the search goes on"),
    }
}

impl Handler<LaneLost> for Supervisor {
    type Result = ();

    fn handle(&mut self, message: LaneLost, _: &mut Self::Context) {
        self.trainers[message.trainer].lost = true;
        self.queue.extend(self.trainers[message.trainer].task.take());
        if self.trainers.iter().all(|trainer| trainer.lost) {
            return self.fail(format!("no lane is left to train on: {}", message.reason));
        }
        tracing::error!("{}; the run goes on with the other lanes", message.reason);
        self.journal.event("lane lost", &message.reason);
        self.tell(Event::Note(format!("{}; the run goes on with the other lanes", message.reason)));
        self.dispatch();
    }
}

impl Handler<Cut> for Supervisor {
    type Result = ();

    fn handle(&mut self, message: Cut, context: &mut Self::Context) {
        let sequence = message.state.sequence;
        let Some(pending) = self.cuts.get_mut(&sequence) else { return };
        pending.shards[message.shard] = Some(message.state);
        if pending.shards.iter().any(Option::is_none) {
            return;
        }
        let Some(pending) = self.cuts.remove(&sequence) else { return };
        let shards: Vec<AdamState> = pending.shards.into_iter().flatten().collect();
        let snapshot = Snapshot { state: AdamState::concat(&shards), baseline: pending.baseline, learning: self.learning };
        let supervisor = self.mailbox(context);
        self.journal.snapshot(snapshot, Box::new(move |()| supervisor.do_send(SnapshotStored { sequence })));
    }
}

impl Handler<SnapshotStored> for Supervisor {
    type Result = ();

    fn handle(&mut self, message: SnapshotStored, _: &mut Self::Context) {
        self.stored = self.stored.max(message.sequence);
        self.parts.metrics.snapshot_stored();
        self.end_if_done();
    }
}

impl Handler<Shutdown> for Supervisor {
    type Result = ();

    fn handle(&mut self, message: Shutdown, context: &mut Self::Context) {
        match message {
            Shutdown::Signal(_) | Shutdown::TimeIsUp if self.ending.is_none() => {
                let (end, text) = match message {
                    Shutdown::Signal(number) => (End::Signal(number), format!("signal {number}: saving, then leaving")),
                    _ => (End::TimeIsUp, "run.max_seconds is over: saving, then leaving".to_owned()),
                };
                self.journal.event("stop", &text);
                self.tell(Event::Note(text));
                context.notify_later(Shutdown::Deadline, GRACE);
                self.begin_end(end);
            }
            Shutdown::Deadline => {
                tracing::warn!("some child did not stop in time; it is run again when the search goes on");
                self.leave();
            }
            _ => {}
        }
    }
}

impl Handler<Fatal> for Supervisor {
    type Result = ();

    fn handle(&mut self, Fatal(reason): Fatal, context: &mut Self::Context) {
        context.notify_later(Shutdown::Deadline, GRACE);
        self.fail(reason);
    }
}

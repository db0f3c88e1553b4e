//! What the Supervisor does with each message. Has no state of its own.

use super::reload::SHORTEST_WAIT;
use super::{End, Event, GRACE, Ordered, PrepareError, Supervisor};
use crate::actors::messages::{
    ChildEnded, ChildEpoch, Cut, Fatal, LearningChange, LogRead, MinibatchesStored,
    OutcomeCommitted, Replayed, RequestTicket, RestartActor, Shutdown, SnapshotStored,
    SubmitMinibatch,
};
use crate::actors::runtime::{ActorExited, Receive, receives};
use crate::child::{Cause, Outcome, Task};
use crate::strategy::Again;
use actix::{AsyncContext, Context};

receives!(
    Supervisor: RequestTicket, SubmitMinibatch, MinibatchesStored, ChildEpoch, ChildEnded, OutcomeCommitted, LearningChange, Cut, SnapshotStored, ActorExited, RestartActor, LogRead,
    Replayed, Shutdown, Fatal
);

impl Receive<RequestTicket> for Supervisor {
    fn receive(&mut self, message: RequestTicket, _: &mut Self::Context) {
        if self.replicas.done(message.controller, message.generation) {
            self.ready(message.controller);
        }
    }
}

impl Receive<SubmitMinibatch> for Supervisor {
    fn receive(&mut self, message: SubmitMinibatch, context: &mut Self::Context) {
        let SubmitMinibatch {
            generation,
            mut sampled,
            minibatch,
        } = message;
        if self.ending.is_some() {
            return; // It is not written down: the next process proposes the same again.
        }
        let Some(request) = self
            .replicas
            .proposed(&sampled, generation, minibatch.clone())
        else {
            return;
        };
        self.proposed(&request, &mut sampled, &minibatch);
        let redrawn = &self.parts.metrics.learning.proposals_redrawn_total;
        redrawn.inc_by(sampled.redrawn);
        if self.shards.needs_held(sampled.pulled.oldest()) {
            sampled.held = Some(minibatch.parameters.clone());
        }
        if let Some(minibatches) = self.tickets.sampled(sampled) {
            let supervisor = self.mailbox(context);
            let inserted = minibatches.clone();
            let reply = move |first_ids| {
                supervisor.do_send(MinibatchesStored {
                    minibatches: inserted,
                    first_ids,
                });
            };
            self.journal
                .insert(minibatches, self.tickets.synchronous(), Box::new(reply));
        }
    }
}

impl Receive<MinibatchesStored> for Supervisor {
    fn receive(&mut self, message: MinibatchesStored, context: &mut Self::Context) {
        if self.ending.is_some() {
            return;
        }
        for (minibatch, first) in message.minibatches.into_iter().zip(message.first_ids) {
            self.written(&minibatch, first);
            let layers = minibatch.layers;
            let pruning = minibatch.pruning;
            let tasks = minibatch
                .trials
                .into_iter()
                .zip(first..)
                .map(|(trial, id)| Task {
                    trial: id,
                    attempt: 0,
                    seed: trial.seed,
                    layers,
                    decisions: trial.decisions,
                    architecture: trial.architecture,
                    pruning: pruning.clone(),
                });
            self.admit_all(tasks, context);
        }
        self.dispatch();
    }
}

impl Receive<ChildEpoch> for Supervisor {
    fn receive(&mut self, message: ChildEpoch, _: &mut Self::Context) {
        self.notify(Event::ChildEpoch {
            trial: message.trial,
            epoch: &message.epoch,
        });
    }
}

impl Receive<ChildEnded> for Supervisor {
    fn receive(&mut self, message: ChildEnded, context: &mut Self::Context) {
        let ChildEnded {
            trainer,
            generation,
            task,
            outcome,
            seconds,
        } = message;
        let Some(task) = self
            .scheduler
            .ended(trainer, generation, task.trial, task.attempt)
        else {
            tracing::debug!(
                trial = task.trial,
                "the report of a lane that was given up; ignored"
            );
            return;
        };
        self.attempt_ended(task, outcome, seconds, context);
        self.retire_drained(context);
        self.dispatch();
    }
}

impl Supervisor {
    /// An attempt has ended: its outcome counts, or the child is tried again.
    pub(super) fn attempt_ended(
        &mut self,
        mut task: Task,
        outcome: Outcome,
        seconds: f64,
        context: &mut Context<Self>,
    ) {
        let poisoned = match &outcome {
            Outcome::Failed {
                cause: Cause::Device,
                error,
            } => Some(format!("trial {}: {error}", task.trial)),
            _ => None,
        };
        match &outcome {
            Outcome::Failed { cause, error }
                if is_transient(*cause)
                    && task.attempt + 1 < self.parts.attempts
                    && self.ending.is_none() =>
            {
                tracing::warn!(
                    trial = task.trial,
                    attempt = task.attempt + 1,
                    "{error}; it is tried again"
                );
                self.journal.failed_attempt(task.trial, error);
                task.attempt += 1;
                self.scheduler.requeue(task);
            }
            _ => self.commit(task.trial, outcome, seconds, context),
        }
        if let Some(fault) = poisoned {
            self.restart_process(fault, context);
        }
    }
}

/// Logs one line for each trial.
fn log_outcome(trial: u64, outcome: &Outcome, seconds: f64) {
    match outcome {
        Outcome::Completed { reward, metric, .. } => {
            tracing::info!(trial, reward, metric, seconds, "trial completed");
        }
        Outcome::Pruned {
            epoch,
            reward,
            metric,
            ..
        } => tracing::info!(trial, epoch, reward, metric, seconds, "trial pruned"),
        Outcome::Failed { cause, error } => {
            tracing::info!(trial, ?cause, error, seconds, "trial failed");
        }
        Outcome::Stopped => tracing::info!(
            trial,
            seconds,
            "trial stopped; it runs again when the search goes on"
        ),
    }
}

/// May the same child succeed when it is tried again?
fn is_transient(cause: Cause) -> bool {
    matches!(
        cause,
        Cause::Timeout
            | Cause::Frozen
            | Cause::DeviceFull
            | Cause::Exited
            | Cause::Killed
            | Cause::Error
            | Cause::Device
    )
}

impl Receive<OutcomeCommitted> for Supervisor {
    fn receive(&mut self, message: OutcomeCommitted, context: &mut Self::Context) {
        let OutcomeCommitted {
            trial,
            outcome,
            seconds,
            reused_from,
            sequenced,
        } = message;
        self.committing -= 1;
        let label = self.label(trial);
        if label.is_none() {
            self.tally.add(&outcome);
            self.parts.metrics.rewarded(&outcome);
        } else if self
            .reevaluations
            .get(trial)
            .is_some_and(Again::is_confirmation)
        {
            self.tally.add_confirmation(&outcome);
        }
        match reused_from {
            None => self.parts.metrics.child_ended(&outcome, seconds),
            Some(_) => self.parts.metrics.child_reused(&outcome),
        }
        self.admit_waiting(trial, &outcome, context);
        self.deliver(sequenced.into_iter().map(Ordered::Minibatch));
        log_outcome(trial, &outcome, seconds);
        self.notify(Event::ChildEnded {
            trial,
            name: label.as_deref(),
            outcome: &outcome,
            seconds,
            reused_from,
        });
        for controller in self.enqueued.ended(trial, &outcome) {
            self.ready(controller);
        }
        self.end_if_done();
    }
}

impl Receive<LearningChange> for Supervisor {
    fn receive(&mut self, changed: LearningChange, _: &mut Self::Context) {
        self.deliver([Ordered::Change(changed)]);
        self.end_if_done();
    }
}

impl Receive<Cut> for Supervisor {
    fn receive(&mut self, cut: Cut, context: &mut Self::Context) {
        self.receive_cut(cut, context);
    }
}

impl Receive<SnapshotStored> for Supervisor {
    fn receive(&mut self, message: SnapshotStored, _: &mut Self::Context) {
        self.shards.stored = self.shards.stored.max(message.sequence);
        self.parts.metrics.snapshot_stored();
        self.end_if_done();
    }
}

impl Receive<ActorExited> for Supervisor {
    fn receive(&mut self, exited: ActorExited, context: &mut Self::Context) {
        self.actor_exited(exited, context);
        self.dispatch();
        self.end_if_done();
    }
}

impl Receive<RestartActor> for Supervisor {
    fn receive(&mut self, RestartActor(actor): RestartActor, context: &mut Self::Context) {
        self.restart_actor(actor, context);
        self.dispatch();
    }
}

impl Receive<LogRead> for Supervisor {
    fn receive(&mut self, LogRead(tail): LogRead, context: &mut Self::Context) {
        self.replay(tail, context);
    }
}

impl Receive<Replayed> for Supervisor {
    fn receive(&mut self, Replayed(replayed): Replayed, context: &mut Self::Context) {
        match replayed {
            Ok(state) => self.restart_shards(&state, context),
            Err(error) => self.fail(PrepareError::from(error).to_string()),
        }
        self.deliver_pending();
        self.end_if_done();
    }
}

impl Receive<Shutdown> for Supervisor {
    fn receive(&mut self, message: Shutdown, context: &mut Self::Context) {
        match message {
            // run.max_seconds has been raised since this was scheduled, or the process was
            // suspended.
            Shutdown::TimeIsUp
                if self
                    .parts
                    .max_seconds
                    .is_none_or(|limit| self.started.seconds() < limit) =>
            {
                self.schedule_end(context);
            }
            Shutdown::Signal(_) | Shutdown::TimeIsUp if self.ending.is_none() => {
                let (end, text) = match message {
                    Shutdown::Signal(number) => (
                        End::Signal(number),
                        format!("signal {number}: saving, then leaving"),
                    ),
                    _ => (
                        End::TimeIsUp,
                        "run.max_seconds is over: saving, then leaving".to_owned(),
                    ),
                };
                self.journal.event("stop", &text);
                self.notify(Event::Note(text));
                context.notify_later(Shutdown::Deadline, GRACE);
                self.start_ending(end);
            }
            // The process was suspended: its children have had no time to stop.
            Shutdown::Deadline if self.ending_since.elapsed() < GRACE => {
                let left = GRACE.saturating_sub(self.ending_since.elapsed());
                context.notify_later(Shutdown::Deadline, left.max(SHORTEST_WAIT));
            }
            Shutdown::Deadline => {
                tracing::warn!(
                    "some child did not stop in time; it is run again when the search goes on"
                );
                self.finish();
            }
            _ => {}
        }
    }
}

impl Receive<Fatal> for Supervisor {
    fn receive(&mut self, Fatal(reason): Fatal, context: &mut Self::Context) {
        context.notify_later(Shutdown::Deadline, GRACE);
        self.fail(reason);
    }
}

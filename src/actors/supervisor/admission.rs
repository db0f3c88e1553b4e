//! Decides which children are trained and which take a known reward. Has no state of its own.

use super::Supervisor;
use super::reuse::Admission;
use crate::actors::messages::OutcomeCommitted;
use crate::child::{Outcome, Task};
use actix::Context;

impl Supervisor {
    /// Admits children that have no outcome yet, by ascending trial: each is queued, waits for another
    /// trial, or takes a known reward.
    pub(super) fn admit_all(
        &mut self,
        tasks: impl IntoIterator<Item = Task>,
        context: &Context<Self>,
    ) {
        for task in tasks {
            let admission = match &mut self.reuse {
                None => Admission::Train(task),
                Some(reuse) => reuse.admit(task),
            };
            self.carry_out(admission, context);
        }
    }

    /// A trial has its outcome: admits the trials that waited for it.
    pub(super) fn admit_waiting(&mut self, trial: u64, outcome: &Outcome, context: &Context<Self>) {
        let admissions = self
            .reuse
            .as_mut()
            .map(|reuse| reuse.ended(trial, outcome))
            .unwrap_or_default();
        if admissions.is_empty() || self.ending.is_some() {
            return;
        }
        for admission in admissions {
            self.carry_out(admission, context);
        }
        self.dispatch();
    }

    fn carry_out(&mut self, admission: Admission, context: &Context<Self>) {
        match admission {
            Admission::Train(task) => self.scheduler.enqueue([task]),
            Admission::Wait => {}
            Admission::Reuse {
                task,
                from,
                reward,
                metric,
            } => {
                self.committing += 1;
                let supervisor = self.mailbox(context);
                let trial = task.trial;
                let outcome = Outcome::Completed {
                    reward,
                    metric,
                    seconds: Some(0.0),
                };
                let reply = move |sequenced| {
                    supervisor.do_send(OutcomeCommitted {
                        trial,
                        outcome,
                        seconds: 0.0,
                        reused_from: Some(from),
                        sequenced,
                    });
                };
                self.journal.reused(trial, from, Box::new(reply));
            }
        }
    }
}

//! The ChildTrainers: started, given children, drained and restarted; and which children of an
//! earlier process run again. Must not know how a child is trained.

use super::scheduler::AfterDrain;
use super::{Event, Supervisor};
use crate::actors::messages::{Retire, TrainChild};
use crate::actors::runtime::{ActorId, ExitNotifier, Mailbox};
use crate::actors::trainer::{ChildTrainer, TrainerContext};
use crate::child::{Cause, Outcome, Pruning, Task};
use crate::journal::{DEATHS_IN_COMPANY, OpenTrial};
use crate::machine::LaneSpec;
use actix::{Actor, Context};

/// A trial that runs alone has failed once this many more processes have died of a cause that it can
/// have brought about.
const DEATHS_ALONE: u32 = 20;

/// A ChildTrainer and its lane.
pub(super) struct Trainer {
    pub(super) address: Mailbox<ChildTrainer>,
    pub(super) lane: LaneSpec,
}

impl Supervisor {
    pub(super) fn add_trainer(&mut self, lane: LaneSpec, context: &Context<Self>) {
        let index = self.scheduler.add_lane();
        let address = self.start_trainer(index, lane.clone(), context);
        self.trainers.push(Trainer { address, lane });
    }

    pub(super) fn start_trainer(
        &self,
        index: usize,
        spec: LaneSpec,
        context: &Context<Self>,
    ) -> Mailbox<ChildTrainer> {
        let supervisor = self.mailbox(context);
        let exit = ExitNotifier::new(
            ActorId::ChildTrainer(index),
            self.scheduler.generation(index),
            supervisor.recipient(),
        );
        let resources = TrainerContext {
            spec,
            factory: self.parts.factory.clone(),
            files: self.parts.files.clone(),
            freeze_seconds: self.parts.restart.child_trainer.freeze_seconds,
            journal: self.journal.clone(),
            epochs: supervisor.recipient(),
            ended: supervisor.recipient(),
            metrics: self.parts.metrics.clone(),
        };
        let trainer = ChildTrainer::new(index, exit, resources).start();
        Mailbox::new(trainer, &self.parts.metrics)
    }

    /// Logs on which lanes children train from now on: page and status read this event.
    pub(super) fn log_lanes(&mut self) {
        let lanes = self
            .scheduler
            .lanes_in_use()
            .into_iter()
            .map(|index| &self.trainers[index].lane);
        let lanes: Vec<_> = lanes
            .map(|lane| format!("{} on {}", lane.name, lane.device))
            .collect();
        let lanes = lanes.join(", ");
        if lanes != self.logged_lanes {
            self.journal.event("lanes", &lanes);
            self.logged_lanes = lanes;
        }
    }

    /// Ends the trainers whose lane drains and has no child any more.
    pub(super) fn retire_drained(&mut self, context: &Context<Self>) {
        for (index, after) in self.scheduler.drained() {
            self.trainers[index].address.do_send(Retire);
            match after {
                AfterDrain::Remove => self.scheduler.isolate(index),
                AfterDrain::Restart => {
                    self.scheduler
                        .abandon(index, self.scheduler.generation(index));
                    self.scheduler.restarted(index);
                    let lane = self.trainers[index].lane.clone();
                    self.trainers[index].address = self.start_trainer(index, lane, context);
                }
            }
        }
    }

    /// Gives queued children to free lanes.
    pub(super) fn dispatch(&mut self) {
        while self.ending.is_none()
            && let Some((index, task)) = self.scheduler.start_next()
        {
            let lane = self.trainers[index].lane.name.clone();
            let mut summary = crate::report::summary(&task.architecture);
            if let Some(label) = self.label(task.trial) {
                summary = format!("{label}: {summary}");
            }
            self.notify(Event::ChildStarted {
                trial: task.trial,
                lane: &lane,
                summary,
            });
            let record_first = self.recovered.contains(&task.trial);
            self.trainers[index]
                .address
                .do_send(TrainChild { task, record_first });
        }
        self.parts
            .metrics
            .children_running
            .set(self.scheduler.running() as f64);
        self.parts
            .metrics
            .children_queued
            .set(self.scheduler.queued() as f64);
    }

    /// Takes over the children that an earlier process left and returns those to be evaluated. A
    /// child during which process after process died runs alone. It has failed where it can have
    /// brought these deaths about; deaths that nothing explains fail nobody.
    pub(super) fn recover(
        &mut self,
        trials: &[OpenTrial],
        layers: usize,
        pruning: Option<&Pruning>,
        context: &Context<Self>,
    ) -> Vec<Task> {
        for trial in trials
            .iter()
            .filter(|trial| !trial.finished && !is_poison(trial))
        {
            let OpenTrial {
                id,
                deaths,
                unexplained,
                ..
            } = trial;
            let all = deaths + unexplained;
            if *deaths >= DEATHS_IN_COMPANY {
                self.scheduler.suspect(*id);
                tracing::warn!("trial {id}: {all} processes died while it ran; it runs alone");
            } else if all >= DEATHS_IN_COMPANY {
                self.scheduler.suspect_last(*id, all);
                tracing::warn!(
                    "trial {id}: {all} processes died while it ran, and nothing says why; it runs alone, after all others"
                );
            }
        }
        for trial in trials
            .iter()
            .filter(|trial| !trial.finished && is_poison(trial))
        {
            let error = format!(
                "{} processes died while it ran, {DEATHS_ALONE} of them with no other trial beside it",
                trial.deaths
            );
            self.commit(
                trial.id,
                Outcome::Failed {
                    cause: Cause::Error,
                    error,
                },
                0.0,
                context,
            );
        }
        let tasks: Vec<Task> = unfinished(trials, layers, pruning).collect();
        self.recovered.extend(tasks.iter().map(|task| task.trial));
        tasks
    }
}

/// Has this trial used up all its processes?
fn is_poison(trial: &OpenTrial) -> bool {
    trial.deaths >= DEATHS_IN_COMPANY + DEATHS_ALONE
}

/// The trials that are to be evaluated.
fn unfinished(
    trials: &[OpenTrial],
    layers: usize,
    pruning: Option<&Pruning>,
) -> impl Iterator<Item = Task> {
    trials
        .iter()
        .filter(|trial| !trial.finished && !is_poison(trial))
        .map(move |trial| Task {
            trial: trial.id,
            attempt: trial.attempt,
            seed: trial.seed,
            layers,
            decisions: trial.decisions.clone(),
            architecture: trial.architecture.clone(),
            pruning: pruning.cloned(),
        })
}

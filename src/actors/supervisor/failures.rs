//! What happens when an actor has ended: its work is put back and it is restarted after a pause.
//! Beyond the limit of `[restart]` the run stops or goes on without the device. Must not know how
//! the Supervisor learns that an actor has ended.

use super::restart::{ActorRestart, Beyond};
use super::{End, GRACE, Supervisor, TICK};
use crate::actors::messages::{PollConfig, RestartActor, Retire, Shutdown};
use crate::actors::runtime::{ActorExited, ActorId, ExitReason};
use crate::child::{Cause, Outcome};
use crate::random::Key;
use actix::{AsyncContext, Context};
use std::sync::atomic::Ordering;

impl Supervisor {
    /// Checks what cannot report by itself: a computation that does not end, and the config file.
    pub(super) fn tick(&mut self, context: &mut Context<Self>) {
        self.heartbeat.fetch_add(1, Ordering::Relaxed);
        context.address().do_send(PollConfig { forced: false });
        let seconds = self.parts.restart.controller.freeze_seconds;
        let Some(compute) = self.replicas.compute() else {
            return;
        };
        match compute.tick((seconds / TICK.as_secs_f64()) as u32) {
            Ok(None) => {}
            Ok(Some(owner)) => context.address().do_send(ActorExited {
                actor: owner.actor,
                generation: owner.generation,
                reason: ExitReason::Froze(seconds),
            }),
            Err(error) => self.fail(format!("no thread for the policy: {error}")),
        }
    }

    /// An actor has ended: its work is put back, and it is restarted after a pause.
    pub(super) fn actor_exited(
        &mut self,
        ActorExited {
            actor,
            generation,
            reason,
        }: ActorExited,
        context: &mut Context<Self>,
    ) {
        let is_new = match actor {
            ActorId::ChildTrainer(index) => {
                self.trainer_exited(index, generation, &reason, context)
            }
            ActorId::Controller(index) => self.replicas.abandon(index, generation),
            ActorId::ParameterShard(index) => self.shards.abandon(index, generation),
        };
        if is_new && self.ending.is_none() {
            self.schedule_restart(actor, &reason, context);
        }
    }

    fn trainer_exited(
        &mut self,
        index: usize,
        generation: u64,
        reason: &ExitReason,
        context: &mut Context<Self>,
    ) -> bool {
        let Some(task) = self.scheduler.abandon(index, generation) else {
            return false;
        };
        self.trainers[index].address.do_send(Retire);
        match (task, reason) {
            // The child itself may be the cause: it has used up an attempt.
            (Some(task), ExitReason::Froze(seconds)) => {
                let error = format!(
                    "no training step within {seconds} seconds (restart.child_trainer.freeze_seconds)"
                );
                self.attempt_ended(
                    task,
                    Outcome::Failed {
                        cause: Cause::Frozen,
                        error,
                    },
                    *seconds,
                    context,
                );
            }
            (Some(task), _) if self.ending.is_none() => self.scheduler.requeue(task),
            _ => {}
        }
        true
    }

    /// Has the actor restarted after a pause, or escalates.
    fn schedule_restart(
        &mut self,
        actor: ActorId,
        reason: &ExitReason,
        context: &mut Context<Self>,
    ) {
        let (device, name) = match actor {
            ActorId::ChildTrainer(index) => {
                let lane = &self.trainers[index].lane;
                (lane.device.clone(), format!("{actor} (lane {})", lane.name))
            }
            _ => (String::new(), actor.to_string()),
        };
        let settings = self.restart_settings(actor).clone();
        let number = self.intensities.len() as u64;
        let intensity = self
            .intensities
            .entry((actor.kind().label(), device.clone()))
            .or_default();
        let key = Key {
            controller: number,
            ..Key::seed(self.seed)
        };
        let Some(pause) = intensity.restart(self.started.elapsed().as_secs_f64(), &settings, key)
        else {
            return self.escalate(actor, &device, format!("{name} {reason}"), &settings);
        };
        self.parts.metrics.restarted(actor.kind());
        let text = format!(
            "{name} {reason}; it is rebuilt in {:.1} s, its work is kept",
            pause.as_secs_f64()
        );
        tracing::warn!("{text}");
        self.journal.event("restart", &text);
        context.notify_later(RestartActor(actor), pause);
    }

    fn restart_settings(&self, actor: ActorId) -> &ActorRestart {
        let restart = &self.parts.restart;
        match actor {
            ActorId::ChildTrainer(_) => &restart.child_trainer,
            ActorId::Controller(_) => &restart.controller,
            ActorId::ParameterShard(_) => &restart.parameter_shard,
        }
    }

    /// An actor ended more often than it may.
    fn escalate(&mut self, actor: ActorId, device: &str, reason: String, settings: &ActorRestart) {
        let kind = actor.kind().label();
        let limit = format!(
            "more than {} restarts within {} seconds (restart.{kind}.max_restarts, window_seconds)",
            settings.max_restarts, settings.window_seconds
        );
        let may_isolate = matches!(actor, ActorId::ChildTrainer(_))
            && settings
                .beyond
                .is_none_or(|beyond| beyond == Beyond::Isolate);
        if !may_isolate {
            return self.fail(format!("{reason}: {limit}"));
        }
        self.isolate(device);
        if self.scheduler.count_in_use() == 0 {
            return self.fail(format!("no lane is left to train on: {reason}: {limit}"));
        }
        let text = format!("{device} is OUT OF USE, the run goes on without it: {reason}: {limit}");
        tracing::error!("{text}");
        self.journal.event("isolated", &text);
        self.log_lanes();
    }

    /// Takes every lane of this device out of use.
    fn isolate(&mut self, device: &str) {
        for index in 0..self.trainers.len() {
            if self.trainers[index].lane.device != device {
                continue;
            }
            let generation = self.scheduler.generation(index);
            if let Some(task) = self.scheduler.abandon(index, generation).flatten() {
                self.scheduler.requeue(task);
            }
            self.scheduler.isolate(index);
            self.trainers[index].address.do_send(Retire);
        }
    }

    /// The pause before an actor's restart is over.
    pub(super) fn restart_actor(&mut self, actor: ActorId, context: &mut Context<Self>) {
        if self.ending.is_some() {
            return;
        }
        match actor {
            ActorId::ChildTrainer(index) => {
                if self.scheduler.restarted(index) {
                    let lane = self.trainers[index].lane.clone();
                    self.trainers[index].address = self.start_trainer(index, lane, context);
                }
            }
            ActorId::Controller(index) => self.replicas.restart(index, self.shards.set.clone()),
            ActorId::ParameterShard(_) => self.read_log(context),
        }
    }

    /// This process cannot use a device any more: it ends, saved, and another one goes on.
    pub(super) fn restart_process(&mut self, fault: String, context: &mut Context<Self>) {
        if self.ending.is_none() {
            let text = format!(
                "{fault}; the device can be used again by a new process only: saving, then starting anew"
            );
            tracing::warn!("{text}");
            self.journal.event("process restart", &text);
            context.notify_later(Shutdown::Deadline, GRACE);
            self.start_ending(End::Restart(fault));
        }
    }
}

//! What happens when an actor falls: its work is put back, it is rebuilt after a pause, and beyond
//! the limit of `[restart]` the run stops or goes on without the device. Must not know how an actor
//! is noticed to be gone.

use super::restart::{ActorRestart, Beyond};
use super::{End, GRACE, Supervisor, TICK};
use crate::actors::messages::{LookAtConfig, Rebuild, Retire, Shutdown};
use crate::actors::runtime::watch::{ActorId, Fall, Gone};
use crate::child::{Cause, Outcome};
use crate::random::Key;
use actix::{AsyncContext, Context};
use std::sync::atomic::Ordering;

impl Supervisor {
    /// Looks after what cannot report by itself: a computation that does not end.
    pub(super) fn tick(&mut self, context: &mut Context<Self>) {
        self.heartbeat.fetch_add(1, Ordering::Relaxed);
        context.address().do_send(LookAtConfig { asked: false });
        let seconds = self.parts.restart.controller.freeze_seconds;
        let Some(compute) = self.replicas.compute() else {
            return;
        };
        match compute.tick((seconds / TICK.as_secs_f64()) as u32) {
            Ok(None) => {}
            Ok(Some((actor, generation))) => context.address().do_send(Gone {
                actor,
                generation,
                fall: Fall::Froze(seconds),
            }),
            Err(error) => self.fail(format!("no thread for the policy: {error}")),
        }
    }

    /// An actor is gone: its work is put back, and it is rebuilt later.
    pub(super) fn fallen(
        &mut self,
        Gone {
            actor,
            generation,
            fall,
        }: Gone,
        context: &mut Context<Self>,
    ) {
        let news = match actor {
            ActorId::ChildTrainer(index) => self.trainer_fell(index, generation, &fall, context),
            ActorId::Controller(index) => self.replicas.fall(index, generation),
            ActorId::ParameterShard(index) => self.shards.fall(index, generation),
        };
        if news && self.ending.is_none() {
            self.restart(actor, &fall, context);
        }
    }

    fn trainer_fell(
        &mut self,
        index: usize,
        generation: u64,
        fall: &Fall,
        context: &mut Context<Self>,
    ) -> bool {
        let Some(task) = self.roster.fall(index, generation) else {
            return false;
        };
        self.trainers[index].address.do_send(Retire);
        match (task, fall) {
            // The child itself may be the cause.
            (Some(task), Fall::Froze(seconds)) => {
                let error = format!(
                    "no training step within {seconds} seconds (restart.child_trainer.freeze_seconds)"
                );
                self.attempt_ended(
                    task,
                    Outcome::Failed {
                        cause: Cause::Timeout,
                        error,
                    },
                    *seconds,
                    context,
                );
            }
            (Some(task), _) if self.ending.is_none() => self.roster.put_back(task),
            _ => {}
        }
        true
    }

    /// Has the actor rebuilt after a pause, or escalates.
    fn restart(&mut self, actor: ActorId, fall: &Fall, context: &mut Context<Self>) {
        let (device, name) = match actor {
            ActorId::ChildTrainer(index) => {
                let lane = &self.trainers[index].lane;
                (lane.device.clone(), format!("{actor} (lane {})", lane.name))
            }
            _ => (String::new(), actor.to_string()),
        };
        let settings = self.settings_of(actor).clone();
        let number = self.intensities.len() as u64;
        let intensity = self
            .intensities
            .entry((actor.kind(), device.clone()))
            .or_default();
        let key = Key {
            controller: number,
            ..Key::seed(self.seed)
        };
        let Some(pause) = intensity.restart(self.started.elapsed().as_secs_f64(), &settings, key)
        else {
            return self.escalate(actor, &device, format!("{name} {fall}"), &settings);
        };
        self.parts
            .metrics
            .actor_restarts_total
            .with_label_values(&[actor.kind()])
            .inc();
        let text = format!(
            "{name} {fall}; it is rebuilt in {:.1} s, its work is kept",
            pause.as_secs_f64()
        );
        tracing::warn!("{text}");
        self.journal.event("restart", &text);
        context.notify_later(Rebuild(actor), pause);
    }

    fn settings_of(&self, actor: ActorId) -> &ActorRestart {
        let restart = &self.parts.restart;
        match actor {
            ActorId::ChildTrainer(_) => &restart.child_trainer,
            ActorId::Controller(_) => &restart.controller,
            ActorId::ParameterShard(_) => &restart.parameter_shard,
        }
    }

    /// An actor fell more often than it may.
    fn escalate(&mut self, actor: ActorId, device: &str, reason: String, settings: &ActorRestart) {
        let kind = actor.kind();
        let limit = format!(
            "more than {} restarts within {} seconds (restart.{kind}.max_restarts, window_seconds)",
            settings.max_restarts, settings.window_seconds
        );
        let isolate = matches!(actor, ActorId::ChildTrainer(_))
            && settings
                .beyond
                .is_none_or(|beyond| beyond == Beyond::Isolate);
        if !isolate {
            return self.fail(format!("{reason}: {limit}"));
        }
        for index in 0..self.trainers.len() {
            if self.trainers[index].lane.device == device {
                if let Some(task) = self
                    .roster
                    .fall(index, self.roster.generation(index))
                    .flatten()
                {
                    self.roster.put_back(task);
                }
                self.roster.isolate(index);
                self.trainers[index].address.do_send(Retire);
            }
        }
        if self.roster.in_use() == 0 {
            return self.fail(format!("no lane is left to train on: {reason}: {limit}"));
        }
        let text = format!("{device} is OUT OF USE, the run goes on without it: {reason}: {limit}");
        tracing::error!("{text}");
        self.journal.event("isolated", &text);
        self.note_lanes();
    }

    /// The pause is over.
    pub(super) fn rebuild(&mut self, actor: ActorId, context: &mut Context<Self>) {
        if self.ending.is_some() {
            return;
        }
        match actor {
            ActorId::ChildTrainer(index) => {
                if self.roster.rebuilt(index) {
                    let lane = self.trainers[index].lane.clone();
                    self.trainers[index].address = self.build_trainer(index, lane, context);
                }
            }
            ActorId::Controller(index) => self.replicas.rebuild(index, self.shards.set.clone()),
            ActorId::ParameterShard(_) => self.read_log(context),
        }
    }

    /// A device fault has spoilt this process: another one goes on, saved.
    pub(super) fn restart_process(&mut self, fault: String, context: &mut Context<Self>) {
        if self.ending.is_none() {
            let text = format!(
                "{fault}; the device can be used again by a new process only: saving, then starting anew"
            );
            tracing::warn!("{text}");
            self.journal.event("process restart", &text);
            context.notify_later(Shutdown::Deadline, GRACE);
            self.begin_end(End::Restart(fault));
        }
    }
}

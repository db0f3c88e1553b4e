//! How the Supervisor learns that an actor has ended: who it was and why. Must not know what
//! happens then.

use super::mailbox::Recipient;
use crate::telemetry::ActorKind;
use actix::Message;
use std::fmt;

/// An actor that the Supervisor can restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ActorId {
    ChildTrainer(usize),
    Controller(u64),
    ParameterShard(usize),
}

impl ActorId {
    /// Its label is that of `actor_restarts_total`, and the table of `[restart]`.
    pub fn kind(self) -> ActorKind {
        match self {
            Self::ChildTrainer(_) => ActorKind::ChildTrainer,
            Self::Controller(_) => ActorKind::Controller,
            Self::ParameterShard(_) => ActorKind::ParameterShard,
        }
    }
}

impl fmt::Display for ActorId {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::ChildTrainer(index) => write!(f, "child trainer {index}"),
            Self::Controller(index) => write!(f, "controller {index}"),
            Self::ParameterShard(index) => write!(f, "parameter shard {index}"),
        }
    }
}

/// Why an actor has ended, or has to be replaced.
#[derive(Clone, Debug, PartialEq)]
pub enum ExitReason {
    Panicked(String),
    /// It reported an error that it cannot go on with.
    Failed(String),
    /// It stopped without being asked to.
    Stopped,
    /// It made no progress for this many seconds.
    Froze(f64),
}

impl fmt::Display for ExitReason {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Panicked(text) => write!(f, "panicked: {text}"),
            Self::Failed(text) => f.write_str(text),
            Self::Stopped => f.write_str("stopped by itself"),
            Self::Froze(seconds) => write!(f, "froze: no progress for {seconds} seconds"),
        }
    }
}

/// Anyone → Supervisor: this actor has ended or cannot go on. `generation` counts the actor's
/// restarts; a message about an earlier generation is stale.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct ActorExited {
    pub actor: ActorId,
    pub generation: u64,
    pub reason: ExitReason,
}

/// Each actor holds one as long as it lives. It notifies the Supervisor once: when the actor fails,
/// or else when it is dropped with the actor, unless the actor retires because it was asked to.
pub struct ExitNotifier {
    actor: ActorId,
    pub generation: u64,
    supervisor: Recipient<ActorExited>,
    notified: bool,
}

impl ExitNotifier {
    pub fn new(actor: ActorId, generation: u64, supervisor: Recipient<ActorExited>) -> Self {
        Self {
            actor,
            generation,
            supervisor,
            notified: false,
        }
    }

    /// The actor cannot go on; the first reason counts.
    pub fn failed(&mut self, reason: ExitReason) {
        if !std::mem::replace(&mut self.notified, true) {
            self.supervisor.do_send(ActorExited {
                actor: self.actor,
                generation: self.generation,
                reason,
            });
        }
    }

    /// The actor ends because it was asked to: nothing is to be reported.
    pub fn retires(&mut self) {
        self.notified = true;
    }
}

impl Drop for ExitNotifier {
    fn drop(&mut self) {
        self.failed(ExitReason::Stopped);
    }
}

/// The text of a panic.
pub fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    if let Some(text) = panic.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text.clone()
    } else {
        "a panic without a message".to_owned()
    }
}

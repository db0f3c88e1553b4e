//! Noticing that an actor is gone. In actix 0.13 a panic in a handler ends the actor's task without
//! a word, so panics are caught inside the handlers, and whatever else ends an actor is told by its
//! `Presence` when it is dropped. Must not know what happens then.

use super::compute::panic_message;
use super::mailbox::Mailbox;
use crate::actors::supervisor::Supervisor;
use actix::{Actor, ActorContext, Context, Message};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// An actor that the Supervisor can rebuild.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ActorId {
    ChildTrainer(usize),
    Controller(u64),
    ParameterShard(usize),
}

impl ActorId {
    /// The label of `actor_restarts_total`, and the table of `[restart]`.
    pub fn kind(self) -> &'static str {
        match self {
            Self::ChildTrainer(_) => "child_trainer",
            Self::Controller(_) => "controller",
            Self::ParameterShard(_) => "parameter_shard",
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

/// Why an actor is gone.
#[derive(Clone, Debug, PartialEq)]
pub enum Fall {
    Panicked(String),
    /// It reported an error that it cannot go on with.
    Failed(String),
    /// It stopped, and nobody had asked it to.
    Stopped,
    /// No progress for this many seconds.
    Froze(f64),
}

impl fmt::Display for Fall {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Panicked(text) => write!(f, "panicked: {text}"),
            Self::Failed(text) => f.write_str(text),
            Self::Stopped => f.write_str("stopped by itself"),
            Self::Froze(seconds) => write!(f, "froze: no progress for {seconds} seconds"),
        }
    }
}

/// Anyone → Supervisor: this actor is of no more use. `generation` counts its rebuilds; what is
/// said of an earlier one is stale.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct Gone {
    pub actor: ActorId,
    pub generation: u64,
    pub fall: Fall,
}

/// Held by an actor as long as it lives; tells the Supervisor when it is dropped, unless it was
/// told before or the end was asked for.
pub struct Presence {
    actor: ActorId,
    pub generation: u64,
    supervisor: Mailbox<Supervisor>,
    told: bool,
}

impl Presence {
    pub fn new(actor: ActorId, generation: u64, supervisor: Mailbox<Supervisor>) -> Self {
        Self {
            actor,
            generation,
            supervisor,
            told: false,
        }
    }

    /// The actor cannot go on; the first reason counts.
    pub fn fell(&mut self, fall: Fall) {
        if !std::mem::replace(&mut self.told, true) {
            self.supervisor.do_send(Gone {
                actor: self.actor,
                generation: self.generation,
                fall,
            });
        }
    }

    /// The actor ends because it was asked to.
    pub fn leaves(&mut self) {
        self.told = true;
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.fell(Fall::Stopped);
    }
}

/// An actor whose panics do not go unnoticed.
pub trait Guarded: Actor<Context = Context<Self>> {
    fn panicked(&mut self, panic: String);
}

/// What an actor does with a message; `receives!` makes it the actor's handler.
pub trait Receive<M>: Actor {
    fn receive(&mut self, message: M, context: &mut Self::Context);
}

/// Runs the body of a handler; a panic in it ends the actor, and is told.
pub fn guard<A: Guarded>(
    actor: &mut A,
    context: &mut Context<A>,
    body: impl FnOnce(&mut A, &mut Context<A>),
) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| body(actor, context))) {
        actor.panicked(panic_message(panic.as_ref()));
        context.terminate();
    }
}

/// Makes handlers of what an actor receives, each with its panics caught.
macro_rules! receives {
    ($actor:ty: $($message:ty),+ $(,)?) => {$(
        impl actix::Handler<$message> for $actor {
            type Result = ();

            fn handle(&mut self, message: $message, context: &mut Self::Context) {
                $crate::actors::runtime::watch::guard(self, context, |actor, context| {
                    $crate::actors::runtime::watch::Receive::receive(actor, message, context);
                });
            }
        }
    )+};
}
pub(in crate::actors) use receives;

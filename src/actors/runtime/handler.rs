//! Handlers whose panics are caught. In actix 0.13 a panic in a handler ends the actor's task without
//! a word, and the Supervisor would wait for it forever. Must not know what handlers do.

use super::exit::panic_message;
use actix::{Actor, ActorContext, Context};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// An actor that reports its panics.
pub trait Guarded: Actor<Context = Context<Self>> {
    /// A handler panicked with this text; the actor ends after this call.
    fn panicked(&mut self, panic: String);
}

/// What an actor does with a message; `receives!` makes it the actor's handler.
pub trait Receive<M>: Actor {
    fn receive(&mut self, message: M, context: &mut Self::Context);
}

/// Runs the body of a handler; a panic in it is reported and ends the actor.
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

/// `receives!(ACTOR: MESSAGE, …)` makes a guarded handler of each `Receive<MESSAGE>` of the actor.
macro_rules! receives {
    ($actor:ty: $($message:ty),+ $(,)?) => {$(
        impl actix::Handler<$message> for $actor {
            type Result = ();

            fn handle(&mut self, message: $message, context: &mut Self::Context) {
                $crate::actors::runtime::guard(self, context, |actor, context| {
                    $crate::actors::runtime::Receive::receive(actor, message, context);
                });
            }
        }
    )+};
}
pub(in crate::actors) use receives;

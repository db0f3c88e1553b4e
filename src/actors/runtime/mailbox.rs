//! A Mailbox is an actor's address that counts the messages that wait there: actix does not tell.
//! Must not know what they say.

use crate::telemetry::{ActorKind, Metrics};
use actix::{Actor, Addr, Context, Handler, Message};
use prometheus::IntGauge;

/// Address of an actor; cheap to clone.
pub struct Mailbox<A: Actor> {
    address: Addr<A>,
    depth: IntGauge,
}

impl<A: Actor> Clone for Mailbox<A> {
    fn clone(&self) -> Self {
        Self {
            address: self.address.clone(),
            depth: self.depth.clone(),
        }
    }
}

/// An actor whose waiting messages are counted.
pub trait Counting: Actor<Context = Context<Self>> + Handler<Counted<Self>> {
    const KIND: ActorKind;
}

impl<A: Counting> Mailbox<A> {
    pub fn new(address: Addr<A>, metrics: &Metrics) -> Self {
        Self {
            address,
            depth: metrics.mailbox(A::KIND),
        }
    }

    /// Sends, and forgets; a message to an actor that is gone is dropped. Callers bound what is
    /// under way (see ARCHITECTURE.md).
    pub fn do_send<M>(&self, message: M)
    where
        M: Message<Result = ()> + Send + 'static,
        A: Handler<M, Result = ()>,
    {
        self.depth.inc();
        let deliver =
            Box::new(move |actor: &mut A, context: &mut Context<A>| actor.handle(message, context));
        self.address.do_send(Counted {
            deliver,
            waiting: Waiting(self.depth.clone()),
        });
    }
}

/// A message under way: what hands it to its handler.
pub struct Counted<A: Actor> {
    deliver: Deliver<A>,
    waiting: Waiting,
}

type Deliver<A> = Box<dyn FnOnce(&mut A, &mut <A as Actor>::Context) + Send>;

impl<A: Actor> Message for Counted<A> {
    type Result = ();
}

impl<A: Actor> Counted<A> {
    /// The message waits no longer.
    fn deliver(self, actor: &mut A, context: &mut A::Context) {
        drop(self.waiting);
        (self.deliver)(actor, context);
    }
}

/// Counts until it is dropped: when the message is handled, or with the mailbox of an actor that is
/// gone.
struct Waiting(IntGauge);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.dec();
    }
}

macro_rules! counting {
    ($($actor:ty => $kind:ident),*) => {$(
        impl Counting for $actor {
            const KIND: ActorKind = ActorKind::$kind;
        }

        impl Handler<Counted<Self>> for $actor {
            type Result = ();

            fn handle(&mut self, counted: Counted<Self>, context: &mut Self::Context) {
                counted.deliver(self, context);
            }
        }
    )*};
}

counting!(
    crate::actors::supervisor::Supervisor => Supervisor,
    crate::actors::shard::ParameterShard => ParameterShard,
    crate::actors::controller::Controller => Controller,
    crate::actors::trainer::ChildTrainer => ChildTrainer
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::RewardScale;

    #[derive(Message)]
    #[rtype(result = "()")]
    struct Hello;

    struct Greeter {
        left: usize,
    }

    impl Actor for Greeter {
        type Context = Context<Self>;
    }

    impl Handler<Hello> for Greeter {
        type Result = ();

        fn handle(&mut self, _: Hello, _: &mut Self::Context) {
            self.left -= 1;
            if self.left == 0 {
                actix::System::current().stop();
            }
        }
    }

    counting!(Greeter => Controller);

    #[test]
    fn depth_counts_what_waits_and_falls_as_it_is_handled_or_lost() {
        let metrics = Metrics::new("t", RewardScale::Any).unwrap();
        let depth = metrics.mailbox(ActorKind::Controller);
        let system = actix::System::new();
        let greeter = system.block_on(async {
            let greeter = Mailbox::new(Greeter { left: 40 }.start(), &metrics);
            // This thread is the actor's own: nothing is handled before it is let go.
            (0..40).for_each(|_| greeter.do_send(Hello));
            assert_eq!(depth.get(), 40);
            greeter
        });
        system.run().unwrap();
        assert_eq!(depth.get(), 0);
        (0..3).for_each(|_| greeter.do_send(Hello));
        assert_eq!(depth.get(), 0, "the actor is gone, and so are its messages");
    }
}

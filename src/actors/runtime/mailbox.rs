//! Addresses of actors that count the messages waiting there, which actix does not: `mailbox_depth`.
//! Must not know any actor or message.

use crate::telemetry::{ActorKind, Metrics};
use actix::{Actor, Addr, Context, Handler, Message};
use prometheus::IntGauge;
use std::sync::Arc;

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

/// An actor whose waiting messages are counted under the label of its kind; `counts_mailbox!`
/// implements it.
pub trait CountsMailbox: Actor<Context = Context<Self>> + Handler<Envelope<Self>> {
    const KIND: ActorKind;
}

impl<A: CountsMailbox> Mailbox<A> {
    pub fn new(address: Addr<A>, metrics: &Metrics) -> Self {
        Self {
            address,
            depth: metrics.mailbox(A::KIND),
        }
    }

    /// Sends without waiting for the message to be handled. A message to an actor that has ended is
    /// dropped. Senders bound the number of messages under way (see ARCHITECTURE.md).
    pub fn do_send<M>(&self, message: M)
    where
        M: Message<Result = ()> + Send + 'static,
        A: Handler<M, Result = ()>,
    {
        self.depth.inc();
        let deliver =
            Box::new(move |actor: &mut A, context: &mut Context<A>| actor.handle(message, context));
        self.address.do_send(Envelope {
            deliver,
            waiting: WaitingMessage(self.depth.clone()),
        });
    }

    /// The same address for messages of one type: its holder need not know the actor.
    pub fn recipient<M>(&self) -> Recipient<M>
    where
        M: Message<Result = ()> + Send + 'static,
        A: Handler<M, Result = ()>,
    {
        let mailbox = self.clone();
        Recipient::new(move |message| mailbox.do_send(message))
    }
}

/// Where messages of one type are sent, whichever actor receives them; cheap to clone.
pub struct Recipient<M>(Arc<dyn Fn(M) + Send + Sync>);

impl<M> Recipient<M> {
    pub fn new(send: impl Fn(M) + Send + Sync + 'static) -> Self {
        Self(Arc::new(send))
    }

    /// As `Mailbox::do_send`.
    pub fn do_send(&self, message: M) {
        (self.0)(message);
    }
}

impl<M> Clone for Recipient<M> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// A message under way, as the function that hands it to its handler.
pub struct Envelope<A: Actor> {
    deliver: Deliver<A>,
    waiting: WaitingMessage,
}

type Deliver<A> = Box<dyn FnOnce(&mut A, &mut <A as Actor>::Context) + Send>;

impl<A: Actor> Message for Envelope<A> {
    type Result = ();
}

impl<A: Actor> Envelope<A> {
    /// The message no longer waits: it is handled now.
    pub fn deliver(self, actor: &mut A, context: &mut A::Context) {
        drop(self.waiting);
        (self.deliver)(actor, context);
    }
}

/// Counts one message until it is dropped: when the message is handled, or with the mailbox of an
/// actor that has ended.
struct WaitingMessage(IntGauge);

impl Drop for WaitingMessage {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// `counts_mailbox!(ACTOR, KIND)`: the actor receives its messages through a `Mailbox`.
macro_rules! counts_mailbox {
    ($actor:ty, $kind:ident) => {
        impl $crate::actors::runtime::CountsMailbox for $actor {
            const KIND: $crate::telemetry::ActorKind = $crate::telemetry::ActorKind::$kind;
        }

        impl actix::Handler<$crate::actors::runtime::Envelope<Self>> for $actor {
            type Result = ();

            fn handle(
                &mut self,
                envelope: $crate::actors::runtime::Envelope<Self>,
                context: &mut Self::Context,
            ) {
                envelope.deliver(self, context);
            }
        }
    };
}
pub(in crate::actors) use counts_mailbox;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::child::RewardScale;

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

    counts_mailbox!(Greeter, Controller);

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
        assert_eq!(
            depth.get(),
            0,
            "messages to an actor that has ended do not wait"
        );
    }
}

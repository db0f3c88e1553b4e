//! What every actor runs on: mailboxes that are counted, handlers whose panics are caught, the
//! compute thread, entries in order, the clock, faults on purpose. Must not know any actor's work.

mod busy;
mod clock;
mod compute;
mod exit;
pub mod fault;
mod handler;
mod mailbox;
mod order;

pub use busy::{BusyRatio, BusyTime};
pub use clock::Stopwatch;
pub use compute::{Compute, JobOwner};
pub use exit::{ActorExited, ActorId, ExitNotifier, ExitReason, panic_message};
pub(super) use handler::receives;
pub use handler::{Guarded, Receive, guard};
pub(super) use mailbox::counts_mailbox;
pub use mailbox::{CountsMailbox, Envelope, Mailbox, Recipient};
pub use order::InOrder;

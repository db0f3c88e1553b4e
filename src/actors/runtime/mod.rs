//! What every actor runs on: counted mailboxes, caught panics, the compute thread, the order of
//! sequence numbers, faults on purpose. Must not know any actor's work.

pub mod busy;
pub mod compute;
pub mod fault;
pub mod mailbox;
pub mod order;
pub mod watch;

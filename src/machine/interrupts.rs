//! What Ctrl-C does. Must not know what the process is doing.

/// SIGINT and SIGTERM end this process at once, as at its start: whoever listened to them does so no
/// longer.
pub fn end_at_once_on_interrupts() {
    #[cfg(unix)]
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: the default action is no handler of ours; it replaces one that only wrote to a pipe.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

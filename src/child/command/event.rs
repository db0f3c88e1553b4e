//! A program of the user's that is told of an event of the run: the leader of its own process group,
//! which ends with it. Must not know events.

use super::descendants;
use super::program::end_with_parent;
use rustix::process::{Pid, Signal, kill_process_group};
use std::io::Result;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};

/// The program at work. Dropped, it is killed with its group.
pub struct EventProcess {
    child: Child,
    group: Option<Pid>,
    /// Its process id is free for others: no signal may go there.
    reaped: bool,
}

impl EventProcess {
    /// Starts it. It is killed when the thread that calls this is gone.
    ///
    /// # Errors
    /// The system cannot start it.
    pub fn start(mut command: Command) -> Result<Self> {
        command.process_group(0);
        end_with_parent(&mut command);
        let child = descendants::spawn(&mut command)?;
        Ok(Self {
            group: Pid::from_raw(child.id().cast_signed()),
            child,
            reaped: false,
        })
    }

    /// How it ended; None: it has not. What it left running in its group is killed then.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        // Killed before its process id is free, but not before it has ended by itself.
        let status = self.child.try_wait().ok()??;
        self.signal(Signal::KILL);
        self.forget();
        Some(status)
    }

    /// Asks it and its group to end.
    pub fn ask_to_end(&self) {
        self.signal(Signal::TERM);
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group.filter(|_| !self.reaped) {
            // Fails where the group has ended.
            let _ = kill_process_group(group, signal);
        }
    }

    fn forget(&mut self) {
        self.reaped = true;
        if let Some(group) = self.group {
            descendants::reaped(group);
        }
    }
}

impl Drop for EventProcess {
    fn drop(&mut self) {
        if !self.reaped {
            self.signal(Signal::KILL);
            let _ = self.child.wait();
            self.forget();
        }
    }
}

//! A running program: its process group, its stdout without blocking, and its end. Whatever it
//! started ends with it. Must not know what it prints.

use super::super::Progress;
use super::descendants::{self, Descendants};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use std::io::{ErrorKind, Read, Result};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

/// Seconds between SIGTERM and SIGKILL: time to save a checkpoint, well within what an orderly end
/// of the search allows.
const GRACE_SECONDS: f64 = 3.0;

/// A longer line is taken as it is, without its end: it is not of the protocol.
const MAX_LINE_BYTES: usize = 1 << 20;

/// How much is read at once: more than a pipe holds, but a program that prints without end must
/// not keep the lane here.
const MAX_CHUNKS: usize = 256;
const CHUNK_BYTES: usize = 1 << 13;

/// How a program ended by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    Code(i32),
    /// Killed by the signal of this name.
    Signal(String),
}

/// A program that runs, the leader of its own process group. Dropped, it is killed with its group.
pub struct Program {
    child: Child,
    group: Pid,
    /// What it has started, also outside of its group.
    descendants: Descendants,
    stdout: ChildStdout,
    /// The beginning of a line.
    pending: Vec<u8>,
    /// stdout is closed.
    closed: bool,
    /// Its process id is free for others: no signal may go there.
    reaped: bool,
}

impl Program {
    /// Starts it; stdin and stderr are as the caller has set them.
    ///
    /// # Errors
    /// The system cannot start it.
    pub fn start(mut command: Command, descendants: Descendants) -> Result<Self> {
        command.stdout(Stdio::piped()).process_group(0);
        end_with_parent(&mut command);
        let mut child = descendants::spawn(&mut command)?;
        let (Some(stdout), Some(group)) =
            (child.stdout.take(), Pid::from_raw(child.id().cast_signed()))
        else {
            return Err(std::io::Error::other("no pipe for its stdout"));
        };
        let program = Self {
            child,
            group,
            descendants,
            stdout,
            pending: Vec::new(),
            closed: false,
            reaped: false,
        };
        rustix::io::ioctl_fionbio(&program.stdout, true)?;
        Ok(program)
    }

    /// True if the program itself has ended. What it started may still run.
    pub fn has_ended(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        // Left as it is until `reap`, so that its process id stays its own.
        !matches!(waitid(WaitId::Pid(self.group), options), Ok(None))
    }

    /// The whole lines that it has printed since the last call; with `all`, also a last line
    /// without its newline.
    pub fn read(&mut self, all: bool) -> Result<Vec<String>> {
        let mut chunk = [0; CHUNK_BYTES];
        for _ in 0..MAX_CHUNKS {
            if self.closed {
                break;
            }
            match self.stdout.read(&mut chunk) {
                Ok(0) => self.closed = true,
                Ok(count) => self.pending.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(self.lines(all))
    }

    /// Takes the whole lines out of what was read; with `all`, or at the end, also a last line
    /// without its newline.
    fn lines(&mut self, all: bool) -> Vec<String> {
        let whole = self
            .pending
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |last| last + 1);
        let rest = self.pending.split_off(whole);
        let text =
            String::from_utf8_lossy(&std::mem::replace(&mut self.pending, rest)).into_owned();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        if !self.pending.is_empty() && (all || self.closed || self.pending.len() > MAX_LINE_BYTES) {
            lines.push(String::from_utf8_lossy(&std::mem::take(&mut self.pending)).into_owned());
        }
        lines
    }

    /// Notes which processes run below it: see `Descendants`.
    pub fn look_at_descendants(&mut self) {
        self.descendants.look(self.group);
    }

    /// Ends it with all that it has started: SIGTERM, and SIGKILL when something is still there
    /// after `GRACE_SECONDS`. What it still prints is dropped.
    pub fn end(mut self, progress: &mut dyn Progress) {
        self.look_at_descendants();
        self.signal(Signal::TERM);
        self.end_descendants(progress);
        // Dropped: killed and reaped.
    }

    /// After `has_ended`: how it ended. What it left running in its group is killed, what left its
    /// group may end in order.
    pub fn finish(mut self, progress: &mut dyn Progress) -> End {
        self.signal(Signal::KILL);
        self.end_descendants(progress);
        let status = self.reap().unwrap_or_default();
        match (status.code(), status.signal()) {
            (Some(code), _) => End::Code(code),
            (None, signal) => End::Signal(signal_name(signal.unwrap_or_default())),
        }
    }

    /// Waits until the program and its descendants have ended, for `GRACE_SECONDS` at most; then
    /// the descendants are killed.
    fn end_descendants(&mut self, progress: &mut dyn Progress) {
        let began_at = progress.elapsed();
        loop {
            let none_left = self.descendants.ask_to_end(self.group);
            if none_left && self.has_ended() {
                return descendants::reap_orphans();
            }
            if progress.elapsed() - began_at >= GRACE_SECONDS {
                break;
            }
            progress.examples(0);
            if self.read(true).is_err() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        // Not for ever: one that hangs in a driver cannot even be killed.
        for _ in 0..100 {
            if self.descendants.kill() {
                return descendants::reap_orphans();
            }
            progress.examples(0);
            std::thread::sleep(Duration::from_millis(10));
        }
        tracing::warn!("processes that a program has started cannot be killed; the search goes on");
    }

    fn signal(&self, signal: Signal) {
        if !self.reaped {
            // Fails where no process of the group is left.
            let _ = kill_process_group(self.group, signal);
        }
    }

    /// Waits for a killed program, but not for ever: one that hangs in a driver cannot even be
    /// killed.
    fn reap(&mut self) -> Option<ExitStatus> {
        for _ in 0..200 {
            if let Ok(Some(status)) = self.child.try_wait() {
                self.reaped = true;
                descendants::reaped(self.group);
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        None
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if !self.reaped {
            self.signal(Signal::KILL);
            self.reap();
            descendants::reaped(self.group);
        }
    }
}

/// The program is killed when the thread that started it is gone, however that came about.
#[cfg(target_os = "linux")]
pub fn end_with_parent(command: &mut Command) {
    use rustix::process::{getpid, getppid, set_parent_process_death_signal};
    let parent = getpid();
    let arm = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // The parent may have died before.
        if getppid() == Some(parent) {
            Ok(())
        } else {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
    };
    // SAFETY: runs between fork and exec and makes two system calls, both async-signal-safe; it
    // allocates and locks nothing.
    unsafe { command.pre_exec(arm) };
}

#[cfg(not(target_os = "linux"))]
pub fn end_with_parent(_: &mut Command) {}

fn signal_name(number: i32) -> String {
    let name = match number {
        1 => "SIGHUP",
        2 => "SIGINT",
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL (out of memory? the system's own killer sends it)",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        15 => "SIGTERM",
        _ => return format!("signal {number}"),
    };
    name.to_owned()
}

/// Why this command cannot be run, as far as that shows before anything starts: there is no such
/// program, or no such script for it to run. None: nothing is wrong.
pub fn program_problem(argv: &[String]) -> Option<String> {
    let program = argv.first()?;
    let search = std::env::var_os("PATH").unwrap_or_default();
    let on_path =
        |name: &str| std::env::split_paths(&search).any(|folder| folder.join(name).is_file());
    if program.contains('/') {
        let Ok(facts) = Path::new(program).metadata() else {
            return Some(format!(
                "there is no file {program} (relative paths are relative to the working directory)"
            ));
        };
        if facts.permissions().mode() & 0o111 == 0 {
            return Some(format!(
                "{program} is not executable: chmod +x {program}, or name the program that runs it, for example \"sh\""
            ));
        }
    } else if !on_path(program) {
        let hint = if Path::new(program).is_file() {
            format!("; the file here is \"./{program}\"")
        } else {
            String::new()
        };
        return Some(format!("there is no program {program} on the PATH{hint}"));
    }
    let name = Path::new(program).file_name()?.to_str()?;
    let takes_a_script = name.starts_with("python")
        || matches!(
            name,
            "sh" | "bash" | "Rscript" | "julia" | "node" | "perl" | "ruby"
        );
    let script = argv
        .get(1)
        .filter(|script| takes_a_script && !script.starts_with('-'))?;
    (!Path::new(script).exists() && !on_path(script))
        .then(|| format!("there is no file {script} for {name} to run (relative paths are relative to the working directory)"))
}

//! Processes of the program under test: how they are started, waited for and stopped, and what they
//! have printed.

use rustix::process::{Pid, Signal, kill_process};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

/// How long a test waits for anything. It only matters where the code is broken: no test passes or
/// fails by how fast the machine is.
pub const LIMIT: Duration = Duration::from_mins(5);

/// The binary under test, without the settings of whoever runs the tests.
pub fn netwright() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_netwright"));
    for (key, _) in std::env::vars_os() {
        if key.to_string_lossy().starts_with("NETWRIGHT__") {
            command.env_remove(key);
        }
    }
    command
}

/// The arguments with which a test's own binary runs this one test.
pub fn arguments_of(test: &str) -> [&str; 3] {
    ["--exact", test, "--nocapture"]
}

/// Runs this test in a process of its own. Plain `cargo test` runs all tests in one process, so that
/// its memory or threads would be those of other tests too. True: this is the process of its own;
/// false: the test has passed in it.
pub fn is_alone(test: &str) -> bool {
    const INSIDE: &str = "NETWRIGHT_TEST_ALONE";
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let status = Command::new(std::env::current_exe().unwrap())
        .args(arguments_of(test))
        .env(INSIDE, "yes")
        .status()
        .unwrap();
    assert!(status.success(), "{test} failed in a process of its own");
    false
}

/// Looks again and again until the condition holds; panics with `what` after `LIMIT`.
pub fn wait_until(what: impl std::fmt::Display, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < LIMIT, "this never happens: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Exit status and everything that was printed.
pub fn text(output: &Output) -> String {
    format!("{}: {}{}", output.status, stdout(output), stderr(output))
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs the command to its end, which must be a success; returns what it printed on standard output.
#[track_caller]
pub fn succeeds(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    stdout(&output)
}

/// What `netwright SUBCOMMAND RUN ARGUMENTS` prints; it must succeed.
#[track_caller]
pub fn printed(subcommand: &str, run: &Path, arguments: &[&str]) -> String {
    succeeds(netwright().arg(subcommand).arg(run).args(arguments))
}

/// Runs a command whose input is wrong: exit code 2, and the message on standard error.
#[track_caller]
pub fn refused(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    stderr(&output)
}

/// A process at work. It is killed when this is dropped.
pub struct Running(Child);

impl Running {
    pub fn start(command: &mut Command) -> Self {
        Self(command.spawn().unwrap())
    }

    /// What it prints is dropped.
    pub fn start_silent(command: &mut Command) -> Self {
        Self::start(command.stdout(Stdio::null()).stderr(Stdio::null()))
    }

    pub fn id(&self) -> u32 {
        self.0.id()
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.id().try_into().unwrap()).unwrap()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    pub fn has_ended(&mut self) -> bool {
        self.0.try_wait().unwrap().is_some()
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        wait_until("the process ends", || self.has_ended());
        self.0.wait().unwrap()
    }

    /// `kill -9`; it is gone when this returns.
    pub fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// Its standard output, if that was piped and nobody has taken it.
    pub fn take_stdout(&mut self) -> std::process::ChildStdout {
        self.0.stdout.take().unwrap()
    }

    /// Its standard error, if that was piped and nobody has taken it.
    pub fn take_stderr(&mut self) -> std::process::ChildStderr {
        self.0.stderr.take().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Is there a whole line in this file? A shell that writes one has created the file before.
pub fn has_line(file: &Path) -> bool {
    std::fs::read_to_string(file).is_ok_and(|text| text.ends_with('\n'))
}

/// Is this process gone, or dead and waiting for whoever adopted it?
pub fn is_dead(pid: &str) -> bool {
    assert!(!pid.trim().is_empty(), "no process id");
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    stat.rsplit(')')
        .next()
        .is_none_or(|rest| rest.trim().is_empty() || rest.trim().starts_with('Z'))
}

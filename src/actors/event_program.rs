//! `run.on_event`: a program of the user's is told when the search has a new best trial, when it has
//! come to its end, and when it has failed. It runs on a thread of its own, one call after the other,
//! each no longer than a limit; nothing that it does harms the search. Must not know what it is for.

use super::{Event, Observer, Progress};
use crate::actors::runtime::Stopwatch;
use crate::child::{EventProcess, Outcome};
use serde_json::{Value, json};
use std::fs::File;
use std::io::Result;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// A call that takes longer is ended.
const LIMIT: Duration = Duration::from_secs(30);
/// From SIGTERM to SIGKILL.
const GRACE: Duration = Duration::from_secs(1);
const POLL: Duration = Duration::from_millis(10);
/// What the program prints is kept in a file that starts anew beyond this size, bytes.
const MAX_LOG: u64 = 1 << 20;

/// What the program is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunEvent {
    Best,
    End,
    Failure,
}

impl RunEvent {
    fn word(self) -> &'static str {
        match self {
            Self::Best => "best",
            Self::End => "end",
            Self::Failure => "failure",
        }
    }
}

enum Message {
    Tell(RunEvent, Value),
    /// Nothing follows.
    Leave,
}

/// The thread's handle.
pub struct EventProgram {
    messages: Sender<Message>,
    /// The program that runs is to end now.
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl EventProgram {
    /// Starts the thread. `argv`: the program and its arguments; `run_dir` is absolute.
    ///
    /// # Errors
    /// When the system refuses another thread.
    pub fn start(argv: Vec<String>, name: &str, run_dir: &Path) -> Result<Self> {
        let (messages, queue) = mpsc::channel();
        let stop = Arc::new(AtomicBool::new(false));
        let caller = Caller {
            argv,
            name: name.to_owned(),
            run_dir: run_dir.to_owned(),
            stop: stop.clone(),
        };
        let thread = std::thread::Builder::new()
            .name("on-event".into())
            .spawn(move || caller.run(&queue))?;
        Ok(Self {
            messages,
            stop,
            thread,
        })
    }

    /// Passes events on to another observer, and tells the program of each new best trial. `best` is
    /// the highest reward so far.
    pub fn observer(&self, inner: Box<dyn Observer>, best: Option<f64>) -> Box<dyn Observer> {
        Box::new(Watching {
            inner,
            best,
            messages: self.messages.clone(),
        })
    }

    /// Tells the program how the search has ended, and waits for it; a signal ends the waiting. None:
    /// the program is told nothing more, and ended.
    pub fn finish(self, last: Option<(RunEvent, Value)>) {
        let waits = last.is_some();
        match last {
            Some((event, facts)) => drop(self.messages.send(Message::Tell(event, facts))),
            None => self.stop.store(true, Ordering::Relaxed),
        }
        let _ = self.messages.send(Message::Leave);
        if waits && let Err(error) = self.wait_or_stop() {
            tracing::warn!("run.on_event: it cannot be interrupted by a signal: {error}");
        }
        let _ = self.thread.join();
    }

    /// The program that runs is ended soon, and no other begins: another process goes on.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Until the thread has ended, or a signal asks it to.
    fn wait_or_stop(&self) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let mut interrupts = signal(SignalKind::interrupt())?;
            let mut terminations = signal(SignalKind::terminate())?;
            while !self.thread.is_finished() {
                tokio::select! {
                    _ = interrupts.recv() => self.stop.store(true, Ordering::Relaxed),
                    _ = terminations.recv() => self.stop.store(true, Ordering::Relaxed),
                    () = tokio::time::sleep(POLL) => {}
                }
            }
            Ok(())
        })
    }
}

/// Sees every event of the search.
struct Watching {
    inner: Box<dyn Observer>,
    best: Option<f64>,
    messages: Sender<Message>,
}

impl Observer for Watching {
    fn event(&mut self, event: Event, progress: &Progress) {
        if let Event::ChildEnded {
            trial,
            name: None,
            outcome: Outcome::Completed { reward, metric, .. },
            ..
        } = &event
            && self.best.is_none_or(|best| *reward > best)
        {
            self.best = Some(*reward);
            let facts = json!({
                "trial": trial,
                "reward": reward,
                "metric": metric,
                "finished": progress.finished(),
                "trials": progress.trials,
            });
            // Fails once the thread is gone.
            let _ = self.messages.send(Message::Tell(RunEvent::Best, facts));
        }
        self.inner.event(event, progress);
    }
}

/// Calls the program.
struct Caller {
    argv: Vec<String>,
    name: String,
    run_dir: PathBuf,
    stop: Arc<AtomicBool>,
}

impl Caller {
    fn run(&self, queue: &Receiver<Message>) {
        while let Ok(first) = queue.recv() {
            let mut leaving = false;
            let mut newest = None;
            // Of several that wait, the newest is told.
            for message in std::iter::once(first).chain(queue.try_iter()) {
                match message {
                    Message::Tell(event, facts) => newest = Some((event, facts)),
                    Message::Leave => leaving = true,
                }
            }
            if let Some((event, facts)) = newest
                && !self.stop.load(Ordering::Relaxed)
                && let Err(problem) = self.call(event, facts)
            {
                tracing::warn!(
                    "run.on_event: {} at the event \"{}\": {problem}; the search does without it",
                    self.argv.join(" "),
                    event.word()
                );
            }
            if leaving {
                return;
            }
        }
    }

    fn call(&self, event: RunEvent, mut facts: Value) -> std::result::Result<(), String> {
        facts["event"] = event.word().into();
        facts["run"] = self.name.clone().into();
        facts["dir"] = self.run_dir.to_string_lossy().into();
        let log = self.log().map_err(|error| error.to_string())?;
        let [program, arguments @ ..] = self.argv.as_slice() else {
            return Ok(());
        };
        let mut command = Command::new(program);
        command
            .args(arguments)
            .arg(facts.to_string())
            .env("NETWRIGHT_EVENT", event.word())
            .env("NETWRIGHT_RUN_DIR", &self.run_dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(|error| error.to_string())?)
            .stderr(log);
        let process = EventProcess::start(command)
            .map_err(|error| format!("it cannot be started: {error}"))?;
        self.wait(process)
    }

    fn wait(&self, mut process: EventProcess) -> std::result::Result<(), String> {
        let started = Stopwatch::start();
        let mut asked: Option<Stopwatch> = None;
        loop {
            if let Some(status) = process.ended() {
                return match asked {
                    None if status.success() => Ok(()),
                    None => Err(format!(
                        "{status}; what it said is in log/on-event.log of the run"
                    )),
                    Some(_) => Err(self.why_ended()),
                };
            }
            let is_over = started.elapsed() > LIMIT || self.stop.load(Ordering::Relaxed);
            match asked {
                None if is_over => {
                    process.ask_to_end();
                    asked = Some(Stopwatch::start());
                }
                // Dropped: killed.
                Some(asked) if asked.elapsed() > GRACE => return Err(self.why_ended()),
                _ => {}
            }
            std::thread::sleep(POLL);
        }
    }

    fn why_ended(&self) -> String {
        if self.stop.load(Ordering::Relaxed) {
            "ended, because the search was".into()
        } else {
            format!("ended, because it took longer than {} s", LIMIT.as_secs())
        }
    }

    fn log(&self) -> Result<File> {
        let path = self.run_dir.join("log").join("on-event.log");
        let is_large = path.metadata().is_ok_and(|facts| facts.len() > MAX_LOG);
        let mut options = File::options();
        if is_large {
            options.write(true).truncate(true);
        } else {
            options.append(true);
        }
        options.create(true).open(path)
    }
}

//! The `command` evaluator: a program of the user's trains the child, in any language. It hears the
//! architecture, prints its epochs and its reward, and is ended with everything that it started.
//! Must not know what the program does, nor other lanes.

mod leftovers;
mod place;
mod protocol;
mod script;
#[cfg(test)]
mod tests;

pub use script::program_problem;

use super::{Cause, ChildSettings, Epoch, Evaluator, Outcome, Progress, Task};
use place::Place;
use protocol::{Protocol, Said};
use script::{End as ScriptEnd, Script};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// Pauses between two looks at a program: short after it has printed something, doubled each time
/// it has not.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// What a lane lends to the programs that it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandLane {
    /// `CUDA_VISIBLE_DEVICES`; empty: no GPU.
    pub visible_gpus: String,
    /// `OMP_NUM_THREADS`, unless the user has set it.
    pub threads: usize,
}

/// The evaluator `child.evaluator = "command"` of one lane.
pub struct CommandEvaluator {
    argv: Vec<String>,
    max_seconds: Option<f64>,
    run_dir: PathBuf,
    lane: CommandLane,
}

/// An evaluation that ends without a reward.
#[derive(Debug)]
enum End {
    Stopped,
    Failed(Cause, String),
}

impl CommandEvaluator {
    /// `settings` are free of problems; `run_dir` is absolute.
    pub fn new(settings: &ChildSettings, run_dir: PathBuf, lane: CommandLane) -> Self {
        Self {
            argv: settings.command.argv.clone(),
            max_seconds: settings.max_seconds,
            run_dir,
            lane,
        }
    }

    fn run(&self, task: &Task, place: &Place, progress: &mut dyn Progress) -> Result<Outcome, End> {
        let cannot = |error: std::io::Error| {
            End::Failed(
                Cause::Error,
                format!("{}: cannot be started: {error}", self.argv[0]),
            )
        };
        let mut script =
            Script::start(self.command(task, place).map_err(cannot)?).map_err(cannot)?;
        let mut protocol = Protocol::default();
        if let Err(end) = self.watch(&mut script, &mut protocol, progress) {
            script.end(progress);
            return Err(end);
        }
        match script.finish() {
            ScriptEnd::Code(0) => protocol
                .outcome()
                .map_err(|(cause, error)| End::Failed(cause, error)),
            ScriptEnd::Code(code) => Err(End::Failed(
                Cause::Exited,
                format!("the command ended with exit code {code}"),
            )),
            ScriptEnd::Signal(name) => Err(End::Failed(
                Cause::Killed,
                format!("the command was killed by {name}"),
            )),
        }
    }

    /// Until the program has ended, on its own.
    fn watch(
        &self,
        script: &mut Script,
        protocol: &mut Protocol,
        progress: &mut dyn Progress,
    ) -> Result<(), End> {
        let (mut since, mut pause) = (progress.elapsed(), SHORTEST_PAUSE);
        loop {
            self.may_go_on(progress)?;
            // A program that lives is at work, however long it is silent: `child.max_seconds` is
            // its limit.
            progress.examples(0);
            // Asked before reading, so that nothing that it printed is missed.
            let ended = script.has_ended();
            let lines = script.read(ended).map_err(|error| {
                End::Failed(Cause::Error, format!("its output cannot be read: {error}"))
            })?;
            pause = if lines.is_empty() {
                (pause * 2).min(LONGEST_PAUSE)
            } else {
                SHORTEST_PAUSE
            };
            for line in lines {
                let said = protocol
                    .line(&line)
                    .map_err(|(cause, error)| End::Failed(cause, error))?;
                if let Some(Said {
                    epoch,
                    metric,
                    train_loss,
                }) = said
                {
                    let now = progress.elapsed();
                    progress.epoch(Epoch {
                        epoch,
                        train_loss,
                        metric,
                        seconds: now - since,
                    });
                    since = now;
                }
            }
            if ended {
                return Ok(());
            }
            std::thread::sleep(pause);
        }
    }

    fn may_go_on(&self, progress: &dyn Progress) -> Result<(), End> {
        if progress.stop_requested() {
            return Err(End::Stopped);
        }
        match self.max_seconds {
            Some(limit) if progress.elapsed() > limit => Err(End::Failed(
                Cause::Timeout,
                format!("the command did not end within {limit} seconds (child.max_seconds)"),
            )),
            _ => Ok(()),
        }
    }

    fn command(&self, task: &Task, place: &Place) -> std::io::Result<Command> {
        let mut command = Command::new(&self.argv[0]);
        command
            .args(&self.argv[1..])
            .stdin(place.architecture()?)
            .stderr(place.log()?);
        command
            .env("NETWRIGHT_ARCHITECTURE", place.inline_or_path())
            .env("NETWRIGHT_TRIAL", task.trial.to_string())
            .env("NETWRIGHT_ATTEMPT", (task.attempt + 1).to_string())
            .env("NETWRIGHT_SEED", task.seed.to_string())
            .env(place::CHECKPOINT_DIR, place.checkpoints())
            .env("CUDA_VISIBLE_DEVICES", &self.lane.visible_gpus);
        if std::env::var_os("OMP_NUM_THREADS").is_none() {
            command.env("OMP_NUM_THREADS", self.lane.threads.to_string());
        }
        Ok(command)
    }
}

impl Evaluator for CommandEvaluator {
    fn evaluate(&mut self, task: &Task, progress: &mut dyn Progress) -> Outcome {
        let place = match Place::prepare(&self.run_dir, task) {
            Ok(place) => place,
            Err(error) => {
                return Outcome::Failed {
                    cause: Cause::Error,
                    error,
                };
            }
        };
        let outcome = match self.run(task, &place, progress) {
            Ok(outcome) => outcome,
            Err(End::Stopped) => Outcome::Stopped,
            Err(End::Failed(cause, error)) => Outcome::Failed {
                cause,
                error: error + &place.last_words(),
            },
        };
        place.tidy();
        outcome
    }
}

//! The `command` evaluator: a program of the user's trains the child, in any language. It is given
//! the architecture and prints its epochs and its reward; it is ended with everything that it
//! started, also what has left its process group. Must not know what the program does, nor other
//! lanes.

mod descendants;
mod event;
mod program;
mod protocol;
#[cfg(test)]
mod tests;
mod trial_files;

pub use descendants::{
    adopt_orphans, end_all as end_programs, kill_all as kill_programs, reap_orphans,
};
pub use event::EventProcess;
pub use program::program_problem;

use super::{Cause, ChildSettings, Epoch, Evaluator, Outcome, Progress, Pruning, Task};
use descendants::Descendants;
use program::{End as ProgramEnd, Program};
use protocol::{EpochLine, Protocol};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use trial_files::TrialFiles;

/// Pauses between two reads of a program's output: short after it has printed something, doubled
/// each time it has not.
const MIN_PAUSE: Duration = Duration::from_millis(1);
const MAX_PAUSE: Duration = Duration::from_millis(50);

/// How often the processes below a program are looked at.
const READS_BETWEEN_LOOKS: u64 = 16;

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

/// What a program has printed, and what prunes it.
struct Output<'a> {
    protocol: Protocol,
    pruning: Option<&'a Pruning>,
    /// Number and metric of each epoch.
    epochs: Vec<(usize, f64)>,
    /// By the lane's clock, in seconds.
    epoch_started_at: f64,
}

impl<'a> Output<'a> {
    fn new(pruning: Option<&'a Pruning>) -> Self {
        Self {
            protocol: Protocol::new(pruning.is_some()),
            pruning,
            epochs: Vec::new(),
            epoch_started_at: 0.0,
        }
    }

    /// Takes the next line. A child is pruned by its lines alone, however many of them are read at
    /// once: what comes after the epoch that prunes it does not count.
    fn take(&mut self, line: &str, progress: &mut dyn Progress) -> Result<(), End> {
        let line = self
            .protocol
            .line(line)
            .map_err(|(cause, error)| End::Failed(cause, error))?;
        let Some(line) = line else {
            return Ok(());
        };
        let now = progress.elapsed();
        progress.epoch(Epoch {
            epoch: line.epoch,
            train_loss: line.train_loss,
            metric: line.metric,
            seconds: now - self.epoch_started_at,
        });
        self.epoch_started_at = now;
        self.epochs.push((line.epoch, line.metric));
        let epochs = self.epochs.iter().copied();
        match self
            .pruning
            .and_then(|pruning| pruning.pruned_after(epochs))
        {
            Some(_) => Err(End::Pruned(line)),
            None => Ok(()),
        }
    }
}

/// An evaluation that ends before its program does.
#[derive(Debug)]
enum End {
    Stopped,
    /// With what its last epoch says of itself.
    Pruned(EpochLine),
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

    fn run(
        &self,
        task: &Task,
        files: &TrialFiles,
        progress: &mut dyn Progress,
    ) -> Result<Outcome, End> {
        let cannot = |error: std::io::Error| {
            End::Failed(
                Cause::Error,
                format!("{}: cannot be started: {error}", self.argv[0]),
            )
        };
        let descendants = Descendants::of(files.checkpoints());
        let command = self.command(task, files).map_err(cannot)?;
        let mut program = Program::start(command, descendants).map_err(cannot)?;
        let mut output = Output::new(task.pruning.as_ref());
        if let Err(end) = self.watch(&mut program, &mut output, progress) {
            program.end(progress);
            return Err(end);
        }
        match program.finish(progress) {
            ProgramEnd::Code(0) => output
                .protocol
                .outcome()
                .map_err(|(cause, error)| End::Failed(cause, error)),
            ProgramEnd::Code(code) => Err(End::Failed(
                Cause::Exited,
                format!("the command ended with exit code {code}"),
            )),
            ProgramEnd::Signal(name) => Err(End::Failed(
                Cause::Killed,
                format!("the command was killed by {name}"),
            )),
        }
    }

    /// Until the program has ended, on its own.
    fn watch(
        &self,
        program: &mut Program,
        output: &mut Output,
        progress: &mut dyn Progress,
    ) -> Result<(), End> {
        output.epoch_started_at = progress.elapsed();
        let mut pause = MIN_PAUSE;
        let mut reads = 0_u64;
        loop {
            if reads.is_multiple_of(READS_BETWEEN_LOOKS) {
                program.look_at_descendants();
            }
            reads += 1;
            self.check_limits(progress)?;
            // A program that has not ended is at work, however long it prints nothing:
            // `child.max_seconds` is its limit.
            progress.examples(0);
            // Before reading: what it printed until its end is then read too.
            let ended = program.has_ended();
            let lines = program.read(ended).map_err(|error| {
                End::Failed(Cause::Error, format!("its output cannot be read: {error}"))
            })?;
            pause = if lines.is_empty() {
                (pause * 2).min(MAX_PAUSE)
            } else {
                MIN_PAUSE
            };
            lines
                .iter()
                .try_for_each(|line| output.take(line, progress))?;
            if ended {
                return Ok(());
            }
            std::thread::sleep(pause);
        }
    }

    fn check_limits(&self, progress: &dyn Progress) -> Result<(), End> {
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

    fn command(&self, task: &Task, files: &TrialFiles) -> std::io::Result<Command> {
        let mut command = Command::new(&self.argv[0]);
        command
            .args(&self.argv[1..])
            .stdin(files.architecture()?)
            .stderr(files.log()?);
        command
            .env("NETWRIGHT_ARCHITECTURE", files.inline_or_path())
            .env("NETWRIGHT_TRIAL", task.trial.to_string())
            .env("NETWRIGHT_ATTEMPT", (task.attempt + 1).to_string())
            .env("NETWRIGHT_SEED", task.seed.to_string())
            .env(trial_files::CHECKPOINT_DIR, files.checkpoints())
            .env("CUDA_VISIBLE_DEVICES", &self.lane.visible_gpus);
        if std::env::var_os("OMP_NUM_THREADS").is_none() {
            command.env("OMP_NUM_THREADS", self.lane.threads.to_string());
        }
        Ok(command)
    }
}

impl Evaluator for CommandEvaluator {
    fn evaluate(&mut self, task: &Task, progress: &mut dyn Progress) -> Outcome {
        let files = match TrialFiles::prepare(&self.run_dir, task) {
            Ok(files) => files,
            Err(error) => {
                return Outcome::Failed {
                    cause: Cause::Error,
                    error,
                };
            }
        };
        let outcome = match self.run(task, &files, progress) {
            Ok(outcome) => outcome,
            Err(End::Stopped) => Outcome::Stopped,
            Err(End::Pruned(line)) => Outcome::Pruned {
                epoch: line.epoch,
                reward: line.reward,
                metric: Some(line.metric).filter(|metric| metric.is_finite()),
                seconds: None,
            },
            Err(End::Failed(cause, error)) => Outcome::Failed {
                cause,
                error: error + &files.last_stderr_line(),
            },
        };
        files.tidy();
        outcome
    }
}

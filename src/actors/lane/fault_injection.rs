//! Wraps a lane's evaluator so that children fail on purpose, in tests. Must not know how children
//! are trained, nor what the lane does with their outcomes.
//!
//! Points, each for one trial (see `runtime/fault.rs`): `start`, before the evaluation; `step`, in
//! the first epoch; `later`, after it; `epochN`, at the end of epoch N. The words after them are
//! `panic`, `freeze` and `hold`, and after `start` also `pause`. `child.kill`, `child.abort`,
//! `child.error`, `child.diverge` and `child.device` end the child before it starts; the first two
//! end the process.

use crate::actors::runtime::fault;
use crate::child::{Cause, Checkpoints, Epoch, Evaluator, Outcome, Progress, Task, Weights};
use std::time::Duration;

/// How often a child that is held checks whether it may go on.
const HOLD_INTERVAL: Duration = Duration::from_millis(5);

/// The evaluator as it is, or one that fails as `NETWRIGHT_FAULT` says, if that is set.
pub fn with_faults(evaluator: Box<dyn Evaluator>) -> Box<dyn Evaluator> {
    if fault::is_inert() {
        evaluator
    } else {
        Box::new(FaultyEvaluator(evaluator))
    }
}

struct FaultyEvaluator(Box<dyn Evaluator>);

impl Evaluator for FaultyEvaluator {
    fn evaluate(&mut self, task: &Task, progress: &mut dyn Progress) -> Outcome {
        pause(task, "start");
        hold(task, "start", progress);
        inject(task, "start");
        if let Some(outcome) = injected_outcome(task) {
            return outcome;
        }
        let mut progress = FaultyProgress {
            task,
            progress,
            point: "step",
            steps: 0,
        };
        self.0.evaluate(task, &mut progress)
    }
}

fn injected_outcome(task: &Task) -> Option<Outcome> {
    let wanted = |point: &str| fault::wanted_attempt(point, task.trial, task.attempt);
    if wanted("child.kill") {
        kill_process();
    }
    if wanted("child.abort") {
        std::process::abort();
    }
    let causes = [
        ("child.error", Cause::Error),
        ("child.diverge", Cause::Diverged),
        ("child.device", Cause::Device),
    ];
    let (_, cause) = causes.into_iter().find(|(point, _)| wanted(point))?;
    Some(Outcome::Failed {
        cause,
        error: "a fault on purpose".into(),
    })
}

/// Ends this process as `kill -9` does.
fn kill_process() {
    use rustix::process::{Signal, getpid, kill_process};
    let _ = kill_process(getpid(), Signal::KILL);
    std::process::abort();
}

/// Panics or freezes at this point, if that is wanted of this attempt.
fn inject(task: &Task, point: &str) {
    assert!(
        !fault::wanted_attempt(&format!("{point}.panic"), task.trial, task.attempt),
        "a fault on purpose in trial {}",
        task.trial
    );
    while fault::wanted_attempt(&format!("{point}.freeze"), task.trial, task.attempt) {
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// Holds the child at this point, alive and without a step, until the test lets it go on or the
/// child is to stop.
fn hold(task: &Task, point: &str, progress: &mut dyn Progress) {
    let point = format!("{point}.hold");
    while fault::holds(&point, task.trial) && !progress.stop_requested() {
        progress.examples(0);
        std::thread::sleep(HOLD_INTERVAL);
    }
}

/// As `hold`, without a sign of life.
fn pause(task: &Task, point: &str) {
    let point = format!("{point}.pause");
    while fault::holds(&point, task.trial) {
        std::thread::sleep(HOLD_INTERVAL);
    }
}

/// Passes everything on and injects faults in between.
struct FaultyProgress<'a> {
    task: &'a Task,
    progress: &'a mut dyn Progress,
    /// The point of the next training step.
    point: &'static str,
    steps: u32,
}

/// What each step adds to the time of a child under test, in seconds. On a machine so busy that the
/// process's clock falls behind, a step would take no time, and what is due at every step would not
/// be due.
const STEP_SECONDS: f64 = 1e-6;

impl Progress for FaultyProgress<'_> {
    fn epoch(&mut self, epoch: Epoch) {
        self.point = "later";
        let point = format!("epoch{}", epoch.epoch);
        self.progress.epoch(epoch);
        hold(self.task, &point, self.progress);
    }

    fn examples(&mut self, count: usize) {
        if count > 0 {
            self.steps += 1;
            inject(self.task, self.point);
        }
        self.progress.examples(count);
    }

    fn stop_requested(&self) -> bool {
        self.progress.stop_requested()
    }

    fn elapsed(&self) -> f64 {
        self.progress.elapsed() + STEP_SECONDS * f64::from(self.steps)
    }

    fn resumed(&mut self, epochs: &[Epoch]) {
        if !epochs.is_empty() {
            self.point = "later";
        }
        self.progress.resumed(epochs);
    }

    fn checkpoints(&mut self) -> Option<&mut dyn Checkpoints> {
        self.progress.checkpoints()
    }

    fn weights(&mut self) -> Option<&mut dyn Weights> {
        self.progress.weights()
    }
}

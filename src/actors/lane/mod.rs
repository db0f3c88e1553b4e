//! A lane: one named OS thread that owns its device and trains one child after the other, and
//! catches their panics. Must not know the actors: it reports to a function, and what crosses is
//! plain data.

mod checkpoints;
mod fault_injection;
mod weights;

use crate::actors::runtime::{BusyTime, Stopwatch, panic_message};
use crate::child::{Cause, Checkpoints, Epoch, Evaluator, Outcome, Progress, Task, Weights};
use crate::machine::LaneSpec;
use checkpoints::{CheckpointFiles, ChildCheckpoint};
use fault_injection::with_faults;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use weights::{ChildWeights, WeightFiles};

/// Creates a lane's evaluator; called on the lane's own thread.
pub type EvaluatorFactory =
    Arc<dyn Fn(&LaneSpec) -> Result<Box<dyn Evaluator>, String> + Send + Sync>;

/// Stack of a lane's thread, bytes: candle's backward pass is recursive.
const STACK: usize = 64 << 20;

/// What a run keeps of its children on disk, beside the journal.
#[derive(Clone)]
pub struct ChildFiles {
    pub checkpoints: Arc<CheckpointFiles>,
    pub weights: Arc<WeightFiles>,
}

impl ChildFiles {
    /// Those of the run in `dir`, brought in line with the journal: of trials that are not
    /// `unfinished` there are no checkpoints, and weights only of the `limit` best of `best`, reward
    /// and id of trained trials; an infinite reward keeps a trial whatever comes.
    pub fn open(
        dir: &Path,
        limit: usize,
        best: impl IntoIterator<Item = (f64, u64)>,
        unfinished: &BTreeSet<u64>,
    ) -> Self {
        Self {
            checkpoints: Arc::new(CheckpointFiles::open(dir, unfinished)),
            weights: Arc::new(WeightFiles::open(dir, limit, best, unfinished)),
        }
    }
}

/// What a lane reports to its owner.
#[derive(Clone, Debug)]
pub enum LaneReport {
    /// The evaluator was created and the lane waits for children.
    Ready,
    /// The evaluator could not be created; the thread has ended.
    Unusable(String),
    Epoch {
        trial: u64,
        epoch: Epoch,
    },
    /// The child continues from its checkpoint, after these epochs.
    Resumed {
        trial: u64,
        epochs: Vec<Epoch>,
    },
    /// What the network costs.
    Cost {
        trial: u64,
        cost: f64,
    },
    Ended {
        task: Box<Task>,
        outcome: Outcome,
        seconds: f64,
    },
}

/// What a lane's owner and its thread share, without locks.
#[derive(Default)]
pub struct LaneSignals {
    /// True: the child that runs is to end soon, as stopped.
    pub stop: AtomicBool,
    /// True: the owner has given this lane up and another may train its child.
    pub abandoned: AtomicBool,
    /// Training examples used so far by all children of this lane.
    pub examples: AtomicU64,
    /// Counts steps and epochs: a count that stands still means a child that has frozen.
    pub heartbeats: AtomicU64,
    pub busy: BusyTime,
}

/// Handle of a lane. Dropping it asks the child that runs to stop, and the thread ends after that
/// child. Nothing waits for the thread: one that never ends is abandoned.
pub struct Lane {
    tasks: mpsc::Sender<Task>,
    pub signals: Arc<LaneSignals>,
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.signals.abandoned.store(true, Ordering::Relaxed);
        self.signals.stop.store(true, Ordering::Relaxed);
    }
}

impl Lane {
    /// Starts the thread, which calls `report`.
    ///
    /// # Errors
    /// When the system refuses another thread.
    pub fn start(
        spec: LaneSpec,
        factory: EvaluatorFactory,
        files: ChildFiles,
        report: impl Fn(LaneReport) + Send + 'static,
    ) -> std::io::Result<Self> {
        let (tasks, queue) = mpsc::channel::<Task>();
        let signals = Arc::new(LaneSignals::default());
        let shared = signals.clone();
        std::thread::Builder::new()
            .name(format!("lane-{}", spec.name))
            .stack_size(STACK)
            .spawn(move || {
                if let [core] = spec.cores[..] {
                    core_affinity::set_for_current(core_affinity::CoreId { id: core });
                }
                if let Err(reason) = run(&queue, &|| factory(&spec), &files, &shared, &report) {
                    report(LaneReport::Unusable(reason));
                }
            })?;
        Ok(Self { tasks, signals })
    }

    /// Queues one child; false if the thread has ended.
    pub fn train(&self, task: Task) -> bool {
        self.tasks.send(task).is_ok()
    }
}

fn has_failed_by(outcome: &Outcome, expected: Cause) -> bool {
    matches!(outcome, Outcome::Failed { cause, .. } if *cause == expected)
}

/// Trains children until the lane's owner drops its handle. A panic may have left the evaluator in
/// any state: the next child gets a new one.
fn run(
    queue: &mpsc::Receiver<Task>,
    factory: &dyn Fn() -> Result<Box<dyn Evaluator>, String>,
    files: &ChildFiles,
    signals: &LaneSignals,
    report: &dyn Fn(LaneReport),
) -> Result<(), String> {
    let create = || {
        catch_unwind(AssertUnwindSafe(factory)).map_or_else(
            |panic| Err(panic_message(panic.as_ref())),
            |made| made.map(with_faults),
        )
    };
    let mut evaluator = create()?;
    report(LaneReport::Ready);
    for task in queue {
        signals.busy.begin();
        let (outcome, seconds) = evaluate(evaluator.as_mut(), &task, files, signals, report);
        if has_failed_by(&outcome, Cause::Timeout) {
            // From its checkpoint it would be over its time at once.
            files.checkpoints.remove(task.trial);
        }
        signals.busy.end();
        let panicked = has_failed_by(&outcome, Cause::Panicked);
        report(LaneReport::Ended {
            task: Box::new(task),
            outcome,
            seconds,
        });
        if panicked {
            evaluator = create()?;
        }
    }
    Ok(())
}

fn evaluate(
    evaluator: &mut dyn Evaluator,
    task: &Task,
    files: &ChildFiles,
    signals: &LaneSignals,
    report: &dyn Fn(LaneReport),
) -> (Outcome, f64) {
    let started = Stopwatch::start();
    let mut progress = LaneProgress {
        task,
        checkpoint: files.checkpoints.of(task.trial, signals),
        weights: files.weights.of(task.trial, signals),
        signals,
        report,
        started,
    };
    let outcome = catch_unwind(AssertUnwindSafe(|| evaluator.evaluate(task, &mut progress)))
        .unwrap_or_else(|panic| outcome_of_panic(&panic_message(panic.as_ref())));
    (outcome, started.seconds())
}

fn outcome_of_panic(panic: &str) -> Outcome {
    let cause = if crate::child::is_lost(panic) {
        Cause::Device
    } else {
        Cause::Panicked
    };
    Outcome::Failed {
        cause,
        error: format!("panicked: {panic}"),
    }
}

struct LaneProgress<'a> {
    task: &'a Task,
    checkpoint: ChildCheckpoint<'a>,
    weights: ChildWeights<'a>,
    signals: &'a LaneSignals,
    report: &'a dyn Fn(LaneReport),
    started: Stopwatch,
}

impl Progress for LaneProgress<'_> {
    fn epoch(&mut self, epoch: Epoch) {
        self.signals.heartbeats.fetch_add(1, Ordering::Relaxed);
        (self.report)(LaneReport::Epoch {
            trial: self.task.trial,
            epoch,
        });
    }

    fn examples(&mut self, count: usize) {
        self.signals.heartbeats.fetch_add(1, Ordering::Relaxed);
        self.signals
            .examples
            .fetch_add(count as u64, Ordering::Relaxed);
    }

    fn stop_requested(&self) -> bool {
        self.signals.stop.load(Ordering::Relaxed)
    }

    fn elapsed(&self) -> f64 {
        self.started.seconds()
    }

    fn resumed(&mut self, epochs: &[Epoch]) {
        (self.report)(LaneReport::Resumed {
            trial: self.task.trial,
            epochs: epochs.to_vec(),
        });
    }

    fn cost(&mut self, cost: f64) {
        let trial = self.task.trial;
        (self.report)(LaneReport::Cost { trial, cost });
    }

    fn checkpoints(&mut self) -> Option<&mut dyn Checkpoints> {
        Some(&mut self.checkpoint)
    }

    fn weights(&mut self) -> Option<&mut dyn Weights> {
        Some(&mut self.weights)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::{Architecture, ChoiceNetwork, Network};
    use candle_core::{Device, Result, Tensor, Var};

    /// Differentiates a chain of 50,000 operations: many times what the deepest network has.
    struct Deep;

    fn deep_gradient() -> Result<f32> {
        let x = Var::from_tensor(&Tensor::new(1f32, &Device::Cpu)?)?;
        let mut y = x.as_tensor().clone();
        for _ in 0..50_000 {
            y = y.affine(1.0, 1.0)?;
        }
        y.backward()?
            .get(x.as_tensor())
            .map_or(Ok(f32::NAN), Tensor::to_scalar)
    }

    impl Evaluator for Deep {
        fn evaluate(&mut self, _: &Task, _: &mut dyn Progress) -> Outcome {
            let metric = deep_gradient().map_or(f64::NAN, f64::from);
            Outcome::Completed {
                reward: metric,
                metric,
                seconds: None,
            }
        }
    }

    /// candle walks a graph backwards, and drops it, by recursion: that must not overflow the
    /// lane's stack.
    #[test]
    fn a_deep_graph_fits_on_a_lanes_stack() {
        let (sender, reports) = mpsc::channel();
        let spec = LaneSpec {
            device: "cpu".into(),
            name: "deep".into(),
            cores: Vec::new(),
            threads: 1,
        };
        let report = move |report| sender.send(report).unwrap_or_default();
        let folder = tempfile::tempdir().unwrap();
        let files = ChildFiles::open(folder.path(), 0, [], &Default::default());
        let lane = Lane::start(spec, Arc::new(|_| Ok(Box::new(Deep))), files, report).unwrap();
        let network = Network::Choices(ChoiceNetwork {
            values: Default::default(),
        });
        let architecture = Architecture {
            version: 1,
            network,
        };
        assert!(lane.train(Task {
            trial: 1,
            attempt: 0,
            seed: 0,
            layers: 0,
            decisions: Vec::new(),
            architecture,
            pruning: None,
        }));
        assert!(matches!(reports.recv(), Ok(LaneReport::Ready)));
        let Ok(LaneReport::Ended {
            outcome: Outcome::Completed { metric, .. },
            ..
        }) = reports.recv()
        else {
            panic!("not completed")
        };
        assert_eq!(metric, 1.0);
    }
}

//! A lane: one named OS thread that owns its device and trains one child after the other. Panics end here.
//! Must not know the actors: it is handed a function to report to, and what crosses is plain data.

use super::busy::BusyTime;
use super::compute::panic_message;
use super::devices::LaneSpec;
use crate::child::{Cause, Epoch, Evaluator, Outcome, Progress, Task};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Instant;

/// Makes a lane's evaluator, on the lane's own thread.
pub type EvaluatorFactory = Arc<dyn Fn(&LaneSpec) -> Result<Box<dyn Evaluator>, String> + Send + Sync>;

/// Stack of a lane's thread, bytes: candle's backward pass is recursive.
const STACK: usize = 64 << 20;

/// What a lane tells.
#[derive(Clone, Debug)]
pub enum LaneReport {
    /// The device is there and the lane waits for work.
    Ready,
    /// The evaluator could not be made; the thread has ended.
    Unusable(String),
    Epoch {
        trial: u64,
        epoch: Epoch,
    },
    Ended {
        task: Task,
        outcome: Outcome,
        seconds: f64,
    },
}

/// What a lane's owner and its thread share.
#[derive(Default)]
pub struct LaneSignals {
    /// Set: the child that runs ends soon, as stopped.
    pub stop: AtomicBool,
    /// Training examples used so far, of all children of this lane: the heartbeat.
    pub examples: AtomicU64,
    pub busy: BusyTime,
}

/// Handle of a lane; the thread ends when it is dropped and the child that runs has ended.
pub struct Lane {
    tasks: mpsc::Sender<Task>,
    pub signals: Arc<LaneSignals>,
}

impl Lane {
    /// Starts the thread. `report` is called on it.
    ///
    /// # Errors
    /// When the system refuses another thread.
    pub fn start(spec: LaneSpec, factory: EvaluatorFactory, report: impl Fn(LaneReport) + Send + 'static) -> std::io::Result<Self> {
        let (tasks, queue) = mpsc::channel::<Task>();
        let signals = Arc::new(LaneSignals::default());
        let shared = signals.clone();
        std::thread::Builder::new().name(format!("lane-{}", spec.name)).stack_size(STACK).spawn(move || {
            if let [core] = spec.cores[..] {
                core_affinity::set_for_current(core_affinity::CoreId { id: core });
            }
            let made = catch_unwind(AssertUnwindSafe(|| factory(&spec))).unwrap_or_else(|panic| Err(panic_message(panic.as_ref())));
            let mut evaluator = match made {
                Ok(evaluator) => evaluator,
                Err(reason) => return report(LaneReport::Unusable(reason)),
            };
            report(LaneReport::Ready);
            for task in queue {
                shared.busy.begin();
                let (outcome, seconds) = evaluate(evaluator.as_mut(), &task, &shared, &report);
                shared.busy.end();
                report(LaneReport::Ended { task, outcome, seconds });
            }
        })?;
        Ok(Self { tasks, signals })
    }

    /// Hands over one child; false if the thread is gone.
    pub fn train(&self, task: Task) -> bool {
        self.tasks.send(task).is_ok()
    }
}

fn evaluate(evaluator: &mut dyn Evaluator, task: &Task, signals: &LaneSignals, report: &dyn Fn(LaneReport)) -> (Outcome, f64) {
    let started = Instant::now();
    let mut progress = LaneProgress { trial: task.trial, signals, report, started };
    let outcome = catch_unwind(AssertUnwindSafe(|| evaluator.evaluate(task, &mut progress)))
        .unwrap_or_else(|panic| Outcome::Failed { cause: Cause::Panicked, error: format!("panicked: {}", panic_message(panic.as_ref())) });
    (outcome, started.elapsed().as_secs_f64())
}

struct LaneProgress<'a> {
    trial: u64,
    signals: &'a LaneSignals,
    report: &'a dyn Fn(LaneReport),
    started: Instant,
}

impl Progress for LaneProgress<'_> {
    fn epoch(&mut self, epoch: Epoch) {
        (self.report)(LaneReport::Epoch { trial: self.trial, epoch });
    }

    fn examples(&mut self, count: usize) {
        self.signals.examples.fetch_add(count as u64, Ordering::Relaxed);
    }

    fn stop_requested(&self) -> bool {
        self.signals.stop.load(Ordering::Relaxed)
    }

    fn elapsed(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
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
        y.backward()?.get(x.as_tensor()).map_or(Ok(f32::NAN), Tensor::to_scalar)
    }

    impl Evaluator for Deep {
        fn evaluate(&mut self, _: &Task, _: &mut dyn Progress) -> Outcome {
            let metric = deep_gradient().map_or(f64::NAN, f64::from);
            Outcome::Completed { reward: metric, metric, seconds: None }
        }
    }

    /// candle goes back through a graph, and drops it, by recursion: it must not meet the end of the lane's stack.
    #[test]
    fn a_deep_graph_fits_on_a_lanes_stack() {
        let (sender, reports) = mpsc::channel();
        let spec = LaneSpec { device: "cpu".into(), name: "deep".into(), cores: Vec::new(), threads: 1 };
        let report = move |report| sender.send(report).unwrap_or_default();
        let lane = Lane::start(spec, Arc::new(|_| Ok(Box::new(Deep))), report).unwrap();
        let network = Network::Choices(ChoiceNetwork { values: Default::default() });
        let architecture = Architecture { version: 1, network };
        assert!(lane.train(Task { trial: 1, attempt: 0, seed: 0, layers: 0, decisions: Vec::new(), architecture }));
        assert!(matches!(reports.recv(), Ok(LaneReport::Ready)));
        let Ok(LaneReport::Ended { outcome: Outcome::Completed { metric, .. }, .. }) = reports.recv() else { panic!("not completed") };
        assert_eq!(metric, 1.0);
    }
}

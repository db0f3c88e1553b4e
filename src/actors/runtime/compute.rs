//! The compute thread runs the policy's arithmetic away from the actors' thread, one job after the
//! other. A job that does not end is abandoned with its thread, and a new thread runs the jobs that
//! wait. Must not know what the jobs are.

use super::clock::Stopwatch;
use super::exit::{ActorExited, ActorId, ExitReason, panic_message};
use super::mailbox::Recipient;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Its error is the end of the actor that submitted it.
type Job = Box<dyn FnOnce() -> Result<(), String> + Send>;

/// The actor that submitted a job, in which generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobOwner {
    pub actor: ActorId,
    pub generation: u64,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<(JobOwner, Job)>,
    /// The owner of the running job, and for how long the job has run.
    running: Option<(JobOwner, Stopwatch)>,
    /// The number of the thread that may take jobs: an abandoned thread has an earlier one.
    thread: u64,
    closed: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a job; returns None when this thread is to end.
    fn next(&self, thread: u64) -> Option<(JobOwner, Job)> {
        let mut state = self.lock();
        loop {
            if state.closed || state.thread != thread {
                return None;
            }
            if let Some((owner, job)) = state.jobs.pop_front() {
                state.running = Some((owner, Stopwatch::start()));
                return Some((owner, job));
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn run(&self, thread: u64, exits: &Recipient<ActorExited>) {
        while let Some((owner, job)) = self.next(thread) {
            let result = catch_unwind(AssertUnwindSafe(job));
            let mut state = self.lock();
            if state.thread != thread {
                return;
            }
            state.running = None;
            drop(state);
            let reason = match result {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => ExitReason::Failed(error),
                Err(panic) => ExitReason::Panicked(panic_message(panic.as_ref())),
            };
            exits.do_send(ActorExited {
                actor: owner.actor,
                generation: owner.generation,
                reason,
            });
        }
    }
}

/// Handle of the compute thread; the thread ends when the last handle is dropped.
#[derive(Clone)]
pub struct Compute {
    handle: Arc<Handle>,
}

struct Handle {
    shared: Arc<Shared>,
    exits: Recipient<ActorExited>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_all();
    }
}

impl Compute {
    /// Starts the thread. `exits` receives the owner of a job that failed or panicked; the thread
    /// goes on with the next job.
    ///
    /// # Errors
    /// When the system refuses another thread.
    pub fn start(exits: Recipient<ActorExited>) -> std::io::Result<Self> {
        let compute = Self {
            handle: Arc::new(Handle {
                shared: Arc::default(),
                exits,
            }),
        };
        compute.start_thread(0)?;
        Ok(compute)
    }

    fn start_thread(&self, thread: u64) -> std::io::Result<()> {
        let shared = self.handle.shared.clone();
        let exits = self.handle.exits.clone();
        std::thread::Builder::new()
            .name("policy".into())
            .spawn(move || shared.run(thread, &exits))?;
        Ok(())
    }

    /// Queues a job. An error or a panic of the job is the exit of its owner. The queue is bounded
    /// by the number of actors: each has at most one job waiting.
    pub fn submit(
        &self,
        owner: JobOwner,
        job: impl FnOnce() -> Result<(), String> + Send + 'static,
    ) {
        self.handle
            .shared
            .lock()
            .jobs
            .push_back((owner, Box::new(job)));
        self.handle.shared.changed.notify_one();
    }

    /// A job that has run for longer than `limit` is abandoned with its thread; returns its owner.
    ///
    /// # Errors
    /// When the system refuses another thread.
    pub fn abandon_after(&self, limit: Duration) -> std::io::Result<Option<JobOwner>> {
        let mut state = self.handle.shared.lock();
        let Some((owner, _)) = state
            .running
            .filter(|(_, running)| running.elapsed() > limit)
        else {
            return Ok(None);
        };
        state.running = None;
        state.thread += 1;
        let thread = state.thread;
        drop(state);
        self.start_thread(thread)?;
        Ok(Some(owner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    fn start() -> (Compute, mpsc::Receiver<ActorExited>) {
        let (exit, exits) = mpsc::channel();
        let exit = Recipient::new(move |exited| exit.send(exited).unwrap());
        (Compute::start(exit).unwrap(), exits)
    }

    fn controller(index: u64, generation: u64) -> JobOwner {
        JobOwner {
            actor: ActorId::Controller(index),
            generation,
        }
    }

    #[test]
    fn a_job_that_panics_or_fails_is_reported_with_its_owner_and_the_next_one_runs() {
        let (compute, exits) = start();
        let (done, answer) = mpsc::channel();
        compute.submit(controller(4, 2), || panic!("a bug"));
        compute.submit(controller(3, 1), || Err("no parameters".into()));
        compute.submit(controller(5, 0), move || {
            done.send(7).unwrap();
            Ok(())
        });
        assert_eq!(answer.recv().unwrap(), 7);
        for (index, generation, reason) in [
            (4, 2, ExitReason::Panicked("a bug".into())),
            (3, 1, ExitReason::Failed("no parameters".into())),
        ] {
            let exited = exits.recv().unwrap();
            assert_eq!(
                (exited.actor, exited.generation, exited.reason),
                (ActorId::Controller(index), generation, reason)
            );
        }
    }

    #[test]
    fn a_job_without_end_is_abandoned_and_the_next_one_runs() {
        let (compute, _exits) = start();
        let (started, running) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let (done, answer) = mpsc::channel();
        compute.submit(controller(1, 0), move || {
            started.send(()).unwrap();
            let _ = released.recv();
            Ok(())
        });
        compute.submit(controller(2, 0), move || {
            done.send(7).unwrap();
            Ok(())
        });
        running.recv().unwrap();
        assert_eq!(compute.abandon_after(Duration::MAX).unwrap(), None);
        let mut abandoned = None;
        while abandoned.is_none() {
            abandoned = compute.abandon_after(Duration::ZERO).unwrap();
        }
        assert_eq!(abandoned, Some(controller(1, 0)));
        assert_eq!(answer.recv().unwrap(), 7);
        drop(release);
    }
}

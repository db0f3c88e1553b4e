//! The compute thread: runs the policy's arithmetic away from the actors' thread, one job after the
//! other. A job that does not come to an end is abandoned with its thread; another thread goes on
//! with the rest. Must not know what the jobs are.

use super::watch::{Fall, Gone};
use actix::Recipient;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

type Job = Box<dyn FnOnce() + Send>;

/// Whose job it is: told if the job panics.
pub type Owner = (super::watch::ActorId, u64);

#[derive(Default)]
struct State {
    jobs: VecDeque<(Owner, Job)>,
    /// The job that runs, and for how many ticks.
    current: Option<(Owner, u32)>,
    /// Which thread may take jobs: an abandoned one finds another number here.
    thread: u64,
    closed: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    woken: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a job; None: this thread is to end.
    fn next(&self, thread: u64) -> Option<(Owner, Job)> {
        let mut state = self.lock();
        loop {
            if state.closed || state.thread != thread {
                return None;
            }
            if let Some((owner, job)) = state.jobs.pop_front() {
                state.current = Some((owner, 0));
                return Some((owner, job));
            }
            state = self
                .woken
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn run(&self, thread: u64, fallen: &Recipient<Gone>) {
        while let Some((owner, job)) = self.next(thread) {
            let result = catch_unwind(AssertUnwindSafe(job));
            let mut state = self.lock();
            if state.thread != thread {
                return;
            }
            state.current = None;
            drop(state);
            if let Err(panic) = result {
                fallen.do_send(Gone {
                    actor: owner.0,
                    generation: owner.1,
                    fall: Fall::Panicked(panic_message(panic.as_ref())),
                });
            }
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
    fallen: Recipient<Gone>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.woken.notify_all();
    }
}

impl Compute {
    /// Starts the thread. `fallen` hears of a job that panicked (a bug of ours); the thread goes
    /// on.
    ///
    /// # Errors
    /// When the system refuses another thread.
    pub fn start(fallen: Recipient<Gone>) -> std::io::Result<Self> {
        let compute = Self {
            handle: Arc::new(Handle {
                shared: Arc::default(),
                fallen,
            }),
        };
        compute.start_thread(0)?;
        Ok(compute)
    }

    fn start_thread(&self, thread: u64) -> std::io::Result<()> {
        let (shared, fallen) = (self.handle.shared.clone(), self.handle.fallen.clone());
        std::thread::Builder::new()
            .name("policy".into())
            .spawn(move || shared.run(thread, &fallen))?;
        Ok(())
    }

    /// Queues a job. The queue is bounded by the number of Controllers: each has at most one job
    /// waiting.
    pub fn submit(&self, owner: Owner, job: impl FnOnce() + Send + 'static) {
        self.handle
            .shared
            .lock()
            .jobs
            .push_back((owner, Box::new(job)));
        self.handle.shared.woken.notify_one();
    }

    /// Called at regular ticks. A job that runs through more than `most` of them is abandoned with
    /// its thread: returns its owner.
    ///
    /// # Errors
    /// When the system refuses another thread.
    pub fn tick(&self, most: u32) -> std::io::Result<Option<Owner>> {
        let mut state = self.handle.shared.lock();
        let Some((owner, ticks)) = &mut state.current else {
            return Ok(None);
        };
        *ticks += 1;
        if *ticks <= most {
            return Ok(None);
        }
        let owner = *owner;
        state.current = None;
        state.thread += 1;
        let thread = state.thread;
        drop(state);
        self.start_thread(thread)?;
        Ok(Some(owner))
    }
}

/// The text of a panic.
pub fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    if let Some(text) = panic.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text.clone()
    } else {
        "a panic without a message".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actors::runtime::watch::ActorId;
    use actix::{Actor, Context, Handler, System};
    use std::sync::mpsc;

    struct Listener(mpsc::Sender<Gone>);

    impl Actor for Listener {
        type Context = Context<Self>;
    }

    impl Handler<Gone> for Listener {
        type Result = ();
        fn handle(&mut self, gone: Gone, _: &mut Self::Context) {
            self.0.send(gone).unwrap();
            System::current().stop();
        }
    }

    #[test]
    fn a_panicking_job_is_reported_with_its_owner_and_the_next_one_runs() {
        let (report, reports) = mpsc::channel();
        let (done, answer) = mpsc::channel();
        let system = System::new();
        let compute = system
            .block_on(async { Compute::start(Listener(report).start().recipient()) })
            .unwrap();
        compute.submit((ActorId::Controller(4), 2), || panic!("a bug"));
        compute.submit((ActorId::Controller(5), 0), move || done.send(7).unwrap());
        assert_eq!(answer.recv().unwrap(), 7);
        system.run().unwrap();
        let gone = reports.recv().unwrap();
        assert_eq!(
            (gone.actor, gone.generation, gone.fall),
            (ActorId::Controller(4), 2, Fall::Panicked("a bug".into()))
        );
    }

    #[test]
    fn a_job_without_end_is_abandoned_and_the_rest_goes_on() {
        let (report, _reports) = mpsc::channel();
        let (started, running) = mpsc::channel();
        let (release, held) = mpsc::channel::<()>();
        let (done, answer) = mpsc::channel();
        let system = System::new();
        let compute = system
            .block_on(async { Compute::start(Listener(report).start().recipient()) })
            .unwrap();
        compute.submit((ActorId::Controller(1), 0), move || {
            started.send(()).unwrap();
            let _ = held.recv();
        });
        compute.submit((ActorId::Controller(2), 0), move || done.send(7).unwrap());
        running.recv().unwrap();
        assert_eq!(compute.tick(1).unwrap(), None);
        assert_eq!(compute.tick(1).unwrap(), Some((ActorId::Controller(1), 0)));
        assert_eq!(answer.recv().unwrap(), 7);
        drop(release);
    }
}

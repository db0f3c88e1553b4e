//! The compute thread: runs the policy's arithmetic away from the actors' thread, one job after the other.
//! Must not know what the jobs are.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;

type Job = Box<dyn FnOnce() + Send>;

/// Handle of the compute thread; the thread ends when the last handle is dropped.
#[derive(Clone)]
pub struct Compute {
    jobs: mpsc::Sender<Job>,
}

impl Compute {
    /// Starts the thread. `on_panic` hears of a job that panicked (a bug of ours); the thread goes on.
    ///
    /// # Errors
    /// When the system refuses another thread.
    pub fn start(on_panic: impl Fn(String) + Send + 'static) -> std::io::Result<Self> {
        let (jobs, queue) = mpsc::channel::<Job>();
        std::thread::Builder::new().name("policy".into()).spawn(move || {
            for job in queue {
                if let Err(panic) = catch_unwind(AssertUnwindSafe(job)) {
                    on_panic(panic_message(panic.as_ref()));
                }
            }
        })?;
        Ok(Self { jobs })
    }

    /// Queues a job. The queue is bounded by the number of Controllers: each has at most one job waiting.
    pub fn submit(&self, job: impl FnOnce() + Send + 'static) {
        // Fails only when the thread is gone, and the thread outlives every handle.
        let _ = self.jobs.send(Box::new(job));
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

    #[test]
    fn a_panicking_job_is_reported_and_the_next_one_runs() {
        let (report, reports) = mpsc::channel();
        let (done, answer) = mpsc::channel();
        let compute = Compute::start(move |text| report.send(text).unwrap()).unwrap();
        compute.submit(|| panic!("a bug"));
        compute.submit(move || done.send(7).unwrap());
        assert_eq!(answer.recv().unwrap(), 7);
        assert_eq!(reports.recv().unwrap(), "a bug");
    }
}

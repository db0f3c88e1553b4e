//! Replaces this process by the same command, when only a new process can use a device again. Must
//! not know why.

use super::{Failure, reading};
use crate::actors::ActorRestart;
use crate::journal::Reader;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::time::Duration;

/// Replaces this process by the same command, within the limit of `[restart.child_trainer]`.
/// Returns only if that fails or is beyond the limit.
pub fn replace_process(run_dir: &Path, limit: &ActorRestart, reason: &str) -> Failure {
    let restarts = match Reader::open(run_dir)
        .and_then(|reader| reader.recent_events("process restart", limit.window_seconds))
    {
        Ok(restarts) => restarts,
        Err(error) => return reading(error),
    };
    if restarts > limit.max_restarts {
        return Failure::Failed(format!(
            "{reason}: more than {} new processes within {} seconds (restart.child_trainer.max_restarts, window_seconds); what was finished \
             is saved, the same command continues it",
            limit.max_restarts, limit.window_seconds
        ));
    }
    let doublings = i32::try_from(restarts.saturating_sub(1)).unwrap_or(i32::MAX);
    let pause =
        (limit.backoff_first_seconds * 2.0_f64.powi(doublings)).min(limit.backoff_last_seconds);
    say!("{reason}: a new process goes on in {pause:.1} s");
    std::thread::sleep(Duration::from_secs_f64(pause));
    // With --fresh, the run that has just been begun would be moved aside.
    let arguments = std::env::args_os()
        .skip(1)
        .filter(|argument| argument != "--fresh");
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => {
            return Failure::Failed(format!("{reason}; and this program is not found: {error}"));
        }
    };
    let error = std::process::Command::new(&program).args(arguments).exec();
    Failure::Failed(format!(
        "{reason}; and {} cannot be started: {error}",
        program.display()
    ))
}

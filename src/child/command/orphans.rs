//! Programs that outlived the process that started them. A process that is killed cannot end its
//! programs, so the process that evaluates the trial again ends them: otherwise two programs would
//! write to one checkpoint directory. Must not touch any other process.

use super::trial_files::CHECKPOINT_DIR;
use rustix::process::{Pid, Signal, getpid, kill_process};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Kills every process whose environment names this checkpoint directory. A system without /proc
/// does not show the environments: there no process is killed.
pub fn kill(checkpoints: &Path) {
    let wanted = [
        CHECKPOINT_DIR.as_bytes(),
        b"=",
        checkpoints.as_os_str().as_bytes(),
    ]
    .concat();
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return;
    };
    for entry in entries.flatten() {
        let pid = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
            .and_then(Pid::from_raw);
        let Some(pid) = pid.filter(|pid| *pid != getpid()) else {
            continue;
        };
        // Another user's processes cannot be read, and are none of ours.
        let Ok(environment) = std::fs::read(entry.path().join("environ")) else {
            continue;
        };
        if environment
            .split(|byte| *byte == 0)
            .any(|variable| variable == wanted)
        {
            tracing::warn!(
                "{}: a program of an earlier process is still at work here (process {pid:?}); it is killed",
                checkpoints.display()
            );
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

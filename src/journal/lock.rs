//! Who may write to a run: one process at a time, by `flock` on `run.lock`, which the system
//! releases when the process dies. Moving a run aside belongs here, because it needs the lock. Must
//! not know what is in the run.

use super::JournalError;
use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// The lock of a run, as long as it lives.
pub(super) struct RunLock {
    _file: File,
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> JournalError {
    let path = path.to_owned();
    move |source| JournalError::Io { path, source }
}

/// Takes the lock and writes host and process id into it.
pub(super) fn acquire(dir: &Path) -> Result<RunLock, JournalError> {
    let path = dir.join("run.lock");
    let mut file = File::options()
        .create(true)
        .read(true)
        .write(true)
        .truncate(false)
        .open(&path)
        .map_err(io(&path))?;
    if let Err(error) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
        if error != rustix::io::Errno::WOULDBLOCK {
            return Err(io(&path)(error.into()));
        }
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(io(&path))?;
        let (host, pid) = text.trim().rsplit_once(' ').unwrap_or(("unknown", "0"));
        return Err(JournalError::Locked {
            path: dir.to_owned(),
            host: host.to_owned(),
            pid: pid.parse().unwrap_or(0),
        });
    }
    let host = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    file.set_len(0).map_err(io(&path))?;
    writeln!(file, "{host} {}", std::process::id()).map_err(io(&path))?;
    Ok(RunLock { _file: file })
}

/// Is the process that the lock names alive? One on another machine is believed to be; asking takes
/// no lock.
pub(super) fn holder_lives(dir: &Path) -> bool {
    let Ok(text) = std::fs::read_to_string(dir.join("run.lock")) else {
        return false;
    };
    let Some((host, pid)) = text.trim().rsplit_once(' ') else {
        return false;
    };
    if rustix::system::uname().nodename().to_string_lossy() != host {
        return true;
    }
    let pid = pid.parse().ok().and_then(rustix::process::Pid::from_raw);
    // Not permitted: it is somebody else's, and alive.
    pid.is_some_and(|pid| {
        !matches!(
            rustix::process::test_kill_process(pid),
            Err(rustix::io::Errno::SRCH)
        )
    })
}

/// Renames an existing run to the first free `<dir>.1`, `<dir>.2`, …; never deletes. None: there
/// was no run.
///
/// # Errors
/// When the run is in use, or cannot be renamed.
pub fn set_aside(dir: &Path) -> Result<Option<PathBuf>, JournalError> {
    if !dir.join("search.db").exists() {
        return Ok(None);
    }
    let _lock = acquire(dir)?;
    let mut name = dir.as_os_str().to_owned();
    let mut number = 1;
    loop {
        name.push(format!(".{number}"));
        let aside = PathBuf::from(&name);
        if !aside.exists() {
            std::fs::rename(dir, &aside).map_err(io(dir))?;
            return Ok(Some(aside));
        }
        name = dir.as_os_str().to_owned();
        number += 1;
    }
}

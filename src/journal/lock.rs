//! Who may write to a run: one process at a time, by `flock` on `run.lock`, which the system
//! releases when the process dies. Whether a process holds a run is asked of the lock itself: what
//! the file says of host and process is for messages, and may be another time's. Must not know what
//! is in the run.

use super::directory::unwritable;
use super::{JournalError, file_system};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

/// A process that ends may hold the lock for a last instant.
const TRIES: u32 = 40;
const PAUSE: Duration = Duration::from_millis(5);

/// Who asks whether the run is held shares the lock for an instant, or longer where the processor is
/// busy; a search waits for that as long.
const MAX_ASKING: Duration = Duration::from_secs(30);

/// The lock of a run, as long as it lives.
#[derive(Debug)]
pub(super) struct RunLock {
    _file: File,
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> JournalError {
    let path = path.to_owned();
    move |source| JournalError::Io { path, source }
}

/// Takes the lock and writes host and process id into it.
pub(super) fn acquire(dir: &Path) -> Result<RunLock, JournalError> {
    acquire_by(dir, |file| {
        flock(file, FlockOperation::NonBlockingLockExclusive)
    })
}

/// As `acquire`; `try_lock` asks the system.
pub(super) fn acquire_by(
    dir: &Path,
    try_lock: impl Fn(&File) -> rustix::io::Result<()>,
) -> Result<RunLock, JournalError> {
    let path = dir.join("run.lock");
    let mut file = File::options()
        .create(true)
        .read(true)
        .write(true)
        .truncate(false)
        .open(&path)
        .map_err(unwritable(&path))?;
    let begun = Instant::now();
    let mut tries = 1;
    while let Err(error) = try_lock(&file) {
        match error {
            Errno::INTR => {}
            Errno::WOULDBLOCK
                if tries < TRIES || begun.elapsed() < MAX_ASKING && is_only_asked(&file) =>
            {
                tries += 1;
                std::thread::sleep(PAUSE);
            }
            Errno::WOULDBLOCK => {
                let mut text = String::new();
                file.read_to_string(&mut text).map_err(io(&path))?;
                return Err(JournalError::Locked {
                    path: dir.to_owned(),
                    holder: holder(&text),
                });
            }
            error if has_no_locks(error) => {
                return Err(JournalError::NoLocks {
                    path: dir.to_owned(),
                    kind: file_system::describe(dir)
                        .map_or_else(String::new, |kind| format!(" ({kind})")),
                    source: error.into(),
                });
            }
            error => return Err(io(&path)(error.into())),
        }
    }
    let host = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    file.set_len(0).map_err(io(&path))?;
    writeln!(file, "{host} {}", std::process::id()).map_err(io(&path))?;
    Ok(RunLock { _file: file })
}

/// Is the lock shared by processes that ask, and held by none for itself?
fn is_only_asked(file: &File) -> bool {
    let shared = flock(file, FlockOperation::NonBlockingLockShared).is_ok();
    shared && flock(file, FlockOperation::Unlock).is_ok()
}

/// The errors by which a file system says that it knows no such locks.
fn has_no_locks(error: Errno) -> bool {
    [Errno::NOLCK, Errno::NOSYS, Errno::OPNOTSUPP, Errno::NOTSUP].contains(&error)
}

/// In words, from what the lock file holds.
fn holder(text: &str) -> String {
    let holder = text
        .trim()
        .rsplit_once(' ')
        .filter(|(_, pid)| pid.parse::<u32>().is_ok());
    match holder {
        Some((host, pid)) => format!("host {host}, process {pid}"),
        None => "its run.lock does not say which process that is".into(),
    }
}

/// Does a process hold the run? Where files cannot be locked, or this file cannot be read, none is
/// known to.
///
/// # Errors
/// When the system refuses the question.
pub(super) fn is_held(dir: &Path) -> Result<bool, JournalError> {
    let path = dir.join("run.lock");
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::NotFound | ErrorKind::PermissionDenied
            ) =>
        {
            return Ok(false);
        }
        Err(error) => return Err(io(&path)(error)),
    };
    loop {
        // Shared: two who ask at once do not take each other for a search. It ends with the file.
        return match flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(false),
            Err(Errno::WOULDBLOCK) => Ok(true),
            Err(Errno::INTR) => continue,
            Err(error) if has_no_locks(error) => Ok(false),
            Err(error) => Err(io(&path)(error.into())),
        };
    }
}

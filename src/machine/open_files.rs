//! How many files this process may have open at once. Must not know what they are.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Makes sure that so many more files can be opened, raising the limit as far as this process may.
///
/// # Errors
/// One sentence: what the limit is, what is needed, and how it is raised.
pub fn ensure_open_files(more: u64) -> Result<(), String> {
    let limit = getrlimit(Resource::Nofile);
    // A limit that is not there is none.
    let Some(current) = limit.current else {
        return Ok(());
    };
    let open = open_files(current);
    let needed = open + more;
    if needed <= current {
        return Ok(());
    }
    let raised = Rlimit {
        current: Some(needed),
        ..limit
    };
    let allowed = limit.maximum.is_none_or(|maximum| needed <= maximum);
    if allowed && setrlimit(Resource::Nofile, raised).is_ok() {
        return Ok(());
    }
    Err(format!(
        "this process may have {current} files open at once, and needs {needed}: raise the limit (ulimit -n 1024; LimitNOFILE= of a systemd unit)"
    ))
}

/// All of them, where even the list cannot be opened.
fn open_files(limit: u64) -> u64 {
    match std::fs::read_dir("/proc/self/fd") {
        // One of them is the list itself.
        Ok(entries) => (entries.count() as u64).saturating_sub(1),
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::MFILE.raw_os_error()) => {
            limit
        }
        Err(_) => 3,
    }
}

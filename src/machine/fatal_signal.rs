//! A file that says by which signal a process was ended, if it was a fatal one that came from within:
//! a fault of memory or arithmetic, a full stack, an abort. A process that was killed from outside
//! leaves none. Must not know what the process did.

use std::path::Path;

/// The name of the signal in this file, if an earlier process has left one.
pub fn left_in(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let name = text.trim();
    // A full disk leaves an empty file.
    let name = if name.is_empty() {
        "a fatal signal"
    } else {
        name
    };
    Some(name.to_owned())
}

#[cfg(target_os = "linux")]
pub use handler::mark_in;

#[cfg(not(target_os = "linux"))]
pub fn mark_in(_: &Path) {}

#[cfg(target_os = "linux")]
mod handler {
    use std::ffi::{CStr, CString, c_int, c_void};
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;
    use std::sync::OnceLock;

    /// The signals, and what the file says of each.
    const SIGNALS: [(c_int, &CStr); 5] = [
        (libc::SIGSEGV, c"SIGSEGV"),
        (libc::SIGBUS, c"SIGBUS"),
        (libc::SIGILL, c"SIGILL"),
        (libc::SIGFPE, c"SIGFPE"),
        (libc::SIGABRT, c"SIGABRT"),
    ];

    /// What the handler needs: it may allocate nothing.
    struct Marker {
        path: CString,
        /// The handlers of before: Rust's own says that a stack is full.
        previous: Vec<(c_int, &'static CStr, libc::sigaction)>,
    }

    static MARKER: OnceLock<Marker> = OnceLock::new();

    /// From now on a fatal signal leaves its name in this file, unless the file is there. The first
    /// call of a process counts.
    pub fn mark_in(path: &Path) {
        let Ok(path) = CString::new(path.as_os_str().as_bytes()) else {
            return;
        };
        let previous = SIGNALS
            .into_iter()
            .filter_map(|(signal, name)| Some((signal, name, current(signal)?)))
            .collect();
        let marker = MARKER.get_or_init(|| Marker { path, previous });
        for (signal, _, _) in &marker.previous {
            let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = on_fatal_signal;
            // SAFETY: an all-zero sigaction is a valid value. The handler has the signature that
            // SA_SIGINFO asks for, and calls only what a handler may call. It runs on the thread's
            // alternative stack, since its own may be full.
            unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                action.sa_sigaction = handler as usize;
                action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
                libc::sigaction(*signal, &raw const action, std::ptr::null_mut());
            }
        }
    }

    /// The handler that a signal has.
    fn current(signal: c_int) -> Option<libc::sigaction> {
        // SAFETY: an all-zero sigaction is a valid value, which the call fills; without a new
        // handler it changes nothing.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            let read = libc::sigaction(signal, std::ptr::null(), &raw mut action);
            (read == 0).then_some(action)
        }
    }

    /// Leaves the marker, and the signal to the handler of before. It calls nothing but the system,
    /// and reads what was made before it became the handler.
    extern "C" fn on_fatal_signal(signal: c_int, info: *mut libc::siginfo_t, _: *mut c_void) {
        let Some(marker) = MARKER.get() else { return };
        let Some((_, name, previous)) = marker.previous.iter().find(|(own, _, _)| *own == signal)
        else {
            return;
        };
        // SAFETY: the kernel hands over a valid `info`; path and name end in a zero, and the name
        // is as long as is said; `previous` was filled by sigaction.
        unsafe {
            // Above zero: the kernel found a fault of this process's own. Else somebody sent the
            // signal: this process itself (abort), or another one.
            let is_fault = (*info).si_code > 0;
            if is_fault || (*info).si_pid() == libc::getpid() {
                // A full stack is a SIGSEGV, whose handler aborts: the first signal is the cause.
                let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_CLOEXEC;
                let file = libc::open(marker.path.as_ptr(), flags, 0o644);
                if file >= 0 {
                    libc::write(file, name.as_ptr().cast(), name.count_bytes());
                    libc::close(file);
                }
            }
            libc::sigaction(signal, previous, std::ptr::null_mut());
            // A fault happens again as soon as this handler returns; a signal that was sent does
            // not.
            if !is_fault {
                libc::raise(signal);
            }
        }
    }
}

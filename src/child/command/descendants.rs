//! The processes that descend from this one, as /proc shows them: which of them belong to a trial's
//! program, though they have left its process group, and which are nobody's any more. A system
//! without /proc shows none. Must not know what the programs do.

use super::trial_files::CHECKPOINT_DIR;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, getpid, kill_process, waitid};
use std::collections::{BTreeSet, HashSet};
use std::io::Result;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// Programs that this process has started: each is reaped by whoever started it, and by nobody
/// else.
static PROGRAMS: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

/// True: orphans among the descendants become children of this process.
static ADOPTS: AtomicBool = AtomicBool::new(false);

/// How long `end_all` waits for an end in order.
const GRACE: Duration = Duration::from_secs(1);

fn programs() -> MutexGuard<'static, BTreeSet<i32>> {
    PROGRAMS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts a program that its owner reaps; `reaped` is to be called then.
pub fn spawn(command: &mut Command) -> Result<Child> {
    // Held meanwhile: a program that cannot be executed is reaped by `Command` itself.
    let mut programs = programs();
    let child = command.spawn()?;
    programs.insert(child.id().cast_signed());
    Ok(child)
}

/// The program has been reaped, or its owner has given it up.
pub fn reaped(program: Pid) {
    programs().remove(&program.as_raw_nonzero().get());
}

/// From now on a descendant whose parent has ended becomes a child of this process, which reaps it:
/// so what a program leaves running is found, and as process 1 of a container this process leaves
/// no zombies. Only for a process that starts no other children than programs.
pub fn adopt_orphans() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::set_child_subreaper(Some(getpid())) {
        tracing::warn!("what scripts leave running cannot be adopted: {error}");
    }
    ADOPTS.store(true, Ordering::Relaxed);
}

/// Reaps the adopted processes that have ended. Never waits.
pub fn reap_orphans() {
    if !ADOPTS.load(Ordering::Relaxed) {
        return;
    }
    // A program is being started: next time.
    let Ok(programs) = PROGRAMS.try_lock() else {
        return;
    };
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    for pid in children(getpid()) {
        if !programs.contains(&pid.as_raw_nonzero().get()) {
            // Fails where it has been reaped.
            let _ = waitid(WaitId::Pid(pid), options);
        }
    }
}

/// A process; its number alone may soon be another one's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Process {
    pid: Pid,
    /// In ticks since the machine's start.
    started: u64,
}

impl Process {
    /// The process of this number, unless it has ended.
    fn living(pid: Pid) -> Option<Self> {
        let stat = Stat::of(pid)?;
        let started = stat.started;
        (!stat.has_ended).then_some(Self { pid, started })
    }
}

/// What /proc/PID/stat says of a process.
struct Stat {
    /// Ended, and not reaped yet.
    has_ended: bool,
    parent: Option<Pid>,
    group: Option<Pid>,
    started: u64,
}

impl Stat {
    fn of(of: Pid) -> Option<Self> {
        let stat = read(of, "stat")?;
        // The name stands in parentheses, and may contain some.
        let end = stat.iter().rposition(|byte| *byte == b')')?;
        let fields = String::from_utf8_lossy(&stat[end + 1..]).into_owned();
        let fields: Vec<&str> = fields.split_whitespace().collect();
        Some(Self {
            has_ended: matches!(*fields.first()?, "Z" | "X"),
            parent: pid(fields.get(1)?),
            group: pid(fields.get(2)?),
            started: fields.get(19)?.parse().ok()?,
        })
    }
}

fn read(pid: Pid, file: &str) -> Option<Vec<u8>> {
    std::fs::read(format!("/proc/{}/{file}", pid.as_raw_nonzero())).ok()
}

fn pid(text: &str) -> Option<Pid> {
    Pid::from_raw(text.parse().ok()?)
}

/// The children of this process, by each of its threads.
fn children(of: Pid) -> Vec<Pid> {
    // Some kernels do not list them.
    static ARE_LISTED: OnceLock<bool> = OnceLock::new();
    if !ARE_LISTED.get_or_init(|| Path::new("/proc/thread-self/children").exists()) {
        let is_child = |pid: &Pid| Stat::of(*pid).is_some_and(|stat| stat.parent == Some(of));
        return all().into_iter().filter(is_child).collect();
    }
    let tasks = format!("/proc/{}/task", of.as_raw_nonzero());
    let mut found = Vec::new();
    for task in std::fs::read_dir(tasks).into_iter().flatten().flatten() {
        let text = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
        found.extend(text.split_whitespace().filter_map(pid));
    }
    found
}

/// All that descend from this process, without itself.
fn descendants(of: Pid) -> Vec<Pid> {
    let mut found = HashSet::new();
    let mut next = vec![of];
    while let Some(parent) = next.pop() {
        for child in children(parent) {
            if found.insert(child) {
                next.push(child);
            }
        }
    }
    found.into_iter().collect()
}

/// One of these is its parent, or its parent's parent, and so on.
fn descends_from(process: Pid, ancestors: &HashSet<Pid>) -> bool {
    let parent = |process: &Pid| Stat::of(*process)?.parent;
    std::iter::successors(parent(&process), parent)
        .take(ancestors.len() + 64)
        .any(|ancestor| ancestors.contains(&ancestor))
}

/// Every process of the machine.
fn all() -> Vec<Pid> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| pid(entry.file_name().to_str()?))
        .collect()
}

/// The variable of this name in a process's environment, as it was started. Another user's
/// processes cannot be read, and are none of ours.
fn variable(pid: Pid, name: &str) -> Option<Vec<u8>> {
    let environment = read(pid, "environ")?;
    environment
        .split(|byte| *byte == 0)
        .find_map(|variable| variable.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
        .map(<[u8]>::to_vec)
}

/// Kills every process whose environment names this checkpoint directory: programs that outlived
/// the process that started them. A process that is killed cannot end its programs, so the process
/// that evaluates the trial again ends them: otherwise two programs would write to one directory.
pub fn kill_left(checkpoints: &Path) {
    let wanted = checkpoints.as_os_str().as_bytes();
    for pid in all().into_iter().filter(|pid| *pid != getpid()) {
        if variable(pid, CHECKPOINT_DIR).is_some_and(|directory| directory == wanted) {
            tracing::warn!(
                "{}: a program of an earlier process is still at work here (process {pid:?}); it is killed",
                checkpoints.display()
            );
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

/// What is still running of the programs that this process has started.
fn left() -> Vec<Pid> {
    // This process may itself be part of another search's program.
    let own = variable(getpid(), CHECKPOINT_DIR);
    let is_ours = |pid: &Pid| {
        let directory = variable(*pid, CHECKPOINT_DIR);
        Process::living(*pid).is_some() && directory.is_some() && directory != own
    };
    descendants(getpid()).into_iter().filter(is_ours).collect()
}

/// Ends what is still running of all programs: SIGTERM, then SIGKILL.
pub fn end_all() {
    for signal in [Signal::TERM, Signal::KILL] {
        let began = Instant::now();
        signal_all(signal);
        while began.elapsed() < GRACE && !left().is_empty() {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    reap_orphans();
}

/// Kills what is still running of all programs, and waits for nothing: this process ends at once.
pub fn kill_all() {
    signal_all(Signal::KILL);
}

fn signal_all(signal: Signal) {
    for pid in left() {
        let _ = kill_process(pid, signal);
    }
}

/// The processes of one trial's program, also outside of its process group: those that carry its
/// checkpoint directory in their environment, those that were once seen below it, and all that
/// descend from them. So no other program's process is ever one of them.
#[derive(Debug)]
pub struct Descendants {
    /// The value of `NETWRIGHT_CHECKPOINT_DIR`.
    directory: Vec<u8>,
    seen: HashSet<Process>,
    asked: HashSet<Process>,
}

impl Descendants {
    pub fn of(checkpoints: &Path) -> Self {
        Self {
            directory: checkpoints.as_os_str().as_bytes().to_vec(),
            seen: HashSet::new(),
            asked: HashSet::new(),
        }
    }

    /// To be called now and then while the program runs: one that changes its environment is known
    /// by its parents alone.
    pub fn look(&mut self, program: Pid) {
        self.seen
            .extend(descendants(program).into_iter().filter_map(Process::living));
    }

    /// Those that have not ended. They are seen from now on: a process that is ending has no
    /// environment any more, but still its files and its share of a GPU's memory.
    fn living(&mut self) -> HashSet<Process> {
        let candidates = if ADOPTS.load(Ordering::Relaxed) {
            descendants(getpid())
        } else {
            all()
        };
        let mut found: HashSet<Process> = HashSet::new();
        for process in candidates.into_iter().filter_map(Process::living) {
            let is_marked = || {
                variable(process.pid, CHECKPOINT_DIR)
                    .is_some_and(|directory| directory == self.directory)
            };
            if process.pid != getpid() && (self.seen.contains(&process) || is_marked()) {
                found.insert(process);
                let below = descendants(process.pid).into_iter();
                found.extend(below.filter_map(Process::living));
            }
        }
        self.seen.extend(&found);
        found
    }

    /// Sends SIGTERM to each, once; true if none is left. Not to the program's own group, which has
    /// had its signal, nor to what one that was asked has started since: it may be what saves its
    /// work.
    pub fn ask_to_end(&mut self, group: Pid) -> bool {
        let living = self.living();
        let before: HashSet<Pid> = self.asked.iter().map(|process| process.pid).collect();
        for process in &living {
            let is_outside = Stat::of(process.pid).is_some_and(|stat| stat.group != Some(group));
            if is_outside && self.asked.insert(*process) && !descends_from(process.pid, &before) {
                let _ = kill_process(process.pid, Signal::TERM);
            }
        }
        living.is_empty()
    }

    /// Kills each; true if none is left.
    pub fn kill(&mut self) -> bool {
        let living = self.living();
        for process in &living {
            let _ = kill_process(process.pid, Signal::KILL);
        }
        living.is_empty()
    }
}

//! When the backup of a run that goes on is taken anew: on a thread of its own, so that the writer
//! goes on meanwhile. Must not know what the journal holds.

use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often the backup is taken anew.
pub(super) const BACK_UP_EVERY: Duration = Duration::from_hours(1);

/// When the first one is taken that the start did not wait for.
const SOON: Duration = Duration::from_mins(1);

/// The backup of one run, `search.backup.db`, and the thread that copies it.
pub(super) struct RollingBackup {
    dir: PathBuf,
    every: Duration,
    /// Before the next one: `every`, and at first less where opening the run took none.
    pause: Duration,
    /// When the last copy was begun.
    begun: Instant,
    copying: Option<JoinHandle<()>>,
}

impl RollingBackup {
    /// The first copy is due once `every` is over, because opening the run has just taken one; or,
    /// `is_due`, soon after the run is at work.
    pub(super) fn new(dir: PathBuf, every: Duration, is_due: bool) -> Self {
        Self {
            dir,
            every,
            pause: if is_due { every.min(SOON) } else { every },
            begun: Instant::now(),
            copying: None,
        }
    }

    /// Begins a copy if its time has come and none is under way. An error is logged: the last
    /// backup stays then.
    pub(super) fn take_when_due(&mut self) {
        if self.begun.elapsed() < self.pause || self.is_copying() {
            return;
        }
        self.pause = self.every;
        self.begun = Instant::now();
        let dir = self.dir.clone();
        let copy = move || {
            if let Err(error) = super::backup::back_up_live(&dir) {
                tracing::error!("no new backup, the last one stays: {error}");
            }
        };
        match std::thread::Builder::new()
            .name("journal-backup".into())
            .spawn(copy)
        {
            Ok(thread) => self.copying = Some(thread),
            Err(error) => tracing::error!("no new backup, the last one stays: {error}"),
        }
    }

    /// Lets a copy that is under way come to its end, waiting for `patience` at most.
    pub(super) fn finish(&self, patience: Duration) {
        let begun = Instant::now();
        while self.is_copying() && begun.elapsed() < patience {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn is_copying(&self) -> bool {
        self.copying
            .as_ref()
            .is_some_and(|thread| !thread.is_finished())
    }
}
